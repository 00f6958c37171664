"""The metric source against a real Prometheus that scrapes models whose numbers are known."""

import asyncio
import dataclasses
import functools
from collections.abc import AsyncIterator, Iterator

import pytest
from penstock import ports
from penstock.adapters import prometheus as adapter
from penstock.analysis import measurement
from penstock.api.v1alpha1.modeldeployment import Metric, MetricType

from tests.adapters import servers
from tests.adapters.conftest import Exporter, PrometheusServer

pytestmark = pytest.mark.adapters

ERRORS = Metric(name="errors", type=MetricType.ERROR_RATE, max=0.05)
BOUNDS = ("0.1", "0.2", "0.5", "10.0", "+Inf")


def subject(revision: str, deployment: str = "fraud", stable: str | None = "stable1") -> ports.Subject:
    return ports.Subject("ml", deployment, revision, stable)


def latency(quantile: float | None) -> Metric:
    return Metric(name="latency", type=MetricType.LATENCY, quantile=quantile, max=0.5)


def own(query: str) -> Metric:
    return Metric(name="own", type=MetricType.PROMETHEUS, query=query, max=1)


def pod(scrapes: int, labels: str, good: int, bad: int, buckets: tuple[int, ...]) -> Iterator[str]:
    """What one pod publishes after so many scrapes, if that much comes in between two of them."""
    for outcome, count in (("success", good), ("model_error", bad), ("bad_request", 50), ("rejected", 50)):
        yield f'penstock_requests_total{{{labels},outcome="{outcome}"}} {count * scrapes}'
    for bound, count in zip(BOUNDS, buckets, strict=True):
        yield f'penstock_request_duration_seconds_bucket{{{labels},le="{bound}"}} {count * scrapes}'


def page(scrapes: int) -> str:
    """Revision `mixed` has two pods with errors, `idle` gets nothing, `slow` answers after 10 s."""
    of = functools.partial('namespace="ml",deployment="{}",revision="{}",model_version="2",pod="{}"'.format)
    lines = [
        *pod(scrapes, of("fraud", "mixed", "a"), 30, 10, (0, 40, 40, 40, 40)),
        *pod(scrapes, of("fraud", "mixed", "b"), 60, 0, (0, 30, 60, 60, 60)),
        *pod(scrapes, of("fraud", "stable1", "c"), 100, 0, (100, 100, 100, 100, 100)),
        *pod(scrapes, of("other", "mixed", "d"), 0, 10, (10, 10, 10, 10, 10)),
        *pod(0, of("fraud", "idle", "e"), 0, 0, (0, 0, 0, 0, 0)),
        *pod(scrapes, of("fraud", "slow", "f"), 10, 0, (0, 0, 0, 0, 10)),
        *(f'many{{n="{number}"}} {number}' for number in range(20)),
        "nan NaN",
        "plenty 42.5",
    ]
    lines.extend(line for number in range(60) for line in pod(scrapes, of("fleet", f"r{number}", "p"), 9, 1, (10,) * 5))
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def server(exporter: Exporter, prometheus: PrometheusServer) -> PrometheusServer:
    exporter.page, exporter.scrapes = page, 0
    return prometheus


@pytest.fixture
async def source(server: PrometheusServer) -> AsyncIterator[adapter.Prometheus]:
    source = adapter.Prometheus(server.url)
    yield source
    source.close()


async def value(
    source: adapter.Prometheus, metric: Metric, whom: ports.Subject, window: int = 5, samples: int = 100
) -> measurement.Value:
    """The first measurement that rests on so many requests: Prometheus has scraped for some seconds by then."""

    async def enough() -> measurement.Value | None:
        found = await source.measure(metric, whom, window)
        return found if isinstance(found, measurement.Value) and (found.samples or 0) >= samples else None

    return await servers.until(enough)


def rounded(found: measurement.Measurement) -> measurement.Measurement:
    assert isinstance(found, measurement.Value), found
    return dataclasses.replace(found, value=round(found.value, 3), samples=None)


async def test_the_error_rate_of_a_revision_is_that_of_all_its_pods_and_no_other(source: adapter.Prometheus) -> None:
    found = [await value(source, ERRORS, subject(*whom), samples=10) for whom in (("mixed", "other"), ("stable1",))]
    assert [one.value for one in found] == [1.0, 0.0]
    mixed = await value(source, ERRORS, subject("mixed"))
    assert mixed.value == pytest.approx(0.1, abs=0.02)  # of whole answers, though increase() makes fractions of them
    assert mixed.samples is not None
    assert (mixed.value * mixed.samples).is_integer()


