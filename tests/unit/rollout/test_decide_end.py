"""How a rollout ends badly: what stops it, traffic first, then the pods; and what keeps the candidate's traffic."""

from typing import Any

import pytest
from penstock.analysis import measurement
from penstock.api.v1alpha1 import modeldeployment as api
from penstock.api.v1alpha1.modeldeployment_status import Outcome, Phase, Retired, Split
from penstock.rollout import world
from penstock.rollout.world import PodFailure, PruneRecords, TagModelVersion, Workload

from tests.unit.rollout.cases import (
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
    failed,
    measured,
    normal,
    rejected,
    rolling,
    seen,
    spec,
    step,
    to,
    undoing,
    warning,
)

BACK = Split(stable=V1)
TRY_AGAIN = f"To try it again, annotate penstock.dev/retry={V2}, or move the alias away and back"
BROKEN = PodFailure("ModelNotLoadable", "the model needs torch", fatal=True)


def stopped(reason: str, message: str, outcome: Outcome, **changes: Any) -> dict[str, Any]:
    """The undo begins and waits for the data plane."""
    return {
        "changes": {
            "phase": Phase.ROLLING_BACK,
            "failure": undoing(reason=reason, message=message, outcome=outcome, at=NOW),
            "split": BACK,
            "step": step(2),
            "verdicts": [],
            "message": f"{message}. Sending all traffic back to stable",
            **changes,
        },
        "wake": LOOK_AGAIN,
    }


LATE = "0 of 2 pods are ready after 600 s{}; look at the pods or raise rollout.progressDeadlineSeconds"

STOPS = {
    "a metric that fails": Case(
        canary(),
        seen(applied=to(10), measured=(measured(measurement.Value(0.2, 100)),)),
        **stopped("MetricFailed", FAILED, Outcome.ROLLED_BACK),
        events=(warning("MetricFailed", f"version 2 (revision {V2}): {FAILED}"),),
    ),
    "pods beyond hope": Case(
        canary(),
        seen(applied=to(10), workloads={V1: Workload(2, 2), V2: Workload(2, 1, BROKEN)}),
        **stopped(
            "ModelNotLoadable",
            "the model needs torch",
            Outcome.ROLLED_BACK,
            candidate=candidate(ready_replicas=1),
        ),
        events=(warning("ModelNotLoadable", f"version 2 (revision {V2}): the model needs torch"),),
    ),
    "pods that went and did not come back in time": Case(
        canary(candidate=candidate(waiting_since=ago(600))),
        seen(applied=to(10), workloads={V1: Workload(2, 2), V2: Workload(2, 0)}),
        **{
            **stopped(
                "ProgressDeadlineExceeded",
                LATE.format(""),
                Outcome.ROLLED_BACK,
                candidate=candidate(waiting_since=ago(600), ready_replicas=0),
            ),
            "wake": 0,
        },
        events=(warning("ProgressDeadlineExceeded", f"version 2 (revision {V2}): {LATE.format('')}"),),
    ),
    "another version being wanted": Case(
        canary(),
        seen(V3, applied=to(10)),
        **stopped("Superseded", f"version 3 (revision {V3}) is wanted instead", Outcome.SUPERSEDED),
        events=(normal("Superseded", f"version 2 (revision {V2}): version 3 (revision {V3}) is wanted instead"),),
    ),
    "stable being wanted again": Case(
        canary(),
        seen(V1, applied=to(10)),
        **stopped("Superseded", "version 1, which is stable, is wanted again", Outcome.SUPERSEDED),
        events=(normal("Superseded", f"version 2 (revision {V2}): version 1, which is stable, is wanted again"),),
    ),
    "a smoke test that fails under traffic": Case(
        canary(step=step(0, since=5), split=to(10)),
        seen(
            applied=to(10),
            smoke=world.SmokeResult(world.StepId(V2, 0, ago(5)), passed=False, message="it answered 500"),
        ),
        **stopped("SmokeTestFailed", "the smoke test failed: it answered 500", Outcome.ROLLED_BACK, step=step(0)),
        events=(warning("SmokeTestFailed", f"version 2 (revision {V2}): the smoke test failed: it answered 500"),),
    ),
}

DRY = api.Metric(name="errors", type=api.MetricType.ERROR_RATE, max=0.05, dry_run=True)
TOLERANT = api.Metric(name="errors", type=api.MetricType.ERROR_RATE, max=0.05, failure_limit=1)


