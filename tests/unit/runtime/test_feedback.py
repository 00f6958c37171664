"""POST /feedback: what is a truth, and that nothing is kept of a request that has one bad part."""

import json
import time
from typing import Any

import pytest
from penstock_runtime import app
from penstock_runtime.settings import Limits

from tests.unit.runtime import models, serving


def truth(value: Any, request_id: Any = "a") -> dict[str, Any]:
    return {"request_id": request_id, "truth": value}


async def truths(running: serving.Server) -> list[list[Any]]:
    """All that is kept, without the times."""
    page = (await running.page("/truths")).json
    assert page.keys() == {"boot", "next", "lost", "oversized", "sampled", "truths"}
    assert (page["next"], page["sampled"]) == (len(page["truths"]), len(page["truths"]))
    for row in page["truths"]:
        assert abs(row.pop(2) - time.time()) < 60
    rows: list[list[Any]] = page["truths"]
    return rows


GOOD: dict[str, tuple[Any, list[list[Any]]]] = {
    "a number": (truth(1.5), [[1, "a", 1.5]]),
    "a large whole number": (truth(2**63), [[1, "a", 2**63]]),
    "a text": (truth("fraud"), [[1, "a", "fraud"]]),
    "a text in another alphabet": (truth("обман", "é"), [[1, "é", "обман"]]),
    "a boolean": (truth(value=True), [[1, "a", True]]),
    "one for each row": (truth([1, 2.5, "b", False]), [[1, "a", [1, 2.5, "b", False]]]),
    "several": ({"feedback": [truth(1), truth(2, "b"), truth(3)]}, [[1, "a", 1], [2, "b", 2], [3, "a", 3]]),
    "none": ({"feedback": []}, []),
    "the longest id": (truth(1, "é" * 128), [[1, "é" * 128, 1]]),
    "the longest truth": (truth("a" * 4094), [[1, "a", "a" * 4094]]),
    "as many as can be": (
        {"feedback": [truth(n, f"id-{n}") for n in range(1000)]},
        [[n + 1, f"id-{n}", n] for n in range(1000)],
    ),
}


@pytest.mark.parametrize(("body", "expected"), GOOD.values(), ids=GOOD.keys())
async def test_truths_are_kept(body: Any, expected: list[list[Any]]) -> None:
    async with serving.server(models.saved("moody")) as running:
        answer = await running.feedback(body)
        assert (answer.status, answer.json) == (202, {"accepted": len(expected)})
        assert await truths(running) == expected
        assert await running.metric("penstock_feedback_total", outcome="accepted") == 1
        assert await running.metric("penstock_truths_total") == len(expected)
        assert await running.metric("penstock_requests_total", outcome="success") == 0


NO_TRUTH = "is not a number, a text, a boolean, or a list of these."
NO_JSON = "The body is not JSON: "
BAD: dict[str, tuple[Any, str]] = {
    "no JSON": (b"{", NO_JSON),
    "nothing": (b"", NO_JSON),
    "no text": (b"\xff\xfe\x00", NO_JSON),
    "too deep": (b"[" * 100_000, NO_JSON),
    "a number with thousands of digits": (b'{"request_id": "a", "truth": ' + b"1" * 5000 + b"}", NO_JSON),
    "a list": ([truth(1)], "The body is not an object. Send "),
    "an empty object": ({}, "The body has no request_id and no truth."),
    "no id": ({"truth": 1}, "The body has no request_id."),
    "no truth": ({"request_id": "a"}, "The body has no truth."),
    "another field": ({**truth(1), "weight": 1}, "The body has a field 'weight'. Send request_id and truth, and "),
    "an id that is a number": (truth(1, 7), "The request_id of the body is not a text. Send the x-request-id of "),
    "an empty id": (truth(1, ""), "The request_id of the body is not a text."),
    "an id of half a character": (truth(1, "\ud83d"), "The request_id of the body is not valid Unicode."),
    "an id that is too long": (truth(1, "é" * 128 + "a"), "The request_id of the body is longer than 256 bytes."),
    "a truth that is null": (truth(None), f"The truth of the body {NO_TRUTH}"),
    "a truth that is an object": (truth({"a": 1}), f"The truth of the body {NO_TRUTH}"),
    "a truth of lists": (truth([[1], [2]]), f"The truth of the body {NO_TRUTH}"),
    "a row without a truth": (truth([1, None]), f"The truth of the body {NO_TRUTH}"),
    "no rows": (truth([]), "The truth of the body is an empty list. Send one entry for each row of the request."),
    "NaN": (truth(float("nan")), "The body contains NaN, which is not JSON. Leave out what is not known."),
    "NaN in a row": (truth([1.0, float("nan")]), "The body contains NaN, which is not JSON."),
    "Infinity": (truth(float("-inf")), "The body contains -Infinity, which is not JSON."),
    "a number beyond any": (b'{"request_id": "a", "truth": 1e999}', "The truth of the body is a number that is too "),
    "a whole number of more than 64 bits": (truth(2**64), "The truth of the body can not be kept: "),
    "half a character": (truth("\ud83d"), "The truth of the body can not be kept: "),
    "a truth that is too long": (truth("a" * 4095), "The truth of the body is longer than 4096 bytes of JSON."),
    "feedback that is no list": ({"feedback": truth(1)}, "feedback is not a list."),
    "feedback beside a truth": ({"feedback": [], **truth(1)}, "The body has other fields beside feedback."),
    "too many": ({"feedback": [truth(1)] * 1001}, "feedback has 1001 entries. Send at most 1000 at a time."),
    "one that is no object": ({"feedback": [truth(1), "a"]}, "feedback[1] is not an object."),
    "one without an id": ({"feedback": [truth(1), truth(2), {"truth": 3}]}, "feedback[2] has no request_id."),
    "one without a truth at the end": (
        {"feedback": [*[truth(1)] * 999, truth(None)]},
        f"The truth of feedback[999] {NO_TRUTH}",
    ),
}


