"""Error rates against stable: sentences of whole comparisons, and what must hold of any counts."""

import dataclasses
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from penstock.analysis.sequential import counts, errorrate
from penstock.analysis.sequential.counts import Counts, Pair, State, Stratum
from penstock.analysis.sequential.errorrate import Line
from penstock.analysis.sequential.margin import Absolute, Margin, Relative
from penstock.analysis.sequential.outcome import Interval, NotWorse, Undecided, Worse

Interval_ = tuple[int, int, int, int]  # errors and successes of the candidate, then of stable


def state(*intervals: Interval_) -> State:
    """The state after these intervals."""
    seen = State()
    for failed, good, stable_failed, stable_good in intervals:
        seen = seen.observed(Counts(failed, good), Counts(stable_failed, stable_good))
    return seen


SAID: dict[str, tuple[State, Margin, type, str]] = {
    "a clear regression": (
        state(*[(1, 14, 0, 287)] * 7, *[(0, 15, 1, 286)] * 4, *[(0, 15, 0, 287)] * 3),
        Absolute(0.005),
        Worse,
        "errors: 7 of 210 (3.3 %) against 4 of 4,018 (0.1 %): worse by at least 0.64 points at 95 % after 14 looks",
    ),
    "the same, relative": (
        state(*[(1, 14, 0, 287)] * 7, *[(0, 15, 1, 286)] * 4, *[(0, 15, 0, 287)] * 3),
        Relative(0.5),
        Worse,
        "errors: 7 of 210 (3.3 %) against 4 of 4,018 (0.1 %): worse by at least 370 % at 95 % after 14 looks",
    ),
    "good enough": (
        state(*[(1, 999, 1, 999)] * 10),
        Absolute(0.005),
        NotWorse,
        (
            "errors: 10 of 10,000 (0.1 %) against 10 of 10,000 (0.1 %): worse by at most 0.17 points, within the margin of "
            "0.5 points at 95 % after 10 looks"
        ),
    ),
    "better": (
        state(*[(0, 100, 20, 80)] * 10),
        Absolute(),
        NotWorse,
        "errors: 0 of 1,000 (0.0 %) against 200 of 1,000 (20.0 %): better by at least 16 points at 95 % after 10 looks",
    ),
    "too early": (
        state((0, 10, 0, 90)),
        Absolute(0.01),
        Undecided,
        (
            "errors: 0 of 10 (0.0 %) against 0 of 90 (0.0 %): between 6.5 points better and 40 points worse at 95 % after "
            "1 look: not decided yet"
        ),
    ),
    "too early for a ratio": (
        state((0, 10, 0, 90)),
        Relative(0.5),
        Undecided,
        (
            "errors: 0 of 10 (0.0 %) against 0 of 90 (0.0 %): between 100 % better and any amount worse at 95 % after 1 look: "
            "not decided yet"
        ),
    ),
    "nothing observed": (
        State(),
        Absolute(0.01),
        Undecided,
        "errors: no requests against no requests: nothing to compare yet, no interval had requests to both versions",
    ),
    "only stable has traffic": (
        state(*[(0, 0, 5, 95)] * 3),
        Absolute(0.01),
        Undecided,
        "errors: no requests against 15 of 300 (5.0 %): nothing to compare yet, no interval had requests to both versions",
    ),
    "only the candidate has traffic, and fails": (
        state(*[(100, 0, 0, 0)] * 3),
        Absolute(0.01),
        Undecided,
        "errors: 300 of 300 (100.0 %) against no requests: nothing to compare yet, no interval had requests to both versions",
    ),
    "both fail altogether": (
        state(*[(10, 0, 90, 0)] * 100),
        Absolute(0.2),
        NotWorse,
        (
            "errors: 1,000 of 1,000 (100.0 %) against 9,000 of 9,000 (100.0 %): worse by at most 16 points, within the "
            "margin of 20 points at 95 % after 100 looks"
        ),
    ),
}


@pytest.mark.parametrize(("seen", "allowed", "verdict", "why"), SAID.values(), ids=SAID.keys())
def test_what_is_said(seen: State, allowed: Margin, verdict: type, why: str) -> None:
    found = errorrate.compare(seen, allowed)
    assert (type(found), found.why) == (verdict, why)


def test_a_whole_outcome() -> None:
    found = errorrate.compare(State(), Absolute(0.1), confidence=0.9, name="model errors")
    assert found == Undecided(
        Interval(-1.0, 1.0),
        0,
        0,
        0,
        "model errors: no requests against no requests: nothing to compare yet, no interval had requests to both versions",
    )


