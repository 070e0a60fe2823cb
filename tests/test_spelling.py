from hypothesis import given
from hypothesis import strategies as st

from spelling import bare_alef, dotless_ya, respelled


def test_spellings_of_other_presses() -> None:
    assert bare_alef("أعلن الرئيس الأمريكي إقالة آخر وزير") == "اعلن الرئيس الامريكي اقالة اخر وزير"
    assert dotless_ya("في بيان رسمي، قالت إيران") == "فى بيان رسمى، قالت إيران"


@given(st.text(alphabet="أإآايىةه ء،.b"))
def test_they_change_letters_for_letters_and_only_once(text: str) -> None:
    for change in (bare_alef, dotless_ya):
        assert len(change(text)) == len(text)
        assert change(change(text)) == change(text)


def test_a_share_of_the_texts_is_respelled_and_the_seed_decides_which() -> None:
    texts = ["أي شيء في إيران"] * 4000
    changed = respelled(texts, 0.3, seed=1)
    assert changed == respelled(texts, 0.3, seed=1) != respelled(texts, 0.3, seed=2)
    counts = [changed.count(text) for text in (texts[0], bare_alef(texts[0]), dotless_ya(texts[0]))]
    assert sum(counts) == 4000
    assert all(abs(count - expected) < 150 for count, expected in zip(counts, (2800, 800, 400), strict=True))
    assert respelled(texts, 0.0, seed=1) == texts
    assert texts[0] not in respelled(texts, 1.0, seed=1)
