"""Adaptive batching: what arrives while the model works is answered by its next call. Nothing ever waits for company.

All decisions are the event loop's: it owns the queue and hands requests to idle prediction threads, which know
nothing of it. So the loop stays free for /health and /metrics while the model works, and there is no lock.
"""

import asyncio
import collections
import contextlib
import functools
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from penstock_runtime.answers import Answer
from penstock_runtime.settings import Limits
from penstock_runtime.work import Predictor, Request, Work

# Big bodies gain nothing from being joined, and cost their size again.
_JOINED_BYTES = 1024 * 1024


class Overloaded(Exception):
    """The queue is full."""


class Worker:
    """A daemon thread that runs one task at a time: a model that hangs must not keep the process alive."""

    def __init__(self, name: str) -> None:
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def run(self, task: Callable[[], None]) -> None:
        """Run the task after those that were given before; it must not raise."""
        self._tasks.put(task)

    def stop(self, timeout: float) -> bool:
        """Let the thread end; false when it still works after `timeout` seconds."""
        self._tasks.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
            del task


@dataclass(frozen=True, slots=True)
class _Waiting:
    request: Request
    answer: asyncio.Future[Answer]


class Batcher:
    """The queue before the model. Every method belongs to the event loop that runs when it is made."""

    def __init__(
        self, predictor: Predictor, workers: Sequence[Worker], limits: Limits, worked: Callable[[Work], None]
    ) -> None:
        self._predictor = predictor
        self._limits = limits
        self._worked = worked
        self._loop = asyncio.get_running_loop()
        self._queue: collections.deque[_Waiting] = collections.deque()
        self._idle = list(workers)
        self._busy: dict[Worker, float] = {}
        self._scheduled = False
        self._alone = True

    @property
    def queue_length(self) -> int:
        return len(self._queue)

    @property
    def busy(self) -> int:
        """How many prediction threads work."""
        return len(self._busy)

    def hangs(self) -> bool:
        """Whether every prediction thread is held by a call that is longer than the model may take."""
        longest = self._loop.time() - self._limits.hang
        return not self._idle and all(since < longest for since in self._busy.values())

    def submit(self, request: Request) -> asyncio.Future[Answer]:
        """Queue a request; its answer comes through the future. Raises Overloaded."""
        if len(self._queue) >= self._limits.queue_length:
            raise Overloaded
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._queue.append(_Waiting(request, answer))
        self._schedule()
        return answer

    def _schedule(self) -> None:
        """Hand over after the loop has read what other connections sent meanwhile."""
        if self._scheduled or not self._idle or not self._queue:
            return
        self._scheduled = True
        if self._limits.batch_delay and not self._alone and len(self._queue) < self._limits.batch_size:
            self._loop.call_later(self._limits.batch_delay, self._hand_over)
        else:
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        self._scheduled = False
        while self._idle and self._queue:
            batch = self._take(len(self._idle))
            if not batch:
                return
            self._alone = len(batch) == 1
            worker = self._idle.pop()
            self._busy[worker] = self._loop.time()
            worker.run(functools.partial(self._work, worker, batch))

    def _take(self, idle: int) -> list[_Waiting]:
        most = min(self._limits.batch_size, -(-len(self._queue) // idle)) if self._predictor.joins else 1
        batch: list[_Waiting] = []
        size = 0
        while self._queue and len(batch) < most:
            waiting = self._queue[0]
            size += len(waiting.request.body)
            if batch and size > _JOINED_BYTES:
                break
            self._queue.popleft()
            if not waiting.answer.done():
                batch.append(waiting)
        return batch

    def _work(self, worker: Worker, batch: Sequence[_Waiting]) -> None:
        """In the prediction thread."""
        work = self._predictor.answer([waiting.request for waiting in batch])
        # the loop is gone when the process ends while the model still works
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._done, worker, batch, work)

    def _done(self, worker: Worker, batch: Sequence[_Waiting], work: Work) -> None:
        del self._busy[worker]
        self._idle.append(worker)
        for waiting, answer in zip(batch, work.answers, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(answer)
        self._worked(work)
        self._schedule()
