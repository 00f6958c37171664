"""Parts of the release die under traffic. These scenarios disturb the whole cluster, so they play alone."""

import asyncio
import contextlib
import copy
import os
import pathlib
import signal
from collections.abc import AsyncIterator, Collection

from penstock.api.v1alpha1.modeldeployment_status import Outcome, Phase

from tests.e2e import seen, specs
from tests.e2e import stage as stages
from tests.e2e.catalogue import Kind
from tests.e2e.kube import Json
from tests.e2e.stage import Stage
from tests.e2e.theatre import scenario


def sigkill(pod: Json) -> int:
    """Kill the processes of a pod where they can be seen, which is on the node itself. Says how many there were.

    The pause process is left alone: without it the whole pod would have to be made again.
    """
    uid = pod["metadata"]["uid"]
    killed = 0
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and uid in (entry / "cgroup").read_text().replace("_", "-"):
                command = (entry / "cmdline").read_bytes()
                if b"penstock-operator" in command:
                    os.kill(int(entry.name), signal.SIGKILL)
                    killed += 1
    return killed


async def pods_of(stage: Stage, component: str) -> list[Json]:
    """The pods of a part of the release."""
    path = f"/api/v1/namespaces/{stage.world.system_namespace}/pods"
    return await stage.kube.items(path, query={"labelSelector": f"app.kubernetes.io/component={component}"})


def ready(pod: Json) -> bool:
    """Whether a pod is ready, and means to stay."""
    conditions = pod["status"].get("conditions", [])
    leaving = "deletionTimestamp" in pod["metadata"]
    return not leaving and any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


async def kill(stage: Stage, pod: Json) -> None:
    """Kill an operator without a warning.

    The pod is deleted as well, for its container would be started later and later each time. From another machine than
    the node that is all that can be done, and the operator has a second of warning.
    """
    await asyncio.to_thread(sigkill, pod)
    path = f"/api/v1/namespaces/{stage.world.system_namespace}/pods/{pod['metadata']['name']}"
    await stage.kube.delete(path, query={"gracePeriodSeconds": "0"})


async def kill_operators(stage: Stage) -> None:
    """Kill every operator, however many there are, and wait for as many others."""
    pods = await pods_of(stage, "operator")
    await asyncio.gather(*(kill(stage, pod) for pod in pods))
    await others_are_ready(stage, [pod["metadata"]["name"] for pod in pods], len(pods))


async def others_are_ready(stage: Stage, gone: Collection[str], count: int) -> None:
    """Wait until there are so many operators, not counting those that are gone."""

    async def enough() -> bool:
        pods = [pod for pod in await pods_of(stage, "operator") if pod["metadata"]["name"] not in gone]
        return sum(ready(pod) for pod in pods) >= count

    await stage.eventually(enough, "the next operators are ready")


@contextlib.asynccontextmanager
async def no_operator(stage: Stage) -> AsyncIterator[None]:
    """All operators are gone meanwhile, and as many as there were come back."""
    system, name = stage.world.system_namespace, stage.world.operator
    deployment = await stage.kube.call("GET", f"/apis/apps/v1/namespaces/{system}/deployments/{name}")

    async def gone() -> bool:
        return not await pods_of(stage, "operator")

    await stage.kube.scale(system, name, 0)
    try:
        await stage.eventually(gone, "the operators are gone")
        yield
    finally:
        await stage.kube.scale(system, name, deployment["spec"]["replicas"])


