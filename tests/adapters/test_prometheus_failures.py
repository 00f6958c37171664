"""The metric source against everything that is not a well-behaved Prometheus: a measurement that says so, and soon."""

import asyncio
import base64
import json
import time
from collections.abc import Callable

import pytest
from penstock import errors, ports
from penstock.adapters import prometheus as adapter
from penstock.analysis import measurement
from penstock.api.v1alpha1.modeldeployment import Metric, MetricType

from tests.adapters import servers
from tests.adapters.servers import http_answer

pytestmark = pytest.mark.adapters

SUBJECT = ports.Subject("ml", "fraud", "candidate1", "stable1")
SECRET = "hunter2-never-print-this"
QUICK = adapter.Limits(
    connect_seconds=0.5, read_seconds=0.3, total_seconds=3, threads=4, answer_bytes=100_000, fresh_seconds=0.25
)
ERRORS = Metric(name="errors", type=MetricType.ERROR_RATE, max=0.05)
LATENCY = Metric(name="latency", type=MetricType.LATENCY, max=0.5)
OWN = Metric(name="own", type=MetricType.PROMETHEUS, query="up", max=1)
EVERY = (ERRORS, LATENCY, OWN)


def result(value: object) -> bytes:
    return http_answer("200 OK", json.dumps({"status": "success", "data": {"resultType": "vector", "result": value}}))


NOT_PROMETHEUS = "its answer is not one of Prometheus': check that the address leads to its API, path prefix included"

ODD = {
    "a page": (http_answer("200 OK", "<html>", "text/html"), NOT_PROMETHEUS),
    "a list": (http_answer("200 OK", "[]"), NOT_PROMETHEUS),
    "another object": (http_answer("200 OK", '{"data": null}'), NOT_PROMETHEUS),
    "a result that is no list": (result({"a": 1}), NOT_PROMETHEUS),
    "nothing": (http_answer("200 OK", ""), NOT_PROMETHEUS),
    "bytes that are no text": (http_answer("200 OK", b"\xff\xfe\x00"), NOT_PROMETHEUS),
    "a gateway without a server": (http_answer("502 Bad Gateway", "<html>", "text/html"), "it answers 502 Bad Gateway"),
    "a query that took too long": (
        http_answer("503 Service Unavailable", '{"status":"error","errorType":"timeout","error":"query timed out"}'),
        "it answers 503 Service Unavailable",
    ),
    "a closed door": (http_answer("401 Unauthorized"), "it answers 401 Unauthorized"),
    "another path": (http_answer("404 Not Found", "404 page not found", "text/plain"), "it answers 404 Not Found"),
    "a redirect to itself": (
        http_answer("302 Found", "", "text/html", "Location: /api/v1/query"),
        "it answers 302 Found",
    ),
    "too much": (http_answer("200 OK", b" " * 200_000), "its answer is longer than 100000 bytes: narrow the query"),
    "too little": (result([])[:-5], "its answer ended too early"),
    "no HTTP": (b"220 mail.example.org ESMTP\r\n", "it closed the connection or does not speak HTTP"),
    "a closed connection": (b"", "it closed the connection or does not speak HTTP"),
}


@pytest.mark.parametrize("metric", EVERY, ids=[metric.type.value for metric in EVERY])
@pytest.mark.parametrize(("answer", "why"), ODD.values(), ids=ODD.keys())
async def test_odd_answers_measure_nothing(metric: Metric, answer: bytes, why: str) -> None:
    async with servers.answering(answer) as peer:
        source = adapter.Prometheus(peer.url, QUICK)
        found = await source.measure(metric, SUBJECT, 60)
        source.close()
    assert found == measurement.Unavailable(f"Prometheus at {peer.url} cannot be asked: {why}")


async def test_series_that_are_none_measure_nothing() -> None:
    async with servers.answering(result([{"metric": {}, "values": []}])) as peer:
        source = adapter.Prometheus(peer.url, QUICK)
        found = await source.measure(ERRORS, SUBJECT, 60)
        source.close()
    assert found == measurement.Unavailable(
        "Prometheus' answer is not a vector: check that its address leads to its API"
    )


async def test_a_revision_that_is_no_name_is_not_asked_about() -> None:
    async with servers.answering(result([])) as peer:
        source = adapter.Prometheus(peer.url, QUICK)
        found = await source.measure(ERRORS, ports.Subject("ml", "fraud", '"} or vector(0)', None), 60)
        source.close()
    assert (found, peer.received) == (
        measurement.Unavailable("'\"} or vector(0)' is not the name of a revision"),
        [],
    )


async def test_a_connection_that_breaks_once_is_tried_again() -> None:
    async with servers.answering(b"", result([{"metric": {}, "value": [1, "2"]}])) as peer:
        source = adapter.Prometheus(peer.url, QUICK)
        found = await source.measure(OWN, SUBJECT, 60)
        source.close()
    assert (found, peer.requests) == (measurement.Value(2.0), 2)


@pytest.mark.parametrize("metric", EVERY, ids=[metric.type.value for metric in EVERY])
async def test_nobody_there(metric: Metric) -> None:
    url = f"http://127.0.0.1:{servers.free_port()}"
    source = adapter.Prometheus(url, QUICK)
    found = await source.measure(metric, SUBJECT, 60)
    source.close()
    assert found == measurement.Unavailable(f"Prometheus at {url} cannot be asked: connection refused")


async def test_a_server_that_never_answers_costs_seconds_however_many_ask() -> None:
    def query(number: int) -> Metric:
        return OWN.model_copy(update={"query": f"up + {number}"})

    async with servers.silent() as peer:
        source = adapter.Prometheus(peer.url, QUICK)
        started = time.monotonic()
        found = await asyncio.gather(*(source.measure(query(number), SUBJECT, 60) for number in range(100)))
        took = time.monotonic() - started
        source.close()
    assert {type(one) for one in found} == {measurement.Unavailable}
    assert took < 6  # not a hundred times as long


async def test_the_same_question_at_once_is_asked_once_and_again_a_moment_later() -> None:
    now = [100.0]
    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    async with servers.answering(result([])) as peer:
        source = adapter.Prometheus(peer.url, QUICK, clock)
        counts = []
        for seconds in (0, 0.2, 0.05):
            now[0] += seconds
            await asyncio.gather(*(source.measure(metric, SUBJECT, 5) for metric in EVERY * 20))
            counts.append(peer.requests)
        source.close()
    assert counts == [3, 3, 6]


async def test_an_answer_over_a_long_window_serves_longer() -> None:
    now = [100.0]
    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    async with servers.answering(result([])) as peer:
        source = adapter.Prometheus(peer.url, QUICK, clock)
        counts = []
        for seconds in (0, 0.4, 0.1):
            now[0] += seconds
            await asyncio.gather(*(source.measure(ERRORS, SUBJECT, window) for window in (5, 3600)))
            counts.append(peer.requests)
        source.close()
    assert counts == [2, 3, 4]


async def test_credentials_of_the_address_are_sent_and_never_said() -> None:
    said: list[str] = []
    for answer, _ in ODD.values():
        async with servers.answering(answer) as peer:
            source = adapter.Prometheus(peer.url.replace("://", f"://ann:{SECRET}@"), QUICK)
            said.extend([str(await source.measure(metric, SUBJECT, 60)) for metric in EVERY])
            source.close()
        basic = base64.b64encode(f"ann:{SECRET}".encode())
        assert [basic in request for request in peer.received] == [True] * len(peer.received)
    assert not [words for words in said if SECRET in words]


def test_an_address_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(errors.Misconfigured, match="write it as http://host:port"):
        adapter.Prometheus("prometheus:9090")
