"""The plan of a rollout: which steps it has, and what routing each one means."""

from collections.abc import Sequence

from penstock.api.v1alpha1 import modeldeployment, modeldeployment_status
from penstock.api.v1alpha1.modeldeployment_status import Split
from penstock.rollout import revision

PROMOTE = "promote"
"""Kind of the state after the last step, in which the candidate takes all traffic."""

WATCH = "watch"
"""The same where the candidate is watched for a while before it is promoted."""

SAMPLES_METRIC = "min-samples"
"""Name of the check that a step's minSamples becomes."""


def steps_of(spec: modeldeployment.ModelDeploymentSpec, *, has_stable: bool) -> tuple[modeldeployment.Step, ...]:
    """The steps to take. With no stable revision there is nobody to protect: only smoke tests count."""
    if has_stable:
        return tuple(spec.rollout.steps)
    return tuple(step for step in spec.rollout.steps if step.kind is modeldeployment.StepKind.SMOKE_TEST)


def watch_seconds(
    spec: modeldeployment.ModelDeploymentSpec, candidate: modeldeployment_status.Candidate, *, has_stable: bool
) -> int:
    """How long a candidate that takes all traffic is watched: not at all if nobody could take over from it, or if a
    person wanted it promoted as it is.
    """
    return spec.rollout.watch_seconds if has_stable and not candidate.fast else 0


def fingerprint(steps: Sequence[modeldeployment.Step]) -> str:
    """Hash of a plan; a step's index has a meaning only together with it."""
    return revision.digest([revision.words(step) for step in steps])


def kind_at(steps: Sequence[modeldeployment.Step], index: int, *, watched: bool = False) -> str:
    """The kind of a step; after the last `watch` or, if there is none, `promote`."""
    if index < len(steps):
        return steps[index].kind.value
    return WATCH if watched else PROMOTE


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


def metrics_of(
    steps: Sequence[modeldeployment.Step], index: int, rollout: modeldeployment.Rollout
) -> tuple[modeldeployment.Metric, ...]:
    """The checks of a step: those of the spec that can be made in it, and its own minSamples as one more.

    A comparison starts anew with each step, so its allowance for false alarms is shared out among the steps that have
    traffic: all of them together undo a version that is not worse no more often than `confidence` says.
    """
    chances = sum(_has_traffic(steps, number) for number in range(len(steps))) + bool(rollout.watch_seconds)
    metrics = tuple(
        _one_of(chances, metric) if chances > 1 and metric.is_tested else metric
        for metric in rollout.analysis.metrics
        if _can_be_made(metric, steps, index)
    )
    step = steps[index] if index < len(steps) else None
    exposing = (step.canary or step.shadow) if step else None
    if exposing is None or not exposing.min_samples:
        return metrics
    count = modeldeployment.Metric(
        name=SAMPLES_METRIC,
        type=modeldeployment.MetricType.ERROR_RATE,
        max=1.0,
        window_seconds=86400,
        min_samples=exposing.min_samples,
    )
    return (*metrics, count)


def _one_of(chances: int, metric: modeldeployment.Metric) -> modeldeployment.Metric:
    """The metric with its part of the allowance for false alarms (Bonferroni)."""
    return metric.model_copy(update={"confidence": 1 - (1 - metric.confidence) / chances})


def _has_traffic(steps: Sequence[modeldeployment.Step], index: int) -> bool:
    """Whether metrics judge a step."""
    asked = steps[index].kind is modeldeployment.StepKind.SMOKE_TEST
    return not asked and split_at(steps, index, "stable", "candidate").candidate is not None


def _can_be_made(metric: modeldeployment.Metric, steps: Sequence[modeldeployment.Step], index: int) -> bool:
    """Whether the traffic of a step is of the kind that a metric needs.

    Disagreement needs the same requests answered twice, drift both versions answering at the same time.
    """
    split = split_at(steps, index, "stable", "candidate")
    match metric.type:
        case modeldeployment.MetricType.SHADOW_DISAGREEMENT:
            return split.mirror > 0
        case modeldeployment.MetricType.PREDICTION_DRIFT:
            return split.weight < 100
        case _:
            return True


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
