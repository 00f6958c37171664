"""What people ask for by annotation: promote, skip-step, abort and retry, each for the revision it names, once."""

from typing import Any

import pytest
from penstock.api.v1alpha1 import modeldeployment as api
from penstock.api.v1alpha1.modeldeployment_status import Outcome, Phase, Split
from penstock.rollout import world
from penstock.rollout.world import PodFailure, RemoveRevision, RunSmokeTest, Workload

from tests.unit.rollout.cases import (
    CANARY,
    HALF,
    LOOK_AGAIN,
    NOW,
    PAUSE,
    V1,
    V2,
    V3,
    Case,
    ago,
    canary,
    candidate,
    failed,
    normal,
    passed,
    rolling,
    seen,
    spec,
    step,
    to,
    undoing,
    warning,
)

PAUSING = (CANARY, PAUSE, HALF)
NEXT = (
    "step 2 of 3, pause: to go on, kubectl annotate mdep fraud --overwrite "
    f"penstock.dev/promote={V2}/1 (the next step) or penstock.dev/promote={V2} (all the way)"
)


def paused(**changes: Any) -> Any:
    fields = {"phase": Phase.PAUSED, "split": to(10), "message": NEXT, "verdicts": [passed(5)], **changes}
    return rolling(step(1, *PAUSING, since=30), **fields)


def stays(annotations: dict[str, str], **changes: Any) -> Case:
    """Nothing happens: the rollout goes on waiting in its pause."""
    return Case(paused(**changes), seen(applied=to(10)), spec(*PAUSING), annotations, wake=5)


def goes_to(index: int, text: str, annotations: dict[str, str], **changes: Any) -> Case:
    """Out of its pause to this step."""
    return Case(
        paused(),
        seen(applied=to(10)),
        spec(*PAUSING),
        annotations,
        changes={
            "phase": Phase.PROGRESSING,
            "step": step(index, *PAUSING),
            "verdicts": [],
            "split": to({2: 50, 3: 100}[index]),
            "message": f"{text}: waiting for the data plane to confirm the split",
            "handled": annotations,
            **changes,
        },
        events=(normal("StepStarted", f"version 2: {text}"),),
        wake=0,
    )


def held(**changes: Any) -> Any:
    """Version 2 failed under onFailure: Pause, and is kept without traffic."""
    fields = {
        "phase": Phase.PAUSED,
        "failure": undoing(held=True),
        "verdicts": [failed(10)],
        "message": f"{undoing().message}. The candidate is kept without traffic: annotate penstock.dev/retry={V2}, "
        f"penstock.dev/promote={V2} or penstock.dev/abort={V2}",
        **changes,
    }
    return rolling(step(2), **fields)


KEEP = spec(rollout={"on_failure": api.OnFailure.PAUSE})
BROKEN = PodFailure("ModelNotLoadable", "the model needs torch", fatal=True)