def test_a_candidate_that_fails_altogether_is_found_at_once() -> None:
    found = errorrate.compare(state((5, 0, 0, 495)), Absolute(0.05))
    assert isinstance(found, Worse)
    assert (found.candidate, found.stable, found.looks) == (5, 495, 1)


def test_totals_that_blame_the_candidate_for_a_bad_hour_do_not_count() -> None:
    """All good with 1 % of the traffic, then one in twenty fails on both sides with 50 %."""
    seen = state(*[(0, 10, 0, 990)] * 20, *[(25, 475, 25, 475)] * 20)
    total = seen.total()
    assert total.candidate.errors / total.candidate.total > 2 * total.stable.errors / total.stable.total
    assert isinstance(errorrate.compare(seen, Absolute(0.02)), NotWorse)


def test_intervals_of_one_share_are_kept_together() -> None:
    seen = state((1, 9, 0, 90), (0, 10, 2, 88), (0, 50, 0, 50), (0, 0, 1, 1))
    assert seen == State(
        (
            Stratum(-44, Pair(Counts(1, 19), Counts(2, 178))),
            Stratum(0, Pair(Counts(0, 50), Counts(0, 50))),
        ),
        Pair(Counts(), Counts(1, 1)),
        4,
    )


HALF: Any = 2.5
NAN: Any = math.nan

REFUSED = {
    "a reset counter": (lambda: Counts(-1, 5), "errors rose by -1: leave out intervals in which a counter was reset"),
    "a fraction": (lambda: Counts(1, HALF), "successes rose by 2.5: give increments of raw counters, which are whole"),
    "no number": (lambda: Counts(NAN, 1), "errors rose by nan: give increments of raw counters, which are whole"),
    "a negative margin": (lambda: Absolute(-0.1), "the margin is -0.1: choose a finite number that is not negative"),
    "no margin": (lambda: Relative(math.nan), "the margin is nan: choose a finite number that is not negative"),
    "certainty": (
        lambda: errorrate.compare(State(), Absolute(), confidence=1.0),
        "confidence is 1.0: choose at least 0.5 and less than 1, such as 0.95",
    ),
}


