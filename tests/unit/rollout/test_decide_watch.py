"""The watch at 100 %, and the way back that is no faster than stable's pods can carry."""

from typing import Any

import pytest
from penstock import ports
from penstock.analysis import measurement
from penstock.api.v1alpha1 import modeldeployment as api
from penstock.api.v1alpha1 import modeldeployment_status as told
from penstock.api.v1alpha1.modeldeployment_status import Outcome, Phase, Retired, RevisionRef, Split
from penstock.rollout import plan, world
from penstock.rollout.world import Measure, PruneRecords, TagModelVersion, Workload

from tests.unit.rollout.cases import (
    CANARY,
    ERRORS,
    FAILED,
    LOOK_AGAIN,
    NOW,
    V1,
    V2,
    V3,
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
    spec,
    to,
    undoing,
    warning,
)

WATCH = spec(CANARY, rollout={"watch_seconds": 120})
FULL = to(100)
NOTE = "watching version 2 at 100 % until 12:01:30 UTC"


def watching(since: float | None = 30, **changes: Any) -> told.ModelDeploymentStatus:
    """Version 2 takes all traffic, and is watched for 120 s."""
    step = told.StepStatus(
        index=1, kind=plan.WATCH, plan=plan.fingerprint([CANARY]), started_at=None if since is None else ago(since)
    )
    return rolling(step, **{"split": FULL, "message": NOTE, **changes})


def promoted(why: str) -> dict[str, Any]:
    ended = entry(Outcome.PROMOTED, "Promoted", why)
    return {
        "changes": {
            "phase": Phase.HEALTHY,
            "message": "version 2 serves",
            "stable": RevisionRef(name=V2, model_version=2, replicas=2, ready_replicas=2),
            "candidate": None,
            "step": None,
            "split": Split(stable=V2),
            "verdicts": [],
            "retired": [Retired(name=V1, remove_at=ago(-30))],
            "history": [ended],
        },
        "actions": (PruneRecords(frozenset({V1, V2})), TagModelVersion(ended)),
        "events": (normal("Promoted", f"version 2 (revision {V2}) is stable: {why}"),),
    }


WATCHED = {
    "it goes on, with what stable did before as reference": Case(
        watching(),
        seen(applied=FULL, last_measured={}),
        WATCH,
        actions=(
            Measure(
                world.StepId(V2, 1, ago(30)),
                ERRORS,
                ports.Subject("ml", "fraud", V2, V1, since=ago(30), stable_is_past=True),
                30,
            ),
        ),
        wake=10,
    ),
    "its end, without a failure, is the promotion": Case(
        watching(120, verdicts=[passed(5)]),
        seen(applied=FULL),
        WATCH,
        **{**promoted("every step passed, and nothing failed in 120 s at 100 %"), "wake": 0},
    ),
    "an operator that was down at its end measures first": Case(
        watching(500, verdicts=[passed(490)]),
        seen(applied=FULL, last_measured={}),
        WATCH,
        changes={"message": "the watch of version 2 ends with the next measurement"},
        actions=(
            Measure(
                world.StepId(V2, 1, ago(500)),
                ERRORS,
                ports.Subject("ml", "fraud", V2, V1, since=ago(500), stable_is_past=True),
                60,
            ),
        ),
        wake=10,
    ),
    "a pause keeps the next version from cutting it short": Case(
        watching(),
        seen(V3, applied=FULL),
        spec(CANARY, rollout={"watch_seconds": 120, "paused": True}),
        wake=5,
    ),
    "the next version cuts it short": Case(
        watching(),
        seen(V3, applied=FULL),
        WATCH,
        **{
            **promoted("every step passed; the watch was cut short because version 3 is next"),
            "wake": 0,
        },
    ),
    "the stable version being wanted again ends it": Case(
        watching(),
        seen(V1, applied=FULL),
        WATCH,
        changes={
            "phase": Phase.ROLLING_BACK,
            "failure": undoing(
                reason="Superseded",
                message="version 1, which is stable, is wanted again",
                outcome=Outcome.SUPERSEDED,
                at=NOW,
            ),
            "split": Split(stable=V1),
            "step": watching(None).step,
            "message": "version 1, which is stable, is wanted again. Sending all traffic back to stable",
        },
        events=(normal("Superseded", f"version 2 (revision {V2}): version 1, which is stable, is wanted again"),),
        wake=LOOK_AGAIN,
    ),
    "a person who wants it promoted as it is ends it": Case(
        watching(candidate=candidate(fast=True)),
        seen(applied=FULL),
        WATCH,
        changes={
            **promoted("")["changes"],
            "history": [entry(Outcome.FAST_PROMOTED, "FastPromoted", "promoted by a person past the remaining steps")],
        },
        actions=(
            PruneRecords(frozenset({V1, V2})),
            TagModelVersion(
                entry(Outcome.FAST_PROMOTED, "FastPromoted", "promoted by a person past the remaining steps")
            ),
        ),
        events=(
            normal(
                "FastPromoted", f"version 2 (revision {V2}) is stable: promoted by a person past the remaining steps"
            ),
        ),
        wake=0,
    ),
    "a pause keeps it from ending": Case(
        watching(120),
        seen(applied=FULL),
        spec(CANARY, rollout={"watch_seconds": 120, "paused": True}),
        changes={"phase": Phase.PAUSED, "message": "rollout.paused holds the rollout; set it to false to go on"},
        wake=5,
    ),
}


