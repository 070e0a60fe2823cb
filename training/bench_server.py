"""Measure `tasrih serve` under load beside classification in memory, in one run on the same sentences.

    python training/bench_server.py --output benchmarks/server.json

64 clients on loopback, each with a connection of its own and one request at a time, classify authored
sentences; clients and server share the machine's cores. Before and after each round `Classifier.classify`
takes the same sentences as one list; the ratio is the median over rounds of the server's rate to the mean of
these two, for the machine may be busy with other work. At last four times what the queue holds arrives.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench import ROUNDS, seconds, sentences
from tasrih import Classifier
from tasrih.files import write_text_atomically
from tasrih.server import Limits

CLIENTS = 64
# Texts a request: an article's worth, and the least there can be; and how many sentences are sent so a round.
SENTENCES = {16: 3200, 1: 1000}
OVERLOAD = 4  # times the queue


@dataclass(frozen=True)
class Answer:
    """One request's outcome. `seconds` from its first byte sent to its last byte received."""

    status: int
    seconds: float
    predictions: int


@contextmanager
def server() -> Generator[int]:
    """Run `tasrih serve` in a process of its own, and give its port."""
    command = [sys.executable, "-m", "tasrih", "serve", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stderr.readline() if process.stderr else ""
            found = re.search(r"listening on http://.*:(\d+)", line)
            if not found:
                raise OSError(f"the server did not start: {line}")
            yield int(found[1])
        finally:
            process.terminate()


def request(texts: list[str]) -> bytes:
    """Return the bytes of POST /classify."""
    body = json.dumps({"texts": texts}, ensure_ascii=False).encode()
    head = (
        f"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    return head.encode() + b"\r\n\r\n" + body


async def client(port: int, requests: Iterator[bytes], answers: list[Answer]) -> None:
    """Send one request after the other, as long as there are any, over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for sent in requests:
        started = time.perf_counter()
        writer.write(sent)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        body = await reader.readexactly(int(length[1]) if length else 0)
        status = int(head.split(None, 2)[1])
        answers.append(Answer(status, time.perf_counter() - started, body.count(b'"label"')))
    writer.close()


async def load(port: int, requests: list[bytes]) -> list[Answer]:
    """Return the answers to `requests`, sent by all clients together."""
    remaining, answers = iter(requests), list[Answer]()
    await asyncio.gather(*(client(port, remaining, answers) for _ in range(CLIENTS)))
    return answers


def under_load(port: int, classifier: Classifier, texts: list[str], size: int) -> dict[str, Any]:
    """Return rates and latencies of requests of `size` texts, beside the rate in memory between them."""
    requests = [request(texts[i : i + size]) for i in range(0, len(texts), size)]

    def in_bulk() -> float:
        return len(texts) / seconds(lambda: classifier.classify(texts))

    bulk = [in_bulk()]
    served: list[float] = []
    answers: list[Answer] = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        answers += (new := asyncio.run(load(port, requests)))
        served.append(sum(answer.predictions for answer in new) / (time.perf_counter() - started))
        bulk.append(in_bulk())
    ratios = [rate / statistics.mean(pair) for rate, pair in zip(served, pairwise(bulk), strict=True)]
    latencies = statistics.quantiles([1000 * answer.seconds for answer in answers], n=100)
    return {
        "requests": len(answers),
        "failures": sum(answer.status != 200 for answer in answers),
        "sentences_per_second": round(statistics.median(served), 1),
        "bulk_sentences_per_second": round(statistics.median(bulk), 1),
        "ratio_to_bulk": round(statistics.median(ratios), 3),
        "latency_ms": {
            "median": round(latencies[49], 1),
            "95th percentile": round(latencies[94], 1),
            "99th percentile": round(latencies[98], 1),
        },
    }


def overload(port: int, texts: list[str]) -> dict[str, Any]:
    """Return what becomes of four times the queue's limit at once: a request of each client."""
    size = OVERLOAD * Limits().queue // CLIENTS
    answers = asyncio.run(
        load(port, [request((texts * 2)[i * size % len(texts) :][:size]) for i in range(CLIENTS)])
    )
    refused = [1000 * answer.seconds for answer in answers if answer.status == 503]
    return {
        "sentences": OVERLOAD * Limits().queue,
        "requests_by_status": dict(Counter(str(answer.status) for answer in answers)),
        "sentences_served": sum(answer.predictions for answer in answers),
        "refused_after_ms": {
            "median": round(statistics.median(refused), 1),
            "longest": round(max(refused), 1),
        },
        "served_after_s_at_most": round(max(answer.seconds for answer in answers if answer.status == 200), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the server beside classification in memory.")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/server.json"))
    arguments = parser.parse_args()
    load_average = round(os.getloadavg()[0], 1)  # of other work: 0 on a quiet machine
    texts = sentences()
    classifier = Classifier.load()
    classifier.classify(texts)  # warm-up
    with server() as port:
        asyncio.run(load(port, [request(texts[:16])] * CLIENTS))
        report = {
            "machine": {
                "processor": platform.processor() or platform.machine(),
                "cores": len(os.sched_getaffinity(0)),
                "python": platform.python_version(),
            },
            "load_average_before": load_average,
            "clients": CLIENTS,
            "texts_a_request": {
                str(size): under_load(port, classifier, texts[:count], size)
                for size, count in SENTENCES.items()
            },
            "overload": overload(port, texts),
        }
    text = json.dumps(report, ensure_ascii=False, indent=1) + "\n"
    write_text_atomically(arguments.output, text)
    print(text)


if __name__ == "__main__":
    main()
