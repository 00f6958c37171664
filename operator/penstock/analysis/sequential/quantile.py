"""Is the candidate's quantile larger than stable's by more than a margin? From the buckets of two histograms.

A p-quantile is at most x exactly if at least a share p of the values is at most x. So for each bound x of a bucket the
count up to x is evidence about where the quantile lies: too few, that it is above x; too many, that it is not. That is
the sequential quantile estimation of Howard and Ramdas, "Sequential estimation of quantiles with applications to A/B
testing and best-arm identification" (2022), with the beta mixture of `binomial`, and their comparison of two arms: a
pair of buckets (one for the candidate's quantile, one for stable's) is refuted if the product of the evidence against
each reaches 1 / (1 - confidence). Only the true pair matters, and its product is an e-process, so no number of buckets
needs a correction. What is left of the pairs bounds the difference; inside of a bucket nothing is known, so a margin
that is small beside the buckets is never decided.

Assumed: given the past, a value is at most x with a probability that lies on the same side of p at all times. Unlike in
`errorrate` and `mean` nothing is compared within intervals: a time in which both are slow, while the candidate has
much more of the traffic than before or after, may look like the candidate's fault. Start a new State with each weight.
"""

import bisect
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from penstock.analysis.sequential import binomial, margin, outcome, wording
from penstock.analysis.sequential.margin import Absolute, Margin
from penstock.analysis.sequential.outcome import Incomparable, Interval, Outcome, Undecided


@dataclass(frozen=True, slots=True)
class Buckets:
    """Observations at most each bound, cumulative, the last bound +Inf; the bounds are in the unit of the values.

    Raises ValueError unless the bounds rise to +Inf and the counts are whole, not negative and not falling.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        *finite, last = self.bounds or (0.0,)
        if not finite or last != math.inf or not all(map(math.isfinite, finite)) or finite != sorted(set(finite)):
            raise ValueError(f"{_listed(self.bounds)} are no bounds: give them in order, +Inf the last")
        if len(self.counts) != len(self.bounds):
            raise ValueError(f"{len(self.bounds)} buckets have {len(self.counts)} counts: give one for each")
        if self.counts[0] < 0 or any(
            after < before for before, after in zip(self.counts, self.counts[1:], strict=False)
        ):
            raise ValueError(f"counts rose by {self.counts}: leave out intervals in which a counter was reset")
        if any(count != int(count) for count in self.counts):
            raise ValueError(f"counts rose by {self.counts}: give increments of raw counters, which are whole")

    @property
    def total(self) -> int:
        return self.counts[-1]

    def plus(self, other: "Buckets") -> "Buckets":
        """Raises ValueError if the buckets are not the same."""
        if self.bounds != other.bounds:
            raise ValueError(f"the buckets changed from {_listed(self.bounds)} to {_listed(other.bounds)}: start anew")
        return Buckets(self.bounds, tuple(mine + its for mine, its in zip(self.counts, other.counts, strict=True)))


def buckets(counts: Mapping[float, int]) -> Buckets:
    """From cumulative counts by bound. Raises what Buckets raises."""
    bounds = tuple(sorted(counts))
    return Buckets(bounds, tuple(counts[bound] for bound in bounds))


@dataclass(frozen=True, slots=True)
class State:
    """All increments so far, None before the first."""

    candidate: Buckets | None = None
    stable: Buckets | None = None
    looks: int = 0

    def observed(self, candidate: Buckets, stable: Buckets) -> "State":
        """With one more interval. Raises ValueError if a version's buckets changed."""
        return self.merged(State(candidate, stable, 1))

    def merged(self, other: "State") -> "State":
        """Two states of different intervals as one, in any order. Raises ValueError if a version's buckets differ."""
        return State(_sum(self.candidate, other.candidate), _sum(self.stable, other.stable), self.looks + other.looks)


@dataclass(frozen=True, slots=True)
class Cell:
    """The values in (above, to], and the logarithms of the evidence that the quantile lies higher, or lower."""

    above: float
    to: float
    higher: float
    lower: float


