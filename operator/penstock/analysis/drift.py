"""Are the candidate's predictions distributed as stable's are? Pure.

The measure is the Jensen-Shannon `divergence` of predicted classes, or for numbers of at most `BINS` bins between
quantiles (or between values, if few) of stable's first `WARM_UP` predictions (which are used up by that and not
counted, so that the bins do not fit one sample better than the other). Worse needs more than a divergence above the
limit: that `chisquare` rejects that both samples come from one distribution. It is looked at whenever the smaller
sample has doubled, from `FIRST` on, and the k-th look may spend alpha / (k (k + 1)), which adds up to alpha over all
looks. So however often anybody asks, alike versions are called Worse with probability 1 - confidence at most (nearly:
chi-square is an approximation, and tests measure how near). NotWorse is that the divergence as measured is at most the
limit, and no more is claimed.

A collapse (all of the candidate's answers the same, stable's not) is found from a few answers, whatever the limit. If
the versions are alike, the order of the answers says nothing. Of N answers, T of them with the value of the candidate's
first, the other n - 1 of the candidate's all have it with probability C(T - 1, n - 1) / C(N - 1, n - 1): about
q^(n - 1), where q is the value's share. This is exact, needs no bound on q, and has looks of its own from 4 answers on.
Both tests share alpha equally.

Assumed: given the times, predictions of different requests are independent. That is why of each request one row counts.
In a shadow both get the same requests, which makes alike versions only more alike.
"""

import bisect
import collections
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from penstock.analysis import chisquare, divergence, prediction
from penstock.analysis.prediction import Reading
from penstock.analysis.sequential import margin, wording
from penstock.analysis.sequential.outcome import Decision, Interval, NotWorse, Undecided, Worse

BINS = 10
CLASSES = 50
WARM_UP = 100
WAITING = 2000
FIRST = 50
FIRST_COLLAPSE = 4

OTHER = "another class"

Counts = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Look:
    """What was counted when the smaller sample had doubled for the `number`-th time."""

    number: int
    candidate: Counts
    stable: Counts


@dataclass(frozen=True, slots=True)
class Sameness:
    """The candidate's first answer: how many of its answers there are, all the same unless `varies`, and of stable's
    since then, those that are the same and those that are not. `look` is the number of the last look at it.
    """

    value: Reading | None = None
    varies: bool = False
    candidate: int = 0
    stable_same: int = 0
    stable_other: int = 0

    def plus(self, candidate: Sequence[Reading], stable: Sequence[Reading]) -> "Sameness":
        """With more answers of both."""
        value = self.value if self.value is not None else next(iter(candidate), None)
        if value is None or self.varies:
            return self
        same = sum(answer == value for answer in stable)
        return Sameness(
            value,
            any(answer != value for answer in candidate),
            self.candidate + len(candidate),
            self.stable_same + same,
            self.stable_other + len(stable) - same,
        )

    def chance(self) -> float:
        """Of answers like these if the versions are alike; see the module. 1 if the candidate's vary."""
        if self.varies or self.candidate < 2:
            return 1.0
        alike = self.candidate + self.stable_same
        ways = math.lgamma(alike) - math.lgamma(alike - self.candidate + 1)
        of = math.lgamma(alike + self.stable_other) - math.lgamma(alike + self.stable_other - self.candidate + 1)
        return math.exp(min(ways - of, 0.0))


