"""Judged against stable: errors, answers, predictions, the truth; and the watch after 100 %."""

import asyncio
import json
from collections.abc import Sequence

from penstock.api.v1alpha1.modeldeployment_status import ModelDeploymentStatus, Outcome, Verdict

from dev.traffic import client
from tests.e2e import seen, specs
from tests.e2e import stage as stages
from tests.e2e.catalogue import Kind
from tests.e2e.kube import Json
from tests.e2e.stage import Stage
from tests.e2e.theatre import scenario

AGAINST: Sequence[Json] = ({"name": "errors", "type": "ErrorRate", "maxIncrease": 0.1},)
ANSWERS: Sequence[Json] = (
    {
        "name": "answers",
        "type": "ShadowDisagreement",
        "max": 0.1,
        "minSamples": 20,
        "tolerance": {"absolute": 0.001},
    },
)
DRIFT: Sequence[Json] = ({"name": "drift", "type": "PredictionDrift", "max": 0.2, "minSamples": 20},)
TRUTH: Sequence[Json] = (
    {"name": "accuracy", "type": "Performance", "scorer": "MeanAbsoluteError", "max": 0.1, "minSamples": 10},
)


async def undone(stage: Stage, kind: Kind) -> ModelDeploymentStatus:
    """Wait until a version of this kind is undone by a metric."""
    status = await stage.until(lambda status: seen.ended(status, stage.version(kind)), f"{kind} is undone")
    assert (status.history[0].outcome, status.history[0].reason) == (Outcome.ROLLED_BACK, "MetricFailed")
    return status


@scenario()
async def test_a_version_that_is_as_good_as_stable_is_promoted_once_that_is_established(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(50, 1)], metrics=[*AGAINST, *DRIFT]))
    async with stage.callers() as traffic:
        await stage.point(Kind.BETTER)
        waiting = await stage.until(
            lambda status: any(said.verdict is Verdict.INCONCLUSIVE and said.looks for said in status.verdicts),
            "the comparison begins",
        )
        said = next(one for one in waiting.verdicts if one.looks)
        assert "against" in said.message or "waiting for data" in said.message
        await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "it is promoted")
    seen.unharmed(traffic.summary())
    told = [message for reason, message in await stage.events() if reason == "MetricPassed"]
    assert any(
        "errors: 0 of " in message and "within the margin of 10 points at 95 %" in message for message in told
    ), told


@scenario()
async def test_a_version_that_fails_more_than_stable_is_undone_without_any_limit(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(50, 1)], metrics=AGAINST))
    async with stage.callers() as traffic:
        await stage.point(Kind.ERRORING)
        status = await undone(stage, Kind.ERRORING)
    seen.unharmed(traffic.summary(), blamed={status.history[0].revision})
    said = status.history[0].message
    assert said.startswith("errors: ")
    assert " against 0 of " in said
    assert "worse by at least " in said


@scenario()
async def test_wrong_answers_are_caught_by_the_shadow_before_anybody_sees_one(stage: Stage) -> None:
    first = await stage.serve(specs.spec(stage, steps=[specs.shadow(1), specs.canary(50)], metrics=ANSWERS))
    assert first.stable is not None
    async with stage.callers() as traffic:
        await stage.point(Kind.LYING)
        status = await undone(stage, Kind.LYING)
    seen.unharmed(traffic.summary())
    assert traffic.summary().revisions == {first.stable.name}
    said = status.history[0].message
    assert said.startswith("answers: ")
    assert "shadowed answers differ (100.0 %)" in said
    assert "worst: request " in said


@scenario()
async def test_answers_that_agree_let_a_shadow_end(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.shadow(1), specs.canary(50, 1)], metrics=[*ANSWERS, *AGAINST]))
    async with stage.callers() as traffic:
        await stage.point(Kind.BETTER)
        await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "it is promoted")
    seen.unharmed(traffic.summary())
    told = [message for reason, message in await stage.events() if reason == "MetricPassed"]
    assert any(message.startswith("answers: 0 of ") for message in told), told


@scenario()
async def test_predictions_that_collapsed_to_one_value_are_found_in_the_canary(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(40, 1)], metrics=DRIFT))
    async with stage.callers() as traffic:
        await stage.point(Kind.STUCK)
        status = await undone(stage, Kind.STUCK)
    seen.unharmed(traffic.summary())
    assert status.history[0].message.startswith("drift: ")


@scenario()
async def test_the_truth_that_callers_send_later_judges_a_version(stage: Stage) -> None:
    """Every request asks for x = 0.25, whose truth is 0.5."""
    await stage.serve(specs.spec(stage, steps=[specs.canary(50, 1)], metrics=TRUTH))
    async with stage.callers(bodies=stages.BODIES[2:3]) as traffic:
        telling = asyncio.create_task(_tell_the_truth(stage, traffic))
        await stage.point(Kind.BETTER)
        await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "it is promoted")
        await stage.point(Kind.LYING)
        status = await undone(stage, Kind.LYING)
        telling.cancel()
    seen.unharmed(traffic.summary())
    assert "accuracy: mean absolute error 0.5 over " in status.history[0].message
    refused = await stage.ask(b'{"request_id": "", "truth": 1}', path="/feedback")
    assert (refused.status, refused.json()["error_code"]) == (400, "BAD_REQUEST")


async def _tell_the_truth(stage: Stage, traffic: client.Traffic) -> None:
    told = 0
    while True:
        known = [exchange.request_id for exchange in traffic.exchanges[told:]]
        told += len(known)
        if known:
            body = {"feedback": [{"request_id": request, "truth": 0.5} for request in known]}
            answer = await stage.ask(json.dumps(body).encode(), path="/feedback")
            assert answer.status == 202, answer
        await asyncio.sleep(0.2)


@scenario()
async def test_a_version_that_turns_bad_at_100_percent_is_undone_in_the_watch(stage: Stage) -> None:
    """Its callers send what it cannot answer only after it has taken all traffic; the old pods still run."""
    spec = specs.spec(stage, steps=[specs.canary(50, 1)], metrics=AGAINST, watchSeconds=120)
    first = await stage.serve(spec)
    assert first.stable is not None
    async with stage.callers(bodies=stages.BODIES[:6]) as traffic:
        await stage.point(Kind.ERRORING)
        status = await stage.until(lambda status: seen.in_step(status, "watch"), "it takes all traffic")
        assert status.split.weight == 100
        assert "watching version" in status.message
        since = traffic.now
        traffic.send_instead(stages.BODIES)
        status = await undone(stage, Kind.ERRORING)
        back = traffic.now
        enough = len(traffic.exchanges) + 20
        await stage.eventually(lambda: len(traffic.exchanges) > enough, "a few more answers")
    seen.unharmed(traffic.summary(), blamed={status.history[0].revision})
    assert status.history[0].message.startswith("in the watch at 100 %: errors: ")
    assert traffic.summary(since=back).revisions == {first.stable.name}
    assert traffic.summary(since=since).failures() != {}


@scenario()
async def test_a_watch_that_sees_nothing_bad_ends_with_the_promotion(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(50, 1)], watchSeconds=4))
    async with stage.callers() as traffic:
        await stage.point(Kind.BETTER)
        await stage.until(lambda status: seen.in_step(status, "watch"), "it takes all traffic")
        status = await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "it is promoted")
    seen.unharmed(traffic.summary())
    assert status.history[0].message == "every step passed, and nothing failed in 4 s at 100 %"