def compare(
    state: State, quantile: float, allowed: Margin, confidence: float = 0.95, name: str | None = None
) -> Outcome:
    """The candidate's quantile (0 < quantile < 1) against stable's after the last interval.

    For an Absolute margin the interval is of the difference of the quantiles, in the unit of the bounds; for a Relative
    one of their ratio less 1. Worse though that is at most the margin, NotWorse though it is at least the margin: each
    at any look with probability at most 1 - confidence. Raises ValueError for a quantile or a confidence that is none.
    """
    if not 0 < quantile < 1:
        raise ValueError(f"the quantile is {quantile}: choose one above 0 and below 1, such as 0.99")
    needed = margin.threshold(confidence)
    label = name or f"p{quantile * 100:.10g}"
    if state.candidate is None or state.stable is None:
        return Undecided(Interval(), 0, 0, state.looks, f"{label}: nothing to compare yet, no interval was observed")
    if state.candidate.bounds != state.stable.bounds:
        mine, its = _listed(state.candidate.bounds), _listed(state.stable.bounds)
        return Incomparable(f"{label}: the candidate's buckets are {mine} and stable's {its}: give both the same")
    sizes = state.candidate.total, state.stable.total
    where = f"{label}: {_where(state.candidate, quantile)} against {_where(state.stable, quantile)}: "
    if not all(sizes):
        why = f"{where}nothing to compare yet, one version or both had no requests"
        return Undecided(Interval(), *sizes, state.looks, why)
    pairs = list(itertools.product(cells(state.candidate, quantile), cells(state.stable, quantile)))
    from_below = [(mine, its) for mine, its in pairs if mine.higher + its.lower < needed]
    from_above = [(mine, its) for mine, its in pairs if mine.lower + its.higher < needed]
    if isinstance(allowed, Absolute):
        interval = Interval(
            min(_gap(mine.above, its.to) for mine, its in from_below),
            max(-_gap(its.above, mine.to) for mine, its in from_above),
        )
        render, scale = wording.seconds, 1.0
    else:
        interval = Interval(
            min(_increase(mine.above, its.to, unknown=-1.0) for mine, its in from_below),
            max(_increase(mine.to, its.above, unknown=math.inf) for mine, its in from_above),
        )
        render, scale = wording.percent, 100.0
    verdict = outcome.decide(interval, allowed.value)
    why = where + wording.finding(interval, allowed.value, confidence, verdict, state.looks, render, scale=scale)
    if verdict is Undecided and _is_one_pair(pairs, needed):
        why += ", and never will be: the buckets are too wide for this margin, so set a wider one"
        return Undecided(interval, *sizes, state.looks, why, for_good=True)
    return verdict(interval, *sizes, state.looks, why)


def _is_one_pair(pairs: Sequence[tuple[Cell, Cell]], needed: float) -> bool:
    """Whether all but one pair of buckets is refuted: more requests change nothing then."""
    left = (mine.higher + its.lower < needed and mine.lower + its.higher < needed for mine, its in pairs)
    return sum(left) == 1


def cells(observed: Buckets, quantile: float) -> Iterator[Cell]:
    """One for each bucket. Nothing can show that a quantile is above +Inf, or below where the values begin (at 0 if the
    first bound is above 0, as in Prometheus' histogram_quantile).
    """
    start = 0.0 if observed.bounds[0] > 0 else -math.inf
    lower = 0.0
    for bound, count in zip(observed.bounds, observed.counts, strict=True):
        is_last = math.isinf(bound)
        misses = observed.total - count
        higher = 0.0 if is_last else binomial.log_against_at_least(count, misses, quantile)
        yield Cell(start, bound, higher, lower)
        start, lower = bound, binomial.log_against_at_most(count, misses, quantile)


def _gap(low: float, high: float) -> float:
    """`low` - `high`, where any infinity means that nothing is known."""
    return -math.inf if math.isinf(low) or math.isinf(high) else low - high


def _increase(value: float, base: float, unknown: float) -> float:
    """`value` / `base` - 1, where infinities and a base of 0 mean that nothing is known."""
    return unknown if math.isinf(value) or math.isinf(base) or base <= 0 else value / base - 1


def _sum(one: Buckets | None, other: Buckets | None) -> Buckets | None:
    if one is None or other is None:
        return one or other
    return one.plus(other)


def _where(observed: Buckets, quantile: float) -> str:
    if observed.total == 0:
        return "no requests"
    index = bisect.bisect_left(observed.counts, quantile * observed.total)
    return f"{_within(observed.bounds, index)} over {observed.total:,} requests"


def _within(bounds: tuple[float, ...], index: int) -> str:
    if index == len(bounds) - 1:
        return f"above {wording.seconds(wording.plain(bounds[-2]))}"
    if index == 0:
        return f"at most {wording.seconds(wording.plain(bounds[0]))}"
    return f"{wording.plain(bounds[index - 1])} to {wording.seconds(wording.plain(bounds[index]))}"


def _listed(bounds: tuple[float, ...]) -> str:
    return ", ".join(f"{bound:g}" for bound in bounds)
