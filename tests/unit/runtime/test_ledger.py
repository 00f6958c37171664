"""Which answers are kept, what they take, and what of their text comes out again."""

import json
import random
import time
import tracemalloc
import uuid
import zlib
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock_runtime import ledger
from penstock_runtime.answers import Answer, Outcome


def headers(request_id: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"a"), (b"x-request-id", request_id), (b"accept", b"*/*")]


GOOD = Answer(200, b'{"predictions":[1.0]}', Outcome.SUCCESS)


def kept(made: ledger.Ledger) -> list[tuple[str, Outcome, bytes | None]]:
    return [
        (request_id.decode(), outcome, body) for _, (request_id, _, outcome, body) in made.answers.read(0, 10_000).items
    ]


ANSWERS: dict[str, tuple[bytes, Answer, list[Any], tuple[int, int]]] = {
    "a prediction": (b"a", GOOD, [("a", Outcome.SUCCESS, GOOD.body)], (0, 0)),
    "a model error": (b"a", Answer(500, b"{}", Outcome.MODEL_ERROR), [("a", Outcome.MODEL_ERROR, None)], (0, 0)),
    "the caller's error": (b"a", Answer(400, b"{}", Outcome.BAD_REQUEST), [], (0, 0)),
    "a refusal": (b"a", Answer(429, b"{}", Outcome.REJECTED), [], (0, 0)),
    "a refusal without an id": (b"", Answer(429, b"{}", Outcome.REJECTED), [], (0, 0)),
    "an empty id": (b"", GOOD, [], (1, 0)),
    "the longest id": (b"a" * 256, GOOD, [("a" * 256, Outcome.SUCCESS, GOOD.body)], (0, 0)),
    "an id that is too long": (b"a" * 257, GOOD, [], (1, 0)),
    "an answer of 4 KiB": (
        b"a",
        Answer(200, b"{" + b" " * 4094 + b"}", Outcome.SUCCESS),
        [("a", Outcome.SUCCESS, b"{" + b" " * 4094 + b"}")],
        (0, 0),
    ),
    "an answer of one byte more": (
        b"a",
        Answer(200, b"{" + b" " * 4095 + b"}", Outcome.SUCCESS),
        [("a", Outcome.SUCCESS, None)],
        (0, 1),
    ),
}


@pytest.mark.parametrize(("request_id", "answer", "expected", "counts"), ANSWERS.values(), ids=ANSWERS.keys())
def test_kept_is(request_id: bytes, answer: Answer, expected: list[Any], counts: tuple[int, int]) -> None:
    made = ledger.Ledger(10, 100)
    made.keep(headers(request_id), answer)
    assert kept(made) == expected
    assert (made.without_id, made.oversized) == counts


def test_a_request_without_an_id_is_counted() -> None:
    made = ledger.Ledger(10, 100)
    made.keep([(b"host", b"a")], GOOD)
    assert (kept(made), made.without_id) == ([], 1)


def test_an_answer_has_its_time() -> None:
    made, before = ledger.Ledger(10, 100), time.time()
    made.keep(headers(b"a"), GOOD)
    ((_, (_, at, _, _)),) = made.answers.read(0, 1).items
    assert before <= at <= time.time()


def test_each_process_has_a_name_of_its_own() -> None:
    assert ledger.Ledger(1, 100).boot != ledger.Ledger(1, 100).boot


@pytest.mark.parametrize(
    ("percent", "least", "most"), [(0, 0, 0), (10, 850, 1150), (50, 4800, 5200), (100, 10_000, 10_000)]
)
def test_so_many_are_sampled(percent: float, least: int, most: int) -> None:
    made, source = ledger.Ledger(10_000, percent), random.Random(7)
    for _ in range(10_000):
        made.keep(headers(str(uuid.UUID(int=source.getrandbits(128))).encode()), GOOD)
    assert least <= made.answers.last <= most


@given(st.lists(st.binary(min_size=1, max_size=40)), st.floats(0, 100))
def test_two_servers_sample_the_same_requests(ids: list[bytes], percent: float) -> None:
    stable, candidate = ledger.Ledger(1000, percent), ledger.Ledger(1000, percent)
    for request_id in ids:
        stable.keep(headers(request_id), GOOD)
    for request_id in reversed(ids):
        candidate.keep(headers(request_id), GOOD)
    found = [[entry[0] for _, entry in made.answers.read(0, 1000).items] for made in (stable, candidate)]
    expected = [request_id for request_id in ids if zlib.crc32(request_id) / 2**32 < percent / 100]
    assert (found[0], found[1][::-1]) == (expected, expected)


SIZES: dict[str, tuple[Sequence[int], Sequence[int], int]] = {
    "small ids, no predictions": ((1,), (5000,), 1),
    "the longest ids and answers": ((256,), (4096,), 4096),
    "usual ones": ((36,), (20, 60), 10),
    "all sorts": ((1, 36, 100, 256), (2, 100, 1000, 4096, 5000), 3),
}


@pytest.mark.parametrize(("ids", "bodies", "truth"), SIZES.values(), ids=SIZES.keys())
def test_memory_is_bounded_whatever_is_sent(ids: Sequence[int], bodies: Sequence[int], truth: int) -> None:
    source = random.Random(7)
    tracemalloc.start()
    made = ledger.Ledger(10**9, 100)
    for _ in range(30_000):
        request_id = source.randbytes(source.choice(ids))
        made.keep(headers(request_id), Answer(200, bytes(source.choice(bodies)), Outcome.SUCCESS))
        made.learn([(bytes(bytearray(request_id)), bytes(truth))])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 1024 * 1024 < held < 8 * 1024 * 1024


TEXTS: dict[str, tuple[str, Any]] = {
    "numbers": ('{"predictions":[1.5,2]}', [1.5, 2]),
    "with blanks": ('{"predictions": [1.5, 2]}', [1.5, 2]),
    "no list": ('{"predictions": 4}', 4),
    "frames": ('{"predictions": [{"a": 1}]}', [{"a": 1}]),
    "NaN and Infinity": ('{"predictions": [NaN, Infinity, -Infinity, 1.0]}', [None, None, None, 1.0]),
    "the words NaN and Infinity": ('{"predictions": ["NaN", "Infinity"]}', ["NaN", "Infinity"]),
    "NaN beside letters": ('{"predictions": [NaN, "\\u00e9\\ud83d\\ude00"]}', [None, "é😀"]),
    "half a character": ('{"predictions": ["a\\ud83d"]}', ["a?"]),
    "without predictions": ('{"got": 1}', None),
    "a language model's list": ("[1, 2]", None),
    "other fields too": ('{"predictions": [1], "other": [2]}', [1]),
    "deeper than orjson writes": ('{"predictions": ' + "[" * 300 + "]" * 300 + "}", json.loads("[" * 300 + "]" * 300)),
    "deeper than Python reads": ('{"predictions": ' + "[" * 2000 + "]" * 2000 + "}", None),
    "no JSON": ("{", None),
}


@pytest.mark.parametrize(("text", "value"), TEXTS.values(), ids=TEXTS.keys())
def test_predictions_are_cut_out(text: str, value: Any) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    assert json.loads(ledger.predicted(text.encode()), parse_constant=refuse) == value
