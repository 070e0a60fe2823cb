"""Measure `tasrih label` on files: its rate beside that of `classify` on a list, and its memory.

    python training/bench_bulk.py --output benchmarks/bulk.json

The rates are of the same sentences by the same classifier in alternating rounds, and the ratio of their
medians is what to compare. On a machine that is busy otherwise even that is noise; the share of a run's time
that is spent outside of the classifier is not, and bounds what files can cost. The memory is the peak of a
fresh process on files of which one is four times the other.
"""

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from bench import seconds, sentences
from tasrih import Classifier, Prediction
from tasrih.bulk import label_files
from tasrih.files import write_text_atomically

ROUNDS = 3
SENTENCES = 4096  # a batch of `label_files`
BODY_BYTES = 16_000  # of a further column, so that a large file has few enough rows to label in a minute
SIZES_MB = (50, 200)
PEAK = """
import re, sys
from pathlib import Path
from tasrih.cli import main
assert main(sys.argv[1:]) == 0
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


class TimedClassifier(Classifier):
    """Adds up the seconds that it works for `label_files`."""

    spent = 0.0

    def classify_or_none(self, texts: Iterable[str]) -> list[Prediction | None]:
        start = time.perf_counter()
        predictions = super().classify_or_none(texts)
        self.spent += time.perf_counter() - start
        return predictions


def write_table(path: Path, texts: list[str], body: str = "") -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "body"])
        writer.writerows((number, text, body) for number, text in enumerate(texts))


def measured(folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Return the median rates in sentences a second, in memory and from and to files of several formats, and
    the median shares of the time outside of the classifier."""
    texts = sentences()[:SENTENCES]
    # Articles of ten sentences: split, they give about as many again, of the same lengths.
    articles = ["\n".join(texts[start : start + 10]) for start in range(0, len(texts), 10)]
    classifier = cast(TimedClassifier, TimedClassifier.load())
    write_table(folder / "texts.csv", texts)
    write_table(folder / "articles.csv", articles)
    label_files([folder / "texts.csv"], folder / "texts.jsonl.gz", classifier, prefix="before_")  # warm-up

    rates: dict[str, list[float]] = {}
    outside: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        rate = len(texts) / seconds(lambda: classifier.classify(texts))
        rates.setdefault("in memory", []).append(rate)
        for name, (source, output, split) in {
            "csv to csv": ("texts.csv", "out.csv", False),
            "jsonl.gz to parquet": ("texts.jsonl.gz", "out.parquet", False),
            "csv to csv.gz, split into sentences": ("articles.csv", "out.csv.gz", True),
        }.items():
            start, classifier.spent = time.perf_counter(), 0.0
            done = label_files(
                [folder / source], folder / output, classifier, sentences=split, overwrite=True
            )
            took = time.perf_counter() - start
            rates.setdefault(name, []).append(done.rows / took)
            outside.setdefault(name, []).append(1 - classifier.spent / took)
    return (
        {name: round(statistics.median(values), 1) for name, values in rates.items()},
        {name: round(statistics.median(values), 3) for name, values in outside.items()},
    )


def peak_memory_mb(folder: Path, megabytes: int) -> int | None:
    """Return the peak resident memory of a fresh process that labels a csv file of that size.

    From Linux's `VmHWM`; None on other systems.
    """
    if not Path("/proc/self/status").exists():
        return None
    some = sentences()
    rows = megabytes * 1_000_000 // BODY_BYTES
    body = "\n".join(some)[: BODY_BYTES // 2]  # an Arabic letter takes two bytes
    given, output = folder / f"{megabytes}.csv", folder / f"{megabytes}.out.csv"
    write_table(given, [some[number % len(some)] for number in range(rows)], body)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, "label", str(given), str(output)],
        check=True,
        capture_output=True,
        text=True,
    )
    given.unlink()
    output.unlink()
    return round(int(done.stdout) / 1024)


def run(folder: Path, sizes: list[int]) -> dict[str, Any]:
    rates, outside = measured(folder)
    return {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
        },
        "sentences": SENTENCES,
        "sentences_per_second": rates,
        "ratio_to_in_memory": {
            name: round(value / rates["in memory"], 3) for name, value in rates.items() if name != "in memory"
        },
        "share_of_time_outside_the_classifier": outside,
        "peak_memory_mb": {f"{size} MB": peak_memory_mb(folder, size) for size in sizes},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the rate and memory of labelling files.")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/bulk.json"))
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=SIZES_MB, help="of the files for memory, in MB"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = run(Path(folder), arguments.sizes)
    text = json.dumps(report, ensure_ascii=False, indent=1) + "\n"
    write_text_atomically(arguments.output, text)
    print(text)


if __name__ == "__main__":
    main()
