"""Values for the tables of decisions: a ModelDeployment `fraud` with version 1 stable and version 2 wanted.

A case names what is given and what changes; everything it does not name stays. Conditions have a table of their own
and are left out of the others.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from penstock.analysis import measurement
from penstock.analysis.signature import Column, Scalar, Signature
from penstock.api.v1alpha1 import modeldeployment as api
from penstock.api.v1alpha1 import modeldeployment_status as told
from penstock.api.v1alpha1.modeldeployment_status import Outcome, Phase, Split
from penstock.rollout import decide, plan, revision, world
from penstock.rollout.world import EventType, Workload

NOW = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
V1, V2, V3 = "1111111111", "2222222222", "3333333333"

SMOKE = api.Step(smoke_test=api.SmokeTestStep())
SHADOW = api.Step(shadow=api.ShadowStep(percent=100, hold_seconds=60))
CANARY = api.Step(canary=api.CanaryStep(weight=10, hold_seconds=60))
HALF = api.Step(canary=api.CanaryStep(weight=50, hold_seconds=60))
PAUSE = api.Step(pause=api.PauseStep())
BREATH = api.Step(pause=api.PauseStep(hold_seconds=60))
ERRORS = api.Metric(name="errors", type=api.MetricType.ERROR_RATE, max=0.05, min_samples=20)

SAME = Signature(inputs=(Column("amount", Scalar("double")),), outputs=(Column("score", Scalar("double")),))
LOOK_AGAIN = decide.LOOK_AGAIN_SECONDS


def ago(seconds: float) -> datetime.datetime:
    return NOW - datetime.timedelta(seconds=seconds)


def made(name: str) -> revision.Revision:
    return revision.Revision(
        name=name,
        model="fraud",
        version=int(name[0]),
        tracking_uri="http://mlflow:5000",
        credentials_secret=None,
        image="runtime:1",
        image_pull_policy="IfNotPresent",
        server={},
    )


def spec(*steps: api.Step, **parts: Mapping[str, Any]) -> api.ModelDeploymentSpec:
    """Two pods, these steps (or smoke test, shadow, 10 %, 50 %), one metric every 10 s; `rollout={…}` changes a part."""
    rollout = {
        "steps": list(steps or (SMOKE, SHADOW, CANARY, HALF)),
        "analysis": api.Analysis(metrics=[ERRORS]),
        **parts.get("rollout", {}),
    }
    return api.ModelDeploymentSpec(
        model=api.ModelRef(name="fraud", alias="champion"),
        server=api.Server(**{"replicas": 2, **parts.get("server", {})}),
        route=api.Route(**parts.get("route", {})),
        rollout=api.Rollout(**rollout),
    )


def serving(**changes: Any) -> told.ModelDeploymentStatus:
    """Version 1 serves and nothing else happens."""
    status = told.ModelDeploymentStatus(
        observed_generation=1,
        phase=Phase.HEALTHY,
        message="version 1 serves",
        stable=told.RevisionRef(name=V1, model_version=1, replicas=2, ready_replicas=2),
        split=Split(stable=V1),
    )
    return status.model_copy(update=changes)


def candidate(**changes: Any) -> told.Candidate:
    fields = {"name": V2, "model_version": 2, "replicas": 2, "ready_replicas": 2, "started_at": ago(300)}
    return told.Candidate(**{**fields, **changes})


def step(index: int, *steps: api.Step, since: float | None = None) -> told.StepStatus:
    """In this step of these steps; its split was confirmed so many seconds ago, or is not."""
    steps = steps or (SMOKE, SHADOW, CANARY, HALF)
    return told.StepStatus(
        index=index,
        kind=plan.kind_at(steps, index),
        plan=plan.fingerprint(steps),
        started_at=None if since is None else ago(since),
    )


def to(weight: int = 0, mirror: int = 0) -> Split:
    return Split(stable=V1, candidate=V2, weight=weight, mirror=mirror)


def rolling(at: told.StepStatus | None = None, **changes: Any) -> told.ModelDeploymentStatus:
    """Version 2 is being rolled out."""
    fields = {"phase": Phase.PROGRESSING, "candidate": candidate(), "step": at, **changes}
    return serving(**fields)


def canary(**changes: Any) -> told.ModelDeploymentStatus:
    """Version 2 has been getting 10 % for 30 s, and its errors were fine 5 s ago."""
    fields = {"message": CANARY_RUNS, "split": to(10), "verdicts": [passed(5)], **changes}
    return rolling(step(2, since=30), **fields)


CANARY_RUNS = "step 3 of 4, canary 10 % until 12:00:30 UTC"


def passed(seconds_ago: float, **changes: Any) -> told.MetricStatus:
    fields = {
        "name": "errors",
        "verdict": told.Verdict.PASS,
        "message": "errors: 1 of 100 requests failed (1 %), within the limit of 5 %",
        "value": 0.01,
        "samples": 100,
        "recent": [0.01],
        "measured_at": ago(seconds_ago),
    }
    return told.MetricStatus(**{**fields, **changes})


FAILED = "errors: 20 of 100 requests failed (20 %), above the limit of 5 %"


def failed(seconds_ago: float) -> told.MetricStatus:
    return passed(seconds_ago, verdict=told.Verdict.FAIL, message=FAILED, value=0.2, recent=[0.01, 0.2], failures=1)


def undoing(**changes: Any) -> told.Failure:
    fields = {"reason": "MetricFailed", "message": FAILED, "outcome": Outcome.ROLLED_BACK, "at": ago(1)}
    return told.Failure(**{**fields, **changes})


def entry(outcome: Outcome, reason: str, message: str, name: str = V2, **changes: Any) -> told.HistoryEntry:
    fields = {"started_at": ago(300), "ended_at": NOW, **changes}
    return told.HistoryEntry(
        revision=name, model_version=int(name[0]), outcome=outcome, reason=reason, message=message, **fields
    )


def rejected(
    message: str = f"version 2 was undone: {FAILED}", of: api.ModelDeploymentSpec | None = None
) -> told.Rejected:
    return told.Rejected(
        revision=V2, fingerprint=revision.fingerprint(of or spec()), reason="MetricFailed", message=message
    )


def step_id(status: told.ModelDeploymentStatus) -> world.StepId:
    assert status.candidate is not None
    assert status.step is not None
    return world.StepId(status.candidate.name, status.step.index, status.step.started_at)


def measured(answer: measurement.Measurement, status: told.ModelDeploymentStatus | None = None) -> world.Measured:
    return world.Measured(step_id(status or canary()), "errors", answer, NOW)


BOTH = {V1: Workload(2, 2), V2: Workload(2, 2)}


def seen(wanted: str | world.Unresolved = V2, **changes: Any) -> world.Seen:
    """Both revisions run with all pods ready, the data plane has confirmed that stable gets everything.

    The signatures of stable and of the wanted version have been read and are the same.
    """
    fields = {"workloads": BOTH, "applied": Split(stable=V1), "last_measured": {"errors": ago(5)}, **changes}
    if isinstance(wanted, str):
        fields.setdefault("signatures", world.Signatures(V1, wanted, SAME, SAME, at=ago(1)))
    return world.Seen(wanted=made(wanted) if isinstance(wanted, str) else wanted, **fields)


def normal(reason: str, message: str) -> world.Event:
    return world.Event(EventType.NORMAL, reason, message)


def warning(reason: str, message: str) -> world.Event:
    return world.Event(EventType.WARNING, reason, message)


@dataclass(frozen=True)
class Case:
    """Given this, a pass changes that."""

    status: told.ModelDeploymentStatus
    seen: world.Seen
    spec: api.ModelDeploymentSpec = field(default_factory=spec)
    annotations: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    actions: tuple[world.Action, ...] = ()
    events: tuple[world.Event, ...] = ()
    wake: float | None = None
    """Seconds from now."""

    def answer(self) -> world.Decision:
        """What the pass decides, without the conditions."""
        decision = decide.decide(self.mdep(), self.seen, NOW)
        return replace(decision, status=decision.status.model_copy(update={"conditions": []}))

    def expected(self) -> world.Decision:
        """What it should."""
        return world.Decision(
            status=self.status.model_copy(update=dict(self.changes)),
            actions=self.actions,
            events=self.events,
            wake_at=None if self.wake is None else NOW + datetime.timedelta(seconds=self.wake),
        )

    def mdep(self) -> told.ModelDeployment:
        annotations = {f"penstock.dev/{verb}": value for verb, value in self.annotations.items()}
        metadata = told.Metadata(name="fraud", namespace="ml", uid="u", generation=1, annotations=annotations)
        return told.ModelDeployment(metadata=metadata, spec=self.spec, status=self.status)