PROMOTE = {
    "a pause goes on for nobody": stays({}),
    "promote with the step goes to the next one": goes_to(2, "step 3 of 3, canary 50 %", {"promote": f"{V2}/1"}),
    "promote with the step and a word does it another time": goes_to(
        2, "step 3 of 3, canary 50 %", {"promote": f"{V2}/1/again"}
    ),
    "promote without a step goes all the way": goes_to(
        3, "taking all traffic", {"promote": V2}, candidate=candidate(fast=True)
    ),
    "promote with all goes all the way": goes_to(
        3, "taking all traffic", {"promote": f"{V2}/all"}, candidate=candidate(fast=True)
    ),
    "promote for another step waits for that": stays({"promote": f"{V2}/2"}),
    "promote for another revision does nothing": stays({"promote": V3}),
    "promote for something that is no step does nothing": stays({"promote": f"{V2}/next"}),
    "promote acts once, and another value is suggested": stays(
        {"promote": f"{V2}/1"},
        handled={"promote": f"{V2}/1"},
        message=NEXT.replace(f"{V2}/1 ", f"{V2}/1/again "),
    ),
    "a word that acted is not suggested again": stays(
        {"promote": V2}, handled={"promote": V2}, message=NEXT.replace(f"{V2} (all", f"{V2}/all (all")
    ),
    "promote for a step of a plan that was edited does nothing": Case(
        paused(),
        seen(applied=to(10)),
        spec(CANARY, PAUSE),
        {"promote": f"{V2}/1"},
        changes={
            "phase": Phase.PROGRESSING,
            "step": step(0, CANARY, PAUSE),
            "verdicts": [],
            "message": "step 1 of 2, canary 10 %",
            "handled": {"promote": f"{V2}/1"},
        },
        events=(normal("StepStarted", "version 2: step 1 of 2, canary 10 %"),),
        wake=0,
    ),
    "promote waits for the pods like any step": Case(
        rolling(step(0), candidate=candidate(waiting_since=ago(9))),
        seen(workloads={V1: Workload(2, 2), V2: Workload(2, 0)}),
        annotations={"promote": V2},
        changes={
            "step": step(4),
            "candidate": candidate(fast=True, waiting_since=NOW, ready_replicas=0),
            "message": "0 of 2 pods of version 2 are ready",
            "handled": {"promote": V2},
        },
        events=(normal("StepStarted", "version 2: taking all traffic"),),
        wake=0,
    ),
    "promote of a held candidate goes all the way": Case(
        held(),
        seen(),
        KEEP,
        {"promote": V2},
        changes={
            "phase": Phase.PROGRESSING,
            "failure": None,
            "candidate": candidate(fast=True),
            "step": step(4),
            "split": to(100),
            "verdicts": [],
            "message": "taking all traffic: waiting for the data plane to confirm the split",
            "handled": {"promote": V2},
        },
        events=(normal("StepStarted", "version 2: taking all traffic"),),
        wake=0,
    ),
    "promote does not stop an undo": Case(
        canary(failure=undoing(), phase=Phase.ROLLING_BACK, split=Split(stable=V1)),
        seen(applied=None),
        annotations={"promote": V2},
        changes={"message": f"{undoing().message}. Sending all traffic back to stable"},
        wake=LOOK_AGAIN,
    ),
}

SKIP = {
    "skip-step leaves the step it names": Case(
        canary(),
        seen(applied=to(10)),
        annotations={"skip-step": f"{V2}/2"},
        changes={
            "step": step(3),
            "verdicts": [],
            "split": to(50),
            "message": "step 4 of 4, canary 50 %: waiting for the data plane to confirm the split",
            "handled": {"skip-step": f"{V2}/2"},
        },
        events=(normal("StepStarted", "version 2: step 4 of 4, canary 50 %"),),
        wake=0,
    ),
    "skip-step of another step does nothing": Case(
        canary(), seen(applied=to(10)), annotations={"skip-step": f"{V2}/1"}, wake=5
    ),
    "skip-step without a step does nothing": Case(
        canary(), seen(applied=to(10)), annotations={"skip-step": V2}, wake=5
    ),
}

ABORTED = undoing(reason="Aborted", message="aborted by annotation", outcome=Outcome.ABORTED, at=NOW)
ABORT = {
    "abort takes the traffic back": Case(
        canary(),
        seen(applied=to(10)),
        annotations={"abort": V2},
        changes={
            "phase": Phase.ROLLING_BACK,
            "failure": ABORTED,
            "split": Split(stable=V1),
            "step": step(2),
            "verdicts": [],
            "message": "aborted by annotation. Sending all traffic back to stable",
            "handled": {"abort": V2},
        },
        events=(warning("Aborted", f"version 2 (revision {V2}): aborted by annotation"),),
        wake=LOOK_AGAIN,
    ),
    "abort of another revision does nothing": Case(canary(), seen(applied=to(10)), annotations={"abort": V3}, wake=5),
    "abort acts once": Case(canary(handled={"abort": V2}), seen(applied=to(10)), annotations={"abort": V2}, wake=5),
    "abort with another word acts another time": Case(
        canary(handled={"abort": V2}),
        seen(applied=to(10)),
        annotations={"abort": f"{V2}/again"},
        changes={
            "phase": Phase.ROLLING_BACK,
            "failure": ABORTED,
            "split": Split(stable=V1),
            "step": step(2),
            "verdicts": [],
            "message": "aborted by annotation. Sending all traffic back to stable",
            "handled": {"abort": f"{V2}/again"},
        },
        events=(warning("Aborted", f"version 2 (revision {V2}): aborted by annotation"),),
        wake=LOOK_AGAIN,
    ),
    "abort ends a held candidate for good": Case(
        held(),
        seen(applied=None),
        KEEP,
        {"abort": V2},
        changes={
            "phase": Phase.ROLLING_BACK,
            "failure": undoing(outcome=Outcome.ABORTED),
            "message": f"{undoing().message}. Sending all traffic back to stable",
            "handled": {"abort": V2},
        },
        events=(warning("Aborted", f"version 2 (revision {V2}): aborted by annotation"),),
        wake=LOOK_AGAIN,
    ),
}

