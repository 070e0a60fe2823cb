"""How good predictions are: pure functions of gold labels and probabilities, and what is fitted on them.

Label ids, columns and the axes of every confusion matrix follow `tasrih.LABELS`. Point values come from
scikit-learn through the `evaluate` module in `metrics/`; their intervals, and the macro-F1 that training
asks for after each epoch, from confusion matrices here. The tests hold the two against each other.
"""

from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import binomtest

from tasrih.labels import LABELS
from tasrih.predict import second_act

Ids = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]

INTERVAL: Final = 0.95
ECE_BINS: Final = 15  # as in Guo et al. 2017, so that figures compare
CONFIDENT: Final = 0.9  # predictions above it are those that a newsroom would take unread
_TEMPERATURES: Final = (0.05, 20.0)  # within what a checkpoint accepts; real ones lie between 0.5 and 5
_METRIC: Final = Path(__file__).parent / "metrics" / "speech_acts.py"


def metrics(
    gold: Ids,
    probabilities: Floats,
    *,
    resamples: int = 1000,
    seed: int = 0,
    gold_secondary: Ids | None = None,
) -> dict[str, Any]:
    """Return every measure of the predictions `probabilities` (N, 4) against `gold` (N,), ready for JSON.

    Rates are {"value", "low", "high"} with 95% bootstrap intervals. With `gold_secondary` (N,), -1 where a
    sentence has no second act, accuracy is also given with that act accepted. A label without sentences
    counts as an F1 of 0. Raises `ValueError` where there is no sentence or the shapes do not fit.
    """
    if gold.ndim != 1 or not len(gold) or probabilities.shape != (len(gold), len(LABELS)):
        raise ValueError(
            f"found gold {gold.shape} and probabilities {probabilities.shape}, expected (N,) and "
            f"(N, {len(LABELS)}) with N of 1 or more"
        )
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    hit = predicted == gold
    matrix = confusion(gold, predicted)
    values = _metric().compute(references=gold, predictions=predicted)
    intervals = bootstrap(matrix, resamples, seed)

    def rate(name: str, *column: int) -> dict[str, float]:
        low, high = intervals[name][:, *column]
        value = values[name][column[0]] if column else values[name]
        return {"value": float(value), "low": float(low), "high": float(high)}

    result: dict[str, Any] = {
        "n": len(gold),
        "macro_f1": rate("macro_f1"),
        "accuracy": rate("accuracy"),
        "labels": {
            str(label): {
                **{name: rate(name, label.id) for name in ("precision", "recall", "f1")},
                "support": int(values["support"][label.id]),
            }
            for label in LABELS
        },
        "confusion": matrix.tolist(),
        "expected_calibration_error": expected_calibration_error(confidence, hit),
        "reliability": reliability(confidence, hit),
        "confident": confident(confidence, hit),
    }
    if gold_secondary is not None:
        result["accuracy_with_secondary"] = float((hit | (predicted == gold_secondary)).mean())
    return result


@cache
def _metric() -> Any:
    import evaluate  # seconds: it brings transformers along

    # In memory, so that runs side by side do not wait for one another's cache file.
    return evaluate.load(str(_METRIC), keep_in_memory=True)


def confusion(gold: Ids, predicted: Ids) -> NDArray[np.int64]:
    """Return counts (4, 4): row = gold label, column = predicted label."""
    size = len(LABELS)
    return np.bincount(gold * size + predicted, minlength=size * size).reshape(size, size)


def rates(matrices: Ids) -> dict[str, NDArray[np.float64]]:
    """Return the rates of confusion matrices (…, 4, 4), one or many at once.

    macro_f1 and accuracy are (…), precision, recall and f1 (…, 4). What would divide by zero is 0.
    """
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)
    gold, predicted = matrices.sum(axis=-1), matrices.sum(axis=-2)
    f1 = _ratio(2 * hits, gold + predicted)
    return {
        "macro_f1": f1.mean(axis=-1),
        "accuracy": _ratio(hits.sum(axis=-1), gold.sum(axis=-1)),
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, gold),
        "f1": f1,
    }


def _ratio(part: Ids, whole: Ids) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=whole != 0)


def macro_f1(gold: Ids, predicted: Ids) -> float:
    """Return the mean F1 of the four labels for ids (N,); a label in neither array counts as 0."""
    return float(rates(confusion(gold, predicted))["macro_f1"])


