"""Evidence for comparisons from a real Prometheus: raw counters of both versions since the step began."""

import dataclasses
import datetime
import functools
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from penstock import ports
from penstock.adapters import prometheus as adapter
from penstock.analysis import measurement, verdict
from penstock.analysis.sequential import counts, mean, quantile
from penstock.api.v1alpha1.modeldeployment import Metric, MetricType
from penstock.api.v1alpha1.modeldeployment_status import Verdict

from tests.adapters import servers
from tests.adapters.conftest import Exporter, PrometheusServer
from tests.adapters.test_prometheus import BOUNDS, pod

pytestmark = pytest.mark.adapters

ERRORS = Metric(name="errors", type=MetricType.ERROR_RATE, max_increase=0.01)
LATENCY = Metric(name="latency", type=MetricType.LATENCY, quantile=0.9, max_increase=0.1)
RATIO = Metric(
    name="declined",
    type=MetricType.PROMETHEUS,
    query='shop_declined_total{revision="{{revision}}"}',
    total_query='shop_orders_total{revision="{{revision}}"}',
    max_increase=0.1,
)


def page(scrapes: int) -> str:
    """Revision `new` fails a tenth and is restarted every 10 scrapes, `old` fails nothing; `odd` has other buckets."""
    of = functools.partial('namespace="ml",deployment="shop",revision="{}",model_version="2",pod="{}"'.format)
    lines = [
        *pod(scrapes % 10, of("new", "a"), 27, 3, (0, 0, 30, 30, 30)),
        *pod(scrapes, of("new", "b"), 0, 0, (0, 0, 0, 0, 0)),
        *pod(scrapes, of("old", "c"), 100, 0, (100, 100, 100, 100, 100)),
        *(line.replace('le="0.1"', 'le="0.15"') for line in pod(scrapes, of("odd", "d"), 10, 0, (10,) * 5)),
        *(f'shop_declined_total{{revision="{name}"}} {scrapes * many}' for name, many in (("new", 3), ("old", 1))),
        *(f'shop_orders_total{{revision="{name}"}} {scrapes * 10}' for name in ("new", "old")),
        *(f'shop_many{{revision="{name}",n="{n}"}} 1' for name in ("new", "old") for n in range(3)),
    ]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def server(exporter: Exporter, prometheus: PrometheusServer) -> PrometheusServer:
    exporter.page, exporter.scrapes = page, 0
    return prometheus


@pytest.fixture(scope="module")
def since() -> datetime.datetime:
    """The step began when the tests did."""
    return datetime.datetime.now(datetime.UTC)


@pytest.fixture
async def source(server: PrometheusServer) -> AsyncIterator[adapter.Prometheus]:
    source = adapter.Prometheus(server.url)
    yield source
    source.close()


def subject(since: datetime.datetime, candidate: str = "new", **changes: Any) -> ports.Subject:
    return dataclasses.replace(ports.Subject("ml", "shop", candidate, "old", since=since), **changes)


async def evidence(source: adapter.Prometheus, metric: Metric, whom: ports.Subject) -> measurement.Evidence:
    """What a comparison rests on, once both versions have counted in some intervals."""

    async def enough() -> measurement.Evidence | None:
        found = await source.measure(metric, whom, 60)
        assert isinstance(found, measurement.Compared), found
        looks: int = found.evidence.looks
        return found.evidence if looks >= 3 else None

    return await servers.until(enough)


async def test_errors_of_both_versions_are_counted_exactly_over_restarts(
    source: adapter.Prometheus, since: datetime.datetime
) -> None:
    async def restarted() -> counts.State | None:
        found = await evidence(source, ERRORS, subject(since))
        assert isinstance(found, counts.State)
        return found if found.total().stable.total >= 2500 else None  # 25 scrapes: two restarts at least

    total = (await servers.until(restarted)).total()
    assert total.candidate.errors * 9 == total.candidate.successes
    assert total.stable.errors == 0
    # 30 for 100 at every scrape but the one that finds a new pod, which has counted nothing yet
    assert 0.2 <= total.candidate.total / total.stable.total <= 0.3


async def test_a_worse_version_is_found(source: adapter.Prometheus, since: datetime.datetime) -> None:
    async def failed() -> str | None:
        found = verdict.assess(ERRORS, await source.measure(ERRORS, subject(since), 60), None, since)
        return found.message if found.verdict is Verdict.FAIL else None

    message = await servers.until(failed)
    assert message.startswith("errors: ")
    assert "(10.0 %) against 0 of " in message


async def test_answer_times_by_bucket(source: adapter.Prometheus, since: datetime.datetime) -> None:
    found = await evidence(source, LATENCY, subject(since))
    assert isinstance(found, quantile.State)
    assert found.candidate is not None
    assert found.stable is not None
    assert found.candidate.bounds == found.stable.bounds == tuple(float(bound) for bound in BOUNDS)
    assert (found.candidate.counts[1], found.candidate.counts[2]) == (0, found.candidate.total)
    assert set(found.stable.counts) == {found.stable.total}