def judged_by(metric: api.Metric) -> api.ModelDeploymentSpec:
    return spec(rollout={"analysis": api.Analysis(metrics=[metric])})


NO_STOPS = {
    "a metric in dry run that fails": Case(
        canary(),
        seen(applied=to(10), measured=(measured(measurement.Value(0.2, 100)),)),
        judged_by(DRY),
        changes={"verdicts": [failed(0)]},
        events=(warning("MetricFailed", f"{FAILED} (dry run: it decides nothing)"),),
        wake=5,
    ),
    "a failure that is tolerated": Case(
        canary(),
        seen(applied=to(10), measured=(measured(measurement.Value(0.2, 100)),)),
        judged_by(TOLERANT),
        changes={"verdicts": [failed(0)]},
        events=(warning("MetricFailed", FAILED),),
        wake=5,
    ),
    "a metric source that is down": Case(
        canary(),
        seen(applied=to(10), measured=(measured(measurement.Unavailable("503")),)),
        changes={
            "verdicts": [
                failed(0).model_copy(
                    update={
                        "verdict": "Error",
                        "message": "errors: could not be measured: 503",
                        "value": None,
                        "samples": None,
                        "recent": [0.01],
                        "failures": 0,
                        "errors": 1,
                    }
                )
            ]
        },
        events=(warning("MetricUnavailable", "errors: could not be measured: 503"),),
        wake=5,
    ),
    "pods that have a chance": Case(
        canary(),
        seen(
            applied=to(10),
            workloads={V1: Workload(2, 2), V2: Workload(2, 2, PodFailure("DownloadFailing", "not yet"))},
        ),
        wake=5,
    ),
    "a registry that is down": Case(
        canary(),
        seen(world.Unresolved("RegistryUnavailable", "no answer"), applied=to(10)),
        events=(warning("RegistryUnavailable", "no answer"),),
        wake=5,
    ),
}

SENT_BACK = f"{FAILED}. Sending all traffic back to stable"
UNDONE = entry(Outcome.ROLLED_BACK, "MetricFailed", f"{FAILED}. {TRY_AGAIN}")
ENDED: dict[str, Any] = {
    "candidate": None,
    "step": None,
    "failure": None,
    "retired": [Retired(name=V2, remove_at=ago(-30))],
}


def backing(**changes: Any) -> Any:
    """The undo waits for the data plane."""
    fields = {"phase": Phase.ROLLING_BACK, "failure": undoing(), "split": BACK, "message": SENT_BACK, **changes}
    return rolling(step(2), **fields)


