"""Each key once at a time, nothing lost, nothing twice."""

import asyncio
from collections.abc import Awaitable, Callable

import hypothesis
import prometheus_client
import pytest
from hypothesis import stateful
from hypothesis import strategies as st
from penstock import errors
from penstock.kube import workqueue

KEYS = st.sampled_from("abc")


class AgendaMachine(stateful.RuleBasedStateMachine):
    """An agenda beside a list of promises: every add, and every earliest plan, is kept by a later start."""

    def __init__(self) -> None:
        super().__init__()
        self.agenda: workqueue.Agenda[str] = workqueue.Agenda(workqueue.Backoff(1, 2, 8))
        self.now = 0.0
        self.running: set[str] = set()
        self.promised: set[str] = set()
        self.planned: dict[str, float] = {}
        self.failures: dict[str, int] = {}
        self.failed: set[str] = set()

    def keep_plans(self) -> None:
        """Nothing that is due is forgotten."""
        self.promised |= {key for key, when in self.planned.items() if when <= self.now}
        self.planned = {key: when for key, when in self.planned.items() if when > self.now}

    @stateful.rule(key=KEYS)
    def add(self, key: str) -> None:
        new = key not in self.promised
        assert self.agenda.add(key, self.now) == new
        self.promised.add(key)

    @stateful.rule(key=KEYS, seconds=st.floats(0, 20))
    def plan(self, key: str, seconds: float) -> None:
        self.agenda.plan(key, self.now + seconds)
        self.planned[key] = min(self.now + seconds, self.planned.get(key, float("inf")))

    @stateful.rule(key=KEYS)
    def fail(self, key: str) -> None:
        self.failures[key] = self.failures.get(key, 0) + 1
        wait = min(8.0, 2.0 ** (self.failures[key] - 1))
        assert self.agenda.fail(key, self.now) == wait
        self.planned[key] = self.now + wait
        if key in self.running:
            self.failed.add(key)

    @stateful.rule(seconds=st.floats(0, 10))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.agenda.due(self.now)
        self.keep_plans()

    @stateful.rule()
    def take(self) -> None:
        self.agenda.due(self.now)
        self.keep_plans()
        taken = self.agenda.take()
        waiting = self.promised - self.running
        if taken is None:
            assert not waiting, "a key that was promised is not handed out"
            return
        key, since = taken
        assert key in waiting, "a key is handed out that nobody asked for, or that runs already"
        assert since <= self.now
        self.promised.discard(key)
        self.planned.pop(key, None)
        self.running.add(key)

    @stateful.precondition(lambda self: self.running)
    @stateful.rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        self.agenda.done(key)
        self.running.discard(key)
        if key not in self.failed:
            self.failures.pop(key, None)
        self.failed.discard(key)

    @stateful.invariant()
    def depth_is_what_waits(self) -> None:
        assert len(self.agenda) == len(self.promised - self.running)

    @stateful.invariant()
    def next_due_is_the_earliest_plan(self) -> None:
        assert self.agenda.next_due() == min(self.planned.values(), default=None)

    def teardown(self) -> None:
        """Everything promised is kept, once nothing new comes."""
        for key in sorted(self.running):
            self.agenda.done(key)
        self.agenda.due(float("inf"))
        started = set()
        while (taken := self.agenda.take()) is not None:
            started.add(taken[0])
            self.agenda.done(taken[0])
        assert started == self.promised | set(self.planned)


TestAgenda = AgendaMachine.TestCase
TestAgenda.settings = hypothesis.settings(max_examples=200, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [
        pytest.param(1, 0.2, id="the first wait is short"),
        pytest.param(2, 0.4, id="it doubles"),
        pytest.param(20, 60.0, id="it ends at the most"),
        pytest.param(10**9, 60.0, id="for ever"),
    ],
)
def test_a_wait_grows_with_the_failures(failures: int, seconds: float) -> None:
    assert workqueue.Backoff().seconds(failures) == seconds


def test_plans_that_were_replaced_take_no_room() -> None:
    agenda: workqueue.Agenda[str] = workqueue.Agenda()
    for when in range(10_000):
        agenda.plan("a", 1e6 - when)
    assert len(agenda._heap) < 100
    assert agenda.next_due() == 1e6 - 9_999


def queue_of(
    handle: Callable[[str], Awaitable[None]],
    registry: prometheus_client.CollectorRegistry | None = None,
    workers: int = 2,
) -> workqueue.WorkQueue[str]:
    metrics = workqueue.Metrics(registry or prometheus_client.CollectorRegistry())
    return workqueue.WorkQueue(handle, name="q", metrics=metrics, workers=workers, backoff=workqueue.Backoff(0.001))