async def test_other_buckets_are_told(source: adapter.Prometheus, since: datetime.datetime) -> None:
    await evidence(source, LATENCY, subject(since))
    found = verdict.assess(LATENCY, await source.measure(LATENCY, subject(since, "odd"), 60), None, since)
    assert (found.verdict, found.inconclusives) == (Verdict.INCONCLUSIVE, 1)
    assert "the candidate's buckets are 0.15, 0.2, 0.5, 10, inf and stable's 0.1, 0.2, 0.5, 10, inf" in found.message


async def test_a_ratio_of_own_counters(source: adapter.Prometheus, since: datetime.datetime) -> None:
    found = await evidence(source, RATIO, subject(since))
    assert isinstance(found, counts.State)
    total = found.total()
    assert total.candidate.errors / total.candidate.total == pytest.approx(0.3)
    assert total.stable.errors / total.stable.total == pytest.approx(0.1)


async def test_a_mean_of_own_counters(source: adapter.Prometheus, since: datetime.datetime) -> None:
    metric = Metric.model_validate({**RATIO.to_wire(), "range": {"low": 0, "high": 5}})
    found = await evidence(source, metric, subject(since))
    assert isinstance(found, mean.State)
    assert found.candidate.mean == pytest.approx(0.3)
    assert found.stable.mean == pytest.approx(0.1)
    assert found.spread == mean.SubGaussian(2.5)


async def test_what_stable_did_before_is_the_reference_of_a_watch(
    source: adapter.Prometheus, since: datetime.datetime
) -> None:
    """The watch begins now, and what was counted before is held against what it will count."""
    await evidence(source, ERRORS, subject(since))
    now = datetime.datetime.now(datetime.UTC)
    for metric in (ERRORS, RATIO):
        found = await evidence(source, metric, subject(now, stable_is_past=True))
        assert isinstance(found, counts.State)
        assert found.total().candidate.errors > 0
        assert found.total().stable.total > 0


async def test_a_limit_is_measured_beside_the_comparison(source: adapter.Prometheus, since: datetime.datetime) -> None:
    await evidence(source, ERRORS, subject(since))
    found = await source.measure(ERRORS.model_copy(update={"max": 0.5}), subject(since), 5)
    assert isinstance(found, measurement.Compared)
    assert isinstance(found.plain, measurement.Value)


NO_ANSWERS: dict[str, tuple[Metric, dict[str, Any], type, str]] = {
    "nobody to compare with": (ERRORS, {"stable": None}, measurement.NoData, "there is no stable revision"),
    "a query that asks for no version": (
        RATIO.model_copy(update={"query": "shop_declined_total"}),
        {},
        measurement.Unavailable,
        "query of metric 'declined' does not say which version it asks for: write {{revision}}",
    ),
    "many series": (
        RATIO.model_copy(update={"total_query": 'shop_many{revision="{{revision}}"}'}),
        {},
        measurement.Ambiguous,
        "totalQuery answers 3 series, and a comparison needs one",
    ),
    "a query that Prometheus refuses": (
        RATIO.model_copy(update={"query": "sum({{revision}}"}),
        {},
        measurement.Unavailable,
        "Prometheus says: ",
    ),
    "a name that is none": (ERRORS, {"namespace": 'ml"}'}, measurement.Unavailable, "is not the name of a namespace"),
    "events that are more than what they are of": (
        RATIO.model_copy(update={"query": RATIO.total_query, "total_query": RATIO.query}),
        {},
        measurement.Ambiguous,
        "totalQuery must count at least all that query counts",
    ),
}


@pytest.mark.parametrize(("metric", "changes", "kind", "text"), NO_ANSWERS.values(), ids=NO_ANSWERS)
async def test_what_cannot_be_compared_is_told(
    source: adapter.Prometheus,
    since: datetime.datetime,
    metric: Metric,
    changes: dict[str, Any],
    kind: type,
    text: str,
) -> None:
    await evidence(source, ERRORS, subject(since))
    found = await source.measure(metric, subject(since, **changes), 60)
    assert isinstance(found, kind), found
    assert text in getattr(found, "message", "")


async def test_a_version_that_nobody_scraped_is_nothing_to_compare(
    source: adapter.Prometheus, since: datetime.datetime
) -> None:
    found = verdict.assess(LATENCY, await source.measure(LATENCY, subject(since, "nobody"), 60), None, since)
    assert (found.verdict, found.message) == (Verdict.INCONCLUSIVE, "latency: waiting for data: 0 of 1 requests")
    assert not math.isfinite(found.low or math.inf)