UNDO = {
    "an undo waits until the data plane confirms that stable gets everything": Case(
        backing(), seen(applied=None), wake=LOOK_AGAIN
    ),
    "an undo does not look at what it finds on its way": Case(
        backing(), seen(V3, applied=to(10), workloads={V1: Workload(2, 2), V2: Workload(2, 2, BROKEN)}), wake=LOOK_AGAIN
    ),
    "a confirmed undo retires the candidate and remembers why": Case(
        backing(),
        seen(),
        changes={
            **ENDED,
            "phase": Phase.DEGRADED,
            "message": f"version 2 was undone: {UNDONE.message}",
            "rejected": rejected(f"version 2 was undone: {UNDONE.message}"),
            "history": [UNDONE],
        },
        actions=(PruneRecords(frozenset({V1, V2})), TagModelVersion(UNDONE)),
        events=(warning("RolledBack", f"version 2: {FAILED}; version 1 serves"),),
        wake=0,
    ),
    "a superseded candidate may come back, and the next one is about to start": Case(
        backing(failure=undoing(reason="Superseded", message="version 3 is wanted", outcome=Outcome.SUPERSEDED)),
        seen(V3),
        changes={
            **ENDED,
            "phase": Phase.PROGRESSING,
            "message": "version 3 is about to be rolled out",
            "history": [entry(Outcome.SUPERSEDED, "Superseded", "version 3 is wanted")],
        },
        actions=(
            PruneRecords(frozenset({V1, V2})),
            TagModelVersion(entry(Outcome.SUPERSEDED, "Superseded", "version 3 is wanted")),
        ),
        events=(normal("Superseded", "version 2: version 3 is wanted; version 1 serves"),),
        wake=0,
    ),
    "a candidate that saw no traffic is rejected in one pass": Case(
        rolling(step(0), candidate=candidate(waiting_since=ago(9), ready_replicas=0)),
        seen(workloads={V1: Workload(2, 2), V2: Workload(2, 0, BROKEN)}),
        changes={
            **ENDED,
            "phase": Phase.DEGRADED,
            "message": f"version 2 was undone: the model needs torch. {TRY_AGAIN}",
            "rejected": rejected(f"version 2 was undone: the model needs torch. {TRY_AGAIN}").model_copy(
                update={"reason": "ModelNotLoadable"}
            ),
            "history": [entry(Outcome.REJECTED, "ModelNotLoadable", f"the model needs torch. {TRY_AGAIN}")],
        },
        actions=(
            PruneRecords(frozenset({V1, V2})),
            TagModelVersion(entry(Outcome.REJECTED, "ModelNotLoadable", f"the model needs torch. {TRY_AGAIN}")),
        ),
        events=(
            warning("ModelNotLoadable", f"version 2 (revision {V2}): the model needs torch"),
            warning("Rejected", "version 2: the model needs torch; version 1 serves"),
        ),
        wake=0,
    ),
    "the first version ever that fails leaves nobody serving": Case(
        rolling(
            step(0),
            stable=None,
            split=Split(),
            phase=Phase.INITIALIZING,
            candidate=candidate(waiting_since=ago(9), ready_replicas=0),
        ),
        seen(workloads={V2: Workload(2, 0, BROKEN)}, applied=Split()),
        changes={
            **ENDED,
            "phase": Phase.DEGRADED,
            "message": f"version 2 was undone: the model needs torch. {TRY_AGAIN}",
            "rejected": rejected(f"version 2 was undone: the model needs torch. {TRY_AGAIN}").model_copy(
                update={"reason": "ModelNotLoadable"}
            ),
            "history": [entry(Outcome.REJECTED, "ModelNotLoadable", f"the model needs torch. {TRY_AGAIN}")],
        },
        actions=(
            PruneRecords(frozenset({V2})),
            TagModelVersion(entry(Outcome.REJECTED, "ModelNotLoadable", f"the model needs torch. {TRY_AGAIN}")),
        ),
        events=(
            warning("ModelNotLoadable", f"version 2 (revision {V2}): the model needs torch"),
            warning("Rejected", "version 2: the model needs torch; no version serves"),
        ),
        wake=0,
    ),
    "a retry that acted already is suggested in another way": Case(
        backing(handled={"retry": V2}),
        seen(),
        changes={
            **ENDED,
            "phase": Phase.DEGRADED,
            "message": f"version 2 was undone: {UNDONE.message}".replace(f"={V2},", f"={V2}/again,"),
            "rejected": rejected(f"version 2 was undone: {UNDONE.message}".replace(f"={V2},", f"={V2}/again,")),
            "history": [UNDONE.model_copy(update={"message": UNDONE.message.replace(f"={V2},", f"={V2}/again,")})],
        },
        actions=(
            PruneRecords(frozenset({V1, V2})),
            TagModelVersion(UNDONE.model_copy(update={"message": UNDONE.message.replace(f"={V2},", f"={V2}/again,")})),
        ),
        events=(warning("RolledBack", f"version 2: {FAILED}; version 1 serves"),),
        wake=0,
    ),
    "the history keeps as many entries as it may": Case(
        backing(history=[entry(Outcome.PROMOTED, "Promoted", "fine", name=V1, tagged=True)] * 3),
        seen(),
        spec(rollout={"history_limit": 2}),
        changes={
            **ENDED,
            "phase": Phase.DEGRADED,
            "message": f"version 2 was undone: {UNDONE.message}",
            "rejected": rejected(f"version 2 was undone: {UNDONE.message}"),
            "history": [UNDONE, entry(Outcome.PROMOTED, "Promoted", "fine", name=V1, tagged=True)],
        },
        actions=(PruneRecords(frozenset({V1, V2})), TagModelVersion(UNDONE)),
        events=(warning("RolledBack", f"version 2: {FAILED}; version 1 serves"),),
        wake=0,
    ),
}

LONELY = {V1: Workload(2, 0), V2: Workload(2, 2)}
NOBODY = {V1: Workload(2, 0), V2: Workload(2, 0)}
UNREADY = rolling().stable.model_copy(update={"ready_replicas": 0})  # type: ignore[union-attr]
ALONE = f"{FAILED}. Stable has no ready pod, so the candidate keeps its traffic until it has"

