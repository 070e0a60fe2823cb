import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import tasrih.predict
from tasrih import LABELS, Classifier, Label
from tasrih.backends import Backend
from tasrih.predict import second_act


@pytest.fixture(scope="module")
def tiny(tiny_checkpoint: Path) -> Classifier:
    return Classifier.load(tiny_checkpoint)


def test_many_texts_keep_their_order_and_their_scores(tiny: Classifier, texts: list[str]) -> None:
    chosen = sorted(texts[:60], key=len)[::2] + texts[60:120]
    together = tiny.classify(chosen)
    assert len({prediction.scores[Label.DENIAL] for prediction in together}) > 50
    for text, prediction in zip(chosen, together, strict=True):
        alone = tiny.classify(text)
        assert alone.label is prediction.label
        assert all(abs(alone.scores[label] - prediction.scores[label]) < 1e-4 for label in LABELS)


def test_scores_are_a_distribution(tiny: Classifier, texts: list[str]) -> None:
    for prediction in tiny.classify(texts[:50]):
        assert sum(prediction.scores.values()) == pytest.approx(1, abs=1e-9)
        assert prediction.confidence == max(prediction.scores.values()) == prediction.scores[prediction.label]


def test_iterables_of_every_kind(tiny: Classifier, texts: list[str]) -> None:
    expected = tiny.classify(texts[:5])
    assert tiny.classify(tuple(texts[:5])) == expected
    assert tiny.classify(text for text in texts[:5]) == expected
    assert tiny.classify(np.array(texts[:5])) == expected
    assert tiny.classify([]) == []


@pytest.mark.parametrize("bad", [None, 3, 2.5, b"\xd9\x86", bytearray(b"x"), {"a": "ن"}, {"ن"}, object()])
def test_what_is_no_text_is_a_type_error(tiny: Classifier, bad: object) -> None:
    with pytest.raises(TypeError, match=r"texts: found .*, expected a str or a list of str"):
        tiny.classify(bad)  # type: ignore[call-overload]


@pytest.mark.parametrize("bad", [None, 3, b"\xd9\x86", ["نفى"], ("نفى",)])
def test_a_bad_item_is_named_by_its_position(tiny: Classifier, bad: object) -> None:
    with pytest.raises(TypeError, match=r"^texts\[1\]: found \w+, expected str$"):
        tiny.classify(["نفى الوزير", bad])  # type: ignore[list-item]


@pytest.mark.parametrize("blank", ["", "  \n\t", "\u200f\u200b"])
@pytest.mark.parametrize("where", ["alone", "third"])
def test_blank_text_is_a_value_error(tiny: Classifier, blank: str, where: str) -> None:
    name = "text" if where == "alone" else r"texts\[2\]"
    with pytest.raises(ValueError, match=rf"^{name}: found .*; expected a sentence in Arabic"):
        tiny.classify(blank if where == "alone" else ["نفى", "نفى", blank])


@pytest.mark.parametrize("foreign", ["Hello.", "2016", "http://example.org", "a@b.co", "🙂", "ـــ", "، ؟"])
def test_text_without_an_arabic_letter_is_a_value_error(tiny: Classifier, foreign: str) -> None:
    with pytest.raises(ValueError, match="no Arabic letter") as caught:
        tiny.classify(foreign)
    assert str(caught.value) == (
        f"text: found {foreign!r}, which has no Arabic letter; expected a sentence in Arabic; "
        "leave such texts out"
    )


@pytest.mark.parametrize(
    "odd",
    [
        "نفى \ud800 الوزير", "نفى\x00الوزير", "\u202eنفى\u202c الوزير\u2066", "ن\u200bف\u200cى\u200d",
        "ن" * 10_000, "نفى " * 250_000, "نفى" + " " * 1_000_000, "&#" + "9" * 100_000 + ";نفى",
        "<" * 100_000 + "نفى", "@" * 100_000 + " نفى", "نفى" + "a" * 1_000_000,
    ],
    ids=lambda odd: f"{len(odd)} {odd[:6]!a}",
)  # fmt: skip
def test_odd_text_is_answered_in_bounded_time(tiny: Classifier, odd: str) -> None:
    start = time.perf_counter()
    prediction = tiny.classify(odd)
    assert time.perf_counter() - start < 10
    assert np.isfinite(list(prediction.scores.values())).all()


def test_truncation_is_told(tiny: Classifier) -> None:
    short, long = tiny.classify(["نفى الوزير الخبر.", "نفى الوزير الخبر. " * 100])
    assert (short.truncated, long.truncated) == (False, True)
    same_beginning = tiny.classify("نفى الوزير الخبر. " * 200)
    assert same_beginning.scores == pytest.approx(long.scores, abs=1e-6)


