"""The discovery service as an Envoy meets it: long polls, one answer for many changes, and no nonsense."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import prometheus_client
import pytest
from aiohttp import web
from penstock.adapters import envoy_discovery, envoy_metrics
from penstock.api.v1alpha1.modeldeployment_status import Split
from penstock.ports import Backend, Endpoint, Key, Routed

KEY = Key("ml", "fraud")
BACKENDS = {name: Backend(name, 1, (Endpoint("10.0.0.1", 8080),)) for name in ("r1", "r2")}


def want(split: Split, hostnames: tuple[str, ...] = ()) -> Routed:
    return Routed(KEY, hostnames, split, BACKENDS)


class Served:
    """A discovery service on a free port, and polls to it."""

    def __init__(self, envoy: envoy_discovery.Envoy, session: aiohttp.ClientSession, port: int) -> None:
        self.envoy = envoy
        self._session = session
        self._port = port
        self.versions = {"clusters": "", "routes": ""}

    async def post(self, kind: str, message: Any) -> tuple[int, bytes]:
        data = message if isinstance(message, bytes) else orjson.dumps(message)
        async with self._session.post(f"http://127.0.0.1:{self._port}/v3/discovery:{kind}", data=data) as response:
            return response.status, await response.read()

    async def poll(self, kind: str, node: str = "envoy-0") -> dict[str, Any] | None:
        """Poll with the version got last; None for 304."""
        message = {"node": {"id": node, "cluster": "penstock"}, "version_info": self.versions[kind]}
        status, body = await self.post(kind, message)
        if status == 304:
            return None
        assert status == 200, body
        answer: dict[str, Any] = orjson.loads(body)
        self.versions[kind] = answer["version_info"]
        return answer

    async def catch_up(self) -> None:
        """Get all there is, and acknowledge it."""
        for kind in ("clusters", "clusters", "routes", "routes"):
            await self.poll(kind)


async def _serve(hold_seconds: float) -> AsyncIterator[Served]:
    envoy = envoy_discovery.Envoy(settle_seconds=0.0, hold_seconds=hold_seconds)
    runner = web.AppRunner(envoy.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        yield Served(envoy, session, runner.addresses[0][1])
    await runner.cleanup()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async for each in _serve(hold_seconds=0.05):
        yield each


@pytest.fixture
async def patient() -> AsyncIterator[Served]:
    async for each in _serve(hold_seconds=30.0):
        yield each


async def test_a_poll_gets_all_resources_and_the_next_one_304(served: Served) -> None:
    served.envoy.publish(want(Split(stable="r1")))
    served.envoy.open()

    clusters = await served.poll("clusters")
    again = await served.poll("clusters")
    routes = await served.poll("routes")

    assert clusters is not None
    assert clusters["type_url"] == "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    assert [resource["name"] for resource in clusters["resources"]] == ["ml/fraud/r1", "ml/fraud/r2"]
    assert again is None
    assert routes is not None
    assert routes["type_url"] == "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
    assert [resource["name"] for resource in routes["resources"]] == ["penstock"]


async def test_a_held_poll_is_answered_as_soon_as_something_changes(patient: Served) -> None:
    patient.envoy.publish(want(Split(stable="r1")))
    patient.envoy.open()
    await patient.poll("clusters")
    held_clusters = asyncio.create_task(patient.poll("clusters"))
    await patient.poll("routes")
    held = asyncio.create_task(patient.poll("routes"))
    heard = asyncio.Event()
    patient.envoy.on_applied(lambda _: heard.set())
    await asyncio.wait_for(heard.wait(), 5)

    patient.envoy.publish(want(Split(stable="r2")))
    answer = await asyncio.wait_for(held, 5)

    assert answer is not None
    assert not held_clusters.done()


async def test_many_changes_in_one_turn_are_one_answer(patient: Served) -> None:
    patient.envoy.publish(want(Split(stable="r1")))
    patient.envoy.open()
    await patient.poll("clusters")
    held_clusters = asyncio.create_task(patient.poll("clusters"))
    await patient.poll("routes")
    applied: list[Split | None] = []
    heard = asyncio.Event()

    def listen(key: Key) -> None:
        applied.append(patient.envoy.applied(key))
        heard.set()

    patient.envoy.on_applied(listen)
    held = asyncio.create_task(patient.poll("routes"))
    await asyncio.wait_for(heard.wait(), 5)
    heard.clear()

    for weight in range(1, 101):
        patient.envoy.publish(want(Split(stable="r1", candidate="r2", weight=weight)))
    answer = await asyncio.wait_for(held, 5)
    last = asyncio.create_task(patient.poll("routes"))
    await asyncio.wait_for(heard.wait(), 5)

    assert answer is not None
    assert b'"weight":99' not in orjson.dumps(answer)
    assert applied == [Split(stable="r1"), Split(stable="r1", candidate="r2", weight=100)]
    assert not last.done()
    assert not held_clusters.done()


async def test_a_process_that_ends_lets_go_of_held_polls() -> None:
    envoy = envoy_discovery.Envoy(hold_seconds=30.0)
    runner = web.AppRunner(envoy.application(), access_log=None, shutdown_timeout=10)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        served = Served(envoy, session, runner.addresses[0][1])
        envoy.publish(want(Split(stable="r1")))
        envoy.open()
        await served.poll("clusters")
        held = asyncio.create_task(served.poll("clusters"))
        await served.poll("routes")

        await asyncio.wait_for(runner.cleanup(), 5)

        assert await held is None


@pytest.mark.parametrize(
    ("message", "status"),
    [
        pytest.param(b"", 400, id="nothing"),
        pytest.param(b"{", 400, id="no JSON"),
        pytest.param([], 400, id="no object"),
        pytest.param({}, 400, id="no node"),
        pytest.param({"node": "envoy-0"}, 400, id="a node that is a word"),
        pytest.param({"node": {"id": "", "cluster": "penstock"}}, 400, id="a node without a name"),
        pytest.param({"node": {"id": "x" * 254, "cluster": "penstock"}}, 400, id="a node with a long name"),
        pytest.param({"node": {"id": 1, "cluster": "penstock"}}, 400, id="a node with a number"),
        pytest.param({"node": {"id": "a", "cluster": "penstock"}, "version_info": 1}, 400, id="a version of no kind"),
        pytest.param({"node": {"id": "a", "cluster": "other"}}, 403, id="the Envoy of somebody else"),
    ],
)
async def test_nonsense_is_refused_and_remembered_nowhere(served: Served, message: object, status: int) -> None:
    served.envoy.open()

    assert (await served.post("clusters", message))[0] == status
    assert served.envoy.stats() == []


async def test_the_metrics(served: Served) -> None:
    registry = prometheus_client.CollectorRegistry()
    registry.register(envoy_metrics.Collector(served.envoy))
    served.envoy.publish(want(Split(stable="r1"), hostnames=("not a name",)))
    served.envoy.open()
    await served.catch_up()

    names = ("deployments", "refused_hostnames")
    assert [registry.get_sample_value(f"penstock_data_plane_{name}") for name in names] == [1, 1]
    figures = {
        name: registry.get_sample_value(f"penstock_data_plane_{name}", {"envoy": "envoy-0"})
        for name in ("serving", "current", "refusals")
    }
    assert figures == {"serving": 1, "current": 1, "refusals": 0}
    age = registry.get_sample_value("penstock_data_plane_poll_age_seconds", {"envoy": "envoy-0"})
    assert age is not None
    assert 0 <= age < 5