ONLY = {
    "a failed candidate keeps its traffic while stable has no ready pod": Case(
        canary(failure=undoing(), phase=Phase.ROLLING_BACK, message=ALONE),
        seen(applied=to(10), workloads=LONELY),
        changes={"stable": UNREADY},
        wake=LOOK_AGAIN,
    ),
    "a failed candidate that only got copies has no traffic to keep": Case(
        rolling(step(1), failure=undoing(), split=to(mirror=100), phase=Phase.ROLLING_BACK),
        seen(applied=to(mirror=100), workloads=LONELY),
        changes={"stable": UNREADY, "split": BACK, "message": SENT_BACK},
        wake=LOOK_AGAIN,
    ),
    "with nobody ready the traffic goes back to stable": Case(
        canary(failure=undoing(), phase=Phase.ROLLING_BACK),
        seen(applied=to(10), workloads=NOBODY),
        changes={
            "stable": UNREADY,
            "candidate": candidate(ready_replicas=0, waiting_since=NOW),
            "split": BACK,
            "step": step(2),
            "verdicts": [],
            "message": SENT_BACK,
        },
        wake=LOOK_AGAIN,
    ),
    "as soon as stable has a ready pod the traffic goes back": Case(
        canary(failure=undoing(), phase=Phase.ROLLING_BACK, message=ALONE, stable=UNREADY),
        seen(applied=to(10), workloads={V1: Workload(2, 1), V2: Workload(2, 2)}),
        changes={
            "stable": UNREADY.model_copy(update={"ready_replicas": 1}),
            "split": BACK,
            "step": step(2),
            "verdicts": [],
            "message": SENT_BACK,
        },
        wake=LOOK_AGAIN,
    ),
    "a candidate that is alone and good goes on": Case(
        canary(), seen(applied=to(10), workloads=LONELY), changes={"stable": UNREADY}, wake=5
    ),
}

KEEP = spec(rollout={"on_failure": api.OnFailure.PAUSE})
HELD = (
    f"{FAILED}. The candidate is kept without traffic: annotate penstock.dev/retry={V2}, "
    f"penstock.dev/promote={V2} or penstock.dev/abort={V2}"
)


def held(**changes: Any) -> Any:
    fields = {"phase": Phase.PAUSED, "failure": undoing(held=True), "message": HELD, **changes}
    return rolling(step(2), **fields)


PAUSE = {
    "onFailure Pause takes the traffic away and keeps the candidate": Case(
        canary(verdicts=[failed(1)]),
        seen(applied=to(10)),
        KEEP,
        changes={
            "phase": Phase.PAUSED,
            "failure": undoing(at=NOW, held=True),
            "split": BACK,
            "step": step(2),
            "verdicts": [],
            "message": HELD,
        },
        events=(warning("MetricFailed", f"version 2 (revision {V2}): {FAILED}"),),
    ),
    "a held candidate stays, whatever else goes wrong with it": Case(
        held(), seen(workloads={V1: Workload(2, 2), V2: Workload(2, 2, BROKEN)}), KEEP
    ),
    "a held candidate gives way to another version": Case(
        held(),
        seen(V3, applied=None),
        KEEP,
        changes={
            "phase": Phase.ROLLING_BACK,
            "failure": undoing(),
            "message": SENT_BACK,
        },
        events=(normal("Superseded", f"version 2 (revision {V2}): version 3 (revision {V3}) is wanted instead"),),
        wake=LOOK_AGAIN,
    ),
    "the first version ever is not held, there is nobody to protect": Case(
        rolling(step(0), stable=None, split=Split(), phase=Phase.INITIALIZING),
        seen(workloads={V2: Workload(2, 2, BROKEN)}, applied=None),
        KEEP,
        changes={
            "phase": Phase.ROLLING_BACK,
            "failure": undoing(
                reason="ModelNotLoadable", message="the model needs torch", outcome=Outcome.REJECTED, at=NOW
            ),
            "message": "the model needs torch. Sending all traffic back to stable",
        },
        events=(warning("ModelNotLoadable", f"version 2 (revision {V2}): the model needs torch"),),
        wake=LOOK_AGAIN,
    ),
}

CASES = {
    **{f"a rollout is stopped by {name}": case for name, case in STOPS.items()},
    **{f"a rollout is not stopped by {name}": case for name, case in NO_STOPS.items()},
    **UNDO,
    **ONLY,
    **PAUSE,
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_end_of_a_rollout(case: Case) -> None:
    assert case.answer() == case.expected()
