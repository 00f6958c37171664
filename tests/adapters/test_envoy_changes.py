"""Changes under continuous traffic: no request may fail, and the operator is told when a change has arrived."""

import pathlib
from collections.abc import AsyncIterator

import pytest
from penstock.api.v1alpha1.modeldeployment_status import Split
from penstock.ports import Backend, Key

from tests.adapters import envoy_harness
from tests.adapters.envoy_harness import KEY, Model, Plane, Traffic, backend

pytestmark = pytest.mark.adapters


@pytest.fixture
async def plane(tmp_path: pathlib.Path) -> AsyncIterator[Plane]:
    async with envoy_harness.plane(tmp_path) as running:
        yield running


@pytest.fixture
async def stable() -> AsyncIterator[Model]:
    async with Model("aaa").serving() as model:
        yield model


@pytest.fixture
async def candidate() -> AsyncIterator[Model]:
    async with Model("bbb").serving() as model:
        yield model


async def test_hundreds_of_changed_splits_lose_no_request(plane: Plane, stable: Model, candidate: Model) -> None:
    plane.publish(Split(stable="aaa"), backend(stable, 1))
    await plane.applied()

    async with Traffic(plane).flowing() as traffic:
        for number in range(300):
            weight, mirror = (0, 50) if number % 7 == 0 else (number % 101, 0)
            plane.publish(
                Split(stable="aaa", candidate="bbb", weight=weight, mirror=mirror),
                backend(stable, 1),
                backend(candidate, 2),
            )
            await traffic.more(5)
            if number % 10 == 0:
                await plane.applied()

    assert traffic.failures == []
    assert traffic.requests >= 1500
    assert traffic.revisions["aaa"] > 300
    assert traffic.revisions["bbb"] > 300


async def test_a_new_revision_gets_all_traffic_in_the_same_breath(
    plane: Plane, stable: Model, candidate: Model
) -> None:
    plane.publish(Split(stable="aaa"), backend(stable))
    await plane.applied()

    async with Traffic(plane).flowing() as traffic:
        for number in range(20):
            before, after = (stable, candidate) if number % 2 == 0 else (candidate, stable)
            name = f"r{number}"
            plane.publish(Split(stable=name), Backend(name, number, (after.endpoint,)))
            await plane.applied()
            answer = await plane.ask()
            assert (answer.body, answer.headers["x-penstock-revision"]) == ({"from": after.name}, name), before

    assert traffic.failures == []


async def test_pods_come_and_go_without_a_failed_request(plane: Plane) -> None:
    pods = [Model(f"pod-{number}") for number in range(3)]
    async with pods[0].serving(), pods[1].serving(), pods[2].serving():
        endpoints = [pod.endpoint for pod in pods]
        plane.publish(Split(stable="aaa"), Backend("aaa", 1, tuple(endpoints)))
        await plane.applied()

        async with Traffic(plane).flowing() as traffic:
            for number in range(60):
                kept = tuple(endpoint for index, endpoint in enumerate(endpoints) if index != number % 3)
                plane.publish(Split(stable="aaa"), Backend("aaa", 1, kept))
                await traffic.more(20)

    assert traffic.failures == []
    assert min(len(pod.seen) for pod in pods) > 100


async def test_a_candidate_that_loses_its_pods_leaves_all_to_stable(
    plane: Plane, stable: Model, candidate: Model
) -> None:
    split = Split(stable="aaa", candidate="bbb", weight=50)
    plane.publish(split, backend(stable, 1), backend(candidate, 2))
    await plane.applied()

    async with Traffic(plane).flowing() as traffic:
        await traffic.more(200)
        plane.publish(split, backend(stable, 1), Backend("bbb", 2))
        assert plane.envoy.applied(KEY) is None  # requests still go there, until Envoy has heard of it
        assert await plane.applied() == split
        await traffic.more(200)
        at_removal = len(candidate.seen)
        await traffic.more(500)

    assert traffic.failures == []
    assert len(candidate.seen) == at_removal > 0


async def test_a_withdrawn_model_disappears_and_the_others_stay(plane: Plane, stable: Model, candidate: Model) -> None:
    other = Key("ml", "other")
    plane.publish(Split(stable="aaa"), backend(stable))
    plane.publish(Split(stable="bbb"), backend(candidate), key=other)
    await plane.applied()
    await plane.applied(other)

    async with Traffic(plane).flowing() as traffic:
        plane.envoy.withdraw(other)
        await envoy_harness.until(lambda: plane.envoy.stats()[0].current)
        await traffic.more(50)

    assert traffic.failures == []
    assert (await plane.ask(host="other.ml")).status == 404
    assert plane.envoy.applied(other) is None


async def test_applied_follows_the_split_and_not_the_endpoints(plane: Plane, stable: Model, candidate: Model) -> None:
    heard: list[tuple[Key, Split | None]] = []
    plane.envoy.on_applied(lambda key: heard.append((key, plane.envoy.applied(key))))
    one, two = Split(stable="aaa"), Split(stable="aaa", candidate="bbb", weight=10)

    plane.publish(one, backend(stable))
    assert plane.envoy.applied(KEY) is None
    assert await plane.applied() == one

    plane.publish(one, Backend("aaa", 1, (stable.endpoint, candidate.endpoint)))
    assert plane.envoy.applied(KEY) == one
    await envoy_harness.until(lambda: plane.envoy.stats()[0].current)
    assert plane.envoy.applied(KEY) == one

    plane.publish(two, backend(stable), backend(candidate))
    assert plane.envoy.applied(KEY) is None
    assert await plane.applied() == two

    assert heard == [(KEY, one), (KEY, two)]


async def test_applied_waits_for_every_envoy(
    plane: Plane, stable: Model, candidate: Model, tmp_path: pathlib.Path
) -> None:
    plane.publish(Split(stable="aaa"), backend(stable))
    await plane.applied()
    second = await envoy_harness.start_instance("envoy-1", plane.discovery.port, tmp_path)
    try:
        await envoy_harness.until(lambda: [node.current for node in plane.envoy.stats()] == [True, True])
        assert plane.envoy.applied(KEY) == Split(stable="aaa")

        second.pause()
        two = Split(stable="aaa", candidate="bbb", weight=10)
        plane.publish(two, backend(stable), backend(candidate))
        await envoy_harness.until(lambda: [node.current for node in plane.envoy.stats()] == [True, False])
        assert plane.envoy.applied(KEY) is None

        second.resume()
        assert await plane.applied() == two
    finally:
        second.stop_at_once()
        await second.process.wait()


async def test_a_split_that_changes_no_route_is_applied_too(plane: Plane, stable: Model) -> None:
    plane.publish(Split(stable="aaa"), backend(stable))
    await plane.applied()

    plane.publish(Split(stable="aaa", candidate="bbb"), backend(stable), Backend("bbb", 2))

    assert await plane.applied() == Split(stable="aaa", candidate="bbb")
