r"""Do two versions answer the same requests alike? Differences of answers that were joined by their request. Pure.

*Share*: each request that both were asked is a hit if the answers differ, or if the candidate failed what stable
answered. The evidence about the share of hits is that of `sequential.binomial`, so it may be looked at after every
answer: Worse though the share is at most the limit, and NotWorse though it is at least the limit, come with probability
1 - confidence at most. Nobody can establish that nothing ever differs: with a limit of 0 one difference is Worse, and
NotWorse is that less than `NEAR_NOTHING` differ.

*Means*: Worse is anytime-valid by the bets of `sizes`. For NotWorse there is nothing of the kind: differences have no
known upper bound, and one large one among those still to come could lift any mean. It is said of a plain mean at most
the limit, over at least `PLAIN` requests, and no more is claimed. Answers that cannot be subtracted (labels, other
shapes, failures) are in no mean: means are judged as long as it is not established that these are more than a share of
1 - confidence of all.

Assumed: given the past, a request differs with a probability (by an expectation) on the same side of the limit at all
times. Requests that one client sends again and again are one piece of evidence that looks like many.
"""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from penstock.analysis import difference as differences
from penstock.analysis import text
from penstock.analysis.difference import Tolerance
from penstock.analysis.sequential import arithmetic, binomial, margin, wording
from penstock.analysis.sequential.outcome import Decision, Interval, NotWorse, Undecided, Worse
from penstock.analysis.sizes import Sizes
from penstock.api.v1alpha1.modeldeployment import Statistic

__all__ = ["Agreement", "Disagreement", "Shadowed", "Sizes", "Statistic", "Tolerance", "Variety", "compare"]

