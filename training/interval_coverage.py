"""How often the intervals of `tasrih.prevalence` hold the true share, and how often those of counting do.

    python training/interval_coverage.py --output benchmarks/coverage.json

A trial draws a corpus of known shares, what a classifier of known error rates predicts in it, and the
labelled sentences on which that classifier is measured; then `prevalence` is given what a user would have.
Three parts: `kept`, where the 95% intervals should hold the truth 93 to 97 times in 100; `few`, with fewer
labelled sentences than that takes; `violated`, where the classifier errs otherwise in the corpus than on the
labelled sentences, which no interval can know.
"""

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tasrih.files import write_text_atomically
from tasrih.labels import LABELS
from tasrih.predict import shipped_model
from tasrih.quantify import prevalence_of_counts

Floats = NDArray[np.floating[Any]]
LEVEL: Final = 0.95
PROMISED: Final = (0.93, 0.97)
_NORMAL: Final = 1.959964  # the 97.5% quantile: counting's interval is Wilson's (1927)

# Rows by true label, columns by predicted label, in the order of LABELS.
GOOD: Final = [
    [0.90, 0.02, 0.01, 0.07],
    [0.02, 0.93, 0.01, 0.04],
    [0.02, 0.02, 0.90, 0.06],
    [0.015, 0.01, 0.005, 0.97],
]
WEAK: Final = [
    [0.50, 0.10, 0.05, 0.35],
    [0.10, 0.60, 0.05, 0.25],
    [0.10, 0.10, 0.50, 0.30],
    [0.12, 0.08, 0.05, 0.75],
]
SHARES: Final = {
    "newspaper": [0.05, 0.03, 0.02, 0.90],
    "even": [0.25, 0.25, 0.25, 0.25],
    "quarrel": [0.40, 0.10, 0.05, 0.45],
    "rare": [0.01, 0.005, 0.002, 0.983],
}
SIZES: Final = (200, 20_000)  # sentences: a source's month; a corpus


@dataclass(frozen=True)
class Setting:
    """`labelled` sentences are drawn of each act, or, where `at_random`, as many in all from the corpus.
    In the corpus a report is taken for an accusation `drift` times as often as among them."""

    part: str
    classifier: str
    shares: str
    n: int
    labelled: int
    at_random: bool
    drift: float = 1.0


def settings() -> Iterator[Setting]:
    for classifier in ("shipped", "good", "weak"):
        for shares in SHARES:
            for n in SIZES:
                yield Setting("kept", classifier, shares, n, 200, at_random=False)
                if shares != "rare":  # a thousand sentences would often have no regret at all
                    yield Setting("kept", classifier, shares, n, 1000, at_random=True)
        for shares in ("newspaper", "even"):
            yield Setting("few", classifier, shares, SIZES[1], 50, at_random=False)
            yield Setting("few", classifier, shares, SIZES[1], 200, at_random=True)
        for drift in (0.5, 0.8, 1.25, 2.0):
            for n in SIZES:
                yield Setting("violated", classifier, "newspaper", n, 200, at_random=False, drift=drift)


def rates(classifier: str) -> Floats:
    """Return what each true label is predicted as, (4, 4), rows summing to 1."""
    if classifier == "shipped":
        report = json.loads((shipped_model() / "evaluation" / "report.json").read_text(encoding="utf-8"))
        matrix = np.array(report["sets"]["news"]["systems"]["model"]["confusion"], dtype=float)
        return matrix / matrix.sum(axis=1, keepdims=True)
    return np.array({"good": GOOD, "weak": WEAK}[classifier])


def labelled_rows(setting: Setting, shares: Floats, rng: np.random.Generator) -> NDArray[np.integer[Any]]:
    """Return how many labelled sentences each act has. Without one of each, a user would label more."""
    while setting.at_random:
        rows = rng.multinomial(setting.labelled, shares)
        if rows.all():
            return rows
    return np.full(len(LABELS), setting.labelled)


def run(setting: Setting, trials: int, seed: int) -> dict[str, Any]:
    """Return by act how often the intervals held the truth, and how wide they were."""
    rng = np.random.default_rng(seed)
    shares = np.array(SHARES[setting.shares])
    known = rates(setting.classifier)
    actual = known.copy()
    actual[-1, 0] *= setting.drift
    actual[-1, -1] = 1 - actual[-1, :-1].sum()
    held, raw_held, width = (np.zeros(len(LABELS)) for _ in range(3))
    for _ in range(trials):
        rows = labelled_rows(setting, shares, rng)
        confusion = np.stack([rng.multinomial(n, row) for n, row in zip(rows, known, strict=True)])
        counts = rng.multinomial(setting.n, shares @ actual)
        found = prevalence_of_counts(
            dict(zip(LABELS, counts.tolist(), strict=True)),
            confusion,
            level=LEVEL,
            seed=int(rng.integers(1 << 32)),
        )
        low, high = (np.array([getattr(s, end) for s in found.shares.values()]) for end in ("low", "high"))
        held += (low <= shares) & (shares <= high)
        width += high - low
        raw_low, raw_high = wilson(counts / setting.n, setting.n)
        raw_held += (raw_low <= shares) & (shares <= raw_high)
    return {
        **asdict(setting),
        "coverage": _by_act(held / trials),
        "coverage_of_counting": _by_act(raw_held / trials),
        "mean_width": _by_act(width / trials),
    }


def wilson(share: Floats, n: int) -> tuple[Floats, Floats]:
    """Return the ends of the interval of a share counted in `n`, where nothing but chance is in the way."""
    scale = 1 + _NORMAL**2 / n
    middle = (share + _NORMAL**2 / (2 * n)) / scale
    half = _NORMAL / scale * np.sqrt(share * (1 - share) / n + _NORMAL**2 / (4 * n * n))
    return middle - half, middle + half


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the coverage over all acts and settings of a part."""

    def of(key: str) -> dict[str, Any]:
        values = [value for setting in found for value in setting[key].values()]
        low, high = PROMISED
        return {
            "mean": round(float(np.mean(values)), 4),
            "lowest": min(values),
            "highest": max(values),
            "within 0.93 to 0.97": f"{sum(low <= value <= high for value in values)} of {len(values)}",
        }

    return {key: of(key) for key in ("coverage", "coverage_of_counting")}


def _by_act(values: Floats) -> dict[str, float]:
    return {str(label): round(float(value), 4) for label, value in zip(LABELS, values, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how often the intervals of prevalence hold.")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/coverage.json"))
    parser.add_argument("--trials", type=int, default=2000, help="of each setting (default: 2000)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.perf_counter()
    chosen = list(settings())
    with ProcessPoolExecutor() as pool:
        seeds = range(arguments.seed, arguments.seed + len(chosen))
        found = list(pool.map(run, chosen, [arguments.trials] * len(chosen), seeds))
    parts = {part: [s for s in found if s["part"] == part] for part in ("kept", "few", "violated")}
    report = {
        "level": LEVEL,
        "trials": arguments.trials,
        "seed": arguments.seed,
        "standard_error": round(float(np.sqrt(LEVEL * (1 - LEVEL) / arguments.trials)), 4),
        "shares": {name: dict(zip(map(str, LABELS), values, strict=True)) for name, values in SHARES.items()},
        "rates": {name: rates(name).round(4).tolist() for name in ("shipped", "good", "weak")},
        "summary": {part: summary(settings) for part, settings in parts.items()},
        "settings": found,
    }
    write_text_atomically(arguments.output, json.dumps(report, ensure_ascii=False, indent=1) + "\n")
    print(json.dumps(report["summary"], indent=1), f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
