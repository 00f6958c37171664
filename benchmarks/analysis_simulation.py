"""Many simulated rollouts at once, judged by the formulas of penstock.analysis.sequential at every look.

The formulas are not written a second time: what they say about each pair of numbers of requests, or each count, is
asked for once and looked up for all rollouts. Arrays are (rollouts, looks); a look follows each interval.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from penstock.analysis.sequential import binomial, counts, errorrate, margin, mean
from penstock.analysis.sequential.errorrate import Line

Whole = NDArray[np.int64]
Real = NDArray[np.float64]
Flags = NDArray[np.bool_]
Shares = Sequence[float] | Real


@dataclass(frozen=True)
class Traffic:
    """Requests and errors of each interval."""

    candidate: Whole
    stable: Whole
    candidate_errors: Whole
    stable_errors: Whole

    def swapped(self) -> "Traffic":
        return Traffic(self.stable, self.candidate, self.stable_errors, self.candidate_errors)


def traffic(
    random: np.random.Generator,
    rollouts: int,
    requests: Whole,
    share: Real,
    candidate_rate: Real,
    stable_rate: Real,
) -> Traffic:
    """Each of an interval's `requests` goes to the candidate with its `share`; rates and shares are one a look."""
    size = (rollouts, len(requests))
    candidate = random.binomial(requests, share, size)
    stable = requests - candidate
    return Traffic(candidate, stable, random.binomial(candidate, candidate_rate), random.binomial(stable, stable_rate))


def steady(
    random: np.random.Generator,
    rollouts: int,
    looks: int,
    requests: int,
    share: float,
    rates: tuple[float, float],
) -> Traffic:
    """The same share and rates (candidate's, stable's) in all intervals."""
    one = np.ones(looks)
    return traffic(random, rollouts, np.full(looks, requests), share * one, rates[0] * one, rates[1] * one)


def log_evidence(seen: Traffic, line: Line) -> Real:
    """`errorrate.log_evidence` after every interval of every rollout."""
    base = int(seen.stable.max()) + 1
    keys = seen.candidate * base + seen.stable
    present = np.flatnonzero(np.bincount(keys.ravel()))
    places = np.zeros(int(present[-1]) + 1, dtype=np.intp)
    places[present] = np.arange(len(present))
    where = places[keys]
    shares = [_share(*divmod(int(key), base)) for key in present]
    successes = seen.candidate - seen.candidate_errors
    mixed = np.full(seen.candidate.shape, -np.inf)
    for stake in errorrate.STAKES:
        logs = np.array([_factors(share, stake, line) for share in shares])
        gained = seen.candidate_errors * logs[where, 0] + seen.stable_errors * logs[where, 2]
        if line.shift:
            gained += successes * logs[where, 1]
        mixed = np.logaddexp(mixed, np.cumsum(gained, axis=1))
    return np.asarray(mixed - np.log(len(errorrate.STAKES)))


def _share(candidate: int, stable: int) -> float | None:
    return counts.share_above(counts.cell(candidate, stable)) if candidate and stable else None


def _factors(share: float | None, stake: float, line: Line) -> tuple[float, float, float]:
    if share is None:
        return 0.0, 0.0, 0.0
    found = errorrate.factors(share, stake, line)
    return (-1e9, -1e9, -1e9) if found is None else (found[0], found[1], found[2])


def first(flags: Flags) -> Real:
    """The number of the first look (from 1) with a flag, infinity if there is none; one a rollout."""
    return np.where(flags.any(axis=1), flags.argmax(axis=1) + 1.0, np.inf)


def worse(seen: Traffic, line: Line, confidence: float = 0.95) -> Real:
    """The look at which each rollout is first found to be above the line."""
    return first(log_evidence(seen, line) >= margin.threshold(confidence))


def repeated_test(seen: Traffic, critical: float = 1.6449) -> Real:
    """The look at which a test for one look (two proportions, one-sided, 5 %) first says "worse", read at each."""
    candidate, stable = seen.candidate.cumsum(1), seen.stable.cumsum(1)
    mine, its = seen.candidate_errors.cumsum(1), seen.stable_errors.cumsum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (mine + its) / (candidate + stable)
        score = (mine / candidate - its / stable) / np.sqrt(pooled * (1 - pooled) * (1 / candidate + 1 / stable))
    return first((score > critical) & (mine + its >= 5))


