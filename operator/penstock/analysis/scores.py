"""How good are predictions, once the truth is known?"""

import enum
from dataclasses import dataclass

from penstock.analysis.sequential import mean
from penstock.analysis.sequential.mean import Moments
from penstock.analysis.sequential.outcome import Interval, Outcome, Undecided


class Scorer(enum.StrEnum):
    """How a prediction is held against the truth; the values are those of the API."""

    ACCURACY = "Accuracy"
    MEAN_ABSOLUTE_ERROR = "MeanAbsoluteError"
    MEAN_SQUARED_ERROR = "MeanSquaredError"


@dataclass(frozen=True, slots=True)
class Scores:
    """Losses of both versions so far, one a row; of Accuracy a loss is 1 for a wrong answer and 0 for a right one."""

    scorer: Scorer = Scorer.ACCURACY
    candidate: Moments = Moments()
    stable: Moments = Moments()
    state: mean.State | None = None
    mismatched: int = 0
    late: int = 0
    unknown: int = 0
    duplicates: int = 0
    lost: int = 0
    looks: int = 0


def value(scores: Scores) -> tuple[float, int] | None:
    """The candidate's score and how many rows it rests on; None without any."""
    del scores
    return None


def stable_value(scores: Scores) -> tuple[float, int] | None:
    """Stable's score and how many rows it rests on; None without any."""
    del scores
    return None


def compare(scores: Scores, allowed: float, confidence: float = 0.95, name: str = "score") -> Outcome:
    """Whether the candidate's score is worse than stable's by more than `allowed`."""
    del allowed, confidence
    sizes = scores.candidate.count, scores.stable.count
    return Undecided(Interval(), *sizes, scores.looks, f"{name}: nothing to compare yet")
