"""The plan of a rollout: which steps it has, and what routing each one means."""

from collections.abc import Sequence

from penstock.api.v1alpha1 import modeldeployment
from penstock.api.v1alpha1.modeldeployment_status import Split
from penstock.rollout import revision

PROMOTE = "promote"
"""Kind of the state after the last step, in which the candidate takes all traffic."""

SAMPLES_METRIC = "min-samples"
"""Name of the check that a step's minSamples becomes."""


def steps_of(spec: modeldeployment.ModelDeploymentSpec, *, has_stable: bool) -> tuple[modeldeployment.Step, ...]:
    """The steps to take. With no stable revision there is nobody to protect: only smoke tests count."""
    if has_stable:
        return tuple(spec.rollout.steps)
    return tuple(step for step in spec.rollout.steps if step.kind is modeldeployment.StepKind.SMOKE_TEST)


def fingerprint(steps: Sequence[modeldeployment.Step]) -> str:
    """Hash of a plan; a step's index has a meaning only together with it."""
    return revision.digest([revision.words(step) for step in steps])


def kind_at(steps: Sequence[modeldeployment.Step], index: int) -> str:
    """The kind of a step, or `promote` after the last."""
    return steps[index].kind.value if index < len(steps) else PROMOTE


def split_at(steps: Sequence[modeldeployment.Step], index: int, stable: str | None, candidate: str) -> Split:
    """The routing of a step: its own, or that of the last step before it that moved traffic."""
    if index >= len(steps):
        return Split(stable=stable, candidate=candidate, weight=100)
    for step in reversed(steps[: index + 1]):
        if step.canary is not None:
            return Split(stable=stable, candidate=candidate, weight=step.canary.weight)
        if step.shadow is not None:
            return Split(stable=stable, candidate=candidate, mirror=step.shadow.percent)
    return Split(stable=stable)


def hold_seconds(step: modeldeployment.Step) -> int | None:
    """How long a step lasts at least; None for a pause that only a person ends."""
    if step.pause is not None:
        return step.pause.hold_seconds
    if step.canary is not None:
        return step.canary.hold_seconds
    if step.shadow is not None:
        return step.shadow.hold_seconds
    return 0


def metrics_of(step: modeldeployment.Step, analysis: modeldeployment.Analysis) -> tuple[modeldeployment.Metric, ...]:
    """The checks of a step: the spec's, and its own minSamples as one more."""
    min_samples = step.canary.min_samples if step.canary else step.shadow.min_samples if step.shadow else 0
    if not min_samples:
        return tuple(analysis.metrics)
    count = modeldeployment.Metric(
        name=SAMPLES_METRIC,
        type=modeldeployment.MetricType.ERROR_RATE,
        max=1.0,
        window_seconds=86400,
        min_samples=min_samples,
    )
    return (*analysis.metrics, count)


def describe(steps: Sequence[modeldeployment.Step], index: int) -> str:
    """A step for people: "step 2 of 4, canary 10 %"."""
    if index >= len(steps):
        return "taking all traffic"
    step = steps[index]
    detail = ""
    if step.canary is not None:
        detail = f" {step.canary.weight} %"
    elif step.shadow is not None:
        detail = f" {step.shadow.percent} %"
    name = {"smokeTest": "smoke test"}.get(step.kind.value, step.kind.value)
    return f"step {index + 1} of {len(steps)}, {name}{detail}"
