"""How common each act is in a corpus, corrected for the classifier's own errors.

Counting predicted labels is biased: a classifier that misses half of the accusations reports half of them,
and one that errs on one report in twenty reports many that are none. What it does to each true label is
known from labelled sentences, its confusion matrix; the shares of the true labels are those that this matrix
turns into the counts observed. For many predictions that is the adjusted count of Forman (2008); as a
likelihood it never leaves 0 to 1, and with the uncertainty of matrix and counts it gives intervals that hold
(Ziegler and Czyż 2024, "Bayesian Quantification with Black-Box Estimators").

It holds where sentences of one label are of the same kind in the corpus as among the labelled ones, and only
the shares differ ("label shift"). Labelled sentences that were picked by cue words, as most of this project's
are, are harder than those of a newspaper, and would correct far too much: label some two hundred sentences
drawn at random from the corpus itself.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasrih.labels import LABELS, Label
from tasrih.predict import Prediction

Floats = NDArray[np.float64]

# Jeffreys' prior, a half for each cell: an error never seen among a few sentences may still happen.
_PRIOR: Final = 0.5
_ITERATIONS: Final = 2000
_TOLERANCE: Final = 1e-7  # a thousandth of what 10,000,000 sentences could tell apart


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
    draws: int = 1000,
    seed: int = 0,
) -> Prevalence:
    """Return the corrected share of each act among `predictions`, with intervals.

    `confusion` holds counts (4, 4) of labelled sentences of this kind of text that the model has not learned
    from: rows by true label, columns by predicted label, in the order of `tasrih.LABELS`. `draws` sample what
    matrix and shares could be, for the interval. Raises `TypeError` for what is no prediction and
    `ValueError` where there is none, or where a label has no labelled sentence.
    """
    counts = _counts(_labels(predictions))
    if not counts.any():
        raise ValueError("predictions: found none; expected those of one sentence or more")
    return _estimate(counts, _checked(confusion), level, draws, seed)


def prevalence_by(
    predictions: Iterable[Prediction | Label | str],
    groups: Iterable[Hashable],
    confusion: ArrayLike,
    *,
    level: float = 0.95,
    draws: int = 1000,
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
    return {group: _estimate(_counts(rows), matrix, level, draws, seed) for group, rows in members.items()}


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


def _counts(labels: list[Label]) -> Floats:
    found = Counter(labels)
    return np.array([found[label] for label in LABELS], dtype=np.float64)


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
    tail = (1 - level) / 2
    low, high = np.quantile(_solve(observed, matrices), [tail, 1 - tail], axis=0)
    rates = (confusion + _PRIOR) / (confusion + _PRIOR).sum(axis=1, keepdims=True)
    (value,) = _solve(counts[None] / total, rates[None])
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


def _solve(observed: Floats, rates: Floats) -> Floats:
    """Return the shares (D, 4) that are likeliest to be seen as `observed` (D, 4) through `rates` (D, 4, 4).

    By expectation and maximisation (Saerens et al. 2002, with labels in place of scores): each predicted
    label's share is handed to the true labels by how likely each is to have caused it.
    """
    shares = np.full_like(observed, 1 / len(LABELS))
    for _ in range(_ITERATIONS):
        joint = shares[:, :, None] * rates
        seen = joint.sum(axis=1, keepdims=True)
        updated = (joint * (observed[:, None] / np.maximum(seen, 1e-300))).sum(axis=2)
        change = np.abs(updated - shares).max()
        shares = updated
        if change < _TOLERANCE:
            break
    return shares / shares.sum(axis=1, keepdims=True)
