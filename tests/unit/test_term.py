"""What a process does from the moment it leads until it leads no more, with an election that the test decides."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

import pytest
from penstock import errors, ports, term
from penstock.analysis.signature import Signature
from penstock.api.v1alpha1 import modeldeployment


class Election:
    """Leads when the test says so."""

    def __init__(self, *, leading: bool = False) -> None:
        self._leading = leading
        self._news = asyncio.Event()

    def decide(self, *, leading: bool) -> None:
        self._leading = leading
        self._news.set()
        self._news = asyncio.Event()

    def leading(self) -> bool:
        return self._leading

    def seconds_left(self) -> float:
        if not self._leading:
            raise errors.NotLeading("not now")
        return 1.0

    async def until(self, *, leading: bool) -> None:
        while self._leading is not leading:
            await self._news.wait()


class Office:
    """Notes what is done in it."""

    def __init__(self, *, failures: int = 0) -> None:
        self.done: list[str] = []
        self.failures = failures
        self._news = asyncio.Condition()

    async def note(self, what: str) -> None:
        async with self._news:
            self.done.append(what)
            self._news.notify_all()

    async def until(self, *what: str) -> None:
        async with self._news:
            await asyncio.wait_for(self._news.wait_for(lambda: tuple(self.done) == what), 5)

    async def catch_up(self) -> None:
        if self.failures:
            self.failures -= 1
            raise errors.ClusterUnavailable("no answer")
        await self.note("caught up")

    async def work(self, finish: asyncio.Event) -> None:
        await self.note("works")
        try:
            await finish.wait()
        except asyncio.CancelledError:
            self.done.append("broken off")
            raise
        await self.note("finished")

    async def rest(self) -> None:
        await self.note("rests")


@contextlib.asynccontextmanager
async def serving(election: Election, office: Office) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    terms = term.Terms(election, catch_up=office.catch_up, work=office.work, rest=office.rest)
    running = asyncio.create_task(terms.run(stop))
    try:
        yield stop
        stop.set()
        await asyncio.wait_for(running, 5)
    finally:
        running.cancel()


async def test_a_process_that_never_leads_does_nothing_and_stops() -> None:
    office = Office()

    async with serving(Election(), office):
        pass

    assert office.done == []


async def test_what_was_begun_is_finished_when_the_process_is_to_stop() -> None:
    office = Office()

    async with serving(Election(leading=True), office) as stop:
        await office.until("caught up", "works")
        stop.set()
        await office.until("caught up", "works", "finished", "rests")


async def test_what_was_begun_is_broken_off_when_it_leads_no_more_and_begun_anew_when_it_does() -> None:
    office, election = Office(), Election(leading=True)
    first = ("caught up", "works", "broken off", "rests")

    async with serving(election, office):
        await office.until("caught up", "works")
        election.decide(leading=False)
        await office.until(*first)
        election.decide(leading=True)
        await office.until(*first, "caught up", "works")


async def test_nothing_is_done_before_the_caches_are_up_to_date() -> None:
    office = Office(failures=1)

    async with serving(Election(leading=True), office):
        await office.until("caught up", "works")

    assert office.failures == 0


async def test_work_that_fails_ends_the_process() -> None:
    async def fail(_: asyncio.Event) -> None:
        raise errors.Misconfigured("broken")

    office = Office()
    terms = term.Terms(Election(leading=True), catch_up=office.catch_up, work=fail, rest=office.rest)

    with pytest.raises(errors.Misconfigured, match="broken"):
        await asyncio.wait_for(terms.run(asyncio.Event()), 5)
    assert office.done == ["caught up", "rests"]


class Registry:
    """Keeps the tags it is given, and answers with what it was asked."""

    def __init__(self) -> None:
        self.tags: list[tuple[str, ports.ModelVersion, Mapping[str, str]]] = []

    async def resolve(self, registry: ports.RegistryAddress, model: modeldeployment.ModelRef) -> ports.ModelVersion:
        return ports.ModelVersion(model.name, 7, run_id=registry.tracking_uri)

    async def signature(self, registry: ports.RegistryAddress, version: ports.ModelVersion) -> Signature | None:
        raise errors.VersionNotFound(f"{version.name} {version.version} at {registry.tracking_uri}")

    async def tag(self, registry: ports.RegistryAddress, version: ports.ModelVersion, tags: Mapping[str, str]) -> None:
        self.tags.append((registry.tracking_uri, version, tags))


async def test_any_process_reads_the_registry_and_only_the_one_that_leads_tags() -> None:
    registry, election = Registry(), Election()
    fenced = term.FencedRegistry(registry, election)
    address, version = ports.RegistryAddress("http://mlflow"), ports.ModelVersion("fraud", 1)
    model = modeldeployment.ModelRef(name="fraud", alias="champion")

    assert await fenced.resolve(address, model) == ports.ModelVersion("fraud", 7, run_id="http://mlflow")
    with pytest.raises(errors.VersionNotFound, match="fraud 1 at http://mlflow"):
        await fenced.signature(address, version)
    with pytest.raises(errors.NotLeading):
        await fenced.tag(address, version, {"outcome": "A"})
    election.decide(leading=True)
    await fenced.tag(address, version, {"outcome": "B"})

    assert registry.tags == [("http://mlflow", version, {"outcome": "B"})]
