"""Quantiles of a histogram with cumulative buckets, by the rule of Prometheus' `histogram_quantile`. Pure.

Source of the rule: Prometheus, "Querying: functions", histogram_quantile. Within its bucket the quantile is found by
linear interpolation, as if the observations were spread evenly; the first bucket starts at 0 if its bound is above 0.
A quantile beyond the largest finite bound is known to be above that bound and no more, and is marked so.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_QUANTILE = 0.99


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile, in the unit of the bounds; with `at_least` the true one is above it."""

    value: float
    at_least: bool = False


def quantile(q: float, buckets: Mapping[float, float]) -> Quantile | None:
    """The q-quantile (0 < q < 1) of counts by upper bound, the bound +Inf among them; None if it cannot be told.

    Counts are cumulative. Those that fall from one bound to the next, as sums over scrapes of different times may, are
    raised to the count before, as Prometheus does.
    """
    bounds = sorted(buckets)
    if len(bounds) < 2 or not math.isinf(bounds[-1]) or not all(map(math.isfinite, buckets.values())):
        return None
    counts = list(itertools.accumulate((buckets[bound] for bound in bounds), max))
    total = counts[-1]
    if total <= 0:
        return None
    rank = q * total
    index = next(index for index, count in enumerate(counts) if count >= rank)
    if index == len(bounds) - 1:
        return Quantile(bounds[-2], at_least=True)
    if index == 0 and bounds[0] <= 0:
        return Quantile(bounds[0])
    start, before = (bounds[index - 1], counts[index - 1]) if index else (0.0, 0.0)
    return Quantile(start + (bounds[index] - start) * (rank - before) / (counts[index] - before))
