"""What people do during a rollout: change their minds, hold it, push it, take it back, pull the kill switch."""

import functools

from penstock.api.v1alpha1.modeldeployment_status import Outcome, Phase

from dev.traffic import client
from tests.e2e import seen, specs
from tests.e2e.catalogue import Kind
from tests.e2e.kube import Json
from tests.e2e.stage import Stage
from tests.e2e.theatre import scenario

PAUSE: Json = {"pause": {}}


def _reached(traffic: client.Traffic, count: int) -> bool:
    return len(traffic.exchanges) >= count


@scenario()
async def test_an_alias_that_moves_back_ends_the_rollout(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(40, 60)]))
    async with stage.callers() as traffic:
        await stage.point(Kind.BETTER)
        await stage.until(lambda status: seen.in_step(status, "canary"), "the canary begins")
        await stage.point(Kind.GOOD)
        status = await stage.until(lambda status: seen.ended(status, stage.version(Kind.BETTER)), "it ends")
        assert (status.history[0].outcome, status.phase) == (Outcome.SUPERSEDED, Phase.HEALTHY)
        await stage.patch({"rollout": {"steps": [specs.canary(40)]}})
        await stage.point(Kind.BETTER)
        status = await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "it may try again")
    seen.unharmed(traffic.summary())
    assert [entry.outcome for entry in status.history] == [Outcome.PROMOTED, Outcome.SUPERSEDED, Outcome.PROMOTED]


@scenario()
async def test_an_alias_that_moves_on_starts_the_next_rollout(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(40, 5)]))
    async with stage.callers() as traffic:
        await stage.point(Kind.BETTER)
        await stage.until(lambda status: seen.in_step(status, "canary"), "the canary begins")
        await stage.point(Kind.BEST)
        status = await stage.until(lambda status: seen.serves(status, stage.version(Kind.BEST)), "the best serves")
    seen.unharmed(traffic.summary())
    assert [(entry.model_version, entry.outcome) for entry in status.history] == [
        (stage.version(Kind.BEST), Outcome.PROMOTED),
        (stage.version(Kind.BETTER), Outcome.SUPERSEDED),
        (stage.version(Kind.GOOD), Outcome.PROMOTED),
    ]


@scenario()
async def test_an_alias_that_flutters_ends_where_it_comes_to_rest(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(30, 2), specs.canary(60, 2)]))
    async with stage.callers() as traffic:
        for turn in range(12):
            await stage.point((Kind.BETTER, Kind.BEST, Kind.GOOD)[turn % 3])
            enough = len(traffic.exchanges) + 30
            await stage.eventually(functools.partial(_reached, traffic, enough), "30 more answers")
        await stage.point(Kind.BEST)
        status = await stage.until(lambda status: seen.serves(status, stage.version(Kind.BEST)), "the last one serves")
        best = status.stable.name if status.stable else ""
        await stage.eventually(lambda: stage.only(best), "nothing else is left")
    seen.unharmed(traffic.summary())


@scenario()
async def test_steps_that_are_edited_start_over(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(20, 1), specs.canary(40, 60)]))
    async with stage.callers() as traffic:
        await stage.point(Kind.BETTER)
        await stage.until(lambda status: seen.in_step(status, "canary", 1), "the second canary begins")
        await stage.patch({"rollout": {"steps": [specs.shadow(1), specs.canary(60, 1)]}})
        await stage.until(lambda status: seen.in_step(status, "shadow", 0), "it starts over")
        await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "it is promoted")
    seen.unharmed(traffic.summary())


@scenario()
async def test_a_version_that_was_undone_is_tried_again_when_the_alias_moves_away_and_back(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(40, 20)]))
    async with stage.callers() as traffic:
        await stage.point(Kind.ERRORING)
        status = await stage.until(lambda status: seen.ended(status, stage.version(Kind.ERRORING)), "it is undone")
        bad = status.history[0].revision
        await stage.point(Kind.GOOD)
        await stage.until(lambda status: status.phase is Phase.HEALTHY, "all is well again")
        await stage.point(Kind.ERRORING)
        status = await stage.until(lambda status: status.candidate is not None, "it is tried again")
        await stage.point(Kind.GOOD)
        await stage.until(lambda status: status.phase is Phase.HEALTHY, "all is well again")
    seen.unharmed(traffic.summary(), blamed={bad})


@scenario()
async def test_a_paused_rollout_waits_and_goes_on(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(40, 3)]))
    async with stage.callers() as traffic:
        await stage.patch({"rollout": {"paused": True}})
        await stage.point(Kind.BETTER)
        status = await stage.until(lambda status: status.phase is Phase.PAUSED, "it says that it waits")
        assert "rollout.paused" in status.message
        await stage.never(lambda status: status.candidate is not None, "a rollout starts", seconds=3)
        await stage.patch({"rollout": {"paused": False}})
        await stage.until(lambda status: seen.in_step(status, "canary"), "the canary begins")
        await stage.patch({"rollout": {"paused": True}})
        await stage.until(lambda status: status.phase is Phase.PAUSED, "it is held")
        await stage.never(lambda status: not seen.in_step(status, "canary"), "the step ends", seconds=6)
        await stage.patch({"rollout": {"paused": False}})
        await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "it goes on")
    seen.unharmed(traffic.summary())


