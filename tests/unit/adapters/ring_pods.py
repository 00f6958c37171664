"""Pods that keep rings of answers and truths, as real servers on addresses of this machine."""

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

_ADDRESSES = itertools.cycle(range(2, 250))


@dataclass
class Ring:
    """Entries with their numbers; `kept` at most."""

    kept: int = 4096
    entries: list[list[Any]] = field(default_factory=list)
    last: int = 0

    def add(self, *entry: Any) -> None:
        self.last += 1
        self.entries = [*self.entries, [self.last, *entry]][-self.kept :]

    def page(self, after: int, limit: int) -> tuple[list[Any], int, int]:
        first = self.last - len(self.entries) + 1
        found = [entry for entry in self.entries if entry[0] > after][:limit]
        return found, found[-1][0] if found else self.last, max(0, first - 1 - after) if after else 0


@dataclass
class Pod:
    """One pod, what it was asked, and how it misbehaves."""

    address: str
    boot: str = "boot-1"
    answers: Ring = field(default_factory=Ring)
    truths: Ring = field(default_factory=Ring)
    asked: list[str] = field(default_factory=list)
    instead: Callable[[web.Request], Any] | None = None
    silent: bool = False
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _runner: web.AppRunner | None = None

    def answered(self, request: str, predictions: object, *, at: float = 1000.0, outcome: str = "success") -> None:
        self.answers.add(request, at, outcome, predictions)

    def told(self, request: str, truth: object, *, at: float = 1000.0) -> None:
        self.truths.add(request, at, truth)

    def restarted(self) -> None:
        """A new process in the place of this one."""
        self.boot, self.answers, self.truths = f"{self.boot}+", Ring(), Ring()

    async def stop(self) -> None:
        """Nobody listens any more."""
        self._ended.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        name = request.path.removeprefix("/")
        self.asked.append(request.path_qs)
        if self.silent:
            await self._ended.wait()
        if self.instead is not None:
            found = self.instead(request)
            return found if isinstance(found, web.StreamResponse) else web.Response(text=found)
        ring = {"answers": self.answers, "truths": self.truths}[name]
        entries, after, lost = ring.page(int(request.query["after"]), int(request.query["limit"]))
        page = {"boot": self.boot, "next": after, "lost": lost, "oversized": 0, "sampled": ring.last, name: entries}
        return web.Response(text=json.dumps(page), content_type="application/json")

    async def start(self, port: int) -> None:
        app = web.Application()
        app.router.add_get("/{name}", self._handle)
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.address, port).start()


@dataclass
class Pods:
    """All pods of a test, on one port."""

    port: int
    started: list[Pod] = field(default_factory=list)

    async def start(self) -> Pod:
        pod = Pod(f"127.0.0.{next(_ADDRESSES)}")
        await pod.start(self.port)
        self.started.append(pod)
        return pod


@contextlib.asynccontextmanager
async def pods() -> AsyncIterator[Pods]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = Pods(port)
    try:
        yield running
    finally:
        for pod in running.started:
            await pod.stop()
