"""Quantiles from cumulative buckets: hand-made tables, and the samples the buckets were made of."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock.analysis import histogram
from penstock.analysis.histogram import Quantile

INF = math.inf

TOLD = {
    "in the middle of a bucket": (0.5, {0.1: 0, 0.2: 10, INF: 10}, Quantile(0.15)),
    "the first bucket starts at zero": (0.5, {0.1: 10, 0.2: 10, INF: 10}, Quantile(0.05)),
    "a first bucket at or below zero has no width": (0.5, {-1.0: 10, 0.2: 10, INF: 10}, Quantile(-1.0)),
    "exactly at a bound": (0.5, {0.1: 5, 0.2: 10, INF: 10}, Quantile(0.1)),
    "beyond the last finite bound": (0.99, {0.1: 5, 10.0: 9, INF: 10}, Quantile(10.0, at_least=True)),
    "everything beyond": (0.5, {0.1: 0, 10.0: 0, INF: 10}, Quantile(10.0, at_least=True)),
    "counts that fall are raised": (0.5, {0.1: 5, 0.2: 4, 0.4: 10, INF: 10}, Quantile(0.1)),
    "no requests": (0.5, {0.1: 0, INF: 0}, None),
    "no buckets": (0.5, {}, None),
    "no last bucket": (0.5, {0.1: 1, 0.2: 2}, None),
    "only the last bucket": (0.5, {INF: 2}, None),
    "a count that is no number": (0.5, {0.1: 1, INF: math.nan}, None),
}


@pytest.mark.parametrize(("q", "buckets", "expected"), TOLD.values(), ids=TOLD.keys())
def test_quantile(q: float, buckets: dict[float, float], expected: Quantile | None) -> None:
    found = histogram.quantile(q, buckets)
    if expected is None or found is None:
        assert found is expected
    else:
        assert dataclasses.asdict(found) == pytest.approx(dataclasses.asdict(expected))


BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@given(st.lists(st.floats(0.001, 8), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_the_quantile_lies_in_the_bucket_of_the_true_one(samples: list[float], q: float) -> None:
    counts = {bound: float(sum(sample <= bound for sample in samples)) for bound in (*BOUNDS, INF)}
    true = float(np.quantile(samples, q, method="inverted_cdf"))
    found = histogram.quantile(q, counts)
    assert found is not None
    upper = min(bound for bound in (*BOUNDS, INF) if true <= bound)
    lower = max((bound for bound in BOUNDS if bound < upper), default=0.0)
    assert found.at_least == math.isinf(upper)
    assert found.value == BOUNDS[-1] if found.at_least else lower <= found.value <= upper + 1e-9


@given(st.lists(st.integers(0, 50), min_size=6, max_size=6), st.floats(0.01, 0.98))
def test_higher_quantiles_are_not_lower(counts: list[int], q: float) -> None:
    cumulative = dict(zip((*BOUNDS[:5], INF), np.cumsum(counts).astype(float).tolist(), strict=True))
    low, high = histogram.quantile(q, cumulative), histogram.quantile(q + 0.01, cumulative)
    assert (low is None) == (high is None)
    if low is not None and high is not None:
        assert low.value <= high.value + 1e-9
