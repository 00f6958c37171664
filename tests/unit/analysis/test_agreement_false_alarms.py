"""Shadowed answers are called too different, or alike enough, wrongly in at most 5 of 100 rollouts.

2,000 simulated rollouts a case, exactly at the limit, all random numbers from a fixed seed.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from penstock.analysis import agreement
from penstock.analysis.agreement import Agreement, Statistic
from penstock.analysis.sequential.outcome import NotWorse, Worse
from penstock.analysis.sizes import Sizes

ROLLOUTS = 2000
ALLOWED = 0.05


@functools.cache
def verdict(limit: float, differing: int, joined: int) -> type:
    return type(agreement.compare(Agreement(joined=joined, disagreed=differing), limit))


def rate(share: float, limit: float, answers: int, wanted: type) -> float:
    """How many rollouts ever get this verdict, looked at after every answer."""
    hits = (np.random.default_rng(1).random((ROLLOUTS, answers)) < share).cumsum(axis=1)
    found = 0
    for rollout in hits.tolist():
        found += any(verdict(limit, count, joined) is wanted for joined, count in enumerate(rollout, start=1))
    return found / ROLLOUTS


@pytest.mark.parametrize("limit", [0.01, 0.05, 0.3])
def test_a_share_at_the_limit_seldom_gets_either_verdict(limit: float) -> None:
    assert rate(limit, limit, 300, Worse) <= ALLOWED
    assert rate(limit, limit, 300, NotWorse) <= ALLOWED


def test_a_candidate_that_differs_in_a_hundredth_is_seldom_said_to_differ_in_less() -> None:
    assert rate(agreement.NEAR_NOTHING, 0.0, 600, NotWorse) <= ALLOWED


def test_shares_on_either_side_are_told_apart() -> None:
    assert rate(0.15, 0.05, 300, Worse) > 0.95
    assert rate(0.01, 0.05, 300, NotWorse) > 0.9


Draw = Callable[[np.random.Generator], NDArray[np.floating[Any]]]

DIFFERENCES: dict[str, tuple[Draw, int]] = {
    "one in twenty differs, by 20": (lambda random: 20.0 * (random.random((ROLLOUTS, 200)) < 0.05), 10),
    "log-normal": (lambda random: np.exp(random.normal(-0.5, 1.0, (ROLLOUTS, 80))), 20),
    "Pareto, without a variance": (lambda random: random.pareto(1.8, (ROLLOUTS, 80)) * 0.8, 20),
}


@pytest.mark.parametrize(("draw", "every"), DIFFERENCES.values(), ids=DIFFERENCES.keys())
def test_a_mean_at_the_limit_is_seldom_called_above_it(draw: Draw, every: int) -> None:
    """Differences with a mean of 1, looked at after every 10 or 20 answers."""
    assert means_called_worse(draw(np.random.default_rng(2)), every) <= ALLOWED


def test_a_mean_of_twice_the_limit_is_found() -> None:
    values = np.exp(np.random.default_rng(3).normal(-0.5, 1.0, (ROLLOUTS // 10, 80))) * 2
    assert means_called_worse(values, 20) > 0.9


def means_called_worse(values: NDArray[np.floating[Any]], every: int) -> float:
    found = 0
    for rollout in values.tolist():
        sizes = Sizes()
        for start in itertools.count(0, every):
            if start >= len(rollout):
                break
            sizes = sizes.plus(rollout[start : start + every])
            seen = Agreement(joined=sizes.count, disagreed=sizes.count, absolute=sizes)
            if isinstance(agreement.compare(seen, 1.0, statistic=Statistic.MEAN_ABSOLUTE), Worse):
                found += 1
                break
    return found / len(values)
