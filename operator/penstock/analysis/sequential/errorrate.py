r"""Is the candidate's error rate higher than stable's by more than a margin? A bet on who makes each error.

Let an interval have n_c requests to the candidate and n_s to stable, p_c and p_s their error rates (means over the
interval; they may change from interval to interval, together or not). The hypothesis is "not worse":

    H: p_c <= ratio p_s + shift   in every interval.

With the candidate's share b = n_c / (n_c + n_s), stable's share a = 1 - b and a stake k >= 0 that was chosen before the
interval (here by b alone), each request multiplies the evidence for "worse" by

    1 + k a (1 - shift)   an error of the candidate        1 - k b ratio   an error of stable
    1 - k a shift         a success of the candidate       1               a success of stable

Over the interval the mean of the expectations of these factors is 1 + k a b (p_c - shift - ratio p_s), which is at most
1 under H; factors of different requests are independent, so the expectation of their product is the product of their
expectations, which by the inequality of the arithmetic and geometric means is at most 1 too. Products over intervals
therefore are a non-negative supermartingale under H, and so is their mean over several stakes. An overstated share b
leaves the mean of the expectations at most 1, so the strata of `counts`, which round it up, keep this true.

The argument over a block of requests to both is that of Turner, Ly and Gruenwald, "Generic E-variables for exact
sequential k-sample tests that allow for optional stopping" (2024); the factors are bets as in Waudby-Smith and Ramdas,
"Estimating means of bounded random variables by betting" (2024). For ratio 1, shift 0, k = (r - 1) / (1 + b (r - 1))
they are the likelihood ratio of who made an error, r being the ratio of the two rates: the conditional test of Lindon
and Malek, "Anytime-Valid Inference for Multinomial Count Data" (2022), of which Lindon, Sanden and Shirikian, "Rapid
Regression Detection in Software Deployments through Sequential Testing" (2022) explain the use for canaries, with the
share seen in the interval in place of a fixed assignment probability, and a mean over `STAKES` in place of a Dirichlet
mixture. So neither a change of weights nor an hour in which everything fails is taken for the candidate's fault.

It is sharpest where errors are rare; where most requests fail it needs more of them than necessary.

What is assumed: given the past and the interval's numbers of requests, errors of different requests are independent. A
client that retries a failing request against the same version makes one error look like many.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from penstock.analysis.sequential import arithmetic, counts, margin, outcome, wording
from penstock.analysis.sequential.counts import State
from penstock.analysis.sequential.margin import Absolute, Margin, Relative
from penstock.analysis.sequential.outcome import Decision, Interval

STAKES = tuple(0.0125 * 4.0**power for power in range(9))
"""r - 1 of the alternatives that are mixed: from one in eighty more errors to 800 times as many."""

_LARGEST_RATIO = 1e6


@dataclass(frozen=True, slots=True)
class Line:
    """The hypothesis p_c <= ratio p_s + shift, with ratio > 0 and -1 < shift < 1.

    `anchor` (>= 0) makes the stakes fit for shifts up to it; evidence falls as shift rises if it is kept.
    """

    ratio: float = 1.0
    shift: float = 0.0
    anchor: float = 0.0


class Factors(NamedTuple):
    """The logarithms of what each request multiplies the evidence by (0 for a success of stable)."""

    candidate_error: float
    candidate_success: float
    stable_error: float


def compare(state: State, allowed: Margin, confidence: float = 0.95, name: str = "errors") -> Decision:
    """The candidate against stable after the last interval of `state`.

    The interval is of p_c - p_s for an Absolute margin (-1 to 1), of p_c / p_s - 1 for a Relative one (-1 to inf). Each
    of: Worse though H holds with the margin, NotWorse though its opposite (>=) does, happens at any look of a whole
    rollout with probability at most 1 - confidence. Raises ValueError for a confidence that is none.
    """
    needed = margin.threshold(confidence)
    match allowed:
        case Absolute():
            interval = _difference(state, allowed.value, needed)
        case Relative():
            interval = _ratio(state, needed)
    total = state.total()
    verdict = outcome.decide(interval, allowed.value)
    why = wording.errors(
        name, total, interval, allowed, confidence, verdict, state.looks, comparable=bool(state.strata)
    )
    return verdict(interval, total.candidate.total, total.stable.total, state.looks, why)


def log_evidence(state: State, line: Line) -> float:
    """The logarithm of the evidence against `line`: at most log(1 / alpha) at all looks with probability 1 - alpha."""
    return arithmetic.log_mean_exp([_log_evidence(state, stake, line) for stake in STAKES])


def _log_evidence(state: State, stake: float, line: Line) -> float:
    total = 0.0
    for stratum in state.strata:
        found = factors(counts.share_above(stratum.cell), stake, line)
        if found is None:
            return -math.inf
        candidate, stable = stratum.pair.candidate, stratum.pair.stable
        total += candidate.errors * found.candidate_error + stable.errors * found.stable_error
        total += candidate.successes * found.candidate_success
    return total


def factors(share: float, stake: float, line: Line) -> Factors | None:
    """For an interval in which the candidate had `share` (0 < share < 1) of the requests; see the module.

    None if the stake is too high for the line: it could lose more than everything, and does not take part.
    """
    other = 1 - share
    bet = stake / (1 + stake * (share * line.ratio + other * line.anchor))
    if bet * other * line.shift >= 1:
        return None
    return Factors(
        candidate_error=math.log1p(bet * other * (1 - line.shift)),
        candidate_success=math.log1p(-bet * other * line.shift),
        stable_error=math.log1p(-bet * share * line.ratio),
    )


def _difference(state: State, allowed: float, needed: float) -> Interval:
    """Bounds of p_c - p_s: all differences that are not refuted."""
    anchor = min(allowed, 1.0)
    return Interval(_lowest_difference(state, anchor, needed), -_lowest_difference(state.swapped(), -anchor, needed))


def _lowest_difference(state: State, allowed: float, needed: float) -> float:
    """The largest shift to which p_c <= p_s + shift is refuted, or -1. Evidence falls as shift rises."""

    def excess(shift: float) -> float:
        return log_evidence(state, Line(shift=shift, anchor=max(allowed, 0.0))) - needed

    if not state.strata or abs(allowed) >= 1:
        return -1.0
    low, high = (allowed, 1.0) if excess(allowed) >= 0 else (-1.0, allowed)
    return arithmetic.last_excluded(excess, low, high)


def _ratio(state: State, needed: float) -> Interval:
    """Bounds of p_c / p_s - 1: all ratios that are not refuted."""
    return Interval(_lowest_ratio(state, needed) - 1, _inverse(_lowest_ratio(state.swapped(), needed)) - 1)


def _lowest_ratio(state: State, needed: float) -> float:
    """The largest ratio to which p_c <= ratio p_s is refuted, or 0. Evidence falls as the ratio rises."""

    def excess(logarithm: float) -> float:
        return log_evidence(state, Line(ratio=math.exp(logarithm))) - needed

    limit = math.log(_LARGEST_RATIO)
    if excess(-limit) < 0:
        return 0.0
    return math.exp(arithmetic.last_excluded(excess, -limit, limit, tolerance=0.0, floor=5e-3))


def _inverse(ratio: float) -> float:
    return math.inf if ratio == 0 else 1 / ratio
