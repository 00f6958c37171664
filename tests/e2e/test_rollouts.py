"""Rollouts under traffic: what is good is promoted, what is bad is undone, and nobody notices but by the bad answers."""

import pytest
from penstock.api.v1alpha1.modeldeployment_status import Outcome, Phase

from tests.e2e import seen, specs
from tests.e2e import stage as stages
from tests.e2e.catalogue import Kind
from tests.e2e.stage import Stage
from tests.e2e.theatre import scenario


@scenario()
async def test_a_good_version_is_promoted(stage: Stage) -> None:
    first = await stage.serve(specs.spec(stage, server={"replicas": 2}))
    assert first.stable is not None
    async with stage.callers() as traffic:
        await stage.point(Kind.BETTER)
        shadowed = await stage.until(lambda status: seen.in_step(status, "shadow"), "the shadow step begins")
        since = traffic.now
        status = await stage.until(
            lambda status: seen.serves(status, stage.version(Kind.BETTER)), "the better version serves"
        )
        promoted_at = traffic.now
        enough = len(traffic.exchanges) + 20
        await stage.eventually(lambda: len(traffic.exchanges) > enough, "a few more answers")
    seen.unharmed(traffic.summary())
    assert shadowed.candidate is not None
    assert status.stable is not None
    assert status.history[0].outcome is Outcome.PROMOTED
    assert traffic.summary().revisions == {first.stable.name, status.stable.name}
    assert traffic.summary(since=promoted_at).revisions == {status.stable.name}
    assert traffic.summary().tallies[status.stable.name].first_at > since
    reasons = [reason for reason, _ in await stage.events()]
    assert {"RolloutStarted", "StepStarted", "SmokeTestPassed", "MetricPassed", "Promoted"} <= set(reasons)
    newest = status.stable.name
    await stage.eventually(lambda: stage.only(newest), "the old pods are gone")


@scenario()
async def test_a_canary_gets_its_share_of_the_requests(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(30, 12)]))
    async with stage.callers(per_second=50) as traffic:
        await stage.point(Kind.BETTER)
        status = await stage.until(lambda status: seen.in_step(status, "canary"), "the canary begins")
        since = traffic.now
        await stage.eventually(lambda: traffic.now > since + 10, "ten seconds of canary")
        summed = traffic.summary(since=since)
        assert seen.in_step(await stage.status(), "canary")
    seen.unharmed(traffic.summary())
    assert status.candidate is not None
    # 500 requests: five standard deviations are 10 %
    assert summed.tallies[status.candidate.name].answered / summed.sent == pytest.approx(0.3, abs=0.1)


@scenario()
async def test_the_registry_is_told_how_a_rollout_ended(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[]), Kind.BETTER)
    await stage.until(lambda status: status.history[0].tagged, "the registry is told")
    tags = await stage.tags(Kind.BETTER)
    assert any("penstock" in name and Outcome.PROMOTED.value in value for name, value in tags.items()), tags


@scenario()
async def test_a_version_that_errs_is_undone_in_its_canary(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(40, 20)]))
    async with stage.callers() as traffic:
        await stage.point(Kind.ERRORING)
        status = await stage.until(
            lambda status: seen.ended(status, stage.version(Kind.ERRORING)), "the erring version is undone"
        )
        undone_at = traffic.now
        enough = len(traffic.exchanges) + 20
        await stage.eventually(lambda: len(traffic.exchanges) > enough, "a few more answers")
    bad = status.history[0]
    seen.unharmed(traffic.summary(), blamed={bad.revision})
    assert traffic.summary().failures()[bad.revision] > 0
    assert bad.revision not in traffic.summary(since=undone_at).revisions
    assert (bad.outcome, bad.reason) == (Outcome.ROLLED_BACK, "MetricFailed")
    assert "errors: " in bad.message
    assert status.phase is Phase.DEGRADED
    assert status.stable is not None
    assert status.stable.model_version == stage.version(Kind.GOOD)
    await stage.never(lambda status: status.candidate is not None, "it comes back by itself", seconds=4)