async def test_a_key_added_while_it_runs_runs_once_more() -> None:
    runs: list[str] = []
    running, go, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handle(key: str) -> None:
        runs.append(key)
        if len(runs) == 1:
            running.set()
            await go.wait()
        else:
            stop.set()

    queue = queue_of(handle)
    queue.add("a")
    work = asyncio.create_task(queue.run(stop))
    await running.wait()
    for _ in range(5):
        queue.add("a")
    go.set()
    await asyncio.wait_for(work, 5)
    assert runs == ["a", "a"]


async def test_keys_run_side_by_side_and_a_key_never_beside_itself() -> None:
    inside: list[str] = []
    most: dict[str, int] = {}
    count = 0
    stop = asyncio.Event()

    async def handle(key: str) -> None:
        nonlocal count
        inside.append(key)
        most["all"] = max(most.get("all", 0), len(inside))
        most[key] = max(most.get(key, 0), inside.count(key))
        await asyncio.sleep(0)
        queue.add(key)
        await asyncio.sleep(0)
        inside.remove(key)
        count += 1
        if count == 200:
            stop.set()

    queue = queue_of(handle, workers=3)
    for key in "abcde":
        queue.add(key)
    await asyncio.wait_for(queue.run(stop), 10)
    assert most == {"all": 3, "a": 1, "b": 1, "c": 1, "d": 1, "e": 1}


async def test_a_planned_key_runs_when_it_is_due() -> None:
    stop = asyncio.Event()
    runs: list[str] = []

    async def handle(key: str) -> None:
        runs.append(key)
        if key == "late":
            stop.set()

    queue = queue_of(handle)
    work = asyncio.create_task(queue.run(stop))
    await asyncio.sleep(0)
    queue.add_after("never", 3600)
    queue.add_after("late", 0.05)
    queue.add_after("early", 0.01)
    await asyncio.wait_for(work, 5)
    assert runs == ["early", "late"]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(errors.ClusterUnavailable("the API server does not answer"), id="an error of ours"),
        pytest.param(ZeroDivisionError(), id="a defect"),
    ],
)
async def test_a_pass_that_fails_is_tried_again_and_counted(error: Exception) -> None:
    registry = prometheus_client.CollectorRegistry()
    stop = asyncio.Event()
    runs = 0

    async def handle(_key: str) -> None:
        nonlocal runs
        runs += 1
        if runs < 4:
            raise error
        stop.set()

    queue = queue_of(handle, registry)
    queue.add("a")
    await asyncio.wait_for(queue.run(stop), 5)
    assert runs == 4
    labels = {"queue": "q"}
    assert {
        name: registry.get_sample_value(f"penstock_workqueue_{name}", labels)
        for name in ("depth", "adds_total", "retries_total", "wait_seconds_count", "work_seconds_count")
    } == {"depth": 0, "adds_total": 4, "retries_total": 3, "wait_seconds_count": 4, "work_seconds_count": 4}


async def test_stopping_lets_a_pass_end() -> None:
    stop, running = asyncio.Event(), asyncio.Event()
    ended = False

    async def handle(_key: str) -> None:
        nonlocal ended
        running.set()
        await stop.wait()
        await asyncio.sleep(0.01)
        ended = True

    queue = queue_of(handle)
    queue.add("a")
    work = asyncio.create_task(queue.run(stop, drain_seconds=5))
    await running.wait()
    queue.add("b")
    stop.set()
    await asyncio.wait_for(work, 5)
    assert ended


async def test_stopping_does_not_wait_for_ever() -> None:
    stop, running, cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handle(_key: str) -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    queue = queue_of(handle)
    queue.add("a")
    work = asyncio.create_task(queue.run(stop, drain_seconds=0.05))
    await running.wait()
    stop.set()
    await asyncio.wait_for(work, 5)
    assert cancelled.is_set()


async def test_a_queue_that_was_broken_off_runs_again_and_remembers_nothing() -> None:
    handled: list[str] = []
    running = asyncio.Event()

    async def handle(key: str) -> None:
        handled.append(key)
        running.set()
        if handled == ["a"]:
            await asyncio.Event().wait()

    metrics = workqueue.Metrics(prometheus_client.CollectorRegistry())
    queue = workqueue.WorkQueue(handle, name="q", metrics=metrics, workers=1)
    first = asyncio.create_task(queue.run(asyncio.Event()))
    for key in ("a", "b"):
        queue.add(key)
    queue.add_after("c", 0.05)
    await asyncio.wait_for(running.wait(), 5)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)

    stop = asyncio.Event()
    second = asyncio.create_task(queue.run(stop))
    running.clear()
    queue.add_after("d", 0.1)
    await asyncio.wait_for(running.wait(), 5)
    stop.set()
    await asyncio.wait_for(second, 5)

    assert handled == ["a", "d"]
