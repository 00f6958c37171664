"""The routes, the limits, the states of a server, and how each answer is counted."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from penstock_runtime import app, batching
from penstock_runtime.settings import Limits

from tests.unit.runtime import models, serving


def moods(*words: str) -> dict[str, Any]:
    return {"dataframe_records": [{"mood": word} for word in words]}


@pytest.fixture
async def moody() -> AsyncIterator[serving.Server]:
    async with serving.server(models.saved("moody")) as running:
        yield running


async def test_version_says_what_runs_here(moody: serving.Server) -> None:
    version = (await moody.get("/version")).json
    assert version.keys() == {
        *("namespace", "deployment", "revision", "model", "modelVersion"),
        *("runtimeVersion", "mlflowVersion", "signature", "inputExample"),
    }
    assert {name: version[name] for name in ("namespace", "deployment", "revision", "model", "modelVersion")} == {
        "namespace": "ml",
        "deployment": "fraud",
        "revision": "7f3a9c21d0",
        "model": "fraud",
        "modelVersion": "3",
    }
    assert version["signature"]["inputs"] == [{"type": "string", "name": "mood", "required": True}]
    assert version["inputExample"] is True


async def test_the_example_is_a_request(moody: serving.Server) -> None:
    example = await moody.get("/example")
    assert (await moody.ask(example.body)).json == {"predictions": [4.0]}


async def test_a_model_without_an_example_says_so() -> None:
    async with serving.server(models.saved("doubles")) as running:
        assert (await running.get("/version")).json["inputExample"] is False
        answer = await running.get("/example")
    assert (answer.status, answer.json["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/ping", 200, b"\n"),
        ("GET", "/health", 200, b"\n"),
        ("GET", "/unknown", 404, b'{"detail": "Not Found"}'),
        ("GET", "/invocations", 405, b'{"detail": "Method Not Allowed"}'),
        ("POST", "/ping", 405, b'{"detail": "Method Not Allowed"}'),
    ],
)
async def test_routes(moody: serving.Server, method: str, path: str, status: int, body: bytes) -> None:
    answer = await serving.call(moody.app, method, path)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (status, body, "application/json")


async def test_the_request_id_comes_back(moody: serving.Server) -> None:
    answer = await moody.ask(moods("glad"), headers={"X-Request-Id": "7c0-a"})
    assert answer.headers["x-request-id"] == "7c0-a"
    assert "x-request-id" not in (await moody.ask(moods("glad"))).headers


OUTCOMES: dict[str, tuple[Any, str | None, int, str, int]] = {
    "a prediction": (moods("glad"), "application/json", 200, "success", 0),
    "no JSON": (b"{", "application/json", 400, "bad_request", 0),
    "no known form": ({"unknown": 1}, "application/json", 400, "bad_request", 0),
    "a column missing": ({"dataframe_records": [{"mode": "a"}]}, "application/json", 400, "bad_request", 1),
    "another content type": (b"{}", "text/html", 415, "bad_request", 0),
    "no content type": (b"{}", None, 415, "bad_request", 0),
    "the model raises": (moods("boom"), "application/json", 400, "model_error", 0),
    "the model raises MLflow's own error": (moods("mlflow"), "application/json", 500, "model_error", 0),
    "the model exits": (moods("exit"), "application/json", 400, "model_error", 0),
    "the answer is no JSON": (moods("object"), "application/json", 500, "model_error", 0),
}


@pytest.mark.parametrize(
    ("body", "content_type", "status", "outcome", "violations"), OUTCOMES.values(), ids=OUTCOMES.keys()
)
async def test_outcomes(
    moody: serving.Server, body: Any, content_type: str | None, status: int, outcome: str, violations: int
) -> None:
    answer = await moody.ask(body, content_type)
    counted = {
        name: await moody.metric("penstock_requests_total", outcome=name)
        for name in ("success", "bad_request", "model_error", "rejected")
    }
    assert (answer.status, counted) == (status, {**dict.fromkeys(counted, 0.0), outcome: 1.0})
    assert await moody.metric("penstock_signature_violations_total") == violations
    timed = await moody.metric("penstock_request_duration_seconds_count")
    assert timed == (1 if outcome in {"success", "model_error"} else 0)


@pytest.mark.parametrize(
    ("body", "outcome"),
    [({"inputs": ["boom"]}, "model_error"), ({"inputs": [3]}, "bad_request"), ({"inputs": ["a"]}, "success")],
    ids=["the model raises", "the type hint refuses", "a prediction"],
)
async def test_outcomes_of_a_model_that_checks_inside_the_call(body: Any, outcome: str) -> None:
    async with serving.server(models.saved("typed")) as running:
        await running.ask(body)
        assert await running.metric("penstock_requests_total", outcome=outcome) == 1


async def test_a_value_of_another_type_violates_the_signature() -> None:
    async with serving.server(models.saved("doubles")) as running:
        answer = await running.ask({"dataframe_records": [{"x": "a", "y": 1}]})
        assert (answer.status, answer.json["error_code"]) == (400, "BAD_REQUEST")
        assert await running.metric("penstock_signature_violations_total") == 1
        assert await running.metric("penstock_requests_total", outcome="bad_request") == 1


async def test_predictions_are_counted_by_value(moody: serving.Server) -> None:
    await moody.ask(moods("glad", "no", "nan"))  # 4, 2 and NaN
    await moody.ask(moods("a"))
    counts = [await moody.metric("penstock_predictions_bucket", le=le) for le in ("0.95", "1.0", "2.0", "4.0", "+Inf")]
    assert counts == [0, 1, 2, 3, 4]
    assert await moody.metric("penstock_predictions_sum") == 7
    assert await moody.metric("penstock_predictions_count") == 4
    assert await moody.metric("penstock_batch_size_count") == 2


async def test_every_series_carries_the_four_labels(moody: serving.Server) -> None:
    await moody.ask(moods("glad"))
    labels = ('namespace="ml"', 'deployment="fraud"', 'revision="7f3a9c21d0"', 'model_version="3"')
    lines = [line for line in (await moody.get("/metrics")).body.decode().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not all(label in line for label in labels)] == []
    assert {
        line.partition("{")[0].removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for line in lines
    } == {
        "penstock_requests_total",
        "penstock_request_duration_seconds",
        "penstock_requests_in_flight",
        "penstock_queue_length",
        "penstock_batch_size",
        "penstock_predictions",
        "penstock_signature_violations_total",
        "penstock_model_loaded",
        "penstock_feedback_total",
        "penstock_answers_sampled_total",
        "penstock_answers_without_id_total",
        "penstock_answers_oversized_total",
        "penstock_answers_lost_total",
        "penstock_truths_total",
        "penstock_truths_lost_total",
    }


async def test_a_server_that_loads_is_alive_and_not_ready() -> None:
    loading = app.App(serving.IDENTITY, Limits())
    answers = [await serving.call(loading, "GET", path) for path in ("/ping", "/health", "/version", "/example")]
    assert [answer.status for answer in answers] == [200, 503, 200, 503]
    refused = await serving.call(loading, "POST", "/invocations", b"{}", {"content-type": "application/json"})
    assert (refused.status, refused.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert refused.headers["retry-after"] == "1"
    assert b'outcome="rejected",revision="7f3a9c21d0"} 1.0' in (await serving.call(loading, "GET", "/metrics")).body


async def test_a_draining_server_is_not_ready_and_still_answers(moody: serving.Server) -> None:
    moody.app.drain()
    assert [(await moody.get(path)).status for path in ("/health", "/ping")] == [503, 200]
    answer = await moody.ask(moods("glad"))
    assert (answer.status, answer.headers["connection"]) == (200, "close")


BODY = json.dumps(moods("glad")).encode()
SIZES: dict[str, tuple[bytes | list[bytes], int]] = {
    "just fits": (BODY, 200),
    "one byte too large": (BODY + b" ", 413),
    "streamed, just fits": ([BODY[:10], BODY[10:], b""], 200),
    "streamed, too large": ([BODY, b" ", b" " * 1000], 413),
    "streamed, in one part": ([BODY + b" "], 413),
}


@pytest.mark.parametrize(("body", "status"), SIZES.values(), ids=SIZES.keys())
async def test_bodies_are_limited(body: bytes | list[bytes], status: int) -> None:
    async with serving.server(models.saved("moody"), body_bytes=len(BODY)) as running:
        answer = await serving.call(running.app, "POST", "/invocations", body, {"content-type": "application/json"})
        assert answer.status == status
        assert answer.json.keys() in ({"predictions"}, {"error_code", "message"})
        outcome = "success" if status == 200 else "bad_request"
        assert await running.metric("penstock_requests_total", outcome=outcome) == 1


async def test_a_body_that_never_ends_is_given_up() -> None:
    async with serving.server(models.saved("moody"), request_timeout=0.05) as running:
        started: list[int] = []
        first = [{"type": "http.request", "body": b"{", "more_body": True}]

        async def receive() -> dict[str, Any]:
            if first:
                return first.pop()
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                started.append(message["status"])

        await running.app({"type": "http", "method": "POST", "path": "/invocations", "headers": []}, receive, send)
    assert started == [408]


async def test_a_client_that_leaves_is_not_waited_for() -> None:
    async with serving.server(models.saved("moody")) as running:
        first = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

        async def receive() -> Any:
            return first.pop(0)

        async def send(message: Any) -> None:
            assert message

        await running.app({"type": "http", "method": "POST", "path": "/invocations", "headers": []}, receive, send)
        assert await running.metric("penstock_requests_total", outcome="bad_request") == 1


async def test_overload_is_refused_at_once() -> None:
    async with serving.server(models.saved("moody"), queue_length=2) as running:
        slow = asyncio.create_task(running.ask(moods("sleep 0.3")))
        await serving.until(lambda: running.batcher.busy == 1)
        waiting = [asyncio.create_task(running.ask(moods("glad"))) for _ in range(2)]
        await asyncio.sleep(0)
        assert await running.metric("penstock_queue_length") == 2
        assert await running.metric("penstock_requests_in_flight") == 3
        refused = await running.ask(moods("glad"))
        assert not slow.done()
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert refused.json["error_code"] == "REQUEST_LIMIT_EXCEEDED"
        assert [(await task).status for task in (slow, *waiting)] == [200, 200, 200]
        assert await running.metric("penstock_requests_total", outcome="rejected") == 1


async def test_the_bodies_of_all_requests_together_are_bounded() -> None:
    async with serving.server(models.saved("moody"), held_bytes=200) as running:
        padded = json.dumps(moods("sleep 0.3")).encode() + b" " * 100
        slow = asyncio.create_task(running.ask(padded))
        await serving.until(lambda: running.batcher.busy == 1)
        assert (await running.ask(padded)).status == 429
        assert (await slow).status == 200
        assert (await running.ask(json.dumps(moods("glad")).encode() + b" " * 1000)).status == 200  # alone, it may


async def test_a_hanging_model_times_out_and_then_fails_its_liveness() -> None:
    async with serving.server(models.saved("hanging"), request_timeout=0.05, hang=0.2) as running:
        answer = await running.ask({"inputs": [{"x": 1}]})
        assert (answer.status, answer.json["error_code"]) == (504, "DEADLINE_EXCEEDED")
        assert (await running.get("/ping")).status == 200
        behind = await running.ask({"inputs": [{"x": 1}]})
        assert behind.status == 504
        await serving.until(running.batcher.hangs)
        assert [(await running.get(path)).status for path in ("/ping", "/health")] == [503, 503]
        assert await running.metric("penstock_requests_total", outcome="model_error") == 2


async def test_the_other_routes_answer_while_the_model_works(moody: serving.Server) -> None:
    slow = asyncio.create_task(moody.ask(moods("sleep 0.3")))
    await serving.until(lambda: moody.batcher.busy == 1)
    answers = [await moody.get(path) for path in ("/health", "/ping", "/metrics", "/version")]
    assert not slow.done()
    assert [answer.status for answer in answers] == [200] * 4
    assert (await slow).status == 200


def test_a_worker_that_works_is_not_waited_for() -> None:
    worker = batching.Worker("test")
    assert worker.stop(5)
