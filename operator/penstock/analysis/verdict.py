"""From measurements to verdicts, and from verdicts to what they mean for the step. Pure: `now` is an argument.

`assess` says what one measurement means for one metric, `judge` what all metrics together mean for the step. A metric
in dry run is assessed like any other and judged never. Only a finite number that rests on enough requests is compared
with a limit; whatever else comes in stays what it is: no answer yet, no answer, or no number.
"""

import datetime
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import assert_never

from penstock.analysis import comparing, measurement, scores, sentences, text
from penstock.analysis.sequential import outcome
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

RECENT = 10
"""Values that the status remembers of a metric."""

LONGEST_MESSAGE = 1000
"""Characters of a message, that the status of any number of metrics fits into the object."""

LONGEST_JUDGEMENT = 2000
"""Characters about all metrics together: history keeps many of these."""

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
    return _with_counters(metric, _counted(metric, measured), previous, now)


@dataclass(frozen=True, slots=True)
class _Counted:
    """A verdict, whether an inconclusive one counts against the limit, and the numbers to show."""

    verdict: Verdict
    message: str
    counts: bool = True
    numbers: comparing.Numbers = field(default_factory=comparing.Numbers)


def _counted(metric: modeldeployment.Metric, measured: measurement.Measurement) -> _Counted:
    match measured:
        case measurement.Value() if not math.isfinite(measured.value):
            counted = _inconclusive(metric, f"the answer is {measured.value}, which is not a finite number")
            return replace(counted, numbers=comparing.Numbers(samples=measured.samples))
        case measurement.Value() if measured.samples is not None and measured.samples < metric.min_samples:
            counted = _without_data(metric, measurement.NoData("", measured.samples))
            return replace(counted, numbers=comparing.Numbers(value=measured.value, samples=measured.samples))
        case measurement.Value():
            counted = _limited(metric, measured)
            return replace(counted, numbers=comparing.Numbers(value=measured.value, samples=measured.samples))
        case measurement.NoData():
            return replace(_without_data(metric, measured), numbers=comparing.Numbers(samples=measured.samples))
        case measurement.Ambiguous():
            return _inconclusive(metric, measured.message)
        case measurement.Unavailable():
            return _Counted(Verdict.ERROR, sentences.unavailable(metric, measured))
        case measurement.Compared():
            return _both(metric, measured)
        case measurement.Uncompared():
            limited = _counted(metric, measured.plain)
            return limited if limited.verdict is Verdict.FAIL else _counted(metric, measured.problem)
        case scores.Scores():
            return _scored(metric, measured)
        case _:
            assert_never(measured)


def _limited(metric: modeldeployment.Metric, measured: measurement.Value) -> _Counted:
    if metric.max is not None and (measured.value > metric.max or (measured.at_least and measured.value >= metric.max)):
        return _Counted(Verdict.FAIL, sentences.above(metric, measured, metric.max))
    if metric.max is not None and measured.at_least:
        return _Counted(Verdict.INCONCLUSIVE, sentences.beyond(metric, measured, metric.max))
    if metric.min is not None and measured.value < metric.min and measured.at_least:
        return _Counted(Verdict.INCONCLUSIVE, sentences.beyond(metric, measured, metric.min))
    if metric.min is not None and measured.value < metric.min:
        return _Counted(Verdict.FAIL, sentences.below(metric, measured, metric.min))
    return _Counted(Verdict.PASS, sentences.within(metric, measured))


def _both(metric: modeldeployment.Metric, measured: measurement.Compared) -> _Counted:
    """The comparison with stable, and the limit beside it: the worse one of the two counts."""
    compared = _against_stable(metric, measured.evidence)
    if measured.plain is None:
        return compared
    limited = _counted(metric, measured.plain)
    if _WORSE.index(limited.verdict) < _WORSE.index(compared.verdict):
        return replace(limited, numbers=compared.numbers)
    if limited.verdict is compared.verdict:
        message = f"{limited.message}; {compared.message.removeprefix(f'{metric.name}: ')}"
        return replace(compared, message=message, counts=limited.counts or compared.counts)
    return compared


