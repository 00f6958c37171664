"""Many callers, few questions: answers are shared by all who ask for the same thing at about the same time.

An answer is a value, errors included, so that one failed request is told to everybody who waits for it. A caller that
is cancelled leaves the request to the others.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _Known(Generic[V]):
    answer: V
    asked_at: float


class Shared(Generic[K, V]):
    """Keeps the last answer to each question, at most `entries` of them, and never asks one twice at a time."""

    def __init__(self, clock: Callable[[], float], entries: int) -> None:
        self._clock = clock
        self._entries = entries
        self._known: dict[K, _Known[V]] = {}
        self._asking: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._known)

    async def get(self, key: K, ask: Callable[[], Coroutine[Any, Any, V]], fresh: Callable[[V, float], bool]) -> V:
        """The known answer if it is `fresh` (given the answer and its age in seconds), else what `ask` returns."""
        known = self._known.get(key)
        if known is not None and fresh(known.answer, self._clock() - known.asked_at):
            return known.answer
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(key, ask))
        return await asyncio.shield(task)

    async def _ask(self, key: K, ask: Callable[[], Coroutine[Any, Any, V]]) -> V:
        asked_at = self._clock()
        try:
            answer = await ask()
        finally:
            del self._asking[key]
        self._known.pop(key, None)  # so that the order is that of the last answer
        self._known[key] = _Known(answer, asked_at)
        while len(self._known) > self._entries:
            del self._known[next(iter(self._known))]
        return answer


@dataclass(frozen=True, slots=True)
class _Batch(Generic[V]):
    task: asyncio.Task[V]
    covers: frozenset[str]
    asked_at: float


class Batches(Generic[V]):
    """One question about many things: whatever was wanted lately is asked for together.

    A caller waits `gather_seconds` for others to join. Its answer covers what anybody wanted in the last
    `remember_seconds` and serves all of them for `fresh_seconds`.
    """

    def __init__(
        self,
        ask: Callable[[frozenset[str]], Coroutine[Any, Any, V]],
        *,
        clock: Callable[[], float],
        fresh_seconds: float,
        gather_seconds: float = 0.01,
        remember_seconds: float = 60,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._fresh_seconds = fresh_seconds
        self._gather_seconds = gather_seconds
        self._remember_seconds = remember_seconds
        self._wanted: dict[str, float] = {}
        self._gathering: asyncio.Task[V] | None = None
        self._last: _Batch[V] | None = None

    async def get(self, thing: str) -> V:
        """The answer to a question that covers `thing`."""
        now = self._clock()
        self._wanted[thing] = now
        last = self._last
        if last is not None and thing in last.covers:
            if not last.task.done():
                return await asyncio.shield(last.task)
            if now - last.asked_at < self._fresh_seconds and last.task.exception() is None:
                return last.task.result()
        if self._gathering is None:
            self._gathering = asyncio.create_task(self._gather())
        return await asyncio.shield(self._gathering)

    async def _gather(self) -> V:
        await asyncio.sleep(self._gather_seconds)
        now = self._clock()
        self._wanted = {thing: at for thing, at in self._wanted.items() if now - at <= self._remember_seconds}
        covers = frozenset(self._wanted)
        task = asyncio.create_task(self._ask(covers))
        self._last, self._gathering = _Batch(task, covers, now), None
        return await asyncio.shield(task)
