"""Watching a real API server: the cache follows, and nothing is written on users' objects."""

import asyncio
import contextlib
import copy
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from penstock import ports
from penstock.kube import cache, client, compare, resources, watch

from tests.cluster.conftest import DEPLOYMENTS, Api

pytestmark = pytest.mark.cluster


def mdep(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "penstock.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name},
        "spec": {"model": {"name": "fraud", "alias": "champion"}} | spec,
    }


def service(name: str, owner: str, *, managed: bool = True) -> dict[str, Any]:
    labels = {"penstock.dev/deployment": owner} | ({"app.kubernetes.io/managed-by": "penstock"} if managed else {})
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels},
        "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 8080}], "selector": {"app": name}},
    }


async def eventually(check: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not check():
        if asyncio.get_running_loop().time() > deadline:
            pytest.fail(f"{what}: not within {seconds} s")
        await asyncio.sleep(0.01)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Watching:
    held: cache.Cache
    stop: asyncio.Event
    task: "asyncio.Task[None]"
    probe_port: int
    changes: list[tuple[str, str, str]] = field(default_factory=list)

    def note(self, change: cache.Change) -> None:
        self.changes.append((change.resource.kind, change.type.value, str(change.key).split("/")[1]))


@contextlib.asynccontextmanager
async def watching(namespace: str, *, compare_seconds: float = 300) -> AsyncIterator[Watching]:
    held, stop, synced, port = cache.Cache(), asyncio.Event(), asyncio.Event(), free_port()
    async with client.connect() as cluster:
        task = asyncio.create_task(
            watch.run(
                cluster,
                held,
                stop,
                namespaces=[namespace],
                probe_port=port,
                compare_seconds=compare_seconds,
                synced=synced,
            )
        )
        found = Watching(held, stop, task, port)
        held.subscribe(found.note)
        try:
            await asyncio.wait_for(synced.wait(), 20)
            yield found
        finally:
            stop.set()
            await asyncio.wait_for(task, watch.STOP_SECONDS + 5)


async def call(api: Api, method: str, path: str, body: Any = None, **more: Any) -> dict[str, Any]:
    """The tests' own client is synchronous: not in the loop that is being tested."""
    answer = await asyncio.to_thread(api.call, method, path, body, **more)
    assert answer.status < 300, answer.message
    return answer.body


async def test_what_exists_is_there_when_synced(api: Api, namespace: str) -> None:
    stored = await call(api, "POST", DEPLOYMENTS.format(namespace=namespace), mdep("fraud"))
    async with watching(namespace) as found:
        held = found.held.get(resources.MODEL_DEPLOYMENT, namespace, "fraud")
        assert held == cache.slimmed(resources.MODEL_DEPLOYMENT, stored)


async def test_changes_are_told_in_order(api: Api, namespace: str) -> None:
    path = DEPLOYMENTS.format(namespace=namespace)
    async with watching(namespace) as found:
        await call(api, "POST", path, mdep("fraud"))
        await eventually(lambda: len(found.changes) == 1, "creation is told")
        await call(api, "PATCH", f"{path}/fraud", {"spec": {"server": {"replicas": 2}}}, patch="merge-patch+json")
        await eventually(lambda: len(found.changes) == 2, "a change is told")
        await call(api, "DELETE", f"{path}/fraud")
        await eventually(lambda: len(found.changes) == 3, "deletion is told")
        assert found.changes == [
            ("ModelDeployment", "ADDED", "fraud"),
            ("ModelDeployment", "MODIFIED", "fraud"),
            ("ModelDeployment", "DELETED", "fraud"),
        ]
        assert found.held.get(resources.MODEL_DEPLOYMENT, namespace, "fraud") is None


async def test_only_what_penstock_made_is_watched_and_belongs_to_its_deployment(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"
    async with watching(namespace) as found:
        await call(api, "POST", path, service("foreign", "fraud", managed=False))
        await call(api, "POST", path, service("fraud-1", "fraud"))
        await eventually(lambda: ("Service", "ADDED", "fraud") in found.changes, "our Service is told")
        assert [change for change in found.changes if change[0] == "Service"] == [("Service", "ADDED", "fraud")]
        children = found.held.children(resources.SERVICE, ports.Key(namespace, "fraud"))
        assert [child["metadata"]["name"] for child in children] == ["fraud-1"]


async def test_an_object_that_loses_our_label_goes_and_comes_back_with_it(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"
    label = {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}
    await call(api, "POST", path, service("fraud-1", "fraud"))
    async with watching(namespace) as found:
        await call(api, "PATCH", f"{path}/fraud-1", label, patch="merge-patch+json")
        await eventually(lambda: found.held.get(resources.SERVICE, namespace, "fraud-1") is None, "it goes")
        label["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "penstock"  # type: ignore[assignment]
        await call(api, "PATCH", f"{path}/fraud-1", label, patch="merge-patch+json")
        await eventually(lambda: found.held.get(resources.SERVICE, namespace, "fraud-1") is not None, "it comes back")


async def test_an_object_that_went_unseen_is_noticed(api: Api, namespace: str) -> None:
    stored = await call(api, "POST", DEPLOYMENTS.format(namespace=namespace), mdep("fraud"))
    ghost = copy.deepcopy(stored)
    ghost["metadata"] |= {"name": "ghost", "uid": "00000000-0000-0000-0000-000000000000"}
    async with watching(namespace, compare_seconds=0.2) as found:
        found.held.learn(ghost)
        await eventually(lambda: ("ModelDeployment", "DELETED", "ghost") in found.changes, "the ghost is laid")
        assert found.held.get(resources.MODEL_DEPLOYMENT, namespace, "fraud") is not None


async def test_a_change_that_went_unseen_is_noticed(api: Api, namespace: str) -> None:
    path = DEPLOYMENTS.format(namespace=namespace)
    stored = await call(api, "POST", path, mdep("fraud"))
    async with client.connect() as cluster:
        held = cache.Cache()
        held.learn(stored)
        await call(api, "PATCH", f"{path}/fraud", {"spec": {"server": {"replicas": 2}}}, patch="merge-patch+json")
        await call(api, "POST", path, mdep("second"))
        found = await compare.correct(cluster, held, [namespace])
        assert found == compare.Found(vanished=0, missed=2)
        assert await compare.correct(cluster, held, [namespace]) == compare.Found()
        changed = held.get(resources.MODEL_DEPLOYMENT, namespace, "fraud")
        assert changed is not None
        assert changed["spec"]["server"]["replicas"] == 2


async def test_nothing_is_written_on_users_objects(api: Api, namespace: str) -> None:
    path = DEPLOYMENTS.format(namespace=namespace)
    before = await call(api, "POST", path, mdep("fraud"))
    async with watching(namespace) as found:
        await call(api, "POST", path, mdep("marker"))
        await eventually(lambda: ("ModelDeployment", "ADDED", "marker") in found.changes, "the watch works")
    assert await call(api, "GET", f"{path}/fraud") == before
    assert (await call(api, "GET", f"/api/v1/namespaces/{namespace}/events"))["items"] == []


async def test_the_probe_answers(namespace: str) -> None:
    async with watching(namespace) as found, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{found.probe_port}/healthz"
        statuses: list[int] = []

        async def ask() -> None:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with session.get(url) as response:
                    statuses.append(response.status)

        deadline = asyncio.get_running_loop().time() + 10
        while not statuses and asyncio.get_running_loop().time() < deadline:
            await ask()
            await asyncio.sleep(0.05)
        assert statuses == [200]


async def test_a_watch_that_stops_leaves_our_tasks_alone(namespace: str) -> None:
    async with watching(namespace) as found:
        ours = asyncio.create_task(asyncio.Event().wait())
        found.stop.set()
        await asyncio.wait_for(found.task, watch.STOP_SECONDS + 5)
        assert not ours.done()
        ours.cancel()
