"""Is the candidate's mean higher than stable's by more than a margin? For values in a known range, or sub-Gaussian.

In an interval with n_c and n_s values, n in all, let a = n_s / n, b = n_c / n and h = n_c n_s / n. Then the sum

    S = sum over intervals of h (mean of the candidate's values - mean of stable's)
      = sum of a x over the candidate's values x, and of -b x over stable's

estimates H D, where H is the sum of h, and D the mean of the differences of the two true means with weights h: the
difference within intervals, which neither a change of weights nor one of the level that both share can move. S - H D
stays below a boundary u(V) at all looks with probability 1 - alpha, and so does its negative (Howard, Ramdas, McAuliffe
and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", 2021): D is S / H give or take u(V) / H.

*Range* (Theorem 4, empirical Bernstein): values are scaled to [0, 1]; V is the sum of a^2 (x - c)^2 and b^2 (x - c)^2,
where c is guessed from earlier intervals (there, the mean so far). For 0 <= k < 1 exp(k (S - H D) - psi(k) V) with
psi(k) = -log(1 - k) - k is a supermartingale, because exp(k e - psi(k) e^2) <= 1 + k e for e >= -1. u is where the mean
of these over `STAKES` reaches 1 / alpha: a discrete mixture.

*SubGaussian* (the two-sided normal mixture): V = sigma^2 H, and
u(V) = sqrt((V + rho) (log(1 + V / rho) + 2 log(1 / alpha))); rho makes u smallest where V = sigma^2 TUNED (eq. 14).

Assumed: given the past and the interval's numbers of values, values of different requests are independent.
"""

import math
from dataclasses import dataclass, field

from penstock.analysis.sequential import arithmetic, margin, outcome, wording
from penstock.analysis.sequential.margin import Absolute
from penstock.analysis.sequential.outcome import Decision, Interval

STAKES = tuple(0.9 * 2 ** (-power / 2) for power in range(26))
"""k of the alternatives that are mixed, down to what suits a V of 10^7."""

TUNED = 500.0
"""The H for which a SubGaussian boundary is tightest: 1,000 values of each version."""


@dataclass(frozen=True, slots=True)
class Range:
    """All values lie in [low, high]. Raises ValueError unless both are finite and low < high."""

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"the range is {self.low} to {self.high}: give two finite numbers, the lower one first")

    @property
    def width(self) -> float:
        return self.high - self.low


@dataclass(frozen=True, slots=True)
class SubGaussian:
    """Deviations from the mean have tails no heavier than a normal distribution's with this standard deviation.

    Raises ValueError unless it is finite and above 0.
    """

    sigma: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise ValueError(f"sigma is {self.sigma}: give a finite number above 0")


Spread = Range | SubGaussian


@dataclass(frozen=True, slots=True)
class Moments:
    """How many values, their sum and the sum of their squares, in the unit of the values.

    Raises ValueError if these can not be of any values.
    """

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def __post_init__(self) -> None:
        if self.count < 0 or self.count != int(self.count):
            raise ValueError(f"the count rose by {self.count}: leave out intervals in which a counter was reset")
        if not (math.isfinite(self.total) and math.isfinite(self.squares)):
            raise ValueError(f"the sums rose by {self.total} and {self.squares}: leave values out that are not finite")
        slack = 1e-9 * (1 + self.squares)
        if self.squares < 0 or self.total**2 > self.count * (self.squares + slack):
            raise ValueError(f"no {self.count} values have the sum {self.total} and the sum of squares {self.squares}")

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else math.nan

    def plus(self, other: "Moments") -> "Moments":
        return Moments(self.count + other.count, self.total + other.total, self.squares + other.squares)

    def scaled(self, spread: Range) -> "Moments":
        """As if of (value - low) / width. Raises ValueError if some value lies outside."""
        low, width = spread.low, spread.width
        total = (self.total - self.count * low) / width
        squares = (self.squares - 2 * low * self.total + self.count * low**2) / width**2
        slack = 1e-9 * (1 + self.count)
        if not -slack <= total <= self.count + slack or squares > total + slack:
            raise ValueError(f"some of {self.count} values lie outside of {low} to {spread.high}: give a wider range")
        return Moments(self.count, min(max(total, 0.0), self.count), max(squares, total**2 / max(self.count, 1)))


