"""What a fine-tuning run is: the schema of `train.py`'s TOML files, checked before anything loads.

Every key is read by something; what cannot be run is refused here, or, where it depends on the number of
devices, by `micro_batch`.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import data
from config import ConfigError


@dataclass(frozen=True)
class Model:
    """The encoder to start from, a folder or a hub name, and how its head is made."""

    encoder: str
    name: str  # of the checkpoint that comes out
    max_length: int = 128  # tokens with the special ones; 99.5% of the labelled sentences are shorter
    dropout: float = 0.1  # of the hidden layers; that of attention stays the encoder's own
    licence: str = "other"  # of the encoder's weights, for the model card

    def __post_init__(self) -> None:
        if self.max_length < 8:
            raise ConfigError(f"model.max_length is {self.max_length}; expected 8 tokens or more")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"model.dropout is {self.dropout}; expected 0 to under 1")


@dataclass(frozen=True)
class Data:
    """Which sentences are learned: the authored ones, those rebuilt in `news`, and `soft`, a JSONL file of
    further texts with the `scores` that a teacher gave them (`distil.py`), each weighed by `soft_weight`.
    `respelled` is the share of training sentences that are read in another press's spelling (`spelling.py`);
    `limit` bounds the labelled sentences of each split, taken at even distances, for trial runs."""

    news: Path = data.NEWS
    respelled: float = 0.0
    limit: int | None = None
    soft: Path | None = None
    soft_weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.soft_weight > 0:
            raise ConfigError(f"data.soft_weight is {self.soft_weight}; expected more than 0")
        if not 0 <= self.respelled <= 1:
            raise ConfigError(f"data.respelled is {self.respelled}; expected a share from 0 to 1")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"data.limit is {self.limit}; expected 1 sentence or more, or leave it out")


@dataclass(frozen=True)
class Objective:
    """What is minimised.

    `secondary_weight` is the share of the target that a second act takes, `dissent_weight` that of the label
    of an annotator whom two others outvoted. `class_weight_power` p weighs
    each class by its frequency to the power -p: 0 not at all, 1 all classes alike. `focal` multiplies each
    term of the cross-entropy by (1 - probability) to the power `focal_gamma` (Lin et al. 2017).
    """

    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    focal_gamma: float | None = None
    label_smoothing: float = 0.0
    secondary_weight: float = 0.3
    dissent_weight: float = 0.0
    class_weight_power: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (
            ("secondary_weight", self.secondary_weight),
            ("dissent_weight", self.dissent_weight),
        ):
            if not 0 <= value < 0.5:
                raise ConfigError(
                    f"objective.{name} is {value}; expected 0 to under 0.5, so that the primary act keeps "
                    "the larger share"
                )
        primary = (1 - self.secondary_weight) * (1 - self.dissent_weight)  # of a sentence that has all three
        if primary <= self.dissent_weight:
            raise ConfigError(
                f"objective.secondary_weight {self.secondary_weight} and objective.dissent_weight "
                f"{self.dissent_weight} leave the primary act {primary:.2f}; lower one of them, so that it "
                "keeps the larger share"
            )
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"objective.label_smoothing is {self.label_smoothing}; expected 0 to under 1")
        if (self.loss == "focal") != (self.focal_gamma is not None):
            raise ConfigError("objective.focal_gamma goes with objective.loss = 'focal', and only with it")
        if self.focal_gamma is not None and not self.focal_gamma >= 1:
            raise ConfigError(
                f"objective.focal_gamma is {self.focal_gamma}; expected 1 or more, for the slope to be finite"
            )


@dataclass(frozen=True)
class Optimizer:
    """AdamW with linear warm-up and decay.

    `batch_size` is the number of sentences in one step over all devices together; `micro_batch_size` bounds
    how many of them one device takes at once, the rest by gradient accumulation. `layer_decay` multiplies
    the rate for each layer further down. `patience` epochs without a better macro-F1 end the run.
    """

    learning_rate: float
    epochs: int
    batch_size: int
    micro_batch_size: int | None = None
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    layer_decay: float = 1.0
    clip_norm: float = 1.0
    patience: int | None = None

    def __post_init__(self) -> None:
        for name in ("learning_rate", "epochs", "batch_size", "layer_decay", "clip_norm"):
            if not getattr(self, name) > 0:  # which catches nan, too
                raise ConfigError(f"optimizer.{name} is {getattr(self, name)}; expected more than 0")
        if not 0 <= self.warmup_share < 1:
            raise ConfigError(f"optimizer.warmup_share is {self.warmup_share}; expected 0 to under 1")
        if not self.weight_decay >= 0:
            raise ConfigError(f"optimizer.weight_decay is {self.weight_decay}; expected 0 or more")
        for name in ("micro_batch_size", "patience"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ConfigError(f"optimizer.{name} is {value}; expected 1 or more, or leave it out")

    def micro_batch(self, devices: int) -> tuple[int, int]:
        """Return sentences a device and a forward pass, and how many passes make a step.

        Raises `ConfigError` where the batch does not divide so: it would silently be another one.
        """
        share, rest = divmod(self.batch_size, devices)
        if rest:
            raise ConfigError(
                f"optimizer.batch_size is {self.batch_size}, which {devices} devices cannot share alike; "
                "take a multiple"
            )
        micro = min(share, self.micro_batch_size or share)
        if share % micro:
            raise ConfigError(
                f"optimizer.micro_batch_size is {micro}, of {share} sentences a device; expected a divisor"
            )
        return micro, share // micro


@dataclass(frozen=True)
class Speed:
    """How the devices are used. `auto` is bf16 on a GPU and fp32 on a CPU."""

    precision: Literal["auto", "bf16", "fp32"] = "auto"
    compile: bool = False  # the encoder's layers; pays off on a GPU after some seconds of compiling
    loader_workers: int = 0  # processes that collate batches ahead

    def __post_init__(self) -> None:
        if self.loader_workers < 0:
            raise ConfigError(f"speed.loader_workers is {self.loader_workers}; expected 0 or more")


@dataclass(frozen=True)
class Range:
    """The values from `low` to `high` that a search draws from, evenly, or evenly in their logarithm."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ConfigError(
                f"range from {self.low} to {self.high}{' by logarithm' if self.log else ''}; expected low "
                "under high, and over 0 by logarithm"
            )


