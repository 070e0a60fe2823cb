"""What happened, in the text format that Prometheus reads (version 0.0.4)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from tasrih.labels import LABELS, Label

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
# Paths of the server; all others are counted as one, or a scanner would fill the memory with names.
PATHS: Final = ("/", "/classify", "/tag", "/health", "/metrics", "/openapi.json", "/style.css")
_METHODS: Final = ("GET", "POST")
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SENTENCES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Histogram:
    """How many values there were up to each of `bounds`, how many in all, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    @property
    def count(self) -> int:
        return sum(self._counts)

    def observe(self, value: float) -> None:
        self._counts[sum(bound < value for bound in self._bounds)] += 1
        self.sum += value

    def lines(self, name: str) -> Iterator[str]:
        for bound, count in zip((*map(str, self._bounds), "+Inf"), accumulate(self._counts), strict=True):
            yield f'{name}_bucket{{le="{bound}"}} {count}'
        yield f"{name}_sum {self.sum:.6f}"
        yield f"{name}_count {self.count}"


class Metrics:
    """The counts of one server. All are touched from the event loop alone."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds = Histogram(_SECONDS)
        self._labels: Counter[Label] = Counter()
        self._batches = Histogram(_SENTENCES)
        self.in_flight = 0

    def request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count an answered request and how long its answer took, from its head on."""
        self._requests[
            method if method in _METHODS else "other", path if path in PATHS else "other", status
        ] += 1
        self._seconds.observe(seconds)

    def batch(self, sentences: int) -> None:
        """Count a batch."""
        self._batches.observe(sentences)

    def labels(self, labels: Iterable[Label]) -> None:
        """Count predictions that were given out."""
        self._labels.update(labels)

    def text(self, *, queued: int) -> str:
        """Return everything; `queued` is the number of sentences in the queue just now."""
        lines = ["# HELP tasrih_requests_total Answered requests.", "# TYPE tasrih_requests_total counter"]
        lines += [
            f'tasrih_requests_total{{method="{method}",path="{path}",status="{status}"}} {count}'
            for (method, path, status), count in sorted(self._requests.items())
        ]
        lines += [
            "# HELP tasrih_predictions_total Sentences classified.",
            "# TYPE tasrih_predictions_total counter",
        ]
        lines += [f'tasrih_predictions_total{{label="{label}"}} {self._labels[label]}' for label in LABELS]
        for name, what, histogram in (
            ("tasrih_request_seconds", "Time to answer a request.", self._seconds),
            ("tasrih_batch_sentences", "Sentences of a batch.", self._batches),
        ):
            lines += [f"# HELP {name} {what}", f"# TYPE {name} histogram", *histogram.lines(name)]
        for name, what, value in (
            ("tasrih_queue_sentences", "Sentences that wait or are being classified.", queued),
            ("tasrih_requests_in_flight", "Requests with a body that are not answered yet.", self.in_flight),
        ):
            lines += [f"# HELP {name} {what}", f"# TYPE {name} gauge", f"{name} {value}"]
        return "\n".join(lines) + "\n"
