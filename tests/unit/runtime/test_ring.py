"""The ring against a list that forgets nothing, on any appends and any questions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock_runtime import ring


def filled(entries: int, items: str, size: int = 1_000_000) -> ring.Ring[str]:
    made: ring.Ring[str] = ring.Ring(entries, size)
    for item in items:
        made.append(item, 1)
    return made


PAGES: dict[str, tuple[str, int, int, ring.Page[str]]] = {
    "nothing yet": ("", 0, 10, ring.Page([], 0, 0)),
    "all": ("ab", 0, 10, ring.Page([(1, "a"), (2, "b")], 2, 0)),
    "the oldest first, as many as asked for": ("abc", 0, 2, ring.Page([(1, "a"), (2, "b")], 2, 0)),
    "those after": ("abc", 1, 1, ring.Page([(2, "b")], 2, 0)),
    "none are new": ("abc", 3, 10, ring.Page([], 3, 0)),
    "just full": ("abcd", 1, 10, ring.Page([(2, "b"), (3, "c"), (4, "d")], 4, 0)),
    "the first question loses nothing": ("abcdef", 0, 10, ring.Page([(3, "c"), (4, "d"), (5, "e"), (6, "f")], 6, 0)),
    "the next one did": ("abcdef", 1, 10, ring.Page([(3, "c"), (4, "d"), (5, "e"), (6, "f")], 6, 1)),
    "all that was new is partly gone": ("abcdefghi", 3, 1, ring.Page([(6, "f")], 6, 2)),
    "of another process": ("abc", 1000, 10, ring.Page([], 3, 0)),
}


@pytest.mark.parametrize(("items", "after", "limit", "page"), PAGES.values(), ids=PAGES.keys())
def test_a_page_is(items: str, after: int, limit: int, page: ring.Page[str]) -> None:
    assert filled(4, items).read(after, limit) == page


def test_bytes_are_bounded_too() -> None:
    made: ring.Ring[str] = ring.Ring(8, 8 * ring.PLACE + 10 * ring.OVERHEAD)
    for item in "abcdef":
        made.append(item, ring.OVERHEAD)  # twice the overhead each: five fit
    assert made.read(1, 10) == ring.Page([(n, "abcdef"[n - 1]) for n in range(2, 7)], 6, 0)


def test_an_item_that_alone_is_too_large_is_lost() -> None:
    made: ring.Ring[str] = ring.Ring(8, 8 * ring.PLACE + 10 * ring.OVERHEAD)
    made.append("a", 1)
    made.append("b", 10 * ring.OVERHEAD)
    assert made.read(1, 10) == ring.Page([], 2, 1)
    made.append("c", 1)
    assert made.read(2, 10) == ring.Page([(3, "c")], 3, 0)


def test_more_places_than_bytes_allow_are_not_made() -> None:
    made = filled(10**12, "abc", size=2 * (ring.OVERHEAD + ring.PLACE) + 2)
    assert made.read(0, 10).items == [(2, "b"), (3, "c")]


def test_what_two_readers_have_lost_is_counted_once() -> None:
    made = filled(2, "abcde")
    assert made.read(0, 1).items == [(4, "d")]
    made = filled(2, "ab")
    made.read(0, 1)  # has seen `a`
    for item in "cdef":
        made.append(item, 1)
    assert [made.read(1, 10).lost, made.read(1, 10).lost, made.lost] == [3, 3, 3]
    assert [made.read(2, 10).lost, made.lost] == [2, 3]


Step = st.one_of(st.integers(0, 600), st.tuples(st.integers(0, 40), st.integers(1, 8)))


@given(st.integers(1, 12), st.lists(Step, max_size=60))
def test_the_ring_is_the_end_of_all_items(entries: int, steps: list[int | tuple[int, int]]) -> None:
    most = 4 * ring.OVERHEAD
    places = min(entries, 4)
    made: ring.Ring[int] = ring.Ring(places, most + places * ring.PLACE)
    sizes: list[int] = []
    for step in steps:
        if isinstance(step, int):
            sizes.append(step)
            made.append(len(sizes), step)
            continue
        after, limit = step
        kept = 0
        while (
            kept < min(places, len(sizes))
            and sum(size + ring.OVERHEAD for size in sizes[len(sizes) - kept - 1 :]) <= most
        ):
            kept += 1
        numbers = [n for n in range(len(sizes) - kept + 1, len(sizes) + 1) if n > after][:limit]
        lost = max(0, len(sizes) - kept - after) if after else 0
        expected = ring.Page([(n, n) for n in numbers], numbers[-1] if numbers else len(sizes), lost)
        assert made.read(after, limit) == expected
