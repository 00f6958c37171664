"""Published figures, to their digits, and closed forms against scipy.

The figures are the reference values of the implementation that Howard and Ramdas publish with their papers (confseq,
test/uniform_boundaries_unittest.cpp), which are the output of yet another implementation, in R.
"""

import functools
import math
import operator

import numpy as np
import pytest
from penstock.analysis.sequential import arithmetic, binomial, errorrate, margin, mean
from penstock.analysis.sequential.errorrate import Line
from scipy import optimize, stats  # type: ignore[import-untyped]

NEEDED = math.log(1 / 0.05)
RHO = 12.60056  # both mixtures are tuned for V = 100 at 5 %


def test_two_sided_normal_mixture() -> None:
    rho = mean.best_rho(100, 0.05)
    assert rho == pytest.approx(RHO, abs=1e-5)
    assert mean.normal_boundary(100, NEEDED, rho) == pytest.approx(30.35209, abs=1e-5)


def test_two_sided_beta_binomial_mixture() -> None:
    """g = 0.2, h = 0.8, V = 100: 625 observations, 125 hits expected; S = 10, and the S at which evidence is 20."""
    r = mean.best_rho(100, 0.05) - 0.2 * 0.8
    prior = r / 0.8, r / 0.2

    def log_evidence(s: float) -> float:
        hits = 125 + s
        return binomial.log_mixture(hits, 625 - hits, prior) - binomial.log_likelihood(hits, 625 - hits, 0.2)

    assert log_evidence(10) == pytest.approx(-0.6941012, abs=1e-6)
    assert optimize.brentq(lambda s: log_evidence(s) - NEEDED, 0, 100) == pytest.approx(31.4308, abs=1e-4)


COUNTS = {"none": (0, 0), "one hit": (1, 0), "one miss": (0, 1), "rare": (3, 4017), "many": (5000, 100000)}


@pytest.mark.parametrize(("hits", "misses"), COUNTS.values(), ids=COUNTS.keys())
def test_the_mixture_is_the_beta_binomial_distribution(hits: int, misses: int) -> None:
    a, b = 0.5, 3.0
    choose = math.lgamma(hits + misses + 1) - math.lgamma(hits + 1) - math.lgamma(misses + 1)
    expected = stats.betabinom.logpmf(hits, hits + misses, a, b) - choose
    assert binomial.log_mixture(hits, misses, (a, b)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("probability", [0.5, 0.9, 0.99])
def test_a_mixture_of_likelihood_ratios_has_expectation_one(probability: float) -> None:
    """Over all outcomes of 40 observations; against a hypothesis with many members it has at most that, at each."""
    hits = np.arange(41)

    def expected(true: float, log_evidence: object) -> float:
        assert callable(log_evidence)
        values = [math.exp(log_evidence(int(k), 40 - int(k))) for k in hits]
        return float(stats.binom.pmf(hits, 40, true) @ values)

    def two_sided(k: int, rest: int) -> float:
        return binomial.log_mixture(k, rest, binomial.prior(probability)) - binomial.log_likelihood(
            k, rest, probability
        )

    assert expected(probability, two_sided) == pytest.approx(1)
    for true in np.linspace(probability, 1, 7):
        assert expected(float(true), lambda k, rest: binomial.log_against_at_least(k, rest, probability)) <= 1
    for true in np.linspace(0, probability, 7):
        assert expected(float(true), lambda k, rest: binomial.log_against_at_most(k, rest, probability)) <= 1


def test_a_test_of_who_made_each_error_by_hand() -> None:
    """One stake, equal weights of the traffic: each error is the candidate's with probability 1/2, or 4/5 if it fails 4
    times as often. 9 of its errors and 1 of stable's make (8/5)^9 (2/5) = 27.5 to 1, and that is enough for 95 %.
    """
    found = errorrate.factors(0.5, 3.0, Line())
    assert found is not None
    evidence = math.exp(9 * found.candidate_error + found.stable_error)
    assert evidence == pytest.approx(1.6**9 * 0.4)
    assert math.log(evidence) > margin.threshold(0.95)


def test_the_bernstein_boundary_is_where_the_mixture_crosses() -> None:
    """Against a numerical solution over the same stakes, and never tighter than the best single stake could be."""
    for variance in (0.5, 10.0, 1000.0, 1e6):
        crossing = optimize.brentq(lambda s, v=variance: mean.log_bernstein_mixture(s, v) - NEEDED, 0, 1e7)
        boundary = mean.bernstein_boundary(variance, NEEDED)
        assert boundary == pytest.approx(crossing, rel=1e-5)
        assert boundary >= crossing
        single = optimize.minimize_scalar(
            lambda k, v=variance: (NEEDED + (-math.log1p(-k) - k) * v) / k, bounds=(1e-6, 1 - 1e-9), method="bounded"
        )
        assert single.fun <= boundary <= 2 * single.fun


def test_where_evidence_crosses_is_found_from_the_side_that_was_established() -> None:
    for point in (-0.7, -1e-4, 0.0, 0.003, 0.6):
        found = arithmetic.last_excluded(functools.partial(operator.sub, point), -1.0, 1.0)
        assert point - max(0.006 * abs(point), 2e-6) <= found <= point


def test_a_mean_of_evidence_does_not_overflow() -> None:
    assert arithmetic.log_mean_exp([5000.0, 5000.0, -math.inf, -math.inf]) == pytest.approx(5000 - math.log(2))
    assert arithmetic.log_mean_exp([-math.inf, -math.inf]) == -math.inf