@dataclass(frozen=True, slots=True)
class Distributions:
    """Predictions so far, one row a request: counted by class or bin, or waiting until stable has shown which.

    `edges` are the upper ends of the bins except the last, None for classes; `decided` says whether it is known which.
    """

    candidate_total: int = 0
    stable_total: int = 0
    decided: bool = False
    edges: tuple[float, ...] | None = None
    waiting_candidate: tuple[Reading, ...] = ()
    waiting_stable: tuple[Reading, ...] = ()
    candidate: Counts = ()
    stable: Counts = ()
    look: Look | None = None
    sameness: Sameness = field(default_factory=Sameness)
    sameness_look: tuple[int, Sameness] | None = None
    failed: int = 0
    oversized: int = 0
    duplicates: int = 0
    lost: int = 0
    looks: int = 0

    def observed(
        self,
        candidate: Iterable[object],
        stable: Iterable[object],
        *,
        failed: int = 0,
        oversized: int = 0,
        duplicates: int = 0,
        lost: int = 0,
        looks: int = 1,
    ) -> "Distributions":
        """With rows of more requests, and what there was besides: failed, too large, answered again, not read.

        `looks` counts questions; those at which the tests look are counted by themselves.
        """
        mine, its = [prediction.reading(row) for row in candidate], [prediction.reading(row) for row in stable]
        sameness = self.sameness.plus(mine, its)
        after = replace(
            self,
            candidate_total=self.candidate_total + len(mine),
            stable_total=self.stable_total + len(its),
            sameness=sameness,
            sameness_look=_sameness_look(self.sameness_look, sameness),
            failed=self.failed + failed,
            oversized=self.oversized + oversized,
            duplicates=self.duplicates + duplicates,
            lost=self.lost + lost,
            looks=self.looks + looks,
        )
        return after.counted(mine, its) if self.decided else after.waited(mine, its)

    def waited(self, candidate: Sequence[Reading], stable: Sequence[Reading]) -> "Distributions":
        """With answers while it is not known whether they are classes, or what the bins are."""
        mine = (*self.waiting_candidate, *candidate)[:WAITING]
        its = (*self.waiting_stable, *stable)
        if len(its) < WARM_UP:
            return replace(self, waiting_candidate=mine, waiting_stable=its)
        edges = _edges(its[:WARM_UP])
        after = replace(self, decided=True, edges=edges, waiting_candidate=(), waiting_stable=())
        return after.counted(mine, its if edges is None else its[WARM_UP:])

    def counted(self, candidate: Sequence[Reading], stable: Sequence[Reading]) -> "Distributions":
        """With answers once it is known."""
        mine, its = collections.Counter(dict(self.candidate)), collections.Counter(dict(self.stable))
        known = {*mine, *its}
        for counts, readings in ((its, stable), (mine, candidate)):
            for answer in readings:
                name = _class(answer, self.edges)
                if name not in known and len(known) >= CLASSES:
                    name = OTHER
                known.add(name)
                counts[name] += 1
        counted = tuple(sorted(mine.items())), tuple(sorted(its.items()))
        number = _doublings(min(mine.total(), its.total()), FIRST)
        look = self.look
        if number > (look.number if look else 0):
            look = Look(number, *counted)
        return replace(self, candidate=counted[0], stable=counted[1], look=look)


def _edges(readings: Sequence[Reading]) -> tuple[float, ...] | None:
    """Quantiles between the bins, or None if these are classes: not all numbers, or few different whole ones.

    Few different ones that are not whole are what a regression says of few different requests: a bin for each of them,
    so that a version that says nearly the same does.
    """
    numbers = sorted(answer for answer in readings if not isinstance(answer, str))
    if len(numbers) < len(readings) / 2:
        return None
    if len(set(readings)) <= BINS:
        if len(numbers) < len(readings) or all(number.is_integer() for number in numbers):
            return None
        return tuple((one + other) / 2 for one, other in itertools.pairwise(sorted(set(numbers)))) or None
    size = len(numbers)
    quantiles = {numbers[math.ceil(size * cut / BINS) - 1] for cut in range(1, BINS)}
    below = max(number for number in numbers if number < numbers[-1])
    return tuple(sorted(quantiles - {numbers[-1]})) or (below,)


def _class(answer: Reading, edges: tuple[float, ...] | None) -> str:
    if isinstance(answer, str):
        return answer
    if edges is None:
        return f"{answer:.10g}"
    index = bisect.bisect_left(edges, answer)
    if index == 0:
        return f"at most {wording.plain(edges[0])}"
    if index == len(edges):
        return f"above {wording.plain(edges[-1])}"
    return f"{edges[index - 1]:.4g} to {edges[index]:.4g}"


