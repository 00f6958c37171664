"""Evidence about one probability, from hits and misses: a beta mixture of likelihood ratios.

Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences" (2021), the
two-sided beta-binomial mixture: if each observation is a hit with probability p given the past, then

    B(a + hits, b + misses) / (B(a, b) p^hits (1 - p)^misses),   B the beta function,

is a non-negative martingale that starts at 1, whatever a, b > 0. One-sided hypotheses are refuted by its smallest
value over them. For p >= p0 that is right even if p changes from observation to observation: each q of the mixture has
a likelihood ratio against max(q, p0) whose expectation is at most 1 under every p >= p0, as it falls with each hit, and
the largest likelihood over p >= p0 is at least as large as that of max(q, p0). The same holds for p <= p0.
"""

import math


def log_mixture(hits: float, misses: float, prior: tuple[float, float]) -> float:
    """log(B(a + hits, b + misses) / B(a, b)), prior = (a, b)."""
    a, b = prior
    return _log_beta(a + hits, b + misses) - _log_beta(a, b)


def log_likelihood(hits: float, misses: float, probability: float) -> float:
    """log(p^hits (1 - p)^misses), with 0 log 0 = 0; 0 <= p <= 1."""
    return _count_log(hits, probability) + _count_log(misses, 1 - probability)


def log_against_at_least(hits: int, misses: int, probability: float) -> float:
    """The logarithm of the evidence that the probability of a hit is below `probability` (0 < probability < 1)."""
    return _log_against(hits, misses, probability, max(probability, _estimate(hits, misses, probability)))


def log_against_at_most(hits: int, misses: int, probability: float) -> float:
    """The logarithm of the evidence that the probability of a hit is above `probability` (0 < probability < 1)."""
    return _log_against(hits, misses, probability, min(probability, _estimate(hits, misses, probability)))


def _log_against(hits: int, misses: int, probability: float, likeliest: float) -> float:
    mixture = log_mixture(hits, misses, prior(probability))
    return mixture - log_likelihood(hits, misses, likeliest)


def prior(probability: float) -> tuple[float, float]:
    """A beta prior around `probability` that weighs as much as half an observation of the rarer kind."""
    weight = 0.5 / min(probability, 1 - probability)
    return weight * probability, weight * (1 - probability)


def _estimate(hits: int, misses: int, probability: float) -> float:
    return hits / (hits + misses) if hits + misses else probability


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _count_log(count: float, probability: float) -> float:
    if count == 0:
        return 0.0
    return -math.inf if probability <= 0 else count * math.log(probability)
