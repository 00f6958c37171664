"""Two operators, one of which leads: it dies, or both do, and nobody who calls a model notices."""

import asyncio
import time

from penstock.api.v1alpha1.modeldeployment_status import Outcome

from tests.e2e import seen, specs
from tests.e2e.catalogue import Kind
from tests.e2e.kube import Json
from tests.e2e.stage import Stage
from tests.e2e.test_disasters import kill, kill_operators, others_are_ready, pods_of, ready
from tests.e2e.theatre import scenario

AGAIN_SECONDS = 5.0
HANDED_OVER_SECONDS = 3.0
"""It ends what it has begun, and the other one looks twice a second."""
ENVOY_STATUS_PORT = 9902


async def lease_of(stage: Stage) -> Json:
    """The Lease of the operators."""
    system, name = stage.world.system_namespace, stage.world.operator
    return await stage.kube.call("GET", f"/apis/coordination.k8s.io/v1/namespaces/{system}/leases/{name}")


async def roles(stage: Stage) -> tuple[Json, list[Json]]:
    """The pod that leads, and the others, once there are at least two that are ready."""
    found: list[tuple[Json, list[Json]]] = []

    async def known() -> bool:
        holder = (await lease_of(stage))["spec"].get("holderIdentity", "").rpartition("_")[0]
        pods = [pod for pod in await pods_of(stage, "operator") if ready(pod)]
        leading = [pod for pod in pods if pod["metadata"]["name"] == holder]
        others = [pod for pod in pods if pod["metadata"]["name"] != holder]
        if leading and others:
            found.append((leading[0], others))
        return bool(leading and others)

    await stage.eventually(known, "one operator leads and another stands by")
    return found[-1]


async def another_leads(stage: Stage, before: Json) -> float:
    """Wait until another operator than before holds the lease; when that was."""
    holder = before["spec"]["holderIdentity"]

    async def taken() -> bool:
        return (await lease_of(stage))["spec"].get("holderIdentity", "") not in {"", holder}

    await stage.eventually(taken, "another operator leads")
    return time.monotonic()


async def answers(stage: Stage) -> list[int]:
    """How often each Envoy was answered so far when it asked for clusters, counting one question that is still open."""
    counts = []
    for pod in await pods_of(stage, "envoy"):
        path = f"/api/v1/namespaces/{stage.world.system_namespace}/pods/{pod['metadata']['name']}:{ENVOY_STATUS_PORT}"
        text = await stage.kube.text("GET", f"{path}/proxy/stats/prometheus")
        numbers = dict(line.rsplit(" ", 1) for line in text.splitlines() if "cds_update" in line and line[0] != "#")
        asked, failed = (f"envoy_cluster_manager_cds_update_{what}{{}}" for what in ("attempt", "failure"))
        counts.append(int(numbers[asked]) - int(numbers[failed]))
    return counts


@scenario(alone=True)
async def test_a_leader_that_is_killed_in_a_canary_is_replaced_within_5_seconds_and_nobody_notices(
    stage: Stage,
) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(20, 6), specs.canary(50, 6)]))
    async with stage.callers() as traffic:
        await stage.point(Kind.BETTER)
        await stage.until(lambda status: seen.in_step(status, "canary", 0), "the canary begins")
        leading, others = await roles(stage)
        before, killed_at = await lease_of(stage), time.monotonic()
        await kill(stage, leading)
        seconds = await another_leads(stage, before) - killed_at
        status = await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "it is promoted")
    await others_are_ready(stage, [leading["metadata"]["name"]], 1 + len(others))

    seen.unharmed(traffic.summary())
    assert seconds < AGAIN_SECONDS
    assert [entry.outcome for entry in status.history] == [Outcome.PROMOTED, Outcome.PROMOTED]


@scenario(alone=True)
async def test_a_bad_version_is_undone_by_the_operator_that_takes_over(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(40, 30)]))
    async with stage.callers() as traffic:
        await stage.point(Kind.ERRORING)
        await stage.until(lambda status: seen.in_step(status, "canary"), "its canary begins")
        leading, others = await roles(stage)
        await kill(stage, leading)
        status = await stage.until(lambda status: seen.ended(status, stage.version(Kind.ERRORING)), "it is undone")
    await others_are_ready(stage, [leading["metadata"]["name"]], 1 + len(others))

    seen.unharmed(traffic.summary(), blamed={status.history[0].revision})
    assert [entry.outcome for entry in status.history] == [Outcome.ROLLED_BACK, Outcome.PROMOTED]


@scenario(alone=True)
async def test_both_operators_are_killed_in_a_canary_and_it_still_ends_well(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(20, 6), specs.canary(50, 4)]))
    async with stage.callers() as traffic:
        await stage.point(Kind.BETTER)
        await stage.until(lambda status: seen.in_step(status, "canary", 0), "the canary begins")
        await kill_operators(stage)
        status = await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "it is promoted")

    seen.unharmed(traffic.summary())
    assert [entry.outcome for entry in status.history] == [Outcome.PROMOTED, Outcome.PROMOTED]


@scenario(alone=True)
async def test_the_operator_that_stands_by_is_not_missed(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(20, 4)]))
    _, others = await roles(stage)
    before = await lease_of(stage)
    async with stage.callers() as traffic:
        await stage.point(Kind.BETTER)
        await stage.until(lambda status: seen.in_step(status, "canary", 0), "the canary begins")
        await asyncio.gather(*(kill(stage, pod) for pod in others))
        await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "it is promoted")
        assert (await lease_of(stage))["spec"]["holderIdentity"] == before["spec"]["holderIdentity"]
    await others_are_ready(stage, [pod["metadata"]["name"] for pod in others], 1 + len(others))

    seen.unharmed(traffic.summary())


@scenario(alone=True)
async def test_envoys_go_on_being_answered_while_the_lead_is_handed_over(stage: Stage) -> None:
    await stage.serve(specs.spec(stage))
    leading, others = await roles(stage)
    before, killed_at = await lease_of(stage), time.monotonic()
    async with stage.callers() as traffic:
        await kill(stage, leading)
        early = await answers(stage)

        async def answered() -> bool:
            now = await answers(stage)
            return len(now) == len(early) and all(after >= one + 2 for one, after in zip(early, now, strict=True))

        await stage.eventually(answered, "every Envoy is answered again")
        assert await another_leads(stage, before) - killed_at < AGAIN_SECONDS
        # the next version gets through to all Envoys, so all of them are heard by the one that leads now
        await stage.point(Kind.BETTER)
        await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "the next one is promoted")
    await others_are_ready(stage, [leading["metadata"]["name"]], 1 + len(others))

    seen.unharmed(traffic.summary())


@scenario(alone=True)
async def test_a_leader_that_is_asked_to_go_hands_over_at_once(stage: Stage) -> None:
    await stage.serve(specs.spec(stage))
    leading, others = await roles(stage)
    before, asked_at = await lease_of(stage), time.monotonic()
    path = f"/api/v1/namespaces/{stage.world.system_namespace}/pods/{leading['metadata']['name']}"
    async with stage.callers() as traffic:
        await stage.kube.delete(path)
        seconds = await another_leads(stage, before) - asked_at
    await others_are_ready(stage, [leading["metadata"]["name"]], 1 + len(others))

    seen.unharmed(traffic.summary(), at_least=1)
    assert seconds < HANDED_OVER_SECONDS