@dataclass(frozen=True, slots=True)
class State:
    """Everything observed so far; `difference`, `weight` and `variance` are S, H and V of the module."""

    spread: Spread = field(default_factory=Range)
    candidate: Moments = field(default_factory=Moments)
    stable: Moments = field(default_factory=Moments)
    difference: float = 0.0
    weight: float = 0.0
    variance: float = 0.0
    looks: int = 0

    def observed(self, candidate: Moments, stable: Moments) -> "State":
        """With one more interval. Raises ValueError if values lie outside of the range.

        The order of intervals matters a little, because earlier ones tell what to expect of later ones.
        """
        both = candidate.count + stable.count
        difference = weight = variance = 0.0
        if isinstance(self.spread, Range):
            mine, its = candidate.scaled(self.spread), stable.scaled(self.spread)
        else:
            mine, its = candidate, stable
        if candidate.count and stable.count:
            weight = candidate.count * stable.count / both
            difference = weight * (mine.mean - its.mean)
            variance = self._variance(mine, its, weight)
        return self.merged(State(self.spread, candidate, stable, difference, weight, variance, 1))

    def _variance(self, candidate: Moments, stable: Moments, weight: float) -> float:
        if isinstance(self.spread, SubGaussian):
            return self.spread.sigma**2 * weight
        both = candidate.count + stable.count
        mine = _around(candidate, _expected(self.candidate.scaled(self.spread)))
        its = _around(stable, _expected(self.stable.scaled(self.spread)))
        return (stable.count / both) ** 2 * mine + (candidate.count / both) ** 2 * its

    def merged(self, other: "State") -> "State":
        """Two states of different intervals as one, in any order. Raises ValueError if their spreads differ."""
        if self.spread != other.spread:
            raise ValueError(f"the values are of {self.spread} and of {other.spread}: start anew")
        return State(
            self.spread,
            self.candidate.plus(other.candidate),
            self.stable.plus(other.stable),
            self.difference + other.difference,
            self.weight + other.weight,
            self.variance + other.variance,
            self.looks + other.looks,
        )


def compare(state: State, allowed: Absolute, confidence: float = 0.95, name: str = "mean") -> Decision:
    """The candidate's mean against stable's after the last interval; a higher mean counts as worse.

    The interval is of D, in the unit of the values. Worse though every interval's difference is at most the margin,
    NotWorse though every one is at least the margin: each at any look with probability at most 1 - confidence.
    Raises ValueError for a confidence that is none.
    """
    needed = margin.threshold(confidence)
    sizes = state.candidate.count, state.stable.count
    lead = f"{name}: {_shown(state.candidate)} against {_shown(state.stable)}: "
    if state.weight == 0:
        why = f"{lead}nothing to compare yet, no interval had values of both versions"
        return outcome.Undecided(Interval(), *sizes, state.looks, why)
    unit = state.spread.width if isinstance(state.spread, Range) else 1.0
    centre, radius = (value / state.weight * unit for value in (state.difference, boundary(state, needed)))
    widest = state.spread.width if isinstance(state.spread, Range) else math.inf
    interval = Interval(max(centre - radius, -widest), min(centre + radius, widest))
    verdict = outcome.decide(interval, allowed.value)
    why = lead + wording.finding(interval, allowed.value, confidence, verdict, state.looks, wording.bare)
    return verdict(interval, *sizes, state.looks, why)


def boundary(state: State, needed: float) -> float:
    """u(V) for log(1 / alpha) = needed, in the unit of `difference`."""
    if isinstance(state.spread, Range):
        return bernstein_boundary(state.variance, needed)
    return normal_boundary(state.variance, needed, best_rho(state.spread.sigma**2 * TUNED, 0.05))


def bernstein_boundary(variance: float, needed: float) -> float:
    """The s at which the mean of exp(k s - psi(k) V) over STAKES is exp(needed): one-sided, rounded up."""

    def missing(value: float) -> float:
        return needed - log_bernstein_mixture(value, variance)

    high = 1.0
    while missing(high) >= 0:
        high *= 2
    low = arithmetic.last_excluded(missing, 0.0, high, tolerance=1e-6, floor=1e-12)
    return low * (1 + 1e-6) + 1e-12


def log_bernstein_mixture(value: float, variance: float) -> float:
    """The logarithm of the evidence that S - H D, which is `value`, is above 0."""
    return arithmetic.log_mean_exp([stake * value + (math.log1p(-stake) + stake) * variance for stake in STAKES])


def normal_boundary(variance: float, needed: float, rho: float) -> float:
    """The two-sided normal mixture's u(V) for log(1 / alpha) = needed (Howard et al. 2021, eq. 14)."""
    return math.sqrt((variance + rho) * (math.log1p(variance / rho) + 2 * needed))


def best_rho(variance: float, alpha: float) -> float:
    """The rho for which u is close to smallest at `variance`."""
    needed = -2 * math.log(alpha)
    return variance / (needed + math.log1p(needed))


def _expected(earlier: Moments) -> float:
    """What a value is expected to be: the mean so far, with one value in the middle of the range."""
    return (0.5 + earlier.total) / (1 + earlier.count)


def _around(moments: Moments, centre: float) -> float:
    """The sum of the squared distances from `centre`."""
    return max(moments.squares - 2 * centre * moments.total + moments.count * centre**2, 0.0)


def _shown(moments: Moments) -> str:
    return f"{wording.plain(moments.mean)} over {moments.count:,}" if moments.count else "no values"