@scenario()
async def test_a_version_that_errs_is_caught_by_its_shadow_before_anybody_sees_it(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.shadow(20), specs.canary(50)]))
    async with stage.callers() as traffic:
        await stage.point(Kind.ERRORING)
        status = await stage.until(
            lambda status: seen.ended(status, stage.version(Kind.ERRORING)), "the erring version is undone"
        )
    seen.unharmed(traffic.summary())
    assert (status.history[0].outcome, status.history[0].reason) == (Outcome.ROLLED_BACK, "MetricFailed")
    assert status.history[0].revision not in traffic.summary().revisions


@scenario()
async def test_a_slow_version_is_undone(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(40, 20)]))
    async with stage.callers() as traffic:
        await stage.point(Kind.SLOW)
        status = await stage.until(
            lambda status: seen.ended(status, stage.version(Kind.SLOW)), "the slow version is undone"
        )
    seen.unharmed(traffic.summary())
    assert (status.history[0].outcome, status.history[0].reason) == (Outcome.ROLLED_BACK, "MetricFailed")
    assert "latency: " in status.history[0].message


@scenario()
async def test_a_version_that_fails_its_smoke_test_gets_no_request(stage: Stage) -> None:
    question = {"body": stages.BODIES[-1].decode(), "expectStatus": 200}
    steps = [{"smokeTest": {"requests": [question]}}, *specs.STEPS[1:]]
    await stage.serve(specs.spec(stage, steps=steps))
    async with stage.callers() as traffic:
        await stage.point(Kind.ERRORING)
        status = await stage.until(
            lambda status: seen.ended(status, stage.version(Kind.ERRORING)), "the version is turned away"
        )
    seen.unharmed(traffic.summary())
    assert (status.history[0].outcome, status.history[0].reason) == (Outcome.REJECTED, "SmokeTestFailed")
    assert "400" in status.history[0].message
    assert status.history[0].revision not in traffic.summary().revisions


@scenario()
@pytest.mark.parametrize(
    ("kind", "cure"),
    [
        pytest.param(Kind.UNLOADABLE, "a_library_that_nobody_has", id="a missing library"),
        pytest.param(Kind.CONFUSED, "its own input example", id="its own example"),
    ],
)
async def test_a_version_that_cannot_be_loaded_is_turned_away(stage: Stage, kind: Kind, cure: str) -> None:
    await stage.serve(specs.spec(stage))
    async with stage.callers() as traffic:
        await stage.point(kind)
        status = await stage.until(lambda status: seen.ended(status, stage.version(kind)), "it is turned away")
    seen.unharmed(traffic.summary())
    assert (status.history[0].outcome, status.history[0].reason) == (Outcome.REJECTED, "ModelNotLoadable")
    assert cure in status.history[0].message


@scenario()
async def test_a_first_version_that_is_bad_is_named_and_the_next_one_serves(stage: Stage) -> None:
    await stage.point(Kind.UNLOADABLE)
    await stage.apply(specs.spec(stage))
    status = await stage.until(lambda status: seen.ended(status, stage.version(Kind.UNLOADABLE)), "it is turned away")
    assert (status.phase, status.stable) == (Phase.DEGRADED, None)
    assert "a_library_that_nobody_has" in status.message
    assert seen.condition(status, "Stalled")[0] == "True"
    assert (await stage.ask()).status == 503
    await stage.point(Kind.GOOD)
    await stage.until(lambda status: seen.serves(status, stage.version(Kind.GOOD)), "the next one serves")
    assert (await stage.ask()).status == 200


@scenario()
async def test_where_nothing_happens_nothing_is_written(stage: Stage) -> None:
    await stage.serve(specs.spec(stage))
    await stage.until(lambda status: status.history[0].tagged and not status.retired, "everything is done")
    async with stage.callers():
        await stage.until(lambda status: status.phase is Phase.HEALTHY, "all is well")
        before = await stage.kube.call("GET", stage.path)
        await stage.never(lambda status: status.phase is not Phase.HEALTHY, "something happens", seconds=10)
        after = await stage.kube.call("GET", stage.path)
    assert after == before


