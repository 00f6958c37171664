"""Metrics that say nothing: a rollout that cannot be judged is neither promoted nor undone."""

from penstock.api.v1alpha1.modeldeployment_status import Outcome, Phase, Verdict

from tests.e2e import seen, specs
from tests.e2e import stage as stages
from tests.e2e.catalogue import Kind
from tests.e2e.stage import Stage
from tests.e2e.theatre import scenario


@scenario()
async def test_without_callers_a_rollout_waits_and_with_them_it_goes_on(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(40)]))
    await stage.point(Kind.BETTER)
    await stage.until(lambda status: seen.in_step(status, "canary"), "the canary begins")
    status = await stage.never(lambda status: not seen.in_step(status, "canary"), "the step ends", seconds=8)
    assert "waiting for data" in status.message
    async with stage.callers() as traffic:
        await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "it is promoted")
    seen.unharmed(traffic.summary())


@scenario()
async def test_a_step_waits_for_its_samples(stage: Stage) -> None:
    step = {"shadow": {"percent": 100, "holdSeconds": 1, "minSamples": 150}}
    await stage.serve(specs.spec(stage, steps=[step]))
    async with stage.callers(per_second=25) as traffic:
        await stage.point(Kind.BETTER)
        await stage.until(lambda status: seen.in_step(status, "shadow"), "the shadow begins")
        since = traffic.now
        await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "it is promoted")
        assert traffic.summary(since=since).sent >= 145
    seen.unharmed(traffic.summary())


@scenario()
async def test_a_query_that_prometheus_refuses_is_quoted_and_decides_nothing(stage: Stage) -> None:
    broken = {"name": "sales", "type": "Prometheus", "query": "sum(rate(sales[1m])", "max": 1}
    await stage.serve(specs.spec(stage, steps=[specs.canary(40, 1)], metrics=[*specs.METRICS, broken]))
    async with stage.callers() as traffic:
        await stage.point(Kind.BETTER)
        status = await stage.until(lambda status: status.phase is Phase.PAUSED, "it is held")
        assert seen.in_step(status, "canary")
        said = {verdict.name: (verdict.verdict, verdict.message) for verdict in status.verdicts}
        assert said["sales"][0] is Verdict.ERROR
        assert "parse error" in said["sales"][1]
        assert said["errors"][0] is Verdict.PASS
        assert seen.condition(status, "Ready")[1] == "AnalysisError"
        good = {**broken, "query": "vector(0.5)"}
        analysis = {"intervalSeconds": 1, "metrics": [*specs.METRICS, good]}
        await stage.patch({"rollout": {"analysis": analysis}})
        status = await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "it goes on")
    seen.unharmed(traffic.summary())


@scenario()
async def test_a_query_of_ones_own_judges_the_candidate(stage: Stage) -> None:
    query = (
        'sum(increase(penstock_requests_total{namespace="{{namespace}}", deployment="{{name}}", '
        'revision="{{candidate}}", outcome="success"}[{{window}}]))'
    )
    metric = {"name": "too-many", "type": "Prometheus", "query": query, "max": 10, "windowSeconds": 15}
    await stage.serve(specs.spec(stage, steps=[specs.canary(60, 20)], metrics=[metric]))
    async with stage.callers() as traffic:
        await stage.point(Kind.BETTER)
        status = await stage.until(lambda status: seen.ended(status, stage.version(Kind.BETTER)), "it is undone")
    seen.unharmed(traffic.summary())
    assert status.history[0].outcome is Outcome.ROLLED_BACK
    assert "too-many: " in status.history[0].message
    assert "above the limit of 10" in status.history[0].message


@scenario()
async def test_a_metric_in_dry_run_decides_nothing(stage: Stage) -> None:
    metrics = [{**specs.METRICS[0], "dryRun": True}, specs.METRICS[1]]
    await stage.serve(specs.spec(stage, steps=[specs.shadow(6)], metrics=metrics))
    async with stage.callers(bodies=stages.BODIES[:8]) as traffic:
        await stage.point(Kind.ERRORING)
        await stage.until(
            lambda status: any(verdict.verdict is Verdict.FAIL for verdict in status.verdicts), "it is reported"
        )
        status = await stage.until(lambda status: seen.ended(status, stage.version(Kind.ERRORING)), "it ends")
    assert status.history[0].outcome is Outcome.PROMOTED
    seen.unharmed(traffic.summary(), blamed={status.history[0].revision})