@pytest.mark.parametrize("case", WATCHED.values(), ids=WATCHED)
def test_the_watch(case: Case) -> None:
    answer, expected = case.answer(), case.expected()
    if case.wake == 0:  # the next pass begins what is next: its message is not this one's
        answer = answer.__class__(
            answer.status.model_copy(update={"phase": expected.status.phase, "message": expected.status.message}),
            answer.actions,
            answer.events,
            answer.wake_at,
        )
    assert answer == expected


def test_the_last_answer_of_a_watch_is_known_before_it_ends() -> None:
    """A measurement of the last seconds is written whatever it says, for the watch ends on it."""
    status = watching(120, verdicts=[passed(10)])
    answer = measurement.Unavailable("Prometheus is away")
    case = Case(status, seen(applied=FULL, last_measured={"errors": NOW}, measured=(measured(answer, status),)), WATCH)
    assert case.answer().status.split == Split(stable=V2)
    undecided = measured(measurement.NoData("nobody asks"), status)
    case = Case(status, seen(applied=FULL, last_measured={"errors": NOW}, measured=(undecided,)), WATCH)
    assert case.answer().status.split == Split(stable=V2)


def test_a_canary_that_takes_all_traffic_is_compared_with_what_stable_did_before() -> None:
    """Nobody else gets requests at the same time, as in a watch."""
    whole = api.Step(canary=api.CanaryStep(weight=100, hold_seconds=60))
    at = told.StepStatus(index=0, kind="canary", plan=plan.fingerprint([whole]), started_at=ago(30))
    found = Case(rolling(at, split=FULL), seen(applied=FULL, last_measured={}), spec(whole)).answer()
    subjects = [action.subject for action in found.actions if isinstance(action, Measure)]
    assert subjects == [ports.Subject("ml", "fraud", V2, V1, since=ago(30), stable_is_past=True)]


def test_a_failure_in_the_watch_undoes_and_says_where_it_happened() -> None:
    status = watching()
    case = Case(status, seen(applied=FULL, measured=(measured(measurement.Value(0.2, 100), status),)), WATCH)
    found = case.answer()
    message = f"in the watch at 100 %: {FAILED}"
    assert found.status.failure == undoing(message=message, at=NOW)
    assert found.status.split == Split(stable=V1)
    assert found.events == (warning("MetricFailed", f"version 2 (revision {V2}): {message}"),)


GRADUAL = spec(server={"replicas": 4}, rollout={"abort": "Gradual"})
BACK = {
    "no pod of stable ready: that is the candidate's alone": (0, 4, 60, to(60)),
    "one of four ready": (1, 4, 60, to(60)),
    "three of four ready": (3, 4, 60, to(25)),
    "as many as are wanted": (4, 4, 60, Split(stable=V1)),
    "more than are wanted": (5, 4, 60, Split(stable=V1)),
    "never more than it had": (1, 4, 10, to(10)),
    "nothing to a candidate without a pod": (1, 0, 60, Split(stable=V1)),
}


@pytest.mark.parametrize(("stable", "other", "weight", "split"), BACK.values(), ids=BACK)
def test_a_gradual_way_back_sends_stable_what_its_pods_can_carry(
    stable: int, other: int, weight: int, split: Split
) -> None:
    status = canary(split=to(weight), failure=undoing(), phase=Phase.ROLLING_BACK)
    workloads = {V1: Workload(4, stable), V2: Workload(4, other)}
    found = Case(status, seen(applied=to(weight), workloads=workloads), GRADUAL).answer()
    assert found.status.split == split


def test_a_gradual_way_back_says_what_it_waits_for() -> None:
    status = canary(split=to(60), failure=undoing(), phase=Phase.ROLLING_BACK)
    workloads = {V1: Workload(4, 3), V2: Workload(4, 4)}
    found = Case(status, seen(applied=to(60), workloads=workloads), GRADUAL).answer()
    assert found.status.message == (
        f"{FAILED}. Stable has 3 of 4 pods ready, so the candidate keeps 25 % until there are more (rollout.abort is "
        "Gradual)"
    )


def test_an_immediate_way_back_takes_one_pod() -> None:
    status = canary(split=to(60), failure=undoing(), phase=Phase.ROLLING_BACK)
    workloads = {V1: Workload(4, 1), V2: Workload(4, 4)}
    at_once = spec(server={"replicas": 4}, rollout={"abort": api.Abort.IMMEDIATE})
    found = Case(status, seen(applied=to(60), workloads=workloads), at_once).answer()
    assert found.status.split == Split(stable=V1)