def bootstrap(matrix: Ids, resamples: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """Return 95% percentile intervals of `rates`: low and high along the first axis, (2,) or (2, 4).

    Drawing N sentences with replacement and counting them into the cells of a confusion matrix is one draw
    from a multinomial distribution over the cells (Efron 1979), so the cells are drawn, not the sentences.
    """
    total = int(matrix.sum())
    draws = np.random.default_rng(seed).multinomial(total, matrix.ravel() / total, size=resamples)
    tail = (1 - INTERVAL) / 2
    resampled = rates(draws.reshape(resamples, *matrix.shape))
    return {name: np.quantile(values, [tail, 1 - tail], axis=0) for name, values in resampled.items()}


def paired(gold: Ids, first: Ids, second: Ids, *, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Compare two systems' predicted ids (N,) on the same sentences, second minus first.

    `macro_f1_difference` has a 95% interval of the paired bootstrap (Efron and Tibshirani 1993; the cells
    of gold, first and second are drawn, as in `bootstrap`); `share_better` is the share of resamples in
    which the second is ahead. `mcnemar_p` is the exact two-sided p-value of McNemar's test (1947) on the
    sentences that one system alone has right.
    """
    size = len(LABELS)
    cells = np.bincount((gold * size + first) * size + second, minlength=size**3).reshape((size,) * 3)
    draws = np.random.default_rng(seed).multinomial(len(gold), cells.ravel() / len(gold), size=resamples)
    draws = draws.reshape(resamples, *cells.shape)
    scores = [rates(cells.sum(axis=axis))["macro_f1"] for axis in (2, 1)]
    differences = rates(draws.sum(axis=2))["macro_f1"] - rates(draws.sum(axis=3))["macro_f1"]
    tail = (1 - INTERVAL) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    only_first = int(((first == gold) & (second != gold)).sum())
    only_second = int(((second == gold) & (first != gold)).sum())
    unequal = only_first + only_second
    return {
        "n": len(gold),
        "macro_f1": [float(score) for score in scores],
        "macro_f1_difference": {
            "value": float(scores[1] - scores[0]),
            "low": float(low),
            "high": float(high),
        },
        "share_better": float((differences > 0).mean()),
        "only_first_right": only_first,
        "only_second_right": only_second,
        "mcnemar_p": float(binomtest(only_first, unequal).pvalue) if unequal else 1.0,
    }


def reliability(confidence: Floats, hit: NDArray[np.bool_], bins: int = ECE_BINS) -> list[dict[str, Any]]:
    """Sort predictions by confidence (N,) into bins of equal width, ((m - 1) / bins, m / bins].

    Each bin has its edges, `count`, mean `confidence` and `accuracy`; those of an empty bin are None.
    """
    edges = np.linspace(0, 1, bins + 1)
    position = np.searchsorted(edges[1:-1], confidence, side="left")  # left: an edge belongs to the bin below
    table: list[dict[str, Any]] = []
    for index in range(bins):
        inside = position == index
        some = bool(inside.any())
        table.append(
            {
                "low": float(edges[index]),
                "high": float(edges[index + 1]),
                "count": int(inside.sum()),
                "confidence": float(confidence[inside].mean()) if some else None,
                "accuracy": float(hit[inside].mean()) if some else None,
            }
        )
    return table


def expected_calibration_error(confidence: Floats, hit: NDArray[np.bool_], bins: int = ECE_BINS) -> float:
    """Return the mean distance of accuracy from confidence over the bins, weighed by their counts.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    full = [row for row in reliability(confidence, hit, bins) if row["count"]]
    return float(sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in full) / len(hit))


def confident(confidence: Floats, hit: NDArray[np.bool_], over: float = CONFIDENT) -> dict[str, float | None]:
    """Return how many predictions have a confidence `over` the bound, as a share, and how many are right."""
    taken = confidence > over
    precision = float(hit[taken].mean()) if taken.any() else None
    return {"over": over, "coverage": float(taken.mean()), "precision": precision}


def secondary_metrics(
    gold: Ids, gold_secondary: Ids, predicted: Ids, predicted_secondary: Ids
) -> dict[str, Any]:
    """Return how well second acts are found; all arrays are ids (N,), a secondary of -1 means none.

    A second act counts as found where its label is the gold one. `swapped` counts the sentences whose two
    acts are both right but in the other order, which are misses above.
    """
    given, told = gold_secondary >= 0, predicted_secondary >= 0
    found = int((given & (predicted_secondary == gold_secondary)).sum())
    swapped = given & (predicted == gold_secondary) & (predicted_secondary == gold)
    return {
        "gold": int(given.sum()),
        "predicted": int(told.sum()),
        "found": found,
        "swapped": int(swapped.sum()),
        "precision": found / int(told.sum()) if told.any() else None,
        "recall": found / int(given.sum()) if given.any() else None,
        "f1": 2 * found / int(given.sum() + told.sum()) if given.any() else None,
    }


def fit_temperature(logits: Floats, labels: Ids) -> float:
    """Return the temperature that makes `labels` (N,) likeliest under softmax(logits / temperature).

    `logits` are (N, 4), of sentences the model has not learned from. Temperature scaling, Guo et al. 2017,
    section 4.2; the negative log-likelihood has one minimum. Raises `ValueError` where there is no sentence.
    """
    if not len(labels):
        raise ValueError("fit_temperature: found no sentence, expected those of the validation split")
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / np.exp(log_temperature)
        return -float(log_softmax(scaled, axis=1)[rows, labels].mean())

    low, high = np.log(_TEMPERATURES)
    found: Any = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def fit_secondary_threshold(scores: Floats, primary: Ids, gold_secondary: Ids) -> float:
    """Return the probability from which reporting a second act has the best F1.

    `scores` (N, 4) are calibrated probabilities, `primary` (N,) the predicted labels, `gold_secondary` (N,)
    the ids of the true second acts, -1 for none. The threshold lies half-way between the last score that
    should pass and the first that should not. It is 1.0, which reports none, where none is ever right.
    """
    pairs: list[tuple[float, bool]] = []  # the score of each candidate, and whether it is the true act
    for row, first, second in zip(scores.tolist(), primary.tolist(), gold_secondary.tolist(), strict=True):
        candidate = second_act(row, first, 0.0)
        if candidate is not None:
            pairs.append((row[candidate.id], candidate.id == second))
    pairs.sort(reverse=True)
    wanted = int((gold_secondary >= 0).sum())
    best, threshold, found = 0.0, 1.0, 0
    for position, (score, right) in enumerate(pairs):
        below = pairs[position + 1][0] if position + 1 < len(pairs) else 0.0
        found += right
        f1 = 2 * found / (wanted + position + 1)
        if below < score and f1 > best:  # no threshold parts equal scores
            best, threshold = f1, (score + below) / 2
    return threshold
