"""Collect images while the worker is busy, and give them to it together: no image waits for others to come."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

from imagetrail.errors import ServerError
from imagetrail.serving.inference_process import Died, Question, Worker

LARGEST_BATCH = 64
"""Images of a batch."""
WAITING_BYTES = 2**28
"""Of all images that wait; more are refused."""
KILLER = "not decoded: it ended the process that decodes, or took too long"


class Full(Exception):  # noqa: N818  # no mistake of the user
    """Too many images wait."""


class _Waiting(NamedTuple):
    question: Question
    image: bytes
    result: Future[Any]


class Collector:
    """A queue of images, and the thread that empties it."""

    def __init__(self, worker: Worker, tell: Callable[[int], object]) -> None:
        """Start the thread.

        Args:
            worker: gets the batches.
            tell: gets the number of images of each batch.
        """
        self._worker, self._tell = worker, tell
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._bytes, self._lock = 0, threading.Lock()
        self.failure: Exception | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def add(self, question: Question, image: bytes) -> Future[Any]:
        """Return the result to come of an image.

        Raises:
            Full: too many wait.
            ServerError: there is no worker any more.
        """
        if self.failure is not None:
            raise ServerError(f"the model cannot be loaded again: {self.failure}")
        with self._lock:
            if self._bytes + len(image) > WAITING_BYTES:
                raise Full
            self._bytes += len(image)
        result: Future[Any] = Future()
        result.add_done_callback(lambda _: self._forget(len(image)))
        self._queue.put(_Waiting(question, image, result))
        return result

    def _forget(self, size: int) -> None:
        with self._lock:
            self._bytes -= size

    @property
    def waiting(self) -> int:
        """Number of images in the queue."""
        return self._queue.qsize()

    def close(self) -> None:
        """End the thread, once it has answered what waits."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        held: _Waiting | None = None
        while (first := held or self._queue.get()) is not None:
            batch, held = [first], None
            while len(batch) < LARGEST_BATCH and not self._queue.empty():
                one = self._queue.get()
                if one is None or one.question != first.question:
                    held = one
                    if one is None:
                        self._queue.put(None)
                    break
                batch.append(one)
            # A client that has gone away has cancelled its result.
            if batch := [one for one in batch if one.result.set_running_or_notify_cancel()]:
                self._tell(len(batch))
                self._answer(batch)

    def _answer(self, batch: list[_Waiting]) -> None:
        try:
            results = self._results(batch)
        except ServerError as error:  # a worker that cannot be replaced
            self.failure = error
            results = [error] * len(batch)
        for one, result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                one.result.set_exception(result)
            else:
                one.result.set_result(result)

    def _results(self, batch: list[_Waiting]) -> list[Any]:
        try:
            return self._worker.run(batch[0].question, [one.image for one in batch])
        except Died:
            if len(batch) == 1:
                return [{"error": KILLER}]
        return [result for one in batch for result in self._results([one])]