@scenario()
async def test_pods_that_never_become_ready_end_the_rollout_at_its_deadline(stage: Stage) -> None:
    await stage.serve(specs.spec(stage))
    nowhere = {"spec": {"nodeSelector": {"penstock.dev/no-such": "node"}}}
    async with stage.callers() as traffic:
        await stage.patch({"server": {"template": nowhere}, "rollout": {"progressDeadlineSeconds": 5}})
        status = await stage.until(lambda status: len(status.history) == 2, "the rollout ends")
    seen.unharmed(traffic.summary())
    assert (status.history[0].outcome, status.history[0].reason) == (Outcome.REJECTED, "ProgressDeadlineExceeded")
    assert "no node takes the pod" in status.history[0].message


@scenario()
async def test_a_model_without_a_signature_is_served_and_replaced(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(50)]), Kind.UNSIGNED)
    async with stage.callers() as traffic:
        await stage.point(Kind.BETTER)
        await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "it is replaced")
        await stage.point(Kind.UNSIGNED)
        await stage.until(lambda status: seen.serves(status, stage.version(Kind.UNSIGNED)), "it replaces")
    seen.unharmed(traffic.summary())


@scenario()
async def test_a_version_that_is_edited_in_the_spec_is_rolled_out(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, model={"version": stage.version(Kind.GOOD)}))
    async with stage.callers() as traffic:
        await stage.patch({"model": {"version": stage.version(Kind.BETTER)}})
        status = await stage.until(
            lambda status: seen.serves(status, stage.version(Kind.BETTER)), "the better version serves"
        )
    seen.unharmed(traffic.summary())
    assert status.history[0].outcome is Outcome.PROMOTED


@scenario()
async def test_a_change_of_the_server_is_rolled_out_like_a_version(stage: Stage) -> None:
    first = await stage.serve(specs.spec(stage))
    async with stage.callers() as traffic:
        await stage.patch({"server": {"env": [{"name": "FLAVOUR", "value": "strawberry"}]}})
        canary = await stage.until(lambda status: seen.in_step(status, "canary"), "its canary begins")
        status = await stage.until(lambda status: len(status.history) == 2 and not status.candidate, "it ends")
    seen.unharmed(traffic.summary())
    assert first.stable is not None
    assert status.stable is not None
    assert canary.candidate is not None
    assert status.stable.name == canary.candidate.name != first.stable.name
    assert status.stable.model_version == first.stable.model_version
    assert status.history[0].outcome is Outcome.PROMOTED


@scenario()
async def test_more_replicas_are_no_rollout(stage: Stage) -> None:
    first = await stage.serve(specs.spec(stage))
    async with stage.callers() as traffic:
        await stage.patch({"server": {"replicas": 2}})
        status = await stage.until(
            lambda status: status.stable is not None and status.stable.ready_replicas == 2, "two pods are ready"
        )
        await stage.patch({"server": {"replicas": 1}})
        await stage.until(
            lambda status: status.stable is not None and status.stable.ready_replicas == 1, "one pod is left"
        )
    seen.unharmed(traffic.summary())
    assert [entry.revision for entry in status.history] == [entry.revision for entry in first.history]


@scenario()
async def test_callers_mistakes_are_not_the_models(stage: Stage) -> None:
    await stage.serve(specs.spec(stage))
    mistakes = (b'{"dataframe_split": {"columns": ["y"], "data": [[1]]}}', b"no JSON at all")
    async with stage.callers(bodies=[*stages.BODIES[:4], *mistakes]) as traffic:
        await stage.point(Kind.BETTER)
        status = await stage.until(lambda status: seen.ended(status, stage.version(Kind.BETTER)), "the rollout ends")
    summed = traffic.summary()
    assert status.history[0].outcome is Outcome.PROMOTED
    assert summed.lost == ()
    assert {exchange.error for exchange in summed.failed} == {"BAD_REQUEST", "INVALID_PARAMETER_VALUE"}
    assert len(summed.failed) == pytest.approx(summed.sent / 3, rel=0.2)
