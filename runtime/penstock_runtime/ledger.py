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
from typing import Final

import orjson

from penstock_runtime import ring
from penstock_runtime.answers import Answer, Outcome

ANSWERS_BYTES: Final = 6 * 1024 * 1024
TRUTHS_BYTES: Final = 2 * 1024 * 1024

# Longer ids are not kept: two that are cut off could be taken for each other.
LONGEST_ID: Final = 256
# The longest text of an answer whose predictions are kept, and of a truth.
LONGEST_TEXT: Final = 4096
_HEAD: Final = b'{"predictions":'

# Looked up once: members of an enumeration are found, and hashed, by Python code.
_SUCCESS: Final = Outcome.SUCCESS
_MODEL_ERROR: Final = Outcome.MODEL_ERROR


# Plain tuples: they cost a quarter of a class's instances, and the garbage collector leaves them alone.
Answered = tuple[bytes, float, Outcome, bytes | None]
"""Id, seconds since 1970, outcome, and the answer's body; none for an error, or for one that was too long."""

Truth = tuple[bytes, float, bytes]
"""Id, seconds since 1970, and what the answer should have been, in JSON."""


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
        outcome = answer.outcome
        if outcome is not _SUCCESS and outcome is not _MODEL_ERROR:
            return
        request_id = _identifier(headers)
        if not 0 < len(request_id) <= LONGEST_ID:
            self.without_id += 1
            return
        if zlib.crc32(request_id) >= self._below:
            return
        body: bytes | None = answer.body
        size = len(answer.body)
        if outcome is _MODEL_ERROR:
            body, size = None, 0
        elif size > LONGEST_TEXT:
            self.oversized += 1
            body, size = None, 0
        self.answers.append((request_id, time.time(), outcome, body), len(request_id) + size)

    def learn(self, truths: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep truths: pairs of an id and a JSON text, each within its length."""
        now = time.time()
        for request_id, truth in truths:
            self.truths.append((request_id, now, truth), len(request_id) + len(truth))


def answered(number: int, entry: Answered) -> bytes:
    """One answer as the operator gets it, in JSON."""
    request_id, at, outcome, body = entry
    predictions = b"null" if body is None else predicted(body)
    return b'[%d,%b,%a,"%b",%b]' % (number, _text(request_id), at, outcome.encode(), predictions)


def learnt(number: int, entry: Truth) -> bytes:
    """One truth as the operator gets it, in JSON."""
    request_id, at, truth = entry
    return b"[%d,%b,%a,%b]" % (number, _text(request_id), at, truth)


def predicted(body: bytes) -> bytes:
    """The predictions in an answer's text, as JSON that every reader takes; `null` in an answer that has none.

    MLflow writes NaN and Infinity as bare words, and Python writes half characters. They become null and `?` here, so
    that one of them does not spoil a thousand other answers.
    """
    try:
        content = orjson.loads(body)
        found = content.get("predictions") if type(content) is dict else None
        if found is not None and len(content) == 1 and body.startswith(_HEAD) and body.endswith(b"}"):
            return body[len(_HEAD) : -1]
        return orjson.dumps(found)
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


def _text(request_id: bytes) -> bytes:
    try:
        return orjson.dumps(request_id.decode())
    except UnicodeDecodeError:
        return orjson.dumps(request_id.decode("latin-1"))
