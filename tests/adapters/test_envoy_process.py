"""Envoy as a process: without its operator, with a restarted one, with a bad configuration, and when it is stopped."""

import asyncio
import dataclasses
import logging
import pathlib
import signal
from collections.abc import AsyncIterator

import aiohttp
import pytest
from penstock.adapters import envoy_discovery, envoy_snapshot
from penstock.api.v1alpha1.modeldeployment_status import Split
from penstock.ports import Backend, Endpoint, Key

from tests.adapters import envoy_harness
from tests.adapters.envoy_harness import KEY, Discovery, Instance, Model, Plane, Traffic, backend, until

pytestmark = pytest.mark.adapters


@pytest.fixture
async def plane(tmp_path: pathlib.Path) -> AsyncIterator[Plane]:
    async with envoy_harness.plane(tmp_path, PENSTOCK_DRAIN_SECONDS="2") as running:
        yield running


@pytest.fixture
async def stable() -> AsyncIterator[Model]:
    async with Model("aaa").serving() as model:
        yield model


@pytest.fixture
async def candidate() -> AsyncIterator[Model]:
    async with Model("bbb").serving() as model:
        yield model


async def test_traffic_outlives_the_operator_and_follows_the_next_one(
    plane: Plane, stable: Model, candidate: Model
) -> None:
    split = Split(stable="aaa", candidate="bbb", weight=50)
    plane.publish(split, backend(stable, 1), backend(candidate, 2))
    await plane.applied()

    async with Traffic(plane).flowing() as traffic:
        await plane.discovery.stop()
        await traffic.more(500)
        # The next process has read nothing yet: it must take nothing away.
        plane.discovery.envoy = envoy_discovery.Envoy(settle_seconds=0.0)
        await plane.discovery.start()
        await until(lambda: len(plane.envoy.stats()) == 1)
        await traffic.more(500)
        assert plane.envoy.applied(KEY) is None
        # Once it has read all, it finds the Envoy to be where it wants it to be, and goes on from there.
        plane.publish(split, backend(stable, 1), backend(candidate, 2))
        plane.envoy.open()
        assert await plane.applied() == split
        after = Split(stable="bbb")
        plane.publish(after, backend(candidate, 2))
        assert await plane.applied() == after
        await traffic.more(100)

    assert traffic.failures == []
    assert plane.instance.process.returncode is None


async def test_a_split_that_changed_while_nobody_listened_arrives(
    plane: Plane, stable: Model, candidate: Model
) -> None:
    plane.publish(Split(stable="aaa"), backend(stable))
    await plane.applied()

    async with Traffic(plane).flowing() as traffic:
        await plane.discovery.stop()
        plane.discovery.envoy = envoy_discovery.Envoy(settle_seconds=0.0)
        split = Split(stable="aaa", candidate="bbb", weight=50)
        await plane.discovery.start()
        plane.publish(split, backend(stable), backend(candidate))
        plane.envoy.open()
        assert await plane.applied() == split
        await traffic.more(200)

    assert traffic.failures == []
    assert traffic.revisions["bbb"] > 0


async def test_what_envoy_refuses_is_reported_and_changes_nothing(
    plane: Plane, stable: Model, caplog: pytest.LogCaptureFixture
) -> None:
    plane.publish(Split(stable="aaa"), backend(stable))
    await plane.applied()
    await plane.discovery.stop()

    impossible = envoy_snapshot.Settings(request_timeout_seconds=-20)
    plane.discovery.envoy = envoy_discovery.Envoy(impossible, settle_seconds=0.0)
    plane.publish(Split(stable="aaa"), backend(stable))
    with caplog.at_level(logging.ERROR):
        await plane.discovery.start()
        plane.envoy.open()
        await until(lambda: [node.refusals >= 3 for node in plane.envoy.stats()] == [True])

    assert [record.message.split(" of the ")[1] for record in caplog.records] == [
        f"routes and goes on with {plane.envoy.stats()[0].routes_version}: its log says why (rejected)"
    ]
    assert plane.envoy.applied(KEY) is None
    assert (await plane.ask()).status == 200
    assert "rejected" in plane.instance.log.read_text()


async def test_envoy_takes_whatever_is_not_refused_here(plane: Plane) -> None:
    long = "x" * 63
    hostnames = (
        ".".join([long] * 3 + ["y" * 61]),
        f"*.{long}.{long}.{long}",
        "*.org",
        "10.0.0.1",
        "0",
        "xn--bcher-kva.example",
    )
    endpoints = (Endpoint("fd00::1", 65535), Endpoint("0.0.0.1", 1), Endpoint("::ffff:10.0.0.1", 80))
    one, other = Backend(long, 2**63, endpoints), Backend("0", 0, endpoints)
    splits = [
        Split(stable=stable, candidate=candidate, weight=weight, mirror=mirror)
        for stable, candidate in ((long, "0"), ("0", long), ("gone", long), (long, "gone"))
        for weight, mirror in ((0, 0), (1, 0), (99, 1), (100, 0), (0, 100), (100, 100))
    ]
    keys = [Key(long, f"{number}{'x' * 61}") for number in range(len(splits))]
    assert len(hostnames[0]) == 253
    for key, split in zip(keys, splits, strict=True):
        plane.publish(split, one, other, key=key, hostnames=hostnames)

    for key, split in zip(keys, splits, strict=True):
        assert await plane.applied(key) == split
    assert [node.refusals for node in plane.envoy.stats()] == [0]
    assert "rejected" not in plane.instance.log.read_text()


