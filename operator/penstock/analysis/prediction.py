"""What a prediction says, in a word: a number or a class. And which row of a request speaks for it. Pure."""

import hashlib
import json
import math
from collections.abc import Mapping

Reading = float | str


def row_of(predictions: object, request: str) -> object:
    """One row of the request's answer, the same one for every version that answers with as many rows.

    Rows of one request are often of one user or one file, and no evidence of their own. Raises ValueError without rows.
    """
    if not isinstance(predictions, list):
        return predictions
    if not predictions:
        raise ValueError("an answer without rows")
    digest = hashlib.blake2b(request.encode(errors="replace"), digest_size=8).digest()
    return predictions[int.from_bytes(digest) % len(predictions)]


def reading(row: object) -> Reading:
    """What is predicted in a row: a finite number, or a class as short text.

    One entry of a list or one field stands for itself, and of several numbers (such as the probabilities of classes)
    the largest is what is predicted. Of fields of several types, the texts and bools are.
    """
    if isinstance(row, bool) or row is None:
        return json.dumps(row)
    if isinstance(row, int | float):
        try:
            return float(row) if math.isfinite(row) else str(float(row))
        except OverflowError:
            return "inf" if row > 0 else "-inf"
    if isinstance(row, str):
        return _short(row)
    if isinstance(row, list | dict):
        fields = dict(enumerate(row)) if isinstance(row, list) else row
        if len(fields) == 1:
            return _nested(next(iter(fields.values())))
        if fields and all(isinstance(entry, int | float) and not isinstance(entry, bool) for entry in fields.values()):
            return "nan" if any(entry != entry for entry in fields.values()) else _largest(fields)  # noqa: PLR0124
        named = {name: entry for name, entry in fields.items() if isinstance(entry, str | bool)}
        return _nested(next(iter(named.values())) if len(named) == 1 else named or row)
    return _short(str(row))


def _nested(value: object) -> Reading:
    """A value within a row: no deeper than that."""
    if isinstance(value, list | dict):
        try:
            return _short(json.dumps(value, sort_keys=True))
        except RecursionError:
            return "nested too deep"
    return reading(value)


def _largest(fields: Mapping[object, int | float]) -> str:
    return f"largest: {max(fields, key=lambda name: fields[name])}"


def _short(text: str) -> str:
    if len(text) <= 60:
        return text
    return f"{text[:40]}… ({hashlib.blake2b(text.encode(errors='replace'), digest_size=6).hexdigest()})"
