"""How common each act is in a corpus, corrected for the classifier's own errors.

Counting predicted labels is biased: a classifier that misses half of the accusations reports half of them,
and one that errs on one report in twenty reports many that are none. What it does to each true label is
known from labelled sentences, its confusion matrix; the shares of the true labels are those that this matrix
turns into the counts observed: the adjusted count of Forman (2008, "Quantifying counts and costs via
classification"; for several labels also Lipton et al. 2018, "Detecting and correcting for label shift with
black box predictors").

The estimate is the likeliest one that is a share, from 0 to 1. The interval is of the adjusted count itself,
which knows no such bounds, over what matrix and counts could be after those seen, each with Jeffreys' prior
(Brown, Cai and DasGupta 2001); only then is it cut to 0 to 1, as Lang and Reiczigel (2014, "Confidence limits
for prevalence of disease adjusted for estimated sensitivity and specificity") do for two labels. To bound
each draw instead would move what one rare act takes below nothing onto the others: their intervals then hold
less often than they say. training/interval_coverage.py measures how often these do.

It holds where sentences of one label are of the same kind in the corpus as among the labelled ones, and only
the shares differ ("label shift"). Labelled sentences that were picked by cue words, as most of this project's
are, are harder than those of a newspaper, and would correct far too much: label sentences drawn at random
from the corpus itself, some two hundred, and more where an act is rare: a handful of sentences of it make
intervals wide.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasrih.labels import LABELS, Label
from tasrih.predict import Prediction

Floats = NDArray[np.floating[Any]]

# Jeffreys' prior, a half for each cell: an error never seen among a few sentences may still happen.
_PRIOR: Final = 0.5
_ITERATIONS: Final = 2000
_TOLERANCE: Final = 1e-7  # a thousandth of what 10,000,000 sentences could tell apart
DRAWS: Final = 2000  # fewer leave the ends of an interval uncertain enough to cost it a hundredth of its hits


@dataclass(frozen=True)
class Share:
    """The share of one act: the estimate, and an interval that holds the truth with probability `level`.
    `counted` is the share of the predictions that have this label, uncorrected."""

    value: float
    low: float
    high: float
    counted: float


@dataclass(frozen=True)
class Prevalence:
    """The shares of the four acts in `n` sentences; their values sum to 1."""

    n: int
    level: float
    shares: Mapping[Label, Share]


def prevalence(
    predictions: Iterable[Prediction | Label | str],
    confusion: ArrayLike,
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Prevalence:
    """Return the corrected share of each act among `predictions`, with intervals.

    `confusion` holds counts (4, 4) of labelled sentences of this kind of text that the model has not learned
    from: rows by true label, columns by predicted label, in the order of `tasrih.LABELS`. `draws` sample what
    matrix and shares could be, for the interval. Raises `TypeError` for what is no prediction and
    `ValueError` where there is none, or where a label has no labelled sentence.
    """
    return prevalence_of_counts(Counter(_labels(predictions)), confusion, level=level, draws=draws, seed=seed)


def prevalence_of_counts(
    counts: Mapping[Label, int],
    confusion: ArrayLike,
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Prevalence:
    """Return `prevalence` from how many sentences have each predicted label; one left out counts as 0.

    Raises `ValueError` as `prevalence` does.
    """
    found = _counts(counts)
    if not found.any():
        raise ValueError("predictions: found none; expected those of one sentence or more")
    return _estimate(found, _checked(confusion), level, draws, seed)


def prevalence_by(
    predictions: Iterable[Prediction | Label | str],
    groups: Iterable[Hashable],
    confusion: ArrayLike,
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[Any, Prevalence]:
    """Return `prevalence` for each group, in the order of their first prediction.

    `groups` gives each prediction's group: a source, a month. Raises as `prevalence` does, and `ValueError`
    where there are not as many groups as predictions.
    """
    members: dict[Any, list[Label]] = {}
    for label, group in zip(_labels(predictions), groups, strict=True):
        members.setdefault(group, []).append(label)
    if not members:
        raise ValueError("predictions: found none; expected those of one sentence or more")
    matrix = _checked(confusion)
    return {
        group: _estimate(_counts(Counter(rows)), matrix, level, draws, seed)
        for group, rows in members.items()
    }


def _labels(predictions: Iterable[Prediction | Label | str]) -> list[Label]:
    if isinstance(predictions, (str, bytes)):
        raise TypeError(f"predictions: found {type(predictions).__name__}, expected several predictions")
    labels: list[Label] = []
    for position, prediction in enumerate(predictions):
        try:
            labels.append(prediction.label if isinstance(prediction, Prediction) else Label(prediction))
        except ValueError:
            raise TypeError(
                f"predictions[{position}]: found {prediction!r}, expected a Prediction, a Label or its name"
            ) from None
    return labels


def _counts(found: Mapping[Label, int]) -> Floats:
    return np.array([found.get(label, 0) for label in LABELS], dtype=np.float64)


def _checked(confusion: ArrayLike) -> Floats:
    matrix = np.asarray(confusion, dtype=np.float64)
    if matrix.shape != (len(LABELS),) * 2 or not np.isfinite(matrix).all() or (matrix < 0).any():
        raise ValueError(
            f"confusion: found shape {matrix.shape}, expected counts (4, 4), rows by true label in the order "
            "of tasrih.LABELS"
        )
    for label, row in zip(LABELS, matrix, strict=True):
        if not row.any():
            raise ValueError(f"confusion: found no sentence of {str(label)!r}; label some of the corpus")
    return matrix


def _estimate(counts: Floats, confusion: Floats, level: float, draws: int, seed: int) -> Prevalence:
    if not 0 < level < 1:
        raise ValueError(f"level: found {level}, expected a probability between 0 and 1")
    if draws < 1:
        raise ValueError(f"draws: found {draws}, expected 1 or more")
    rng = np.random.default_rng(seed)
    total = counts.sum()
    # What the matrix could be, and what the shares of predicted labels could be.
    matrices = np.stack([rng.dirichlet(row + _PRIOR, size=draws) for row in confusion], axis=1)
    observed = rng.dirichlet(counts + _PRIOR, size=draws)
    low, high = _interval(np.linalg.solve(matrices.transpose(0, 2, 1), observed[..., None])[..., 0], level)
    rates = (confusion + _PRIOR) / (confusion + _PRIOR).sum(axis=1, keepdims=True)
    value = _likeliest(counts / total, rates)
    shares = {
        label: Share(
            float(value[i]),
            float(min(low[i], value[i])),
            float(max(high[i], value[i])),
            float(counts[i] / total),
        )
        for i, label in enumerate(LABELS)
    }
    return Prevalence(int(total), level, shares)


def _interval(adjusted: Floats, level: float) -> tuple[Floats, Floats]:
    """Return the ends (4,) within 0 to 1 of the intervals of the adjusted counts (D, 4).

    An interval may lie beyond 0 to 1 as a whole: by chance, about as often as the level allows, or because
    the matrix is not that of this corpus. Nothing would be left of it, which is not to say that the share is
    known exactly: it becomes that of an adjusted count of 0 or of 1.
    """
    tail = (1 - level) / 2
    low, middle, high = np.quantile(adjusted, [tail, 0.5, 1 - tail], axis=0)
    below, above = high <= 0, low >= 1
    high = np.where(below, high - middle, high)
    low = np.where(above, 1 - (middle - low), low)
    return np.clip(low, 0, 1), np.clip(high, 0, 1)


def _likeliest(observed: Floats, rates: Floats) -> Floats:
    """Return the shares (4,) that are likeliest to be seen as `observed` (4,) through `rates` (4, 4).

    By expectation and maximisation (Saerens et al. 2002, with labels in place of scores): each predicted
    label's share is handed to the true labels by how likely each is to have caused it.
    """
    shares = np.full_like(observed, 1 / len(LABELS))
    for _ in range(_ITERATIONS):
        joint = shares[:, None] * rates
        updated = joint @ (observed / joint.sum(axis=0))
        change = np.abs(updated - shares).max()
        shares = updated
        if change < _TOLERANCE:
            break
    return shares / shares.sum()
