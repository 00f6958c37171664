"""Are the candidate's predictions distributed as stable's are?"""

from collections.abc import Iterable
from dataclasses import dataclass

from penstock.analysis.sequential.outcome import Interval, Outcome, Undecided


@dataclass(frozen=True, slots=True)
class Distributions:
    """Predictions of both versions so far, one row a request."""

    candidate_total: int = 0
    stable_total: int = 0
    lost: int = 0
    looks: int = 0

    def observed(self, candidate: Iterable[object], stable: Iterable[object]) -> "Distributions":
        """With one more look."""
        del candidate, stable
        return self


def compare(seen: Distributions, limit: float, confidence: float = 0.95, name: str = "predictions") -> Outcome:
    """Whether the divergence is above `limit` (0 to 1)."""
    del limit, confidence
    sizes = seen.candidate_total, seen.stable_total
    return Undecided(Interval(), *sizes, seen.looks, f"{name}: nothing to compare yet")
