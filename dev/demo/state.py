"""What the demo knows at one moment: a value that the views draw, and nothing else does.

`Scene` is the part that the story changes, `State` is a scene with what the cluster and the callers say at that moment.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.api.v1alpha1 import modeldeployment
from penstock.api.v1alpha1.modeldeployment_status import MetricStatus, ModelDeployment, ModelDeploymentStatus

from dev.traffic import report


@dataclass(frozen=True)
class Scene:
    """Where the story is."""

    number: int = 0
    title: str = ""
    text: str = ""


@dataclass(frozen=True)
class Told:
    """An event that the operator wrote."""

    uid: str
    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True)
class Calls:
    """What the callers see."""

    sent: int = 0
    failed: Mapping[int, int] = field(default_factory=dict)
    """Requests that the model failed, by version."""
    lost: int = 0
    rates: tuple[report.Rate, ...] = ()


@dataclass(frozen=True)
class State:
    """Everything at one moment."""

    elapsed: float = 0.0
    scene: Scene = Scene()
    spec: modeldeployment.ModelDeploymentSpec | None = None
    status: ModelDeploymentStatus = field(default_factory=ModelDeploymentStatus)
    events: tuple[Told, ...] = ()
    calls: Calls | None = None


@dataclass(frozen=True)
class Share:
    """What the split gives to a version."""

    version: int
    part: str
    percent: int
    mirror: int = 0


@dataclass(frozen=True)
class StepLine:
    """One step of the rollout."""

    title: str
    mark: str
    """done, now or next."""


def read(item: Mapping[str, Any]) -> ModelDeployment:
    """A ModelDeployment from the API server's JSON."""
    return ModelDeployment.model_validate(item)


def tell(item: Mapping[str, Any]) -> Told:
    """An event from the API server's JSON."""
    return Told(
        uid=item["metadata"]["uid"],
        reason=item.get("reason") or "",
        message=item.get("message") or item.get("note") or "",
        warning=item.get("type") == "Warning",
    )


def with_event(events: tuple[Told, ...], told: Told) -> tuple[Told, ...]:
    """The events with one more, unless it is known: a watch that starts again tells everything once more."""
    return events if any(known.uid == told.uid for known in events) else (*events, told)


def shares(status: ModelDeploymentStatus) -> tuple[Share, ...]:
    """Who gets how much, stable first."""
    split, found = status.split, []
    if status.stable is not None:
        percent = 100 - split.weight if split.candidate is not None or split.stable is not None else 0
        found.append(Share(status.stable.model_version, "stable", percent))
    if status.candidate is not None:
        active = split.candidate == status.candidate.name
        weight, mirror = (split.weight, split.mirror) if active else (0, 0)
        found.append(Share(status.candidate.model_version, "candidate", weight, mirror))
    return tuple(found)


def steps(spec: modeldeployment.ModelDeploymentSpec, status: ModelDeploymentStatus) -> tuple[StepLine, ...]:
    """The steps of a rollout in progress; the first version has none to protect and only answers its smoke test."""
    has_stable = status.stable is not None
    planned = [step for step in spec.rollout.steps if has_stable or step.smoke_test is not None]
    now = status.step.index if status.step is not None else -1
    return tuple(
        StepLine(_title(step), "done" if index < now else "now" if index == now else "next")
        for index, step in enumerate(planned)
    )


def _title(step: modeldeployment.Step) -> str:
    if step.canary is not None:
        return f"canary {step.canary.weight} %"
    if step.shadow is not None:
        return f"shadow {step.shadow.percent} %"
    return "smoke test" if step.smoke_test is not None else "pause"


def calls(summed: report.Report, rates: Sequence[report.Rate]) -> Calls:
    """The callers' half of a state."""
    failed: dict[int, int] = {}
    for tally in summed.tallies.values():
        if tally.failed and tally.version is not None:
            failed[tally.version] = failed.get(tally.version, 0) + tally.failed
    return Calls(sent=summed.sent, failed=failed, lost=len(summed.lost), rates=tuple(rates))


def latest(verdicts: Iterable[MetricStatus]) -> tuple[str, ...]:
    """The verdicts of this step, one line each."""
    return tuple(f"{verdict.verdict.value:<12} {verdict.message}" for verdict in verdicts)
