"""Who asks at the same time, or soon after, shares the answer."""

import asyncio

import pytest
from penstock.adapters import sharing


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Answers with a number that counts the questions, when it is let."""

    def __init__(self) -> None:
        self.asked: list[frozenset[str]] = []
        self.arrivals: asyncio.Queue[None] = asyncio.Queue()
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, things: frozenset[str] = frozenset()) -> int:
        self.asked.append(things)
        self.arrivals.put_nowait(None)
        mine = len(self.asked)
        await self.open.wait()
        return mine


def young(_: int, age: float) -> bool:
    return age < 10


async def test_a_hundred_callers_at_once_are_one_question() -> None:
    shared: sharing.Shared[str, int] = sharing.Shared(Clock(), 10)
    source = Source()
    assert await asyncio.gather(*(shared.get("a", source, young) for _ in range(100))) == [1] * 100


async def test_an_answer_is_kept_as_long_as_the_caller_takes_it_for_fresh() -> None:
    clock, source = Clock(), Source()
    shared: sharing.Shared[str, int] = sharing.Shared(clock, 10)
    answers = []
    for step in (0, 9.9, 0.1, 5):
        clock.now += step
        answers.append(await shared.get("a", source, young))
    assert answers == [1, 1, 2, 2]


async def test_the_age_of_an_answer_counts_from_the_question() -> None:
    clock, source = Clock(), Source()
    shared: sharing.Shared[str, int] = sharing.Shared(clock, 10)
    source.open.clear()
    first = asyncio.create_task(shared.get("a", source, young))
    await source.arrivals.get()
    clock.now += 10
    source.open.set()
    assert (await first, await shared.get("a", source, young)) == (1, 2)


async def test_a_caller_that_is_cancelled_leaves_the_question_to_the_others() -> None:
    source = Source()
    shared: sharing.Shared[str, int] = sharing.Shared(Clock(), 10)
    source.open.clear()
    impatient = asyncio.create_task(shared.get("a", source, young))
    patient = asyncio.create_task(shared.get("a", source, young))
    await source.arrivals.get()
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    source.open.set()
    assert await patient == 1


async def test_only_so_many_answers_are_kept_and_the_oldest_goes_first() -> None:
    shared: sharing.Shared[str, int] = sharing.Shared(Clock(), 2)
    source = Source()
    answers = [await shared.get(key, source, young) for key in "abcac"]
    assert (answers, len(shared)) == ([1, 2, 3, 4, 3], 2)


async def test_a_question_that_raises_is_told_to_all_and_not_kept() -> None:
    shared: sharing.Shared[str, int] = sharing.Shared(Clock(), 2)

    async def broken() -> int:
        raise ArithmeticError

    told = await asyncio.gather(*(shared.get("a", broken, young) for _ in range(2)), return_exceptions=True)
    assert [type(one) for one in told] == [ArithmeticError, ArithmeticError]
    assert await shared.get("a", Source(), young) == 1


def batches(source: Source, clock: Clock) -> sharing.Batches[int]:
    return sharing.Batches(source, clock=clock, fresh_seconds=0.25, gather_seconds=0.001, remember_seconds=60)


async def test_things_wanted_at_once_are_asked_for_together() -> None:
    source = Source()
    some = batches(source, Clock())
    assert await asyncio.gather(*(some.get(thing) for thing in "abcab")) == [1] * 5
    assert source.asked == [frozenset("abc")]


async def test_what_was_wanted_lately_is_asked_for_again_and_what_was_not_is_forgotten() -> None:
    clock, source = Clock(), Source()
    some = batches(source, clock)
    await asyncio.gather(some.get("a"), some.get("b"))
    clock.now += 40
    await some.get("b")
    clock.now += 40
    await some.get("c")
    assert source.asked == [frozenset("ab"), frozenset("ab"), frozenset("bc")]


async def test_a_fresh_answer_serves_what_it_covers_and_nothing_else() -> None:
    clock, source = Clock(), Source()
    some = batches(source, clock)
    answers = []
    for thing, step in (("a", 0), ("a", 0.2), ("b", 0), ("a", 0), ("a", 0.25)):
        clock.now += step
        answers.append(await some.get(thing))
    assert answers == [1, 1, 2, 2, 3]


async def test_who_comes_while_a_covering_question_is_in_the_air_waits_for_it() -> None:
    source = Source()
    some = batches(source, Clock())
    source.open.clear()
    first = asyncio.create_task(some.get("a"))
    await source.arrivals.get()
    covered, other = asyncio.create_task(some.get("a")), asyncio.create_task(some.get("b"))
    await source.arrivals.get()
    source.open.set()
    assert (await first, await covered, await other) == (1, 1, 2)
