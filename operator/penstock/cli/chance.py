"""Exact draws of counts from one seeded stream, and what shares of counted rollouts say. No library is needed for it.

Few are drawn by multiplying or adding waiting times; many by the transformed rejection of Hoermann, "The transformed
rejection method for generating Poisson random variables" (1993) and "The generation of binomial random variates"
(1993), whose cost does not follow the count.
"""

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_FEW = 10.0
_CERTAIN = statistics.NormalDist().inv_cdf(0.975)


def poisson(source: random.Random, mean: float) -> int:
    """How many events happen where `mean` (>= 0) are expected."""
    if mean >= _FEW:
        return _many_events(source, mean)
    limit, product, count = math.exp(-mean), source.random(), 0
    while product > limit:
        product *= source.random()
        count += 1
    return count


def _many_events(source: random.Random, mean: float) -> int:
    root, logarithm = math.sqrt(mean), math.log(mean)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    inverse = math.log(1.1239 + 1.1328 / (b - 3.4))
    accepted = 0.9277 - 3.6224 / (b - 2)
    while True:
        u, v = source.random() - 0.5, 1 - source.random()
        us = 0.5 - abs(u)
        if us <= 0:
            continue
        k = math.floor((2 * a / us + b) * u + mean + 0.43)
        if us >= 0.07 and v <= accepted:
            return k
        if k < 0 or (us < 0.013 and v > us):
            continue
        if math.log(v) + inverse - math.log(a / (us * us) + b) <= k * logarithm - mean - math.lgamma(k + 1):
            return k


def binomial(source: random.Random, tries: int, probability: float) -> int:
    """How many of `tries` succeed, each with `probability` (0 to 1)."""
    if tries == 0 or probability <= 0:
        return 0
    if probability > 0.5:
        return tries - binomial(source, tries, 1 - probability)
    if tries * probability >= _FEW:
        return _many_successes(source, tries, probability)
    scale, at, count = math.log1p(-probability), 0, 0
    while True:
        at += math.floor(math.log(1 - source.random()) / scale) + 1  # the place of the next success
        if at > tries:
            return count
        count += 1


def _many_successes(source: random.Random, tries: int, probability: float) -> int:
    spread = math.sqrt(tries * probability * (1 - probability))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * probability
    center = tries * probability + 0.5
    accepted = 0.92 - 4.2 / b
    odds = math.log(probability / (1 - probability))
    alpha = (2.83 + 5.1 / b) * spread
    mode = math.floor((tries + 1) * probability)
    peak = math.lgamma(mode + 1) + math.lgamma(tries - mode + 1)
    while True:
        u, v = source.random() - 0.5, 1 - source.random()
        us = 0.5 - abs(u)
        if us <= 0:
            continue
        k = math.floor((2 * a / us + b) * u + center)
        if k < 0 or k > tries:
            continue
        if us >= 0.07 and v <= accepted:
            return k
        height = peak - math.lgamma(k + 1) - math.lgamma(tries - k + 1) + (k - mode) * odds
        if math.log(v * alpha / (a / (us * us) + b)) <= height:
            return k


def scattered(source: random.Random, count: int, shares: Sequence[float]) -> list[int]:
    """`count` things over cells with these shares, which sum up to 1."""
    found, left = [], 1.0
    for share in shares[:-1]:
        here = binomial(source, count, min(1.0, share / left)) if left > 0 else 0
        found.append(here)
        count, left = count - here, left - share
    return [*found, count]


@dataclass(frozen=True, slots=True)
class Share:
    """A share of rollouts, and between which bounds the true one lies (95 %)."""

    count: int
    share: float
    low: float
    high: float


def wilson(count: int, of: int) -> Share:
    """Wilson, "Probable inference, the law of succession, and statistical inference" (1927); `of` is above 0."""
    share, z2 = count / of, _CERTAIN**2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = _CERTAIN * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of)) / (1 + z2 / of)
    low = 0.0 if count == 0 else max(0.0, middle - half)
    high = 1.0 if count == of else min(1.0, middle + half)
    return Share(count, share, low, high)


def nth(values: Sequence[float], share: float) -> float | None:
    """The value that `share` of them do not exceed; None if there is none."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else None