@scenario(alone=True)
async def test_an_operator_that_is_killed_at_every_step_still_promotes(stage: Stage) -> None:
    await stage.serve(specs.spec(stage))
    async with stage.callers() as traffic:
        await stage.point(Kind.BETTER)
        await stage.until(lambda status: status.candidate is not None, "the rollout starts")
        await kill_operators(stage)
        for kind, index in (("shadow", 1), ("canary", 2), ("canary", 3)):
            await stage.until(_at_or_after(kind, index), f"step {index} begins")
            await kill_operators(stage)
        status = await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "it is promoted")
        await kill_operators(stage)
        last = await stage.until(lambda status: status.phase is Phase.HEALTHY, "all is well")
        await stage.eventually(lambda: _one_revision_is_left(stage), "the old version is gone")
    seen.unharmed(traffic.summary())
    assert [entry.outcome for entry in last.history] == [Outcome.PROMOTED, Outcome.PROMOTED]
    assert last.stable is not None
    assert status.stable is not None
    assert last.stable.name == status.stable.name


def _at_or_after(kind: str, index: int) -> stages.Check:
    return lambda status: seen.in_step(status, kind, index) or (status.step is not None and status.step.index > index)


async def _one_revision_is_left(stage: Stage) -> bool:
    return len([name for name in await stage.owned() if name.startswith("deployments/")]) == 1


@scenario(alone=True)
async def test_an_operator_that_is_killed_while_undoing_still_undoes(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(40, 30)]))
    async with stage.callers() as traffic:
        await stage.point(Kind.ERRORING)
        status = await stage.until(
            lambda status: status.failure is not None or seen.ended(status, stage.version(Kind.ERRORING)), "it fails"
        )
        await kill_operators(stage)
        status = await stage.until(lambda status: seen.ended(status, stage.version(Kind.ERRORING)), "it is undone")
        await stage.eventually(lambda: _one_revision_is_left(stage), "the bad version is gone")
    bad = status.history[0]
    seen.unharmed(traffic.summary(), blamed={bad.revision})
    assert [entry.outcome for entry in status.history] == [Outcome.ROLLED_BACK, Outcome.PROMOTED]
    assert traffic.summary(since=traffic.now - 1).failures() == {}


@scenario(alone=True)
async def test_a_bad_version_is_undone_after_the_operator_was_away(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(40, 30)]))
    async with stage.callers(bodies=stages.BODIES[:6]) as traffic:
        await stage.point(Kind.ERRORING)
        await stage.until(lambda status: seen.in_step(status, "canary"), "its canary begins")
        async with no_operator(stage):
            traffic.send_instead(stages.BODIES)
            enough = len(traffic.exchanges) + 50
            await stage.eventually(lambda: len(traffic.exchanges) > enough, "50 answers without an operator")
        status = await stage.until(lambda status: seen.ended(status, stage.version(Kind.ERRORING)), "it is undone")
    seen.unharmed(traffic.summary(), blamed={status.history[0].revision})
    assert status.history[0].outcome is Outcome.ROLLED_BACK


@scenario(alone=True)
async def test_a_modeldeployment_that_is_deleted_without_an_operator_leaves_nothing_behind(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(40, 60)]))
    await stage.point(Kind.BETTER)
    await stage.until(lambda status: seen.in_step(status, "canary"), "the canary begins")

    async def nothing() -> bool:
        return await stage.owned() == []

    async with no_operator(stage):
        await stage.kube.delete(stage.path)
        await stage.eventually(nothing, "everything is gone")

    async def forgotten() -> bool:
        return (await stage.ask()).status == 404

    await stage.eventually(forgotten, "the data plane has forgotten it")


@scenario(alone=True)
async def test_an_upgrade_of_the_operator_makes_no_revision_and_touches_no_pod(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, server={"replicas": 2}))
    status = await stage.until(lambda status: status.stable is not None and status.stable.ready_replicas == 2, "ready")
    path = f"/apis/apps/v1/namespaces/{stage.world.system_namespace}/deployments/{stage.world.operator}"
    before, owned = await stage.kube.call("GET", path), await stage.owned()
    try:
        await stage.kube.merge(path, {"spec": {"template": _with_another_runtime(before)}})
        await stage.eventually(lambda: _rolled_out(stage, path), "the new operator is ready")
        await stage.never(lambda now: now.candidate is not None, "a rollout starts", seconds=5)
    finally:
        await stage.kube.merge(path, {"spec": {"template": before["spec"]["template"]}})
        await stage.eventually(lambda: _rolled_out(stage, path), "the old operator is ready")
    await stage.never(lambda now: now.candidate is not None, "a rollout starts", seconds=3)
    assert await stage.owned() == owned
    assert (await stage.status()).stable == status.stable