def test_second_acts() -> None:
    assert second_act([0.3, 0.6, 0.05, 0.05], Label.DENIAL.id, 0.2) is Label.ACCUSATION
    assert second_act([0.3, 0.6, 0.05, 0.05], Label.DENIAL.id, 0.31) is None
    assert second_act([0.4, 0.05, 0.05, 0.5], Label.FACTUAL_REPORT.id, 0.2) is None
    assert second_act([0.5, 0.05, 0.05, 0.4], Label.ACCUSATION.id, 0.2) is None


def test_tag_gives_sentences_at_their_places(tiny: Classifier) -> None:
    article = "خبر عاجل\nنفى د. علي ذلك. Hello world. واعتذر الوزير!\n***\n"
    sentences = tiny.tag(article)
    assert [s.text for s in sentences] == ["خبر عاجل", "نفى د. علي ذلك.", "واعتذر الوزير!"]
    assert all(article[s.start : s.end] == s.text for s in sentences)
    assert [s.prediction.scores for s in sentences] == [
        pytest.approx(p.scores, abs=1e-4) for p in tiny.classify([s.text for s in sentences])
    ]
    with pytest.raises(ValueError, match="article: found 'Hello', which has no Arabic letter"):
        tiny.tag("Hello")
    with pytest.raises(TypeError, match="article: found bytes"):
        tiny.tag(b"x")  # type: ignore[arg-type]


def test_backends_agree(tiny_checkpoint: Path, texts: list[str]) -> None:
    exact = Classifier.load(tiny_checkpoint, backend="torch").classify(texts[:100])
    small = Classifier.load(tiny_checkpoint, backend="onnx").classify(texts[:100])
    for a, b in zip(exact, small, strict=True):
        assert all(abs(a.scores[label] - b.scores[label]) < 0.02 for label in LABELS)


class Recording:
    """A backend that notes the shape of each batch, and has two cores whatever the machine has."""

    workers = 2

    def __init__(self, of: Backend) -> None:
        self._of, self.batch_tokens = of, of.batch_tokens
        self.shapes: list[tuple[int, int]] = []

    def logits(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        self.shapes.append((len(ids), ids.shape[1]))
        return self._of.logits(ids, mask)


def test_few_texts_are_cut_for_all_cores_with_little_padding(tiny: Classifier, texts: list[str]) -> None:
    plain = Recording(tiny.backend)
    recorded = Classifier(tiny.checkpoint, plain, tiny._tokenizer)
    lengths = [len(encoding.ids) for encoding in tiny._tokenizer.encode_batch_fast(texts[:64])]
    assert recorded.logits(texts[:64]) == pytest.approx(tiny.logits(texts[:64]), abs=1e-4)
    padded = [rows * length for rows, length in plain.shapes]
    assert sum(rows for rows, _ in plain.shapes) == 64
    assert len(padded) >= 8
    assert max(padded) <= sum(padded) / 8
    assert sum(padded) < 1.2 * sum(min(length, tiny.checkpoint.max_length) for length in lengths)
    plain.shapes.clear()
    recorded.classify(texts[0])
    assert len(plain.shapes) == 1  # and no thread is started for it


def test_wrong_backend_or_device_is_named(tiny_checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="backend: found 'tf'"):
        Classifier.load(tiny_checkpoint, backend="tf")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="device: found 'tpu'"):
        Classifier.load(tiny_checkpoint, device="tpu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="device: found 'cuda' for backend 'onnx'"):
        Classifier.load(tiny_checkpoint, backend="onnx", device="cuda")


def test_threads_share_a_classifier(tiny: Classifier, texts: list[str]) -> None:
    expected = tiny.classify(texts[:64])
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(tiny.classify, texts[:64] * 4))
    for one, other in zip(found, expected * 4, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-4)


def test_the_default_model_loads_once(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[int] = []
    original = Classifier.load

    def load() -> Classifier:
        loads.append(1)
        time.sleep(0.05)
        return original(tiny_checkpoint)

    monkeypatch.setattr(tasrih.predict, "_default", None)
    monkeypatch.setattr(Classifier, "load", load)
    barrier = threading.Barrier(8)

    def first_call() -> Label:
        barrier.wait()
        return tasrih.predict.classify("نفى الوزير").label

    with ThreadPoolExecutor(8) as pool:
        labels = [future.result() for future in [pool.submit(first_call) for _ in range(8)]]
    assert len(loads) == 1
    assert len(set(labels)) == 1


def test_import_is_light() -> None:
    heavy = {"torch", "transformers", "onnxruntime", "tokenizers", "huggingface_hub"}
    code = f"import sys, tasrih; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
