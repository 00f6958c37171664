"""Processes that contend for a Lease on a real API server: killed, paused, cut off, stopped.

The times come out with `--log-cli-level=INFO`.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib import parse

import kubernetes
import pytest
from penstock.kube import leader, lease

from tests.adapters import servers
from tests.cluster.conftest import ROOT, Api

pytestmark = pytest.mark.cluster

logger = logging.getLogger(__name__)

TIMINGS = lease.Timings()
BUSY_SECONDS = 0.5
"""What a machine that does many other things at the same time may add."""


@dataclass(frozen=True)
class Act:
    """A contender acted at this time of the clock that all processes of a machine share."""

    at: float
    by: str


class Arena:
    """Contenders, and what they did."""

    def __init__(self, namespace: str, folder: pathlib.Path) -> None:
        self._namespace = namespace
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, address: str = "") -> None:
        command = [sys.executable, "-m", "tests.cluster.contender", self._namespace, name, str(self._acts)]
        with (self._folder / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                [*command, *([address] if address else [])],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": "operator:runtime:."},
                stderr=log,
            )

    def signal(self, name: str, number: signal.Signals) -> float:
        """Send a signal; when that was."""
        self._processes[name].send_signal(number)
        return leader.clock()

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    @property
    def _acts(self) -> pathlib.Path:
        return self._folder / "acts"

    def acts(self, since: float = 0.0) -> list[Act]:
        """What was done, in order."""
        lines = self._acts.read_text().splitlines() if self._acts.exists() else []
        acts = (Act(float(at), by) for at, by in (line.split() for line in lines))
        return sorted((act for act in acts if act.at >= since), key=lambda act: act.at)

    def terms(self) -> list[str]:
        """Who acted, one after the other. Two at once would show as terms that change to and fro."""
        return [by for by, _ in itertools.groupby(act.by for act in self.acts())]

    def acting(self, *names: str, since: float = 0.0, seconds: float = 30) -> Act:
        """The first act of one of these since then, as soon as there is one."""
        deadline = time.monotonic() + seconds
        while True:
            found = next((act for act in self.acts(since) if act.by in names), None)
            if found is not None:
                return found
            if time.monotonic() > deadline:
                logs = "".join(log.read_text()[-1000:] for log in self._folder.glob("*.log"))
                pytest.fail(f"none of {names} acts within {seconds} s: {logs}")
            time.sleep(0.01)

    def follows(self, name: str) -> None:
        """Wait until a contender has seen that another one leads."""
        log = self._folder / f"{name}.log"
        deadline = time.monotonic() + 30
        while "stands by" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)


@pytest.fixture
def arena(namespace: str, tmp_path: pathlib.Path) -> Iterator[Arena]:
    made = Arena(namespace, tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def pair(arena: Arena) -> Arena:
    """`first` acts, `second` stands by."""
    arena.start("first")
    arena.acting("first")
    arena.start("second")
    arena.follows("second")
    return arena


def test_a_leader_that_is_killed_is_replaced_within_5_seconds(pair: Arena) -> None:
    times, names = [], ["first", "second"]
    for number in range(4):
        leading, other = names
        newcomer = f"next-{number}"
        killed_at = pair.signal(leading, signal.SIGKILL)
        times.append(pair.acting(other, since=killed_at).at - killed_at)
        pair.start(newcomer)
        pair.follows(newcomer)
        names = [other, newcomer]

    logger.info("killed -> acting again: %s", ", ".join(f"{seconds:.2f} s" for seconds in times))
    assert max(times) < 5
    assert pair.terms() == ["first", "second", "next-0", "next-1", "next-2"]


def test_a_leader_that_was_paused_does_nothing_before_it_has_won_again(pair: Arena) -> None:
    paused_at = pair.signal("first", signal.SIGSTOP)
    taken_over = pair.acting("second", since=paused_at)
    logger.info("paused -> acting again: %.2f s", taken_over.at - paused_at)
    resumed_at = pair.signal("first", signal.SIGCONT)
    pair.follows("first")
    pair.acting("second", since=leader.clock() + 0.2)

    assert taken_over.at - paused_at < 5
    assert {act.by for act in pair.acts(resumed_at)} == {"second"}
    pair.signal("second", signal.SIGKILL)
    pair.acting("first", since=resumed_at)
    assert pair.terms() == ["first", "second", "first"]


def test_a_leader_that_is_stopped_gives_the_lease_up_at_once(pair: Arena) -> None:
    stopped_at = pair.signal("first", signal.SIGTERM)
    seconds = pair.acting("second", since=stopped_at).at - stopped_at

    logger.info("stopped -> acting again: %.2f s", seconds)
    assert seconds < TIMINGS.retry_seconds + BUSY_SECONDS
    assert pair.terms() == ["first", "second"]


def test_of_many_that_begin_together_one_acts(arena: Arena, api: Api, namespace: str) -> None:
    names = [f"contender-{number}" for number in range(4)]
    for name in names:
        arena.start(name)
    first = arena.acting(*names)
    arena.acting(first.by, since=first.at + TIMINGS.lease_seconds)

    stored = api.call("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/contended").body
    assert arena.terms() == [first.by]
    assert stored["spec"]["holderIdentity"] == first.by
    assert stored["metadata"]["annotations"][lease.ADDRESS] == f"http://{first.by}"


@dataclass
class Wire:
    """A relay to the API server that can be made to swallow everything without closing anything."""

    url: str
    flows: asyncio.Event


@contextlib.asynccontextmanager
async def wired() -> AsyncIterator[Wire]:
    configuration = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config(client_configuration=configuration)
    api_server, flows = parse.urlparse(configuration.host), asyncio.Event()
    flows.set()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: servers.Peer) -> None:
        there_reader, there_writer = await asyncio.open_connection(api_server.hostname, api_server.port)

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                await flows.wait()
                target.write(data)
                await target.drain()

        both = asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))
        try:
            await both
        finally:
            both.cancel()
            there_writer.close()

    async with servers.listening(handler) as peer:
        yield Wire(f"https://127.0.0.1:{peer.port}", flows)


async def in_thread(wait: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return await asyncio.to_thread(wait, *arguments, **options)


async def test_a_leader_that_is_cut_off_stops_before_another_begins_and_stands_by_afterwards(arena: Arena) -> None:
    async with wired() as wire:
        arena.start("first", wire.url)
        await in_thread(arena.acting, "first")
        arena.start("second")
        await in_thread(arena.follows, "second")
        wire.flows.clear()
        cut_at = leader.clock()
        taken_over = await in_thread(arena.acting, "second", since=cut_at)
        last = max(act.at for act in arena.acts() if act.by == "first")
        logger.info("cut off -> acting again: %.2f s, nobody for %.2f s", taken_over.at - cut_at, taken_over.at - last)
        wire.flows.set()
        await in_thread(arena.follows, "first")
        await in_thread(arena.acting, "second", since=leader.clock() + 0.5)

    assert taken_over.at - cut_at < 5
    assert taken_over.at - last > TIMINGS.lease_seconds - TIMINGS.certain_seconds - BUSY_SECONDS
    assert arena.terms() == ["first", "second"]


async def test_nobody_acts_while_the_api_server_is_away_for_a_minute_and_one_does_afterwards(arena: Arena) -> None:
    async with wired() as wire:
        for name in ("first", "second"):
            arena.start(name, wire.url)
        first = await in_thread(arena.acting, "first", "second")
        await in_thread(arena.follows, "second" if first.by == "first" else "first")
        wire.flows.clear()
        cut_at = leader.clock()
        await asyncio.sleep(60)  # the minute that this is about
        back_at = leader.clock()
        acts = arena.acts(cut_at)
        wire.flows.set()
        again = await in_thread(arena.acting, "first", "second", since=back_at)
        await in_thread(arena.acting, again.by, since=back_at + 6)

    logger.info("API server back -> acting again: %.2f s", again.at - back_at)
    assert {act.by for act in acts} <= {first.by}
    assert all(act.at < cut_at + TIMINGS.certain_seconds + 0.1 for act in acts)
    assert len({act.by for act in arena.acts(back_at)}) == 1
    assert len(arena.terms()) <= 2