NEAR_NOTHING = 0.01
PLAIN = 30
KEPT = 5
LONGEST = 200


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A request that was answered differently: both answers as short JSON texts, and the largest difference."""

    request: str
    stable: str
    candidate: str
    size: float


@dataclass(frozen=True, slots=True)
class Shadowed:
    """One request that both versions were asked; a version that failed has no predictions."""

    request: str
    stable: object
    candidate: object
    stable_failed: bool = False
    candidate_failed: bool = False


@dataclass(frozen=True, slots=True)
class Variety:
    """Whether all rows of all answers were the same so far; `first` is a digest of the first one."""

    first: str | None = None
    varies: bool = False

    def with_(self, predictions: object) -> "Variety":
        """With the rows of one more answer."""
        if self.varies:
            return self
        rows = predictions if isinstance(predictions, list) else [predictions]
        digests = [hashlib.blake2b(_json(row).encode(), digest_size=12).hexdigest() for row in rows]
        first = self.first or (digests[0] if digests else None)
        return Variety(first, any(digest != first for digest in digests))


@dataclass(frozen=True, slots=True)
class Agreement:
    """Everything observed so far.

    `joined` requests were answered by stable and by the candidate, or answered by stable and failed by the candidate
    (`candidate_failed`, all among `disagreed`). Left out are requests that only stable failed, that both failed, whose
    answers were too large to be kept (`oversized`) or never met their counterpart (`unjoined_…`), answers to an id that
    was taken (`duplicates`) and those overwritten before they were read (`lost`).
    """

    joined: int = 0
    disagreed: int = 0
    candidate_failed: int = 0
    stable_failed: int = 0
    absolute: Sizes = field(default_factory=Sizes)
    relative: Sizes = field(default_factory=Sizes)
    unjoined_stable: int = 0
    unjoined_candidate: int = 0
    oversized: int = 0
    duplicates: int = 0
    lost: int = 0
    worst: tuple[Disagreement, ...] = ()
    stable_variety: Variety = field(default_factory=Variety)
    candidate_variety: Variety = field(default_factory=Variety)
    looks: int = 0

    @property
    def errors(self) -> int:
        """Requests that one side failed and the other answered."""
        return self.candidate_failed + self.stable_failed

    @property
    def collapsed(self) -> bool:
        """Whether all of the candidate's answers were the same while stable's were not."""
        return (
            self.stable_variety.varies
            and self.candidate_variety.first is not None
            and not self.candidate_variety.varies
        )

    def observed(
        self,
        answered: Iterable[Shadowed],
        tolerance: Tolerance = Tolerance(),  # noqa: B008  # frozen
        *,
        unjoined_stable: int = 0,
        unjoined_candidate: int = 0,
        oversized: int = 0,
        duplicates: int = 0,
        lost: int = 0,
        looks: int = 1,
    ) -> "Agreement":
        """With more answers, by default in one more look."""
        found: list[differences.Difference] = []
        worst, varieties = list(self.worst), [self.stable_variety, self.candidate_variety]
        candidate_failed = stable_failed = 0
        for pair in answered:
            if pair.stable_failed:
                stable_failed += not pair.candidate_failed
                continue
            candidate_failed += pair.candidate_failed
            apart = differences.OF_KIND
            if not pair.candidate_failed:
                apart = differences.difference(pair.stable, pair.candidate, tolerance)
                varieties = [varieties[0].with_(pair.stable), varieties[1].with_(pair.candidate)]
            found.append(apart)
            if not apart.agrees and (len(worst) < KEPT or apart.largest > worst[-1].size):
                worst = sorted([*worst, _shown(pair, apart.largest)], key=lambda known: -known.size)[:KEPT]
        return replace(
            self,
            joined=self.joined + len(found),
            disagreed=self.disagreed + sum(not apart.agrees for apart in found),
            candidate_failed=self.candidate_failed + candidate_failed,
            stable_failed=self.stable_failed + stable_failed,
            absolute=self.absolute.plus(apart.absolute for apart in found),
            relative=self.relative.plus(apart.relative for apart in found),
            unjoined_stable=self.unjoined_stable + unjoined_stable,
            unjoined_candidate=self.unjoined_candidate + unjoined_candidate,
            oversized=self.oversized + oversized,
            duplicates=self.duplicates + duplicates,
            lost=self.lost + lost,
            worst=tuple(worst),
            stable_variety=varieties[0],
            candidate_variety=varieties[1],
            looks=self.looks + looks,
        )


_WORST = " (worst: request "


def without_answers(told: str) -> str:
    """A sentence for places outside of the namespace: up to the first answer that it quotes."""
    kept, worst, _ = told.partition(_WORST)
    return f"{kept} (the answers are in the ModelDeployment's status)" if worst else kept


def compare(
    agreement: Agreement,
    limit: float,
    confidence: float = 0.95,
    name: str = "answers",
    statistic: Statistic = Statistic.SHARE,
) -> Decision:
    """Whether the candidate's answers differ from stable's by more than `limit`; see the module for what is claimed.

    The interval is of the share of requests that differ (0 to 1), or of the mean difference, whose upper bound is
    unknown. Raises ValueError for a limit or a confidence that is none.
    """
    if not (math.isfinite(limit) and limit >= 0):
        raise ValueError(f"the limit is {limit}: choose a finite number that is not negative")
    needed = margin.threshold(confidence)
    if agreement.joined == 0:
        why = f"{name}: nothing to compare yet, no request was answered by both versions{_left_out(agreement)}"
        return Undecided(Interval(), 0, 0, agreement.looks, why)
    if statistic is Statistic.SHARE:
        return _share(agreement, limit, confidence, needed, name)
    return _mean(agreement, statistic, limit, confidence, needed, name)


def _share(agreement: Agreement, limit: float, confidence: float, needed: float, name: str) -> Decision:
    differing, joined = agreement.disagreed, agreement.joined
    interval, verdict = _judged(differing, joined, limit, needed)
    lead = f"{name}: {differing:,} of {joined:,} shadowed answers differ ({_percent(differing / joined)})"
    if verdict is Worse:
        found = f"more than {_rounded(limit)}"
    elif verdict is NotWorse:
        found = f"at most {_bound(interval.high, up=True)}, within the limit of {_rounded(limit)}"
        if limit == 0:
            found = f"at most {_bound(interval.high, up=True)}, and nobody can establish that it is none"
    else:
        found = f"between {_bound(interval.low, up=False)} and {_bound(interval.high, up=True)}"
    why = f"{lead}: {found} {_sure(agreement, confidence)}{_end(agreement, verdict)}"
    return verdict(interval, joined, joined, agreement.looks, why)


def _mean(agreement: Agreement, kind: Statistic, limit: float, confidence: float, needed: float, name: str) -> Decision:
    sizes = agreement.absolute if kind is Statistic.MEAN_ABSOLUTE else agreement.relative
    show = _plain if kind is Statistic.MEAN_ABSOLUTE else _rounded
    joined, odd, tolerated = agreement.joined, sizes.undefined, 1 - confidence
    _, oddity = _judged(odd, joined, tolerated, needed)
    interval = Interval(low=0.0)
    verdict: type[Decision] = Undecided
    if oddity is Worse:
        verdict = Worse
        what = f"{odd:,} of {joined:,} shadowed answers cannot be subtracted from stable's"
        found = f"more than {_rounded(tolerated)} {_sure(agreement, confidence)}"
    elif sizes.count == 0:
        what, found = f"{odd:,} of {joined:,} shadowed answers cannot be subtracted from stable's", "no mean yet"
    else:
        low, is_worse = sizes.lowest_mean(limit, needed)
        interval = Interval(low)
        what = f"{sizes.count:,} shadowed answers differ by {show(sizes.mean)} on average"
        if is_worse:
            verdict, found = Worse, f"more than {show(limit)} {_sure(agreement, confidence)}"
        elif sizes.count < PLAIN:
            found = f"{PLAIN} are needed"
        elif sizes.mean <= limit and odd <= tolerated * joined:
            verdict, found = NotWorse, f"within the limit of {show(limit)}"
        elif sizes.mean <= limit:
            found = f"{odd:,} more cannot be subtracted from stable's"
        else:
            found = f"not established to be more than {show(limit)} {_sure(agreement, confidence)}"
    why = f"{name}: {what}: {found}{_end(agreement, verdict)}"
    return verdict(interval, joined, joined, agreement.looks, why)


def _judged(hits: int, total: int, limit: float, needed: float) -> tuple[Interval, type[Worse | NotWorse | Undecided]]:
    """Bounds of the share of hits, and on which side of the limit they are."""
    attainable = min(limit or NEAR_NOTHING, 1.0)
    a, b = binomial.prior(min(attainable, 1 - NEAR_NOTHING))
    low, is_above = _lowest_share(hits, total - hits, (a, b), limit, needed)
    high, is_below = _lowest_share(total - hits, hits, (b, a), 1 - attainable, needed)
    interval = Interval(low, 1 - high)
    if limit >= 1:
        return interval, NotWorse
    if is_above:
        return interval, Worse
    return interval, NotWorse if is_below else Undecided


def _lowest_share(
    hits: int, misses: int, prior: tuple[float, float], limit: float, needed: float
) -> tuple[float, bool]:
    """The largest share p such that "at most p" is refuted (or 0), and whether "at most `limit`" is."""
    mixture = binomial.log_mixture(hits, misses, prior)
    estimate = hits / (hits + misses)

    def excess(share: float) -> float:
        return mixture - binomial.log_likelihood(hits, misses, min(share, estimate)) - needed

    if limit < 1 and excess(limit) >= 0:
        return arithmetic.last_excluded(excess, limit, 1.0), True
    return arithmetic.last_excluded(excess, 0.0, min(limit, 1.0)), False


def _shown(pair: Shadowed, size: float) -> Disagreement:
    """Both answers, of the only row where both have one row."""
    stable, candidate = pair.stable, pair.candidate
    if isinstance(stable, list) and isinstance(candidate, list) and len(stable) == len(candidate) == 1:
        stable, candidate = stable[0], candidate[0]
    mine = "no answer (it failed)" if pair.candidate_failed else text.cut(_json(candidate), LONGEST)
    return Disagreement(text.cut(pair.request, LONGEST), text.cut(_json(stable), LONGEST), mine, size)


def _json(value: object) -> str:
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return "nested too deep to be shown"


def _sure(agreement: Agreement, confidence: float) -> str:
    looks = agreement.looks
    return f"at {wording.plain(confidence * 100)} % after {looks:,} look{'' if looks == 1 else 's'}"


def _end(agreement: Agreement, verdict: type[Decision]) -> str:
    """What else is to be known: the worst, whether the candidate says anything at all, what was left out."""
    end = ": not decided yet" if verdict is Undecided else ""
    if verdict is not NotWorse and agreement.worst:
        worst = agreement.worst[0]
        answers = f"{text.cut(worst.candidate, 60)} against {text.cut(worst.stable, 60)}"
        end += f"{_WORST}{text.cut(worst.request, 40)}: {answers})"
    if agreement.collapsed:
        end += "; all of the candidate's answers are the same"
    return end + _left_out(agreement)


def _left_out(agreement: Agreement) -> str:
    """Whatever was not compared, where it is more than what is on its way."""
    said = [
        (agreement.unjoined_stable, "of stable's answers have no counterpart"),
        (agreement.unjoined_candidate, "of the candidate's answers have no counterpart"),
        (agreement.stable_failed, "requests were failed by stable only"),
        (agreement.oversized, "answers were too large to be kept"),
        (agreement.lost, "answers were overwritten before they were read: lower intervalSeconds"),
    ]
    return "".join(f"; {count:,} {what}" for count, what in said if count)


def _plain(value: float) -> str:
    return wording.plain(value)


def _percent(share: float) -> str:
    """One decimal, or one significant digit where that says more."""
    percent = share * 100
    return f"{percent:.1f} %" if percent >= 0.1 or percent == 0 else f"{percent:.1g} %"


def _rounded(share: float) -> str:
    return f"{wording.plain(float(f'{share * 100:.9g}'))} %"


def _bound(share: float, *, up: bool) -> str:
    return f"{wording.rounded(share * 100, up=up)} %"
