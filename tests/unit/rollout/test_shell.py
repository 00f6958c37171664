"""Whole rollouts through the shell, with every write failing once: the same end each time."""

import pytest
from penstock import errors
from penstock.api.v1alpha1.modeldeployment_status import Outcome, Phase, Split

from tests.unit.rollout import stage as stages

SPEC = {
    "model": {"name": "fraud", "alias": "champion", "pollSeconds": 5},
    "server": {"replicas": 2},
    "rollout": {
        "steps": [
            {"smokeTest": {}},
            {"shadow": {"holdSeconds": 5}},
            {"canary": {"weight": 20, "holdSeconds": 5}},
        ],
        "analysis": {"intervalSeconds": 2, "metrics": [{"name": "errors", "type": "ErrorRate", "max": 0.05}]},
        "scaleDownDelaySeconds": 3,
    },
}


def settled(stage: stages.Stage, version: int, phase: Phase) -> bool:
    status = stage.mdep().status
    return (
        status.phase is phase
        and status.stable is not None
        and status.stable.model_version == version
        and not status.retired
        and all(entry.tagged for entry in status.history)
    )


async def first_version(stage: stages.Stage) -> None:
    stage.create(SPEC)
    await stages.play(stage, lambda: settled(stage, 1, Phase.HEALTHY))


def outcomes(stage: stages.Stage) -> list[tuple[int, Outcome]]:
    return [(entry.model_version, entry.outcome) for entry in stage.mdep().status.history]


def weights(stage: stages.Stage) -> list[int]:
    found = [routed.split.weight for routed in stage.data_plane.seen if routed.split.candidate is not None]
    return [weight for number, weight in enumerate(found) if number == 0 or weight != found[number - 1]]


def things(stage: stages.Stage) -> dict[str, int]:
    return {kind: len(stage.of_kind(kind)) for kind in ("Deployment", "Service", "ControllerRevision")}


async def test_the_first_version_goes_live_after_its_smoke_test() -> None:
    stage = stages.Stage()
    await first_version(stage)
    assert outcomes(stage) == [(1, Outcome.PROMOTED)]
    assert things(stage) == {"Deployment": 1, "Service": 2, "ControllerRevision": 1}
    assert stage.registry.tags[1]["penstock.ml.fraud.outcome"] == "Promoted"


async def test_a_good_version_goes_through_every_step() -> None:
    stage = stages.Stage()
    await first_version(stage)
    stage.data_plane.seen.clear()
    stage.registry.aliases["champion"] = 2
    await stages.play(stage, lambda: settled(stage, 2, Phase.HEALTHY))
    assert outcomes(stage) == [(2, Outcome.PROMOTED), (1, Outcome.PROMOTED)]
    assert weights(stage) == [0, 20, 100]
    assert things(stage) == {"Deployment": 1, "Service": 2, "ControllerRevision": 2}


async def test_a_bad_version_is_undone_before_it_gets_a_request_of_its_own() -> None:
    stage = stages.Stage(bad={2})
    await first_version(stage)
    stage.data_plane.seen.clear()
    stage.registry.aliases["champion"] = 2
    await stages.play(stage, lambda: settled(stage, 1, Phase.DEGRADED))
    assert outcomes(stage) == [(2, Outcome.ROLLED_BACK), (1, Outcome.PROMOTED)]
    assert weights(stage) == [0]
    assert stage.registry.tags[2]["penstock.ml.fraud.reason"] == "MetricFailed"
    assert stage.mdep().status.split == Split(stable=stage.mdep().status.stable.name)  # type: ignore[union-attr]


async def test_a_version_that_fails_its_smoke_test_is_rejected() -> None:
    stage = stages.Stage(broken_smoke={2})
    await first_version(stage)
    stage.data_plane.seen.clear()
    stage.registry.aliases["champion"] = 2
    await stages.play(stage, lambda: settled(stage, 1, Phase.DEGRADED))
    assert outcomes(stage) == [(2, Outcome.REJECTED), (1, Outcome.PROMOTED)]
    assert weights(stage) == []


@pytest.mark.parametrize("after", [False, True], ids=["before it took effect", "after it took effect"])
@pytest.mark.parametrize("bad", [False, True], ids=["a good version", "a bad version"])
async def test_invariant_05_a_crash_at_any_write_leads_to_the_same_end(*, bad: bool, after: bool) -> None:
    """Every write of the whole story fails once; the process is replaced each time."""
    for at in range(1, 200):
        stage = stages.Stage(trouble=stages.Trouble(at=at, after=after), bad={2} if bad else set())
        stage.create(SPEC)
        crashes = await stages.play(stage, lambda: settled(stage, 1, Phase.HEALTHY))  # noqa: B023
        stage.registry.aliases["champion"] = 2
        end = (1, Phase.DEGRADED) if bad else (2, Phase.HEALTHY)
        crashes += await stages.play(stage, lambda: settled(stage, *end))  # noqa: B023
        outcome = Outcome.ROLLED_BACK if bad else Outcome.PROMOTED
        assert outcomes(stage) == [(2, outcome), (1, Outcome.PROMOTED)]
        assert things(stage) == {"Deployment": 1, "Service": 2, "ControllerRevision": 2}
        if not crashes:
            assert at > 20
            return
    raise AssertionError("the story never came to an end without a crash")


