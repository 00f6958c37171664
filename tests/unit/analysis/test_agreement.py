"""Shadowed answers against stable's: what is counted, and what is said of it."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock.analysis import agreement
from penstock.analysis.agreement import Agreement, Disagreement, Shadowed, Statistic, Variety
from penstock.analysis.sequential.outcome import Interval, NotWorse, Undecided, Worse
from penstock.analysis.sizes import Sizes

NAN = math.nan


def pairs(*answers: tuple[object, object, int]) -> list[Shadowed]:
    """Stable's and the candidate's answer, and how often; one row each."""
    rows = [(stable, candidate) for stable, candidate, times in answers for _ in range(times)]
    return [Shadowed(f"request-{index}", [stable], [candidate]) for index, (stable, candidate) in enumerate(rows)]


def after(looks: int, *answers: tuple[object, object, int]) -> Agreement:
    seen = Agreement()
    for _ in range(looks):
        seen = seen.observed(pairs(*answers))
    return seen


def test_a_whole_look() -> None:
    seen = Agreement().observed(
        [
            Shadowed("a", [2.0], [3.0]),
            Shadowed("b", [2.0], [2.0]),
            Shadowed("c", [2.0], None, candidate_failed=True),
            Shadowed("d", None, [2.0], stable_failed=True),
            Shadowed("e", None, None, stable_failed=True, candidate_failed=True),
        ],
        unjoined_stable=1,
        unjoined_candidate=2,
        oversized=3,
        duplicates=4,
        lost=5,
    )
    assert seen == Agreement(
        joined=3,
        disagreed=2,
        candidate_failed=1,
        stable_failed=1,
        absolute=Sizes(2, 1.0, 1, ((0, 1),)),
        relative=Sizes(2, 0.5, 1, ((-7, 1),)),
        unjoined_stable=1,
        unjoined_candidate=2,
        oversized=3,
        duplicates=4,
        lost=5,
        worst=(Disagreement("c", "[2.0]", "no answer (it failed)", math.inf), Disagreement("a", "2.0", "3.0", 1.0)),
        stable_variety=Variety(seen.stable_variety.first, varies=False),
        candidate_variety=Variety(seen.candidate_variety.first, varies=True),
        looks=1,
    )
    assert seen.errors == 2


def test_the_five_worst_are_kept_the_largest_first() -> None:
    seen = Agreement()
    for start in (0, 20):
        seen = seen.observed(Shadowed(f"r{n}", [0], [n % 7]) for n in range(start, start + 20))
    assert [(known.request, known.size) for known in seen.worst] == [
        ("r6", 6.0),
        ("r13", 6.0),
        ("r20", 6.0),
        ("r27", 6.0),
        ("r34", 6.0),
    ]


def test_huge_answers_are_shown_in_200_characters() -> None:
    seen = Agreement().observed([Shadowed("r" * 5000, ["x" * 10_000], list(range(10_000)))])
    (worst,) = seen.worst
    assert [len(text) for text in (worst.request, worst.stable, worst.candidate)] == [200, 200, 200]
    assert len(agreement.compare(seen, 0.0).why) < 400


def test_answers_too_deep_for_json_are_counted_all_the_same() -> None:
    deep: list[Any] = [1]
    for _ in range(50_000):
        deep = [deep]
    seen = Agreement().observed([Shadowed("a", [[deep]], [2])])
    assert (seen.joined, seen.disagreed, seen.worst[0].stable) == (1, 1, "nested too deep to be shown")


SHARES: dict[str, tuple[Agreement, float, type, str]] = {
    "nothing": (
        Agreement(),
        0.05,
        Undecided,
        "answers: nothing to compare yet, no request was answered by both versions",
    ),
    "a candidate that answers nothing": (
        Agreement().observed([], unjoined_stable=312),
        0.05,
        Undecided,
        "answers: nothing to compare yet, no request was answered by both versions; 312 of stable's answers have no counterpart",
    ),
    "a candidate that fails all": (
        Agreement().observed([Shadowed("a", [1], None, candidate_failed=True)] * 10),
        0.05,
        Worse,
        "answers: 10 of 10 shadowed answers differ (100.0 %): more than 5 % at 95 % after 1 look (worst: request a: no answer (it failed) against [1])",
    ),
    "clearly more than the limit": (
        after(14, (0.98, 0.12, 29), (0.5, 0.5, 6)),
        0.05,
        Worse,
        "answers: 406 of 490 shadowed answers differ (82.9 %): more than 5 % at 95 % after 14 looks (worst: request request-0: 0.12 against 0.98)",
    ),
    "clearly fewer": (
        after(10, (0.98, 0.12, 1), (0.5, 0.5, 99)),
        0.05,
        NotWorse,
        "answers: 10 of 1,000 shadowed answers differ (1.0 %): at most 2.4 %, within the limit of 5 % at 95 % after 10 looks",
    ),
    "too early": (
        after(1, ("a", "b", 3), ("a", "a", 97)),
        0.05,
        Undecided,
        'answers: 3 of 100 shadowed answers differ (3.0 %): between 0.3 % and 11 % at 95 % after 1 look: not decided yet (worst: request request-0: "b" against "a")',
    ),
    "one, where none is allowed": (
        after(1, ("a", "b", 1), ("a", "a", 9)),
        0.0,
        Worse,
        'answers: 1 of 10 shadowed answers differ (10.0 %): more than 0 % at 95 % after 1 look (worst: request request-0: "b" against "a")',
    ),
    "none, where none is allowed": (
        after(5, ("a", "a", 100)),
        0.0,
        NotWorse,
        "answers: 0 of 500 shadowed answers differ (0.0 %): at most 1 %, and nobody can establish that it is none at 95 % after 5 looks",
    ),
    "any number is allowed": (
        after(1, ("a", "b", 3)),
        1.0,
        NotWorse,
        "answers: 3 of 3 shadowed answers differ (100.0 %): at most 100 %, within the limit of 100 % at 95 % after 1 look",
    ),
    "a candidate whose answers are all identical": (
        after(1, ("a", "a", 10), ("b", "a", 10)),
        0.05,
        Worse,
        'answers: 10 of 20 shadowed answers differ (50.0 %): more than 5 % at 95 % after 1 look (worst: request request-10: "a" against "b"); all of the candidate\'s answers are the same',
    ),
    "a ring that wrapped": (
        after(1, ("a", "a", 1)).observed([], lost=1200),
        0.05,
        Undecided,
        "answers: 0 of 1 shadowed answers differ (0.0 %): between 0 % and 96 % at 95 % after 2 looks: not decided yet; 1,200 answers were overwritten before they were read: lower intervalSeconds",
    ),
}


@pytest.mark.parametrize(("seen", "limit", "verdict", "why"), SHARES.values(), ids=SHARES.keys())
def test_what_is_said_of_shares(seen: Agreement, limit: float, verdict: type, why: str) -> None:
    found = agreement.compare(seen, limit)
    assert (type(found), found.why) == (verdict, why)


MEANS: dict[str, tuple[Agreement, Statistic, float, type, str]] = {
    "more than the limit": (
        after(10, (1.0, 1.5, 4), (1.0, 1.0, 1)),
        Statistic.MEAN_ABSOLUTE,
        0.1,
        Worse,
        "answers: 50 shadowed answers differ by 0.4 on average: more than 0.1 at 95 % after 10 looks (worst: request request-0: 1.5 against 1.0)",
    ),
    "relative": (
        after(10, (2.0, 2.5, 4), (2.0, 2.0, 1)),
        Statistic.MEAN_RELATIVE,
        0.1,
        Worse,
        "answers: 50 shadowed answers differ by 20 % on average: more than 10 % at 95 % after 10 looks (worst: request request-0: 2.5 against 2.0)",
    ),
    "within the limit": (
        after(6, (1.0, 1.05, 5)),
        Statistic.MEAN_ABSOLUTE,
        0.1,
        NotWorse,
        "answers: 30 shadowed answers differ by 0.05 on average: within the limit of 0.1",
    ),
    "fewer than a plain mean takes": (
        after(1, (1.0, 1.05, 29)),
        Statistic.MEAN_ABSOLUTE,
        0.1,
        Undecided,
        "answers: 29 shadowed answers differ by 0.05 on average: 30 are needed: not decided yet (worst: request request-0: 1.05 against 1.0)",
    ),
    "above the limit, not surely": (
        after(1, (1.0, 1.15, 30), (1.0, 1.0, 10)),
        Statistic.MEAN_ABSOLUTE,
        0.1,
        Undecided,
        "answers: 40 shadowed answers differ by 0.1125 on average: not established to be more than 0.1 at 95 % after 1 look: not decided yet (worst: request request-0: 1.15 against 1.0)",
    ),
    "vectors of other length": (
        Agreement().observed([Shadowed("a", [[1, 2]], [[1, 2, 3]])] * 20),
        Statistic.MEAN_ABSOLUTE,
        0.1,
        Worse,
        "answers: 20 of 20 shadowed answers cannot be subtracted from stable's: more than 5 % at 95 % after 1 look (worst: request a: [1,2,3] against [1,2])",
    ),
    "NaN predictions among good ones": (
        after(1, (1.0, NAN, 5), (1.0, 1.0, 45)),
        Statistic.MEAN_ABSOLUTE,
        0.1,
        Undecided,
        "answers: 45 shadowed answers differ by 0 on average: 5 more cannot be subtracted from stable's: not decided yet (worst: request request-0: NaN against 1.0)",
    ),
    "NaN predictions only": (
        after(1, (1.0, NAN, 50)),
        Statistic.MEAN_RELATIVE,
        0.1,
        Worse,
        "answers: 50 of 50 shadowed answers cannot be subtracted from stable's: more than 5 % at 95 % after 1 look (worst: request request-0: NaN against 1.0)",
    ),
    "infinite predictions of both": (
        after(1, (math.inf, math.inf, 50)),
        Statistic.MEAN_ABSOLUTE,
        0.1,
        NotWorse,
        "answers: 50 shadowed answers differ by 0 on average: within the limit of 0.1",
    ),
    "any difference, where none is allowed": (
        after(1, (1.0, 1.0, 50), (1.0, 1.0 + 1e-9, 1)),
        Statistic.MEAN_ABSOLUTE,
        0.0,
        Worse,
        "answers: 51 shadowed answers differ by 1.961e-11 on average: more than 0 at 95 % after 1 look (worst: request request-50: 1.000000001 against 1.0)",
    ),
}


@pytest.mark.parametrize(("seen", "statistic", "limit", "verdict", "why"), MEANS.values(), ids=MEANS.keys())
def test_what_is_said_of_means(seen: Agreement, statistic: Statistic, limit: float, verdict: type, why: str) -> None:
    found = agreement.compare(seen, limit, statistic=statistic)
    assert (type(found), found.why) == (verdict, why)


def test_a_whole_outcome() -> None:
    assert agreement.compare(Agreement(), 0.05, 0.9, "shadow") == Undecided(
        Interval(), 0, 0, 0, "shadow: nothing to compare yet, no request was answered by both versions"
    )


REFUSED = {
    "a negative limit": ({"limit": -0.1}, "the limit is -0.1: choose a finite number that is not negative"),
    "no limit": ({"limit": NAN}, "the limit is nan: choose a finite number that is not negative"),
    "certainty": ({"limit": 0.1, "confidence": 1.0}, "confidence is 1.0: choose at least 0.5"),
}


@pytest.mark.parametrize(("given_", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(given_: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        agreement.compare(Agreement(), **given_)


@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=5), max_size=5))
def test_it_does_not_matter_when_answers_were_looked_at(looks: list[list[tuple[int, int]]]) -> None:
    seen = Agreement()
    for look in looks:
        seen = seen.observed(Shadowed("a", [stable], [candidate]) for stable, candidate in look)
    at_once = Agreement().observed(Shadowed("a", [stable], [candidate]) for look in looks for stable, candidate in look)
    counted = [
        (one.joined, one.disagreed, one.absolute, one.relative, one.worst, one.collapsed) for one in (seen, at_once)
    ]
    assert counted[0] == counted[1]


@given(st.integers(0, 400), st.integers(0, 400), st.sampled_from([0.0, 0.001, 0.05, 0.5, 0.99, 0.9999]))
def test_the_share_that_was_seen_lies_between_the_bounds(differing: int, same: int, limit: float) -> None:
    seen = Agreement(joined=differing + same, disagreed=differing, looks=1)
    found = agreement.compare(seen, limit)
    if seen.joined:
        assert found.interval.low <= differing / seen.joined <= found.interval.high + 1e-9
    assert not (isinstance(found, Worse) and found.interval.low < limit)
    assert not (isinstance(found, NotWorse) and limit and found.interval.high > limit + 1e-9)


def test_a_sentence_for_other_places_quotes_no_answer() -> None:
    told = 'answers: 1 of 10 differ (worst: request a: "b) c" against "d"). To try it again, move the alias'
    assert (
        agreement.without_answers(told) == "answers: 1 of 10 differ (the answers are in the ModelDeployment's status)"
    )
    assert agreement.without_answers("errors: 1 of 10 failed") == "errors: 1 of 10 failed"
