"""Quantiles of histograms against stable: sentences of whole comparisons, and what must hold of any buckets."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from penstock.analysis.sequential import quantile
from penstock.analysis.sequential.margin import Absolute
from penstock.analysis.sequential.outcome import Incomparable, Interval, NotWorse, Outcome, Undecided, Worse
from penstock.analysis.sequential.quantile import Buckets, State

INF = math.inf
BOUNDS = (0.1, 0.25, 0.5, INF)


def state(candidate: tuple[int, ...], stable: tuple[int, ...], looks: int = 10) -> State:
    """The state after equal intervals with these counts in each bucket."""
    seen = State()
    for _ in range(looks):
        seen = seen.observed(_buckets(candidate), _buckets(stable))
    return seen


def _buckets(counts: tuple[int, ...]) -> Buckets:
    return Buckets(BOUNDS, tuple(sum(counts[: index + 1]) for index in range(len(counts))))


SAID: dict[str, tuple[Outcome, Outcome]] = {
    "two buckets slower": (
        quantile.compare(state((50, 30, 19, 1), (990, 10, 0, 0)), 0.9, Absolute(0.1)),
        Worse(
            Interval(0.15, 0.5),
            1000,
            10000,
            10,
            "p90: 0.25 to 0.5 s over 1,000 requests against at most 0.1 s over 10,000 requests: worse by at least 0.15 s "
            "at 95 % after 10 looks",
        ),
    ),
    "as fast": (
        quantile.compare(state((5, 93, 2, 0), (50, 930, 20, 0)), 0.9, Absolute(0.2)),
        NotWorse(
            Interval(-0.15, 0.15),
            1000,
            10000,
            10,
            "p90: 0.1 to 0.25 s over 1,000 requests against 0.1 to 0.25 s over 10,000 requests: worse by at most 0.15 s, "
            "within the margin of 0.2 s at 95 % after 10 looks",
        ),
    ),
    "faster": (
        quantile.compare(state((100, 0, 0, 0), (0, 0, 990, 10)), 0.9, Absolute()),
        NotWorse(
            Interval(-0.5, -0.15),
            1000,
            10000,
            10,
            "p90: at most 0.1 s over 1,000 requests against 0.25 to 0.5 s over 10,000 requests: better by at least 0.15 s "
            "at 95 % after 10 looks",
        ),
    ),
    "buckets too wide": (
        quantile.compare(state((5, 93, 2, 0), (50, 930, 20, 0)), 0.9, Absolute(0.05)),
        Undecided(
            Interval(-0.15, 0.15),
            1000,
            10000,
            10,
            "p90: 0.1 to 0.25 s over 1,000 requests against 0.1 to 0.25 s over 10,000 requests: between 0.15 s better and "
            "0.15 s worse at 95 % after 10 looks: not decided yet, and never will be: the buckets are too wide for this "
            "margin, so set a wider one",
            for_good=True,
        ),
    ),
    "too early": (
        quantile.compare(state((1, 1, 0, 0), (10, 10, 0, 0), looks=1), 0.9, Absolute(0.05)),
        Undecided(
            Interval(-INF, INF),
            2,
            20,
            1,
            "p90: 0.1 to 0.25 s over 2 requests against 0.1 to 0.25 s over 20 requests: between any amount better and any "
            "amount worse at 95 % after 1 look: not decided yet",
        ),
    ),
    "both beyond the largest bound": (
        quantile.compare(state((0, 0, 0, 100), (0, 0, 0, 1000)), 0.9, Absolute(0.05)),
        Undecided(
            Interval(-INF, INF),
            1000,
            10000,
            10,
            "p90: above 0.5 s over 1,000 requests against above 0.5 s over 10,000 requests: between any amount better and "
            "any amount worse at 95 % after 10 looks: not decided yet, and never will be: the buckets are too wide for "
            "this margin, so set a wider one",
            for_good=True,
        ),
    ),
    "no requests": (
        quantile.compare(state((0, 0, 0, 0), (0, 0, 0, 0)), 0.99, Absolute(0.05), name="latency"),
        Undecided(
            Interval(-INF, INF),
            0,
            0,
            10,
            "latency: no requests against no requests: nothing to compare yet, one version or both had no requests",
        ),
    ),
    "nothing observed": (
        quantile.compare(State(), 0.99, Absolute(0.05)),
        Undecided(Interval(), 0, 0, 0, "p99: nothing to compare yet, no interval was observed"),
    ),
    "different buckets": (
        quantile.compare(State(Buckets((0.1, INF), (1, 2)), Buckets((0.2, INF), (1, 2)), 1), 0.99, Absolute(0.05)),
        Incomparable("p99: the candidate's buckets are 0.1, inf and stable's 0.2, inf: give both the same"),
    ),
}


@pytest.mark.parametrize(("found", "expected"), SAID.values(), ids=SAID.keys())
def test_what_is_found(found: Outcome, expected: Outcome) -> None:
    assert found == expected


REFUSED = {
    "no bound +Inf": (lambda: Buckets((0.1, 0.2), (1, 2)), "0.1, 0.2 are no bounds: give them in order, +Inf the last"),
    "only +Inf": (lambda: Buckets((INF,), (1,)), "inf are no bounds: give them in order, +Inf the last"),
    "no order": (
        lambda: Buckets((0.2, 0.1, INF), (1, 2, 3)),
        "0.2, 0.1, inf are no bounds: give them in order, +Inf the last",
    ),
    "a count too few": (lambda: Buckets((0.1, INF), (1,)), "2 buckets have 1 counts: give one for each"),
    "a reset counter": (
        lambda: Buckets((0.1, INF), (-1, 2)),
        "counts rose by (-1, 2): leave out intervals in which a counter was reset",
    ),
    "falling counts": (
        lambda: Buckets((0.1, INF), (3, 2)),
        "counts rose by (3, 2): leave out intervals in which a counter was reset",
    ),
    "buckets that change": (
        lambda: state((1, 1, 1, 1), (1, 1, 1, 1)).observed(Buckets((0.1, INF), (1, 2)), _buckets((1, 1, 1, 1))),
        "the buckets changed from 0.1, 0.25, 0.5, inf to 0.1, inf: start anew",
    ),
    "no quantile": (
        lambda: quantile.compare(State(), 1.0, Absolute()),
        "the quantile is 1.0: choose one above 0 and below 1, such as 0.99",
    ),
}


@pytest.mark.parametrize(("make", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(make: object, why: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # the whole message is compared
        make()
    assert str(refused.value) == why


def test_buckets_from_prometheus() -> None:
    assert quantile.buckets({INF: 10, 0.1: 3, 1.0: 9}) == Buckets((0.1, 1.0, INF), (3, 9, 10))


COUNTS = st.tuples(*[st.integers(0, 60)] * 4)
QUANTILE = st.floats(0.01, 0.99)
MARGIN = st.builds(Absolute, st.floats(0, 1))


@settings(deadline=None)
@given(COUNTS, COUNTS, QUANTILE, MARGIN)
def test_bounds_are_in_order_and_agree_with_the_verdict(
    mine: tuple[int, ...], its: tuple[int, ...], q: float, allowed: Absolute
) -> None:
    found = quantile.compare(state(mine, its), q, allowed)
    assert isinstance(found, Worse | NotWorse | Undecided)
    low, high = found.interval.low, found.interval.high
    assert low < high
    assert isinstance(found, Worse) == (low >= allowed.value)
    assert isinstance(found, NotWorse) == (high <= allowed.value)
    assert "nan" not in found.why


@settings(deadline=None)
@given(COUNTS, COUNTS, QUANTILE)
def test_exchanging_the_versions_turns_the_interval_round(
    mine: tuple[int, ...], its: tuple[int, ...], q: float
) -> None:
    one, other = (quantile.compare(state(*pair), q, Absolute(1.0)) for pair in ((mine, its), (its, mine)))
    assert isinstance(one, Worse | NotWorse | Undecided)
    assert isinstance(other, Worse | NotWorse | Undecided)
    assert (other.interval.low, other.interval.high) == (-one.interval.high, -one.interval.low)


@settings(deadline=None)
@given(COUNTS, COUNTS, QUANTILE)
def test_more_traffic_of_the_same_kind_never_widens_the_interval(
    mine: tuple[int, ...], its: tuple[int, ...], q: float
) -> None:
    once, often = (quantile.compare(state(mine, its, looks), q, Absolute(1.0)) for looks in (10, 1000))
    assert isinstance(once, Worse | NotWorse | Undecided)
    assert isinstance(often, Worse | NotWorse | Undecided)
    if all(sum(counts) for counts in (mine, its)) and not any(_is_at_a_bound(counts, q) for counts in (mine, its)):
        assert often.interval.low >= once.interval.low
        assert often.interval.high <= once.interval.high


def _is_at_a_bound(counts: tuple[int, ...], q: float) -> bool:
    """Whether the quantile could as well be in the next bucket, so that evidence fades with more of the same."""
    total = sum(counts)
    return any(abs(sum(counts[: index + 1]) / total - q) < 0.1 for index in range(3))


@settings(deadline=None)
@given(COUNTS, COUNTS, st.integers(0, 2), st.integers(1, 60), QUANTILE)
def test_values_that_move_to_a_higher_bucket_are_never_evidence_for_a_lower_quantile(
    mine: tuple[int, ...], its: tuple[int, ...], bucket: int, moved: int, q: float
) -> None:
    moved = min(moved, mine[bucket])
    slower = list(mine)
    slower[bucket] -= moved
    slower[bucket + 1] += moved
    before, after = (quantile.compare(state(counts, its, 1), q, Absolute(1.0)) for counts in (mine, tuple(slower)))
    assert isinstance(before, Worse | NotWorse | Undecided)
    assert isinstance(after, Worse | NotWorse | Undecided)
    assert after.interval.low >= before.interval.low
    assert after.interval.high >= before.interval.high


@settings(deadline=None)
@given(st.lists(st.tuples(COUNTS, COUNTS), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_intervals_does_not_matter(
    intervals: list[tuple[tuple[int, ...], tuple[int, ...]]], shuffler: random.Random
) -> None:
    def seen(all_: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> State:
        result = State()
        for mine, its in all_:
            result = result.observed(_buckets(mine), _buckets(its))
        return result

    shuffled = intervals.copy()
    shuffler.shuffle(shuffled)
    assert seen(shuffled) == seen(intervals)
    assert seen(intervals[:2]).merged(seen(intervals[2:])) == seen(intervals)
