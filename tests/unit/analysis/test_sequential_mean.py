"""Means against stable: sentences of whole comparisons, and what must hold of any values."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from penstock.analysis.sequential import mean
from penstock.analysis.sequential.margin import Absolute
from penstock.analysis.sequential.mean import Moments, Range, Spread, State, SubGaussian
from penstock.analysis.sequential.outcome import Interval, NotWorse, Undecided, Worse

Values = list[float]


def moments(values: Values) -> Moments:
    return Moments(len(values), math.fsum(values), math.fsum(value * value for value in values))


def state(spread: Spread, *intervals: tuple[Values, Values]) -> State:
    seen = State(spread)
    for mine, its in intervals:
        seen = seen.observed(moments(mine), moments(its))
    return seen


SAID = {
    "clearly higher": (
        state(Range(), *[([0.6, 0.8], [0.2, 0.4] * 5)] * 50),
        Worse,
        "mean: 0.7 over 100 against 0.3 over 500: worse by at least 0.3 at 95 % after 50 looks",
    ),
    "the same": (
        state(Range(), *[([0.2, 0.4], [0.2, 0.4] * 5)] * 200),
        NotWorse,
        "mean: 0.3 over 400 against 0.3 over 2,000: worse by at most 0.033, within the margin of 0.1 at 95 % after 200 looks",
    ),
    "too early": (
        state(Range(0, 10), ([6.0, 8.0], [2.0, 4.0])),
        Undecided,
        "mean: 7 over 2 against 3 over 2: between 10 better and 10 worse at 95 % after 1 look: not decided yet",
    ),
    "normal, lower": (
        state(SubGaussian(1.0), *[([1.0, 1.4], [3.0, 3.4] * 3)] * 100),
        NotWorse,
        "mean: 1.2 over 200 against 3.2 over 600: better by at least 1.7 at 95 % after 100 looks",
    ),
    "nothing to compare": (
        state(Range(), ([], [0.2])),
        Undecided,
        "mean: no values against 0.2 over 1: nothing to compare yet, no interval had values of both versions",
    ),
}


@pytest.mark.parametrize(("seen", "verdict", "why"), SAID.values(), ids=SAID.keys())
def test_what_is_said(seen: State, verdict: type, why: str) -> None:
    found = mean.compare(seen, Absolute(0.1))
    assert (type(found), found.why) == (verdict, why)


def test_a_whole_outcome() -> None:
    found = mean.compare(State(), Absolute(0.1), name="score")
    why = "score: no values against no values: nothing to compare yet, no interval had values of both versions"
    assert found == Undecided(Interval(), 0, 0, 0, why)


def test_a_level_that_both_share_and_a_change_of_weights_make_no_difference() -> None:
    """Half of the traffic while both are high, little of it while both are low: the plain means are far apart."""
    low, high = ([0.1, 0.2], [0.1, 0.2] * 20), ([0.8, 0.9] * 10, [0.8, 0.9] * 10)
    seen = state(Range(), *[low, high] * 60)
    assert seen.candidate.mean - seen.stable.mean > 0.2
    assert mean.compare(seen, Absolute()).interval.low <= 0 <= mean.compare(seen, Absolute()).interval.high


REFUSED = {
    "a reset counter": (
        lambda: Moments(-1, 0, 0),
        "the count rose by -1: leave out intervals in which a counter was reset",
    ),
    "not finite": (
        lambda: Moments(1, math.nan, 1),
        "the sums rose by nan and 1: leave values out that are not finite",
    ),
    "impossible squares": (lambda: Moments(2, 4.0, 1.0), "no 2 values have the sum 4.0 and the sum of squares 1.0"),
    "values outside": (
        lambda: state(Range(0, 1), ([0.5, 1.5], [0.5])),
        "some of 2 values lie outside of 0 to 1: give a wider range",
    ),
    "no range": (lambda: Range(1, 1), "the range is 1 to 1: give two finite numbers, the lower one first"),
    "no sigma": (lambda: SubGaussian(0.0), "sigma is 0.0: give a finite number above 0"),
    "two spreads": (
        lambda: State(Range()).merged(State(SubGaussian(1.0))),
        "the values are of Range(low=0.0, high=1.0) and of SubGaussian(sigma=1.0): start anew",
    ),
}


@pytest.mark.parametrize(("make", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(make: object, why: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # the whole message is compared
        make()
    assert str(refused.value) == why


VALUES = st.lists(st.floats(-5, 15), max_size=12)
INTERVALS = st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=6)
SPREADS = st.sampled_from([Range(-5, 15), Range(-100, 100), SubGaussian(3.0)])


@settings(deadline=None)
@given(INTERVALS, SPREADS, st.floats(0, 5))
def test_bounds_are_numbers_in_order_and_agree_with_the_verdict(
    intervals: list[tuple[Values, Values]], spread: Spread, allowed: float
) -> None:
    found = mean.compare(state(spread, *intervals), Absolute(allowed))
    low, high = found.interval.low, found.interval.high
    assert low <= high
    assert isinstance(found, Worse) == (low >= allowed)
    assert isinstance(found, NotWorse) == (high <= allowed and low < allowed)
    assert "nan" not in found.why


@settings(deadline=None)
@given(INTERVALS, SPREADS)
def test_exchanging_the_versions_turns_the_interval_round(
    intervals: list[tuple[Values, Values]], spread: Spread
) -> None:
    one = mean.compare(state(spread, *intervals), Absolute()).interval
    other = mean.compare(state(spread, *[(its, mine) for mine, its in intervals]), Absolute()).interval
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low), abs=1e-6)


@settings(deadline=None)
@given(INTERVALS, SPREADS, st.integers(0, 6))
def test_states_add_up_in_any_order(intervals: list[tuple[Values, Values]], spread: Spread, cut: int) -> None:
    one, other = state(spread, *intervals[:cut]), state(spread, *intervals[cut:])
    assert one.merged(other) == other.merged(one)


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), SPREADS, st.integers(0, 10**6))
def test_a_hundred_times_the_same_traffic_gives_narrower_bounds(mine: int, its: int, spread: Spread, seed: int) -> None:
    random = np.random.default_rng(seed)
    interval = random.uniform(0, 10, mine).tolist(), random.uniform(0, 10, its).tolist()
    once, often = (mean.compare(state(spread, *[interval] * times), Absolute()).interval for times in (3, 300))
    assert often.high - often.low < once.high - once.low


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_a_wider_unit_changes_only_the_unit(mine: Values, its: Values) -> None:
    plain = mean.compare(state(Range(), *[(mine, its)] * 20), Absolute()).interval
    scaled = mean.compare(
        state(Range(5, 1005), *[([5 + 1000 * x for x in mine], [5 + 1000 * x for x in its])] * 20), Absolute()
    ).interval
    assert (scaled.low, scaled.high) == pytest.approx((1000 * plain.low, 1000 * plain.high), rel=1e-4, abs=1e-3)
