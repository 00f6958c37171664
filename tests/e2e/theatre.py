"""Scenarios side by side: they wait for pods most of the time, so a few of them share the cluster.

A scenario is a coroutine function; `@scenario()` makes a test of it. The first test that runs starts all selected
ones, so many at a time, and every test then only waits for its own. Those marked `alone` disturb the whole cluster:
they run after the others, one by one.
"""

import asyncio
import concurrent.futures
import contextlib
import inspect
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from dev.demo import tunnel
from tests.e2e import catalogue, kube
from tests.e2e.stage import Stage, World

AT_ONCE = int(os.environ.get("PENSTOCK_E2E_AT_ONCE", "4"))
SYSTEM_NAMESPACE = os.environ.get("PENSTOCK_SYSTEM_NAMESPACE", "penstock-system")
RELEASE = os.environ.get("PENSTOCK_RELEASE", "penstock")

Play = Callable[..., Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """How a scenario is played."""

    play: Play
    alone: bool
    seconds: float


def scenario(*, alone: bool = False, seconds: float = 400) -> Callable[[Play], Callable[..., None]]:
    """Make a test of a coroutine function whose first argument is its stage."""

    def decorate(play: Play) -> Callable[..., None]:
        def test(theatre: Theatre, request: pytest.FixtureRequest, **_parameters: Any) -> None:
            __tracebackhide__ = True
            performance = theatre.performance(request.node.nodeid)
            try:
                performance.wait()
            except BaseException:
                request.node.add_report_section("call", "cluster", performance.diagnosis)
                raise

        _, *own = inspect.signature(play).parameters.values()
        given = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("theatre", "request")]
        test.__name__, test.__doc__, test.__module__ = play.__name__, play.__doc__, play.__module__
        test.__signature__ = inspect.Signature([*given, *own])  # type: ignore[attr-defined]
        test.pytestmark = getattr(play, "pytestmark", [])  # type: ignore[attr-defined]
        test.scenario = Scenario(play, alone, seconds)  # type: ignore[attr-defined]
        return test

    return decorate


def of(item: pytest.Item) -> Scenario | None:
    """The scenario of a test, if it is one."""
    return getattr(getattr(item, "function", None), "scenario", None)


@dataclass
class Performance:
    """One scenario being played."""

    title: str
    scenario: Scenario
    parameters: Mapping[str, Any]
    outcome: "concurrent.futures.Future[None]" = field(default_factory=concurrent.futures.Future)
    diagnosis: str = ""
    seconds: float = 0.0
    sent: int = 0
    failed: int = 0
    lost: int = 0

    def wait(self) -> None:
        """Wait for its end; raises what it raised."""
        __tracebackhide__ = True
        self.outcome.result()


class Theatre:
    """Plays the selected scenarios in an event loop of its own."""

    def __init__(self, items: Sequence[pytest.Item]) -> None:
        self._performances = {
            item.nodeid: Performance(item.name, chosen, getattr(getattr(item, "callspec", None), "params", {}))
            for item in items
            if (chosen := of(item)) is not None
        }
        self._thread = threading.Thread(target=self._run, name="theatre", daemon=True)
        self._closing = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def performances(self) -> list[Performance]:
        """All of them."""
        return list(self._performances.values())

    def performance(self, nodeid: str) -> Performance:
        """The one of a test; the first question starts all."""
        if not self._thread.is_alive() and self._loop is None:
            self._thread.start()
        return self._performances[nodeid]

    def close(self) -> None:
        """Stop what still plays."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join(timeout=60)

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        playing = asyncio.create_task(self._play_all())
        closing = asyncio.create_task(self._closing.wait())
        await asyncio.wait([playing, closing], return_when=asyncio.FIRST_COMPLETED)
        playing.cancel()
        closing.cancel()
        await asyncio.wait([playing])
        error = None if playing.cancelled() else playing.exception()
        for performance in self.performances:
            if not performance.outcome.done():
                performance.outcome.set_exception(error or RuntimeError("the session ended before the scenario did"))

    async def _play_all(self) -> None:
        async with _world() as world:
            turns = asyncio.Semaphore(AT_ONCE)

            async def in_turn(performance: Performance) -> None:
                async with turns:
                    await _play(world, performance)

            together = [one for one in self.performances if not one.scenario.alone]
            await asyncio.gather(*(in_turn(performance) for performance in together))
            for performance in self.performances:
                if performance.scenario.alone:
                    await _play(world, performance)


async def _play(world: World, performance: Performance) -> None:
    """Play one scenario, and keep what it raised together with what the cluster was like."""
    stage = Stage(world, performance.title.removeprefix("test_").partition("[")[0])
    began = time.monotonic()
    error: BaseException | None = None
    try:
        await stage.open()
        async with asyncio.timeout(performance.scenario.seconds):
            await performance.scenario.play(stage, **performance.parameters)
    except asyncio.CancelledError:
        raise
    except BaseException as raised:  # noqa: BLE001  # it is the test's to report, in the test's thread
        error = raised
        performance.diagnosis = await _describe(stage)
    finally:
        performance.seconds = time.monotonic() - began
        if stage.traffic is not None:
            summed = stage.traffic.summary()
            performance.sent, performance.failed = summed.sent, len(summed.failed)
            performance.lost = len(summed.lost)
        with contextlib.suppress(kube.Refused):
            await stage.close()
    if error is None:
        performance.outcome.set_result(None)
    else:
        performance.outcome.set_exception(error)


async def _describe(stage: Stage) -> str:
    try:
        return await stage.describe()
    except Exception as error:  # noqa: BLE001  # the scenario's own error matters more
        return f"the cluster could not be described: {error!r}"


@contextlib.asynccontextmanager
async def _world() -> AsyncIterator[World]:
    async with kube.connect() as api:
        services = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/services"
        mlflow = await _address(api, f"{services}/{RELEASE}-mlflow")
        envoy = await _address(api, f"{services}/{RELEASE}-envoy")
        async with tunnel.open_to(mlflow) as tracking_uri:
            yield World(
                kube=api,
                catalogue=await asyncio.to_thread(catalogue.register, tracking_uri),
                envoy=envoy,
                registry=f"http://{RELEASE}-mlflow.{SYSTEM_NAMESPACE}.svc:{mlflow.rpartition(':')[2]}",
                system_namespace=SYSTEM_NAMESPACE,
                release=RELEASE,
            )


async def _address(api: kube.Kube, path: str) -> str:
    service = await api.find(path)
    if service is None:
        raise RuntimeError(f"there is no {path}: install the release before its end-to-end tests (make e2e does)")
    return f"http://{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}"
