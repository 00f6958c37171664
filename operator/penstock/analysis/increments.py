"""From the counters of pods to what happened in each interval: resets, new pods and slow scrapes are seen to. Pure.

A counter is read at the same moments for every pod. Its first reading says nothing about the time before; a lower one
than the last means that the pod began anew, and then all it counts is new.

Readings of two versions come from scrapes at different moments, so an interval ends once the candidate has counted
something in it and stable has too, not before the candidate did. If both begin to fail, stable's first failures are
known by the time that the candidate's count, and nobody looks in between.
"""

import bisect
import collections
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from penstock.analysis.sequential import counts, mean, quantile

Reading = tuple[float, float]
"""Seconds since the epoch, and what the counter says."""

Rises = Mapping[float, float]
"""By how much something rose since the moment before, by moment."""

MOST_POINTS = 512
"""Moments at most at which a counter is read; a longer time is read at longer steps."""

MOST_POINTS_OF_BUCKETS = 64
"""The same for histograms: they are of many counters, and compared by their sums, not within intervals."""


def step_seconds(elapsed_seconds: float, most: int = MOST_POINTS) -> int:
    """Seconds between two readings: a power of two, so that intervals of the past stay what they were."""
    step = 1
    while elapsed_seconds / step > most:
        step *= 2
    return step


def rises(readings: Sequence[Reading]) -> dict[float, float]:
    """What a pod's own counter rose by; readings that are not finite are left out."""
    return pod_rises({"": readings})[""]


def pod_rises(counters: Mapping[str, Sequence[Reading]]) -> dict[str, dict[float, float]]:
    """What the counters of one pod rose by. One that fell says that all began anew, those too that outgrew it since."""
    finite = {
        name: [(moment, value) for moment, value in readings if math.isfinite(value)]
        for name, readings in counters.items()
    }
    pairs = {name: list(itertools.pairwise(readings)) for name, readings in finite.items()}
    restarts = sorted({at for found in pairs.values() for (_, before), (at, value) in found if value < before})

    def began_anew(before: float, at: float) -> bool:
        return bisect.bisect_right(restarts, before) < bisect.bisect_right(restarts, at)

    return {
        name: {at: value if began_anew(last, at) else value - before for (last, before), (at, value) in found}
        for name, found in pairs.items()
    }


def backwards(risen: Rises, since: float, step: float) -> dict[float, float]:
    """What rose before `since` as if it had been after it: the interval that ended there comes first."""
    return {2 * since - moment + step: value for moment, value in risen.items()}


def added(many: Iterable[Rises]) -> dict[float, float]:
    """The rises of several pods as one."""
    total: dict[float, float] = collections.defaultdict(float)
    for one in many:
        for moment, value in one.items():
            total[moment] += value
    return dict(total)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The rises of one version's errors and successes."""

    errors: Rises
    successes: Rises


def error_counts(candidate: Outcomes, stable: Outcomes) -> counts.State:
    """What a comparison of error rates rests on."""
    state, mine, its = counts.State(), counts.Counts(), counts.Counts()
    moments = {*candidate.errors, *candidate.successes, *stable.errors, *stable.successes}
    for moment in sorted(moments):
        new = _counts(stable, moment)
        mine, its = mine.plus(_counts(candidate, moment)), its.plus(new)
        if mine.total and new.total:
            state, mine, its = state.observed(mine, its), counts.Counts(), counts.Counts()
    if mine.total or its.total:  # shown, and not compared until the other version has counted something too
        state = state.merged(counts.State(alone=counts.Pair(mine, its)))
    return state


def _counts(outcomes: Outcomes, moment: float) -> counts.Counts:
    return counts.Counts(round(outcomes.errors.get(moment, 0.0)), round(outcomes.successes.get(moment, 0.0)))


def durations(candidate: Mapping[float, Rises], stable: Mapping[float, Rises]) -> quantile.State:
    """What a comparison of quantiles rests on: the rises by the bound of a bucket (+Inf among them).

    Raises ValueError where the bounds or counts are those of no histogram.
    """
    looks = len({moment for risen in candidate.values() for moment, value in risen.items() if value})
    return quantile.State(_buckets(candidate), _buckets(stable), looks)


def _buckets(risen: Mapping[float, Rises]) -> quantile.Buckets | None:
    if not risen:
        return None
    return quantile.buckets({bound: round(sum(by_moment.values())) for bound, by_moment in risen.items()})


def ratio(candidate: "Series", stable: "Series") -> counts.State:
    """What a comparison of the shares of events rests on. Raises ValueError for more events than what they are of."""
    return error_counts(_outcomes(candidate), _outcomes(stable))


def means(candidate: "Series", stable: "Series", low: float, high: float) -> mean.State:
    """What a comparison of means of values between `low` and `high` rests on.

    Such values deviate from their mean no more than sub-Gaussian ones of half the range (Hoeffding's lemma), which
    takes no sum of squares. Raises ValueError if a sum is not one of so many values.
    """
    state = mean.State(mean.SubGaussian((high - low) / 2))
    mine, its = mean.Moments(), mean.Moments()
    one, other = (_paired(series, may_fall=low < 0) for series in (candidate, stable))
    for moment in sorted({*one, *other}):
        new = _moments(other.get(moment), low, high)
        mine, its = mine.plus(_moments(one.get(moment), low, high)), its.plus(new)
        if mine.count and new.count:
            state, mine, its = state.observed(mine, its), mean.Moments(), mean.Moments()
    return state


@dataclass(frozen=True, slots=True)
class Series:
    """Readings of two counters of a version that may be sums over pods: what is compared, and what it is of."""

    part: Sequence[Reading]
    whole: Sequence[Reading]


def read_backwards(series: Series, since: float) -> Series:
    """What two sums did before `since` as if it had been after it, the latest first."""
    part, whole = (
        [(2 * since - moment, readings[-1][1] - value) for moment, value in reversed(readings)]
        for readings in (series.part, series.whole)
    )
    return Series(part, whole)


def _paired(series: Series, *, may_fall: bool = False) -> dict[float, tuple[float, float]]:
    """Both rises by moment. A sum that falls has lost a pod: nobody knows by how much it rose, and the moment is left
    out.
    """
    part, whole = dict(series.part), dict(series.whole)
    moments = [moment for moment in sorted(part.keys() & whole.keys()) if math.isfinite(part[moment] + whole[moment])]
    pairs = {
        after: (part[after] - part[before], whole[after] - whole[before])
        for before, after in itertools.pairwise(moments)
    }
    return {moment: pair for moment, pair in pairs.items() if pair[1] >= 0 and (pair[0] >= 0 or may_fall)}


def _outcomes(series: Series) -> Outcomes:
    pairs = _paired(series)
    for events, tries in pairs.values():
        if round(events) > round(tries):
            raise ValueError(f"{events:g} events of {tries:g}: totalQuery must count at least all that query counts")
    return Outcomes(
        {moment: round(events) for moment, (events, _) in pairs.items()},
        {moment: round(tries) - round(events) for moment, (events, tries) in pairs.items()},
    )


def _moments(pair: tuple[float, float] | None, low: float, high: float) -> mean.Moments:
    if pair is None or not round(pair[1]):
        return mean.Moments()
    total, count = pair[0], round(pair[1])
    slack = 1e-6 * max(abs(low), abs(high), 1.0) * count
    if not count * low - slack <= total <= count * high + slack:
        raise ValueError(
            f"{count} values sum up to {total:g}: not between {low:g} and {high:g} each; correct range or the queries"
        )
    return mean.Moments(count, total, total**2 / count)
