"""A pass with a candidate: each kind of step, what it waits for, and when the next one begins."""

from typing import Any

import pytest
from penstock import ports
from penstock.analysis import measurement
from penstock.api.v1alpha1 import modeldeployment as api
from penstock.api.v1alpha1.modeldeployment_status import Outcome, Phase, Retired, RevisionRef, Split, Verdict
from penstock.rollout import world
from penstock.rollout.world import Measure, PodFailure, PruneRecords, RunSmokeTest, TagModelVersion, Workload

from tests.unit.rollout.cases import (
    BREATH,
    CANARY,
    CANARY_RUNS,
    ERRORS,
    HALF,
    LOOK_AGAIN,
    NOW,
    PAUSE,
    SMOKE,
    V1,
    V2,
    Case,
    ago,
    canary,
    candidate,
    entry,
    measured,
    normal,
    passed,
    rolling,
    seen,
    serving,
    spec,
    step,
    step_id,
    to,
)


def subject(since: float) -> ports.Subject:
    return ports.Subject("ml", "fraud", V2, V1, since=ago(since))


SMOKING = rolling(step(0, since=5), message="step 1 of 4, smoke test")
BOTH = {V1: Workload(2, 2), V2: Workload(2, 2)}


def entered(index: int, text: str, *steps: api.Step, **changes: Any) -> dict[str, Any]:
    """The next step begins: what every such pass has in common."""
    return {
        "changes": {"step": step(index, *steps), "verdicts": [], "message": text, **changes},
        "events": (normal("StepStarted", f"version 2: {text}"),),
        "wake": 0,
    }


def waiting(ready: int, why: str = "", failure: PodFailure | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "seen": seen(workloads={V1: Workload(2, 2), V2: Workload(2, ready, failure)}, **changes),
        "changes": {
            "message": f"{ready} of 2 pods of version 2 are ready{why}",
            "candidate": candidate(ready_replicas=ready, waiting_since=ago(9)),
        },
    }


PODS = {
    "the first step is entered while the pods still start": Case(
        rolling(candidate=candidate(waiting_since=ago(9), ready_replicas=0), message="starting 2 pods of version 2"),
        seen(workloads={V1: Workload(2, 2), V2: Workload(2, 0)}),
        **entered(0, "step 1 of 4, smoke test"),
    ),
    "a step waits for all pods": Case(
        rolling(step(0), candidate=candidate(waiting_since=ago(9))), **waiting(1), wake=LOOK_AGAIN
    ),
    "a step says what keeps the pods": Case(
        rolling(step(0), candidate=candidate(waiting_since=ago(9))),
        **waiting(
            0, ": no node takes the pod: 0/3 nodes", PodFailure("Unschedulable", "no node takes the pod: 0/3 nodes")
        ),
        wake=LOOK_AGAIN,
    ),
    "the deadline of the pods wakes when it is near": Case(
        rolling(step(0), candidate=candidate(waiting_since=ago(9))),
        **waiting(1),
        spec=spec(rollout={"progress_deadline_seconds": 12}),
        wake=3,
    ),
    "a step that has not begun waits for a pod that went, and its deadline starts": Case(
        rolling(step(2), split=to(mirror=100)),
        seen(workloads={V1: Workload(2, 2), V2: Workload(2, 1)}, applied=to(mirror=100)),
        changes={
            "candidate": candidate(ready_replicas=1, waiting_since=NOW),
            "message": "1 of 2 pods of version 2 are ready",
        },
        wake=LOOK_AGAIN,
    ),
    "a step that has begun goes on with the pods that are left": Case(
        canary(),
        seen(workloads={V1: Workload(2, 2), V2: Workload(2, 1)}, applied=to(10)),
        changes={"candidate": candidate(ready_replicas=1)},
        wake=5,
    ),
    "a step whose pods are all gone keeps its split, and a deadline": Case(
        canary(),
        seen(workloads={V1: Workload(2, 2), V2: Workload(2, 0)}, applied=to(10)),
        changes={
            "candidate": candidate(ready_replicas=0, waiting_since=NOW),
            "message": "0 of 2 pods of version 2 are ready",
        },
        wake=LOOK_AGAIN,
    ),
}

