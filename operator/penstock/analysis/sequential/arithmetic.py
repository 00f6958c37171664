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
    is_excluded: Callable[[float], bool], low: float, high: float, *, tolerance: float = 5e-3, floor: float = 1e-6
) -> float:
    """The largest value known to be excluded, where all below an unknown point of [low, high] are.

    `low` counts as excluded without being asked about. The answer lies on the excluded side of the point, nearer than
    `tolerance` times its size or than `floor`, so that a bound is never tighter than the evidence.
    """
    while high - low > max(tolerance * max(abs(low), abs(high)), floor):
        middle = (low + high) / 2
        if is_excluded(middle):
            low = middle
        else:
            high = middle
    return low