async def test_samples_are_the_requests_in_the_window(source: adapter.Prometheus) -> None:
    await value(source, ERRORS, subject("mixed"), samples=850)
    found = await source.measure(ERRORS, subject("mixed"), 9)
    assert isinstance(found, measurement.Value)
    assert found.samples == pytest.approx(1000, rel=0.25)  # 100 every half second, 5 s


LATENCIES = {
    # of 100: 0 to 0.1 s, 70 to 0.2 s, 30 to 0.5 s
    "in the first bucket that is not empty": (0.35, measurement.Value(0.15)),
    "at a bound": (0.7, measurement.Value(0.2)),
    "in the next bucket": (0.85, measurement.Value(0.35)),
    "p99 if nothing is said": (None, measurement.Value(0.49)),
}


@pytest.mark.parametrize(("quantile", "expected"), LATENCIES.values(), ids=LATENCIES.keys())
async def test_quantiles_of_the_answer_time(
    source: adapter.Prometheus, quantile: float | None, expected: measurement.Value
) -> None:
    assert rounded(await value(source, latency(quantile), subject("mixed"))) == expected


async def test_quantiles_are_those_of_prometheus(source: adapter.Prometheus) -> None:
    await value(source, latency(0.9), subject("mixed"), samples=500)
    query = (
        "histogram_quantile(0.9, sum by (le) (increase(penstock_request_duration_seconds_bucket{"
        'namespace="{{namespace}}",deployment="{{name}}",revision="{{candidate}}"}[5s])))'
    )
    theirs = await source.measure(own(query), subject("mixed"), 60)
    assert rounded(theirs) == rounded(await source.measure(latency(0.9), subject("mixed"), 5))


async def test_a_quantile_beyond_the_last_bucket_is_known_to_be_above_it(source: adapter.Prometheus) -> None:
    found = await value(source, latency(0.5), subject("slow"), samples=10)
    assert rounded(found) == measurement.Value(10.0, at_least=True)


@pytest.mark.parametrize("metric", [ERRORS, latency(0.5)], ids=["ErrorRate", "Latency"])
async def test_no_requests_are_no_data(source: adapter.Prometheus, metric: Metric) -> None:
    await value(source, ERRORS, subject("mixed"))
    assert await source.measure(metric, subject("idle"), 5) == measurement.NoData(
        "revision idle answered no request in the last 5 s"
    )


@pytest.mark.parametrize("metric", [ERRORS, latency(0.5)], ids=["ErrorRate", "Latency"])
async def test_a_revision_that_was_never_scraped_is_no_data(source: adapter.Prometheus, metric: Metric) -> None:
    assert await source.measure(metric, subject("nobody"), 7) == measurement.NoData(
        "Prometheus has not scraped revision nobody twice in the last 5 s (it must scrape the model pods and "
        "keep their labels)"
    )


async def test_a_step_of_a_moment_is_no_data(source: adapter.Prometheus) -> None:
    assert await source.measure(ERRORS, subject("mixed"), 1) == measurement.NoData("the step has lasted less than 2 s")


async def test_sixty_rollouts_are_one_question(server: PrometheusServer) -> None:
    async with servers.relaying(server.url) as wire:
        source = adapter.Prometheus(wire.url)
        await value(source, ERRORS, subject("r0", "fleet"), samples=10)
        before = wire.requests
        found = await asyncio.gather(*(source.measure(ERRORS, subject(f"r{n}", "fleet"), 5) for n in range(60)))
        source.close()
        shares = [one.value for one in found if isinstance(one, measurement.Value)]
        assert wire.requests - before == 1
        assert shares == [pytest.approx(0.1, abs=0.04)] * 60


