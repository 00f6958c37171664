"""Metrics that rest on answers, measured at pods that are real HTTP servers: joins, limits, and all that goes wrong."""

import asyncio
import dataclasses
import datetime
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from penstock import ports
from penstock.adapters import answers, rings, waiting
from penstock.analysis import agreement, drift, measurement, scores
from penstock.analysis.agreement import Agreement
from penstock.analysis.drift import Distributions
from penstock.analysis.scores import Scores
from penstock.api.v1alpha1 import modeldeployment

from tests.unit.adapters.ring_pods import Pod, Pods, Ring, pods

SINCE = datetime.datetime.fromtimestamp(1000, datetime.UTC)
SUBJECT = ports.Subject("ml", "fraud", "new", "old", SINCE)

SHADOW = modeldeployment.Metric.model_validate({"name": "answers", "type": "ShadowDisagreement", "max": 0.05})
DRIFT = modeldeployment.Metric.model_validate({"name": "drift", "type": "PredictionDrift", "max": 0.1})
SCORE = modeldeployment.Metric.model_validate(
    {"name": "score", "type": "Performance", "scorer": "Accuracy", "min": 0.9}
)


@dataclasses.dataclass
class Bench:
    """An adapter, its clock, and the pods of two revisions."""

    pods: Pods
    session: aiohttp.ClientSession
    new: list[Pod] = dataclasses.field(default_factory=list)
    old: list[Pod] = dataclasses.field(default_factory=list)
    now: float = 0.0
    adapter: answers.Answers | None = None

    def endpoints(self, namespace: str, deployment: str, revision: str) -> Sequence[ports.Endpoint]:
        assert (namespace, deployment) == ("ml", "fraud")
        return [ports.Endpoint(pod.address, 8080) for pod in {"new": self.new, "old": self.old}.get(revision, [])]

    def build(self, **limits: Any) -> answers.Answers:
        ring = rings.Limits(**limits.pop("ring", {"seconds": 5.0}))
        wanted = answers.Limits(ring=ring, **limits)
        self.adapter = answers.Answers(
            self.session, self.endpoints, wanted, port=self.pods.port, clock=lambda: self.now
        )
        return self.adapter

    async def measure(
        self, metric: modeldeployment.Metric = SHADOW, subject: ports.Subject = SUBJECT
    ) -> measurement.Measurement:
        return await (self.adapter or self.build()).measure(metric, subject, 60)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """One pod of each revision."""
    async with pods() as running, aiohttp.ClientSession() as session:
        bench = Bench(running, session)
        bench.new.append(await running.start())
        bench.old.append(await running.start())
        yield bench


def agreed(found: measurement.Measurement) -> Agreement:
    assert isinstance(found, measurement.Compared), found
    assert isinstance(found.evidence, Agreement)
    return found.evidence


def drifted(found: measurement.Measurement) -> Distributions:
    assert isinstance(found, measurement.Compared), found
    assert isinstance(found.evidence, Distributions)
    return found.evidence


def both(bench: Bench, request: str, stable: object, candidate: object, **more: Any) -> None:
    bench.old[0].answered(request, stable, **more)
    bench.new[0].answered(request, candidate, **more)


async def test_shadowed_answers_are_joined_by_request(bench: Bench) -> None:
    both(bench, "a", [1.0], [1.0])
    both(bench, "b", [1.0], [2.0])
    found = agreed(await bench.measure())
    assert (found.joined, found.disagreed, found.looks) == (2, 1, 1)
    assert found.worst == (agreement.Disagreement("b", "1.0", "2.0", 1.0),)


async def test_only_what_is_new_is_asked_for_and_the_other_half_may_come_later(bench: Bench) -> None:
    both(bench, "a", [1.0], [1.0])
    bench.old[0].answered("b", [1.0])
    assert agreed(await bench.measure()).joined == 1
    bench.new[0].answered("b", [1.0])
    found = agreed(await bench.measure())
    assert (found.joined, found.duplicates, found.looks) == (2, 0, 2)
    assert bench.old[0].asked == ["/answers?after=0&limit=500", "/answers?after=2&limit=500"]


