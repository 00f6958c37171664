"""Questions to Prometheus and what its answers mean. Pure.

Built-in metrics are asked for by revision, many at once, over windows of a fixed ladder, so that neither the number of
questions nor their cost follows the number of rollouts. `increase` needs two scrapes in the window: a window that is
too short for that is no data, never zero.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from penstock import errors, ports
from penstock.analysis import histogram, increments, measurement
from penstock.api.v1alpha1 import modeldeployment

LADDER = (2, 3, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 43200, 86400)
LONGEST_FILTER = 400

Owner = tuple[str, str, str]
"""Namespace, deployment, revision."""

_SAFE = re.compile(r"[A-Za-z0-9]([-_A-Za-z0-9]*[A-Za-z0-9])?")
_NO_MATRIX = "Prometheus' answer is not a matrix: check that its address leads to its API"
_PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")


def rung(window_seconds: int) -> int | None:
    """The longest window of the ladder that does not reach further back than this one."""
    return max((step for step in LADDER if step <= window_seconds), default=None)


def is_safe(value: str) -> bool:
    """Whether a value can stand in a query, quoted or in a regular expression, and mean only itself."""
    return _SAFE.fullmatch(value) is not None


def answers(window_seconds: int, revisions: Collection[str]) -> str:
    """Answers of the model in the window, by owner and outcome."""
    matchers = f'outcome=~"success|model_error"{_of(revisions)}'
    return (
        "sum by (namespace, deployment, revision, outcome) "
        f"(increase(penstock_requests_total{{{matchers}}}[{window_seconds}s]))"
    )


def durations(window_seconds: int, revisions: Collection[str]) -> str:
    """Answer times in the window, by owner and bucket."""
    matchers = f'le!=""{_of(revisions)}'
    return (
        "sum by (namespace, deployment, revision, le) "
        f"(increase(penstock_request_duration_seconds_bucket{{{matchers}}}[{window_seconds}s]))"
    )


def _of(revisions: Collection[str]) -> str:
    if len(revisions) > LONGEST_FILTER:
        return ""
    return f',revision=~"{"|".join(sorted(revisions))}"'


def answers_of_pods(subject: ports.Subject, revision: str) -> str:
    """What each pod of a revision has answered so far, by outcome."""
    return f'penstock_requests_total{{outcome=~"success|model_error",{_owned(subject, revision)}}}'


def durations_of_pods(subject: ports.Subject, revision: str) -> str:
    """How long the answers of each pod took so far, by bucket."""
    return f"penstock_request_duration_seconds_bucket{{{_owned(subject, revision)}}}"


def _owned(subject: ports.Subject, revision: str) -> str:
    labels = {"namespace": subject.namespace, "deployment": subject.deployment, "revision": revision}
    for name, value in labels.items():
        if not is_safe(value):
            raise errors.QueryInvalid(f"{value!r} is not the name of a {name}")
    return ",".join(f'{name}="{value}"' for name, value in labels.items())


def by_label(matrix: Sequence[Any], label: str) -> dict[str, list[list[increments.Reading]]]:
    """The readings of each series, by the value of `label`. Raises MetricsUnavailable for what is no matrix."""
    found: dict[str, list[list[increments.Reading]]] = {}
    try:
        for series in matrix:
            readings = [(float(moment), float(value)) for moment, value in series["values"]]
            found.setdefault(str(series["metric"].get(label, "")), []).append(readings)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise errors.MetricsUnavailable(_NO_MATRIX) from error
    return found


def by_pod(matrix: Sequence[Any], label: str) -> list[dict[str, list[increments.Reading]]]:
    """The readings of each pod's series, by the value of `label`. Raises MetricsUnavailable for what is no matrix.

    Who scrapes a pod twice counts all that it answers twice, and would be twice as sure: one of the scrapes is taken.
    """
    targets: dict[tuple[tuple[str, str], ...], dict[str, list[increments.Reading]]] = {}
    try:
        for series in matrix:
            labels = {str(name): str(value) for name, value in series["metric"].items()}
            value = labels.pop(label, "")
            target = targets.setdefault(tuple(sorted(labels.items())), {})
            target[value] = [(float(moment), float(count)) for moment, count in series["values"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise errors.MetricsUnavailable(_NO_MATRIX) from error
    pods: dict[object, dict[str, list[increments.Reading]]] = {}
    for labels_, found in sorted(targets.items(), key=lambda item: (-sum(map(len, item[1].values())), item[0])):
        known = dict(labels_)
        pods.setdefault(known.get("pod") or known.get("instance") or labels_, found)
    return list(pods.values())


def filled(
    metric: modeldeployment.Metric,
    subject: ports.Subject,
    window_seconds: int,
    query: str | None = None,
    revision: str | None = None,
) -> str:
    """An own query of a metric (`metric.query` if none is given) with its placeholders replaced.

    Raises QueryInvalid.
    """
    values = {
        "name": subject.deployment,
        "namespace": subject.namespace,
        "candidate": subject.candidate,
        "stable": subject.stable or "",
        "window": f"{window_seconds}s",
    }
    if revision is not None:
        values["revision"] = revision

    def value(match: re.Match[str]) -> str:
        name = match[1].strip()
        if name not in values:
            known = ", ".join(f"{{{{{key}}}}}" for key in values)
            raise errors.QueryInvalid(
                f"the query of metric {metric.name!r} has the unknown placeholder {match[0]}: use {known}"
            )
        if not is_safe(values[name]):
            raise errors.QueryInvalid(
                f"the query of metric {metric.name!r} cannot use {match[0]}: its value {values[name]!r} has characters "
                "other than letters, digits, - and _"
            )
        return values[name]

    return _PLACEHOLDER.sub(value, query or metric.query or "")


def names_revision(query: str) -> bool:
    """Whether an own query asks for one version at a time."""
    return any(match[1].strip() == "revision" for match in _PLACEHOLDER.finditer(query))


def compares_with_stable(metric: modeldeployment.Metric) -> bool:
    """Whether the own query of a metric speaks of stable."""
    return any(match[1].strip() == "stable" for match in _PLACEHOLDER.finditer(metric.query or ""))


def by_owner(result: Sequence[Any], label: str) -> dict[Owner, dict[str, float]]:
    """The series of a grouped answer: numbers by owner and the value of `label`. Raises MetricsUnavailable.

    A series without the labels of an owner is nobody's and is left out.
    """
    grouped: dict[Owner, dict[str, float]] = {}
    try:
        for series in result:
            labels = series["metric"]
            owner = (labels.get("namespace", ""), labels.get("deployment", ""), labels.get("revision", ""))
            grouped.setdefault(owner, {})[labels.get(label, "")] = float(series["value"][1])
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise errors.MetricsUnavailable(
            "Prometheus' answer is not a vector: check that its address leads to its API"
        ) from error
    return grouped


def error_rate(outcomes: Mapping[str, float] | None, revision: str, window_seconds: int) -> measurement.Plain:
    """The share of answers that the model failed, from increases by outcome."""
    if outcomes is None:
        return _unseen(revision, window_seconds)
    failed, succeeded = outcomes.get("model_error", 0.0), outcomes.get("success", 0.0)
    if not math.isfinite(failed + succeeded):
        return measurement.Ambiguous(
            f"Prometheus counts {failed + succeeded} answers of revision {revision}, which is no number"
        )
    # increase() makes fractions of what was counted: whole answers, so that people can check the share
    total = round(failed) + round(succeeded)
    if total == 0:
        return _idle(revision, window_seconds)
    return measurement.Value(round(failed) / total, total)


def latency(
    counts: Mapping[str, float] | None, revision: str, quantile: float, window_seconds: int
) -> measurement.Plain:
    """A quantile of the answer time in seconds, from increases by bucket."""
    if counts is None:
        return _unseen(revision, window_seconds)
    try:
        buckets = {float(bound): count for bound, count in counts.items()}
    except ValueError:
        buckets = {}
    total = buckets.get(math.inf)
    if total is None or len(buckets) < 2 or not all(math.isfinite(count) for count in buckets.values()):
        return measurement.Ambiguous(
            f"the buckets of penstock_request_duration_seconds of revision {revision} are incomplete "
            f"(bounds: {', '.join(sorted(counts))}): scrape all of them"
        )
    found = histogram.quantile(quantile, buckets)
    samples = round(max(buckets.values()))
    if found is None or samples == 0:
        return _idle(revision, window_seconds)
    return measurement.Value(found.value, samples, found.at_least)


def _unseen(revision: str, window_seconds: int) -> measurement.NoData:
    return measurement.NoData(
        f"Prometheus has not scraped revision {revision} twice in the last {window_seconds} s (it must scrape the "
        "model pods and keep their labels)"
    )


def _idle(revision: str, window_seconds: int) -> measurement.NoData:
    return measurement.NoData(f"revision {revision} answered no request in the last {window_seconds} s")


def number(result: Any) -> measurement.Plain:
    """What an own query answered, if it is one finite number: a scalar, or a vector of one series."""
    match result:
        case []:
            return measurement.NoData("the query answers no series")
        case [int() | float(), str(text)]:
            return _finite(text)
        case [{"value": [_, str(text)]}]:
            return _finite(text)
        case [{"values": _}, *_]:
            return measurement.Ambiguous(
                "the query answers a range, and a metric needs one number: use a function such as avg_over_time(…)"
            )
        case [{"histogram": _}, *_]:
            return measurement.Ambiguous(
                "the query answers a histogram, and a metric needs one number: use histogram_quantile(…)"
            )
        case [{"value": _}, {"value": _}, *_]:
            return measurement.Ambiguous(_many(result))
        case _:
            return measurement.Ambiguous("the query answers neither a scalar nor a vector of one series")


def _finite(text: str) -> measurement.Plain:
    try:
        value = float(text)
    except ValueError:
        return measurement.Ambiguous(f"the query answers the text {text[:50]!r}, and a metric needs a number")
    if math.isnan(value):
        return measurement.Ambiguous("the query answers NaN, as a division of nothing by nothing does")
    if math.isinf(value):
        return measurement.Ambiguous(f"the query answers {text}, as a division by nothing does")
    return measurement.Value(value)


def _many(result: Sequence[Any]) -> str:
    odd = sum(not _is_finite(series) for series in result)
    besides = f" ({odd} of them not finite)" if odd else ""
    return (
        f"the query answers {len(result)} series{besides}, and a metric needs one: put sum(…) or max(…) around it, or "
        "narrow it"
    )


def _is_finite(series: Any) -> bool:
    match series:
        case {"value": [_, str(text)]}:
            return isinstance(_finite(text), measurement.Value)
        case _:
            return False