AGAIN = candidate(started_at=NOW)
RETRY = {
    "retry takes a held candidate to its first step": Case(
        held(),
        seen(),
        KEEP,
        {"retry": V2, "abort": V3, "promote": f"{V2}/7"},
        changes={
            "phase": Phase.PROGRESSING,
            "failure": None,
            "candidate": AGAIN,
            "step": step(0),
            "verdicts": [],
            "message": "step 1 of 4, smoke test",
            "handled": {"retry": V2, "promote": f"{V2}/7"},
        },
        events=(
            normal("Retry", f"revision {V2} starts over at the first step"),
            normal("StepStarted", "version 2: step 1 of 4, smoke test"),
        ),
        wake=0,
    ),
    "retry gives the pods of a held candidate the whole deadline again": Case(
        held(candidate=candidate(waiting_since=ago(9999), ready_replicas=0)),
        seen(workloads={V1: Workload(2, 2), V2: Workload(2, 0)}),
        KEEP,
        {"retry": V2},
        changes={
            "phase": Phase.PROGRESSING,
            "failure": None,
            "candidate": AGAIN.model_copy(update={"waiting_since": NOW, "ready_replicas": 0}),
            "step": step(0),
            "verdicts": [],
            "message": "step 1 of 4, smoke test",
            "handled": {"retry": V2},
        },
        events=(
            normal("Retry", f"revision {V2} starts over at the first step"),
            normal("StepStarted", "version 2: step 1 of 4, smoke test"),
        ),
        wake=0,
    ),
    "retry replaces pods that are beyond hope first": Case(
        held(candidate=candidate(waiting_since=ago(99), ready_replicas=0)),
        seen(workloads={V1: Workload(2, 2), V2: Workload(2, 0, BROKEN)}),
        KEEP,
        {"retry": V2},
        actions=(RemoveRevision(V2),),
        wake=LOOK_AGAIN,
    ),
    "a held candidate whose pods never came wakes nobody": Case(
        held(candidate=candidate(waiting_since=ago(9999), ready_replicas=0)),
        seen(workloads={V1: Workload(2, 2), V2: Workload(2, 0)}),
        KEEP,
    ),
    "a retry from before the failure is spent by it": Case(
        canary(verdicts=[failed(1)]),
        seen(applied=to(10)),
        KEEP,
        {"retry": V2},
        changes={
            "phase": Phase.PAUSED,
            "failure": undoing(at=NOW, held=True),
            "split": Split(stable=V1),
            "step": step(2),
            "verdicts": [],
            "handled": {"retry": V2},
            "message": f"{undoing().message}. The candidate is kept without traffic: annotate "
            f"penstock.dev/retry={V2}/again, penstock.dev/promote={V2} or penstock.dev/abort={V2}",
        },
        events=(warning("MetricFailed", f"version 2 (revision {V2}): {undoing().message}"),),
    ),
    "retry of a candidate that goes well does nothing": Case(
        canary(), seen(applied=to(10)), annotations={"retry": V2}, wake=5
    ),
}

CASES = {**PROMOTE, **SKIP, **ABORT, **RETRY}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_command(case: Case) -> None:
    assert case.answer() == case.expected()


def test_a_smoke_test_of_a_new_try_is_another_one() -> None:
    """The candidate is the same, the moment is not."""
    status = rolling(step(0), candidate=AGAIN)
    answer = Case(
        status, seen(smoke=world.SmokeResult(world.StepId(V2, 0, ago(60)), passed=True, message="yes"))
    ).answer()
    assert answer.actions == (RunSmokeTest(world.StepId(V2, 0, NOW), api.SmokeTestStep()),)
