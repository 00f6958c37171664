"""POST /feedback: what callers learn later about a request, read completely or refused completely.

A truth is a number, a text, a boolean, or a list of these with one entry for each row of the request.
"""

import json
import math
from typing import Any, Final, NoReturn

import orjson

from penstock_runtime import answers, ledger
from penstock_runtime.answers import Answer, Outcome

MOST: Final = 1000
# Far less than the ring holds, so that one request never overwrites itself.
BODY_BYTES: Final = 1024 * 1024

_FIELDS: Final = {"request_id", "truth"}


class _Refused(ValueError):
    """Its text says what is wrong and what to do."""


def read(body: bytes) -> list[tuple[bytes, bytes]] | Answer:
    """The truths in a body, each an id and a JSON text; an Answer is the refusal of them all."""
    try:
        return _read(body)
    except _Refused as refused:
        return answers.error(400, "BAD_REQUEST", str(refused), Outcome.BAD_REQUEST)


def accepted(truths: int) -> Answer:
    return Answer(202, b'{"accepted": %d}' % truths, Outcome.SUCCESS)


def too_large(limit: int) -> Answer:
    return answers.error(
        413,
        "REQUEST_LIMIT_EXCEEDED",
        f"The request body is larger than {limit} bytes. Send fewer truths at a time.",
        Outcome.BAD_REQUEST,
    )


def switched_off() -> Answer:
    return answers.error(
        404,
        "RESOURCE_DOES_NOT_EXIST",
        "This server keeps no truths. Set PENSTOCK_ANSWERS_PORT to the port where they are asked for.",
        Outcome.BAD_REQUEST,
    )


def _read(body: bytes) -> list[tuple[bytes, bytes]]:
    try:
        content = json.loads(body, parse_constant=_constant)
    except _Refused:
        raise
    except (ValueError, RecursionError) as error:
        raise _Refused(f"The body is not JSON: {error}.") from None
    if type(content) is not dict:
        raise _Refused('The body is not an object. Send {"request_id": …, "truth": …} or {"feedback": [ … ]}.')
    if "feedback" not in content:
        return [_item(content, "the body")]
    if len(content) > 1:
        raise _Refused("The body has other fields beside feedback. Put each truth into the list.")
    items = content["feedback"]
    if type(items) is not list:
        raise _Refused("feedback is not a list.")
    if len(items) > MOST:
        raise _Refused(f"feedback has {len(items)} entries. Send at most {MOST} at a time.")
    return [_item(item, f"feedback[{number}]") for number, item in enumerate(items)]


def _constant(word: str) -> NoReturn:
    raise _Refused(f"The body contains {word}, which is not JSON. Leave out what is not known.")


def _item(item: Any, where: str) -> tuple[bytes, bytes]:
    if type(item) is not dict:
        raise _Refused(f'{where} is not an object. Send {{"request_id": …, "truth": …}}.')
    missing, unknown = _FIELDS - item.keys(), sorted(item.keys() - _FIELDS)
    if missing:
        raise _Refused(f"{_subject(where)} has no {' and no '.join(sorted(missing))}.")
    if unknown:
        raise _Refused(
            f"{_subject(where)} has a field {unknown[0][:50]!r}. Send request_id and truth, and nothing else."
        )
    return _identifier(item["request_id"], where), _truth(item["truth"], where)


def _subject(where: str) -> str:
    return where.replace("the body", "The body")


def _identifier(value: Any, where: str) -> bytes:
    if type(value) is not str or not value:
        raise _Refused(f"The request_id of {where} is not a text. Send the x-request-id of the answer.")
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        raise _Refused(f"The request_id of {where} is not valid Unicode.") from None
    if len(encoded) > ledger.LONGEST_ID:
        raise _Refused(f"The request_id of {where} is longer than {ledger.LONGEST_ID} bytes.")
    return encoded


def _truth(value: Any, where: str) -> bytes:
    rows = value if type(value) is list else [value]
    if not rows:
        raise _Refused(f"The truth of {where} is an empty list. Send one entry for each row of the request.")
    for row in rows:
        if type(row) not in {str, bool, int, float}:
            raise _Refused(f"The truth of {where} is not a number, a text, a boolean, or a list of these.")
        if type(row) is float and not math.isfinite(row):
            raise _Refused(f"The truth of {where} is a number that is too large.")
    try:
        text = orjson.dumps(value)
    except orjson.JSONEncodeError as error:  # more than 64 bits, or half a character
        raise _Refused(f"The truth of {where} can not be kept: {error}.") from None
    if len(text) > ledger.LONGEST_TEXT:
        raise _Refused(f"The truth of {where} is longer than {ledger.LONGEST_TEXT} bytes of JSON.")
    return text
