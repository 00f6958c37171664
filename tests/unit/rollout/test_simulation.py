"""The invariants of a rollout, over histories that Hypothesis makes up: one test for each, named after it."""

import datetime
import os
import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from penstock.api.v1alpha1 import modeldeployment as api
from penstock.api.v1alpha1.modeldeployment_status import Outcome, Phase, Split
from penstock.rollout import end, revision, transitions, world

from tests.unit.rollout import histories, simulation
from tests.unit.rollout.simulation import Health, Metrics, Pass, Registry, Simulation

many = settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "rollout"))


def saved(sim: Simulation) -> Iterator[Pass]:
    return (made for made in sim.trace if made.saved)


@many
@given(histories.histories())
def test_invariant_01_a_registry_or_metric_source_that_fails_never_changes_what_serves(
    history: histories.History,
) -> None:
    sim = history.play()
    for made in sim.trace:
        if isinstance(made.seen.wanted, world.Unresolved) and made.before.candidate is None:
            assert (made.after.stable and made.after.stable.name) == (made.before.stable and made.before.stable.name)
            assert made.after.split == made.before.split
            assert made.after.candidate is None
        for action in made.decision.actions:
            if isinstance(action, world.RemoveRevision):
                assert made.before.stable is None or action.name != made.before.stable.name


def in_canary(seconds: int) -> Simulation:
    """Version 2 has been getting 5 % of the requests for so many seconds (up to 30)."""
    sim = Simulation(histories.spec((histories.CANARY_5, histories.CANARY_50)))
    sim.advance(30)
    sim.version = 2
    sim.advance(3 + seconds)
    assert sim.status.split.weight == 5
    return sim


@many
@given(
    st.integers(1, 20),
    st.sampled_from((Metrics.ERROR, Metrics.NONE, Metrics.NAN)),
    st.sampled_from((Registry.DOWN, Registry.ALIAS_MISSING, Registry.UP)),
    st.lists(st.one_of(histories.WAITS, histories.DEATHS, histories.RELEASES), max_size=10),
)
def test_invariant_01_nothing_is_undone_while_the_metric_source_is_down(
    seconds: int, metrics: Metrics, registry: Registry, events: list[histories.Event]
) -> None:
    sim = in_canary(seconds)
    before = sim.status.split
    sim.metrics, sim.registry = metrics, registry
    for event in (*events, histories.Event("wait", 100)):
        event.happen(sim)
        assert (sim.status.split, sim.status.failure) == (before, None)
    sim.calm()
    sim.advance(100)
    assert (sim.status.phase, sim.status.message) == (Phase.HEALTHY, "version 2 serves")


@many
@given(st.one_of(histories.histories(), histories.histories(histories.TROUBLE)))
def test_invariant_02_a_weight_is_raised_only_on_a_candidate_with_ready_pods(history: histories.History) -> None:
    sim = history.play()
    for made in sim.trace:
        after, before = made.after.split, made.before.split
        if after.candidate is not None and (after.weight > before.weight or after.candidate != before.candidate):
            assert made.seen.workloads[after.candidate].ready > 0
        weights = sim.effective(after)
        assert weights.stable + weights.candidate in {0, 100}


@many
@given(st.one_of(histories.histories(), histories.histories(histories.TROUBLE)))
def test_invariant_03_stable_keeps_its_pods_and_whatever_gets_requests_is_not_removed(
    history: histories.History,
) -> None:
    sim = history.play()
    for made in sim.trace:
        for action in made.done:
            match action:
                case world.RemoveRevision():
                    assert action.name not in made.in_use, "requests may still be sent to it"
                case world.ScaleRevision() | world.EnsureRevision():
                    assert action.replicas == made.mdep.spec.server.replicas


@many
@given(st.integers(0, 120), st.sampled_from((Metrics.GOOD, Metrics.BAD)), st.sampled_from((0, 20)))
def test_invariant_03_a_slow_data_plane_is_waited_for(delay: int, metrics: Metrics, seconds: int) -> None:
    sim = in_canary(1)
    sim.plane.delay = delay
    sim.advance(seconds)
    sim.metrics = metrics
    sim.advance(600)
    removed = [
        (action.name, made.in_use)
        for made in sim.trace
        for action in made.done
        if isinstance(action, world.RemoveRevision)
    ]
    assert len({name for name, _ in removed}) == 1
    assert all(name not in in_use for name, in_use in removed)


@many
@given(st.one_of(histories.histories(), histories.histories(histories.TROUBLE)))
def test_invariant_03_everything_goes_to_a_candidate_only_when_all_of_its_pods_were_ready(
    history: histories.History,
) -> None:
    sim = history.play()
    for made in sim.trace:
        if made.after.split.weight == 100 and made.before.split.weight < 100 and made.after.split.candidate:
            assert made.seen.workloads[made.after.split.candidate].ready >= made.mdep.spec.server.replicas


