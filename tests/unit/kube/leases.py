"""An API server for one Lease in memory, as real contenders see it over HTTP; it can be slow, refuse, or stay away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import prometheus_client
from aiohttp import web
from kubernetes.aio import client as official
from penstock import ports
from penstock.kube import client, leader, lease

WHERE = ports.Key("penstock-system", "penstock-operator")
ADDRESSES = {"one": "http://10.0.0.1:8081", "two": "http://[fd00::2]:8081"}
# as fast as whole seconds allow
TIMINGS = lease.Timings(lease_seconds=2, renew_seconds=0.2, retry_seconds=0.05)


class LeaseServer:
    """Stores one Lease; a write must name the version it replaces."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] | None = None
        self.version = 0
        self.refuse_with: int | None = None
        self.answers = asyncio.Event()
        self.answers.set()
        self.writes = 0

    @property
    def holder(self) -> str:
        return lease.read(self.stored).holder if self.stored else ""

    def store(self, body: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.writes += 1
        metadata = body["metadata"] | {"resourceVersion": str(self.version), "uid": "u1"}
        self.stored = body | {"metadata": metadata}
        return self.stored

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[Any]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield official.Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        await self.answers.wait()
        if self.refuse_with is not None:
            return web.json_response({"message": "because"}, status=self.refuse_with)
        if request.method == "GET":
            return web.json_response(self.stored or {"message": "none"}, status=200 if self.stored else 404)
        body = await request.json()
        now = self.stored["metadata"]["resourceVersion"] if self.stored else None
        if now != body["metadata"].get("resourceVersion"):
            return web.json_response({"message": "the object has been modified"}, status=409)
        return web.json_response(self.store(body))


class Contender:
    """An election in this process."""

    def __init__(self, cluster: client.Cluster, name: str, timings: lease.Timings = TIMINGS) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        self.election = leader.Election(
            cluster, WHERE, leader.Candidate(name, ADDRESSES[name]), timings, leader.Metrics(self.registry)
        )
        self.task = asyncio.create_task(self.election.run())

    def metric(self, name: str) -> float | None:
        return self.registry.get_sample_value(name)

    async def leads(self, *, leading: bool = True) -> None:
        await asyncio.wait_for(self.election.until(leading=leading), 20)

    async def resign(self) -> None:
        self.election.resign()
        await self.task


@contextlib.asynccontextmanager
async def contending(server: LeaseServer, *names: str) -> AsyncIterator[list[Contender]]:
    async with server.served() as configuration, contextlib.AsyncExitStack() as stack:
        contenders = []
        for name in names:
            connecting = client.connect(configuration, timeout_seconds=TIMINGS.patience_seconds, connections=2)
            contenders.append(Contender(await stack.enter_async_context(connecting), name))
        try:
            yield contenders
        finally:
            server.answers.set()
            for contender in contenders:
                contender.task.cancel()
            await asyncio.gather(*(contender.task for contender in contenders), return_exceptions=True)


async def until(check: Callable[[], bool], seconds: float = 20) -> None:
    """Poll until it is so."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not check():
        assert asyncio.get_running_loop().time() < deadline, f"not so within {seconds} s"
        await asyncio.sleep(0.01)