SMOKES = {
    "a smoke test needs no traffic and is asked for at once": Case(
        rolling(step(0), candidate=candidate(waiting_since=ago(9))),
        seen(),
        changes={"candidate": candidate(), "step": step(0, since=0), "message": "step 1 of 4, smoke test"},
        actions=(RunSmokeTest(world.StepId(V2, 0, NOW), api.SmokeTestStep()),),
        wake=LOOK_AGAIN,
    ),
    "a smoke test that has not answered is asked for still": Case(
        SMOKING, seen(), actions=(RunSmokeTest(step_id(SMOKING), api.SmokeTestStep()),), wake=LOOK_AGAIN
    ),
    "a smoke test that passed leads to the next step": Case(
        SMOKING,
        seen(smoke=world.SmokeResult(step_id(SMOKING), passed=True, message="answered 3 requests")),
        changes={"step": step(1), "message": "step 2 of 4, shadow 100 %"},
        events=(
            normal("SmokeTestPassed", "answered 3 requests"),
            normal("StepStarted", "version 2: step 2 of 4, shadow 100 %"),
        ),
        wake=0,
    ),
    "the answer to an earlier smoke test counts for nothing": Case(
        SMOKING,
        seen(smoke=world.SmokeResult(world.StepId(V2, 0, ago(300)), passed=False, message="answered 500")),
        actions=(RunSmokeTest(step_id(SMOKING), api.SmokeTestStep()),),
        wake=LOOK_AGAIN,
    ),
    "a paused rollout runs no smoke test": Case(
        SMOKING,
        seen(),
        spec(rollout={"paused": True}),
        changes={
            "phase": Phase.PAUSED,
            "message": "rollout.paused holds the rollout; set it to false to go on",
        },
    ),
}

SPLITS = {
    "a shadow step wants its copies, and waits for the data plane": Case(
        rolling(step(1)),
        seen(),
        changes={
            "split": to(mirror=100),
            "message": "step 2 of 4, shadow 100 %: waiting for the data plane to confirm the split",
        },
        wake=LOOK_AGAIN,
    ),
    "a canary step wants its weight, and no more copies": Case(
        rolling(step(2), split=to(mirror=100)),
        seen(applied=to(mirror=100)),
        changes={
            "split": to(10),
            "message": "step 3 of 4, canary 10 %: waiting for the data plane to confirm the split",
        },
        wake=LOOK_AGAIN,
    ),
    "a split that only some of the data plane has is waited for": Case(
        rolling(
            step(2), split=to(10), message="step 3 of 4, canary 10 %: waiting for the data plane to confirm the split"
        ),
        seen(applied=None),
        wake=LOOK_AGAIN,
    ),
    "the clock of a step starts when its split is confirmed": Case(
        rolling(step(2), split=to(10)),
        seen(applied=to(10), last_measured={}),
        changes={"step": step(2, since=0), "message": "step 3 of 4, canary 10 % until 12:01:00 UTC"},
        wake=1,
    ),
    "a data plane that forgot the split does not stop the clock": Case(
        canary(),
        seen(applied=None),
        changes={"message": "step 3 of 4, canary 10 %: waiting for the data plane to confirm the split"},
        wake=LOOK_AGAIN,
    ),
    "a pause keeps the split of the step before": Case(
        rolling(step(1, CANARY, PAUSE), split=to(10)),
        seen(applied=to(10), last_measured={}),
        spec(CANARY, PAUSE),
        changes={
            "phase": Phase.PAUSED,
            "step": step(1, CANARY, PAUSE, since=0),
            "message": "step 2 of 2, pause: to go on, kubectl annotate mdep fraud --overwrite "
            f"penstock.dev/promote={V2}/1 (the next step) or penstock.dev/promote={V2} (all the way)",
        },
        wake=1,
    ),
}

MEASURING = {
    "a metric is measured when its interval is over, over the step so far": Case(
        canary(),
        seen(applied=to(10), last_measured={"errors": ago(10)}),
        actions=(Measure(step_id(canary()), ERRORS, subject(30), 30),),
        wake=10,
    ),
    "a metric is measured over its window at most": Case(
        rolling(step(2, since=70), split=to(10), message="step 3 of 4, canary 10 %: not measured yet: errors"),
        seen(applied=to(10), last_measured={}),
        actions=(Measure(world.StepId(V2, 2, ago(70)), ERRORS, subject(70), 60),),
        wake=10,
    ),
    "minSamples is one more metric": Case(
        rolling(
            step(0, CANARY.model_copy(update={"canary": api.CanaryStep(weight=10, min_samples=500)}), since=30),
            split=to(10),
            message="step 1 of 1, canary 10 % until 12:00:30 UTC",
        ),
        seen(applied=to(10), last_measured={"errors": ago(5)}),
        spec(CANARY.model_copy(update={"canary": api.CanaryStep(weight=10, min_samples=500)})),
        actions=(
            Measure(
                world.StepId(V2, 0, ago(30)),
                api.Metric(
                    name="min-samples",
                    type=api.MetricType.ERROR_RATE,
                    max=1.0,
                    window_seconds=86400,
                    min_samples=500,
                ),
                subject(30),
                30,
            ),
        ),
        wake=5,
    ),
    "an unchanged verdict is not worth a write for half a minute": Case(
        canary(),
        seen(applied=to(10), measured=(measured(measurement.Value(0.02, 200)),)),
        wake=5,
    ),
    "an unchanged verdict is written again after half a minute": Case(
        canary(verdicts=[passed(30)]),
        seen(applied=to(10), measured=(measured(measurement.Value(0.01, 100)),)),
        changes={"verdicts": [passed(0, recent=[0.01, 0.01])]},
        wake=5,
    ),
    "the first verdict of a step is written and told": Case(
        canary(verdicts=[]),
        seen(applied=to(10), measured=(measured(measurement.Value(0.01, 100)),)),
        changes={"verdicts": [passed(0)]},
        events=(normal("MetricPassed", passed(0).message),),
        wake=5,
    ),
    "a measurement of an earlier step counts for nothing": Case(
        canary(),
        seen(
            applied=to(10),
            measured=(world.Measured(world.StepId(V2, 1, ago(90)), "errors", measurement.Value(0.9, 100), NOW),),
        ),
        wake=5,
    ),
}

