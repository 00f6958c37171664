"""Who is handed over with whom, told by an engine that writes down what it is given and waits for leave to answer."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from penstock_runtime import batching, work
from penstock_runtime.answers import Answer, Outcome
from penstock_runtime.settings import Limits

from tests.unit.runtime import serving


class Gate:
    """An engine in memory: answers a request with its own body, each hand-over when `opened` lets it."""

    def __init__(self, *, joins: bool = True) -> None:
        self.joins = joins
        self.seen: list[list[str]] = []
        self.opened = threading.Semaphore(0)

    def answer(self, requests: Sequence[work.Request]) -> work.Work:
        self.seen.append([request.body.decode()[:1] for request in requests])
        assert self.opened.acquire(timeout=10)
        return work.Work([Answer(200, request.body, Outcome.SUCCESS) for request in requests], [])


class Desk:
    """A batcher on a gate."""

    def __init__(self, gate: Gate, **limits: Any) -> None:
        self.gate = gate
        chosen = Limits(**limits)
        self.workers = [batching.Worker(f"test-{number}") for number in range(chosen.threads)]
        self.batcher = batching.Batcher(gate, self.workers, chosen, lambda _: None)

    def submit(self, text: str) -> asyncio.Future[Answer]:
        return self.batcher.submit(work.Request(text.encode(), None))

    async def hold(self, text: str) -> asyncio.Future[Answer]:
        """Submit a request and wait until the model works on it."""
        handed = len(self.gate.seen)
        future = self.submit(text)
        await serving.until(lambda: len(self.gate.seen) > handed)
        return future

    async def finish(self, *futures: asyncio.Future[Answer]) -> list[str]:
        self.gate.opened.release(100)
        return [answer.body.decode()[:1] for answer in await asyncio.gather(*futures)]


async def test_what_arrives_while_the_model_works_is_answered_by_its_next_call() -> None:
    desk = Desk(Gate())
    futures = [await desk.hold("a"), *(desk.submit(letter) for letter in "bcd")]
    assert desk.batcher.queue_length == 3
    assert await desk.finish(*futures) == ["a", "b", "c", "d"]
    assert desk.gate.seen == [["a"], ["b", "c", "d"]]


async def test_what_arrives_in_one_turn_of_the_loop_goes_together() -> None:
    desk = Desk(Gate())
    assert await desk.finish(*(desk.submit(letter) for letter in "ab")) == ["a", "b"]
    assert desk.gate.seen == [["a", "b"]]


async def test_a_call_has_no_more_requests_than_allowed() -> None:
    desk = Desk(Gate(), batch_size=2)
    futures = [await desk.hold("a"), *(desk.submit(letter) for letter in "bcd")]
    await desk.finish(*futures)
    assert desk.gate.seen == [["a"], ["b", "c"], ["d"]]


async def test_large_bodies_go_alone() -> None:
    desk = Desk(Gate())
    large = "c" + " " * 1024 * 1024
    futures = [await desk.hold("a"), *(desk.submit(text) for text in ("b", large, "d"))]
    await desk.finish(*futures)
    assert desk.gate.seen == [["a"], ["b"], ["c"], ["d"]]


async def test_requests_that_nobody_waits_for_are_left_out() -> None:
    desk = Desk(Gate())
    first, gone, last = await desk.hold("a"), desk.submit("b"), desk.submit("c")
    gone.cancel()
    await desk.finish(first, last)
    assert desk.gate.seen == [["a"], ["c"]]


async def test_a_model_that_can_not_join_gets_them_one_by_one() -> None:
    desk = Desk(Gate(joins=False))
    futures = [await desk.hold("a"), *(desk.submit(letter) for letter in "bc")]
    await desk.finish(*futures)
    assert desk.gate.seen == [["a"], ["b"], ["c"]]


async def test_idle_threads_share_the_queue() -> None:
    desk = Desk(Gate(), threads=2)
    futures = [desk.submit(letter) for letter in "abcd"]
    await desk.finish(*futures)
    assert sorted(desk.gate.seen) == [["a", "b"], ["c", "d"]]


async def test_a_full_queue_refuses() -> None:
    desk = Desk(Gate(), queue_length=1)
    futures = [await desk.hold("a"), desk.submit("b")]
    with pytest.raises(batching.Overloaded):
        desk.submit("c")
    assert await desk.finish(*futures) == ["a", "b"]


async def test_alone_nothing_waits_for_company() -> None:
    desk = Desk(Gate(), batch_delay=3600.0)
    desk.gate.opened.release(100)
    for letter in "abc":
        assert (await asyncio.wait_for(desk.submit(letter), 10)).body == letter.encode()
    assert desk.gate.seen == [["a"], ["b"], ["c"]]


async def test_in_company_a_call_may_wait_for_more() -> None:
    desk = Desk(Gate(), batch_delay=0.05)
    await desk.finish(*(desk.submit(letter) for letter in "ab"))
    early = desk.submit("c")
    await asyncio.sleep(0)
    await desk.finish(early, desk.submit("d"))
    assert desk.gate.seen == [["a", "b"], ["c", "d"]]


async def test_a_thread_hangs_when_its_call_takes_too_long() -> None:
    desk = Desk(Gate(), hang=0.05, threads=2)
    loop = asyncio.get_running_loop()
    first, held = await desk.hold("a"), loop.time()
    await serving.until(lambda: loop.time() > held + 0.06)
    assert not desk.batcher.hangs()  # the other thread is free
    second = await desk.hold("b")
    assert not desk.batcher.hangs()
    await serving.until(desk.batcher.hangs)
    await desk.finish(first, second)
    assert not desk.batcher.hangs()
