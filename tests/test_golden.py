"""Scores of 300 authored sentences, kept: what moves one by more than 1e-3 is meant, or is a fault.

    make golden     writes tests/golden.jsonl anew, on purpose, and prints what moved

Its first line says which model the scores are of and what they were computed with; each other line is a
sentence. Integers come out the same on every processor (training/export.py), but floats are added up in
another order with AVX-512 than with AVX2, and an activation that lies between two int8 values is then rounded
to the other: by that, 9 of the third model's scores moved by more than 5e-4, the furthest by 2.5e-3. So the
tolerance is 1e-3 on the kind of processor that wrote the file, and ten times that on others.
"""

import hashlib
import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tasrih import LABELS, Classifier, Label
from tasrih.checkpoint import ONNX_FILE
from tasrih.files import write_text_atomically

GOLDEN = Path(__file__).with_name("golden.jsonl")
DATA = Path(__file__).parents[1] / "training" / "data"
FILES = ["authored.jsonl", "authored-2.jsonl", "authored-3.jsonl"]
A_LABEL = 75  # sentences of each of the four
TOLERANCE = 1e-3
ON_ANOTHER_PROCESSOR = 1e-2
ON_PURPOSE = "if that is meant, run `make golden` and commit what it writes with the reason"


@dataclass(frozen=True)
class Kept:
    """A sentence and its probabilities, in the order of `LABELS`."""

    id: str
    text: str
    scores: list[float]


def model_hash(classifier: Classifier) -> str:
    return classifier.checkpoint.files[ONNX_FILE][:12]


def chosen() -> list[tuple[str, str]]:
    """Return id and text of 75 sentences a label, none of the test split, always the same ones."""
    lines = [line for name in FILES for line in (DATA / name).read_text(encoding="utf-8").splitlines()]
    rows = [row for row in map(json.loads, lines) if row["split"] in ("train", "validation")]
    rows.sort(key=lambda row: (Label(row["label"]).id, hashlib.sha256(row["id"].encode()).digest()))
    return [
        (row["id"], row["text"])
        for _, group in groupby(rows, key=lambda row: row["label"])
        for row in list(group)[:A_LABEL]
    ]


def scored(classifier: Classifier, sentences: list[tuple[str, str]]) -> list[Kept]:
    predictions = classifier.classify([text for _, text in sentences])
    return [
        Kept(name, text, [round(prediction.scores[label], 6) for label in LABELS])
        for (name, text), prediction in zip(sentences, predictions, strict=True)
    ]


def read() -> tuple[dict[str, Any], list[Kept]]:
    about, *rows = map(json.loads, GOLDEN.read_text(encoding="utf-8").splitlines())
    return about, [Kept(**row) for row in rows]


def processor() -> str:
    """Return the kind of processor this is: what onnxruntime chooses its float kernels by."""
    cpu = Path("/proc/cpuinfo")
    flags = set(cpu.read_text(encoding="utf-8").split()) if cpu.exists() else set()
    widest = next((name for name in ("avx512f", "avx2") if name in flags), "")
    return f"{platform.machine()} {widest}".strip()


def tolerance(about: dict[str, Any]) -> float:
    return TOLERANCE if about["processor"] == processor() else ON_ANOTHER_PROCESSOR


def moves(kept: list[Kept], found: list[Kept], tolerance: float) -> list[str]:
    """Return a line for each sentence with a probability that moved beyond the tolerance, furthest first."""
    lines: list[tuple[float, str]] = []
    for old, new in zip(kept, found, strict=True):
        move, label, before, after = max(
            (abs(b - a), label, a, b) for label, a, b in zip(LABELS, old.scores, new.scores, strict=True)
        )
        if move > tolerance:
            line = f"{old.id}: {label} {before:.4f} -> {after:.4f} ({after - before:+.4f}): {old.text[:60]}"
            lines.append((move, line))
    return [line for _, line in sorted(lines, reverse=True)]


def refusal(about: dict[str, Any], model: str, lines: list[str]) -> str | None:
    """Return what to tell whoever changed something, None where nothing did."""
    if about["model"] != model:
        return (
            f"{GOLDEN.name} holds the scores of the model {about['model']}, found the model {model}; "
            f"{ON_PURPOSE}"
        )
    if not lines:
        return None
    shown = "\n".join(f"  {line}" for line in lines[:10])
    return (
        f"{len(lines)} of the sentences in {GOLDEN.name} have a probability that moved by more than "
        f"{tolerance(about)}; it was written with {about['with']} on {about['processor']}; "
        f"{ON_PURPOSE}\n{shown}"
    )


@pytest.fixture(scope="module")
def shipped() -> Classifier:
    return Classifier.load()


def test_no_probability_has_moved(shipped: Classifier) -> None:
    about, kept = read()
    found = scored(shipped, [(row.id, row.text) for row in kept])
    message = refusal(about, model_hash(shipped), moves(kept, found, tolerance(about)))
    assert message is None, message


def test_the_golden_sentences_are_those_chosen() -> None:
    assert [(row.id, row.text) for row in read()[1]] == chosen(), f"the data changed; {ON_PURPOSE}"
    assert len(chosen()) == A_LABEL * len(LABELS)


def test_a_move_is_told_with_sentence_and_command() -> None:
    kept = [Kept("a-1", "نفى الوزير", [0.1, 0.8, 0.05, 0.05]), Kept("a-2", "أسف", [0.0, 0.0, 1.0, 0.0])]
    near = [Kept("a-1", "نفى الوزير", [0.1009, 0.7991, 0.05, 0.05]), kept[1]]
    far = [Kept("a-1", "نفى الوزير", [0.1009, 0.7979, 0.0512, 0.05]), kept[1]]
    about = {"model": "0123", "with": "onnxruntime 1.20.0", "processor": processor()}
    assert tolerance(about) == TOLERANCE
    assert refusal(about, "0123", moves(kept, near, TOLERANCE)) is None
    assert moves(kept, far, tolerance(about | {"processor": "another"})) == []
    lines = moves(kept, far, TOLERANCE)
    assert refusal(about, "0123", lines) == (
        "1 of the sentences in golden.jsonl have a probability that moved by more than 0.001; it was written "
        f"with onnxruntime 1.20.0 on {processor()}; if that is meant, run `make golden` and commit what it "
        "writes with the reason\n  a-1: denial 0.8000 -> 0.7979 (-0.0021): نفى الوزير"
    )
    assert refusal(about, "4567", lines) == (
        "golden.jsonl holds the scores of the model 0123, found the model 4567; if that is meant, run `make "
        "golden` and commit what it writes with the reason"
    )


def main() -> None:
    classifier = Classifier.load()
    found = scored(classifier, chosen())
    kept = {row.id: row for row in read()[1]} if GOLDEN.exists() else {}
    both = [row for row in found if row.id in kept and kept[row.id].text == row.text]
    lines = moves([kept[row.id] for row in both], both, TOLERANCE)
    made_with = [f"{name} {version(name)}" for name in ("onnxruntime", "tokenizers", "numpy")]
    about = {
        "model": model_hash(classifier),
        "with": ", ".join([*made_with, f"Python {platform.python_version()}"]),
        "processor": processor(),
    }
    rows = [about, *map(asdict, found)]
    write_text_atomically(GOLDEN, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    print(
        f"{GOLDEN}: {len(found)} sentences, {len(lines)} of them moved by more than {TOLERANCE}",
        *lines[:20],  # the furthest
        sep="\n",
    )


if __name__ == "__main__":
    main()