async def test_invariant_07_a_pass_that_finds_nothing_to_do_writes_nothing() -> None:
    stage = stages.Stage()
    await first_version(stage)
    writes, count, before = stage.status_writes, stage.trouble.count, stage.now
    await stages.play(stage, lambda: (stage.now - before).total_seconds() > 3600, seconds=4000)
    assert (stage.status_writes, stage.trouble.count) == (writes, count)


async def test_a_changed_template_rolls_like_a_version() -> None:
    stage = stages.Stage()
    await first_version(stage)
    stage.edit(lambda body: body["spec"]["server"].update(env=[{"name": "MODE", "value": "strict"}]))
    stage.data_plane.seen.clear()
    await stages.play(stage, lambda: settled(stage, 1, Phase.HEALTHY) and len(stage.mdep().status.history) == 2)
    assert outcomes(stage) == [(1, Outcome.PROMOTED), (1, Outcome.PROMOTED)]
    assert weights(stage) == [0, 20, 100]


async def test_an_object_that_is_gone_is_withdrawn_from_the_data_plane() -> None:
    stage = stages.Stage()
    await first_version(stage)
    process = stages.controller(stage)
    del stage.objects["ModelDeployment", "fraud"]
    await process.reconcile(stages.KEY)
    assert stage.data_plane.routed == {}


class Refusing(stages.Stage):
    """A cluster that takes no Deployment of version 2."""

    refusal: errors.PenstockError | None = None

    async def create_if_absent(self, body: stages.Json) -> stages.Json:
        if body["kind"] == "Deployment" and self.refusal is not None:
            raise self.refusal
        return await super().create_if_absent(body)


async def test_pods_that_the_cluster_finds_invalid_are_undone_at_once() -> None:
    stage = Refusing()
    await first_version(stage)
    stage.refusal = errors.Invalid("spec.containers[0].image: required")
    stage.registry.aliases["champion"] = 2
    await stages.play(stage, lambda: settled(stage, 1, Phase.DEGRADED), seconds=60)
    entry = stage.mdep().status.history[0]
    assert (entry.outcome, entry.reason) == (Outcome.REJECTED, "PodsRefused")
    assert entry.message.startswith("spec.containers[0].image: required; correct spec.server")


async def test_pods_that_a_quota_refuses_wait_for_it() -> None:
    stage = Refusing()
    await first_version(stage)
    stage.refusal = errors.Denied("exceeded quota: pods=2")
    stage.registry.aliases["champion"] = 2
    await stages.play(stage, lambda: "exceeded quota" in stage.mdep().status.message, seconds=60)
    assert stage.mdep().status.phase is Phase.PROGRESSING
    stage.refusal = None
    await stages.play(stage, lambda: settled(stage, 2, Phase.HEALTHY))


async def test_a_service_of_the_users_is_left_alone_and_told_once() -> None:
    stage = stages.Stage()
    theirs = {
        "kind": "Service",
        "metadata": {"name": "fraud", "namespace": "ml", "labels": {}},
        "spec": {"clusterIP": "x"},
    }
    stage.put(theirs)
    stage.create(SPEC)
    await stages.play(stage, lambda: settled(stage, 1, Phase.HEALTHY))
    assert stage.objects["Service", "fraud"]["spec"] == {"clusterIP": "x"}
    told = [message for reason, message in stage.events if reason == "EntryTaken"]
    assert len(told) == 1
    assert "remove or rename it" in told[0]


async def test_an_object_that_cannot_be_read_is_told_and_harms_nobody() -> None:
    stage = stages.Stage()
    stage.create({"model": {"name": "fraud"}, "server": {"replicas": "many"}})
    await stages.controller(stage).reconcile(stages.KEY)
    assert [reason for reason, _ in stage.events] == ["Unreadable"]
    assert "spec.server.replicas" in stage.events[0][1]


@pytest.mark.parametrize("kept_by_an_orphaning_delete", [False, True])
async def test_what_a_deleted_modeldeployment_has_left_serves_nobody_of_the_next_one(
    *, kept_by_an_orphaning_delete: bool
) -> None:
    """It has the same names, labels and revision, and the cluster removes it at a moment of its own choice."""
    stage = stages.Stage()
    await first_version(stage)
    before = {name for name, body in stage.objects.items() if body["kind"] != "ModelDeployment"}
    stage.data_plane.seen.clear()
    stage.create(SPEC, uid="u2")
    if kept_by_an_orphaning_delete:
        for name in before:
            stage.objects[name]["metadata"]["ownerReferences"] = []
        await stages.play(stage, lambda: "left of an earlier ModelDeployment" in stage.mdep().status.message)
        assert "delete it" in stage.mdep().status.message
        for name in before:
            del stage.objects[name]
    while stage.collect_garbage() > 1:
        moment = stage.now
        await stages.play(stage, lambda: (stage.now - moment).total_seconds() > 2)  # noqa: B023
        assert all(not backend.endpoints for seen in stage.data_plane.seen for backend in seen.backends.values())
    await stages.play(stage, lambda: settled(stage, 1, Phase.HEALTHY))
    owners = {body["metadata"]["labels"]["penstock.dev/deployment-uid"] for body in stage.of_kind("Deployment")}
    assert (things(stage), owners) == ({"Deployment": 1, "Service": 2, "ControllerRevision": 1}, {"u2"})
