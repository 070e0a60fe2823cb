"""Hyperparameter search: Optuna draws values from the ranges that a configuration declares.

A trial is a run with the configuration's seeds; what counts is their mean macro-F1 on the validation split.
Trials lie in a SQLite file in the run folder: a search that was killed goes on with the next trial, and
several processes on one machine may work on the same search. Of a trial its values, scores and logs are kept.
"""

import shutil
from pathlib import Path
from statistics import mean
from typing import Any

import optuna
from accelerate import PartialState

import data
import runs
from config import ConfigError
from finetune import gather
from recipe import Recipe, with_value
from train import run_seeds


def search(recipe: Recipe, output: Path) -> str:
    """Run the trials that are left, write `search.json`, and return a line about the best one."""
    if recipe.search is None:
        raise ConfigError("--search: the configuration has no [search] table; see configs/compact.toml")
    if PartialState().num_processes > 1:
        raise ConfigError(
            "--search: a trial runs in one process; start several searches with the same --output instead"
        )
    runs.claim(output, recipe)
    ranges = recipe.search.ranges
    corpus = gather(recipe, data.load(recipe.data.news))

    def objective(trial: optuna.Trial) -> float:
        candidate = recipe
        for key, bounds in ranges.items():
            kind = type(_value(recipe, key))
            suggest: Any = trial.suggest_int if kind is int else trial.suggest_float
            value = suggest(key, kind(bounds.low), kind(bounds.high), log=bounds.log)
            candidate = with_value(candidate, key, value)
        folder = output / f"trial-{trial.number}"
        scores = run_seeds(candidate, corpus, folder)
        for seed in recipe.seeds:  # gigabytes each with a large encoder
            for name in ("trainer", "best", "checkpoint"):
                shutil.rmtree(folder / f"seed-{seed}" / name, ignore_errors=True)
        trial.set_user_attr("scores", {str(seed): score for seed, score in scores.items()})
        return mean(scores.values())

    study = optuna.create_study(
        storage=f"sqlite:///{output / 'search.db'}",
        study_name="search",
        direction="maximize",
        load_if_exists=True,
    )
    # The sampler has no seed: processes side by side, or one that goes on, would draw the same values again.
    limit = optuna.study.MaxTrialsCallback(recipe.search.trials, states=(optuna.trial.TrialState.COMPLETE,))
    if len(study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))) < recipe.search.trials:
        study.optimize(objective, callbacks=[limit])
    trials = [
        {"number": trial.number, "macro_f1": trial.value, "values": trial.params, **trial.user_attrs}
        for trial in study.trials
        if trial.state == optuna.trial.TrialState.COMPLETE
    ]
    runs.write_json(output / "search.json", {"best": study.best_params, "trials": trials})
    options = " ".join(f"--set {key}={value}" for key, value in study.best_params.items())
    return f"{output / 'search.json'}: best validation macro-F1 {study.best_value:.3f} with {options}"


def _value(recipe: Recipe, key: str) -> int | float:
    section, _, name = key.partition(".")
    return getattr(getattr(recipe, section), name)