OWN = {
    "a scalar": ("scalar(plenty)", measurement.Value(42.5)),
    "a number": ("1 + 1", measurement.Value(2)),
    "one series": ("plenty", measurement.Value(42.5)),
    "one of many": ("max(many)", measurement.Value(19)),
    "nothing": ("nothing_of_that_name", measurement.NoData("the query answers no series")),
    "many series": (
        "many",
        measurement.Ambiguous(
            "the query answers 20 series, and a metric needs one: put sum(…) or max(…) around it, or narrow it"
        ),
    ),
    "many series, some of them no number": (
        "many / many",
        measurement.Ambiguous(
            "the query answers 20 series (1 of them not finite), and a metric needs one: put sum(…) or max(…) around "
            "it, or narrow it"
        ),
    ),
    "not a number": (
        "nan",
        measurement.Ambiguous("the query answers NaN, as a division of nothing by nothing does"),
    ),
    "a division by nothing": (
        "vector(1) / 0",
        measurement.Ambiguous("the query answers +Inf, as a division by nothing does"),
    ),
    "a range": (
        "plenty[1m]",
        measurement.Ambiguous(
            "the query answers a range, and a metric needs one number: use a function such as avg_over_time(…)"
        ),
    ),
    "a text": (
        '"hello"',
        measurement.Ambiguous("the query answers the text 'hello', and a metric needs a number"),
    ),
    "no PromQL": (
        "sum(rate(x[5m])",
        measurement.Unavailable(
            "the query of metric 'own' is refused: Prometheus says: invalid parameter \"query\": 1:16: parse error: "
            "unclosed left parenthesis"
        ),
    ),
    "PromQL that cannot be carried out": (
        "many + on() many",
        measurement.Unavailable(
            "the query of metric 'own' is refused: Prometheus says: found duplicate series for the match group {} on "
            'the right hand-side of the operation: [{__name__="many", instance="…'
        ),
    ),
    "an unknown placeholder": (
        "up{{x}}",
        measurement.Unavailable(
            "the query of metric 'own' has the unknown placeholder {{x}}: use {{name}}, {{namespace}}, {{candidate}}, "
            "{{stable}}, {{window}}"
        ),
    ),
}


@pytest.mark.parametrize(("query", "expected"), OWN.values(), ids=OWN.keys())
async def test_own_queries(source: adapter.Prometheus, query: str, expected: measurement.Measurement) -> None:
    await servers.until(functools.partial(_seen, source))
    found = await source.measure(own(query), subject("mixed"), 60)
    if isinstance(found, measurement.Unavailable) and "duplicate series" in found.message:
        found = measurement.Unavailable(found.message.partition('instance="')[0] + 'instance="…')
    assert found == expected


async def _seen(source: adapter.Prometheus) -> bool | None:
    found = await source.measure(own("plenty"), subject("mixed"), 60)
    return True if isinstance(found, measurement.Value) else None


async def test_an_own_query_speaks_of_whom_it_is_about(source: adapter.Prometheus) -> None:
    await value(source, ERRORS, subject("mixed"))
    query = (
        'sum(increase(penstock_requests_total{namespace="{{namespace}}",deployment="{{name}}",revision="{{%s}}",'
        'outcome=~"success|model_error"}[{{window}}])) / sum(increase(penstock_requests_total{revision="{{candidate}}",'
        'deployment="{{name}}",outcome=~"success|model_error"}[{{window}}]))'
    )
    found = [await source.measure(own(query.replace("%s", who)), subject("slow"), 5) for who in ("candidate", "stable")]
    assert [rounded(one) for one in found] == [measurement.Value(1.0), measurement.Value(10.0)]


async def test_a_comparison_without_stable_is_no_data(source: adapter.Prometheus) -> None:
    found = await source.measure(own("up{{stable}}"), subject("mixed", stable=None), 60)
    assert found == measurement.NoData("the query compares with {{stable}}, and there is no stable revision yet")


async def test_a_prometheus_that_is_killed_and_started_again(server: PrometheusServer) -> None:
    source = adapter.Prometheus(server.url)
    await value(source, ERRORS, subject("mixed"))
    server.kill()
    try:

        async def dead() -> measurement.Measurement | None:
            found = await source.measure(ERRORS, subject("mixed"), 5)
            return None if isinstance(found, measurement.Value) else found

        gone = measurement.Unavailable(f"Prometheus at {server.url} cannot be asked: connection refused")
        assert await servers.until(dead) == gone
        assert await source.measure(own("plenty"), subject("mixed"), 5) == gone
    finally:
        server.start()
    assert rounded(await value(source, ERRORS, subject("mixed"))) == measurement.Value(0.1)
    source.close()
