"""Configurations of fine-tuning runs: the shipped ones, and what is refused before anything is loaded."""

from pathlib import Path

import pytest

import recipe
from config import ConfigError, load
from recipe import Optimizer, Recipe, with_value

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize("name", ["compact", "arabertv02-base", "arabertv02-large", "smoke"])
def test_shipped_configurations_load_and_give_each_value_a_place(name: str) -> None:
    loaded = load(Recipe, CONFIGS / f"{name}.toml")
    assert loaded.model.name.startswith("tasrih-")
    if name.startswith("arabert"):
        size = name.rpartition("-")[2]
        assert loaded.model.encoder == f"aubmindlab/bert-{size}-arabertv02"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=1", r"unknown key 'optimizer.lr'; expected one of: optimizer.learning_rate"),
        ("optimizer.epochs=1.5", r"'optimizer.epochs' is 1.5 \(float\); expected int"),
        ("optimizer.learning_rate=0.0", r"optimizer.learning_rate is 0.0; expected more than 0"),
        ("optimizer.warmup_share=1.0", r"optimizer.warmup_share is 1.0; expected 0 to under 1"),
        ("optimizer.patience=0", r"optimizer.patience is 0; expected 1 or more"),
        ("objective.secondary_weight=0.5", r"expected 0 to under 0.5"),
        ("objective.dissent_weight=0.5", r"objective.dissent_weight is 0.5; expected 0 to under 0.5"),
        ("objective.dissent_weight=0.45", r"leave the primary act 0.39; lower one of them"),
        ("objective.label_smoothing=1.0", r"label_smoothing is 1.0"),
        ("objective.focal_gamma=2.0", r"focal_gamma goes with objective.loss = 'focal', and only with it"),
        ("objective.loss=focal", r"focal_gamma goes with"),
        ("optimizer.learning_rate=nan", r"optimizer.learning_rate is nan; expected more than 0"),
        ("optimizer.weight_decay=-1", r"optimizer.weight_decay is -1.0; expected 0 or more"),
        ("data.soft_weight=0.0", r"data.soft_weight is 0.0"),
        ("data.respelled=2", r"expected a share from 0 to 1"),
        ("speed.loader_workers=-1", r"speed.loader_workers is -1"),
        ("seeds=[-1]", r"expected one or more, each once, from 0"),
        ("objective.loss=hinge", r"expected one of \['cross_entropy', 'focal'\]"),
        ("model.max_length=4", r"expected 8 tokens or more"),
        ("model.dropout=1.0", r"model.dropout is 1.0"),
        ("data.limit=0", r"data.limit is 0"),
        ("seeds=[]", r"seeds is \[\]; expected one or more, each once"),
        ("seeds=[1, 1]", r"seeds is \[1, 1\]; expected one or more, each once"),
        ("search.ranges={}", r"a range for 1 key or more"),
        ("search.ranges={'data.news' = {low = 1, high = 2}}", r"'data.news' is no number"),
        ("search.ranges={'optimizer.epochs' = {low = 3, high = 2}}", r"expected low under high"),
        ("search.ranges={'optimizer.epochs' = {low = 0, high = 2}}", r"optimizer.epochs is 0"),
        ("search.ranges={'optimizer.epochs' = {low = 0, high = 2, log = true}}", r"over 0 by logarithm"),
        ("search.ranges=3", r"'search.ranges' is 3; expected a table"),
    ],
)
def test_what_cannot_be_run_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(Recipe, CONFIGS / "compact.toml", [override])


def test_a_batch_is_shared_by_devices_and_passes() -> None:
    assert Optimizer(1.0, 1, 32).micro_batch(1) == (32, 1)
    assert Optimizer(1.0, 1, 32).micro_batch(4) == (8, 1)
    assert Optimizer(1.0, 1, 32, micro_batch_size=4).micro_batch(2) == (4, 4)
    assert Optimizer(1.0, 1, 32, micro_batch_size=64).micro_batch(2) == (16, 1)
    with pytest.raises(ConfigError, match="3 devices cannot share alike"):
        Optimizer(1.0, 1, 32).micro_batch(3)
    with pytest.raises(ConfigError, match="expected a divisor"):
        Optimizer(1.0, 1, 32, micro_batch_size=5).micro_batch(1)


def test_a_searched_value_keeps_its_type() -> None:
    base = load(Recipe, CONFIGS / "compact.toml")
    assert with_value(base, "optimizer.learning_rate", 1e-3).optimizer.learning_rate == 1e-3
    assert with_value(base, "optimizer.epochs", 3.0).optimizer.epochs == 3
    assert with_value(base, "optimizer.epochs", 3.0).objective == base.objective
    assert isinstance(recipe.with_value(base, "optimizer.epochs", 3.0).optimizer.epochs, int)
