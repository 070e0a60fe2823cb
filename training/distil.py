"""Soft labels from an ensemble: what several checkpoints together say of unlabelled sentences.

    python training/distil.py --teacher runs/a/checkpoint --teacher runs/b/checkpoint \\
        --texts sentences.jsonl --output runs/soft.jsonl

`--texts` is JSONL with a `text` a line, or plain text; sentences that are labelled already are left out.
The probabilities of the teachers, each calibrated, are averaged; `--baseline` adds the linear baseline, which
errs elsewhere than the encoders do. `train.py` learns from them with `--set data.soft=runs/soft.jsonl`
(Hinton et al. 2015). Sentences that the teachers take for a plain report beyond doubt teach little:
`--keep-plain` says which share of them is kept.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import baseline
import data
from corpus import open_text
from tasrih import CheckpointError, Classifier, Label
from tasrih.files import write_text_atomically
from tasrih.normalise import normalise
from tasrih.predict import softmax

PLAIN = 0.9  # averaged probability of a factual report beyond which a sentence counts as plain


def read_texts(path: Path) -> list[str]:
    with open_text(path) as file:
        lines = [line.strip() for line in file if line.strip()]
    return [json.loads(line)["text"] if line.startswith("{") else line for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description="Label sentences softly with an ensemble of checkpoints.")
    parser.add_argument("--teacher", type=Path, action="append", required=True)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--baseline", action="store_true", help="TF-IDF as one teacher more")
    parser.add_argument("--keep-plain", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        texts = read_texts(arguments.texts)
        labelled = data.load()
        known = {normalise(example.text) for example in labelled}
        texts = [text for text in texts if normalise(text) not in known]
        total = np.zeros((len(texts), len(Label)))
        if arguments.baseline:
            total += baseline.probabilities([e for e in labelled if e.split == "train"], texts)
        for folder in arguments.teacher:
            teacher = Classifier.load(folder)
            total += softmax(teacher.logits(texts) / np.float32(teacher.checkpoint.temperature))
    except (CheckpointError, OSError, ValueError) as error:
        parser.error(str(error))
    scores = total / (len(arguments.teacher) + arguments.baseline)
    random = np.random.default_rng(arguments.seed).random(len(texts))
    kept = (scores[:, Label.FACTUAL_REPORT.id] < PLAIN) | (random < arguments.keep_plain)
    rows = [
        json.dumps({"text": text, "scores": [round(p, 4) for p in row]}, ensure_ascii=False) + "\n"
        for text, row, keep in zip(texts, scores.tolist(), kept, strict=True)
        if keep
    ]
    write_text_atomically(arguments.output, "".join(rows))
    shares = ", ".join(f"{(scores[kept].argmax(axis=1) == label.id).sum():,} {label}" for label in Label)
    print(f"{arguments.output}: {len(rows):,} of {len(texts):,} sentences: {shares}")


if __name__ == "__main__":
    main()
