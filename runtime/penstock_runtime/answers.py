"""One answer to one request: what the client gets, and how the metrics count it."""

import enum
import json
from dataclasses import dataclass

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"


class Outcome(enum.StrEnum):
    """Whose doing the answer is; the metric's label."""

    SUCCESS = "success"
    BAD_REQUEST = "bad_request"
    MODEL_ERROR = "model_error"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, complete. `violation` marks input that the model's signature refuses."""

    status: int
    body: bytes
    outcome: Outcome
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()
    violation: bool = False


def error(
    status: int, code: str, message: str, outcome: Outcome, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> Answer:
    """An answer in MLflow's error form, for what MLflow's own server has no answer to."""
    return Answer(status, json.dumps({"error_code": code, "message": message}).encode(), outcome, headers=headers)


def not_loaded() -> Answer:
    return error(
        503,
        "TEMPORARILY_UNAVAILABLE",
        "The model is still being loaded. Try again when /health answers 200.",
        Outcome.REJECTED,
        RETRY,
    )


def overloaded(waiting: int) -> Answer:
    return error(
        429,
        "REQUEST_LIMIT_EXCEEDED",
        f"{waiting} requests are waiting already. Send fewer at a time, or add replicas.",
        Outcome.REJECTED,
        RETRY,
    )


def too_large(limit: int) -> Answer:
    return error(
        413,
        "REQUEST_LIMIT_EXCEEDED",
        f"The request body is larger than {limit} bytes. Send fewer rows at a time, or raise PENSTOCK_MAX_BODY_BYTES.",
        Outcome.BAD_REQUEST,
    )


def too_slow(seconds: float) -> Answer:
    return error(
        504,
        "DEADLINE_EXCEEDED",
        f"The model did not answer within {seconds:g} s.",
        Outcome.MODEL_ERROR,
    )


def left() -> Answer:
    """For nobody: the client is gone."""
    return error(400, "BAD_REQUEST", "The client left before its request was complete.", Outcome.BAD_REQUEST)


def body_too_slow(seconds: float) -> Answer:
    return error(
        408,
        "DEADLINE_EXCEEDED",
        f"The request body did not arrive within {seconds:g} s.",
        Outcome.BAD_REQUEST,
        ((b"connection", b"close"),),
    )


RETRY = ((b"retry-after", b"1"),)
