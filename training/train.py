"""Fine-tune an encoder for the four speech acts.

    python training/train.py configs/compact.toml --output runs/compact
    accelerate launch training/train.py configs/arabertv02-base.toml --output runs/arabert    # GPUs, the hub

The encoder may be a folder, such as `pretrain.py` writes, or a name on the Hugging Face hub. Into the run
folder go, for each seed, `seed-N/` with the trainer's states, TensorBoard logs and a checkpoint; then

    checkpoint/      the checkpoint of the best seed, in the form that `tasrih.Classifier.load` takes, with
                     its model card
    evaluation/      its report on the validation split, through `tasrih.Classifier`
    seeds.json       validation macro-F1 of each seed, their mean and spread
    history.png      loss and macro-F1 against the step
    config.json, environment.json

Started again, a run goes on from its last whole epoch and ends with the weights of an unbroken one. With
`--search`, the configuration's ranges are searched instead (Optuna), and the best values written down.
"""

import argparse
import json
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

from accelerate import PartialState
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import card
import data
import evaluation
import runs
from config import ConfigError, load
from data import DataError
from finetune import HISTORY_FILE, Corpus, fine_tune, fingerprint, gather
from recipe import Recipe
from tasrih import CheckpointError
from tasrih.checkpoint import FACTS_FILE, WEIGHTS_FILE, Checkpoint
from tasrih.files import write_atomically


def train(recipe: Recipe, output: Path) -> Path:
    """Run every seed of `recipe`, and return the folder of the best one's checkpoint.

    Raises `ConfigError` or `DataError` before anything is trained where that can be known.
    """
    corpus = gather(recipe, data.load(recipe.data.news))
    state = PartialState()
    if state.is_main_process:
        begun = any(output.glob("seed-*/trainer/checkpoint-*")) or any(output.glob("seed-*/checkpoint"))
        runs.claim(output, recipe, begun=begun, data=fingerprint(corpus))
        if not begun:
            runs.write_json(output / "environment.json", runs.environment())
    state.wait_for_everyone()
    scores = run_seeds(recipe, corpus, output)
    checkpoint = output / "checkpoint"
    if state.is_main_process:
        best = max(scores, key=scores.__getitem__)
        _copy(output / f"seed-{best}" / "checkpoint", checkpoint)
        runs.write_json(output / "seeds.json", summary(scores))
        histories = {seed: _read(output / f"seed-{seed}" / HISTORY_FILE) for seed in scores}
        canvas = FigureCanvasAgg(draw_history(histories))
        write_atomically(output / "history.png", lambda path: canvas.print_png(str(path)))
    state.wait_for_everyone()
    return checkpoint


def run_seeds(recipe: Recipe, corpus: Corpus, output: Path) -> dict[int, float]:
    """Fine-tune once a seed, and return the validation macro-F1 of each."""
    return {seed: fine_tune(recipe, seed, corpus, output / f"seed-{seed}") for seed in recipe.seeds}


def summary(scores: dict[int, float]) -> dict[str, Any]:
    """Return mean and standard deviation of the seeds' macro-F1 on validation; no deviation of one seed."""
    values = list(scores.values())
    return {
        "validation_macro_f1": {str(seed): score for seed, score in scores.items()},
        "mean": statistics.mean(values),
        "standard_deviation": statistics.stdev(values) if len(values) > 1 else None,
        "best": max(scores, key=scores.__getitem__),
    }


def _copy(source: Path, target: Path) -> None:
    """Copy a checkpoint, its facts last: a folder without them is no checkpoint yet.

    One that holds these weights already is left as it is, with what was exported into it since.
    """
    try:
        if Checkpoint.read(target).files[WEIGHTS_FILE] == Checkpoint.read(source).files[WEIGHTS_FILE]:
            return
    except (CheckpointError, KeyError):
        pass
    target.mkdir(parents=True, exist_ok=True)
    for name in (FACTS_FILE, card.CARD_FILE):
        (target / name).unlink(missing_ok=True)
    for path in sorted(source.iterdir(), key=lambda path: path.name == FACTS_FILE):
        write_atomically(target / path.name, lambda temporary, path=path: shutil.copyfile(path, temporary))


def _read(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))


def draw_history(histories: dict[int, list[dict[str, Any]]]) -> Figure:
    """Draw training loss, validation loss and validation macro-F1 against the step, a line a seed."""
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    panels = {"loss": "training loss", "eval_loss": "validation loss", "eval_macro_f1": "validation macro-F1"}
    for axes, (key, title) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for seed, history in histories.items():
            points = [(row["step"], row[key]) for row in history if key in row]
            axes.plot(*zip(*points, strict=True), marker="." if "eval" in key else "", label=f"seed {seed}")
        axes.set(title=title, xlabel="step")
        axes.grid(alpha=0.3)
    figure.axes[-1].legend(fontsize="small")
    return figure


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Fine-tune an encoder for the four speech acts.")
    parser.add_argument("config", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="run folder; resumed where it exists")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--search", action="store_true", help="search the ranges of [search] instead")
    parser.add_argument(
        "--push-to-hub", metavar="OWNER/NAME", help="then upload the checkpoint with its card to the hub"
    )
    arguments = parser.parse_args(argv)
    try:
        recipe = load(Recipe, arguments.config, arguments.overrides)
        if arguments.search:
            from search import search  # Optuna, which nothing else needs

            print(search(recipe, arguments.output), file=sys.stderr)
            return
        folder = train(recipe, arguments.output)
        if PartialState().is_main_process:
            if not (folder / card.CARD_FILE).exists():
                settings = evaluation.Settings(baseline=False, news=recipe.data.news)
                report = evaluation.evaluate(
                    str(folder), "validation", arguments.output / "evaluation", settings
                )
                card.write(folder, report, arguments.push_to_hub)
            if arguments.push_to_hub:
                print(card.push(folder, arguments.push_to_hub), file=sys.stderr)
            print((arguments.output / "seeds.json").read_text(encoding="utf-8"), file=sys.stderr)
    except (ConfigError, DataError, CheckpointError, card.HubError) as error:
        parser.error(str(error))
    except Exception as error:
        said = runs.unwritten(error, arguments.output)
        parser.error(f"{said}; what is trained so far is kept: the same command goes on from there")


if __name__ == "__main__":
    main()
