"""Measure labelling on a local Ray cluster with one and two workers, beside the same work without Ray.

    python training/bench_ray.py --output benchmarks/ray.json

The model of docs/cluster.md is: rows a second = workers x rows a second of one process on one core x what Ray
leaves of it. The second factor is measured here in plain processes, one and two at a time, for two cores of
one machine need not do twice the work of one; the third is fitted with one worker and checked with two. Rates
count the second half of the rows, when all workers are up. Rounds alternate, and medians are reported.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import ray
import ray.data

import tasrih.ray
from bench import sentences
from tasrih import Classifier
from tasrih.columns import label_cells, model_hash
from tasrih.files import write_text_atomically

_ROWS_A_BLOCK: Final = 512
_RAY_MEMORY: Final = 300_000_000  # bytes of the object store


def blocks(texts: list[str], rows: int) -> list[list[str]]:
    """Return at least `rows` texts, over and over the same, in blocks."""
    repeated = (texts * (rows // len(texts) + 1))[:rows]
    return [repeated[i : i + _ROWS_A_BLOCK] for i in range(0, rows, _ROWS_A_BLOCK)]


def later_rate(rows_and_times: list[tuple[int, float]]) -> float:
    """Return the rows a second over the second half of `(rows, time)` of finished blocks."""
    half = len(rows_and_times) // 2
    rows = sum(rows for rows, _ in rows_and_times[half:])
    return rows / (rows_and_times[-1][1] - rows_and_times[half - 1][1])


def label_plainly(given: list[list[str]]) -> list[tuple[int, float]]:
    """Do a worker's work in this process: return when each block was finished."""
    os.environ["RAYON_NUM_THREADS"] = "1"
    classifier = Classifier.load(device="cpu")
    classifier.backend.workers = 1
    digest = model_hash(classifier.checkpoint)
    finished: list[tuple[int, float]] = []
    for block in given:
        pa.table(label_cells(classifier, block, digest))
        finished.append((len(block), time.time()))
    return finished


def processes(count: int, texts: list[str], rows: int) -> float:
    """Return the rows a second of `count` processes at a time, each with `rows` rows."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context) as pool:
        found = list(pool.map(label_plainly, [blocks(texts, rows)] * count))
    return sum(map(later_rate, found))


def workers(count: int, texts: list[str], rows: int) -> tuple[float, float]:
    """Return the rows a second of a pool of `count` workers, and the seconds to its first rows."""
    tables = [pa.table({"text": block}) for block in blocks(texts, rows * count)]
    labelled = tasrih.ray.label(ray.data.from_arrow(tables), workers=count, rows_at_once=_ROWS_A_BLOCK)
    started = time.time()
    # Nothing fetched ahead: what is kept back until the next block would seem to take no time at the end.
    results: Iterable[Any] = labelled.iter_batches(
        batch_size=None, batch_format="pyarrow", prefetch_batches=0
    )
    finished = [(table.num_rows, time.time()) for table in results]
    return later_rate(finished), finished[0][1] - started


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure labelling with Ray beside the same work without.")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/ray.json"))
    parser.add_argument("--rows", type=int, default=6144, help="for each worker (default: 6144)")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    texts = sentences()
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=_RAY_MEMORY, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    rounds: list[dict[str, float]] = []
    for _ in range(arguments.rounds):
        found: dict[str, float] = {}
        for count in (1, 2):
            found[f"plain {count}"] = processes(count, texts, arguments.rows)
            found[f"ray {count}"], found[f"start {count}"] = workers(count, texts, arguments.rows)
        rounds.append(found)
    ray.shutdown()
    report = summary(rounds)
    report["rows a worker"], report["rounds"] = arguments.rows, arguments.rounds
    text = json.dumps(report, ensure_ascii=False, indent=1) + "\n"
    write_text_atomically(arguments.output, text)
    print(text)


def summary(rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Return medians, and the model's prediction beside what two workers did."""
    median = {name: statistics.median(found[name] for found in rounds) for name in rounds[0]}
    left = median["ray 1"] / median["plain 1"]
    predicted = {"1": left * median["plain 1"], "2": left * median["plain 2"]}
    return {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "load_average": [round(load, 1) for load in os.getloadavg()],
            "python": platform.python_version(),
            "ray": ray.__version__,
        },
        "rows_per_second": {
            "plain processes": {n: round(median[f"plain {n}"], 1) for n in "12"},
            "ray workers": {n: round(median[f"ray {n}"], 1) for n in "12"},
            "predicted": {n: round(value, 1) for n, value in predicted.items()},
        },
        "share_that_ray_leaves": round(left, 3),
        "two_processes_to_one": round(median["plain 2"] / median["plain 1"], 3),
        "measured_to_predicted_with_two": round(median["ray 2"] / predicted["2"], 3),
        "seconds_to_first_rows": {n: round(median[f"start {n}"], 1) for n in "12"},
    }


if __name__ == "__main__":
    main()
