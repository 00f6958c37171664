"""What was counted in each interval, kept by the share of requests that went to the candidate in it.

Intervals are added up only with those of nearly the same share, in steps of `STEP` in the logarithm of
candidate : stable. So the state stays small (tens of strata, whatever the number of intervals), and a bad hour in which
the candidate happened to have half of the traffic is never compared with a good hour in which it had a hundredth.
"""

import math
from dataclasses import dataclass, field

STEP = 0.05


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests of one version, by outcome. Increments of raw counters: Prometheus' increase() makes fractions of them.

    Raises ValueError if one is negative (a counter was reset: leave that interval out) or not a whole number.
    """

    errors: int = 0
    successes: int = 0

    def __post_init__(self) -> None:
        for name, value in (("errors", self.errors), ("successes", self.successes)):
            if value < 0:
                raise ValueError(f"{name} rose by {value}: leave out intervals in which a counter was reset")
            if not float(value).is_integer():
                raise ValueError(f"{name} rose by {value}: give increments of raw counters, which are whole")

    @property
    def total(self) -> int:
        return self.errors + self.successes

    def plus(self, other: "Counts") -> "Counts":
        return Counts(self.errors + other.errors, self.successes + other.successes)


@dataclass(frozen=True, slots=True)
class Pair:
    """Both versions over the same time."""

    candidate: Counts = field(default_factory=Counts)
    stable: Counts = field(default_factory=Counts)

    def plus(self, other: "Pair") -> "Pair":
        return Pair(self.candidate.plus(other.candidate), self.stable.plus(other.stable))

    def swapped(self) -> "Pair":
        return Pair(self.stable, self.candidate)


@dataclass(frozen=True, slots=True)
class Stratum:
    """Intervals whose log(candidate : stable) is `cell` STEP, rounded."""

    cell: int
    pair: Pair


@dataclass(frozen=True, slots=True)
class State:
    """Everything observed so far: strata in the order of their cells, and what had no counterpart.

    `alone` holds intervals in which only one version had requests: they are shown, and prove nothing.
    """

    strata: tuple[Stratum, ...] = ()
    alone: Pair = field(default_factory=Pair)
    looks: int = 0

    def observed(self, candidate: Counts, stable: Counts) -> "State":
        """With one more interval. Raises what Counts raises."""
        pair = Pair(candidate, stable)
        if candidate.total and stable.total:
            return self.merged(State((Stratum(cell(candidate.total, stable.total), pair),), looks=1))
        return self.merged(State(alone=pair, looks=1))

    def merged(self, other: "State") -> "State":
        """Two states of different intervals as one; in any order, the sum is the same."""
        pairs = {stratum.cell: stratum.pair for stratum in self.strata}
        for stratum in other.strata:
            known = pairs.get(stratum.cell)
            pairs[stratum.cell] = stratum.pair if known is None else known.plus(stratum.pair)
        strata = tuple(Stratum(key, pairs[key]) for key in sorted(pairs))
        return State(strata, self.alone.plus(other.alone), self.looks + other.looks)

    def total(self) -> Pair:
        """All requests of both versions, compared or not."""
        pair = self.alone
        for stratum in self.strata:
            pair = pair.plus(stratum.pair)
        return pair

    def swapped(self) -> "State":
        """With the versions exchanged."""
        strata = tuple(Stratum(-stratum.cell, stratum.pair.swapped()) for stratum in reversed(self.strata))
        return State(strata, self.alone.swapped(), self.looks)


def cell(candidate: int, stable: int) -> int:
    """The stratum of an interval with that many requests, both above 0; with the versions exchanged, its negative."""
    return round(math.log(candidate / stable) / STEP)


def share_above(key: int) -> float:
    """A share of the candidate that no interval of the stratum exceeds."""
    return 1 / (1 + math.exp(-(key + 0.5) * STEP))