def threshold(seen: Traffic, limit: float, window: int, samples: int = 20) -> Real:
    """The look at which the candidate's error rate over the last `window` intervals is first above `limit`."""
    requests, failed = _last(seen.candidate, window), _last(seen.candidate_errors, window)
    return first((requests >= samples) & (failed > limit * requests))


def _last(values: Whole, window: int) -> Whole:
    total = values.cumsum(1)
    total[:, window:] -= total[:, :-window].copy()
    return total


def quantile_worse(
    random: np.random.Generator,
    rollouts: int,
    looks: int,
    values: tuple[int, int],
    up_to: tuple[Shares, Shares],
    quantile: float,
    confidence: float = 0.95,
) -> Real:
    """The look at which the candidate's quantile is first found to be above stable's (margin 0).

    `values` a look, and the share of values `up_to` each bucket but the last (the same at all looks, or for
    each look), of candidate and stable.
    """
    mine = _seen(random, rollouts, looks, values[0], up_to[0])
    its = _seen(random, rollouts, looks, values[1], up_to[1])
    mine_higher = _looked_up(binomial.log_against_at_least, mine, values[0], quantile)
    its_lower = _looked_up(binomial.log_against_at_most, its, values[1], quantile)
    buckets = mine.shape[2] + 1
    least = its_lower[:, :, buckets - 2]  # both in the last bucket: nothing shows that a value is beyond it
    for holds_mine in range(buckets - 1):
        for holds_its in range(holds_mine, buckets):
            evidence = mine_higher[:, :, holds_mine]
            if holds_its > 0:
                evidence = evidence + its_lower[:, :, holds_its - 1]
            least = np.minimum(least, evidence)
    return first(least >= margin.threshold(confidence))


def _looked_up(formula: Callable[[int, int, float], float], hits: Whole, values: int, quantile: float) -> Real:
    """formula(hits, the rest, quantile) for cumulative hits (rollouts, looks, bounds), asked once for each pair."""
    looks = hits.shape[1]
    base = looks * values + 1
    total = values * np.arange(1, looks + 1)
    keys, where = np.unique(total[np.newaxis, :, np.newaxis] * base + hits, return_inverse=True)
    pairs = (divmod(int(key), base) for key in keys)
    answers = np.array([formula(hit, seen - hit, quantile) for seen, hit in pairs])
    return np.asarray(answers[where.reshape(hits.shape)])


def _seen(random: np.random.Generator, rollouts: int, looks: int, values: int, up_to: Shares) -> Whole:
    """Cumulative counts (rollouts, looks, bounds)."""
    shares = np.diff(np.atleast_2d(np.asarray(up_to)), axis=1, prepend=0.0, append=1.0)
    drawn = random.multinomial(values, np.broadcast_to(shares, (looks, shares.shape[1])), size=(rollouts, looks))
    return np.asarray(drawn.cumsum(axis=1).cumsum(axis=2)[:, :, :-1])


def mean_worse(
    draw: Callable[[int, int], tuple[Real, Real]],
    rollouts: int,
    looks: int,
    spread: mean.Spread,
    needed: float,
) -> Real:
    """The look at which the candidate's mean is first found to be higher; `draw` gives (rollout, look)'s values."""
    found = np.full(rollouts, np.inf)
    for rollout in range(rollouts):
        state = mean.State(spread)
        for look in range(1, looks + 1):
            state = state.observed(*(_moments(values) for values in draw(rollout, look)))
            if state.difference > 0 and is_beyond(state, needed):
                found[rollout] = look
                break
    return found


def is_beyond(state: mean.State, needed: float) -> bool:
    if isinstance(state.spread, mean.Range):
        return mean.log_bernstein_mixture(state.difference, state.variance) >= needed
    return state.difference >= mean.boundary(state, needed)


def _moments(values: Real) -> mean.Moments:
    return mean.Moments(len(values), float(values.sum()), float(values @ values))
