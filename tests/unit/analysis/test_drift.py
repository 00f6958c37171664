"""Distributions of predictions: what is counted as what, published figures, and what is said."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock.analysis import chisquare, divergence, drift, prediction
from penstock.analysis.drift import Distributions, Look, Sameness
from penstock.analysis.sequential.outcome import Interval, NotWorse, Undecided, Worse

NAN, INF = math.nan, math.inf

READINGS: dict[str, tuple[object, object]] = {
    "a number": (1.5, 1.5),
    "a whole number": (3, 3.0),
    "text": ("fraud", "fraud"),
    "a bool": (True, "true"),
    "nothing": (None, "null"),
    "NaN": (NAN, "nan"),
    "infinity": (-INF, "-inf"),
    "a whole number beyond all floats": (-(10**400), "-inf"),
    "a list of one": ([0.5], 0.5),
    "probabilities of classes": ([0.1, 0.7, 0.2], "largest: 1"),
    "probabilities with NaN": ([0.1, NAN], "nan"),
    "an object of one field": ({"score": 2}, 2.0),
    "scores by name": ({"cat": 0.2, "dog": 0.8}, "largest: dog"),
    "a label with its score": ({"label": "cat", "score": 0.81}, "cat"),
    "lists within": ([[1, 2], [3, 4]], "[[1, 2], [3, 4]]"),
    "an empty list": ([], "[]"),
}


@pytest.mark.parametrize(("row", "expected"), READINGS.values(), ids=READINGS.keys())
def test_what_a_row_predicts(row: object, expected: object) -> None:
    assert prediction.reading(row) == expected


def test_huge_predictions_are_short_and_still_different() -> None:
    one, other = prediction.reading("x" * 100_000 + "a"), prediction.reading("x" * 100_000 + "b")
    assert isinstance(one, str)
    assert (len(one), one == other) == (56, False)


def test_rows_nested_deeper_than_the_interpreter_recurses() -> None:
    row: list[Any] = ["a"]
    for _ in range(50_000):
        row = [row]
    assert prediction.reading(row) == "nested too deep"


def test_one_row_of_a_request_speaks_for_it_and_the_same_one_for_both_versions() -> None:
    chosen = [prediction.row_of([0, 1, 2, 3], f"request-{n}") for n in range(400)]
    assert {row: chosen.count(row) > 60 for row in range(4)} == dict.fromkeys(range(4), True)
    assert chosen == [prediction.row_of([0, 1, 2, 3], f"request-{n}") for n in range(400)]
    with pytest.raises(ValueError, match="an answer without rows"):
        prediction.row_of([], "request")


# Abramowitz and Stegun, table 26.8 (upper percentage points of chi-square).
UPPER_POINTS = {
    (1, 3.84146): 0.05,
    (2, 5.99147): 0.05,
    (3, 11.3449): 0.01,
    (9, 16.9190): 0.05,
    (10, 29.5883): 0.001,
    (30, 43.7729): 0.05,
    (49, 74.9195): 0.01,
}


@pytest.mark.parametrize(("point", "chance"), UPPER_POINTS.items(), ids=str)
def test_published_percentage_points_of_chi_square(point: tuple[int, float], chance: float) -> None:
    degrees, statistic = point
    assert chisquare.upper_tail(statistic, degrees) == pytest.approx(chance, rel=1e-4)


@given(st.integers(1, 60), st.floats(0, 3000), st.floats(0, 100))
def test_the_upper_tail_falls(degrees: int, statistic: float, more: float) -> None:
    tail = chisquare.upper_tail(statistic, degrees)
    assert 0 <= chisquare.upper_tail(statistic + more, degrees) <= tail + 1e-12 <= 1 + 1e-12


def test_rare_classes_are_put_together() -> None:
    one, other = {"a": 40, "b": 30, "c": 3, "d": 1}, {"a": 50, "b": 20, "c": 5, "e": 2}
    assert chisquare.merged(one, other) == [("a", 40, 50), ("b", 30, 20), ("the rest", 4, 7)]
    assert chisquare.merged({"a": 50, "b": 1}, {"a": 50}) == [("the rest", 51, 50)]
    assert chisquare.merged({}, {"a": 50}) == [("a", 0, 50)]


COUNTS = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=12).filter(
    lambda counts: all(sum(column) for column in zip(*counts, strict=True))
)


@given(COUNTS)
def test_merging_loses_nobody_and_leaves_no_rare_class_but_a_single_one(counts: list[tuple[int, int]]) -> None:
    one = {f"c{n}": count for n, (count, _) in enumerate(counts)}
    other = {f"c{n}": count for n, (_, count) in enumerate(counts)}
    found = chisquare.merged(one, other)
    assert (sum(row[1] for row in found), sum(row[2] for row in found)) == (sum(one.values()), sum(other.values()))
    sizes = sum(one.values()), sum(other.values())
    expected = [(mine + its) * min(sizes) / sum(sizes) for _, mine, its in found]
    assert len(found) == 1 or min(expected) >= chisquare.EXPECTED - 1e-9


@given(COUNTS)
def test_a_divergence_lies_between_0_and_1_and_is_the_same_from_both_sides(counts: list[tuple[int, int]]) -> None:
    found = divergence.jensen_shannon(counts)
    assert 0 <= found <= 1
    assert found == pytest.approx(divergence.jensen_shannon([(other, one) for one, other in counts]))


def test_a_divergence_by_hand() -> None:
    """Of (1/2, 1/2, 0) and (0, 1/2, 1/2): H(M) = 3/2, H(P) = H(Q) = 1, so it is 1/2."""
    assert divergence.jensen_shannon([(10**8, 0), (10**8, 10**8), (0, 10**8)]) == pytest.approx(0.5, abs=1e-6)
    assert divergence.jensen_shannon([(10**8, 0), (0, 10**8)]) == pytest.approx(1.0)


def test_what_is_counted_of_classes() -> None:
    seen = Distributions().observed(["a", "b"] * 40, ["a"] * 99, duplicates=1, failed=2, oversized=3, lost=4)
    assert (seen.decided, len(seen.candidate), len(seen.waiting_candidate), len(seen.waiting_stable)) == (
        False,
        0,
        80,
        99,
    )
    assert seen.observed(["b"] * 20, ["b"]) == Distributions(
        candidate_total=100,
        stable_total=100,
        decided=True,
        candidate=(("a", 40), ("b", 60)),
        stable=(("a", 99), ("b", 1)),
        look=Look(2, (("a", 40), ("b", 60)), (("a", 99), ("b", 1))),
        sameness=Sameness("a", True, 80, 99, 0),
        failed=2,
        oversized=3,
        duplicates=1,
        lost=4,
        looks=2,
    )


def test_bins_are_tenths_of_stables_first_hundred_which_are_not_counted() -> None:
    seen = Distributions().observed([5, 95, 150, NAN], [*range(100), 0, 9, 10, 99, 1000])
    assert seen.edges == tuple(float(edge) for edge in range(9, 90, 10))
    assert seen.candidate == (("above 89", 2), ("at most 9", 1), ("nan", 1))
    assert seen.stable == (("9 to 19", 1), ("above 89", 2), ("at most 9", 2))


def test_numbers_nearly_all_of_which_are_the_same() -> None:
    seen = Distributions().observed([0.5, 50], [*range(12), *[50] * 90])
    assert (seen.edges, seen.candidate) == ((9.0,), (("above 9", 1), ("at most 9", 1)))
    seen = Distributions().observed([0.5, 50], [*[n / 100 for n in range(10)], *[50] * 90])
    assert seen.edges is not None
    assert dict(seen.candidate) == {"above 0.09": 2}


def test_a_few_different_numbers_are_classes() -> None:
    seen = Distributions().observed([0, 1, 0.5], [0, 1] * 50)
    assert (seen.edges, seen.candidate, seen.stable) == (None, (("0", 1), ("0.5", 1), ("1", 1)), (("0", 50), ("1", 50)))


def test_a_regression_that_is_asked_little_and_says_nearly_the_same_has_not_drifted() -> None:
    """Its numbers are few because the requests are; they are no classes."""
    asked = [0.1, 0.25, 0.7] * 100
    seen = Distributions().observed([value + 1e-6 for value in asked], asked)
    assert seen.edges == pytest.approx((0.175, 0.475))
    assert isinstance(drift.compare(seen, 0.1), NotWorse)
    shifted = Distributions().observed([value + 0.3 for value in asked], asked)
    assert isinstance(drift.compare(shifted, 0.1), Worse)


def test_more_classes_than_anybody_can_look_at() -> None:
    seen = Distributions().observed([f"c{n}" for n in range(3000)], [f"s{n}" for n in range(3000)])
    assert (len(seen.candidate), len(seen.stable)) == (1, drift.CLASSES + 1)
    assert dict(seen.candidate)["another class"] == 2000, "more than that do not wait"


SAID: dict[str, tuple[Distributions, float, type, str]] = {
    "nothing": (
        Distributions(),
        0.1,
        Undecided,
        "predictions: 0 of the candidate's and 0 of stable's, 50 of the candidate's and 100 of stable's are needed: not decided yet",
    ),
    "a candidate that answers nothing": (
        Distributions().observed([], ["a", "b"] * 300),
        0.1,
        Undecided,
        "predictions: 0 of the candidate's and 600 of stable's, 50 of the candidate's and 100 of stable's are needed: not decided yet",
    ),
    "zero traffic to stable": (
        Distributions().observed(["a", "b"] * 3000, []),
        0.1,
        Undecided,
        "predictions: 6,000 of the candidate's and 0 of stable's, 50 of the candidate's and 100 of stable's are needed: not decided yet",
    ),
    "alike": (
        Distributions().observed(["a", "b"] * 200, ["a", "b"] * 300),
        0.1,
        NotWorse,
        "predictions: 400 against 600: divergence 0 over 2 classes, within the limit of 0.1 (look 4)",
    ),
    "drifted": (
        Distributions().observed(["a", "b", "b", "b", "b"] * 80, ["a", "b"] * 200),
        0.05,
        Worse,
        "predictions: 400 against 400: divergence 0.07211 over 2 classes: more than 0.05, and not by chance, at 95 % after 4 looks (most: b: 80 % against 50 %)",
    ),
    "drifted, within the limit": (
        Distributions().observed(["a", "b", "b", "b", "b"] * 80, ["a", "b"] * 200),
        0.1,
        NotWorse,
        "predictions: 400 against 400: divergence 0.07211 over 2 classes, within the limit of 0.1 (look 4)",
    ),
    "apart, maybe by chance": (
        Distributions().observed(["a"] * 22 + ["b"] * 28, ["a"] * 60 + ["b"] * 40),
        0.005,
        Undecided,
        "predictions: 50 against 100: divergence 0.01305 over 2 classes: more than 0.005, which may be chance (look 1): not decided yet (most: b: 56 % against 40 %)",
    ),
    "NaN predictions": (
        Distributions().observed([NAN, 1.5] * 100, [n * 37 % 100 / 10 for n in range(300)]),
        0.1,
        Worse,
        "predictions: 200 against 200: divergence 0.8035 over 11 bins: more than 0.1, and not by chance, at 95 % after 3 looks (most: nan: 50 % against 0 %)",
    ),
    "a candidate whose answers are all identical": (
        Distributions().observed([0.5] * 4, [n / 7 for n in range(40)]),
        1.0,
        Worse,
        "predictions: all 4 of the candidate's are the same (0.5), and 0 of 40 of stable's: a collapse at 95 % after 1 look",
    ),
    "a collapse to stable's commonest class": (
        Distributions().observed(["a"] * 16, ["a", "b"] * 30),
        1.0,
        Worse,
        "predictions: all 16 of the candidate's are the same (a), and 30 of 60 of stable's: a collapse at 95 % after 3 looks",
    ),
    "all the same, as stable's nearly are": (
        Distributions().observed(["a"] * 40, ["a"] * 199 + ["b"]),
        0.1,
        Undecided,
        "predictions: 40 of the candidate's and 200 of stable's, 50 of the candidate's and 100 of stable's are needed: not decided yet",
    ),
    "both always the same": (
        Distributions().observed(["a"] * 400, ["a"] * 400),
        0.1,
        NotWorse,
        "predictions: 400 against 400: divergence 0 over 1 class, within the limit of 0.1 (look 4)",
    ),
    "a ring that wrapped": (
        Distributions().observed(["a"], ["a"], lost=3000),
        0.1,
        Undecided,
        "predictions: 1 of the candidate's and 1 of stable's, 50 of the candidate's and 100 of stable's are needed: not decided yet; 3,000 answers were overwritten before they were read: lower intervalSeconds",
    ),
}


@pytest.mark.parametrize(("seen", "limit", "verdict", "why"), SAID.values(), ids=SAID.keys())
def test_what_is_said(seen: Distributions, limit: float, verdict: type, why: str) -> None:
    found = drift.compare(seen, limit)
    assert (type(found), found.why) == (verdict, why)


def test_a_whole_outcome() -> None:
    assert drift.compare(Distributions().observed(["a"] * 50, ["a"] * 100), 0.1, 0.9, "labels") == NotWorse(
        Interval(), 50, 100, 1, "labels: 50 against 100: divergence 0 over 1 class, within the limit of 0.1 (look 1)"
    )


@pytest.mark.parametrize("limit", [-0.1, 1.1, NAN])
def test_a_limit_that_is_none_is_refused(limit: float) -> None:
    with pytest.raises(ValueError, match=f"the limit is {limit}: choose a divergence from 0 to 1"):
        drift.compare(Distributions(), limit)


def test_the_chance_of_a_collapse_by_counting_orders() -> None:
    """Four answers a, a | a, b: the candidate's second is an a in 2 of 3 orders of the others."""
    assert Sameness("a", False, 2, 1, 1).chance() == pytest.approx(2 / 3)
    assert Sameness("a", False, 3, 2, 5).chance() == pytest.approx(4 / 9 * 3 / 8)
    assert Sameness("a", True, 3, 2, 5).chance() == Sameness("a", False, 1, 0, 5).chance() == 1


ROWS = st.lists(st.sampled_from(["a", "b", "c"]) | st.floats() | st.integers(0, 3), max_size=60)


@given(st.lists(st.tuples(ROWS, ROWS), max_size=6))
def test_any_rows_give_a_sentence_and_are_all_counted(looks: list[tuple[list[object], list[object]]]) -> None:
    seen = Distributions()
    for candidate, stable in looks:
        seen = seen.observed(candidate, stable)
    assert (seen.candidate_total, seen.stable_total) == (sum(len(c) for c, _ in looks), sum(len(s) for _, s in looks))
    assert drift.compare(seen, 0.1).why.startswith("predictions: ")
    counted = sum(n for _, n in seen.candidate) + len(seen.waiting_candidate)
    assert counted == seen.candidate_total