def _doublings(size: int, first: int) -> int:
    """1 at `first`, 2 at twice as many, and so on; 0 below."""
    return (size // first).bit_length()


def _sameness_look(last: tuple[int, Sameness] | None, now: Sameness) -> tuple[int, Sameness] | None:
    if now.varies:
        return None
    number = _doublings(now.candidate, FIRST_COLLAPSE)
    return (number, now) if number > (last[0] if last else 0) else last


def compare(seen: Distributions, limit: float, confidence: float = 0.95, name: str = "predictions") -> Decision:
    """Whether predictions drifted apart by more than `limit` (0 to 1), or collapsed; see the module.

    There are no bounds of the divergence, so the interval says nothing. Raises ValueError for a limit or a confidence
    that is none.
    """
    if not 0 <= limit <= 1:
        raise ValueError(f"the limit is {limit}: choose a divergence from 0 to 1, such as 0.1")
    alpha = math.exp(-margin.threshold(confidence)) / 2
    verdict, found = _collapse(seen, alpha, confidence) or _diverged(seen, limit, alpha, confidence)
    sizes = seen.candidate_total, seen.stable_total
    why = f"{name}: {found}"
    if seen.lost:
        why += f"; {seen.lost:,} answers were overwritten before they were read: lower intervalSeconds"
    return verdict(Interval(), *sizes, seen.looks, why)


def _collapse(seen: Distributions, alpha: float, confidence: float) -> tuple[type[Decision], str] | None:
    if seen.sameness_look is None:
        return None
    number, same = seen.sameness_look
    if same.chance() > _spent(alpha, number):
        return None
    stable = f"{same.stable_same:,} of {same.stable_same + same.stable_other:,} of stable's"
    what = f"all {same.candidate:,} of the candidate's are the same ({_text(same.value)}), and {stable}"
    return Worse, f"{what}: a collapse {_sure(confidence, number)}"


def _diverged(seen: Distributions, limit: float, alpha: float, confidence: float) -> tuple[type[Decision], str]:
    if seen.look is None:
        ready = f"{seen.candidate_total:,} of the candidate's and {seen.stable_total:,} of stable's"
        needed = f"{FIRST} of the candidate's and {WARM_UP if seen.edges is None else WARM_UP + FIRST} of stable's"
        return Undecided, f"{ready}, {needed} are needed: not decided yet"
    look = seen.look
    candidate, stable = dict(look.candidate), dict(look.stable)
    sizes = sum(candidate.values()), sum(stable.values())
    classes = chisquare.merged(candidate, stable)
    apart, chance = divergence.jensen_shannon((mine, its) for _, mine, its in classes), chisquare.homogeneity(classes)
    kind = ("class" if seen.edges is None else "bin") + ("" if len(classes) == 1 else "s" if seen.edges else "es")
    lead = f"{sizes[0]:,} against {sizes[1]:,}: divergence {wording.plain(apart)} over {len(classes)} {kind}"
    limited = f"{wording.plain(limit)}"
    if apart <= limit:
        return NotWorse, f"{lead}, within the limit of {limited} (look {look.number})"
    name, mine, its = max(classes, key=lambda found: abs(found[1] / sizes[0] - found[2] / sizes[1]))
    most = f"(most: {name}: {_percent(mine / sizes[0])} against {_percent(its / sizes[1])})"
    if chance <= _spent(alpha, look.number):
        return Worse, f"{lead}: more than {limited}, and not by chance, {_sure(confidence, look.number)} {most}"
    return Undecided, f"{lead}: more than {limited}, which may be chance (look {look.number}): not decided yet {most}"


def _spent(alpha: float, number: int) -> float:
    return alpha / (number * (number + 1))


def _sure(confidence: float, number: int) -> str:
    return f"at {wording.plain(confidence * 100)} % after {number} look{'' if number == 1 else 's'}"


def _text(value: Reading | None) -> str:
    return value if isinstance(value, str) else f"{value:.10g}"


def _percent(share: float) -> str:
    return f"{wording.plain(float(f'{share * 100:.3g}'))} %"