@many
@given(st.one_of(histories.histories(), histories.histories(histories.TROUBLE)))
def test_invariant_03_an_undo_leaves_the_traffic_where_somebody_can_answer(history: histories.History) -> None:
    sim = history.play()
    for made in sim.trace:
        after, before = made.after.split, made.before.split
        pinned = made.mdep.spec.route.pin is not None and made.after.failure is None
        if before.weight and before.stable and before.candidate and after.weight < before.weight and not pinned:
            ready = {name for name, workload in made.seen.workloads.items() if workload.ready}
            assert before.stable in ready or before.candidate not in ready or made.after.failure is None


@many
@given(st.one_of(histories.histories(), histories.histories(histories.TROUBLE)))
def test_invariant_03_a_gradual_undo_never_sends_stable_more_than_its_pods_can_hold(
    history: histories.History,
) -> None:
    sim = history.play()
    for made in sim.trace:
        after, before, spec = made.after.split, made.before.split, made.mdep.spec
        undone = made.after.failure is not None and after.weight < before.weight
        if undone and spec.rollout.abort is api.Abort.GRADUAL and before.candidate and before.stable:
            ready = {name: workload.ready for name, workload in made.seen.workloads.items()}
            held = ready.get(before.stable, 0) / spec.server.replicas
            assert 1 - after.weight / 100 <= held + 0.01 or not ready.get(before.candidate, 0)


@many
@given(st.one_of(histories.histories(), histories.histories(histories.TROUBLE)))
def test_invariant_04_a_failure_never_raises_a_weight(history: histories.History) -> None:
    sim = history.play()
    for made in sim.trace:
        if made.after.failure is not None:
            assert made.after.split.weight <= made.before.split.weight
            assert made.after.split.mirror <= made.before.split.mirror


def test_invariant_04_a_verdict_from_before_a_long_stop_of_the_operator_raises_no_weight() -> None:
    sim = in_canary(20)
    sim.metrics = Metrics.BAD
    histories.Event("operator_down", 300).happen(sim)
    sim.advance(60)
    assert max(made.after.split.weight for made in sim.trace if made.before.split.weight) == 5
    assert sim.status.message.startswith("version 2 was undone: errors: 500 of 1000 requests failed (50 %)")


DISTURBANCES = st.one_of(
    histories.WAITS, histories.DEATHS, histories.REGISTRY, histories.PLANE, histories.PODS, histories.RELEASES
)


@many
@given(st.integers(1, 29), st.lists(DISTURBANCES, max_size=15))
def test_invariant_04_after_a_failure_the_weight_reaches_0(seconds: int, events: list[histories.Event]) -> None:
    sim = in_canary(seconds)
    sim.metrics = Metrics.BAD
    for event in events:
        event.happen(sim)
    bad = Metrics.BAD
    sim.calm()
    sim.metrics = bad
    sim.advance(120)
    assert sim.status.split == Split(stable=sim.status.stable and sim.status.stable.name)
    assert sim.status.message.startswith("version 2 was undone: ")


SCENARIOS: dict[str, tuple[histories.Event, ...]] = {
    "a good version is promoted": (),
    "a bad one is undone": (histories.Event("metrics", Metrics.BAD),),
    "one that cannot be loaded is rejected": (histories.Event("health", (2, Health.BROKEN)),),
    "one that never gets ready is rejected": (histories.Event("health", (2, Health.STUCK)),),
    "one whose signature does not fit is rejected": (histories.Event("health", (2, Health.MISFIT)),),
    "one that fails its smoke test is rejected": (histories.Event("health", (2, Health.UNSMOKED)),),
    "one that is aborted stays away": (
        histories.Event("wait", 40),
        histories.Event("annotate", ("abort", "candidate", "")),
    ),
    "another one takes its place": (histories.Event("wait", 40), histories.Event("alias", 3)),
    "the data plane is slow": (histories.Event("plane", 7.0),),
}


def kill(sim: Simulation, seconds: int, deaths: dict[int, int]) -> None:
    """Let time go by second by second; the operator is killed in the passes of these seconds after so many actions."""
    for second in range(seconds):
        if second in deaths:
            sim.reconcile(die_after=deaths[second])
        sim.advance(1)


def reached(sim: Simulation) -> tuple[object, ...]:
    status = sim.status
    return (
        status.phase,
        status.stable and status.stable.model_version,
        status.rejected and status.rejected.reason,
        status.split,
        [(entry.model_version, entry.outcome, entry.tagged) for entry in status.history],
        sorted(sim.pods),
    )


