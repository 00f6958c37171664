"""A data plane on this machine: discovery in this process, a real Envoy beside it, small models behind it."""

import asyncio
import collections
import contextlib
import dataclasses
import os
import pathlib
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import aiohttp
from aiohttp import web
from penstock.adapters import envoy_discovery, envoy_snapshot
from penstock.api.v1alpha1.modeldeployment_status import Split
from penstock.ports import Backend, Endpoint, Key, Routed

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEY = Key("ml", "fraud")
HOST = "fraud.ml"

T = TypeVar("T")


def envoy_program() -> str:
    """The Envoy of this Python environment."""
    beside = pathlib.Path(sys.executable).with_name("envoy")
    found = str(beside) if beside.exists() else shutil.which("envoy")
    assert found is not None, "no Envoy: install the distribution's extra `envoy`"
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(what: Callable[[], T | None], seconds: float = 10.0) -> T:
    """Look every few milliseconds until the answer is true."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := what():
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {seconds} s")
        await asyncio.sleep(0.005)


@dataclasses.dataclass
class Model:
    """A small model server: says its name, remembers what it was sent."""

    name: str
    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    seen: list[dict[str, str]] = dataclasses.field(default_factory=list)
    bodies: list[bytes] = dataclasses.field(default_factory=list)
    gate: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    port: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    async def answer(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.seen.append({name.lower(): value for name, value in request.headers.items()})
        await self.gate.wait()
        return web.json_response({"from": self.name}, status=self.status, headers=self.headers)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["Model"]:
        application = web.Application(client_max_size=64 << 20)
        application.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self.port).start()
            self.port = runner.addresses[0][1]
            yield self
        finally:
            self.gate.set()
            await runner.cleanup()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.port)


def backend(model: Model, version: int = 1) -> Backend:
    return Backend(model.name, version, (model.endpoint,))


def routed(split: Split, *backends: Backend, key: Key = KEY, hostnames: tuple[str, ...] = ()) -> Routed:
    return Routed(key, hostnames, split, {backend.revision: backend for backend in backends})


@dataclasses.dataclass
class Answer:
    status: int
    body: dict[str, Any]
    headers: dict[str, str]
    seconds: float


@dataclasses.dataclass
class Discovery:
    """The operator's side: can be stopped and started again on the same port."""

    envoy: envoy_discovery.Envoy
    port: int
    runner: web.AppRunner | None = None

    async def start(self) -> None:
        self.runner = web.AppRunner(self.envoy.application(), access_log=None, shutdown_timeout=1.0)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()
            self.runner = None


@dataclasses.dataclass
class Instance:
    """One Envoy, started as its container starts it."""

    name: str
    http_port: int
    status_port: int
    admin_port: int
    process: asyncio.subprocess.Process
    log: pathlib.Path

    def stop_at_once(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def pause(self) -> None:
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)

    async def ready(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"http://127.0.0.1:{self.status_port}/ready") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


async def start_instance(name: str, discovery_port: int, folder: pathlib.Path, **settings: str) -> Instance:
    ports = {which: free_port() for which in ("HTTP", "STATUS", "ADMIN")}
    log = folder / f"{name}.log"
    environment = {
        "PATH": os.environ["PATH"],
        "POD_NAME": name,
        "PENSTOCK_DISCOVERY_HOST": "localhost",
        "PENSTOCK_DISCOVERY_PORT": str(discovery_port),
        "PENSTOCK_LISTEN_ADDRESS": "127.0.0.1",
        "PENSTOCK_BOOTSTRAP": str(ROOT / "images" / "envoy" / "bootstrap.yaml"),
        "PENSTOCK_ENVOY": envoy_program(),
        **{f"PENSTOCK_{which}_PORT": str(port) for which, port in ports.items()},
        **settings,
    }
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            str(ROOT / "images" / "envoy" / "entrypoint.sh"),
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return Instance(name, ports["HTTP"], ports["STATUS"], ports["ADMIN"], process, log)


@dataclasses.dataclass
class Plane:
    """The whole of it, as a test drives it."""

    discovery: Discovery
    instance: Instance
    session: aiohttp.ClientSession
    folder: pathlib.Path

    @property
    def envoy(self) -> envoy_discovery.Envoy:
        return self.discovery.envoy

    def publish(self, split: Split, *backends: Backend, key: Key = KEY, hostnames: tuple[str, ...] = ()) -> None:
        self.envoy.publish(routed(split, *backends, key=key, hostnames=hostnames))

    async def applied(self, key: Key = KEY, seconds: float = 10.0) -> Split:
        return await until(lambda: self.envoy.applied(key), seconds)

    async def ask(self, host: str = HOST, path: str = "/invocations", body: bytes = b"{}", **headers: str) -> Answer:
        url = f"http://127.0.0.1:{self.instance.http_port}{path}"
        sent = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
        began = time.monotonic()
        async with self.session.post(url, data=body, headers=sent) as response:
            answer = await response.json()
            took = time.monotonic() - began
            return Answer(response.status, answer, {k.lower(): v for k, v in response.headers.items()}, took)

    async def ready(self, seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not await self.instance.ready(self.session):
            assert time.monotonic() < deadline, self.instance.log.read_text()
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def plane(
    folder: pathlib.Path, settings: envoy_snapshot.Settings | None = None, **process: str
) -> AsyncIterator[Plane]:
    """Discovery and one Envoy; nothing is published, and the discovery is open."""
    envoy = envoy_discovery.Envoy(settings, settle_seconds=0.0)
    discovery = Discovery(envoy, free_port())
    await discovery.start()
    envoy.open()
    instance = await start_instance("envoy-0", discovery.port, folder, **process)
    try:
        async with aiohttp.ClientSession() as session:
            running = Plane(discovery, instance, session, folder)
            await running.ready()
            yield running
    finally:
        instance.stop_at_once()
        await instance.process.wait()
        await discovery.stop()


@dataclasses.dataclass
class Traffic:
    """Callers that never stop asking, over connections they keep; every request and every failure is counted."""

    plane: Plane
    statuses: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    revisions: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    failures: list[str] = dataclasses.field(default_factory=list)

    @property
    def requests(self) -> int:
        return self.statuses.total() + len(self.failures)

    async def more(self, count: int, seconds: float = 20.0) -> None:
        """Wait until so many more have been answered."""
        wanted = self.requests + count
        await until(lambda: self.requests >= wanted, seconds)

    async def _caller(self, ask: Callable[[], Any]) -> None:
        while True:
            try:
                answer = await ask()
            except (aiohttp.ClientError, TimeoutError) as error:
                self.failures.append(repr(error))
                continue
            self.statuses[answer.status] += 1
            self.revisions[answer.headers.get("x-penstock-revision", "")] += 1
            if answer.status != 200:
                self.failures.append(f"{answer.status} {answer.body}")

    @contextlib.asynccontextmanager
    async def flowing(self, callers: int = 4, ask: Callable[[], Any] | None = None) -> AsyncIterator["Traffic"]:
        tasks = [asyncio.create_task(self._caller(ask or self.plane.ask)) for _ in range(callers)]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
