"""Measure a checkpoint on a labelled split, through `tasrih.Classifier`, the code that users run.

    python training/evaluation.py --model models/compact --split test --output runs/evaluation \\
        --data osac_test=PATH.jsonl

The labelled data at hand is reported by set: "authored", each news file by its name, each `--data` file,
and "news", all but the authored sentences together. `--output` receives `report.json`, which holds all
figures, and `report.md`, `confusion.png` and `reliability.png`, which are made from it alone. With
`--compare A B` in place of `--model` it receives `comparison.json` and `comparison.md`: how two checkpoints
differ, and how likely that is chance. The measures themselves are in `measures.py`.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

import baseline
import data
import report
from data import DataError, Example
from measures import ECE_BINS, INTERVAL, Ids, metrics, paired, secondary_metrics
from tasrih import LABELS, CheckpointError, Classifier, __version__
from tasrih.backends import BackendName
from tasrih.checkpoint import ONNX_FILE
from tasrih.files import write_text_atomically

AUTHORED: Final = data.AUTHORED_SOURCE
NEWS: Final = "news"
WORST: Final = 50
_AT_ONCE: Final = 512  # sentences between two lines of progress
_SLICE_KEYS: Final = ("n", "macro_f1", "accuracy", "labels", "expected_calibration_error")

Sets = dict[str, list[Example]]


@dataclass(frozen=True)
class Outputs:
    """What a system says of N sentences: probabilities (N, 4), second acts as ids (N,) with -1 for none, and
    how many sentences were longer than it reads. The baseline knows only probabilities."""

    probabilities: NDArray[np.float64]
    secondary: Ids | None = None
    truncated: int = 0


def gather(examples: list[Example], split: str, extra: list[str]) -> Sets:
    """Return the sentences of `split` by the name of their set; `extra` are `NAME=PATH` or `PATH` of JSONL.

    Raises `DataError` where a file is wrong, a name is taken, or a sentence of `extra` is known already.
    """
    sets: Sets = {}
    for example in examples:
        if example.split == split:
            path = Path(example.where.rpartition(":")[0])
            sets.setdefault(AUTHORED if path in data.AUTHORED else path.stem, []).append(example)
    added: list[Example] = []
    for argument in extra:
        name, path = _named(argument)
        if name in (*sets, AUTHORED, NEWS):
            raise DataError(f"--data {argument}: the name {name!r} is taken; give another as NAME={path}")
        # A row without a source would count as authored, whose texts are printed.
        rows = [replace(e, source=name) if e.source == AUTHORED else e for e in data.read(path, split=split)]
        sets[name] = [e for e in rows if e.split == split]
        if not sets[name]:
            raise DataError(f"--data {argument}: holds no sentence of the {split} split; give another file")
        added += rows
    if added:
        data.check([*examples, *added])
    if not sets:
        raise DataError(f"no sentence of the {split} split at hand; see python training/data.py check")
    return sets


def _named(argument: str) -> tuple[str, Path]:
    name, equals, path = argument.partition("=")
    return (name, Path(path)) if equals and name else (Path(argument).stem, Path(argument))


def classifier_outputs(classifier: Classifier, examples: list[Example]) -> Outputs:
    """Classify `examples`. Raises `DataError` with file and line for one that is no Arabic sentence."""
    probabilities = np.empty((len(examples), len(LABELS)))
    secondary = np.full(len(examples), -1)
    truncated = 0
    for start in range(0, len(examples), _AT_ONCE):
        rows = examples[start : start + _AT_ONCE]
        try:
            predictions = classifier.classify([example.text for example in rows])
        except ValueError:
            for example in rows:  # one by one, to name the file and line of the first that is refused
                try:
                    classifier.classify(example.text)
                except ValueError as error:
                    raise DataError(f"{example.where}: {error}") from None
            raise
        for row, prediction in enumerate(predictions, start):
            probabilities[row] = [prediction.scores[label] for label in LABELS]
            secondary[row] = -1 if prediction.secondary is None else prediction.secondary.id
            truncated += prediction.truncated
        _say(f"classified {start + len(rows):,} of {len(examples):,} sentences")
    return Outputs(probabilities, secondary, truncated)


def evaluate_sets(sets: Sets, systems: dict[str, Outputs], resamples: int, seed: int) -> dict[str, Any]:
    """Return the report's `sets` and `mistakes`.

    `systems` maps "model", and "baseline" where there is one, to what it says of the sentences of all sets,
    one set after the other. Each set, and "news", has every measure by system, and a shorter form of them
    for each source and each `sampled` slice in it.
    """
    examples = [example for group in sets.values() for example in group]
    names = [name for name, group in sets.items() for _ in group]
    gold = np.array([example.label.id for example in examples])
    gold_secondary = np.array([-1 if e.secondary is None else e.secondary.id for e in examples])

    def measured(rows: Ids, outputs: Outputs) -> dict[str, Any]:
        probabilities, seconds = outputs.probabilities[rows], gold_secondary[rows]
        result = metrics(gold[rows], probabilities, resamples=resamples, seed=seed, gold_secondary=seconds)
        if outputs.secondary is not None:
            predicted = probabilities.argmax(axis=1)
            result["secondary"] = secondary_metrics(gold[rows], seconds, predicted, outputs.secondary[rows])
        return result

    def sliced(rows: Ids, key: Callable[[Example], str | None]) -> dict[str, Any]:
        keys = [key(examples[row]) for row in rows]
        return {
            value: {
                system: {name: full[name] for name in _SLICE_KEYS}
                for system, outputs in systems.items()
                for full in [measured(rows[[k == value for k in keys]], outputs)]
            }
            for value in dict.fromkeys(keys)
            if value is not None
        }

    return {
        "sets": {
            name: {
                "systems": {system: measured(rows, outputs) for system, outputs in systems.items()},
                "sources": sliced(rows, lambda example: example.source),
                "sampled": sliced(rows, lambda example: example.sampled),
            }
            for name, rows in _members(sets).items()
        },
        "mistakes": _worst(examples, names, gold, systems["model"].probabilities),
    }


def _members(sets: Sets) -> dict[str, Ids]:
    """Return, for each set and for all news sets together, which of all sentences belong to it."""
    names = np.repeat(list(sets), [len(group) for group in sets.values()])
    members: dict[str, Ids] = {name: np.flatnonzero(names == name) for name in sets}
    news = np.flatnonzero(names != AUTHORED)
    if len(news):
        members[NEWS] = news
    return members


def _worst(
    examples: list[Example], names: list[str], gold: Ids, probabilities: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Return the mistakes of the highest confidence; texts of the authored set only, which are ours."""
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != gold)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:WORST]
    return [
        {
            "set": names[row],
            "id": examples[row].id,
            "label": str(examples[row].label),
            "secondary": None if examples[row].secondary is None else str(examples[row].secondary),
            "predicted": str(LABELS[predicted[row]]),
            "scores": {str(label): round(float(probabilities[row, label.id]), 4) for label in LABELS},
            **({"text": examples[row].text} if names[row] == AUTHORED else {}),
        }
        for row in worst.tolist()
    ]


