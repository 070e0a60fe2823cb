"""The measures against scikit-learn and figures worked out by hand, and the whole script on a toy model."""

import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

import data
import evaluation
import measures
import report
from baseline import probabilities as baseline_probabilities
from data import DataError, Example
from tasrih.checkpoint import ONNX_FILE, TOKENIZER_FILE, write_facts
from tasrih.labels import LABELS, Label
from tasrih.predict import second_act, softmax

A, D, R, F = range(4)
RNG = np.random.default_rng(7)


def random_predictions(n: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return gold ids, rare labels among them, and probabilities that lean towards them."""
    gold = RNG.choice(4, size=n, p=[0.2, 0.15, 0.05, 0.6])
    return gold, softmax((RNG.normal(size=(n, 4)) + 1.5 * np.eye(4)[gold]).astype(np.float32))


# --- rates and their intervals -------------------------------------------------------------------


def test_rates_equal_scikit_learn_for_many_confusions_at_once() -> None:
    pairs = [(RNG.integers(0, k, 30), RNG.integers(0, k, 30)) for k in (1, 2, 3, 4, 4, 4)]
    many = measures.rates(np.stack([measures.confusion(gold, predicted) for gold, predicted in pairs]))
    for row, (gold, predicted) in enumerate(pairs):
        expected = precision_recall_fscore_support(gold, predicted, labels=range(4), zero_division=0)
        for name, values in zip(("precision", "recall", "f1"), expected[:3], strict=True):
            np.testing.assert_allclose(many[name][row], values)
        macro = f1_score(gold, predicted, labels=range(4), average="macro", zero_division=0)
        assert many["macro_f1"][row] == pytest.approx(macro)
        assert measures.macro_f1(gold, predicted) == pytest.approx(macro)
        assert many["accuracy"][row] == pytest.approx(accuracy_score(gold, predicted))


def test_confusion_has_gold_labels_in_rows() -> None:
    gold, predicted = np.array([A, A, D, F]), np.array([A, D, D, R])
    assert (
        measures.confusion(gold, predicted).tolist()
        == confusion_matrix(gold, predicted, labels=range(4)).tolist()
    )


def test_bootstrap_agrees_with_resampling_the_sentences_one_by_one() -> None:
    gold, probabilities = random_predictions(300)
    predicted = probabilities.argmax(axis=1)
    drawn = measures.bootstrap(measures.confusion(gold, predicted), 4000, seed=1)["macro_f1"]
    values: list[float] = []
    for _ in range(300):
        rows = RNG.integers(0, len(gold), len(gold))
        values.append(f1_score(gold[rows], predicted[rows], labels=range(4), average="macro"))
    np.testing.assert_allclose(drawn, np.quantile(values, [0.025, 0.975]), atol=0.02)


def test_bootstrap_is_seeded_and_certain_where_everything_is_right() -> None:
    matrix = np.array([[5, 2, 0, 1], [1, 6, 0, 0], [0, 0, 3, 1], [2, 0, 0, 20]])
    first, again, other = (measures.bootstrap(matrix, 200, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first["f1"], again["f1"])
    assert not np.array_equal(first["f1"], other["f1"])
    assert measures.bootstrap(np.diag([50, 50, 50, 50]), 200, 0)["macro_f1"].tolist() == [1.0, 1.0]


# --- calibration ---------------------------------------------------------------------------------


def test_calibration_error_equals_the_one_worked_out_by_hand() -> None:
    # Bins of a fifth: (0.2, 0.4] holds 0.3 and 0.4, one right; (0.8, 1] holds 0.9 and 1.0, one right.
    confidence, hit = np.array([0.3, 0.4, 0.9, 1.0]), np.array([True, False, True, False])
    by_hand = 0.5 * abs(0.5 - 0.35) + 0.5 * abs(0.5 - 0.95)
    assert measures.expected_calibration_error(confidence, hit, bins=5) == pytest.approx(by_hand)
    table = measures.reliability(confidence, hit, bins=5)
    assert [row["count"] for row in table] == [0, 2, 0, 0, 2]
    assert table[0]["accuracy"] is None
    assert table[4] == {
        "low": pytest.approx(0.8), "high": 1.0, "count": 2, "confidence": 0.95, "accuracy": 0.5
    }  # fmt: skip


def test_calibrated_predictions_have_almost_no_error_and_overconfident_ones_much() -> None:
    confidence = RNG.uniform(0.25, 1, 40_000)
    hit = RNG.uniform(size=40_000) < confidence
    assert measures.expected_calibration_error(confidence, hit) < 0.012
    assert measures.expected_calibration_error(np.sqrt(confidence), hit) > 0.1


def test_confident_counts_what_lies_over_the_bound() -> None:
    confidence, hit = np.array([0.9, 0.91, 0.95, 0.5]), np.array([True, True, False, True])
    assert measures.confident(confidence, hit) == {"over": 0.9, "coverage": 0.5, "precision": 0.5}
    assert measures.confident(confidence[:1], hit[:1])["precision"] is None


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_fit_temperature_recovers_the_temperature_that_labels_were_drawn_at(temperature: float) -> None:
    logits = RNG.normal(scale=3 * temperature, size=(20_000, 4)).astype(np.float32)
    cumulative = softmax(logits / np.float32(temperature)).cumsum(axis=1)
    labels = (RNG.uniform(size=(20_000, 1)) > cumulative[:, :3]).sum(axis=1)
    assert measures.fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize("sign", [1, -1])
def test_fit_temperature_stays_within_what_a_checkpoint_accepts(sign: int) -> None:
    logits = sign * 10 * np.eye(4, dtype=np.float32)
    assert 0.01 < measures.fit_temperature(logits, np.arange(4)) < 100


def test_fit_temperature_refuses_an_empty_split() -> None:
    with pytest.raises(ValueError, match="found no sentence"):
        measures.fit_temperature(np.empty((0, 4), dtype=np.float32), np.empty(0, dtype=np.int64))


# --- second acts ---------------------------------------------------------------------------------


def found_f1(scores: NDArray[np.float64], primary: list[int], gold: list[int], threshold: float) -> float:
    """Count plainly, sentence by sentence, what `second_act` finds at `threshold`."""
    told = [second_act(row, p, threshold) for row, p in zip(scores.tolist(), primary, strict=True)]
    right = sum(act is not None and act.id == g for act, g in zip(told, gold, strict=True))
    return 2 * right / (sum(act is not None for act in told) + sum(g >= 0 for g in gold))


def test_fit_secondary_threshold_is_as_good_as_the_best_of_all() -> None:
    _, scores = random_predictions(400)
    scores = scores.round(2)  # many equal scores, and few thresholds that differ
    primary = scores.argmax(axis=1)
    gold = np.where((RNG.uniform(size=400) < 0.3) & (primary != F), (primary + 1) % 3, -1)
    threshold = measures.fit_secondary_threshold(scores, primary, gold)
    best = max(found_f1(scores, primary.tolist(), gold.tolist(), t) for t in np.arange(0, 1.01, 0.005))
    assert best > 0.2
    assert found_f1(scores, primary.tolist(), gold.tolist(), threshold) == pytest.approx(best)


def test_fit_secondary_threshold_lies_half_way() -> None:
    scores = np.array(
        [[0.5, 0.4, 0.1, 0.0], [0.6, 0.3, 0.1, 0.0], [0.8, 0.1, 0.1, 0.0], [0.0, 0.0, 0.4, 0.6]]
    )
    gold = np.array([D, D, -1, -1])  # the last is a report beside regret, which has no second act
    assert measures.fit_secondary_threshold(scores, scores.argmax(axis=1), gold) == pytest.approx(0.2)


def test_fit_secondary_threshold_reports_none_where_none_is_right() -> None:
    scores = np.array([[0.5, 0.4, 0.1, 0.0], [0.6, 0.3, 0.1, 0.0]])
    assert measures.fit_secondary_threshold(scores, np.array([A, A]), np.array([-1, -1])) == 1.0


def test_secondary_metrics_count_acts_found_missed_and_swapped() -> None:
    gold, seconds = np.array([D, D, A, A, F]), np.array([A, A, R, -1, -1])
    predicted, told = np.array([D, A, A, A, F]), np.array([A, D, -1, D, -1])
    assert measures.secondary_metrics(gold, seconds, predicted, told) == {
        "gold": 3, "predicted": 3, "found": 1, "swapped": 1,
        "precision": pytest.approx(1 / 3), "recall": pytest.approx(1 / 3), "f1": pytest.approx(1 / 3),
    }  # fmt: skip
    nothing = measures.secondary_metrics(gold[3:], seconds[3:], predicted[3:], seconds[3:])
    assert nothing["precision"] is nothing["recall"] is nothing["f1"] is None


# --- all measures, and the metric module ---------------------------------------------------------


def test_metrics_hold_what_scikit_learn_says_within_their_intervals() -> None:
    gold, probabilities = random_predictions(500)
    seconds = np.where(gold == D, A, -1)
    result = measures.metrics(gold, probabilities, resamples=300, gold_secondary=seconds)
    predicted = probabilities.argmax(axis=1)
    assert result["n"] == 500
    macro = f1_score(gold, predicted, average="macro")
    assert result["macro_f1"]["value"] == pytest.approx(macro)
    f1 = f1_score(gold, predicted, average=None)
    for label in LABELS:
        assert result["labels"][label]["f1"]["value"] == pytest.approx(f1[label.id])
        assert result["labels"][label]["support"] == (gold == label.id).sum()
        for name in ("precision", "recall", "f1"):
            rate = result["labels"][label][name]
            assert rate["low"] <= rate["value"] <= rate["high"]
    either = np.mean((predicted == gold) | ((gold == D) & (predicted == A)))
    assert result["accuracy_with_secondary"] == pytest.approx(either)
    assert result["accuracy"]["value"] < either
    assert np.sum(result["confusion"]) == sum(row["count"] for row in result["reliability"]) == 500
    json.dumps(result, allow_nan=False)


def test_metrics_refuse_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"found gold \(3,\) and probabilities \(2, 4\)"):
        measures.metrics(np.array([0, 1, 2]), np.full((2, 4), 0.25))


def test_metric_module_loads_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import evaluate

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    path = Path(measures.__file__).parent / "metrics" / "speech_acts.py"
    scores = evaluate.load(str(path)).compute(references=[A, D, D, F], predictions=[A, D, F, F])
    assert scores is not None
    assert scores["f1"] == pytest.approx([1, 2 / 3, 0, 2 / 3])
    assert scores["macro_f1"] == pytest.approx(7 / 12)
    assert scores["accuracy"] == 0.75
    assert scores["support"] == [1, 2, 0, 1]


# --- the script ----------------------------------------------------------------------------------


def example(text: str, label: Label, where: str, **changes: object) -> Example:
    facts = {
        "id": where, "text": text, "label": label, "secondary": None, "split": "test", "group": where,
        "source": "ant", "sampled": "natural", "confidence": 3, "where": where,
    }  # fmt: skip
    return Example(**{**facts, **changes})  # type: ignore[arg-type]


def test_baseline_learns_from_words_and_leaves_unknown_labels_at_zero() -> None:
    acts = [("نفت الوزارة الخبر", Label.DENIAL), ("أعلنت الوزارة الخبر", Label.FACTUAL_REPORT)] * 5
    training = [example(text, label, f"x:{row}") for row, (text, label) in enumerate(acts)]
    answer = baseline_probabilities(training, ["نفت الشركة", "أعلنت الشركة"])
    assert answer.argmax(axis=1).tolist() == [D, F]
    np.testing.assert_allclose(answer.sum(axis=1), 1)
    assert not answer[:, [A, R]].any()


def test_gather_names_sets_by_file_and_keeps_the_split_asked_for(tmp_path: Path) -> None:
    extra = tmp_path / "mine.jsonl"
    rows = [{"text": "أولى", "label": "denial"}, {"text": "ثانية", "label": "regret", "split": "train"}]
    extra.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    known = [
        example("ثالثة", Label.REGRET, f"{data.AUTHORED[1]}:1", source="authored"),
        example("رابعة", Label.REGRET, "some/ant_test.jsonl:9"),
        example("خامسة", Label.REGRET, "some/ant_test.jsonl:10", split="train"),
    ]
    sets = evaluation.gather(known, "test", [str(extra)])
    assert {name: [e.text for e in group] for name, group in sets.items()} == {
        "authored": ["ثالثة"], "ant_test": ["رابعة"], "mine": ["أولى"],
    }  # fmt: skip
    assert sets["mine"][0].source == "mine"  # not "authored", whose texts are printed
    assert "named" in evaluation.gather(known, "test", [f"named={extra}"])
    for arguments, message in (
        ([f"news={extra}"], "the name 'news' is taken"),
        ([f"a={extra}", f"b={extra}"], "the text of .* again"),
        ([str(tmp_path / "absent.jsonl")], "no such file"),
    ):
        with pytest.raises(DataError, match=message):
            evaluation.gather(known, "test", arguments)
    extra.write_text(json.dumps({**rows[0], "split": "test"}), encoding="utf-8")
    with pytest.raises(DataError, match="holds no sentence of the validation split"):
        evaluation.gather(known, "validation", [str(extra)])
    with pytest.raises(DataError, match="no sentence of the validation split at hand"):
        evaluation.gather(known, "validation", [])


VOCABULARY = {"[UNK]": 0, "اتهم": 1, "نفى": 2, "أسف": 3, "لكن": 4}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a checkpoint whose logits are sums over words: each cue word adds 3 to its own act."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("toy")
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / TOKENIZER_FILE))
    table = np.zeros((len(VOCABULARY), 4), dtype=np.float32)
    table[[1, 2, 3], [A, D, R]] = 3
    table[2, A] = 1  # a denial hints at an accusation
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["real", "last"], ["mask"]),
        helper.make_node("Mul", ["words", "mask"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "one"], ["sums"], keepdims=0),
        helper.make_node("Add", ["sums", "bias"], ["logits"]),
    ]
    constants = {
        "table": table, "last": np.array([2]), "one": np.array([1]),
        "bias": np.array([0, 0, 0, 1], dtype=np.float32),
    }  # fmt: skip
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])]
    initial = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "toy", inputs, outputs, initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / ONNX_FILE))
    write_facts(folder, name="toy", max_length=16, temperature=1.0, secondary_threshold=0.25,
                training={"sentences": {"train": 12}})  # fmt: skip
    return folder


LABELLED = [
    {"text": "اتهم الوزير", "label": "accusation", "sampled": "cue"},
    {"text": "نفى الوزير", "label": "denial", "sampled": "natural"},
    {"text": "أسف الوزير", "label": "regret", "sampled": "natural"},
    {"text": "قال الوزير", "label": "factual_report", "sampled": "natural"},
    {"text": "اتهم الوزير لكن المدير نفى", "label": "denial", "secondary": "accusation", "sampled": "cue"},
    {"text": "نفى أسف", "label": "denial", "secondary": "regret", "sampled": "cue"},
]


@pytest.fixture(scope="module")
def extra(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "mine.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in LABELLED), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def written(toy: Path, extra: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the script on the authored test split, the news at hand, and `LABELLED`."""
    folder = tmp_path_factory.mktemp("out") / "report"
    options = ["--resamples", "50", "--no-baseline", "--data", str(extra)]
    evaluation.main(["--model", str(toy), "--output", str(folder), *options])
    return folder


@pytest.fixture(scope="module")
def figures(written: Path) -> dict[str, Any]:
    return json.loads((written / "report.json").read_text(encoding="utf-8"))


def test_report_has_the_figures_worked_out_by_hand(figures: dict[str, Any]) -> None:
    mine = figures["sets"]["mine"]
    model = mine["systems"]["model"]
    assert model["n"] == 6
    assert model["accuracy"]["value"] == pytest.approx(5 / 6)
    assert model["accuracy_with_secondary"] == 1
    assert model["macro_f1"]["value"] == pytest.approx((2 / 3 + 4 / 5 + 1 + 1) / 4)
    assert model["confusion"] == [[1, 0, 0, 0], [1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert {key: model["secondary"][key] for key in ("gold", "predicted", "found", "swapped")} == {
        "gold": 2, "predicted": 2, "found": 1, "swapped": 1,
    }  # fmt: skip
    assert mine["sampled"]["natural"]["model"]["accuracy"]["value"] == 1
    assert mine["sampled"]["cue"]["model"]["accuracy"]["value"] == pytest.approx(2 / 3)
    assert list(mine["sources"]) == ["mine"]
    assert figures["settings"]["baseline_sentences"] is None


def test_report_names_the_model_and_counts_all_news_together(figures: dict[str, Any], toy: Path) -> None:
    model = figures["model"]
    assert (model["name"], model["backend"], model["training_sentences"]) == ("toy", "onnx", {"train": 12})
    assert set(model["files"]) == {TOKENIZER_FILE, ONNX_FILE}
    sizes = {name: group["systems"]["model"]["n"] for name, group in figures["sets"].items()}
    news = sizes.pop("news")
    authored = sizes.pop("authored")
    assert authored == sum(e.split == "test" for path in data.AUTHORED for e in data.read(path))
    assert news == sum(sizes.values())


def test_mistakes_are_the_most_confident_and_print_authored_texts_only(figures: dict[str, Any]) -> None:
    mistakes = figures["mistakes"]
    confidences = [max(mistake["scores"].values()) for mistake in mistakes]
    assert len(mistakes) == 50
    assert confidences == sorted(confidences, reverse=True)
    assert all(("text" in mistake) == (mistake["set"] == "authored") for mistake in mistakes)
    assert all(mistake["predicted"] != mistake["label"] for mistake in mistakes)


def test_markdown_is_made_from_the_json_alone(written: Path, figures: dict[str, Any]) -> None:
    text = (written / "report.md").read_text(encoding="utf-8")
    assert text == report.render(figures)
    assert "# toy on the test split" in text
    assert "Trained on sentences: train 12." in text
    assert "| mine | 6 | model | 0.867 [" in text
    assert "| mine | natural | 3 | model | – | 1.000 [" in text
    assert "| mine | 0.833 | 1.000 | 2 | 2 | 1 | 1 | 0.500 | 0.500 | 0.500 |" in text
    widths = {line.count(" | ") for line in text.splitlines() if line.startswith("| mine | natural")}
    assert widths == {9}
    for name in ("confusion.png", "reliability.png"):
        assert (written / name).read_bytes().startswith(b"\x89PNG")


def test_baseline_stands_in_the_same_tables() -> None:
    sets = {"authored": [example(f"نص {row}", LABELS[row % 4], f"x:{row}") for row in range(8)]}
    right, flat = np.eye(4)[np.arange(8) % 4], np.full((8, 4), 0.25)
    systems = {
        "model": evaluation.Outputs(right, np.full(8, -1)),
        "baseline": evaluation.Outputs(flat),
    }
    result = evaluation.evaluate_sets(sets, systems, 20, 0)
    measured = result["sets"]["authored"]["systems"]
    assert "news" not in result["sets"]
    assert measured["model"]["macro_f1"]["value"] == 1
    assert measured["baseline"]["macro_f1"]["value"] == pytest.approx(0.4 / 4)  # all taken for accusations
    facts = {"name": "m", "backend": "onnx", "files": {}, "max_length": 8, "temperature": 1.0,
             "secondary_threshold": 0.5, "training_sentences": None, "libraries": {}}  # fmt: skip
    settings = {"resamples": 20, "seed": 0, "interval": 0.95, "bins": 15, "baseline_sentences": 5}
    text = report.render({"model": facts, "split": "test", "settings": settings, "truncated": 0, **result})
    assert "| authored | 8 | model | 1.000 [" in text
    assert "| authored | 8 | TF-IDF | 0.100 [" in text


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        evaluation.main(list(arguments))
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_errors_are_one_line_and_exit_status_2(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["--output", str(tmp_path / "out"), "--no-baseline"]
    assert "expected a checkpoint folder" in refused(capsys, "--model", str(tmp_path / "absent"), *output)
    latin = tmp_path / "latin.jsonl"
    latin.write_text(json.dumps({"text": "No Arabic", "label": "regret"}), encoding="utf-8")
    line = refused(capsys, "--model", str(toy), *output, "--data", str(latin))
    assert f"{latin}:1: text: found 'No Arabic', which has no Arabic letter" in line
    assert "--resamples" in refused(capsys, "--model", str(toy), *output, "--resamples", "0")
    assert "cannot be made a folder" in refused(capsys, "--model", str(toy), "--output", str(latin))
    assert not (tmp_path / "out" / "report.json").exists()


def test_paired_comparison_agrees_with_resampling_and_a_test_by_hand() -> None:
    gold, first = random_predictions(400)
    second = np.where(RNG.random(400) < 0.3, gold, first.argmax(axis=1))
    result = measures.paired(gold, first.argmax(axis=1), second, resamples=4000, seed=1)
    rows = RNG.integers(0, 400, (2000, 400))
    drawn = [
        measures.macro_f1(gold[r], second[r]) - measures.macro_f1(gold[r], first.argmax(axis=1)[r])
        for r in rows
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    difference = result["macro_f1_difference"]
    assert difference["low"] == pytest.approx(low, abs=0.01)
    assert difference["high"] == pytest.approx(high, abs=0.01)
    assert result["share_better"] == 1
    assert result["only_first_right"] == 0
    # n sentences that only the second has right: the exact test gives 2 / 2**n.
    assert result["mcnemar_p"] == pytest.approx(2 * 0.5 ** result["only_second_right"])
    same = measures.paired(gold, second, second)
    assert (same["mcnemar_p"], same["macro_f1_difference"]["value"]) == (1.0, 0.0)


def test_two_models_stand_side_by_side(toy: Path, extra: Path, tmp_path: Path) -> None:
    options = ["--output", str(tmp_path), "--resamples", "50", "--data", str(extra)]
    evaluation.main(["--compare", str(toy), str(toy), *options])
    figures = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))
    assert figures["sets"]["mine"]["macro_f1"] == [pytest.approx((2 / 3 + 4 / 5 + 1 + 1) / 4)] * 2
    text = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    assert "| mine | 6 | 0.867 | 0.867 | +0.000 [+0.000, +0.000] | 0% | 0 | 0 | 1.0000 |" in text