async def test_answers_of_all_pods_meet_whichever_pod_they_came_from(bench: Bench) -> None:
    bench.new.append(await bench.pods.start())
    bench.old.append(await bench.pods.start())
    for number in range(40):
        bench.old[number % 2].answered(f"r{number}", [number])
        bench.new[number // 20].answered(f"r{number}", [number])
    assert agreed(await bench.measure()).joined == 40


async def test_more_answers_than_fit_on_a_page(bench: Bench) -> None:
    for number in range(1201):
        both(bench, f"r{number}", [1], [1])
    found = agreed(await bench.measure())
    assert (found.joined, found.looks, found.lost) == (1201, 1, 0)
    assert len(bench.new[0].asked) == 3


async def test_answers_of_before_do_not_count(bench: Bench) -> None:
    both(bench, "before", [1.0], [2.0], at=999.9)
    both(bench, "since", [1.0], [1.0], at=1000.0)
    found = agreed(await bench.measure())
    assert (found.joined, found.disagreed) == (1, 0)


CHANGED = {
    "another beginning": dataclasses.replace(SUBJECT, since=SINCE - datetime.timedelta(seconds=1)),
    "another stable": dataclasses.replace(SUBJECT, stable="new"),
    "another candidate": dataclasses.replace(SUBJECT, candidate="old"),
}


@pytest.mark.parametrize("subject", CHANGED.values(), ids=CHANGED.keys())
async def test_it_starts_anew(bench: Bench, subject: ports.Subject) -> None:
    both(bench, "a", [1.0], [1.0])
    await bench.measure()
    await bench.measure()
    found = agreed(await bench.measure(subject=subject))
    assert (found.joined, found.looks) == (1, 1)


async def test_a_changed_tolerance_starts_anew(bench: Bench) -> None:
    both(bench, "a", [1.0], [1.2])
    assert agreed(await bench.measure()).disagreed == 1
    tolerant = SHADOW.model_copy(update={"tolerance": modeldeployment.Tolerance(absolute=0.5)})
    found = agreed(await bench.measure(tolerant))
    assert (found.joined, found.disagreed, found.looks) == (1, 0, 1)


async def test_failures_of_either_version(bench: Bench) -> None:
    bench.old[0].answered("a", [1.0])
    bench.new[0].answered("a", None, outcome="model_error")
    bench.old[0].answered("b", None, outcome="model_error")
    bench.new[0].answered("b", [1.0])
    both(bench, "c", None, None, outcome="model_error")
    found = agreed(await bench.measure())
    assert (found.joined, found.disagreed, found.candidate_failed, found.stable_failed) == (1, 1, 1, 1)


async def test_answers_too_large_for_the_ring_are_left_out(bench: Bench) -> None:
    both(bench, "a", [1.0], None)
    both(bench, "b", [1.0], [1.0])
    found = agreed(await bench.measure())
    assert (found.joined, found.oversized) == (1, 1)


async def test_a_ring_that_wrapped(bench: Bench) -> None:
    bench.old[0].answers = Ring(kept=3)
    both(bench, "a", [1], [1])
    await bench.measure()
    for number in range(5):
        both(bench, f"r{number}", [1], [1])
    found = agreed(await bench.measure())
    assert (found.joined, found.lost) == (4, 2)


async def test_what_was_overwritten_before_the_first_question_is_not_lost(bench: Bench) -> None:
    bench.old[0].answers = Ring(kept=1)
    both(bench, "a", [1], [1])
    both(bench, "b", [1], [1])
    found = agreed(await bench.measure())
    assert (found.joined, found.lost) == (1, 0)


async def test_duplicate_ids_the_first_answer_wins(bench: Bench) -> None:
    both(bench, "a", [1], [1])
    both(bench, "a", [1], [2])
    bench.new[0].answered("b", [1])
    bench.new[0].answered("b", [2])
    bench.old[0].answered("b", [1])
    found = agreed(await bench.measure())
    assert (found.joined, found.disagreed, found.duplicates) == (2, 0, 3)


async def test_entries_without_an_id_or_without_sense_are_left_out(bench: Bench) -> None:
    both(bench, "a", [1], [1])
    for entry in (
        ["", 1000.0, "success", [1]],
        [None, 1000.0, "success", [1]],
        ["x" * 300, 1000.0, "success", [1]],
        ["b", "noon", "success", [1]],
        ["b", float("nan"), "success", [1]],
        ["b", 1000.0, "rejected", [1]],
        ["b", 1000.0],
    ):
        bench.new[0].answers.add(*entry)
    found = agreed(await bench.measure())
    assert (found.joined, found.duplicates) == (1, 0)


async def test_nan_and_infinite_predictions(bench: Bench) -> None:
    both(bench, "a", [float("nan")], [float("nan")])
    both(bench, "b", [1.0], [float("nan")])
    both(bench, "c", [float("inf")], [float("-inf")])
    found = agreed(await bench.measure())
    assert (found.joined, found.disagreed) == (3, 2)


async def test_a_candidate_that_answers_nothing(bench: Bench) -> None:
    for number in range(30):
        bench.old[0].answered(f"r{number}", [1])
    assert await bench.measure() == measurement.NoData("no request was answered by both versions (30 of stable only)")
    assert await bench.measure(DRIFT) == measurement.NoData("no predictions of the candidate")


async def test_zero_traffic_to_stable(bench: Bench) -> None:
    for number in range(30):
        bench.new[0].answered(f"r{number}", [1])
    assert await bench.measure() == measurement.NoData(
        "no request was answered by both versions (30 of the candidate only)"
    )
    assert await bench.measure(DRIFT) == measurement.NoData("no predictions of stable")


async def test_no_traffic_at_all(bench: Bench) -> None:
    assert await bench.measure() == measurement.NoData("no request was answered by both versions")
    assert await bench.measure(DRIFT) == measurement.NoData("no predictions of either version")
    assert await bench.measure(SCORE) == Scores(looks=1)


async def test_answers_whose_counterpart_does_not_come_are_given_up(bench: Bench) -> None:
    both(bench, "a", [1], [1])
    bench.old[0].answered("b", [1])
    bench.new[0].answered("c", [1])
    assert agreed(await bench.measure()).unjoined_stable == 0
    bench.now = 61.0
    found = agreed(await bench.measure())
    assert (found.unjoined_stable, found.unjoined_candidate) == (1, 1)


async def test_no_more_waits_than_there_is_room_for(bench: Bench) -> None:
    bench.build(room=waiting.Room(entries=10))
    for number in range(25):
        bench.old[0].answered(f"r{number}", [1])
    both(bench, "late", [1], [1])
    found = agreed(await bench.measure())
    assert (found.joined, found.unjoined_stable) == (1, 15)


async def test_all_subjects_share_what_memory_there_is(bench: Bench) -> None:
    adapter = bench.build(size=40_000)
    for number in range(80):
        bench.old[0].answered(f"r{number}", ["x" * 500])
    for name in ("one", "two", "three"):
        await bench.measure(SHADOW.model_copy(update={"name": name}))
    sizes = [state.join.size for state in adapter._states.values()]
    assert (len(sizes), sum(sizes) <= 40_000, min(sizes) > 0) == (3, True, True)


async def test_what_nobody_asks_about_is_forgotten_after_ten_minutes(bench: Bench) -> None:
    adapter = bench.build()
    both(bench, "a", [1], [1])
    await bench.measure()
    bench.now = 500.0
    await bench.measure(DRIFT)
    bench.now = 601.0
    await bench.measure(DRIFT)
    assert adapter.subjects == 1
    assert agreed(await bench.measure()).looks == 1


async def test_a_pod_that_was_replaced_at_its_address_is_read_from_its_beginning(bench: Bench) -> None:
    for number in range(5):
        both(bench, f"r{number}", [1], [1])
    await bench.measure()
    bench.new[0].restarted()
    both(bench, "again", [1], [1])
    found = agreed(await bench.measure())
    assert (found.joined, found.lost, found.duplicates) == (6, 0, 0)
    assert bench.new[0].asked[1:] == ["/answers?after=5&limit=500", "/answers?after=0&limit=500"]


async def test_a_pod_that_is_gone_is_not_missed_while_another_answers(bench: Bench) -> None:
    bench.new.append(await bench.pods.start())
    both(bench, "a", [1], [1])
    await bench.measure()
    await bench.new[0].stop()
    bench.old[0].answered("b", [1])
    bench.new[1].answered("b", [1])
    assert agreed(await bench.measure()).joined == 2


async def test_a_silent_pod_costs_its_time_out_once_and_holds_up_nobody(bench: Bench) -> None:
    bench.build(ring={"seconds": 0.4})
    for _ in range(4):
        bench.new.append(await bench.pods.start())
        bench.new[-1].silent = True
    both(bench, "a", [1], [1])
    before = time.monotonic()
    assert agreed(await bench.measure()).joined == 1
    assert time.monotonic() - before < 4 * 0.4


async def test_a_pod_that_is_cut_off_between_two_pages_loses_nothing(bench: Bench) -> None:
    for number in range(700):
        both(bench, f"r{number}", [1], [1])
    pod = bench.new[0]

    def first_page_only(request: web.Request) -> Any:
        if request.query["after"] != "0":
            return web.Response(status=500)
        entries, after, lost = pod.answers.page(0, 500)
        return json.dumps({"boot": pod.boot, "next": after, "lost": lost, "answers": entries})

    pod.instead = first_page_only
    assert agreed(await bench.measure()).joined == 500
    pod.instead = None
    found = agreed(await bench.measure())
    assert (found.joined, found.duplicates) == (700, 0)


def page(**changes: Any) -> str:
    return json.dumps({"boot": "b", "next": 1, "lost": 0, "answers": [[1, "a", 1000.0, "success", [1]]], **changes})


GARBAGE: dict[str, tuple[Any, str]] = {
    "no JSON": ("<html>", "what it answers is no page of answers"),
    "nothing": ("", "what it answers is no page of answers"),
    "a list": ("[]", "what it answers is no page of answers"),
    "no boot": (page(boot=None), "what it answers is no page of answers"),
    "an empty boot": (page(boot=""), "what it answers is no page of answers"),
    "a negative number": (page(next=-1), "what it answers is no page of answers"),
    "a fraction": (page(lost=0.5), "what it answers is no page of answers"),
    "answers that are no list": (page(answers={}), "what it answers is no page of answers"),
    "more answers than asked for": (page(answers=[[]] * 501), "what it answers is no page of answers"),
    "nested without end": ("[" * 100_000, "what it answers is no page of answers"),
    "nothing but nonsense": (page(answers=[[1], "x", None]), "none of 3 entries in its page of answers makes sense"),
    "bytes": (web.Response, "what it answers is no page of answers"),
    "another server": (
        404,
        "its runtime keeps no answers: use the release's image, and leave PENSTOCK_ANSWERS_PORT as it is",
    ),
    "a failure": (500, "it answers 500 Internal Server Error"),
    "a way elsewhere": (302, "it answers 302 Found"),
    "a huge answer": (page(boot="b" * 200_000), "its answer is longer than 100000 bytes"),
}


@pytest.mark.parametrize(("instead", "why"), GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_answers(bench: Bench, instead: Any, why: str) -> None:
    def wrong(request: web.Request) -> Any:
        if isinstance(instead, int):
            return web.Response(status=instead, headers={"location": "/elsewhere"})
        return web.Response(body=b"\xff\xfe\x00") if instead is web.Response else instead

    bench.build(ring={"seconds": 5.0, "page_bytes": 100_000})
    bench.new[0].instead = wrong
    assert await bench.measure() == measurement.Unavailable(
        f"the pod of revision new cannot be asked for its answers: {why}"
    )


PEERS = {
    "speaks something else": (b"220 mail ready\r\n", "it does not speak HTTP"),
    "hangs up": (b"", "it closed the connection"),
    "hangs up in the middle": (b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", "its answer ended too early"),
    "says how long it is, wrongly": (b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n{}", "it does not speak HTTP"),
}


@pytest.mark.parametrize(("said", "why"), PEERS.values(), ids=PEERS.keys())
async def test_a_peer_that_is_no_pod(bench: Bench, said: bytes, why: str) -> None:
    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()

    address = bench.new[0].address
    await bench.new[0].stop()
    async with await asyncio.start_server(handle, address, bench.pods.port):
        found = await bench.measure()
    assert isinstance(found, measurement.Unavailable)
    assert found.message == f"the pod of revision new cannot be asked for its answers: {why}"


async def test_a_session_that_was_closed(bench: Bench) -> None:
    await bench.session.close()
    assert await bench.measure() == measurement.Unavailable(
        "the pod of revision new cannot be asked for its answers: the operator is stopping"
    )


async def test_a_ring_that_goes_backwards(bench: Bench) -> None:
    both(bench, "a", [1], [1])
    both(bench, "b", [1], [1])
    await bench.measure()
    bench.new[0].instead = lambda _: page(boot=bench.new[0].boot)
    assert await bench.measure() == measurement.Unavailable(
        "the pod of revision new cannot be asked for its answers: its ring of answers goes back from 2 to 1"
    )


async def test_dead_pods(bench: Bench) -> None:
    bench.new.append(await bench.pods.start())
    for pod in bench.new:
        await pod.stop()
    assert await bench.measure() == measurement.Unavailable(
        "none of the 2 pods of revision new can be asked for its answers: connection refused"
    )


async def test_a_pod_that_does_not_answer(bench: Bench) -> None:
    bench.build(ring={"seconds": 0.2})
    bench.old[0].silent = True
    assert await bench.measure() == measurement.Unavailable(
        "the pod of revision old cannot be asked for its answers: no answer within 0.2 s"
    )


async def test_what_others_said_is_not_forgotten_while_a_pod_is_silent(bench: Bench) -> None:
    both(bench, "a", [1], [1])
    bench.new[0].instead = lambda _: web.Response(status=503)
    assert isinstance(await bench.measure(), measurement.Unavailable)
    bench.new[0].instead = None
    assert agreed(await bench.measure()).joined == 1


async def test_missing_pods(bench: Bench) -> None:
    bench.new.clear()
    assert await bench.measure() == measurement.Unavailable(
        "no pod of revision new is ready to be asked for its answers"
    )


async def test_without_stable_there_is_nothing_to_compare_with(bench: Bench) -> None:
    alone = dataclasses.replace(SUBJECT, stable=None)
    nothing = measurement.NoData("there is no stable revision to compare with yet")
    assert [await bench.measure(metric, alone) for metric in (SHADOW, DRIFT)] == [nothing, nothing]
    bench.new[0].answered("a", ["x"])
    bench.new[0].told("a", "x")
    found = await bench.measure(SCORE, alone)
    assert isinstance(found, Scores)
    assert (scores.value(found), scores.stable_value(found)) == ((1.0, 1), None)


async def test_a_metric_of_another_kind(bench: Bench) -> None:
    errors = modeldeployment.Metric.model_validate({"name": "errors", "type": "ErrorRate", "max": 0.1})
    assert await bench.measure(errors) == measurement.Unavailable(
        "ErrorRate does not rest on answers: ask Prometheus for it"
    )


async def test_an_interrupted_measurement_loses_nothing(bench: Bench) -> None:
    for number in range(400):
        both(bench, f"r{number}", [1], [1])
    for turns in range(1, 60, 3):
        task = asyncio.create_task(bench.measure())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert agreed(await bench.measure()).joined == 400


async def test_many_who_ask_at_once_count_nothing_twice(bench: Bench) -> None:
    for number in range(200):
        both(bench, f"r{number}", [1], [1])
    bench.build()
    found = await asyncio.gather(*(bench.measure() for _ in range(5)))
    last = max((agreed(one) for one in found), key=lambda seen: seen.looks)
    assert (last.joined, last.duplicates, last.looks) == (200, 0, 5)


async def test_drift_counts_one_row_of_each_request_once(bench: Bench) -> None:
    for number in range(120):
        bench.old[0].answered(f"s{number}", ["a", "a", "a"])
        bench.new[0].answered(f"c{number}", ["b"])
    bench.new[0].answered("c0", ["b"])
    bench.new[0].answered("no-rows", [])
    bench.new[0].answered("failed", None, outcome="model_error")
    found = drifted(await bench.measure(DRIFT))
    candidate = (("b", 120), ("no rows", 1))
    assert (found.candidate, found.stable, found.duplicates, found.failed) == (candidate, (("a", 120),), 1, 1)


async def test_a_candidate_whose_answers_are_all_identical(bench: Bench) -> None:
    for number in range(20):
        both(bench, f"r{number}", [number / 7], [0.5])
    assert agreed(await bench.measure()).collapsed
    assert "a collapse at 95 %" in drift.compare(drifted(await bench.measure(DRIFT)), 0.1).why


async def test_a_candidate_that_answers_fast_because_it_answers_nothing(bench: Bench) -> None:
    for number in range(10):
        bench.old[0].answered(f"s{number}", ["a" if number % 2 else "b"])
        bench.new[0].answered(f"c{number}", [])
    assert drift.compare(drifted(await bench.measure(DRIFT)), 0.1, name="drift").why == (
        "drift: all 10 of the candidate's are the same (no rows), and 0 of 10 of stable's: a collapse at 95 % after 2 "
        "looks"
    )


async def test_half_characters_are_read_and_can_be_stored(bench: Bench) -> None:
    bench.old[0].answered("r1", ["a"])
    bench.new[0].answered("r1", ["\ud800"])
    assert agreed(await bench.measure()).worst[0].candidate.encode() == b'"?"'


async def test_vectors_of_other_length(bench: Bench) -> None:
    both(bench, "a", [[1, 2]], [[1, 2, 3]])
    assert agreed(await bench.measure()).disagreed == 1


async def test_truths_meet_answers_of_both_versions_on_any_pod(bench: Bench) -> None:
    both(bench, "shadowed", ["x", "x"], ["x", "y"])
    bench.new[0].answered("canary", ["z", "z"])
    bench.old[0].told("shadowed", ["x", "y"])
    bench.old[0].told("canary", ["x", "z"])
    found = await bench.measure(SCORE)
    assert isinstance(found, Scores)
    assert (scores.value(found), scores.stable_value(found)) == ((0.75, 4), (0.5, 2))


async def test_truths_that_come_later_and_answers_that_do(bench: Bench) -> None:
    bench.new[0].answered("a", ["x"])
    bench.new[0].told("b", "x")
    await bench.measure(SCORE)
    bench.new[0].told("a", "x")
    bench.new[0].answered("b", ["y"])
    found = await bench.measure(SCORE)
    assert isinstance(found, Scores)
    assert (scores.value(found), found.unknown, found.looks) == ((0.5, 2), 0, 2)


async def test_truths_that_score_nothing(bench: Bench) -> None:
    bench.build(room=waiting.Room(entries=2))
    pod = bench.new[0]
    for name in ("gone", "a", "b"):
        pod.answered(name, ["x"])
    await bench.measure(SCORE)
    pod.told("a", "x")
    pod.told("a", "y")
    await bench.measure(SCORE)
    pod.answered("failed", None, outcome="model_error")
    pod.told("failed", "x")
    await bench.measure(SCORE)
    pod.told("gone", "x")
    await bench.measure(SCORE)
    pod.told("never", "x")
    await bench.measure(SCORE)
    bench.now = 61.0
    found = await bench.measure(SCORE)
    assert isinstance(found, Scores)
    counted = (found.candidate.count, found.duplicates, found.failed, found.late, found.unknown, found.mismatched)
    assert counted == (1, 1, 1, 1, 1, 0)


async def test_truths_of_another_kind_than_the_answer(bench: Bench) -> None:
    bench.new[0].answered("a", [1])
    bench.new[0].told("a", "1")
    found = await bench.measure(SCORE)
    assert isinstance(found, Scores)
    assert (scores.value(found), found.mismatched) == (None, 1)
