"""Requests that are there together share a batch.

One thread classifies, on all cores; while it does, requests gather, and what has gathered is the next batch.
Nobody waits for a batch to fill: where requests are few, they are answered at once.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from tasrih.predict import Prediction

Predictions = Sequence[Prediction | None]  # None for a text without an Arabic letter
Classify = Callable[[list[str]], Predictions]
_Waiting = dict[asyncio.Future[Predictions], list[str]]


class Overloaded(Exception):
    """The queue is full, or closing. `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Batcher:
    """An asynchronous context manager around `classify`, which is called in a thread.

    `batch` sentences make a batch at most, more only where one call has more; `queue` sentences may wait or
    be in work. `observe` is told the number of sentences of each batch.
    """

    def __init__(
        self,
        classify: Classify,
        *,
        batch: int,
        queue: int,
        observe: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._classify, self._batch, self._queue, self._observe = classify, batch, queue, observe
        self._waiting: _Waiting = {}  # in order of arrival
        self._arrived = asyncio.Event()
        self._closing = False
        self._rate = 500.0  # sentences a second; measured from the first batch on
        self.sentences = 0  # that wait or are in work

    async def __aenter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tasrih-batch")
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what waits, and refuse what comes."""
        self._closing = True
        self._arrived.set()
        await self._worker
        self._thread.shutdown()

    async def classify(self, texts: list[str]) -> Predictions:
        """Return one prediction per text. Cancelled, it takes its texts out of the queue.

        Raises `Overloaded`, and what `classify` raises for these texts.
        """
        if not texts:
            return []
        self.check_room(len(texts))
        future: asyncio.Future[Predictions] = asyncio.get_running_loop().create_future()
        self._waiting[future] = texts
        self.sentences += len(texts)
        self._arrived.set()
        try:
            return await future
        finally:
            self._waiting.pop(future, None)
            self.sentences -= len(texts)

    def check_room(self, sentences: int = 1) -> None:
        """Raise `Overloaded` where `sentences` more would be refused now."""
        if self._closing:
            raise Overloaded("the server is shutting down; try again later", 1)
        if self.sentences + sentences > self._queue:
            raise Overloaded(
                f"the queue holds {self.sentences} sentences of at most {self._queue}, too many for "
                f"{sentences} more; try again later",
                max(1, math.ceil(self.sentences / self._rate)),
            )

    async def _work(self) -> None:
        while self._waiting or not self._closing:
            if self._waiting:
                await self._run(self._take())
            else:
                self._arrived.clear()
                await self._arrived.wait()

    def _take(self) -> _Waiting:
        """Return the next batch: whole calls in order of arrival, one at least."""
        taken: _Waiting = {}
        total = 0
        for future, texts in self._waiting.items():
            total += len(texts)
            if taken and total > self._batch:
                break
            taken[future] = texts
        for future in taken:
            del self._waiting[future]
        return taken

    async def _run(self, calls: _Waiting) -> None:
        texts = [text for one in calls.values() for text in one]
        started = time.perf_counter()
        try:
            predictions = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._classify, texts
            )
        except Exception as error:
            if len(calls) > 1:  # the failure of one call is not that of its neighbours
                for future, one in calls.items():
                    await self._run({future: one})
            else:
                _settle(next(iter(calls)), error)
            return
        self._rate = max(1.0, len(texts) / (time.perf_counter() - started))
        self._observe(len(texts))
        start = 0
        for future, one in calls.items():
            _settle(future, predictions[start : start + len(one)])
            start += len(one)


def _settle(future: asyncio.Future[Predictions], result: Predictions | Exception) -> None:
    if future.done():  # cancelled: nobody waits for it
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
