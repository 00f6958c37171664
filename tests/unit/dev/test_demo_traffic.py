"""What the traffic client says of the answers it got."""

import asyncio
import time
from collections.abc import Callable

import pytest
from aiohttp import test_utils, web

from dev.traffic import client, report
from dev.traffic.exchange import Exchange, Outcome


def made(
    number: int,
    ended_at: float,
    status: int | None = 200,
    revision: str | None = "old",
    version: int | None = 1,
    error: str = "",
) -> Exchange:
    return Exchange(f"r-{number}", ended_at - 0.25, ended_at, status, revision, version, error)


@pytest.mark.parametrize(
    ("status", "revision", "error", "outcome"),
    [
        pytest.param(200, "a1", "", Outcome.ANSWERED, id="an answer"),
        pytest.param(200, None, "", Outcome.ANSWERED, id="an answer without a name"),
        pytest.param(400, "a1", "BAD_REQUEST", Outcome.FAILED, id="the model raised"),
        pytest.param(500, "a1", "INTERNAL_ERROR", Outcome.FAILED, id="the model answered nonsense"),
        pytest.param(503, "a1", "TEMPORARILY_UNAVAILABLE", Outcome.LOST, id="no pod is ready"),
        pytest.param(429, "a1", "REQUEST_LIMIT_EXCEEDED", Outcome.LOST, id="the server is overloaded"),
        pytest.param(503, "a1", "upstream connect error", Outcome.LOST, id="the proxy could not connect"),
        pytest.param(400, None, "BAD_REQUEST", Outcome.LOST, id="refused by nobody in particular"),
        pytest.param(404, None, "RESOURCE_DOES_NOT_EXIST", Outcome.LOST, id="the host is unknown"),
        pytest.param(None, None, "ServerDisconnectedError", Outcome.LOST, id="the connection broke"),
    ],
)
def test_a_request_is_blamed_on(status: int | None, revision: str | None, error: str, outcome: Outcome) -> None:
    assert made(1, 1.0, status, revision, error=error).outcome is outcome


def test_a_report_sums_up_by_revision_in_the_order_of_the_answers() -> None:
    bad = made(3, 2.5, 400, "new", 2, "BAD_REQUEST")
    lost = made(4, 2.75, None, None, None, "ServerDisconnectedError")
    late = made(5, 3.0, 200, "new", 2)
    exchanges = [late, made(1, 1.0), made(2, 2.0, 200, "new", 2), bad, lost, made(6, 4.0)]
    assert report.summarise(exchanges) == report.Report(
        sent=6,
        tallies={
            "old": report.Tally("old", 1, 2, 0, 1.0, 4.0, slowest=0.25),
            "new": report.Tally("new", 2, 2, 1, 2.0, 3.0, first_failure_at=2.5, slowest=0.25),
        },
        failed=(bad,),
        lost=(lost,),
    )


def test_exposure_lasts_from_the_first_bad_answer_to_the_last_answer_of_the_revision() -> None:
    summed = report.summarise(
        [
            made(1, 1.0),
            made(2, 2.0, 400, "new", 2, "BAD_REQUEST"),
            made(3, 3.5, 200, "new", 2),
            made(4, 9.0),
        ]
    )
    assert (summed.exposure("new"), summed.exposure("old"), summed.exposure("none")) == (1.5, None, None)


def test_an_empty_report_is_empty() -> None:
    assert report.summarise([]) == report.Report()


def test_rates_look_at_the_window_only() -> None:
    exchanges = [
        made(1, 1.0),
        made(2, 8.5),
        made(3, 8.75, 400, "new", 2, "BAD_REQUEST"),
        made(4, 9.0, None, None, None, "TimeoutError"),
        made(5, 9.5),
    ]
    assert report.rates(exchanges, now=10.0, window=2.0) == (report.Rate(1, 1.0, 0.0), report.Rate(2, 0.5, 0.5))


def test_a_description_names_what_was_lost() -> None:
    summed = report.summarise([made(1, 1.0), made(2, 2.0, 503, "old", 1, "no healthy upstream")])
    assert report.describe(summed) == (
        "2 requests, 0 failed by a model, 1 lost\n"
        "  version 1 (revision old): 1 answered, 0 failed, from 1.00 s to 1.00 s, slowest 0.250 s\n"
        "  lost: r-2, sent at 1.75 s: status 503 from version 1 (revision old) after 0.250 s: no healthy upstream"
    )


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(b'{"error_code": "BAD_REQUEST", "message": "no"}', "BAD_REQUEST", id="the form of MLflow"),
        pytest.param(b"upstream connect error", "upstream connect error", id="a sentence of the proxy"),
        pytest.param(b"[1]", "", id="another JSON"),
    ],
)
def test_the_error_of_an_answer_is(content: bytes, code: str) -> None:
    assert client.error_code(content) == code


async def test_traffic_keeps_its_rate_and_its_connections_and_names_every_request() -> None:
    seen: list[tuple[str, str, int]] = []

    async def invocations(request: web.Request) -> web.Response:
        peer = request.transport.get_extra_info("peername")[1] if request.transport else 0
        seen.append((request.headers["Host"], request.headers["x-request-id"], peer))
        body = await request.text()
        if body == "bad":
            headers = {"x-penstock-revision": "b", "x-penstock-model-version": "2"}
            return web.json_response({"error_code": "BAD_REQUEST"}, status=400, headers=headers)
        return web.json_response({}, headers={"x-penstock-revision": "a", "x-penstock-model-version": "1"})

    application = web.Application()
    application.router.add_post("/invocations", invocations)
    async with test_utils.TestServer(application) as server:
        target = client.Target(str(server.make_url("")).rstrip("/"), host="fraud.ml")
        load = client.Load([b"good", b"bad"], per_second=100, connections=3)
        async with client.flowing(target, load) as traffic:
            await _until(lambda: len(traffic.exchanges) >= 50)
            spent = traffic.now
    summed = traffic.summary()
    assert summed.sent == len(seen) == len({request for _, request, _ in seen})
    assert {host for host, _, _ in seen} == {"fraud.ml"}
    assert len({peer for _, _, peer in seen}) <= 3
    assert summed.lost == ()
    assert set(summed.failures()) == {"b"}
    assert abs(summed.tallies["a"].answered - summed.failures()["b"]) <= 1
    assert spent > 0.45


async def test_traffic_to_nobody_is_lost() -> None:
    async with client.flowing(client.Target("http://127.0.0.1:9"), client.Load([b"x"], per_second=200)) as traffic:
        await _until(lambda: len(traffic.exchanges) >= 3)
    assert {exchange.outcome for exchange in traffic.exchanges} == {Outcome.LOST}


async def _until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not check():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
