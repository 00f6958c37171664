"""Pearson's test of homogeneity: do two samples of classes come from one distribution? Pure.

The chance of so large a chi-square is the regularised incomplete gamma function Q(degrees / 2, x / 2), for whole
degrees of freedom a finite sum (Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964), 26.4.4 and 26.4.5).
Pearson's statistic has that distribution nearly where `EXPECTED` of a class are expected in either sample (Cochran,
"Some methods for strengthening the common chi-square tests", 1954), so rarer classes are put together. Which ones these
are depends on the two samples' sum alone, which says nothing about a difference between them.
"""

import math
from collections.abc import Mapping

EXPECTED = 5.0

REST = "the rest"


def upper_tail(statistic: float, degrees: int) -> float:
    """The chance of at least `statistic` (>= 0) with that many degrees of freedom (>= 1)."""
    half = statistic / 2
    if half == 0:
        return 1.0
    start = 1 if degrees % 2 else 0
    total = math.erfc(math.sqrt(half)) if start else 0.0
    for twice in range(start, degrees, 2):
        exponent = twice / 2
        total += math.exp(exponent * math.log(half) - half - math.lgamma(exponent + 1))
    return min(total, 1.0)


def merged(one: Mapping[str, int], other: Mapping[str, int], expected: float = EXPECTED) -> list[tuple[str, int, int]]:
    """Classes with their counts in both, the commonest first; too rare ones together, with the next one if need be."""
    sizes = sum(one.values()), sum(other.values())
    least = expected * sum(sizes) / max(min(sizes), 1)
    classes = [(name, one.get(name, 0), other.get(name, 0)) for name in sorted({*one, *other})]
    classes.sort(key=lambda found: -(found[1] + found[2]))
    kept = [found for found in classes if found[1] + found[2] >= least]
    rare = classes[len(kept) :]
    while rare and kept and sum(found[1] + found[2] for found in rare) < least:
        rare.insert(0, kept.pop())
    if not rare:
        return kept
    name = rare[0][0] if len(rare) == 1 else REST
    return [*kept, (name, sum(found[1] for found in rare), sum(found[2] for found in rare))]


def homogeneity(classes: list[tuple[str, int, int]]) -> float:
    """The chance that samples of one distribution differ as much as these; 1 with one class or an empty sample."""
    seen = [counts for _, *counts in classes if any(counts)]
    sizes = [sum(counts[side] for counts in seen) for side in (0, 1)]
    both = sum(sizes)
    if len(seen) < 2 or not all(sizes):
        return 1.0
    statistic = 0.0
    for counts in seen:
        for count, size in zip(counts, sizes, strict=True):
            fit = sum(counts) * size / both
            statistic += (count - fit) ** 2 / fit
    return upper_tail(statistic, len(seen) - 1)
