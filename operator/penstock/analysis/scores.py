"""How good are predictions, once the truth is known? Sums of losses, one a row. Pure.

A row counts if prediction and truth are of one kind: two texts, two bools, two finite numbers, or lists of as many of
these. Any other pair is `mismatched`, and so is a loss beyond `LARGEST`: neither is ever a number. One entry of a list
or one field of an object stands for itself.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import assert_never

from penstock.analysis.sequential.mean import Moments
from penstock.api.v1alpha1.modeldeployment import Scorer

LARGEST = 1e140
"""Sums of squares of a loss up to this stay finite, however many rows there are."""


@dataclass(frozen=True, slots=True)
class Known:
    """One request whose truth is known: what a version answered (a list, one entry a row), and what was right."""

    predictions: object
    truth: object


@dataclass(frozen=True, slots=True)
class Scores:
    """Losses of both versions so far, one a row; of Accuracy a loss is 1 for a wrong answer and 0 for a right one.

    Truths that score nothing: `late` ones came when the answer was no longer kept, `unknown` ones belong to no answer
    that was ever seen, and `duplicates` to a request whose truth was known. `failed` requests have no answer.
    """

    scorer: Scorer = Scorer.ACCURACY
    candidate: Moments = field(default_factory=Moments)
    stable: Moments = field(default_factory=Moments)
    mismatched: int = 0
    failed: int = 0
    late: int = 0
    unknown: int = 0
    oversized: int = 0
    duplicates: int = 0
    lost: int = 0
    looks: int = 0

    def observed(
        self,
        candidate: Iterable[Known],
        stable: Iterable[Known],
        *,
        failed: int = 0,
        late: int = 0,
        unknown: int = 0,
        oversized: int = 0,
        duplicates: int = 0,
        lost: int = 0,
        looks: int = 1,
    ) -> "Scores":
        """With more answers, by default in one more look."""
        mine, odd = _moments(self.scorer, candidate)
        its, more = _moments(self.scorer, stable)
        return replace(
            self,
            candidate=self.candidate.plus(mine),
            stable=self.stable.plus(its),
            mismatched=self.mismatched + odd + more,
            failed=self.failed + failed,
            late=self.late + late,
            unknown=self.unknown + unknown,
            oversized=self.oversized + oversized,
            duplicates=self.duplicates + duplicates,
            lost=self.lost + lost,
            looks=self.looks + looks,
        )


def value(scores: Scores) -> tuple[float, int] | None:
    """The candidate's score and how many rows it rests on; None without any."""
    return _value(scores.scorer, scores.candidate)


def stable_value(scores: Scores) -> tuple[float, int] | None:
    """Stable's score and how many rows it rests on; None without any."""
    return _value(scores.scorer, scores.stable)


def _value(scorer: Scorer, moments: Moments) -> tuple[float, int] | None:
    if not moments.count:
        return None
    return (1 - moments.mean if scorer is Scorer.ACCURACY else moments.mean), moments.count


def losses(scorer: Scorer, known: Known) -> Iterator[float | None]:
    """One loss a row, None for a mismatched one; a single None if the rows are not as many."""
    predictions, truths = _rows(known.predictions), _rows(known.truth)
    if len(predictions) != len(truths):
        yield None
        return
    for prediction, truth in zip(predictions, truths, strict=True):
        yield _loss(scorer, _alone(prediction), _alone(truth))


def _moments(scorer: Scorer, known: Iterable[Known]) -> tuple[Moments, int]:
    """Of all rows that count, and how many did not."""
    found = [loss for one in known for loss in losses(scorer, one)]
    counted = [loss for loss in found if loss is not None]
    squares = math.fsum(loss * loss for loss in counted)
    return Moments(len(counted), math.fsum(counted), squares), len(found) - len(counted)


def _loss(scorer: Scorer, prediction: object, truth: object) -> float | None:
    entries = [(prediction, truth)]
    if isinstance(prediction, list) and isinstance(truth, list) and len(prediction) == len(truth):
        entries = list(zip(prediction, truth, strict=True))
    if not entries or not all(_alike(*entry) for entry in entries):
        return None
    match scorer:
        case Scorer.ACCURACY:
            return float(any(mine != right for mine, right in entries))
        case Scorer.MEAN_ABSOLUTE_ERROR | Scorer.MEAN_SQUARED_ERROR:
            power = 1 if scorer is Scorer.MEAN_ABSOLUTE_ERROR else 2
            errors = [_error(mine, right, power) for mine, right in entries]
            loss = sum(errors) / len(errors)
            return loss if loss <= LARGEST else None
        case _:
            assert_never(scorer)


def _error(prediction: object, truth: object, power: int) -> float:
    """Infinite if there is nothing to subtract, or too much."""
    if (
        isinstance(prediction, bool | str)
        or not isinstance(prediction, int | float)
        or not isinstance(truth, int | float)
    ):
        return math.inf
    try:
        return abs(float(prediction) - float(truth)) ** power
    except OverflowError:
        return math.inf


def _alike(prediction: object, truth: object) -> bool:
    for kind in (bool, str):
        if isinstance(prediction, kind) or isinstance(truth, kind):
            return isinstance(prediction, kind) and isinstance(truth, kind)
    return _is_finite(prediction) and _is_finite(truth)


def _is_finite(value: object) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _rows(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _alone(row: object) -> object:
    if isinstance(row, list | dict) and len(row) == 1:
        return next(iter(row.values())) if isinstance(row, dict) else row[0]
    return row
