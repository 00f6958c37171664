"""Versions that are alike are said to have drifted in at most 5 of 100 rollouts, looked at all the time.

2,000 simulated rollouts a case, with a limit of 0, so that only the tests stand between noise and an alarm. All random
numbers are from fixed seeds.
"""

from collections.abc import Callable

import numpy as np
import pytest
from penstock.analysis import chisquare, divergence, drift
from penstock.analysis.drift import Distributions
from penstock.analysis.sequential.outcome import Worse

ROLLOUTS = 2000
ALLOWED = 0.05

Draw = Callable[[np.random.Generator, int], list[object]]


def classes(*shares: float) -> Draw:
    names = [f"c{n}" for n in range(len(shares))]
    return lambda random, size: random.choice(names, p=shares, size=size).tolist()


def normal(shift: float = 0.0) -> Draw:
    return lambda random, size: (random.normal(size=size) + shift).tolist()


def alarms(candidate: Draw, stable: Draw, sizes: tuple[int, int], looks: int, limit: float = 0.0) -> float:
    """How many rollouts are ever called Worse; so many answers of both arrive at each look."""
    random, found = np.random.default_rng(1), 0
    mine, its = sizes
    rollouts = ROLLOUTS if candidate is stable else ROLLOUTS // 10
    for _ in range(rollouts):
        seen = Distributions()
        for _ in range(looks):
            seen = seen.observed(candidate(random, mine), stable(random, its))
            if isinstance(drift.compare(seen, limit), Worse):
                found += 1
                break
    return found / rollouts


SKEWED = classes(0.6, 0.2, 0.1, *[0.01] * 10)
HALVES, RARE, NUMBERS = classes(0.5, 0.5), classes(0.97, 0.03), normal()

ALIKE: dict[str, tuple[Draw, tuple[int, int], int]] = {
    "numbers, as many of each": (NUMBERS, (25, 25), 16),
    "numbers, a tenth of the traffic": (NUMBERS, (10, 90), 10),
    "many rare classes": (SKEWED, (25, 25), 16),
    "many rare classes, a tenth of the traffic": (SKEWED, (10, 90), 10),
    "one rare class": (RARE, (25, 25), 16),
    "a look after every second answer": (HALVES, (2, 2), 60),
}


@pytest.mark.parametrize(("draw", "sizes", "looks"), ALIKE.values(), ids=ALIKE.keys())
def test_alike_versions_are_seldom_said_to_drift(draw: Draw, sizes: tuple[int, int], looks: int) -> None:
    assert alarms(draw, draw, sizes, looks) <= ALLOWED


def test_the_same_rollouts_deceive_a_test_for_one_look() -> None:
    random, found = np.random.default_rng(2), 0
    for _ in range(ROLLOUTS):
        drawn = [(random.random((200, 5)) < 0.5).sum(axis=1).cumsum() for _ in range(2)]
        found += any(
            chisquare.homogeneity([("a", mine, its), ("b", 5 * look - mine, 5 * look - its)]) < ALLOWED
            for look, (mine, its) in enumerate(zip(*(one.tolist() for one in drawn), strict=True), start=1)
        )
    assert found / ROLLOUTS > 3 * ALLOWED


DIFFERENT = {
    "other classes": (classes(0.8, 0.2), classes(0.4, 0.6), (25, 25), 16),
    "shifted numbers": (normal(1.0), normal(), (25, 25), 16),
    "shifted numbers, a tenth of the traffic": (normal(1.0), normal(), (10, 90), 20),
    "a collapse to what is half of stable's": (classes(1.0), classes(0.5, 0.5), (2, 10), 16),
}


@pytest.mark.parametrize(("candidate", "stable", "sizes", "looks"), DIFFERENT.values(), ids=DIFFERENT.keys())
def test_drift_is_found(candidate: Draw, stable: Draw, sizes: tuple[int, int], looks: int) -> None:
    assert alarms(candidate, stable, sizes, looks, limit=0.05) > 0.95


@pytest.mark.parametrize("size", [50, 200])
def test_the_divergence_of_small_samples_of_one_distribution_is_not_too_high(size: int) -> None:
    """Without the correction it is 3.2 / size bits; what is left is due to values below 0 that became 0."""
    random = np.random.default_rng(3)
    drawn = random.multinomial(size, [0.1] * 10, (400, 2))
    found = [divergence.jensen_shannon(zip(*pair.tolist(), strict=True)) for pair in drawn]
    assert np.median(found) <= 0.3 / size
    assert np.mean(found) <= 1 / size


def test_the_divergence_of_samples_of_two_distributions_is_right_on_average() -> None:
    random = np.random.default_rng(4)
    p, q = np.array([0.7, 0.2, 0.1, 0.0]), np.array([0.1, 0.2, 0.3, 0.4])
    truth = divergence.jensen_shannon(zip((p * 1e9).astype(int).tolist(), (q * 1e9).astype(int).tolist(), strict=True))
    drawn = [(random.multinomial(60, p), random.multinomial(150, q)) for _ in range(2000)]
    found = [divergence.jensen_shannon(zip(one.tolist(), other.tolist(), strict=True)) for one, other in drawn]
    assert np.mean(found) == pytest.approx(truth, abs=0.003)
