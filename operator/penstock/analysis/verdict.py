"""From measurements to verdicts, and from verdicts to what they mean for the step. Pure: `now` is an argument.

`assess` says what one measurement means for one metric, `judge` what all metrics together mean for the step. A metric
in dry run is assessed like any other and judged never. Only a finite number that rests on enough requests is compared
with a limit; whatever else comes in stays what it is: no answer yet, no answer, or no number.
"""

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from penstock.analysis import measurement, sentences
from penstock.api.v1alpha1 import modeldeployment
from penstock.api.v1alpha1.modeldeployment_status import MetricStatus, Verdict


@dataclass(frozen=True, slots=True)
class Passed:
    """Every metric that counts has passed."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A metric failed more often than it may: undo."""

    metric: str
    message: str


@dataclass(frozen=True, slots=True)
class Held:
    """Nobody can tell whether the candidate is good: neither go on nor undo."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing is wrong, and not every metric has passed yet."""

    message: str


Judgement = Passed | Failed | Held | Waiting

INCONCLUSIVE = "AnalysisInconclusive"
ERROR = "AnalysisError"


def assess(
    metric: modeldeployment.Metric,
    measured: measurement.Measurement,
    previous: MetricStatus | None,
    now: datetime.datetime,
) -> MetricStatus:
    """The new status of a metric after one measurement; `previous` is its status earlier in the same step, if any.

    Waiting for data and errors leave the row of inconclusive measurements as it is; whatever the source answers ends
    the row of errors.
    """
    match measured:
        case measurement.Value() if not math.isfinite(measured.value):
            counted = _inconclusive(metric, f"the answer is {measured.value}, which is not a finite number")
        case measurement.Value() if measured.samples is not None and measured.samples < metric.min_samples:
            counted = _without_data(metric, measurement.NoData("", measured.samples))
        case measurement.Value():
            counted = _compared(metric, measured)
        case measurement.NoData():
            counted = _without_data(metric, measured)
        case measurement.Ambiguous():
            counted = _inconclusive(metric, measured.message)
        case measurement.Unavailable():
            counted = _Counted(Verdict.ERROR, sentences.unavailable(metric, measured))
        case _:
            assert_never(measured)
    return _with_counters(metric, measured, counted, previous, now)


@dataclass(frozen=True, slots=True)
class _Counted:
    """A verdict, and whether an inconclusive one counts against the limit."""

    verdict: Verdict
    message: str
    counts: bool = True


def _compared(metric: modeldeployment.Metric, measured: measurement.Value) -> _Counted:
    if metric.max is not None and (measured.value > metric.max or (measured.at_least and measured.value >= metric.max)):
        return _Counted(Verdict.FAIL, sentences.above(metric, measured, metric.max))
    if metric.max is not None and measured.at_least:
        return _Counted(Verdict.INCONCLUSIVE, sentences.beyond(metric, measured, metric.max))
    if metric.min is not None and measured.value < metric.min and measured.at_least:
        return _Counted(Verdict.INCONCLUSIVE, sentences.beyond(metric, measured, metric.min))
    if metric.min is not None and measured.value < metric.min:
        return _Counted(Verdict.FAIL, sentences.below(metric, measured, metric.min))
    return _Counted(Verdict.PASS, sentences.within(metric, measured))


def _without_data(metric: modeldeployment.Metric, measured: measurement.NoData) -> _Counted:
    message = sentences.without_data(metric, measured)
    match metric.on_no_data:
        case modeldeployment.OnNoData.WAIT:
            return _Counted(Verdict.INCONCLUSIVE, message, counts=False)
        case modeldeployment.OnNoData.INCONCLUSIVE:
            return _Counted(Verdict.INCONCLUSIVE, message)
        case modeldeployment.OnNoData.FAIL:
            return _Counted(Verdict.FAIL, message)
        case modeldeployment.OnNoData.PASS:
            return _Counted(Verdict.PASS, message)
        case _:
            assert_never(metric.on_no_data)


def _inconclusive(metric: modeldeployment.Metric, why: str) -> _Counted:
    return _Counted(Verdict.INCONCLUSIVE, sentences.named(metric, why))


def _with_counters(
    metric: modeldeployment.Metric,
    measured: measurement.Measurement,
    counted: _Counted,
    previous: MetricStatus | None,
    now: datetime.datetime,
) -> MetricStatus:
    failures, inconclusives, errors = (
        (previous.failures, previous.inconclusives, previous.errors) if previous is not None else (0, 0, 0)
    )
    match counted.verdict:
        case Verdict.PASS:
            inconclusives = 0
        case Verdict.FAIL:
            failures, inconclusives = failures + 1, 0
        case Verdict.INCONCLUSIVE:
            inconclusives += counted.counts
        case Verdict.ERROR:
            pass
        case _:
            assert_never(counted.verdict)
    value = measured.value if isinstance(measured, measurement.Value) and math.isfinite(measured.value) else None
    samples = measured.samples if isinstance(measured, measurement.Value | measurement.NoData) else None
    return MetricStatus(
        name=metric.name,
        verdict=counted.verdict,
        message=counted.message,
        value=value,
        samples=samples,
        measured_at=now,
        failures=failures,
        inconclusives=inconclusives,
        errors=errors + 1 if counted.verdict is Verdict.ERROR else 0,
    )


def judge(metrics: Sequence[modeldeployment.Metric], statuses: Sequence[MetricStatus]) -> Judgement:
    """What the metrics together mean for the step: a failure wins over a hold, a hold over waiting.

    The order of the metrics is irrelevant: of several that fail, the first by name is named and all are told.
    """
    by_name = {status.name: status for status in statuses}
    deciding = sorted((metric for metric in metrics if not metric.dry_run), key=lambda metric: metric.name)
    known = [(metric, by_name[metric.name]) for metric in deciding if metric.name in by_name]
    failed = [(metric, status) for metric, status in known if status.failures > metric.failure_limit]
    if failed:
        return Failed(failed[0][0].name, "; ".join(_failed(metric, status) for metric, status in failed))
    inconclusive = [status for metric, status in known if status.inconclusives > metric.inconclusive_limit]
    if inconclusive:
        return Held(INCONCLUSIVE, _told(inconclusive))
    erroneous = [status for metric, status in known if status.errors > metric.consecutive_error_limit]
    if erroneous:
        return Held(ERROR, _told(erroneous))
    pending = [status for _, status in known if status.verdict is not Verdict.PASS]
    unmeasured = [metric.name for metric in deciding if metric.name not in by_name]
    if not pending and not unmeasured:
        return Passed()
    missing = [f"not measured yet: {', '.join(unmeasured)}"] if unmeasured else []
    return Waiting("; ".join([*(status.message for status in pending), *missing]))


def _failed(metric: modeldeployment.Metric, status: MetricStatus) -> str:
    return sentences.failed(metric, status.message, status.failures, last=status.verdict is Verdict.FAIL)


def _told(statuses: Sequence[MetricStatus]) -> str:
    return "; ".join(status.message for status in statuses)


def is_due(interval_seconds: float, last_measured: datetime.datetime | None, now: datetime.datetime) -> bool:
    """Whether it is time for the next measurement."""
    return next_due(interval_seconds, last_measured, now) <= now


def next_due(
    interval_seconds: float, last_measured: datetime.datetime | None, now: datetime.datetime
) -> datetime.datetime:
    """When the next measurement is to be made, not before `now`.

    A last measurement in the future means that the clock was set back: waiting for it would leave the candidate
    unwatched, so it is due at once.
    """
    if last_measured is None or last_measured > now:
        return now
    return max(now, last_measured + datetime.timedelta(seconds=interval_seconds))
