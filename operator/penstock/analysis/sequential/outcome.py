"""What a comparison may find: a closed union, so that "no answer yet" can not be mistaken for "no difference".

The interval is of the candidate's increase over stable, in the unit of the margin. Each of its two bounds holds by
itself at every look with the confidence that was asked for; both together with 1 - 2 (1 - confidence).
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds of the increase; infinite where nothing is known."""

    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, slots=True)
class Worse:
    """The candidate is worse than stable by more than the margin."""

    interval: Interval
    candidate: int
    stable: int
    looks: int
    why: str


@dataclass(frozen=True, slots=True)
class NotWorse:
    """The candidate is not worse than stable by the margin."""

    interval: Interval
    candidate: int
    stable: int
    looks: int
    why: str


@dataclass(frozen=True, slots=True)
class Undecided:
    """Both are still possible: these observations do not tell; `for_good` if no number of them will."""

    interval: Interval
    candidate: int
    stable: int
    looks: int
    why: str
    for_good: bool = False


@dataclass(frozen=True, slots=True)
class Incomparable:
    """The two versions were not measured alike, and no number of requests will help."""

    why: str


Decision = Worse | NotWorse | Undecided
Outcome = Decision | Incomparable


def decide(interval: Interval, margin: float) -> type[Worse] | type[NotWorse] | type[Undecided]:
    """The verdict that an interval gives; Worse goes first if the versions crossed over and both were established."""
    if interval.low >= margin:
        return Worse
    return NotWorse if interval.high <= margin else Undecided