@scenario()
async def test_a_person_promotes_by_annotation_and_a_stale_one_does_nothing(stage: Stage) -> None:
    steps = [specs.canary(20, 1), PAUSE, specs.canary(60, 1), PAUSE, specs.canary(80, 60)]
    first = await stage.serve(specs.spec(stage, steps=steps))
    assert first.stable is not None
    async with stage.callers() as traffic:
        await stage.point(Kind.BETTER)
        waiting = await stage.until(lambda status: seen.in_step(status, "pause", 1), "it waits for a person")
        assert waiting.candidate is not None
        candidate = waiting.candidate.name
        await stage.annotate("promote", first.stable.name)
        await stage.annotate("abort", "0000000000")
        await stage.annotate("skip-step", f"{candidate}/0")
        await stage.never(lambda status: not seen.in_step(status, "pause", 1), "a stale annotation acts", seconds=3)
        await stage.annotate("promote", f"{candidate}/1")
        await stage.until(lambda status: seen.in_step(status, "pause", 3), "it goes on to the next pause")
        assert (await stage.status()).split.weight == 60
        await stage.annotate("promote", candidate)
        status = await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "it serves")
    seen.unharmed(traffic.summary())
    assert status.history[0].outcome is Outcome.FAST_PROMOTED


@scenario()
async def test_a_person_aborts_and_retries_by_annotation(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(40, 4), PAUSE]))
    async with stage.callers() as traffic:
        await stage.point(Kind.BETTER)
        status = await stage.until(lambda status: seen.in_step(status, "canary"), "the canary begins")
        assert status.candidate is not None
        candidate = status.candidate.name
        await stage.annotate("abort", candidate)
        status = await stage.until(lambda status: seen.ended(status, stage.version(Kind.BETTER)), "it is aborted")
        assert (status.history[0].outcome, status.phase) == (Outcome.ABORTED, Phase.DEGRADED)
        assert f"penstock.dev/retry={candidate}" in status.message
        await stage.annotate("retry", candidate)
        await stage.until(lambda status: seen.in_step(status, "pause"), "it is tried again")
        await stage.annotate("promote", f"{candidate}/1")
        status = await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "it serves")
    seen.unharmed(traffic.summary())
    assert [entry.outcome for entry in status.history] == [Outcome.PROMOTED, Outcome.ABORTED, Outcome.PROMOTED]


@scenario()
async def test_the_kill_switch_sends_everything_to_stable(stage: Stage) -> None:
    first = await stage.serve(specs.spec(stage, steps=[specs.canary(60, 4)]))
    assert first.stable is not None
    async with stage.callers() as traffic:
        await stage.point(Kind.BETTER)
        await stage.until(lambda status: seen.in_step(status, "canary"), "the canary begins")
        await stage.patch({"route": {"pin": "Stable"}})
        await stage.until(lambda status: status.phase is Phase.PAUSED and not status.split.weight, "it is held")
        await stage.eventually(
            lambda: traffic.summary(since=traffic.now - 1).revisions == {first.stable and first.stable.name},
            "everything goes to stable",
        )
        since = traffic.now
        await stage.never(lambda status: status.split.weight > 0, "the candidate gets requests", seconds=5)
        assert traffic.summary(since=since).revisions == {first.stable.name}
        await stage.patch({"route": {"pin": None}})
        await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "it goes on")
    seen.unharmed(traffic.summary())


@scenario()
async def test_a_failed_candidate_may_be_kept_for_a_person(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(40, 20)], onFailure="Pause"))
    async with stage.callers() as traffic:
        await stage.point(Kind.ERRORING)
        held = await stage.until(lambda status: status.failure is not None and status.failure.held, "it is kept")
        assert held.candidate is not None
        bad = held.candidate.name
        await stage.until(lambda status: status.split.weight == 0, "it gets no requests")
        await stage.never(lambda status: status.candidate is None, "it goes", seconds=3)
        await stage.annotate("abort", bad)
        status = await stage.until(lambda status: seen.ended(status, stage.version(Kind.ERRORING)), "it goes")
    seen.unharmed(traffic.summary(), blamed={bad})
    assert status.history[0].outcome is Outcome.ABORTED


@scenario()
async def test_a_modeldeployment_that_is_deleted_in_its_canary_leaves_nothing_behind(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[specs.canary(40, 60)]))
    async with stage.callers():
        await stage.point(Kind.BETTER)
        await stage.until(lambda status: seen.in_step(status, "canary"), "the canary begins")
        assert len([name for name in await stage.owned() if name.startswith("deployments/")]) == 2
    await stage.kube.delete(stage.path)

    async def nothing() -> bool:
        return await stage.owned() == []

    await stage.eventually(nothing, "everything is gone")

    async def forgotten() -> bool:
        return (await stage.ask()).status == 404

    await stage.eventually(forgotten, "the data plane has forgotten it")


@scenario()
async def test_a_modeldeployment_that_is_deleted_and_made_again_at_once_serves(stage: Stage) -> None:
    spec = specs.spec(stage, steps=[])
    await stage.serve(spec)
    await stage.kube.delete(stage.path)
    await stage.serve(spec)
    async with stage.callers() as traffic:
        await stage.eventually(lambda: len(traffic.exchanges) > 200, "200 answers")
    seen.unharmed(traffic.summary())
