"""Differences that are not negative, and evidence that their mean is above a limit, by bets. Pure.

If the expectation of each difference X, given the past, is at most m, then the product of 1 + k (X / m - 1) is a
non-negative supermartingale for each k in [0, 1], because X is not negative; and so is the mean over several k. By
Ville's inequality it reaches 1 / alpha at any time with probability alpha at most: the bets of Waudby-Smith and Ramdas,
"Estimating means of bounded random variables by betting" (2024), whose lower bound needs no upper bound of X.

The product does not depend on the order, so that X may be kept in bins `STEP` wide in log(X). It is counted at the
lower end of its bin, which can only weaken the evidence.
"""

import collections
import math
from collections.abc import Iterable
from dataclasses import dataclass

from penstock.analysis.sequential import arithmetic

STEP = 0.1
STAKES = tuple(0.9 * 2.0**-power for power in range(14))

_SMALLEST, _LARGEST = 1e-30, 1e30


@dataclass(frozen=True, slots=True)
class Sizes:
    """Differences, one a request: of `count` finite ones the sum and the bins of those above 0, and the others."""

    count: int = 0
    total: float = 0.0
    undefined: int = 0
    bins: tuple[tuple[int, int], ...] = ()

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else math.nan

    def plus(self, sizes: Iterable[float]) -> "Sizes":
        """With these; infinite ones are undefined."""
        count, total, undefined, bins = self.count, self.total, self.undefined, collections.Counter(dict(self.bins))
        for size in sizes:
            if math.isinf(size) or math.isinf(total + size):
                undefined += 1
                continue
            count, total = count + 1, total + size
            if size >= _SMALLEST:
                bins[math.floor(math.log(min(size, _LARGEST)) / STEP)] += 1
        return Sizes(count, total, undefined, tuple(sorted(bins.items())))

    def log_evidence(self, expected: float) -> float:
        """The logarithm of the evidence that the expectation is above `expected` (>= 0). It falls as that rises."""
        if expected <= 0:
            return math.inf if self.bins else 0.0
        zeros = self.count - sum(count for _, count in self.bins)
        logs = []
        for stake in STAKES:
            logs.append(zeros * math.log1p(-stake))
            for key, count in self.bins:
                value = math.exp(key * STEP) * (1 - 1e-12)
                logs[-1] += count * math.log1p(stake * (value / expected - 1))
        return arithmetic.log_mean_exp(logs)

    def lowest_mean(self, limit: float, needed: float) -> tuple[float, bool]:
        """The largest mean that is refuted from below (or 0), and whether `limit` is. Not without differences."""

        def excess(expected: float) -> float:
            return self.log_evidence(expected) - needed

        is_above = excess(limit) >= 0
        low, high = (limit, self.mean) if is_above else (0.0, min(limit, self.mean))
        return arithmetic.last_excluded(excess, low, high, tolerance=0.02, floor=1e-3 * self.mean), is_above