@dataclass(frozen=True)
class Search:
    """What `train.py --search` tries: `ranges` by the key that they are for, "optimizer.learning_rate"."""

    trials: int
    ranges: dict[str, Range]

    def __post_init__(self) -> None:
        if self.trials < 1 or not self.ranges:
            raise ConfigError("search: expected 1 trial or more, and a range for 1 key or more")


@dataclass(frozen=True)
class Recipe:
    """A whole run: one checkpoint a seed, of which that with the best validation macro-F1 is kept."""

    model: Model
    optimizer: Optimizer
    seeds: tuple[int, ...] = (1,)
    data: Data = field(default_factory=Data)
    objective: Objective = field(default_factory=Objective)
    speed: Speed = field(default_factory=Speed)
    search: Search | None = None

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ConfigError(f"seeds is {list(self.seeds)}; expected one or more, each once, from 0")
        for key, bounds in (self.search.ranges if self.search else {}).items():
            for value in (bounds.low, bounds.high):  # a range whose ends cannot be run is refused now
                with_value(dataclasses.replace(self, search=None), key, value)


def with_value(recipe: Recipe, key: str, value: float) -> Recipe:
    """Return `recipe` with the number at `key`, "optimizer.learning_rate", replaced and checked again."""
    section, _, name = key.partition(".")
    part: Any = getattr(recipe, section, None)
    if not dataclasses.is_dataclass(part) or type(getattr(part, name, None)) not in (int, float):
        raise ConfigError(f"search.ranges: {key!r} is no number of this configuration")
    kind = type(getattr(part, name))
    changed = dataclasses.replace(part, **{name: kind(value)})  # type: ignore[type-var]
    return dataclasses.replace(recipe, **{section: changed})