async def test_without_an_operator_envoy_waits_and_is_not_ready(tmp_path: pathlib.Path, stable: Model) -> None:
    port = envoy_harness.free_port()
    instance = await envoy_harness.start_instance("envoy-0", port, tmp_path)
    discovery = Discovery(envoy_discovery.Envoy(settle_seconds=0.0), port)
    try:
        async with aiohttp.ClientSession() as session:
            await until(lambda: "REST update for /v3/discovery:clusters failed" in instance.log.read_text())
            assert not await instance.ready(session)
            plane = Plane(discovery, instance, session, tmp_path)
            await discovery.start()
            await until(lambda: len(plane.envoy.stats()) == 1)
            assert not await instance.ready(session)

            plane.publish(Split(stable="aaa"), backend(stable))
            plane.envoy.open()
            await plane.ready()

            assert (await plane.ask()).status == 200
            assert await plane.applied() == Split(stable="aaa")
    finally:
        instance.stop_at_once()
        await instance.process.wait()
        await discovery.stop()


async def test_only_two_pages_of_the_admin_interface_are_shown(plane: Plane, stable: Model) -> None:
    plane.publish(Split(stable="aaa"), backend(stable))
    await plane.applied()
    await plane.ask()
    base = f"http://127.0.0.1:{plane.instance.status_port}"

    async with plane.session.get(f"{base}/stats/prometheus") as response:
        metrics = await response.text()
    denied = {}
    for method, path in [("GET", "/config_dump"), ("POST", "/quitquitquit"), ("POST", "/ready"), ("GET", "/")]:
        async with plane.session.request(method, base + path) as response:
            denied[method, path] = response.status

    assert 'envoy_cluster_upstream_rq_total{envoy_cluster_name="ml/fraud/aaa"} 1' in metrics
    assert set(denied.values()) == {404}


class Service:
    """Sends each request to an instance that was ready a moment ago, as a Service of Kubernetes does."""

    def __init__(self, plane: Plane, instances: list[Instance]) -> None:
        self._plane = plane
        self._instances = instances
        self.ready: list[Instance] = []
        self._next = 0

    async def ask(self) -> envoy_harness.Answer:
        self._next += 1
        instance = self.ready[self._next % len(self.ready)]
        return await dataclasses.replace(self._plane, instance=instance).ask()

    async def look(self) -> None:
        self.ready = [instance for instance in self._instances if await instance.ready(self._plane.session)]

    async def keep_looking(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            await self.look()


async def test_a_stopped_envoy_loses_no_request(
    plane: Plane, stable: Model, candidate: Model, tmp_path: pathlib.Path
) -> None:
    second = await envoy_harness.start_instance("envoy-1", plane.discovery.port, tmp_path)
    service = Service(plane, [plane.instance, second])
    candidate.gate.clear()
    plane.publish(Split(stable="aaa"), backend(stable))
    plane.publish(Split(stable="bbb"), backend(candidate), key=Key("ml", "slow"))
    await until(lambda: [node.current for node in plane.envoy.stats()] == [True, True])
    await service.look()
    assert service.ready == [plane.instance, second]
    looking = asyncio.create_task(service.keep_looking())
    slow = asyncio.create_task(plane.ask(host="slow.ml"))
    try:
        async with Traffic(plane).flowing(ask=service.ask) as traffic:
            await traffic.more(100)
            await until(lambda: len(candidate.seen) == 1)
            plane.instance.process.send_signal(signal.SIGTERM)
            await until(lambda: service.ready == [second])
            await traffic.more(500)
            # It accepts no more connections, and still works on what it has begun.
            await until_refused(plane.instance)
            assert plane.instance.process.returncode is None
            candidate.gate.set()
            assert (await slow).status == 200
            assert await asyncio.wait_for(plane.instance.process.wait(), 10) == 0
            await traffic.more(100)
    finally:
        looking.cancel()
        second.stop_at_once()
        await second.process.wait()

    assert traffic.failures == []


async def until_refused(instance: Instance) -> None:
    """Wait until an instance accepts no connection any more."""
    deadline = asyncio.get_running_loop().time() + 15
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", instance.http_port)
        except ConnectionRefusedError:
            return
        writer.close()
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"POD_NAME": ""}, "POD_NAME is not set: set it in the container's environment", id="missing"),
        pytest.param(
            {"PENSTOCK_DISCOVERY_HOST": 'x"}, "y": {"'},
            "PENSTOCK_DISCOVERY_HOST may contain letters, digits, dot, colon, dash and underscore only: correct it",
            id="not a word",
        ),
    ],
)
async def test_a_setting_that_cannot_work_is_named(
    tmp_path: pathlib.Path, settings: dict[str, str], message: str
) -> None:
    instance = await envoy_harness.start_instance("envoy-0", 1, tmp_path, **settings)

    assert await asyncio.wait_for(instance.process.wait(), 10) == 64
    assert instance.log.read_text() == f"penstock-envoy: {message}\n"
