from tasrih import LABELS, Label


def test_labels_equal_their_names_and_keep_their_order() -> None:
    assert LABELS == ("accusation", "denial", "regret", "factual_report")
    assert [label.id for label in LABELS] == [0, 1, 2, 3]
    assert str(Label.DENIAL) == f"{Label.DENIAL}" == "denial"
    assert Label("regret") is Label.REGRET


def test_every_label_has_an_arabic_name_and_codes() -> None:
    assert [label.arabic for label in LABELS] == ["اتهام", "نفي", "أسف", "خبر"]
    assert [label.cameo for label in LABELS] == ["112", "016", "055", "010"]
    assert [label.plover for label in LABELS] == ["ACCUSE", None, "SUPPORT", None]