@pytest.mark.parametrize(("body", "message"), BAD.values(), ids=BAD.keys())
async def test_nothing_is_kept_of_a_bad_request(body: Any, message: str) -> None:
    async with serving.server(models.saved("moody")) as running:
        answer = await running.feedback(body)
        assert (answer.status, answer.json["error_code"]) == (400, "BAD_REQUEST")
        assert answer.json["message"].startswith(message)
        assert await truths(running) == []
        counted = {
            name: await running.metric("penstock_feedback_total", outcome=name)
            for name in ("accepted", "bad_request", "rejected")
        }
        assert counted == {"accepted": 0, "bad_request": 1, "rejected": 0}
        assert await running.metric("penstock_requests_total", outcome="bad_request") == 0


BODY = json.dumps(truth(1)).encode()


@pytest.mark.parametrize(
    ("body", "most", "status", "limit"),
    [
        (BODY, len(BODY), 202, 0),
        (BODY + b" ", len(BODY), 413, len(BODY)),
        ([BODY, b" "], len(BODY), 413, len(BODY)),
        (BODY.ljust(1024 * 1024), 2**30, 202, 0),
        (BODY.ljust(1024 * 1024 + 1), 2**30, 413, 1024 * 1024),
    ],
    ids=["just fits", "one byte too large", "streamed, too large", "1 MiB", "above 1 MiB"],
)
async def test_bodies_are_limited(body: bytes | list[bytes], most: int, status: int, limit: int) -> None:
    async with serving.server(models.saved("moody"), body_bytes=most) as running:
        answer = await serving.call(running.app, "POST", "/feedback", body)
        assert answer.status == status
        if status == 413:
            sentence = f"The request body is larger than {limit} bytes. Send fewer truths at a time."
            assert answer.json == {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": sentence}
        assert len(await truths(running)) == (1 if status == 202 else 0)


async def test_the_oldest_truths_are_overwritten() -> None:
    async with serving.server(models.saved("moody"), answers_kept=2) as running:
        await running.feedback(truth(0, "first"))
        assert (await running.page("/truths")).json["next"] == 1
        await running.feedback({"feedback": [truth(n, f"id-{n}") for n in range(5)]})
        page = (await running.page("/truths?after=1")).json
        assert ([[row[0], row[1], row[3]] for row in page["truths"]], page["next"], page["lost"]) == (
            [[5, "id-3", 3], [6, "id-4", 4]],
            6,
            3,
        )
        assert await running.metric("penstock_truths_lost_total") == 3


async def test_a_server_without_a_ledger_says_so() -> None:
    alone = app.App(serving.IDENTITY, Limits())
    answer = await serving.call(alone, "POST", "/feedback", BODY)
    assert (answer.status, answer.json) == (
        404,
        {
            "error_code": "RESOURCE_DOES_NOT_EXIST",
            "message": "This server keeps no truths. Set PENSTOCK_ANSWERS_PORT to the port where they are asked for.",
        },
    )
    assert b"penstock_answers" not in (await serving.call(alone, "GET", "/metrics")).body


async def test_a_server_that_loads_takes_no_truths_yet() -> None:
    async with serving.server(models.saved("moody")) as running:
        loading = app.App(serving.IDENTITY, Limits(), running.pages._kept)
        answer = await serving.call(loading, "POST", "/feedback", BODY)
        assert (answer.status, answer.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        assert await truths(running) == []
