"""What a metric source may answer: a closed union, so that no answer can be mistaken for a number."""

from dataclasses import dataclass

from penstock.analysis import agreement, drift, scores
from penstock.analysis.sequential import counts, mean, quantile


@dataclass(frozen=True, slots=True)
class Value:
    """A finite number, and how many requests it rests on (None where nobody can know).

    `at_least` says that the true value is above this one, by how much is unknown: a quantile beyond the last bucket of
    its histogram.
    """

    value: float
    samples: int | None = None
    at_least: bool = False


@dataclass(frozen=True, slots=True)
class NoData:
    """The source answered, and has nothing (or, with samples, too little) to say."""

    message: str
    samples: int = 0


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """The source answered with something that is not one finite number: NaN, infinity, many series."""

    message: str


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The source could not be asked, or refused the question."""

    message: str


Plain = Value | NoData | Ambiguous | Unavailable

Evidence = counts.State | quantile.State | mean.State | agreement.Agreement | drift.Distributions
"""What a comparison with stable rests on: all of the step so far."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What is known of the candidate against stable; `plain` is the value by itself where the metric limits it too."""

    evidence: Evidence
    plain: Plain | None = None


@dataclass(frozen=True, slots=True)
class Uncompared:
    """The value by itself, which the metric limits, where the comparison beside it could not be made."""

    plain: Plain
    problem: Ambiguous | Unavailable


Measurement = Plain | Compared | Uncompared | scores.Scores