def _with_another_runtime(deployment: Json) -> Json:
    """The operator's pod template with another default for the image of model servers."""
    template = copy.deepcopy(deployment["spec"]["template"])
    variables = template["spec"]["containers"][0]["env"]
    (image,) = [variable for variable in variables if variable["name"] == "PENSTOCK_RUNTIME_IMAGE"]
    image["value"] = "localhost/penstock-runtime:of-the-next-release"
    return dict(template)


async def _rolled_out(stage: Stage, path: str) -> bool:
    found = await stage.kube.call("GET", path)
    status = found["status"]
    replicas = [status.get(name) for name in ("updatedReplicas", "replicas", "readyReplicas")]
    return bool(
        status.get("observedGeneration") == found["metadata"]["generation"]
        and replicas == [found["spec"]["replicas"]] * 3
    )


@scenario(alone=True)
async def test_a_prometheus_that_is_down_undoes_nothing(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(40, 6)]))
    prometheus = f"{stage.world.release}-prometheus"
    async with stage.callers() as traffic:
        await stage.point(Kind.BETTER)
        await stage.until(lambda status: seen.in_step(status, "canary"), "the canary begins")
        await stage.kube.scale(stage.world.system_namespace, prometheus, 0)
        try:
            status = await stage.until(lambda status: status.phase is Phase.PAUSED, "it is held")
            assert seen.condition(status, "Ready")[1] == "AnalysisError"
            await stage.never(lambda status: status.split.weight != 40, "the split moves", seconds=5)
        finally:
            await stage.kube.scale(stage.world.system_namespace, prometheus, 1)
        status = await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "it goes on")
    seen.unharmed(traffic.summary())
    assert status.history[0].outcome is Outcome.PROMOTED


@scenario(alone=True)
async def test_restarting_every_envoy_loses_nothing(stage: Stage) -> None:
    await stage.serve(specs.spec(stage))
    async with stage.callers(per_second=50, connections=12) as traffic:
        for pod in await pods_of(stage, "envoy"):
            await _replace(stage, pod)
    seen.unharmed(traffic.summary(), at_least=200)


async def _replace(stage: Stage, pod: Json) -> None:
    """Delete a pod as a node's drain does, and wait until another is ready and it is gone."""
    name = pod["metadata"]["name"]
    await stage.kube.delete(f"/api/v1/namespaces/{stage.world.system_namespace}/pods/{name}")

    async def replaced() -> bool:
        pods = await pods_of(stage, "envoy")
        return len(pods) == 2 and all(ready(one) and one["metadata"]["name"] != name for one in pods)

    await stage.eventually(replaced, f"{name} is replaced")


@scenario(alone=True)
async def test_a_model_pod_that_is_lost_is_not_noticed(stage: Stage) -> None:
    first = await stage.serve(specs.spec(stage, server={"replicas": 2}))
    await stage.until(lambda status: status.stable is not None and status.stable.ready_replicas == 2, "two are ready")
    assert first.stable is not None
    async with stage.callers() as traffic:
        pods = [name for name in await stage.owned() if name.startswith("pods/")]
        await stage.kube.delete(f"/api/v1/namespaces/{stage.namespace}/{pods[0]}")
        await stage.until(
            lambda status: status.stable is not None and status.stable.ready_replicas == 1, "one is missing"
        )
        await stage.until(
            lambda status: status.stable is not None and status.stable.ready_replicas == 2, "it is replaced"
        )
    seen.unharmed(traffic.summary())
    assert traffic.summary().revisions == {first.stable.name}
    assert traffic.summary().tallies[first.stable.name].slowest < 2.0
