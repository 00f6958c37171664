"""What the operator compares: the latest answers by request id, and the truths that callers sent afterwards.

An answer is kept as the bytes that went out and read when somebody asks, so a request pays for a look at its headers
and an append. Which requests are kept is decided by their id alone: stable and candidate keep the same ones. Whatever
is sent, both rings together hold no more than 8 MiB.
"""

import json
import os
import time
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import orjson

from penstock_runtime import ring
from penstock_runtime.answers import Answer, Outcome

ANSWERS_BYTES: Final = 6 * 1024 * 1024
TRUTHS_BYTES: Final = 2 * 1024 * 1024

# Longer ids are not kept: two that are cut off could be taken for each other.
LONGEST_ID: Final = 256
# The longest text of an answer whose predictions are kept, and of a truth.
LONGEST_TEXT: Final = 4096

_KEPT: Final = frozenset({Outcome.SUCCESS, Outcome.MODEL_ERROR})


class Answered(NamedTuple):
    """An answer as it went out; without a `body` it was an error, or too long. `at` is in seconds since 1970."""

    request_id: bytes
    at: float
    outcome: Outcome
    body: bytes | None


class Truth(NamedTuple):
    """What the answer to a request should have been, in JSON."""

    request_id: bytes
    at: float
    truth: bytes


class Ledger:
    """The rings of one process, called `boot`, and what did not get into them. Belongs to the event loop."""

    def __init__(self, entries: int, percent: float) -> None:
        self.boot = os.urandom(8).hex()
        self.answers: ring.Ring[Answered] = ring.Ring(entries, ANSWERS_BYTES)
        self.truths: ring.Ring[Truth] = ring.Ring(entries, TRUTHS_BYTES)
        self.oversized = 0
        self.without_id = 0
        self._below = percent / 100 * 2**32

    def keep(self, headers: Iterable[tuple[bytes, bytes]], answer: Answer) -> None:
        """Keep the model's answer, if the request has an id and is among the sampled ones."""
        if answer.outcome not in _KEPT:
            return
        request_id = _identifier(headers)
        if not 0 < len(request_id) <= LONGEST_ID:
            self.without_id += 1
            return
        if zlib.crc32(request_id) >= self._below:
            return
        body: bytes | None = answer.body
        if answer.outcome is not Outcome.SUCCESS:
            body = None
        elif len(answer.body) > LONGEST_TEXT:
            self.oversized += 1
            body = None
        entry = Answered(request_id, time.time(), answer.outcome, body)
        self.answers.append(entry, len(request_id) + len(body or b""))

    def learn(self, truths: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep truths: pairs of an id and a JSON text, each within its length."""
        now = time.time()
        for request_id, truth in truths:
            self.truths.append(Truth(request_id, now, truth), len(request_id) + len(truth))


def answered(number: int, entry: Answered) -> list[Any]:
    """One answer as the operator gets it."""
    predictions = orjson.Fragment(b"null" if entry.body is None else predicted(entry.body))
    return [number, _text(entry.request_id), entry.at, entry.outcome.value, predictions]


def learnt(number: int, entry: Truth) -> list[Any]:
    """One truth as the operator gets it."""
    return [number, _text(entry.request_id), entry.at, orjson.Fragment(entry.truth)]


def predicted(body: bytes) -> bytes:
    """The predictions in an answer's text, as JSON that every reader takes; `null` in an answer that has none.

    MLflow writes NaN and Infinity as bare words, and Python writes half characters. They become null and `?` here, so
    that one of them does not spoil a thousand other answers.
    """
    try:
        content = orjson.loads(body)
        return orjson.dumps(content["predictions"] if type(content) is dict and "predictions" in content else None)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        pass
    try:
        content = json.loads(body, parse_constant=lambda _: None)
        found = content.get("predictions") if type(content) is dict else None
        return json.dumps(found, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        return b"null"


def _identifier(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    for name, value in headers:
        if name == b"x-request-id":
            return value
    return b""


def _text(request_id: bytes) -> str:
    try:
        return request_id.decode()
    except UnicodeDecodeError:
        return request_id.decode("latin-1")
