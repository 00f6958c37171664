"""Predictions against the truth: losses by row, and what is no number."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock.analysis import scores
from penstock.analysis.scores import Known, Scores
from penstock.analysis.sequential.mean import Moments
from penstock.api.v1alpha1.modeldeployment import Scorer

NAN, INF = math.nan, math.inf
RIGHT, ABSOLUTE, SQUARED = Scorer.ACCURACY, Scorer.MEAN_ABSOLUTE_ERROR, Scorer.MEAN_SQUARED_ERROR

LOSSES: dict[str, tuple[Scorer, object, object, list[float | None]]] = {
    "right and wrong texts": (RIGHT, ["a", "b"], ["a", "a"], [0, 1]),
    "right and wrong bools": (RIGHT, [True, False], [True, True], [0, 1]),
    "right and wrong numbers": (RIGHT, [1, 2.0, 3], [1.0, 2, 4], [0, 0, 1]),
    "one row, and its truth by itself": (RIGHT, ["a"], "a", [0]),
    "a bool is no number": (RIGHT, [True], [1], [None]),
    "a text is no number": (RIGHT, ["1"], [1], [None]),
    "a number is no text": (RIGHT, [1], ["1"], [None]),
    "nothing": (RIGHT, [None], [None], [None]),
    "fewer truths than rows": (RIGHT, ["a", "b"], "a", [None]),
    "more truths than rows": (RIGHT, ["a"], ["a", "b"], [None]),
    "no rows": (RIGHT, [], [], []),
    "rows in lists and objects": (RIGHT, [["a"], {"label": "b"}], ["a", ["b"]], [0, 0]),
    "probabilities, and the number of the class": (RIGHT, [[0.1, 0.9]], [1], [None]),
    "vectors": (RIGHT, [[1, 2], [1, 2]], [[1, 2], [1, 3]], [0, 1]),
    "vectors of other length": (RIGHT, [[1, 2, 3]], [[1, 2]], [None]),
    "empty vectors": (RIGHT, [[]], [[]], [None]),
    "distances": (ABSOLUTE, [1, 2.5], [3, 2], [2, 0.5]),
    "squares": (SQUARED, [1, 2.5], [3, 2], [4, 0.25]),
    "a vector is one row": (ABSOLUTE, [[1, 2]], [[2, 5]], [2]),
    "texts have no distance": (ABSOLUTE, ["a"], ["a"], [None]),
    "bools have no distance": (SQUARED, [True], [False], [None]),
    "NaN predicted": (ABSOLUTE, [NAN], [1.0], [None]),
    "a NaN for truth": (RIGHT, [1.0], [NAN], [None]),
    "the same infinity": (ABSOLUTE, [INF], [INF], [None]),
    "a square beyond all floats": (SQUARED, [1e200], [0], [None]),
    "a distance beyond all floats": (ABSOLUTE, [1e308], [-1e308], [None]),
    "a whole number beyond all floats": (ABSOLUTE, [10**400], [0], [None]),
    "right whole numbers beyond all floats": (RIGHT, [10**400], [10**400], [0]),
}


@pytest.mark.parametrize(("scorer", "predictions", "truth", "expected"), LOSSES.values(), ids=LOSSES.keys())
def test_losses(scorer: Scorer, predictions: object, truth: object, expected: list[float | None]) -> None:
    assert list(scores.losses(scorer, Known(predictions, truth))) == expected


def test_whole_scores() -> None:
    seen = Scores(ABSOLUTE).observed(
        [Known([1.0, 2.0], [2.0, 4.0]), Known(["a"], [1])],
        [],
        failed=1,
        late=2,
        unknown=3,
        oversized=4,
        duplicates=5,
        lost=6,
    )
    seen = seen.observed([], [Known([5], 5)])
    assert seen == Scores(
        ABSOLUTE,
        candidate=Moments(2, 3.0, 5.0),
        stable=Moments(1, 0.0, 0.0),
        mismatched=1,
        failed=1,
        late=2,
        unknown=3,
        oversized=4,
        duplicates=5,
        lost=6,
        looks=2,
    )
    assert (scores.value(seen), scores.stable_value(seen)) == ((1.5, 2), (0.0, 1))


def test_accuracy_is_the_share_of_right_rows() -> None:
    seen = Scores(RIGHT).observed([Known(["a", "b", "c", "d"], ["a", "b", "c", "x"])], [])
    assert (scores.value(seen), scores.stable_value(seen)) == ((0.75, 4), None)


def test_nothing_but_mismatches_is_no_score() -> None:
    seen = Scores(SQUARED).observed([Known([NAN], [1])] * 50, [])
    assert (scores.value(seen), seen.mismatched) == (None, 50)


ENTRIES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=2)
ANSWERS = st.lists(ENTRIES | st.lists(ENTRIES, max_size=2), max_size=4) | ENTRIES


@given(st.sampled_from(Scorer), st.lists(st.tuples(ANSWERS, ANSWERS), max_size=20))
def test_whatever_comes_a_score_is_a_finite_number_or_none(scorer: Scorer, known: list[tuple[object, object]]) -> None:
    seen = Scores(scorer)
    for predictions, truth in known:
        seen = seen.observed([Known(predictions, truth)], [])
    found = scores.value(seen)
    assert found is None or (math.isfinite(found[0]) and found[0] >= 0)
    assert seen.candidate.count + seen.mismatched == sum(len(list(scores.losses(scorer, Known(*one)))) for one in known)


@given(st.lists(st.text(max_size=2), min_size=1))
def test_the_truth_itself_scores_best(rows: list[object]) -> None:
    assert scores.value(Scores(RIGHT).observed([Known(rows, rows)], [])) == (1.0, len(rows))
