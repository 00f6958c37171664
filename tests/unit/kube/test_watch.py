"""When the API server misbehaves the cache still ends up right."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
from penstock.kube import cache, client, resources, watch

from tests.unit.kube.fakeapi import FakeApi, web_answer

MDEP = resources.MODEL_DEPLOYMENT


async def eventually(check: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not check():
        if asyncio.get_running_loop().time() > deadline:
            pytest.fail(f"{what}: not within {seconds} s")
        await asyncio.sleep(0.01)


@dataclass
class Watching:
    api: FakeApi
    held: cache.Cache
    changes: list[tuple[str, str]] = field(default_factory=list)

    async def told(self, kind: str, name: str) -> None:
        await eventually(lambda: (kind, name) in self.changes, f"{kind} of {name} is told")

    def watches_begun(self, resource: resources.Resource) -> int:
        return sum(path == resource.path() and "watch" in query for _, path, query, _ in self.api.requests)

    async def watched(self) -> None:
        await eventually(lambda: self.api.watched() == set(resources.WATCHED), "everything is watched")


@contextlib.asynccontextmanager
async def watching(api: FakeApi, compare_seconds: float = 300) -> AsyncIterator[Watching]:
    found = Watching(api, cache.Cache())
    found.held.subscribe(lambda change: found.changes.append((change.type.value, change.obj["metadata"]["name"])))
    stop, synced = asyncio.Event(), asyncio.Event()
    async with api.served() as configuration, client.connect(configuration) as cluster:
        task = asyncio.create_task(
            watch.run(cluster, found.held, stop, probe_port=None, compare_seconds=compare_seconds, synced=synced)
        )
        try:
            await asyncio.wait_for(synced.wait(), 20)
            yield found
        finally:
            stop.set()
            await asyncio.wait_for(task, watch.STOP_SECONDS + 5)


async def test_an_event_reaches_the_cache() -> None:
    async with watching(FakeApi()) as found:
        await found.watched()
        found.api.put(MDEP, "fraud")
        await found.told("ADDED", "fraud")


async def test_a_watch_asks_for_our_objects_only_and_ends_before_it_could_be_taken_for_dead() -> None:
    async with watching(FakeApi()) as found:
        await found.watched()
    asked = {
        path: (query.get("labelSelector"), query["timeoutSeconds"])
        for method, path, query, _ in found.api.requests
        if query.get("watch")
    }
    ours = ("app.kubernetes.io/managed-by=penstock", "20")
    assert asked == {
        "/apis/penstock.dev/v1alpha1/modeldeployments": (None, "20"),
        "/apis/apps/v1/deployments": ours,
        "/api/v1/services": ours,
        "/api/v1/pods": ours,
        "/apis/discovery.k8s.io/v1/endpointslices": ours,
    }
    assert {method for method, _, _, _ in found.api.requests} == {"GET"}


async def test_objects_that_went_while_a_watch_had_to_list_again_are_noticed() -> None:
    api = FakeApi()
    api.put(MDEP, "stays")
    api.put(MDEP, "goes")
    async with watching(api) as found:
        await found.watched()
        api.remove(MDEP, "goes", silently=True)
        api.tell(MDEP, {"type": "ERROR", "object": {"code": 410, "reason": "Expired"}})
        await found.told("DELETED", "goes")
        assert found.held.get(MDEP, "ml", "stays") is not None


async def test_objects_that_went_without_a_word_are_noticed_by_and_by() -> None:
    api = FakeApi()
    api.put(MDEP, "goes")
    async with watching(api, compare_seconds=0.1) as found:
        await found.watched()
        api.remove(MDEP, "goes", silently=True)
        await found.told("DELETED", "goes")


async def test_a_watch_that_breaks_off_goes_on() -> None:
    async with watching(FakeApi()) as found:
        await found.watched()
        found.api.tell(MDEP, None)
        await eventually(lambda: found.watches_begun(MDEP) == 2, "the watch begins again")
        found.api.put(MDEP, "fraud")
        await found.told("ADDED", "fraud")


async def test_a_watch_that_ends_kopf_is_started_again() -> None:
    api = FakeApi()
    api.put(MDEP, "goes")
    async with watching(api) as found:
        await found.watched()
        api.tell(MDEP, {"type": "ERROR", "object": {"code": 500, "reason": "InternalError"}})
        api.remove(MDEP, "goes", silently=True)
        await found.told("DELETED", "goes")
        await found.watched()
        found.api.put(MDEP, "fraud")
        await found.told("ADDED", "fraud")


async def test_a_server_without_the_kind_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    api = FakeApi()
    api.answers = [web_answer(404), web_answer(503)]
    api.put(MDEP, "fraud")
    async with watching(api) as found:
        assert found.held.get(MDEP, "ml", "fraud") is not None
    assert "is the CRD installed?" in caplog.text


async def test_stopping_ends_the_thread_and_nothing_else() -> None:
    ours = asyncio.create_task(asyncio.Event().wait())
    async with watching(FakeApi()) as found:
        await found.watched()
        assert "watches" in {thread.name for thread in threading.enumerate()}
    await eventually(lambda: "watches" not in {thread.name for thread in threading.enumerate()}, "the thread ends")
    assert not ours.done()
    ours.cancel()