HOLDING = {
    "a canary that passed goes on only after its hold": Case(canary(), seen(applied=to(10)), wake=5),
    "a canary that held goes on only when its metrics pass": Case(
        canary(
            step=step(2, since=90),
            verdicts=[passed(5, verdict=Verdict.INCONCLUSIVE, message="errors: waiting for data")],
            message="step 3 of 4, canary 10 %: errors: waiting for data",
        ),
        seen(applied=to(10)),
        wake=5,
    ),
    "a canary that held and passed goes on": Case(
        canary(step=step(2, since=60)), seen(applied=to(10)), **entered(3, "step 4 of 4, canary 50 %")
    ),
    "a verdict from before the operator stopped does not end a step": Case(
        canary(step=step(2, since=90), message="step 3 of 4, canary 10 %: waiting for the latest measurements"),
        seen(applied=to(10), last_measured={}),
        actions=(Measure(world.StepId(V2, 2, ago(90)), ERRORS, subject(90), 60),),
        wake=10,
    ),
    "a measurement on its way is waited for": Case(
        canary(step=step(2, since=90), message="step 3 of 4, canary 10 %: waiting for the latest measurements"),
        seen(applied=to(10), last_measured={"errors": ago(1)}),
        wake=9,
    ),
    "the last measurement before the end of a step is worth a write": Case(
        canary(step=step(2, since=50), message="step 3 of 4, canary 10 % until 12:00:10 UTC"),
        seen(applied=to(10), measured=(measured(measurement.Value(0.01, 100), canary(step=step(2, since=50))),)),
        changes={"verdicts": [passed(0, recent=[0.01, 0.01])]},
        wake=5,
    ),
    "a metric that cannot be told holds the rollout": Case(
        canary(verdicts=[passed(5, verdict=Verdict.ERROR, message="errors: could not be measured: 503", errors=5)]),
        seen(applied=to(10)),
        changes={"phase": Phase.PAUSED, "message": "errors: could not be measured: 503"},
        wake=5,
    ),
    "a paused rollout goes on measuring and ends no step": Case(
        canary(step=step(2, since=90)),
        seen(applied=to(10), last_measured={}),
        spec(rollout={"paused": True}),
        changes={"phase": Phase.PAUSED, "message": "rollout.paused holds the rollout; set it to false to go on"},
        actions=(Measure(world.StepId(V2, 2, ago(90)), ERRORS, subject(90), 60),),
        wake=10,
    ),
    "a pause with a time ends by itself": Case(
        rolling(step(1, CANARY, BREATH, since=60), split=to(10)),
        seen(applied=to(10)),
        spec(CANARY, BREATH),
        **entered(2, "taking all traffic", CANARY, BREATH),
    ),
}

PINNED = {
    "a pinned route sends everything to stable in the middle of a rollout": Case(
        canary(),
        seen(applied=to(10)),
        spec(route={"pin": "Stable"}),
        changes={
            "phase": Phase.PAUSED,
            "split": Split(stable=V1),
            "step": step(2),
            "verdicts": [],
            "message": "route.pin sends everything to stable; remove it to go on",
        },
    ),
    "without the pin the step begins anew": Case(
        rolling(step(2), phase=Phase.PAUSED),
        seen(),
        changes={
            "phase": Phase.PROGRESSING,
            "split": to(10),
            "message": "step 3 of 4, canary 10 %: waiting for the data plane to confirm the split",
        },
        wake=LOOK_AGAIN,
    ),
}

