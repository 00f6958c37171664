"""How far two JSON predictions are apart."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock.analysis import difference as differences
from penstock.analysis.difference import OF_KIND, Difference, Tolerance, difference

NAN, INF = math.nan, math.inf
SAME = Difference(True)

EXACT = {
    "equal numbers": ([1.5], [1.5], SAME),
    "a whole number and the same as a float": ([1], [1.0], SAME),
    "numbers": ([2.0], [3.0], Difference(False, 1.0, 0.5, 1.0)),
    "a relative difference from 0": ([0.0], [3.0], Difference(False, 3.0, INF, 3.0)),
    "a difference from almost 0": ([5e-324], [1e300], Difference(False, 1e300, INF, 1e300)),
    "vectors": ([[1, 2], [4, 4]], [[1, 4], [4, 8]], Difference(False, 1.5, 0.5, 4.0)),
    "vectors of other length": ([[1, 2, 3]], [[1, 2]], OF_KIND),
    "fewer rows": ([1, 2], [1], OF_KIND),
    "a row and a scalar": ([1], 1, OF_KIND),
    "strings": (["a"], ["a"], SAME),
    "other strings": (["a"], ["b"], OF_KIND),
    "a string and a number": (["1"], [1], OF_KIND),
    "bools": ([True], [True], SAME),
    "true is no 1": ([True], [1], OF_KIND),
    "false is no 0": ([0], [False], OF_KIND),
    "rows with fields in another order": ([{"a": 1, "b": "x"}], [{"b": "x", "a": 3}], Difference(False, 2.0, 2.0, 2.0)),
    "a missing field": ([{"a": 1, "b": 2}], [{"a": 1}], OF_KIND),
    "an extra field": ([{"a": 1}], [{"a": 1, "b": 2}], OF_KIND),
    "an object and a list": ([{}], [[]], OF_KIND),
    "nothing": ([None], [None], SAME),
    "nothing and 0": ([None], [0], OF_KIND),
    "no rows": ([], [], SAME),
    "NaN on both sides": ([NAN], [NAN], SAME),
    "NaN and a number": ([1.0], [NAN], OF_KIND),
    "a number and NaN": ([NAN], [1.0], OF_KIND),
    "the same infinity": ([INF], [INF], SAME),
    "opposite infinities": ([INF], [-INF], OF_KIND),
    "an infinity and a number": ([1.0], [INF], OF_KIND),
    "a difference beyond all floats": ([1e308], [-1e308], OF_KIND),
    "whole numbers beyond all floats": ([10**400], [10**400], SAME),
    "other whole numbers beyond all floats": ([10**400], [1], OF_KIND),
}


@pytest.mark.parametrize(("stable", "candidate", "expected"), EXACT.values(), ids=EXACT.keys())
def test_without_tolerance(stable: object, candidate: object, expected: Difference) -> None:
    assert difference(stable, candidate) == expected


TOLERANT = {
    "within absolute": (Tolerance(absolute=0.1), 0.4, 0.3, True),
    "beyond absolute": (Tolerance(absolute=0.1), 0.4, 0.29, False),
    "within relative to stable's": (Tolerance(relative=0.1), -100, -110, True),
    "not relative to the candidate's": (Tolerance(relative=0.1), 100, 110.5, False),
    "both add up": (Tolerance(0.5, 0.1), 100, 110.5, True),
    "0 has no relative tolerance": (Tolerance(relative=0.5), 0, 1e-300, False),
    "no number is near infinity": (Tolerance(1e300, 1.0), INF, 1e308, False),
    "no string is near another": (Tolerance(1e300, 1.0), "a", "b", False),
}


@pytest.mark.parametrize(("tolerance", "stable", "candidate", "agrees"), TOLERANT.values(), ids=TOLERANT.keys())
def test_with_tolerance(tolerance: Tolerance, stable: object, candidate: object, agrees: bool) -> None:
    assert difference([stable], [candidate], tolerance).agrees is agrees


@pytest.mark.parametrize("value", [-0.1, NAN, INF])
def test_a_tolerance_that_is_none_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=f"the relative tolerance is {value}: choose a finite number"):
        Tolerance(relative=value)


def test_answers_nested_deeper_than_the_interpreter_recurses() -> None:
    one: object = 1
    other: object = 2
    for _ in range(50_000):
        one, other = [one], [other]
    assert difference(one, other) == Difference(False, 1.0, 1.0, 1.0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)
TOLERANCES = st.builds(Tolerance, *[st.floats(0, 1e9, allow_nan=False)] * 2)


@given(JSON, TOLERANCES)
def test_everything_agrees_with_itself_and_with_what_json_makes_of_it(value: object, tolerance: Tolerance) -> None:
    assert difference(value, json.loads(json.dumps(value)), tolerance) == SAME


@given(JSON, JSON)
def test_the_absolute_difference_is_the_same_from_both_sides(one: object, other: object) -> None:
    there, back = differences.difference(one, other), differences.difference(other, one)
    assert (there.agrees, there.largest) == (back.agrees, back.largest)
    assert there.absolute == pytest.approx(back.absolute)


@given(JSON, JSON, TOLERANCES)
def test_no_tolerance_makes_an_agreement_a_difference(one: object, other: object, tolerance: Tolerance) -> None:
    assert difference(one, other, tolerance).agrees >= difference(one, other).agrees
