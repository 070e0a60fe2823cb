"""Average the weights of several fine-tunings of one encoder: a model soup (Wortsman et al. 2022).

    python training/average.py runs/a/checkpoint runs/b/checkpoint --output runs/average/checkpoint

The average costs no more than one model and often errs less than each. Temperature and second-act threshold
are fitted on the validation split anew.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load, save_file

import data
from data import DataError
from measures import fit_secondary_threshold, fit_temperature, macro_f1
from tasrih import CheckpointError, Classifier
from tasrih.checkpoint import CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE, Checkpoint, write_facts
from tasrih.files import write_atomically, write_text_atomically
from tasrih.predict import softmax


def average(sources: list[Checkpoint], output: Path) -> Checkpoint:
    """Write the average of `sources` into `output`. Raises `CheckpointError` where they do not fit."""
    first = sources[0]
    for other in sources[1:]:
        for name in (CONFIG_FILE, TOKENIZER_FILE):
            if other.files.get(name) != first.files.get(name):
                raise CheckpointError(
                    f"{other.folder}: its {name} is not that of {first.folder}; average fine-tunings of one "
                    "encoder"
                )
    weights = [load(source.read_file(WEIGHTS_FILE)) for source in sources]
    mean = {
        name: torch.stack([tensors[name].float() for tensors in weights]).mean(dim=0) for name in weights[0]
    }
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(output / WEIGHTS_FILE, lambda path: save_file(mean, path, {"format": "pt"}))
    for name in (CONFIG_FILE, TOKENIZER_FILE):
        write_text_atomically(output / name, first.read_file(name).decode("utf-8"))

    validation = [example for example in data.load() if example.split == "validation"]
    gold = np.array([example.label.id for example in validation])
    seconds = np.array([-1 if e.secondary is None else e.secondary.id for e in validation])
    facts = {
        "average_of": [dict(source.training) for source in sources],
        "sentences": first.training.get("sentences"),
    }

    def write(temperature: float, threshold: float) -> Checkpoint:
        return write_facts(
            output,
            name=first.name,
            max_length=first.max_length,
            temperature=temperature,
            secondary_threshold=threshold,
            training=facts,
        )

    write(1.0, 1.0)  # readable, for the logits to be had; fitted next
    logits = Classifier.load(output, backend="torch").logits([example.text for example in validation])
    facts["validation_macro_f1"] = macro_f1(gold, logits.argmax(axis=1))
    temperature = fit_temperature(logits, gold)
    scores = softmax(logits / np.float32(temperature))
    return write(temperature, fit_secondary_threshold(scores, scores.argmax(axis=1), seconds))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Average the weights of fine-tunings of one encoder.")
    parser.add_argument("checkpoints", type=Path, nargs="+", help="two folders or more")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)
    if len(arguments.checkpoints) < 2:
        parser.error("expected two checkpoints or more")
    try:
        done = average([Checkpoint.read(folder) for folder in arguments.checkpoints], arguments.output)
    except (CheckpointError, DataError) as error:
        parser.error(str(error))
    print(f"{done.folder}: validation macro-F1 {done.training['validation_macro_f1']:.3f}", file=sys.stderr)


if __name__ == "__main__":
    main()
