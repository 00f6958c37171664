"""The work queue of a controller: each key once at a time, nothing lost, nothing twice.

`Agenda` is the state, without clock or task: what waits, what runs, what is planned. `WorkQueue` turns it into workers.
A key that is added while it runs, runs once more afterwards. A pass decides anew when to look again, so its start
drops what was planned before; of what is planned from then on, the earliest counts, except that a failure makes the
key wait for its back-off. An event adds at once whatever is planned.
"""

import asyncio
import heapq
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import prometheus_client

from penstock import errors

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a key waits after its n-th failure in a row."""

    first_seconds: float = 0.2
    factor: float = 2.0
    most_seconds: float = 60.0

    def seconds(self, failures: int) -> float:
        """The wait after `failures` (1, 2, ...) in a row."""
        # the exponent is bounded so that a key that fails for weeks does not overflow a float
        return min(self.most_seconds, self.first_seconds * self.factor ** min(failures - 1, 64))


class Agenda(Generic[K]):
    """What waits, what runs and what is planned. Times are seconds of one clock, given by the caller."""

    def __init__(self, backoff: Backoff | None = None) -> None:
        self._backoff = backoff or Backoff()
        self._waiting: dict[K, float] = {}  # in order of arrival; since when
        self._running: set[K] = set()
        self._again: dict[K, float] = {}  # added while running
        self._planned: dict[K, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._failures: dict[K, int] = {}
        self._failed: set[K] = set()  # in the pass that runs
        self._numbers = itertools.count()

    def __len__(self) -> int:
        """How many keys wait for a worker."""
        return len(self._waiting)

    def add(self, key: K, now: float) -> bool:
        """Have the key looked at as soon as a worker is free; whether it was not going to be anyway."""
        place = self._again if key in self._running else self._waiting
        if key in place:
            return False
        place[key] = now
        return True

    def plan(self, key: K, when: float) -> None:
        """Add the key at `when`, or earlier if that was planned since its last start."""
        if key in self._planned and self._planned[key][0] <= when:
            return
        self._replan(key, when)

    def _replan(self, key: K, when: float) -> None:
        number = next(self._numbers)
        self._planned[key] = (when, number)
        heapq.heappush(self._heap, (when, number, key))
        if len(self._heap) > 2 * len(self._planned) + 64:
            self._heap = [(when, number, key) for key, (when, number) in self._planned.items()]
            heapq.heapify(self._heap)

    def fail(self, key: K, now: float) -> float:
        """Plan the key after its back-off; how long that is. Said during a pass, the pass counts as failed."""
        failures = self._failures.get(key, 0) + 1
        self._failures[key] = failures
        if key in self._running:
            self._failed.add(key)
        seconds = self._backoff.seconds(failures)
        self._replan(key, now + seconds)
        return seconds

    def forget(self, key: K) -> None:
        """The key has succeeded: its next failure is its first."""
        self._failures.pop(key, None)

    def due(self, now: float) -> int:
        """Add the keys whose time has come; how many of them were not waiting anyway."""
        added = 0
        while self._heap and self._heap[0][0] <= now:
            when, number, key = heapq.heappop(self._heap)
            if self._planned.get(key) == (when, number):
                del self._planned[key]
                added += self.add(key, now)
        return added

    def next_due(self) -> float | None:
        """When `due` has something to do again."""
        while self._heap and self._planned.get(self._heap[0][2]) != self._heap[0][:2]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self) -> tuple[K, float] | None:
        """Start the key that waits longest, and since when it waited; what was planned for it is void."""
        if not self._waiting:
            return None
        key = next(iter(self._waiting))
        since = self._waiting.pop(key)
        self._planned.pop(key, None)
        self._running.add(key)
        return key, since

    def done(self, key: K) -> None:
        """The pass has ended: without a failure the next one is the first; a key added meanwhile waits again."""
        self._running.discard(key)
        if key not in self._failed:
            self.forget(key)
        self._failed.discard(key)
        if key in self._again:
            self._waiting[key] = self._again.pop(key)


class Metrics:
    """What can be seen of the work queues of a process."""

    def __init__(self, registry: prometheus_client.CollectorRegistry) -> None:
        label = ("queue",)
        self.depth = prometheus_client.Gauge(
            "penstock_workqueue_depth", "Keys that wait for a worker.", label, registry=registry
        )
        self.adds = prometheus_client.Counter(
            "penstock_workqueue_adds", "Keys that began to wait.", label, registry=registry
        )
        self.retries = prometheus_client.Counter(
            "penstock_workqueue_retries", "Keys put back after a failure.", label, registry=registry
        )
        self.waited = prometheus_client.Histogram(
            "penstock_workqueue_wait_seconds",
            "Time a key waited for a worker.",
            label,
            registry=registry,
            buckets=_SECONDS,
        )
        self.worked = prometheus_client.Histogram(
            "penstock_workqueue_work_seconds", "Time a worker took.", label, registry=registry, buckets=_SECONDS
        )


class WorkQueue(Generic[K]):
    """Workers on an agenda. All methods belong to the event loop that `run` runs in."""

    def __init__(
        self,
        handle: Callable[[K], Awaitable[None]],
        *,
        name: str,
        metrics: Metrics,
        workers: int = 8,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._handle = handle
        self._name = name
        self._metrics = metrics
        self._workers = workers
        self._clock = clock
        self._backoff = backoff
        self._agenda: Agenda[K] = Agenda(backoff)
        self._news = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due: float | None = None

    def add(self, key: K) -> None:
        """Look at the key as soon as a worker is free; once more afterwards if it is being looked at."""
        self._count(int(self._agenda.add(key, self._clock())))

    def add_at(self, key: K, when: float) -> None:
        """Look at the key at `when` (of the queue's clock), or earlier if that was planned since its last start."""
        self._agenda.plan(key, when)
        self._arm()

    def add_after(self, key: K, seconds: float) -> None:
        """Look at the key in a while, or earlier if that was planned since its last start."""
        self.add_at(key, self._clock() + seconds)

    def retry(self, key: K) -> float:
        """Look at the key after a wait, in seconds, that grows with each failure in a row."""
        seconds = self._agenda.fail(key, self._clock())
        self._metrics.retries.labels(self._name).inc()
        self._arm()
        return seconds

    def forget(self, key: K) -> None:
        """The key has succeeded: its next failure is its first."""
        self._agenda.forget(key)

    async def run(self, stop: asyncio.Event, drain_seconds: float = 10.0) -> None:
        """Work until `stop`; then let the passes that run end, for `drain_seconds` at most, and forget the rest.

        Cancelled, it breaks the passes off. It can be run again.
        """
        workers = [asyncio.create_task(self._work(stop), name=f"{self._name} {n}") for n in range(self._workers)]
        stopper = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([stopper, *workers], return_when=asyncio.FIRST_COMPLETED)
            self._news.set()
            if stopper in done:
                await asyncio.wait(workers, timeout=drain_seconds)
        finally:
            for task in (stopper, *workers):
                task.cancel()
            results = await asyncio.gather(*workers, return_exceptions=True)
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._timer_due = None, None
            self._agenda = Agenda(self._backoff)
            self._metrics.depth.labels(self._name).set(0)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _work(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._count(self._agenda.due(self._clock()))
            taken = self._agenda.take()
            if taken is None:
                self._news.clear()
                await self._news.wait()
                continue
            key, since = taken
            self._metrics.depth.labels(self._name).set(len(self._agenda))
            started = self._clock()
            self._metrics.waited.labels(self._name).observe(started - since)
            try:
                await self._handle(key)
            except errors.PenstockError as error:
                seconds = self.retry(key)
                logger.warning("%s; tried again in %.1f s", error.message, seconds, extra={"key": str(key)})
            except Exception:
                seconds = self.retry(key)
                logger.exception("a pass broke off; tried again in %.1f s", seconds, extra={"key": str(key)})
            finally:
                self._metrics.worked.labels(self._name).observe(self._clock() - started)
                self._agenda.done(key)
                self._count(0)
            # a pass that waited for nothing has let nobody else run, and the next one may be as quick
            await asyncio.sleep(0)

    def _count(self, added: int) -> None:
        """Show the workers and the metrics what has changed."""
        if added:
            self._metrics.adds.labels(self._name).inc(added)
        self._metrics.depth.labels(self._name).set(len(self._agenda))
        if len(self._agenda):
            self._news.set()
        self._arm()

    def _arm(self) -> None:
        """Wake the workers when the next planned key is due."""
        due = self._agenda.next_due()
        if due == self._timer_due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_due = None, due
        if due is not None:
            wait = max(0.0, due - self._clock())
            self._timer = asyncio.get_running_loop().call_later(wait, self._ring)

    def _ring(self) -> None:
        self._timer, self._timer_due = None, None
        self._count(self._agenda.due(self._clock()))
