"""What a process does from the moment it leads until it leads no more: catch up with the cluster, then work its queue.

Rule: a term begins with nothing remembered but what the watches tell. All else is in the status, and is read there.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from penstock import errors, ports
from penstock.analysis.signature import Signature
from penstock.api.v1alpha1 import modeldeployment

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5


class Election(Protocol):
    """Who may act; `penstock.kube.leader.Election`."""

    def leading(self) -> bool:
        """Whether this process may act at this moment."""
        ...

    def seconds_left(self) -> float:
        """How long it may for sure. Raises NotLeading if it may not."""
        ...

    async def until(self, *, leading: bool) -> None:
        """Wait until it may, or may no more."""
        ...


class FencedRegistry:
    """A model registry on which only the process that leads writes."""

    def __init__(self, registry: ports.ModelRegistry, election: Election) -> None:
        self._registry = registry
        self._election = election

    async def resolve(self, registry: ports.RegistryAddress, model: modeldeployment.ModelRef) -> ports.ModelVersion:
        return await self._registry.resolve(registry, model)

    async def signature(self, registry: ports.RegistryAddress, version: ports.ModelVersion) -> Signature | None:
        return await self._registry.signature(registry, version)

    async def tag(self, registry: ports.RegistryAddress, version: ports.ModelVersion, tags: Mapping[str, str]) -> None:
        self._election.seconds_left()
        await self._registry.tag(registry, version, tags)


class Terms:
    """The times in which this process leads, one after the other.

    catch_up: reads what the leader before may have written; raises errors of `penstock.errors`.
    work: acts until the event is set; cancelled, it breaks off.
    rest: ends what is left of the work and forgets it.
    """

    def __init__(
        self,
        election: Election,
        *,
        catch_up: Callable[[], Awaitable[object]],
        work: Callable[[asyncio.Event], Awaitable[None]],
        rest: Callable[[], Awaitable[None]],
    ) -> None:
        self._election = election
        self._catch_up = catch_up
        self._work = work
        self._rest = rest

    async def run(self, stop: asyncio.Event) -> None:
        """Act whenever this process leads, until `stop`; what was begun is then finished."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                await _first(stopping, self._election.until(leading=True))
                if not stop.is_set():
                    await self._serve(stopping)
        finally:
            stopping.cancel()

    async def _serve(self, stopping: "asyncio.Task[bool]") -> None:
        """One term."""
        finish = asyncio.Event()
        acting = asyncio.create_task(self._act(finish), name="term of office")
        lost = asyncio.create_task(self._election.until(leading=False))
        try:
            await asyncio.wait([acting, lost, stopping], return_when=asyncio.FIRST_COMPLETED)
            if stopping.done() and not lost.done():
                finish.set()
                await asyncio.wait([acting, lost], return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()
            if not acting.done():
                acting.cancel()
                await asyncio.wait([acting])
            await self._rest()
        if not acting.cancelled():
            acting.result()

    async def _act(self, finish: asyncio.Event) -> None:
        while not finish.is_set():
            try:
                await self._catch_up()
                break
            except errors.PenstockError as error:
                logger.warning("nothing is done before the caches are up to date: %s", error.message)
                await asyncio.sleep(_RETRY_SECONDS)
        await self._work(finish)


async def _first(already: "asyncio.Task[bool]", wait: Awaitable[None]) -> None:
    """Wait for either."""
    waiting = asyncio.ensure_future(wait)
    try:
        await asyncio.wait([already, waiting], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
