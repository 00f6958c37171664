"""Do two versions answer the same requests alike? Differences of answers that were joined by their request."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from penstock.analysis.sequential.outcome import Interval, Outcome, Undecided


class Statistic(enum.StrEnum):
    """What of the differences is judged; the values are those of the API."""

    SHARE = "Share"
    MEAN_ABSOLUTE = "MeanAbsolute"
    MEAN_RELATIVE = "MeanRelative"


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Numbers agree within absolute + relative * |stable's|."""

    absolute: float = 0.0
    relative: float = 0.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numeric differences, one a request."""

    count: int = 0
    total: float = 0.0
    undefined: int = 0
    bins: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A request that was answered differently; the answers are short JSON texts."""

    request: str
    stable: str
    candidate: str
    size: float


@dataclass(frozen=True, slots=True)
class Shadowed:
    """One request that both versions were asked; a version that failed has no predictions."""

    request: str
    stable: object
    candidate: object
    stable_failed: bool = False
    candidate_failed: bool = False


@dataclass(frozen=True, slots=True)
class Agreement:
    """Everything observed so far."""

    joined: int = 0
    disagreed: int = 0
    candidate_failed: int = 0
    stable_failed: int = 0
    absolute: Sizes = Sizes()
    relative: Sizes = Sizes()
    unjoined_stable: int = 0
    unjoined_candidate: int = 0
    oversized: int = 0
    duplicates: int = 0
    lost: int = 0
    worst: tuple[Disagreement, ...] = ()
    looks: int = 0

    @property
    def errors(self) -> int:
        """Requests that one side failed and the other answered."""
        return self.candidate_failed + self.stable_failed

    @property
    def collapsed(self) -> bool:
        """Whether all of the candidate's answers were the same while stable's were not."""
        return False

    def observed(self, answered: Iterable[Shadowed], tolerance: Tolerance) -> "Agreement":
        """With one more look."""
        del answered, tolerance
        return self


def compare(
    agreement: Agreement,
    limit: float,
    confidence: float = 0.95,
    name: str = "answers",
    statistic: Statistic | str = Statistic.SHARE,
) -> Outcome:
    """Whether the candidate's answers differ from stable's by more than `limit`."""
    del limit, confidence, statistic
    return Undecided(Interval(), agreement.joined, agreement.joined, agreement.looks, f"{name}: nothing to compare yet")
