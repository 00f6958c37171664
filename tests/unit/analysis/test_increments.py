"""From readings of counters to what comparisons rest on: resets, gaps, new pods, and scrapes that do not meet."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock.analysis import increments
from penstock.analysis.increments import Outcomes, Series
from penstock.analysis.sequential import mean, quantile
from penstock.analysis.sequential.counts import Counts, Pair, State

RISES = {
    "nothing read": ([], {}),
    "one reading says nothing of the time before": ([(1.0, 500.0)], {}),
    "it rises": ([(1.0, 5.0), (2.0, 7.0), (3.0, 7.0)], {2.0: 2.0, 3.0: 0.0}),
    "the pod began anew: all it counts is new": ([(1.0, 500.0), (2.0, 3.0)], {2.0: 3.0}),
    "a reading that is no number is left out": ([(1.0, 5.0), (2.0, math.nan), (3.0, 9.0)], {3.0: 4.0}),
    "an infinite one too": ([(1.0, 5.0), (2.0, math.inf), (3.0, 9.0)], {3.0: 4.0}),
}


@pytest.mark.parametrize(("readings", "expected"), RISES.values(), ids=RISES)
def test_rises(readings: list[increments.Reading], expected: dict[float, float]) -> None:
    assert increments.rises(readings) == expected


def test_pods_are_added_moment_by_moment() -> None:
    assert increments.added([{1.0: 2.0, 2.0: 1.0}, {2.0: 5.0}]) == {1.0: 2.0, 2.0: 6.0}


@given(st.lists(st.lists(st.integers(0, 50), max_size=5), max_size=6))
def test_whatever_pods_count_between_their_restarts_is_counted_once(lives: list[list[int]]) -> None:
    """Each life of a pod counts up from 0; the reading at its start is 0, as that of a model server is."""
    readings, moment, counted = [(0.0, 0.0)], 0.0, 0
    for life in lives:
        value = 0
        for more in (0, *life):
            moment, value = moment + 1, value + more
            readings.append((moment, float(value)))
        counted += value
    # a restart that nobody can see: the new life has outgrown the old one's last reading by its first
    assert sum(increments.rises(readings).values()) == counted


POD = {
    "no restart": (
        {"error": [(1.0, 1.0), (2.0, 2.0)], "success": [(1.0, 9.0), (2.0, 19.0)]},
        {"error": {2.0: 1.0}, "success": {2.0: 10.0}},
    ),
    "one counter has outgrown what it was, the other tells": (
        {"error": [(1.0, 8.0), (2.0, 3.0)], "success": [(1.0, 10.0), (2.0, 60.0)]},
        {"error": {2.0: 3.0}, "success": {2.0: 60.0}},
    ),
    "one counter was not read when the other fell": (
        {"error": [(1.0, 8.0), (2.0, 3.0), (3.0, 3.0)], "success": [(1.0, 10.0), (2.0, math.nan), (3.0, 60.0)]},
        {"error": {2.0: 3.0, 3.0: 0.0}, "success": {3.0: 60.0}},
    ),
    "the life after a restart": (
        {"error": [(1.0, 8.0), (2.0, 3.0), (3.0, 4.0)], "success": [(1.0, 10.0), (2.0, 60.0), (3.0, 70.0)]},
        {"error": {2.0: 3.0, 3.0: 1.0}, "success": {2.0: 60.0, 3.0: 10.0}},
    ),
}


@pytest.mark.parametrize(("counters", "expected"), POD.values(), ids=POD)
def test_counters_of_one_pod_begin_anew_together(
    counters: dict[str, list[increments.Reading]], expected: dict[str, dict[float, float]]
) -> None:
    assert increments.pod_rises(counters) == expected


STATES = {
    "nothing": (Outcomes({}, {}), Outcomes({}, {}), State()),
    "both in one interval": (
        Outcomes({1.0: 1.0}, {1.0: 9.0}),
        Outcomes({}, {1.0: 90.0}),
        State().observed(Counts(1, 9), Counts(0, 90)),
    ),
    "scrapes that do not meet: an interval ends with stable's": (
        Outcomes({2.0: 1.0}, {2.0: 9.0, 4.0: 10.0}),
        Outcomes({}, {1.0: 90.0, 3.0: 90.0}),
        State().observed(Counts(1, 9), Counts(0, 180)).merged(State(alone=Pair(Counts(0, 10), Counts()))),
    ),
    "both fail, and stable has not been scraped since": (
        Outcomes({5.0: 0.0, 10.0: 40.0}, {5.0: 50.0, 10.0: 10.0}),
        Outcomes({6.0: 0.0}, {6.0: 50.0}),
        State().observed(Counts(0, 50), Counts(0, 50)).merged(State(alone=Pair(Counts(40, 10), Counts()))),
    ),
    "what has no counterpart yet is shown and not compared": (
        Outcomes({}, {1.0: 9.0}),
        Outcomes({}, {}),
        State(alone=Pair(Counts(0, 9), Counts())),
    ),
    "zero traffic to the candidate": (
        Outcomes({}, {}),
        Outcomes({1.0: 2.0}, {1.0: 98.0}),
        State(alone=Pair(Counts(), Counts(2, 98))),
    ),
}


@pytest.mark.parametrize(("candidate", "stable", "expected"), STATES.values(), ids=STATES)
def test_error_counts(candidate: Outcomes, stable: Outcomes, expected: State) -> None:
    assert increments.error_counts(candidate, stable) == expected


def test_no_answer_is_lost_or_invented_by_intervals() -> None:
    candidate = Outcomes({float(t): t % 3 == 0 for t in range(20)}, {float(t): float(t % 2) for t in range(20)})
    stable = Outcomes({5.0: 1.0}, {float(t): 7.0 for t in range(0, 20, 4)})
    total = increments.error_counts(candidate, stable).total()
    assert total == Pair(Counts(7, 10), Counts(1, 35))


def test_durations_are_added_by_bucket() -> None:
    found = increments.durations({0.1: {1.0: 3.0, 2.0: 0.0}, math.inf: {1.0: 4.0, 2.0: 1.0}}, {0.1: {}, math.inf: {}})
    assert found.candidate == quantile.Buckets((0.1, math.inf), (3, 5))
    assert found.stable == quantile.Buckets((0.1, math.inf), (0, 0))
    assert found.looks == 2


UNFIT: dict[str, tuple[dict[float, increments.Rises], str]] = {
    "no bucket +Inf": ({0.1: {1.0: 3.0}, 0.2: {1.0: 4.0}}, "are no bounds"),
    "counts that fall from bucket to bucket": ({0.1: {1.0: 5.0}, math.inf: {1.0: 4.0}}, "a counter was reset"),
}


@pytest.mark.parametrize(("buckets", "message"), UNFIT.values(), ids=UNFIT)
def test_what_is_no_histogram_is_told(buckets: dict[float, increments.Rises], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        increments.durations(buckets, {})


def series(part: list[float], whole: list[float]) -> Series:
    return Series(list(enumerate(part)), list(enumerate(whole)))


def test_a_ratio_of_sums() -> None:
    found = increments.ratio(series([0, 1, 3], [0, 10, 20]), series([5, 5, 5], [100, 150, 200]))
    assert found == State().observed(Counts(1, 9), Counts(0, 50)).observed(Counts(2, 8), Counts(0, 50))


def test_a_sum_that_fell_has_lost_a_pod_and_the_moment_is_left_out() -> None:
    found = increments.ratio(series([4, 1, 2], [90, 40, 50]), series([0, 0, 0], [0, 50, 100]))
    assert found.total() == Pair(Counts(1, 9), Counts(0, 100))


def test_more_events_than_tries_are_told() -> None:
    with pytest.raises(ValueError, match="9 events of 5: totalQuery must count at least all that query counts"):
        increments.ratio(series([0, 9], [0, 5]), series([0, 0], [0, 5]))


def test_means() -> None:
    found = increments.means(series([0, 60], [0, 3]), series([0, 40], [0, 4]), 0, 100)
    assert (found.candidate, found.stable) == (mean.Moments(3, 60, 1200), mean.Moments(4, 40, 400))
    assert found.spread == mean.SubGaussian(50)
    assert found.weight == pytest.approx(12 / 7)


def test_a_mean_outside_of_its_range_is_told() -> None:
    with pytest.raises(ValueError, match="3 values sum up to 600: not between 0 and 100 each"):
        increments.means(series([0, 600], [0, 3]), series([0, 40], [0, 4]), 0, 100)


@pytest.mark.parametrize(("elapsed", "step"), [(0, 1), (1, 1), (512, 1), (513, 2), (1024, 2), (1025, 4), (86400, 256)])
def test_a_longer_time_is_read_at_longer_steps(elapsed: float, step: int) -> None:
    assert increments.step_seconds(elapsed) == step


@pytest.mark.parametrize("elapsed", [1, 64, 65, 3600, 86400, 604800])
def test_histograms_of_hundreds_of_pods_are_a_short_answer(elapsed: float) -> None:
    """33 buckets of 250 pods at every moment, 25 bytes each, fit into what is read of an answer."""
    step = increments.step_seconds(elapsed, increments.MOST_POINTS_OF_BUCKETS)
    assert (elapsed / step + 1) * 33 * 250 * 25 < 16 << 20


def test_what_came_before_is_read_backwards() -> None:
    """At 10 the watch begins: the interval that ended then comes first."""
    assert increments.backwards({8.0: 3.0, 9.0: 2.0, 10.0: 1.0}, since=10.0, step=1.0) == {
        11.0: 1.0,
        12.0: 2.0,
        13.0: 3.0,
    }
    before = Series([(8, 0), (9, 2), (10, 3)], [(8, 0), (9, 20), (10, 50)])
    found = increments.ratio(increments.read_backwards(before, 10), series([0, 0, 0], [0, 5, 10]))
    assert found.total() == Pair(Counts(3, 47), Counts(0, 10))
    assert increments.read_backwards(before, 10) == Series([(10, 0), (11, 1), (12, 3)], [(10, 0), (11, 30), (12, 50)])
    assert increments.read_backwards(Series([], []), 10) == Series([], [])