_WORSE = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASS)


def _against_stable(metric: modeldeployment.Metric, evidence: measurement.Evidence) -> _Counted:
    """Worse is established whatever minSamples says; that it is not worse needs as many."""
    try:
        found = comparing.compare(metric, evidence)
    except ValueError as error:
        return _inconclusive(metric, str(error))
    numbers = comparing.numbers(metric, evidence, found)
    match found:
        case outcome.Worse():
            return _Counted(Verdict.FAIL, sentences.named(metric, found.why), numbers=numbers)
        case outcome.Incomparable():
            return replace(_inconclusive(metric, found.why), numbers=numbers)
        case outcome.NotWorse() | outcome.Undecided() if found.candidate < metric.min_samples:
            return replace(_without_data(metric, measurement.NoData("", found.candidate)), numbers=numbers)
        case outcome.Undecided() if not (found.candidate and found.stable):
            message = found.why.removeprefix(f"{metric.name}: ")
            return replace(_without_data(metric, measurement.NoData(message, found.candidate)), numbers=numbers)
        case outcome.NotWorse():
            return _Counted(Verdict.PASS, sentences.named(metric, found.why), numbers=numbers)
        case outcome.Undecided():
            message = sentences.named(metric, found.why) + comparing.advice(metric, evidence)
            return _Counted(Verdict.INCONCLUSIVE, message, counts=found.for_good, numbers=numbers)
        case _:
            assert_never(found)


def _scored(metric: modeldeployment.Metric, measured: scores.Scores) -> _Counted:
    """A score against late ground truth, with stable's beside it."""
    found, stable = scores.value(measured), scores.stable_value(measured)
    if found is None:
        return _counted(metric, measurement.NoData(sentences.unscored(measured)))
    counted = _counted(metric, measurement.Value(found[0], found[1]))
    numbers = replace(
        counted.numbers,
        reference=stable[0] if stable else None,
        reference_samples=stable[1] if stable else None,
        looks=measured.looks,
    )
    return replace(counted, numbers=numbers)


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
    metric: modeldeployment.Metric, counted: _Counted, previous: MetricStatus | None, now: datetime.datetime
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
    return MetricStatus(
        name=metric.name,
        verdict=counted.verdict,
        message=text.cut(counted.message, LONGEST_MESSAGE),
        measured_at=now,
        failures=failures,
        inconclusives=inconclusives,
        errors=errors + 1 if counted.verdict is Verdict.ERROR else 0,
        recent=_recent(previous, counted.numbers.value),
        **{known.name: getattr(counted.numbers, known.name) for known in fields(counted.numbers)},
    )


def _recent(previous: MetricStatus | None, value: float | None) -> list[float]:
    before = previous.recent if previous is not None else []
    return before if value is None else [*before, value][-RECENT:]


def judge(metrics: Sequence[modeldeployment.Metric], statuses: Sequence[MetricStatus]) -> Judgement:
    """What the metrics together mean for the step: a failure wins over a hold, a hold over waiting.

    The order of the metrics is irrelevant: of several that fail, the first by name is named and all are told.
    """
    by_name = {status.name: status for status in statuses}
    deciding = sorted((metric for metric in metrics if not metric.dry_run), key=lambda metric: metric.name)
    known = [(metric, by_name[metric.name]) for metric in deciding if metric.name in by_name]
    failed = [(metric, status) for metric, status in known if status.failures > metric.failure_limit]
    if failed:
        return Failed(failed[0][0].name, _joined(_failed(metric, status) for metric, status in failed))
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
    return Waiting(_joined([*(status.message for status in pending), *missing]))


def _failed(metric: modeldeployment.Metric, status: MetricStatus) -> str:
    return sentences.failed(metric, status.message, status.failures, last=status.verdict is Verdict.FAIL)


def _told(statuses: Sequence[MetricStatus]) -> str:
    return _joined(status.message for status in statuses)


def _joined(messages: Iterable[str]) -> str:
    return text.cut("; ".join(messages), LONGEST_JUDGEMENT)


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
