"""The second port: what it tells about the answers and truths of the first one, and what it refuses."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from penstock_runtime import ledger, pages
from penstock_runtime.answers import Answer, Outcome

from tests.unit.runtime import models, serving


def moods(*words: str) -> dict[str, Any]:
    return {"dataframe_records": [{"mood": word} for word in words]}


def untimed(page: serving.Response, name: str = "answers") -> Any:
    """The page without what differs from run to run."""
    assert (page.status, page.headers["content-type"]) == (200, "application/json")
    content = page.json
    assert len(content.pop("boot")) == 16
    for row in content[name]:
        assert abs(row.pop(2) - time.time()) < 60
    return content


@pytest.fixture
async def moody() -> AsyncIterator[serving.Server]:
    async with serving.server(models.saved("moody")) as running:
        yield running


async def ask(running: serving.Server, request_id: str, *words: str) -> None:
    await running.ask(moods(*words), headers={"x-request-id": request_id})


async def test_answers_come_out_in_order(moody: serving.Server) -> None:
    assert untimed(await moody.page("/answers")) == {
        "next": 0,
        "lost": 0,
        "oversized": 0,
        "sampled": 0,
        "answers": [],
    }
    await ask(moody, "a", "glad")
    await ask(moody, "b", "no", "nan")
    await ask(moody, "c", "boom")
    await moody.ask(moods("glad"))  # without an id
    await moody.ask(b"{", headers={"x-request-id": "d"})  # nothing for the model
    assert untimed(await moody.page("/answers?after=0&limit=2")) == {
        "next": 2,
        "lost": 0,
        "oversized": 0,
        "sampled": 3,
        "answers": [[1, "a", "success", [4.0]], [2, "b", "success", [2.0, None]]],
    }
    assert untimed(await moody.page("/answers?after=2")) == {
        "next": 3,
        "lost": 0,
        "oversized": 0,
        "sampled": 3,
        "answers": [[3, "c", "model_error", None]],
    }
    counted = [
        await moody.metric(f"penstock_answers_{name}_total") for name in ("sampled", "without_id", "oversized", "lost")
    ]
    assert counted == [3, 1, 0, 0]


async def test_what_was_overwritten_is_lost() -> None:
    async with serving.server(models.saved("moody"), answers_kept=2) as running:
        await ask(running, "a", "glad")
        assert (await running.page("/answers")).json["next"] == 1
        for name in "bcde":
            await ask(running, name, "glad")
        assert untimed(await running.page("/answers?after=1")) == {
            "next": 5,
            "lost": 2,
            "oversized": 0,
            "sampled": 5,
            "answers": [[4, "d", "success", [4.0]], [5, "e", "success", [4.0]]],
        }
        assert await running.metric("penstock_answers_lost_total") == 2


async def test_an_answer_above_4_kib_is_kept_without_its_predictions(moody: serving.Server) -> None:
    await ask(moody, "a", *["glad"] * 1100)
    page = untimed(await moody.page("/answers"))
    assert (page["oversized"], page["answers"]) == (1, [[1, "a", "success", None]])
    assert await moody.metric("penstock_answers_oversized_total") == 1


async def test_two_requests_with_one_id_are_both_kept(moody: serving.Server) -> None:
    await ask(moody, "a", "glad")
    await ask(moody, "a", "no")
    page = untimed(await moody.page("/answers"))
    assert page["answers"] == [[1, "a", "success", [4.0]], [2, "a", "success", [2.0]]]


async def test_both_protocols_leave_the_same_predictions(moody: serving.Server) -> None:
    tensors = {"inputs": [{"name": "mood", "datatype": "BYTES", "shape": [2], "data": ["glad", "frame"]}]}
    headers = {"x-request-id": "a"}
    await serving.call(moody.app, "POST", "/v2/models/fraud/infer", json.dumps(tensors).encode(), headers)
    await moody.ask(moods("glad", "frame"), headers=headers)
    first, second = untimed(await moody.page("/answers"))["answers"]
    frame = [{"length": 4.0, "word": "glad"}, {"length": 5.0, "word": "frame"}]
    assert (first, second) == ([1, "a", "success", frame], [2, "a", "success", frame])


async def test_requests_of_one_batch_are_told_apart() -> None:
    async with serving.server(models.saved("moody")) as running:
        slow = asyncio.create_task(ask(running, "slow", "sleep 0.2"))
        await serving.until(lambda: running.batcher.busy == 1)
        await asyncio.gather(slow, ask(running, "a", "glad"), ask(running, "b", "no"))
        answered = untimed(await running.page("/answers"))["answers"]
    assert {row[1]: row[3] for row in answered} == {"slow": [9.0], "a": [4.0], "b": [2.0]}


async def test_a_model_that_is_too_slow_has_answered_with_an_error() -> None:
    async with serving.server(models.saved("hanging"), request_timeout=0.05) as running:
        await running.ask({"inputs": [{"x": 1}]}, headers={"x-request-id": "a"})
        assert untimed(await running.page("/answers"))["answers"] == [[1, "a", "model_error", None]]


async def test_nothing_is_sampled_at_0_percent() -> None:
    async with serving.server(models.saved("moody"), answers_percent=0.0) as running:
        await ask(running, "a", "glad")
        assert untimed(await running.page("/answers"))["answers"] == []
        assert await running.metric("penstock_answers_sampled_total") == 0


def rows(*predictions: Any) -> pages.Pages:
    kept = ledger.Ledger(4096, 100)
    for number, values in enumerate(predictions):
        body = json.dumps({"predictions": values}).encode()
        kept.keep([(b"x-request-id", b"%d" % number)], Answer(200, body, Outcome.SUCCESS))
    return pages.Pages(kept)


@pytest.mark.parametrize(
    ("number", "query", "first", "last"),
    [(1, "", 1, 1), (1000, "", 1, 1000), (2000, "", 1, 1000), (2000, "?after=1500", 1501, 2000)],
)
async def test_a_page_has_at_most_1000_entries(number: int, query: str, first: int, last: int) -> None:
    application = rows(*range(number))
    page = untimed(await serving.call(application, "GET", f"/answers{query}"))
    assert page["answers"] == [[n, str(n - 1), "success", n - 1] for n in range(first, last + 1)]
    assert page["next"] == last


async def test_the_largest_page_does_not_hold_the_loop() -> None:
    application, turns = rows(*[[float("nan")] * 800] * 1000), 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    page = await serving.call(application, "GET", "/answers")
    turning.cancel()
    assert [row[4] for row in page.json["answers"]] == [[None] * 800] * 1000
    assert turns > 20


async def test_few_pages_are_under_way_at_once() -> None:
    application, going_on, statuses = rows(1), asyncio.Event(), list[int]()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        elif message.get("more_body") and statuses[-1] == 200:
            await going_on.wait()

    async def receive() -> Mapping[str, Any]:
        raise AssertionError

    scope = {"type": "http", "method": "GET", "path": "/answers", "headers": []}
    slow = [asyncio.create_task(application(scope, receive, send)) for _ in range(4)]
    await serving.until(lambda: len(statuses) == 4)
    await application(scope, receive, send)
    assert statuses == [200, 200, 200, 200, 429]
    going_on.set()
    await asyncio.gather(*slow)
    assert (await serving.call(application, "GET", "/answers")).status == 200


WHOLE_AFTER = "it must be a whole number from 0 to 999999999999999."
WHOLE_LIMIT = "it must be a whole number from 1 to 1000."
OTHERS = "Send the parameters after and limit, each at most once, and no others."
QUERIES = {
    "after=-1": f"after is '-1'; {WHOLE_AFTER}",
    "after=": f"after is ''; {WHOLE_AFTER}",
    "after=1.5": f"after is '1.5'; {WHOLE_AFTER}",
    "after=%D9%A1": f"after is '\N{ARABIC-INDIC DIGIT ONE}'; {WHOLE_AFTER}",
    "after=9999999999999999": f"after is '9999999999999999'; {WHOLE_AFTER}",
    "limit=0": f"limit is '0'; {WHOLE_LIMIT}",
    "limit=1001": f"limit is '1001'; {WHOLE_LIMIT}",
    f"limit={'9' * 9000}": f"limit is '{'9' * 50}'; {WHOLE_LIMIT}",
    "after=1&after=2": OTHERS,
    "since=1": OTHERS,
    "&".join(f"a{n}=1" for n in range(20)): "There are too many parameters. Send after and limit.",
}


@pytest.mark.parametrize("path", ["/answers", "/truths"])
@pytest.mark.parametrize(("query", "message"), QUERIES.items(), ids=[query[:30] for query in QUERIES])
async def test_a_question_that_makes_no_sense_is_refused(path: str, query: str, message: str) -> None:
    answer = await serving.call(rows(1), "GET", f"{path}?{query}")
    assert (answer.status, answer.json) == (400, {"error_code": "INVALID_PARAMETER_VALUE", "message": message})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/truths", 200),
        ("POST", "/answers", 405),
        ("HEAD", "/truths", 405),
        ("POST", "/invocations", 404),
        ("GET", "/metrics", 404),
        ("GET", "/", 404),
    ],
)
async def test_routes_of_the_second_port(moody: serving.Server, method: str, path: str, status: int) -> None:
    assert (await serving.call(moody.pages, method, path)).status == status


@pytest.mark.parametrize("path", ["/answers", "/truths"])
async def test_the_first_port_has_none_of_it(moody: serving.Server, path: str) -> None:
    assert (await moody.get(path)).status == 404
