"""Verdicts in words: one sentence each, with the numbers it rests on, that a person can act on. Pure."""

from collections.abc import Callable

from penstock.analysis import histogram, measurement, scores
from penstock.api.v1alpha1 import modeldeployment


def above(metric: modeldeployment.Metric, measured: measurement.Value, limit: float) -> str:
    """A value above `max`."""
    return _compared(metric, measured, "above the limit of", limit)


def below(metric: modeldeployment.Metric, measured: measurement.Value, limit: float) -> str:
    """A value below `min`."""
    return _compared(metric, measured, "below the limit of", limit)


def beyond(metric: modeldeployment.Metric, measured: measurement.Value, limit: float) -> str:
    """A value that is only known to be above something, with a limit above that."""
    sentence = _compared(metric, measured, "which cannot be compared with the limit of", limit)
    return f"{sentence}: set a limit of at most {_renderer(metric)(measured.value, 3)}"


def within(metric: modeldeployment.Metric, measured: measurement.Value) -> str:
    """A value that no limit objects to."""
    if metric.min is not None and metric.max is not None:
        render = _renderer(metric)
        limits = f"{render(metric.min, 3)} and {render(metric.max, 3)}"
        return named(metric, f"{_measured(metric, measured, 3)}, between the limits of {limits}")
    limit = metric.max if metric.max is not None else metric.min
    if limit is None:
        return named(metric, f"{_measured(metric, measured, 3)}, and there is no limit: set min or max")
    return _compared(metric, measured, "within the limit of", limit)


def without_data(metric: modeldeployment.Metric, measured: measurement.NoData) -> str:
    """Too little to say anything, and what that counts as."""
    match metric.on_no_data:
        case modeldeployment.OnNoData.WAIT:
            lead, end = "waiting for data", ""
        case modeldeployment.OnNoData.FAIL:
            lead, end = "no data", "; it counts as failed because onNoData is Fail: send requests, or choose another"
        case modeldeployment.OnNoData.PASS | modeldeployment.OnNoData.INCONCLUSIVE:
            lead, end = "no data", f"; it counts as {metric.on_no_data} because onNoData says so"
    parts = [lead]
    if measured.samples < metric.min_samples and metric.type is not modeldeployment.MetricType.PROMETHEUS:
        parts.append(f"{measured.samples} of {metric.min_samples} requests")
    if measured.message:
        parts.append(measured.message)
    return named(metric, ": ".join(parts) + end)


def failed(metric: modeldeployment.Metric, message: str, failures: int, *, last: bool) -> str:
    """A metric that failed too often: its last sentence, and how often unless that goes without saying."""
    if last and metric.failure_limit == 0:
        return message
    return f"{message} ({failures} failed measurements in this step, {metric.failure_limit} tolerated)"


def unavailable(metric: modeldeployment.Metric, measured: measurement.Unavailable) -> str:
    """It could not be measured, and why."""
    return named(metric, f"could not be measured: {measured.message}")


def named(metric: modeldeployment.Metric, sentence: str) -> str:
    """The sentence with the metric's name before it, once."""
    lead = f"{metric.name}: "
    return sentence if sentence.startswith(lead) else lead + sentence


def quantile_label(quantile: float) -> str:
    """How people write a quantile: p99, p99.9."""
    return f"p{quantile * 100:.10g}"


def _compared(metric: modeldeployment.Metric, measured: measurement.Value, relation: str, limit: float) -> str:
    """Value and limit with as many digits as it takes to tell them apart."""
    render = _renderer(metric)
    digits = 3
    while digits < 17 and measured.value != limit and render(measured.value, digits) == render(limit, digits):
        digits += 1
    return named(metric, f"{_measured(metric, measured, digits)}, {relation} {render(limit, digits)}")


def _measured(metric: modeldeployment.Metric, measured: measurement.Value, digits: int) -> str:
    """The value as a clause: what it is of, how much, over how many requests."""
    number = ("more than " if measured.at_least else "") + _renderer(metric)(measured.value, digits)
    match metric.type:
        case modeldeployment.MetricType.ERROR_RATE if measured.samples is not None and 0 <= measured.value <= 1:
            failed = round(measured.value * measured.samples)
            return f"{failed} of {measured.samples} requests failed ({number})"
        case modeldeployment.MetricType.ERROR_RATE:
            return f"{number} of requests failed"
        case modeldeployment.MetricType.LATENCY:
            label = quantile_label(metric.quantile or histogram.DEFAULT_QUANTILE)
            of = "" if label == metric.name else f"{label} is "
            over = "" if measured.samples is None else f" over {measured.samples} requests"
            return f"{of}{number}{over}"
        case modeldeployment.MetricType.PERFORMANCE:
            over = "" if measured.samples is None else f" over {measured.samples} answers whose truth is known"
            return f"{_SCORES[metric.scorer or modeldeployment.Scorer.ACCURACY]} {number}{over}"
        case _:
            over = "" if measured.samples is None else f" over {measured.samples} requests"
            return f"{number}{over}"


_SCORES = {
    modeldeployment.Scorer.ACCURACY: "accuracy",
    modeldeployment.Scorer.MEAN_ABSOLUTE_ERROR: "mean absolute error",
    modeldeployment.Scorer.MEAN_SQUARED_ERROR: "mean squared error",
}


def unscored(seen: scores.Scores) -> str:
    """Why there is no score yet."""
    parts = [
        (seen.unknown, "truths of requests that nobody has kept"),
        (seen.late, "truths that came too late"),
        (seen.mismatched, "truths of another shape than the answer"),
    ]
    told = ", ".join(f"{count} {what}" for count, what in parts if count)
    return "no answer whose truth is known" + (f" ({told})" if told else ": send truths to /feedback")


def _renderer(metric: modeldeployment.Metric) -> Callable[[float, int], str]:
    """How numbers of this metric are written: percent, seconds or milliseconds, or plain."""
    match metric.type:
        case modeldeployment.MetricType.ERROR_RATE:
            return _percent
        case modeldeployment.MetricType.LATENCY:
            limits = [abs(limit) for limit in (metric.min, metric.max) if limit is not None]
            return _milliseconds if max(limits, default=1.0) < 0.1 else _seconds
        case modeldeployment.MetricType.PERFORMANCE if metric.scorer is modeldeployment.Scorer.ACCURACY:
            return _percent
        case _:
            return _plain


def _percent(value: float, digits: int) -> str:
    return f"{_plain(value * 100, digits)} %"


def _seconds(value: float, digits: int) -> str:
    return f"{_plain(value, digits)} s"


def _milliseconds(value: float, digits: int) -> str:
    return f"{_plain(value * 1000, digits)} ms"


def _plain(value: float, digits: int) -> str:
    """That many significant digits, but never fewer than the whole number has, and no exponent below 10^15."""
    if 10**digits <= abs(value) < 1e15:
        return f"{value:.0f}"
    return f"{value:.{digits}g}"