def model_facts(classifier: Classifier, backend: BackendName) -> dict[str, Any]:
    """Return what tells this model from others, and the libraries that ran it."""
    checkpoint = classifier.checkpoint
    if backend == "auto":
        backend = "onnx" if checkpoint.has(ONNX_FILE) else "torch"  # as tasrih.backends.load chooses
    libraries = ["numpy", "tokenizers", "scikit-learn", "evaluate"]
    libraries += ["onnxruntime"] if backend == "onnx" else ["torch", "transformers"]
    return {
        "name": checkpoint.name,
        "backend": backend,
        "files": dict(checkpoint.files),
        "max_length": checkpoint.max_length,
        "temperature": checkpoint.temperature,
        "secondary_threshold": checkpoint.secondary_threshold,
        "training_sentences": checkpoint.training.get("sentences"),
        "libraries": {"tasrih": __version__, **{name: version(name) for name in libraries}},
    }


def _say(line: str) -> None:
    print(f"evaluation: {line}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Settings:
    """How an evaluation is made: the backend, bootstrap `resamples` and their `seed`, whether the TF-IDF
    baseline is trained to stand beside the model, where the rebuilt news lies, and further files, as `gather`
    takes them."""

    backend: BackendName = "auto"
    resamples: int = 1000
    seed: int = 0
    baseline: bool = True
    news: Path = data.NEWS
    extra: tuple[str, ...] = ()


def evaluate(model: str, split: str, output: Path, settings: Settings) -> dict[str, Any]:
    """Measure a checkpoint folder or hub name on `split`, write the report into `output`, and return it.

    Raises `CheckpointError`, and `DataError` where there is no sentence to measure.
    """
    classifier = Classifier.load(model, backend=settings.backend)
    labelled = data.load(settings.news)
    sets = gather(labelled, split, list(settings.extra))
    _say(", ".join(f"{name} {len(group):,}" for name, group in sets.items()))
    examples = [example for group in sets.values() for example in group]
    systems = {"model": classifier_outputs(classifier, examples)}
    training = [example for example in labelled if example.split == "train"]
    if settings.baseline:
        _say(f"training the TF-IDF baseline on {len(training):,} sentences")
        systems["baseline"] = Outputs(baseline.probabilities(training, [e.text for e in examples]))
    _say("measuring")
    figures = {
        "model": model_facts(classifier, settings.backend),
        "split": split,
        "settings": {
            "resamples": settings.resamples,
            "seed": settings.seed,
            "interval": INTERVAL,
            "bins": ECE_BINS,
            "baseline_sentences": len(training) if settings.baseline else None,
        },
        "truncated": systems["model"].truncated,
        **evaluate_sets(sets, systems, settings.resamples, settings.seed),
    }
    text = json.dumps(figures, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    write_text_atomically(output / "report.json", text)
    report.write(json.loads(text), output)
    _say(f"wrote {output / 'report.md'}")
    return json.loads(text)


def compare(models: tuple[str, str], split: str, output: Path, settings: Settings) -> dict[str, Any]:
    """Put two checkpoints side by side on `split`; write `comparison.json` and `.md` into `output`."""
    sets = gather(data.load(settings.news), split, list(settings.extra))
    examples = [example for group in sets.values() for example in group]
    gold = np.array([example.label.id for example in examples])
    predicted: list[Ids] = []
    facts: list[dict[str, Any]] = []
    for model in models:
        classifier = Classifier.load(model, backend=settings.backend)
        _say(f"{model}: {len(examples):,} sentences")
        predicted.append(classifier_outputs(classifier, examples).probabilities.argmax(axis=1))
        facts.append(model_facts(classifier, settings.backend))
    rows = _members(sets)
    figures = {
        "models": facts,
        "split": split,
        "settings": {"resamples": settings.resamples, "seed": settings.seed, "interval": INTERVAL},
        "sets": {
            name: paired(
                gold[chosen], predicted[0][chosen], predicted[1][chosen],
                resamples=settings.resamples, seed=settings.seed,
            )
            for name, chosen in rows.items()
        },
    }  # fmt: skip
    text = json.dumps(figures, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    write_text_atomically(output / "comparison.json", text)
    write_text_atomically(output / "comparison.md", report.render_comparison(figures))
    _say(f"wrote {output / 'comparison.md'}")
    return figures


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure a checkpoint, or compare two, on a labelled split.")
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--model", help="checkpoint folder, or owner/name on the hub")
    wanted.add_argument("--compare", nargs=2, metavar=("A", "B"), help="two of them, side by side")
    parser.add_argument("--split", choices=["validation", "test"], default="test")
    parser.add_argument("--output", type=Path, required=True, help="folder for the report")
    parser.add_argument("--backend", choices=get_args(BackendName), default="auto")
    parser.add_argument(
        "--data", action="append", default=[], metavar="[NAME=]PATH",
        help="further labelled JSONL, a news set of its own; named by its file without NAME",
    )  # fmt: skip
    parser.add_argument("--resamples", type=int, default=1000, help="bootstrap resamples of each interval")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-baseline", dest="baseline", action="store_false", help="leave TF-IDF out")
    arguments = parser.parse_args(argv)
    if arguments.resamples < 1 or arguments.seed < 0:
        parser.error("--resamples must be 1 or more, and --seed 0 or more")
    try:  # now, not after minutes of work
        arguments.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--output {arguments.output}: cannot be made a folder ({error.strerror})")
    settings = Settings(
        arguments.backend,
        arguments.resamples,
        arguments.seed,
        arguments.baseline,
        extra=tuple(arguments.data),
    )
    try:
        if arguments.compare:
            first, second = arguments.compare
            figures = compare((first, second), arguments.split, arguments.output, settings)
            print(report.render_comparison(figures))
        else:
            evaluate(arguments.model, arguments.split, arguments.output, settings)
    except (DataError, CheckpointError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
