"""Measurements from Prometheus: few questions for many rollouts, and an answer to everything that goes wrong.

The client library runs in threads, with time-outs that it does not have by itself. Whatever happens becomes a
measurement: `measure` raises nothing.
"""

import asyncio
import datetime
import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

import requests
import urllib3
from prometheus_api_client import prometheus_connect

from penstock import errors, ports
from penstock.adapters import promql, sharing, transport
from penstock.analysis import histogram, increments, measurement
from penstock.api.v1alpha1 import modeldeployment
from penstock.api.v1alpha1.modeldeployment import MetricType

_OUTCOMES = ("model_error", "success")

_SETTLING_SECONDS = 1.0
"""How far back two counters are read by two questions, so that no scrape comes in between."""

_Grouped = Mapping[promql.Owner, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the adapter may use: seconds for parts of a call and for all of it, threads, bytes, answers kept.

    An answer serves for `fresh_seconds`; one about many revisions for a hundredth of its window, if that is more, up to
    `fresh_seconds_at_most`.
    """

    connect_seconds: float = 2
    read_seconds: float = 5
    total_seconds: float = 8
    threads: int = 8
    answer_bytes: int = 16 << 20
    entries: int = 2000
    fresh_seconds: float = 0.25
    fresh_seconds_at_most: float = 0.5


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Prometheus' words about a query that it does not take."""

    message: str


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the versions that are compared, over a time in steps of so many seconds.

    `is_past` says that its readings are of the time before, to be read backwards.
    """

    revision: str
    since: datetime.datetime
    steps: int
    step: int
    is_past: bool = False

    @property
    def span(self) -> tuple[datetime.datetime, datetime.datetime]:
        """From when to when it is read."""
        length = datetime.timedelta(seconds=self.steps * self.step)
        return (self.since - length, self.since) if self.is_past else (self.since, self.since + length)

    def in_order(self, risen: increments.Rises) -> increments.Rises:
        """As comparisons want it: the time of the step, or what came before it backwards."""
        return increments.backwards(risen, self.since.timestamp(), self.step) if self.is_past else risen


class Prometheus:
    """Implements `ports.MetricSource`."""

    def __init__(
        self,
        url: str,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Raises Misconfigured if `url` (which may carry a user name and password) is not one."""
        self._address = transport.address(url)
        self._limits = limits or Limits()
        self._clock = clock
        self._now = now
        self._threads = transport.Threads("prometheus", self._limits.threads, self._limits.threads)
        self._client = _client(self._address, self._limits)
        self._grouped: dict[tuple[MetricType, int], sharing.Batches[_Grouped | measurement.Unavailable]] = {}
        self._own: sharing.Shared[str, measurement.Plain | _Refusal] = sharing.Shared(clock, self._limits.entries)

    def close(self) -> None:
        """Ask nothing more."""
        self._threads.close()
        self._client.close()

    async def measure(
        self, metric: modeldeployment.Metric, subject: ports.Subject, window_seconds: int
    ) -> measurement.Measurement:
        """One measurement of the candidate over the last `window_seconds`, at most a fraction of a second old.

        A metric that is compared with stable is measured for both, since `subject.since`.
        """
        if not metric.is_compared:
            return await self._measure_plain(metric, subject, window_seconds)
        if subject.stable is None or subject.since is None:
            return measurement.NoData("there is no stable revision to compare with")
        limited = metric.min is not None or metric.max is not None
        plain = await self._measure_plain(metric, subject, window_seconds) if limited else None
        try:
            return measurement.Compared(await self._evidence(metric, subject, subject.since), plain)
        except errors.PenstockError as error:
            problem: measurement.Ambiguous | measurement.Unavailable = measurement.Unavailable(error.message)
        except ValueError as error:
            problem = measurement.Ambiguous(str(error))
        return problem if plain is None else measurement.Uncompared(plain, problem)

    async def _measure_plain(
        self, metric: modeldeployment.Metric, subject: ports.Subject, window_seconds: int
    ) -> measurement.Plain:
        match metric.type:
            case MetricType.PROMETHEUS:
                return await self._measure_own(metric, subject, window_seconds)
            case MetricType.ERROR_RATE | MetricType.LATENCY:
                return await self._measure_built_in(metric, subject, window_seconds)
            case MetricType.SHADOW_DISAGREEMENT | MetricType.PREDICTION_DRIFT | MetricType.PERFORMANCE:
                return measurement.Unavailable(f"Prometheus does not know what a {metric.type} is")
            case _:
                assert_never(metric.type)

    async def _evidence(
        self, metric: modeldeployment.Metric, subject: ports.Subject, since: datetime.datetime
    ) -> measurement.Evidence:
        """All of both versions since then. Raises MetricsUnavailable, QueryInvalid; ValueError for unfit counters."""
        since = since.replace(microsecond=0)  # the client library asks for whole seconds
        settled = self._now() - (_SETTLING_SECONDS if metric.type is MetricType.PROMETHEUS else 0.0)
        elapsed = max(0.0, settled - since.timestamp())
        is_timed = metric.type is MetricType.LATENCY
        step = increments.step_seconds(
            elapsed, increments.MOST_POINTS_OF_BUCKETS if is_timed else increments.MOST_POINTS
        )
        span = since, int(elapsed / step), step
        sides = _Side(subject.candidate, *span), _Side(subject.stable or "", *span, is_past=subject.stable_is_past)
        match metric.type:
            case MetricType.ERROR_RATE:
                return increments.error_counts(*[await self._outcomes(subject, side) for side in sides])
            case MetricType.LATENCY:
                return increments.durations(*[await self._buckets(subject, side) for side in sides])
            case _:
                mine, its = [await self._series(metric, subject, side) for side in sides]
                if metric.range is not None:
                    return increments.means(mine, its, metric.range.low, metric.range.high)
                return increments.ratio(mine, its)

    async def _outcomes(self, subject: ports.Subject, side: "_Side") -> increments.Outcomes:
        query = promql.answers_of_pods(subject, side.revision)
        pods = await asyncio.to_thread(_risen, await self._query_range(query, side), "outcome")
        failed, succeeded = (
            side.in_order(increments.added(pod.get(outcome, {}) for pod in pods)) for outcome in _OUTCOMES
        )
        return increments.Outcomes(failed, succeeded)

    async def _buckets(self, subject: ports.Subject, side: "_Side") -> dict[float, increments.Rises]:
        query = promql.durations_of_pods(subject, side.revision)
        pods = await asyncio.to_thread(_risen, await self._query_range(query, side), "le")
        found: dict[float, list[increments.Rises]] = {}
        for pod in pods:
            for bound, risen in pod.items():
                found.setdefault(float(bound), []).append(risen)
        return {bound: increments.added(risen) for bound, risen in found.items()}

    async def _series(
        self,
        metric: modeldeployment.Metric,
        subject: ports.Subject,
        side: "_Side",
    ) -> increments.Series:
        found = []
        for name, query in (("query", metric.query or ""), ("totalQuery", metric.total_query or "")):
            if not promql.names_revision(query):
                raise errors.QueryInvalid(
                    f"{name} of metric {metric.name!r} does not say which version it asks for: write {{{{revision}}}}"
                )
            text = promql.filled(metric, subject, side.steps * side.step or 1, query, side.revision)
            matrix = promql.by_label(await self._query_range(text, side), "")
            series = [readings for many in matrix.values() for readings in many]
            if len(series) > 1:
                raise ValueError(
                    f"{name} answers {len(series)} series, and a comparison needs one: put sum(…) around it, or "
                    "narrow it"
                )
            found.append(series[0] if series else [])
        series_of_both = increments.Series(*found)
        return increments.read_backwards(series_of_both, side.since.timestamp()) if side.is_past else series_of_both

    async def _measure_built_in(
        self, metric: modeldeployment.Metric, subject: ports.Subject, window_seconds: int
    ) -> measurement.Plain:
        window = promql.rung(window_seconds)
        if window is None:
            return measurement.NoData(f"the step has lasted less than {promql.LADDER[0]} s")
        revision = subject.candidate
        if not promql.is_safe(revision):
            return measurement.Unavailable(f"{revision!r} is not the name of a revision")
        grouped = await self._batches(metric.type, window).get(revision)
        if isinstance(grouped, measurement.Unavailable):
            return grouped
        found = grouped.get((subject.namespace, subject.deployment, revision))
        if metric.type is MetricType.ERROR_RATE:
            return promql.error_rate(found, revision, window)
        return promql.latency(found, revision, metric.quantile or histogram.DEFAULT_QUANTILE, window)

    def _batches(self, kind: MetricType, window: int) -> sharing.Batches[_Grouped | measurement.Unavailable]:
        limits = self._limits
        batches = self._grouped.get((kind, window))
        if batches is None:
            batches = self._grouped[kind, window] = sharing.Batches(
                lambda revisions: self._ask_grouped(kind, window, revisions),
                clock=self._clock,
                fresh_seconds=min(max(limits.fresh_seconds, window / 100), limits.fresh_seconds_at_most),
            )
        return batches

    async def _ask_grouped(
        self, kind: MetricType, window: int, revisions: Collection[str]
    ) -> _Grouped | measurement.Unavailable:
        query, label = (
            (promql.answers(window, revisions), "outcome")
            if kind is MetricType.ERROR_RATE
            else (promql.durations(window, revisions), "le")
        )
        try:
            return promql.by_owner(await self._query(query), label)
        except errors.PenstockError as error:
            return measurement.Unavailable(error.message)

    async def _measure_own(
        self, metric: modeldeployment.Metric, subject: ports.Subject, window_seconds: int
    ) -> measurement.Plain:
        if window_seconds < 1:
            return measurement.NoData("the step has lasted less than 1 s")
        if subject.stable is None and promql.compares_with_stable(metric):
            return measurement.NoData("the query compares with {{stable}}, and there is no stable revision yet")
        try:
            query = promql.filled(metric, subject, window_seconds)
        except errors.QueryInvalid as error:
            return measurement.Unavailable(error.message)
        answer = await self._own.get(query, lambda: self._ask_own(query), self._is_fresh)
        if isinstance(answer, _Refusal):
            return measurement.Unavailable(f"the query of metric {metric.name!r} is refused: {answer.message}")
        return answer

    def _is_fresh(self, _: measurement.Plain | _Refusal, age: float) -> bool:
        return age < self._limits.fresh_seconds

    async def _ask_own(self, query: str) -> measurement.Plain | _Refusal:
        try:
            return promql.number(await self._query(query))
        except errors.QueryInvalid as error:
            return _Refusal(error.message)
        except errors.MetricsUnavailable as error:
            return measurement.Unavailable(error.message)

    async def _query(self, query: str) -> list[Any]:
        """The result of an instant query. Raises MetricsUnavailable and QueryInvalid."""
        params = {"timeout": f"{self._limits.read_seconds:g}s"}
        return await self._ask(lambda: self._client.custom_query(query, params=params))

    async def _query_range(self, query: str, side: "_Side") -> list[Any]:
        """The readings of a side. Raises MetricsUnavailable and QueryInvalid."""
        params = {"timeout": f"{self._limits.read_seconds:g}s"}
        return await self._ask(
            lambda: self._client.custom_query_range(query, *side.span, str(side.step), params=params)
        )

    async def _ask(self, call: Callable[[], Any]) -> list[Any]:
        """What the client library answers. Raises MetricsUnavailable and QueryInvalid."""
        limits = self._limits
        try:
            result = await self._threads.run(self._address, limits.total_seconds, call)
        except _Unwanted as answer:
            if answer.status in {400, 422}:
                raise errors.QueryInvalid(f"Prometheus says: {answer.said}") from answer
            raise self._unavailable(f"it answers {transport.status_line(answer.status)}") from answer
        except TimeoutError as error:
            raise self._unavailable(f"no answer within {limits.total_seconds:g} s") from error
        except transport.TooLong as error:
            raise self._unavailable(f"{error}: narrow the query") from error
        except (KeyError, TypeError, ValueError) as error:
            raise self._unavailable(_NOT_PROMETHEUS) from error
        except requests.exceptions.RequestException as error:
            raise self._unavailable(transport.explain(error)) from error
        if not isinstance(result, list):
            raise self._unavailable(_NOT_PROMETHEUS)
        return result

    def _unavailable(self, why: str) -> errors.MetricsUnavailable:
        return errors.MetricsUnavailable(f"Prometheus at {self._address} cannot be asked: {why}")


def _risen(matrix: list[Any], label: str) -> list[dict[str, dict[float, float]]]:
    """By how much each pod's counters rose, by the value of `label`. Of hundreds of pods it takes its time."""
    return [increments.pod_rises(pod) for pod in promql.by_pod(matrix, label)]


_NOT_PROMETHEUS = "its answer is not one of Prometheus': check that the address leads to its API, path prefix included"


def _client(address: transport.Address, limits: Limits) -> prometheus_connect.PrometheusConnect:
    """The library's client with what it lacks: time-outs, one quick retry, an end to long answers, typed refusals."""
    session = requests.Session()
    session.stream = True  # so that the hook reads the body, and no more of it than is sensible

    def check(response: requests.Response, *_: Any, **__: Any) -> None:
        content = transport.body(response, limits.answer_bytes)
        if response.status_code != 200:
            raise _Unwanted(response.status_code, content)
        response._content = content  # noqa: SLF001  # requests offers no other way to hand a read body on

    session.hooks["response"].append(check)
    retry = urllib3.Retry(total=1, status=0, redirect=0, backoff_factor=0, respect_retry_after_header=False)
    return prometheus_connect.PrometheusConnect(
        address.uri,
        session=session,
        retry=retry,
        auth=None if address.username is None else (address.username, address.password or ""),
        timeout=(limits.connect_seconds, limits.read_seconds),
    )


class _Unwanted(Exception):
    """An answer with a status other than 200."""

    def __init__(self, status: int, content: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.said = transport.clipped(_error_of(content))


def _error_of(content: bytes) -> str:
    """Prometheus' own words in an answer that is an error."""
    try:
        return str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        return "nothing that explains it"