@pytest.mark.parametrize("events", SCENARIOS.values(), ids=SCENARIOS)
@settings(many, max_examples=max(4, many.max_examples // 6))
@given(deaths=st.dictionaries(st.integers(0, 60), st.integers(0, 3), min_size=1, max_size=20))
def test_invariant_05_killed_at_any_action_the_next_start_reaches_the_same_end(
    events: tuple[histories.Event, ...], deaths: dict[int, int]
) -> None:
    ends = []
    for killed in (deaths, {}):
        sim = Simulation(histories.spec())
        sim.advance(30)
        sim.version = 2
        for event in events:
            event.happen(sim)
        kill(sim, 61, killed)
        sim.advance(300)
        ends.append(reached(sim))
    assert ends[0] == ends[1]


@many
@given(histories.histories(), st.sampled_from(("runtime:1", "runtime:9")))
def test_invariant_06_another_release_of_the_operator_changes_no_revision_and_no_pod(
    history: histories.History, image: str
) -> None:
    sim = history.play()
    sim.calm()
    sim.advance(simulation.total_seconds(sim.spec, sim.spec.rollout.steps))
    before, pods = sim.status, {name: (made.born, made.replicas) for name, made in sim.pods.items()}
    histories.Event("release", image).happen(sim)
    sim.advance(100)
    assert sim.status.model_copy(update={"verdicts": before.verdicts}) == before
    assert {name: (made.born, made.replicas) for name, made in sim.pods.items()} == pods


@many
@given(histories.histories(), st.sampled_from((0, 1, 300)))
def test_invariant_07_a_pass_that_finds_nothing_to_do_writes_nothing(history: histories.History, later: float) -> None:
    sim = history.play()
    sim.calm()
    sim.advance(simulation.total_seconds(sim.spec, sim.spec.rollout.steps))
    sim.advance(later)
    measuring = sim.status.candidate is not None
    again = sim.reconcile()
    assert again.after == again.before
    assert not again.decision.events
    assert all(isinstance(action, world.Measure) for action in again.decision.actions)
    assert measuring or not again.decision.actions


@many
@given(histories.histories())
def test_invariant_09_a_rolled_back_version_does_not_come_back_by_itself(history: histories.History) -> None:
    sim = history.play()
    refused: dict[str, str] = {}
    for made in saved(sim):
        wanted = made.seen.wanted
        print_ = revision.fingerprint(made.mdep.spec)
        asked = made.mdep.metadata.annotations.get("penstock.dev/retry", "").partition("/")[0]
        refused = {
            name: known
            for name, known in refused.items()
            if known == print_ and not (isinstance(wanted, revision.Revision) and wanted.name != name) and asked != name
        }
        candidate = made.after.candidate
        if candidate is not None and made.before.candidate is None:
            assert candidate.name not in refused
        known = {(entry.revision, entry.ended_at) for entry in made.before.history}
        for entry in made.after.history:
            if entry.outcome in end.REJECTING and (entry.revision, entry.ended_at) not in known:
                refused[entry.revision] = print_


@many
@given(histories.histories())
def test_invariant_10_every_state_that_stays_names_a_reason_and_what_to_do(history: histories.History) -> None:
    sim = history.play()
    for made in sim.trace:
        after = made.after
        ready = next(known for known in after.conditions if known.type == "Ready")
        assert after.message
        assert re.fullmatch(r"[A-Z][A-Za-z]+", ready.reason)
        if after.phase in {Phase.DEGRADED, Phase.PAUSED}:
            cures = ("annotate", "set ", "remove", "look at", "could not be measured", "requests", "NaN", "nothing yet")
            assert any(cure in after.message for cure in cures), after.message


@many
@given(st.one_of(histories.histories(), histories.histories(histories.TROUBLE)))
def test_a_split_counts_only_when_the_data_plane_has_confirmed_it(history: histories.History) -> None:
    sim = history.play()
    for made in sim.trace:
        began = made.after.step and made.after.step.started_at
        if began and began != (made.before.step and made.before.step.started_at):
            assert made.seen.applied == made.after.split
        if made.after.stable and made.after.stable.name != (made.before.stable and made.before.stable.name):
            assert made.seen.applied == made.before.split
            assert (made.before.split.candidate, made.before.split.weight) == (made.after.stable.name, 100)
        if made.before.candidate and made.after.candidate is None and made.after.stable == made.before.stable:
            assert made.seen.applied == made.after.split == Split(stable=made.after.split.stable)


@many
@given(histories.histories())
def test_phases_move_as_the_table_of_transitions_allows(history: histories.History) -> None:
    sim = history.play()
    for made in sim.trace:
        assert transitions.allowed(made.before.phase, made.after.phase), (made.before.phase, made.after.phase)


@many
@given(histories.histories())
def test_kstatus_never_says_both_ready_and_busy_and_never_ready_while_another_version_comes(
    history: histories.History,
) -> None:
    sim = history.play()
    for made in sim.trace:
        said = {known.type: known.status for known in made.after.conditions}
        assert set(said) - {"SignatureChecked"} == {"Ready", "Reconciling", "Stalled", "Serving", "ModelResolved"}
        assert [said["Ready"], said["Reconciling"], said["Stalled"]].count("True") <= 1
        wanted, stable = made.seen.wanted, made.after.stable
        if said["Ready"] == "True" and isinstance(wanted, revision.Revision):
            assert stable is not None
            assert wanted.name == stable.name


@many
@given(histories.histories())
def test_something_pending_is_always_looked_at_again(history: histories.History) -> None:
    sim = history.play()
    for made in sim.trace:
        status, wake_at = made.after, made.decision.wake_at
        moving = status.phase in {Phase.INITIALIZING, Phase.PROGRESSING, Phase.ROLLING_BACK}
        if moving or made.decision.actions or status.retired:
            assert wake_at is not None
        if made.idle and wake_at is not None:
            assert wake_at > made.at


@many
@given(histories.histories())
def test_in_a_calm_world_every_rollout_comes_to_an_end_or_waits_for_a_person(history: histories.History) -> None:
    sim = history.play()
    sim.calm()
    sim.advance(simulation.total_seconds(sim.spec, sim.spec.rollout.steps))
    status = sim.status
    match status.phase:
        case Phase.HEALTHY:
            assert status.candidate is None
            assert status.stable is not None
            assert status.stable.model_version == sim.version
        case Phase.DEGRADED:
            gone = status.stable is not None and sim.health.get(status.stable.model_version) in {
                Health.STUCK,
                Health.BROKEN,
            }
            assert gone or status.rejected is not None
            assert status.candidate is None
        case Phase.PAUSED:
            held = status.failure is not None and status.failure.held
            waits = status.step is not None and status.step.kind == "pause"
            assert held or waits or sim.spec.rollout.paused or sim.spec.route.pin
        case _:
            raise AssertionError(f"{status.phase}: {status.message}")
    assert set(sim.pods) <= {ref.name for ref in (status.stable, status.candidate) if ref is not None}
    assert sim.plane.applied(sim.now) == status.split


@many
@given(histories.histories(), st.integers(0, 3))
def test_whoever_does_what_the_messages_say_gets_the_version_they_want(history: histories.History, bad: int) -> None:
    """Also when it takes several tries until the version is good."""
    sim = history.play()
    sim.calm()
    for attempt in range(15):
        sim.health = dict.fromkeys((1, 2, 3), Health.UNSMOKED if attempt < bad else Health.GOOD)
        sim.advance(simulation.total_seconds(sim.spec, sim.spec.rollout.steps))
        status = sim.status
        if status.phase is Phase.HEALTHY:
            break
        obey(sim, status.message)
    assert (sim.status.phase, sim.status.split) == (Phase.HEALTHY, Split(stable=sim.status.split.stable))
    assert sim.status.stable is not None
    assert sim.status.stable.model_version == sim.version


def obey(sim: Simulation, message: str) -> None:
    """Do the first thing that a message asks a person to do."""
    command = re.search(r"penstock\.dev/([-a-z]+)=([-0-9a-z/]+)", message)
    if "route.pin" in message:
        sim.change(route={"pin": None})
    elif "rollout.paused" in message:
        sim.change(rollout={"paused": False})
    elif "model.signaturePolicy" in message:
        sim.change(model={"signature_policy": api.SignaturePolicy.IGNORE})
    elif command is not None:
        sim.annotate(command[1], command[2])
    else:
        raise AssertionError(f"does not say what to do: {message}")


def test_history_is_bounded_and_the_registry_hears_of_every_end() -> None:
    sim = Simulation(histories.spec(histories.PLANS[4]))
    for version in range(1, 7):
        sim.version = version
        sim.advance(60)
    assert [entry.model_version for entry in sim.status.history] == [6, 5, 4]
    assert {entry.outcome for entry in sim.status.history} == {Outcome.PROMOTED}
    assert all(entry.tagged for entry in sim.status.history)
    assert sorted(made.version for made in sim.records.values()) == [4, 5, 6]
    assert sim.now - sim.status.history[0].ended_at < datetime.timedelta(seconds=60)
    assert api.Rollout().history_limit == 10
