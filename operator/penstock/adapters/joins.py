"""Brings together what belongs to one request, from whatever pods it came: a value for each kind of metric.

What waits for its counterpart waits as JSON text, and not for ever. An id counts once a version: the first answer wins,
others are counted as duplicates.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from penstock.adapters.rings import Entry
from penstock.adapters.waiting import Ids, Kept, Room, Waiting
from penstock.analysis import measurement, prediction
from penstock.analysis.agreement import Agreement, Shadowed, Tolerance
from penstock.analysis.drift import Distributions
from penstock.analysis.scores import Known, Scores
from penstock.api.v1alpha1.modeldeployment import Scorer

NOTHING = "no rows"
"""The class of an answer that predicts nothing."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What was read at one time, or a part of it that does not count as a look; `now` is the reader's clock."""

    now: float
    candidate: Sequence[Entry] = ()
    stable: Sequence[Entry] = ()
    truths: Sequence[Entry] = ()
    lost: int = 0
    looks: int = 1

    def parts(self, size: int) -> Iterator["Arrivals"]:
        """The same in parts of at most `size` entries of each; the last one is the look."""
        longest = max(len(self.candidate), len(self.stable), len(self.truths))
        for start in range(0, longest - size, size):
            part = slice(start, start + size)
            yield Arrivals(self.now, self.candidate[part], self.stable[part], self.truths[part], looks=0)
        rest = slice(max(longest - 1, 0) // size * size, None)
        yield Arrivals(self.now, self.candidate[rest], self.stable[rest], self.truths[rest], self.lost, self.looks)


class Join(Protocol):
    """What one metric has seen of its subject."""

    @property
    def size(self) -> int:
        """Bytes that wait, about."""
        ...

    def take(self, arrivals: Arrivals) -> None:
        """Take in what arrived."""
        ...

    def measured(self) -> measurement.Measurement:
        """What is known now."""
        ...

    def shrink(self) -> None:
        """Let half of what waits go."""
        ...


class Disagreements:
    """Answers of both versions to the same requests."""

    def __init__(self, tolerance: Tolerance, room: Room) -> None:
        self._tolerance = tolerance
        self._room = room
        self._waiting = Waiting(room), Waiting(room)
        self._joined = Ids(room.entries)
        self._unjoined = [0, 0]
        self._seen = Agreement()

    @property
    def size(self) -> int:
        return sum(waiting.size for waiting in self._waiting) + self._joined.size()

    def take(self, arrivals: Arrivals) -> None:
        oversized = duplicates = 0
        pairs: list[Shadowed] = []
        for side, entries in enumerate((arrivals.candidate, arrivals.stable)):
            mine, other = self._waiting[side], self._waiting[1 - side]
            for entry in entries:
                if entry.request in mine or entry.request in self._joined:
                    duplicates += 1
                    continue
                arrived = _kept(entry, arrivals.now)
                counterpart = other.pop(entry.request)
                if counterpart is None:
                    self._unjoined[side] += len(mine.put(entry.request, arrived))
                    continue
                self._joined.add(entry.request)
                candidate, stable = (arrived, counterpart) if side == 0 else (counterpart, arrived)
                if (candidate.text is None or stable.text is None) and not (candidate.failed or stable.failed):
                    oversized += 1
                else:
                    pairs.append(_shadowed(entry.request, candidate, stable))
        for side, waiting in enumerate(self._waiting):
            for request in waiting.older(arrivals.now - self._room.patience):
                waiting.pop(request)
                self._unjoined[side] += 1
        unjoined, self._unjoined = self._unjoined, [0, 0]
        self._seen = self._seen.observed(
            pairs,
            self._tolerance,
            unjoined_candidate=unjoined[0],
            unjoined_stable=unjoined[1],
            oversized=oversized,
            duplicates=duplicates,
            lost=arrivals.lost,
            looks=arrivals.looks,
        )

    def measured(self) -> measurement.Measurement:
        seen = self._seen
        if seen.joined:
            return measurement.Compared(seen)
        mine, its = (len(waiting) for waiting in self._waiting)
        parts = [
            (mine + seen.unjoined_candidate, "of the candidate only"),
            (its + seen.unjoined_stable, "of stable only"),
            (seen.stable_failed, "that stable failed"),
            (seen.oversized, "too large to be kept"),
            (seen.lost, "overwritten before they were read"),
        ]
        return measurement.NoData(_told("no request was answered by both versions", parts))

    def shrink(self) -> None:
        for side, waiting in enumerate(self._waiting):
            self._unjoined[side] += len(waiting.halve())
        self._joined = Ids(self._room.entries)


class Drift:
    """What both versions predict, whoever asked."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._known = Ids(room.entries), Ids(room.entries)
        self._seen = Distributions()

    @property
    def size(self) -> int:
        return sum(ids.size() for ids in self._known)

    def take(self, arrivals: Arrivals) -> None:
        failed = oversized = duplicates = 0
        rows: tuple[list[object], list[object]] = [], []
        for ids, entries, found in zip(self._known, (arrivals.candidate, arrivals.stable), rows, strict=True):
            for entry in entries:
                if entry.request in ids:
                    duplicates += 1
                    continue
                ids.add(entry.request)
                failed += entry.failed
                oversized += entry.value is None and not entry.failed
                if entry.value is not None:  # to say nothing is a prediction too
                    found.append(NOTHING if entry.value == [] else prediction.row_of(entry.value, entry.request))
        self._seen = self._seen.observed(
            *rows,
            failed=failed,
            oversized=oversized,
            duplicates=duplicates,
            lost=arrivals.lost,
            looks=arrivals.looks,
        )

    def measured(self) -> measurement.Measurement:
        seen = self._seen
        if seen.candidate_total and seen.stable_total:
            return measurement.Compared(seen)
        silent = "the candidate" if not seen.candidate_total else "stable"
        if not (seen.candidate_total or seen.stable_total):
            silent = "either version"
        parts = [
            (seen.failed, "failed"),
            (seen.oversized, "too large to be kept"),
            (seen.lost, "overwritten before they were read"),
        ]
        return measurement.NoData(_told(f"no predictions of {silent}", parts))

    def shrink(self) -> None:
        self._known = Ids(self._room.entries), Ids(self._room.entries)


class Performance:
    """Answers of each version and the truths about them; a shadowed request scores both."""

    def __init__(self, scorer: Scorer, room: Room) -> None:
        self._room = room
        self._answers = Waiting(room), Waiting(room)
        self._truths = Waiting(room)
        self._gone = Ids(room.entries)
        self._unknown = self._late = 0
        self._seen = Scores(scorer)

    @property
    def size(self) -> int:
        return self._truths.size + self._gone.size() + sum(answers.size for answers in self._answers)

    def take(self, arrivals: Arrivals) -> None:
        duplicates, touched = 0, []
        for answers, entries in zip(self._answers, (arrivals.candidate, arrivals.stable), strict=True):
            for entry in entries:
                if entry.request in answers:
                    duplicates += 1
                    continue
                self._forget(answers.put(entry.request, _kept(entry, arrivals.now)))
                touched.append(entry.request)
        for entry in arrivals.truths:
            if entry.request in self._truths:
                duplicates += 1
                continue
            self._give_up(self._truths.put(entry.request, _kept(entry, arrivals.now)))
            touched.append(entry.request)
        known, failed, oversized = self._scored(touched)
        for request in self._truths.older(arrivals.now - self._room.patience):
            truth = self._truths.get(request)
            if truth is not None and not truth.settled and not self._is_answered(request):
                self._give_up([(request, truth)])
                self._truths.settle(request)
        self._seen = self._seen.observed(
            *known,
            failed=failed,
            late=self._late,
            unknown=self._unknown,
            oversized=oversized,
            duplicates=duplicates,
            lost=arrivals.lost,
            looks=arrivals.looks,
        )
        self._late = self._unknown = 0

    def _scored(self, touched: Iterable[str]) -> tuple[tuple[list[Known], list[Known]], int, int]:
        """What the requests score, and how many answers with a truth were failures, or too large."""
        known: tuple[list[Known], list[Known]] = [], []
        failed = oversized = 0
        for request in dict.fromkeys(touched):
            truth = self._truths.get(request)
            if truth is None or truth.text is None:
                continue
            for answers, found in zip(self._answers, known, strict=True):
                answer = answers.get(request)
                if answer is None or answer.settled:
                    continue
                answers.settle(request)
                self._truths.settle(request, keep_text=True)  # the other version may answer yet
                failed += answer.failed
                oversized += answer.text is None and not answer.failed
                if answer.text is not None:
                    found.append(Known(json.loads(answer.text), json.loads(truth.text)))
        return known, failed, oversized

    def _is_answered(self, request: str) -> bool:
        return any(request in answers for answers in self._answers)

    def _forget(self, left: Iterable[tuple[str, Kept]]) -> None:
        for request, _ in left:
            self._gone.add(request)

    def _give_up(self, truths: Iterable[tuple[str, Kept]]) -> None:
        for request, kept in truths:
            if kept.settled or self._is_answered(request):
                continue
            if request in self._gone:
                self._late += 1
            else:
                self._unknown += 1

    def measured(self) -> measurement.Measurement:
        return self._seen

    def shrink(self) -> None:
        for answers in self._answers:
            self._forget(answers.halve())
        self._give_up(self._truths.halve())


def _kept(entry: Entry, now: float) -> Kept:
    if entry.value is None:
        return Kept(None, entry.failed, now)
    try:
        return Kept(json.dumps(entry.value, separators=(",", ":")), entry.failed, now)
    except (ValueError, RecursionError):  # deeper than anything that people predict
        return Kept(None, entry.failed, now)


def _shadowed(request: str, candidate: Kept, stable: Kept) -> Shadowed:
    return Shadowed(
        request,
        None if stable.text is None else json.loads(stable.text),
        None if candidate.text is None else json.loads(candidate.text),
        stable_failed=stable.failed,
        candidate_failed=candidate.failed,
    )


def _told(what: str, parts: Iterable[tuple[int, str]]) -> str:
    told = ", ".join(f"{count:,} {words}" for count, words in parts if count)
    return f"{what} ({told})" if told else what
