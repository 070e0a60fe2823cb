"""The report that people read: Markdown and pictures, made from `report.json` alone.

    python training/report.py DIR    # again, from DIR/report.json

The layout of the JSON is what `evaluation.py` writes.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tasrih.files import write_atomically, write_text_atomically
from tasrih.labels import LABELS

_NAMES: Final = {str(label): str(label).replace("_", " ") for label in LABELS}
_SYSTEMS: Final = {"model": "model", "baseline": "TF-IDF"}


def write(report: dict[str, Any], folder: Path) -> None:
    """Write `report.md`, `confusion.png` and `reliability.png` into `folder`."""
    write_text_atomically(folder / "report.md", render(report))
    for name, draw in (("confusion.png", draw_confusion), ("reliability.png", draw_reliability)):
        canvas = FigureCanvasAgg(draw(report))  # Agg: no display is needed, and no global state is touched
        write_atomically(folder / name, lambda path, canvas=canvas: canvas.print_png(str(path)))


def render(report: dict[str, Any]) -> str:
    """Return the Markdown of a parsed `report.json`."""
    parts = [
        f"# {report['model']['name']} on the {report['split']} split",
        _facts(report),
        "## Overall",
        _overall(report),
        *_per_set(report),
        "## By source and by how the sentences were sampled",
        "The natural slice was drawn at random and is what users meet; the cue slice was drawn by cue words. "
        "Macro-F1 is left out where a label has no sentence.",
        _slices(report),
        "## Calibration",
        "Expected calibration error over bins of equal width (Guo et al. 2017), and the predictions whose "
        "confidence is over 0.9: their share of all, and how many of them are right.",
        _calibration(report),
        "![Reliability by confidence](reliability.png)",
        "## Two acts in one sentence",
        "A second act is found where its label is right; swapped ones have both acts, in the other order.",
        _second_acts(report),
        "## Worst mistakes",
        f"The {len(report['mistakes'])} with the highest confidence in a wrong label. "
        "Texts are printed where the licence allows.",
        _mistakes(report),
    ]
    return "\n\n".join(parts) + "\n"


def render_comparison(comparison: dict[str, Any]) -> str:
    """Return the Markdown of what `evaluation.py --compare` found."""
    first, second = (
        f"{'AB'[i]}, {model['name']} ({model['backend']})" for i, model in enumerate(comparison["models"])
    )
    settings = comparison["settings"]
    rows = [
        [
            name,
            f"{figures['n']:,}",
            *(f"{score:.3f}" for score in figures["macro_f1"]),
            f"{d['value']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]",
            f"{figures['share_better']:.0%}",
            f"{figures['only_first_right']:,}",
            f"{figures['only_second_right']:,}",
            f"{figures['mcnemar_p']:.4f}",
        ]
        for name, figures in comparison["sets"].items()
        for d in [figures["macro_f1_difference"]]
    ]
    head = [
        "set",
        "sentences",
        "macro-F1 A",
        "macro-F1 B",
        "B - A",
        "B ahead",
        "only A right",
        "only B right",
        "McNemar p",
    ]
    parts = [
        f"# {first} and {second} on the {comparison['split']} split",
        f"Brackets hold {settings['interval']:.0%} intervals of the paired bootstrap "
        f"({settings['resamples']:,} resamples, seed {settings['seed']}); 'B ahead' is the share of them in "
        "which B has the higher macro-F1. McNemar's test is exact and two-sided.",
        table(head, rows),
    ]
    return "\n\n".join(parts) + "\n"


def _facts(report: dict[str, Any]) -> str:
    model, settings = report["model"], report["settings"]
    sentences = model["training_sentences"]
    if isinstance(sentences, dict):  # by split
        sentences = ", ".join(f"{split} {count:,}" for split, count in sentences.items())
    lines = [
        f"Backend {model['backend']}, at most {model['max_length']} tokens, temperature "
        f"{model['temperature']:.3f}, second acts from {model['secondary_threshold']:.3f}.",
        f"Trained on sentences: {'not in the checkpoint' if sentences is None else sentences}.",
        f"{report['truncated']:,} sentences were longer than the model reads.",
        f"Brackets hold {settings['interval']:.0%} percentile bootstrap intervals ({settings['resamples']:,} "
        f"resamples of sentences, seed {settings['seed']}).",
    ]
    if settings["baseline_sentences"] is not None:
        lines.append(
            "TF-IDF: words 1-2, characters 2-5 and logistic regression, trained on "
            f"{settings['baseline_sentences']:,} sentences."
        )
    lines.append(", ".join(f"{name} {number}" for name, number in model["libraries"].items()) + ".")
    files = table(["file", "SHA-256"], ([name, f"`{digest}`"] for name, digest in model["files"].items()))
    return "\n".join(f"- {line}" for line in lines) + "\n\n" + files


def _overall(report: dict[str, Any]) -> str:
    header = ["set", "sentences", "system", "macro-F1", "accuracy", *(f"F1 {n}" for n in _NAMES.values())]
    return table(
        header,
        (
            [name, f"{m['n']:,}", _SYSTEMS[system], _rate(m["macro_f1"]), _rate(m["accuracy"]),
             *(_number(m["labels"][label]["f1"]["value"]) for label in _NAMES)]
            for name, system, m in _systems(report)
        ),
    )  # fmt: skip


def _per_set(report: dict[str, Any]) -> Iterable[str]:
    yield "## By label"
    yield "![Confusion matrices](confusion.png)"
    for name, group in report["sets"].items():
        systems = group["systems"]
        yield f"### {name}"
        yield table(
            ["label", "sentences", "system", "precision", "recall", "F1"],
            (
                [_NAMES[label], f"{m['labels'][label]['support']:,}", _SYSTEMS[system],
                 *(_rate(m["labels"][label][key]) for key in ("precision", "recall", "f1"))]
                for label in _NAMES
                for system, m in systems.items()
            ),
        )  # fmt: skip
        yield "Confusion of the model, row = gold label, column = predicted label:"
        yield table(
            ["", *_NAMES.values()],
            (
                [label, *map(str, row)]
                for label, row in zip(_NAMES.values(), systems["model"]["confusion"], strict=True)
            ),
        )


def _slices(report: dict[str, Any]) -> str:
    rows: list[list[str]] = []
    for name, group in report["sets"].items():
        for kind in ("sampled", "sources"):
            for value, systems in group[kind].items():
                for system, m in systems.items():
                    supports = [m["labels"][label]["support"] for label in _NAMES]
                    macro = _rate(m["macro_f1"]) if all(supports) else "–"
                    rows.append(
                        [name, value, f"{m['n']:,}", _SYSTEMS[system], macro, _rate(m["accuracy"]),
                         *(f"{_number(m['labels'][label]['f1']['value'])} ({support})" if support else "–"
                           for label, support in zip(_NAMES, supports, strict=True))]
                    )  # fmt: skip
    labels = [f"F1 {name} (sentences)" for name in _NAMES.values()]
    return table(["set", "slice", "sentences", "system", "macro-F1", "accuracy", *labels], rows)


def _calibration(report: dict[str, Any]) -> str:
    return table(
        ["set", "system", "expected calibration error", "share over 0.9", "right over 0.9"],
        (
            [name, _SYSTEMS[system], _number(m["expected_calibration_error"]),
             _number(m["confident"]["coverage"]), _number(m["confident"]["precision"])]
            for name, system, m in _systems(report)
        ),
    )  # fmt: skip


def _second_acts(report: dict[str, Any]) -> str:
    counts, shares = ("gold", "predicted", "found", "swapped"), ("precision", "recall", "f1")
    return table(
        ["set", "accuracy", "accuracy, second act accepted", *counts, "precision", "recall", "F1"],
        (
            [name, _number(m["accuracy"]["value"]), _number(m["accuracy_with_secondary"]),
             *(str(m["secondary"][key]) for key in counts), *(_number(m["secondary"][key]) for key in shares)]
            for name, system, m in _systems(report)
            if system == "model"
        ),
    )  # fmt: skip


def _mistakes(report: dict[str, Any]) -> str:
    return table(
        ["set", "id", "gold", "predicted", "confidence", "text"],
        (
            [m["set"], m["id"], " + ".join(_NAMES[act] for act in (m["label"], m["secondary"]) if act),
             _NAMES[m["predicted"]], _number(m["scores"][m["predicted"]]), m.get("text", "")]
            for m in report["mistakes"]
        ),
    )  # fmt: skip


def _systems(report: dict[str, Any]) -> Iterable[tuple[str, str, dict[str, Any]]]:
    for name, group in report["sets"].items():
        for system, measures in group["systems"].items():
            yield name, system, measures


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _rate(rate: dict[str, float]) -> str:
    return f"{rate['value']:.3f} [{rate['low']:.3f}, {rate['high']:.3f}]"


def table(header: list[str], rows: Iterable[list[str]]) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(header), "|" + " --- |" * len(header), *map(line, rows)])


def draw_confusion(report: dict[str, Any]) -> Figure:
    """Return one confusion matrix of the model a set: counts, and shaded by share of the gold label."""

    def draw(axes: Any, name: str, measures: dict[str, Any]) -> None:
        counts = np.array(measures["confusion"])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            share = shares[row, column]
            axes.text(
                column, row, f"{count}\n{share:.0%}",
                ha="center", va="center", color="white" if share > 0.5 else "black",
            )  # fmt: skip
        ticks = [label.replace(" ", "\n") for label in _NAMES.values()]
        axes.set_xticks(range(len(ticks)), ticks, fontsize=9)
        axes.set_yticks(range(len(ticks)), ticks, fontsize=9)
        axes.set(xlabel="predicted", ylabel="gold", title=f"{name} ({measures['n']:,})")

    return _panels(report, draw)


def draw_reliability(report: dict[str, Any]) -> Figure:
    """Return one reliability diagram of the model a set: accuracy by confidence, and how many are there."""

    def draw(axes: Any, name: str, measures: dict[str, Any]) -> None:
        full = [row for row in measures["reliability"] if row["count"]]
        left, width = [row["low"] for row in full], full[0]["high"] - full[0]["low"]
        shares = [row["count"] / measures["n"] for row in full]
        axes.bar(left, shares, width, align="edge", color="lightgrey", label="share of predictions")
        axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1, label="calibrated")
        axes.plot(
            [row["confidence"] for row in full], [row["accuracy"] for row in full],
            color="tab:blue", marker="o", label="accuracy",
        )  # fmt: skip
        error = measures["expected_calibration_error"]
        axes.set(
            xlabel="confidence", xlim=(0, 1), ylim=(0, 1.02), aspect="equal",
            title=f"{name} ({measures['n']:,}), error {error:.3f}",
        )  # fmt: skip
        axes.legend(loc="upper left", fontsize=9)

    return _panels(report, draw)


def _panels(report: dict[str, Any], draw: Callable[[Any, str, dict[str, Any]], None]) -> Figure:
    """Return a figure with a panel a set, in rows of three at most."""
    sets = [(name, group["systems"]["model"]) for name, group in report["sets"].items()]
    columns = 2 if len(sets) == 4 else min(3, len(sets))
    rows = -(-len(sets) // columns)
    figure = Figure(figsize=(4.6 * columns, 4.6 * rows), dpi=110, layout="constrained")
    for index, (name, measures) in enumerate(sets, start=1):
        draw(figure.add_subplot(rows, columns, index), name, measures)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description="Make report.md and the pictures again from report.json.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    try:
        text = (folder / "report.json").read_text(encoding="utf-8")
    except OSError as error:
        parser.error(f"{folder / 'report.json'}: {error.strerror}; write it with training/evaluation.py")
    write(json.loads(text), folder)


if __name__ == "__main__":
    main()
