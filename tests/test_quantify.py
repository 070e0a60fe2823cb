"""Corrected shares: exact where the truth is known, intervals that hold where counting fails."""

import numpy as np
import pytest

from tasrih import LABELS, Label, Prediction, prevalence, prevalence_by
from tasrih.quantify import prevalence_of_counts

CONFUSION = np.array([[140, 2, 3, 74], [4, 110, 1, 20], [5, 1, 40, 12], [40, 12, 4, 458]])
RATES = CONFUSION / CONFUSION.sum(axis=1, keepdims=True)
TRUTH = np.array([0.05, 0.03, 0.02, 0.9])
WEAK = np.array([[50, 10, 5, 35], [10, 60, 5, 25], [10, 10, 50, 30], [12, 8, 5, 75]]) * 2
RARE = np.array([0.01, 0.005, 0.002, 0.983])


def predicted(counts: np.ndarray) -> list[Label]:
    return [label for label, count in zip(LABELS, counts, strict=True) for _ in range(count)]


def values(found: object, name: str = "value") -> np.ndarray:
    return np.array([getattr(share, name) for share in found.shares.values()])  # type: ignore[attr-defined]


def test_shares_are_those_that_the_matrix_turns_into_the_counts() -> None:
    counts = np.round(TRUTH @ RATES * 100_000).astype(int)
    found = prevalence(predicted(counts), CONFUSION * 10_000)
    np.testing.assert_allclose(values(found), TRUTH, atol=2e-3)
    np.testing.assert_allclose(values(found, "counted"), counts / counts.sum())
    assert found.n == counts.sum()
    exact = np.linalg.solve(RATES.T, counts / counts.sum())  # adjusted count: no prior, no bounds
    np.testing.assert_allclose(values(found), exact, atol=2e-3)


@pytest.mark.parametrize(
    ("truth", "errors"),
    [
        (TRUTH, CONFUSION),
        ([0.25, 0.25, 0.25, 0.25], CONFUSION),
        ([0.4, 0.1, 0.05, 0.45], CONFUSION),
        # Rare acts whose adjusted counts fall below 0 half of the time must not cost the reports theirs.
        (RARE, WEAK),
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say_where_counting_fails(
    truth: list[float], errors: np.ndarray
) -> None:
    rng = np.random.default_rng(3)
    rates = errors / errors.sum(axis=1, keepdims=True)
    trials, holds, naive = 200, np.zeros(4), np.zeros(4)
    for _ in range(trials):
        # A classifier of these rates is validated on some sentences and used on 5,000 others.
        confusion = np.stack([rng.multinomial(n, row) for n, row in zip(errors.sum(1), rates, strict=True)])
        counts = rng.multinomial(5000, np.asarray(truth) @ rates)
        found = prevalence(predicted(counts), confusion, draws=500, seed=int(rng.integers(1 << 30)))
        holds += (values(found, "low") <= truth) & (truth <= values(found, "high"))
        share = counts / counts.sum()
        error = 1.96 * np.sqrt(share * (1 - share) / counts.sum())
        naive += np.abs(share - truth) <= error
    assert 0.93 <= holds.mean() / trials <= 0.98
    assert (holds / trials > 0.9).all()
    assert naive.mean() / trials < 0.5


def test_an_interval_beyond_the_bounds_is_not_a_point() -> None:
    # No sentence is called denial, though this classifier calls a tenth of all reports so: by chance or for
    # another kind of text. The share is below what can be told, which is not to say that it is exactly 0.
    confusion = [[90, 0, 0, 10], [0, 90, 0, 10], [0, 0, 90, 10], [0, 10, 0, 90]]
    found = prevalence_of_counts({Label.FACTUAL_REPORT: 900, Label.ACCUSATION: 100}, confusion)
    denial, report = found.shares[Label.DENIAL], found.shares[Label.FACTUAL_REPORT]
    assert (denial.low, denial.value) == (0, pytest.approx(0, abs=1e-3))
    assert 0.02 < denial.high < 0.15
    assert report.high == 1


def test_counts_give_what_their_predictions_give() -> None:
    counts = {Label.DENIAL: 7, Label.FACTUAL_REPORT: 60}
    rows = [label for label, n in counts.items() for _ in range(n)]
    assert prevalence_of_counts(counts, CONFUSION, seed=2) == prevalence(rows, CONFUSION, seed=2)
    with pytest.raises(ValueError, match="predictions: found none"):
        prevalence_of_counts({}, CONFUSION)


def test_a_classifier_that_tells_nothing_leaves_every_share_open() -> None:
    found = prevalence_of_counts(dict.fromkeys(LABELS, 100), np.full((4, 4), 1e6))
    for share in found.shares.values():
        assert share.low < 0.05
        assert share.high > 0.95


def test_shares_stay_between_zero_and_one_where_the_adjusted_count_does_not() -> None:
    found = prevalence([Label.FACTUAL_REPORT] * 500, CONFUSION)
    assert values(found).sum() == pytest.approx(1)
    assert (values(found, "low") >= 0).all()
    assert found.shares[Label.FACTUAL_REPORT].value > 0.98
    assert found.shares[Label.ACCUSATION].counted == 0
    for share in found.shares.values():
        assert share.low <= share.value <= share.high


def test_groups_are_estimated_apart_and_the_seed_decides() -> None:
    rows = ["denial", "denial", "factual_report", "factual_report"]
    with pytest.raises(TypeError, match=r"predictions\[2\]: found 'x'"):
        prevalence_by(["denial", "denial", "x"], ["b", "b", "a"], CONFUSION)
    with pytest.raises(ValueError, match="predictions: found none"):
        prevalence_by([], [], CONFUSION)
    found = prevalence_by(rows, ["b", "b", "a", "a"], CONFUSION, seed=4)
    assert list(found) == ["b", "a"]
    assert found["b"].shares[Label.DENIAL].value > 0.9
    assert found["a"] == prevalence(rows[2:], CONFUSION, seed=4)
    with pytest.raises(ValueError, match="zip"):
        prevalence_by(rows, ["b"], CONFUSION)


def test_predictions_are_counted_by_their_label() -> None:
    scores = dict.fromkeys(LABELS, 0.0) | {Label.DENIAL: 1.0}
    found = prevalence([Prediction(Label.DENIAL, 1.0, scores, None, False)] * 3, CONFUSION)
    assert found.shares[Label.DENIAL].counted == 1
    assert 0.3 < found.shares[Label.DENIAL].low < found.shares[Label.DENIAL].value


@pytest.mark.parametrize(
    ("predictions", "options", "error", "message"),
    [
        ([], {}, ValueError, "predictions: found none"),
        (["denial", "rumour"], {}, TypeError, r"predictions\[1\]: found 'rumour', expected a Prediction"),
        (["denial", 3], {}, TypeError, r"predictions\[1\]: found 3"),
        ("denial", {}, TypeError, "predictions: found str, expected several"),
        (["denial"], {"confusion": [[1]]}, ValueError, r"found shape \(1, 1\), expected counts \(4, 4\)"),
        (["denial"], {"confusion": -CONFUSION}, ValueError, "expected counts"),
        (["denial"], {"confusion": np.diag([1, 1, 0, 1])}, ValueError, "found no sentence of 'regret'"),
        (["denial"], {"level": 95}, ValueError, "level: found 95"),
        (["denial"], {"draws": 0}, ValueError, "draws: found 0"),
    ],
)
def test_bad_input_is_named(predictions: object, options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        prevalence(predictions, **({"confusion": CONFUSION} | options))  # type: ignore[arg-type]
