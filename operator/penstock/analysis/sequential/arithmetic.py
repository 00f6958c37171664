"""Sums of evidence, and where evidence crosses a threshold: the little numerics the tests share."""

import math
from collections.abc import Callable, Sequence


def log_mean_exp(logs: Sequence[float]) -> float:
    """log(mean(exp(logs))) without overflow: a mixture with equal weights. -inf counts as no evidence at all."""
    largest = max(logs)
    if math.isinf(largest):
        return largest
    return largest + math.log(math.fsum(math.exp(value - largest) for value in logs) / len(logs))


def last_excluded(
    excess: Callable[[float], float], low: float, high: float, *, tolerance: float = 5e-3, floor: float = 1e-6
) -> float:
    """The largest value known to be excluded, where `excess` falls and all values at which it is not negative are.

    `low` counts as excluded without being asked about, and `high` as not. The answer lies on the excluded side of the
    point where `excess` changes sign, nearer than `tolerance` times its size or than `floor`, so that a bound is never
    tighter than the evidence. The secant's crossing (with the Illinois rule) and the middle take turns.
    """
    above, below = math.inf, -math.inf
    is_secant = False
    while high - low > max(tolerance * max(abs(low), abs(high)), floor):
        is_secant = not is_secant and math.isfinite(above) and math.isfinite(below) and above > below
        share = min(max(above / (above - below), 0.01), 0.99) if is_secant else 0.5
        middle = low + (high - low) * share
        found = excess(middle)
        if found >= 0:
            low, above, below = middle, found, below / 2
        else:
            high, below, above = middle, found, above / 2
    return low