@pytest.mark.parametrize(("make", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(make: object, why: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # the whole message is compared
        make()
    assert str(refused.value) == why


def test_evidence_at_margin_zero_is_the_likelihood_ratio_of_who_made_each_error() -> None:
    """By hand: among errors, the candidate's share is b if equal, and b r / (1 + b (r - 1)) if r times as likely."""
    share, stake = 0.2, 3.0
    ratio = 1 + stake
    of_candidate = share * ratio / (1 + share * (ratio - 1))
    expected = (math.log(of_candidate / share), 0.0, math.log((1 - of_candidate) / (1 - share)))
    assert errorrate.factors(share, stake, Line()) == pytest.approx(expected)


LINES = st.builds(
    lambda ratio, shift, anchored: Line(ratio, shift, max(shift, 0.0) if anchored else 0.0),
    st.floats(0.01, 100),
    st.floats(-0.99, 0.99),
    st.booleans(),
)


@settings(deadline=None)
@given(st.integers(1, 10**6), st.integers(1, 10**6), LINES, st.sampled_from(errorrate.STAKES), st.floats(0, 1))
def test_no_interval_is_expected_to_make_evidence_while_the_line_holds(
    candidate: int, stable: int, line: Line, stake: float, rate: float
) -> None:
    """The inequality that everything rests on: the mean expectation of the factors is at most 1 on the line."""
    found = errorrate.factors(counts.share_above(counts.cell(candidate, stable)), stake, line)
    theirs = rate
    mine = min(max(line.ratio * theirs + line.shift, 0.0), 1.0)
    if found is None or mine > line.ratio * theirs + line.shift:
        return
    error, success, stable_error = (math.exp(value) for value in found)
    of_candidate = mine * error + (1 - mine) * success
    of_stable = theirs * stable_error + 1 - theirs
    assert (candidate * of_candidate + stable * of_stable) / (candidate + stable) <= 1 + 1e-9


INTERVALS = st.lists(st.tuples(*[st.integers(0, 200)] * 4), min_size=1, max_size=8)
ALLOWED = st.one_of(st.builds(Absolute, st.floats(0, 0.5)), st.builds(Relative, st.floats(0, 10)))


@settings(deadline=None)
@given(INTERVALS, ALLOWED)
def test_bounds_are_numbers_in_order_and_agree_with_the_verdict(intervals: list[Interval_], allowed: Margin) -> None:
    found = errorrate.compare(state(*intervals), allowed)
    low, high = found.interval.low, found.interval.high
    assert low >= -1
    assert high <= (1 if isinstance(allowed, Absolute) else math.inf)
    assert isinstance(found, Worse) == (low >= allowed.value)
    if not isinstance(found, Worse):
        assert low <= high
        assert isinstance(found, NotWorse) == (high <= allowed.value)
    assert "nan" not in found.why


@settings(deadline=None)
@given(INTERVALS, st.randoms(use_true_random=False))
def test_the_order_of_intervals_does_not_matter(intervals: list[Interval_], shuffler: random.Random) -> None:
    shuffled = intervals.copy()
    shuffler.shuffle(shuffled)
    cut = len(intervals) // 2
    assert state(*shuffled) == state(*intervals)
    assert state(*intervals[:cut]).merged(state(*intervals[cut:])) == state(*intervals)


@settings(deadline=None)
@given(INTERVALS)
def test_exchanging_the_versions_turns_the_evidence_round(intervals: list[Interval_]) -> None:
    seen, exchanged = state(*intervals), state(*[(c, d, a, b) for a, b, c, d in intervals])
    assert exchanged == seen.swapped()
    difference = errorrate.compare(seen, Absolute()).interval
    assert errorrate.compare(exchanged, Absolute()).interval == Interval(-difference.high, -difference.low)


@settings(deadline=None)
@given(INTERVALS, st.data())
def test_more_errors_of_the_candidate_are_more_evidence_against_it(
    intervals: list[Interval_], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(intervals) - 1))
    failed, good, *others = intervals[index]
    turned = data.draw(st.integers(0, good))
    worse = [*intervals[:index], (failed + turned, good - turned, *others), *intervals[index + 1 :]]
    for line in (Line(), Line(ratio=1.5), Line(shift=0.01, anchor=0.01)):
        before, after = (errorrate.log_evidence(state(*each), line) for each in (intervals, worse))
        assert after >= before - 1e-9


@settings(deadline=None)
@given(INTERVALS, st.floats(0.1, 10), st.floats(0, 0.9), st.floats(0.01, 0.09))
def test_a_larger_margin_is_refuted_less(intervals: list[Interval_], ratio: float, shift: float, more: float) -> None:
    seen = state(*intervals)
    assert (
        errorrate.log_evidence(seen, Line(ratio=ratio)) >= errorrate.log_evidence(seen, Line(ratio=ratio + more)) - 1e-9
    )
    line = Line(shift=shift, anchor=0.3)
    assert (
        errorrate.log_evidence(seen, line)
        >= errorrate.log_evidence(seen, dataclasses.replace(line, shift=shift + more)) - 1e-9
    )


@settings(deadline=None)
@given(INTERVALS.filter(lambda all_: any(a + b and c + d for a, b, c, d in all_)), ALLOWED)
def test_ten_times_the_same_traffic_gives_narrower_bounds(intervals: list[Interval_], allowed: Margin) -> None:
    once, often = (errorrate.compare(state(*intervals * times), allowed).interval for times in (1, 10))
    slack = 0.01 * (1 + max(abs(bound) for bound in (once.low, once.high) if math.isfinite(bound)))
    assert often.low >= once.low - slack
    assert often.high <= once.high + slack


@settings(deadline=None)
@given(INTERVALS, st.tuples(st.integers(0, 500), st.integers(0, 500)), st.booleans())
def test_traffic_to_one_version_alone_changes_nothing(
    intervals: list[Interval_], alone: tuple[int, int], mine: bool
) -> None:
    seen = state(*intervals)
    one_sided = seen.observed(*(Counts(*alone), Counts())[:: 1 if mine else -1])
    assert errorrate.compare(one_sided, Absolute(0.1)).interval == errorrate.compare(seen, Absolute(0.1)).interval


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 200), st.integers(1, 200)), min_size=1, max_size=30), ALLOWED)
def test_when_everything_fails_on_both_sides_the_candidate_is_not_to_blame(
    failed: list[tuple[int, int]], allowed: Margin
) -> None:
    seen = state(*[(mine, 0, its, 0) for mine, its in failed])
    assert not isinstance(errorrate.compare(seen, allowed), Worse)
