"""Soft labels of an ensemble, as `train.py` reads them."""

import json
from pathlib import Path

import numpy as np
import pytest

import data
import distil
from tasrih import Classifier, Label


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    monkeypatch.setattr("sys.argv", ["distil.py", *map(str, arguments)])
    distil.main()


def test_scores_are_the_teachers_mean_and_labelled_sentences_are_left_out(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = [e for e in data.read(data.AUTHORED[0]) if e.split == "train"][:3]
    held_out = [e for e in data.read(data.AUTHORED[0]) if e.split != "train"][:3]
    monkeypatch.setattr(data, "load", lambda: [*examples, *held_out])
    texts = tmp_path / "texts.txt"
    texts.write_text(
        "\n".join([examples[0].text, held_out[0].text, "وصل الوفد إلى المدينة"]), encoding="utf-8"
    )
    output = tmp_path / "soft.jsonl"
    teacher = ("--teacher", tiny_checkpoint)
    run(monkeypatch, *teacher, *teacher, "--texts", texts, "--keep-plain", "1", "--output", output)
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == ["وصل الوفد إلى المدينة"]
    prediction = Classifier.load(tiny_checkpoint).classify(rows[0]["text"])
    np.testing.assert_allclose(rows[0]["scores"], [prediction.scores[label] for label in Label], atol=1e-4)