EDITED = {
    "edited steps start over at the first": Case(
        canary(), seen(applied=to(10)), spec(CANARY, HALF), **entered(0, "step 1 of 2, canary 10 %", CANARY, HALF)
    ),
    "the same steps written out in full are no edit": Case(
        canary(), seen(applied=to(10)), spec(SMOKE, *spec().rollout.steps[1:]), wake=5
    ),
    "edited steps do not call back a candidate that a person promoted": Case(
        rolling(step(4), split=to(100), candidate=candidate(fast=True)),
        seen(applied=None),
        spec(CANARY, HALF),
        **entered(2, "taking all traffic", CANARY, HALF),
    ),
}

PROMOTED = entry(Outcome.PROMOTED, "Promoted", "every step passed")
PROMOTING = {
    "the last step leads to all traffic": Case(
        canary(step=step(3, since=60), split=to(50)), seen(applied=to(50)), **entered(4, "taking all traffic")
    ),
    "all traffic is wanted before anything is promoted": Case(
        rolling(step(4), split=to(50)),
        seen(applied=to(50)),
        changes={
            "split": to(100),
            "message": "taking all traffic: waiting for the data plane to confirm the split",
        },
        wake=LOOK_AGAIN,
    ),
    "all traffic needs all pods": Case(
        rolling(step(4), split=to(50)),
        seen(applied=to(50), workloads={V1: Workload(2, 2), V2: Workload(2, 1)}),
        changes={
            "candidate": candidate(ready_replicas=1, waiting_since=NOW),
            "message": "1 of 2 pods of version 2 are ready",
        },
        wake=LOOK_AGAIN,
    ),
    "with all traffic confirmed the candidate is stable, and what was stable is retired": Case(
        rolling(step(4), split=to(100)),
        seen(applied=to(100)),
        changes={
            "phase": Phase.HEALTHY,
            "message": "version 2 serves",
            "stable": RevisionRef(name=V2, model_version=2, replicas=2, ready_replicas=2),
            "candidate": None,
            "step": None,
            "split": Split(stable=V2),
            "retired": [Retired(name=V1, remove_at=ago(-30))],
            "history": [PROMOTED],
        },
        actions=(PruneRecords(frozenset({V1, V2})), TagModelVersion(PROMOTED)),
        events=(normal("Promoted", f"version 2 (revision {V2}) is stable: every step passed"),),
        wake=0,
    ),
    "the first version ever takes all traffic after its smoke test": Case(
        rolling(
            step(0, SMOKE, since=5),
            stable=None,
            split=Split(),
            phase=Phase.INITIALIZING,
            message="step 1 of 1, smoke test",
        ),
        seen(
            workloads={V2: Workload(2, 2)},
            applied=Split(),
            smoke=world.SmokeResult(world.StepId(V2, 0, ago(5)), passed=True, message="answered"),
        ),
        changes={"step": step(1, SMOKE), "message": "taking all traffic"},
        events=(normal("SmokeTestPassed", "answered"), normal("StepStarted", "version 2: taking all traffic")),
        wake=0,
    ),
    "the first version ever retires nobody": Case(
        rolling(step(1, SMOKE), stable=None, split=Split(candidate=V2, weight=100), phase=Phase.INITIALIZING),
        seen(workloads={V2: Workload(2, 2)}, applied=Split(candidate=V2, weight=100)),
        changes={
            "phase": Phase.HEALTHY,
            "message": "version 2 serves",
            "stable": RevisionRef(name=V2, model_version=2, replicas=2, ready_replicas=2),
            "candidate": None,
            "step": None,
            "split": Split(stable=V2),
            "history": [PROMOTED],
        },
        actions=(PruneRecords(frozenset({V2})), TagModelVersion(PROMOTED)),
        events=(normal("Promoted", f"version 2 (revision {V2}) is stable: every step passed"),),
        wake=0,
    ),
}

REGISTRY_DOWN = world.Unresolved("RegistryUnavailable", "the registry does not answer")
UNDISTURBED = {
    "the registry going down does not disturb a rollout": Case(
        canary(),
        seen(REGISTRY_DOWN, applied=to(10)),
        events=(world.Event(world.EventType.WARNING, "RegistryUnavailable", "the registry does not answer"),),
        wake=5,
    ),
    "an operator that starts does not disturb a rollout": Case(
        canary(), seen(world.RESOLVING, applied=to(10), last_measured={"errors": ago(5)}), wake=5
    ),
}

CASES = {**PODS, **SMOKES, **SPLITS, **MEASURING, **HOLDING, **PINNED, **EDITED, **PROMOTING, **UNDISTURBED}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_pass_with_a_candidate(case: Case) -> None:
    assert case.answer() == case.expected()


def test_the_table_begins_where_a_rollout_stands() -> None:
    assert canary().message == CANARY_RUNS
    assert serving().candidate is None
    assert BOTH[V2].exists
