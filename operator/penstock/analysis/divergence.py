"""How far two distributions are apart, from samples: the Jensen-Shannon divergence in bits, 0 to 1. Pure.

Lin, "Divergence measures based on the Shannon entropy" (1991): with M the mean of P and Q, H(M) - H(P) / 2 - H(Q) / 2.
Entropies of samples are too low by about (classes - 1) / 2n (Miller, "Note on the bias of information estimates", 1955,
and Madow), so a divergence of samples is too high: two samples of one distribution with k classes seem (k - 1)
(1/n + 1/m) / 8 nats apart. The first-order bias of each of the three entropies is taken off; below 0 becomes 0.
"""

import math
from collections.abc import Iterable


def jensen_shannon(counts: Iterable[tuple[int, int]]) -> float:
    """From the counts of each class in two samples that are not empty."""
    pairs = [pair for pair in counts if any(pair)]
    n, m = sum(one for one, _ in pairs), sum(other for _, other in pairs)
    found = bias = 0.0
    seen = [sum(pair[side] > 0 for pair in pairs) for side in (0, 1)]
    for one, other in pairs:
        p, q = one / n, other / m
        middle = (p + q) / 2
        found += _surprise(middle) - _surprise(p) / 2 - _surprise(q) / 2
        bias -= (p * (1 - p) / n + q * (1 - q) / m) / (8 * middle)
    bias += ((seen[0] - 1) / n + (seen[1] - 1) / m) / 4
    return min(max((found - bias) / math.log(2), 0.0), 1.0)


def _surprise(share: float) -> float:
    return -share * math.log(share) if share else 0.0
