"""Draws have the mean and the variance of their distributions, and intervals those of a book."""

import math
import random

import pytest
from penstock.cli import chance

DRAWS = 20_000


def moments(values: list[int]) -> tuple[float, float]:
    mean = sum(values) / len(values)
    return mean, sum((value - mean) ** 2 for value in values) / len(values)


@pytest.mark.parametrize("mean", [0.0, 0.3, 9.9, 10.1, 200.0, 50_000.0])
def test_poisson(mean: float) -> None:
    source = random.Random(1)
    found = moments([chance.poisson(source, mean) for _ in range(DRAWS)])
    assert found[0] == pytest.approx(mean, abs=5 * math.sqrt(mean / DRAWS))
    assert found[1] == pytest.approx(mean, rel=0.08)


@pytest.mark.parametrize(
    ("tries", "probability"),
    [(0, 0.5), (10, 0.0), (10, 1.0), (200, 0.002), (200, 0.05), (200, 0.5), (200, 0.97), (100_000, 0.01)],
)
def test_binomial(tries: int, probability: float) -> None:
    source = random.Random(1)
    found = [chance.binomial(source, tries, probability) for _ in range(DRAWS)]
    variance = tries * probability * (1 - probability)
    assert 0 <= min(found) <= max(found) <= tries
    assert moments(found)[0] == pytest.approx(tries * probability, abs=5 * math.sqrt(variance / DRAWS))
    assert moments(found)[1] == pytest.approx(variance, rel=0.08)


def test_every_thing_lands_in_a_cell() -> None:
    source, shares = random.Random(1), (0.0, 0.5, 0.3, 0.2, 0.0)
    found = [chance.scattered(source, 100, shares) for _ in range(2000)]
    assert {sum(row) for row in found} == {100}
    means = [sum(row[cell] for row in found) / 2000 for cell in range(5)]
    assert means == pytest.approx([0, 50, 30, 20, 0], abs=0.6)


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [
        pytest.param(0, 20, 0.0, 0.1611, id="none"),
        pytest.param(20, 20, 0.8389, 1.0, id="all"),
        pytest.param(15, 148, 0.0624, 0.1605, id="some, as in Newcombe 1998"),
        pytest.param(1, 29, 0.0061, 0.1718, id="one, as in Newcombe 1998"),
    ],
)
def test_wilson(count: int, of: int, low: float, high: float) -> None:
    found = chance.wilson(count, of)
    assert (found.count, found.share) == (count, count / of)
    assert [found.low, found.high] == pytest.approx([low, high], abs=1e-4)


@pytest.mark.parametrize(
    ("values", "share", "expected"), [([], 0.5, None), ([3], 0.9, 3), ([4, 1, 3, 2], 0.5, 2), (list(range(10)), 0.9, 8)]
)
def test_nth(values: list[float], share: float, expected: float | None) -> None:
    assert chance.nth(values, share) == expected
