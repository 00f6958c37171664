"""From the evidence of a comparison to its outcome, and to the numbers that people are shown. Pure."""

import math
from dataclasses import dataclass, field
from typing import assert_never

from penstock.analysis import agreement, drift, histogram, measurement, sentences
from penstock.analysis.sequential import counts, errorrate, margin, mean, outcome, quantile
from penstock.api.v1alpha1 import modeldeployment
from penstock.api.v1alpha1.modeldeployment_status import Disagreement


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a verdict rests on, as far as it is known; the names are those of the status."""

    value: float | None = None
    samples: int | None = None
    reference: float | None = None
    reference_samples: int | None = None
    low: float | None = None
    high: float | None = None
    looks: int = 0
    worst: list[Disagreement] = field(default_factory=list)


def compare(metric: modeldeployment.Metric, evidence: measurement.Evidence) -> outcome.Outcome:
    """The outcome at the metric's confidence. Raises ValueError for evidence that is none."""
    match evidence:
        case counts.State():
            return errorrate.compare(evidence, allowed(metric), metric.confidence, metric.name)
        case quantile.State():
            level = metric.quantile or histogram.DEFAULT_QUANTILE
            label = sentences.quantile_label(level)
            name = metric.name if metric.name == label else f"{metric.name}: {label}"
            return quantile.compare(evidence, level, allowed(metric), metric.confidence, name)
        case mean.State():
            return mean.compare(evidence, margin.Absolute(metric.max_increase or 0.0), metric.confidence, metric.name)
        case agreement.Agreement():
            statistic = metric.statistic or modeldeployment.Statistic.SHARE
            return agreement.compare(evidence, metric.max or 0.0, metric.confidence, metric.name, statistic)
        case drift.Distributions():
            return drift.compare(evidence, metric.max or 0.0, metric.confidence, metric.name)
        case _:
            assert_never(evidence)


def advice(metric: modeldeployment.Metric, evidence: measurement.Evidence) -> str:
    """What to do where more requests may never decide it; empty where they will."""
    is_relative = metric.max_relative_increase is not None
    if is_relative and isinstance(evidence, counts.State) and not evidence.total().stable.errors:
        return ": while stable has no errors, a share of them tells nothing; set maxIncrease instead"
    if metric.is_compared and not allowed(metric).value:
        return ": a version that is exactly as good stays undecided; allow an increase above 0"
    return ""


def allowed(metric: modeldeployment.Metric) -> margin.Margin:
    """How much worse than stable the candidate may be."""
    if metric.max_relative_increase is not None:
        return margin.Relative(metric.max_relative_increase)
    return margin.Absolute(metric.max_increase or 0.0)


def numbers(metric: modeldeployment.Metric, evidence: measurement.Evidence, found: outcome.Outcome) -> Numbers:
    """What to show of it. Where nothing is known, nothing is shown."""
    value, reference = _values(metric, evidence)
    worst = []
    if isinstance(evidence, agreement.Agreement):
        worst = [
            Disagreement(request_id=one.request, stable=one.stable, candidate=one.candidate) for one in evidence.worst
        ]
    if isinstance(found, outcome.Incomparable):
        return Numbers(value=value, reference=reference, worst=worst)
    return Numbers(
        value=value,
        samples=found.candidate,
        reference=reference,
        reference_samples=found.stable,
        low=_known(found.interval.low),
        high=_known(found.interval.high),
        looks=found.looks,
        worst=worst,
    )


def _values(metric: modeldeployment.Metric, evidence: measurement.Evidence) -> tuple[float | None, float | None]:
    """The candidate's value and stable's, as far as they are single numbers."""
    match evidence:
        case counts.State():
            total = evidence.total()
            return _share(total.candidate.errors, total.candidate.total), _share(
                total.stable.errors, total.stable.total
            )
        case mean.State():
            return _known(evidence.candidate.mean), _known(evidence.stable.mean)
        case agreement.Agreement() if metric.statistic is modeldeployment.Statistic.MEAN_ABSOLUTE:
            return _known(evidence.absolute.mean), None
        case agreement.Agreement() if metric.statistic is modeldeployment.Statistic.MEAN_RELATIVE:
            return _known(evidence.relative.mean), None
        case agreement.Agreement():
            return _share(evidence.disagreed, evidence.joined), None
        case quantile.State() | drift.Distributions():
            return None, None
        case _:
            assert_never(evidence)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
