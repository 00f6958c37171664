"""The promise itself: a version that is not worse is called worse in at most 5 of 100 rollouts, looked at all the time.

2,000 simulated rollouts a case, all random numbers from a fixed seed. The thorough form is benchmarks/analysis_proof.py.
"""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from penstock.analysis.sequential import counts, errorrate, margin, mean, quantile
from penstock.analysis.sequential.errorrate import Line
from penstock.analysis.sequential.outcome import NotWorse, Worse

from benchmarks import analysis_simulation as simulation

ROLLOUTS = 2000
ALLOWED = 0.05
NEEDED = margin.threshold(0.95)


def alarms(found: NDArray[np.float64]) -> float:
    return float(np.isfinite(found).mean())


SPLITS = {"1/99": 0.01, "10/90": 0.1, "50/50": 0.5}
RATES = {"0.1 % fail": 0.001, "1 % fail": 0.01, "a fifth fails": 0.2}
STEADY = {f"{split}, {rate}": (SPLITS[split], RATES[rate]) for split, rate in itertools.product(SPLITS, RATES)}


@pytest.mark.parametrize(("share", "rate"), STEADY.values(), ids=STEADY.keys())
def test_equal_error_rates_are_rarely_called_worse(share: float, rate: float) -> None:
    seen = simulation.steady(np.random.default_rng(1), ROLLOUTS, 250, 50, share, (rate, rate))
    assert alarms(simulation.worse(seen, Line())) <= ALLOWED


def test_a_look_after_every_second_request() -> None:
    seen = simulation.steady(np.random.default_rng(2), ROLLOUTS, 500, 2, 0.5, (0.05, 0.05))
    assert alarms(simulation.worse(seen, Line())) <= ALLOWED


def test_the_same_rollouts_deceive_a_test_for_one_look() -> None:
    seen = simulation.steady(np.random.default_rng(3), ROLLOUTS, 250, 50, 0.5, (0.01, 0.01))
    assert alarms(simulation.repeated_test(seen)) > 3 * ALLOWED
    assert alarms(simulation.worse(seen, Line())) <= ALLOWED


def outage() -> simulation.Traffic:
    """From 10 % to half of the traffic, and then both fail one request in ten for a while, and back to 10 %."""
    share = np.repeat([0.1, 0.5, 0.1], [150, 100, 150])
    rate = np.where((np.arange(400) >= 170) & (np.arange(400) < 230), 0.1, 0.001)
    return simulation.traffic(np.random.default_rng(4), ROLLOUTS, np.full(400, 50), share, rate, rate)


def test_an_outage_of_both_during_a_higher_weight_is_not_the_candidates_fault() -> None:
    seen = outage()
    assert alarms(simulation.worse(seen, Line())) <= ALLOWED
    assert alarms(simulation.repeated_test(seen)) > 0.9, "totals alone blame the candidate"


def test_changing_weights_and_amounts_of_traffic() -> None:
    random = np.random.default_rng(5)
    share = np.repeat([0.01, 0.05, 0.25, 0.5, 0.9], 80)
    rate = np.exp(random.uniform(np.log(0.001), np.log(0.05), 400))
    seen = simulation.traffic(random, ROLLOUTS, random.integers(5, 200, 400), share, rate, rate)
    assert alarms(simulation.worse(seen, Line())) <= ALLOWED


MARGINS = {
    "half a point more": (Line(shift=0.005, anchor=0.005), (0.015, 0.01)),
    "half as much again": (Line(ratio=1.5), (0.03, 0.02)),
}


@pytest.mark.parametrize("share", SPLITS.values(), ids=SPLITS.keys())
@pytest.mark.parametrize(("line", "rates"), MARGINS.values(), ids=MARGINS.keys())
def test_at_the_margin_neither_verdict_comes_often(share: float, line: Line, rates: tuple[float, float]) -> None:
    seen = simulation.steady(np.random.default_rng(6), ROLLOUTS, 150, 80, share, rates)
    other_side = Line(ratio=1 / line.ratio, shift=-line.shift)
    assert alarms(simulation.worse(seen, line)) <= ALLOWED
    assert alarms(simulation.worse(seen.swapped(), other_side)) <= ALLOWED


def test_the_verdicts_themselves_at_growing_times() -> None:
    """What `compare` says, after 4, 16 and 64 intervals, of rollouts exactly at the margin."""
    seen = simulation.steady(np.random.default_rng(7), 200, 64, 400, 0.2, (0.03, 0.02))
    wrong = {Worse: 0, NotWorse: 0}
    for rollout in range(200):
        state, said = counts.State(), set()
        for look in range(64):
            arms = (
                (seen.candidate[rollout, look], seen.candidate_errors[rollout, look]),
                (
                    seen.stable[rollout, look],
                    seen.stable_errors[rollout, look],
                ),
            )
            state = state.observed(*(counts.Counts(int(failed), int(n - failed)) for n, failed in arms))
            if look + 1 in {4, 16, 64}:
                said.add(type(errorrate.compare(state, margin.Absolute(0.01))))
        for verdict in said & set(wrong):
            wrong[verdict] += 1
    assert max(wrong.values()) <= ALLOWED * 200


def test_the_simulation_is_what_the_library_says() -> None:
    seen = simulation.steady(np.random.default_rng(8), 1, 30, 40, 0.1, (0.2, 0.05))
    line, state, expected = Line(shift=0.01, anchor=0.01), counts.State(), []
    for look in range(30):
        mine, its = int(seen.candidate_errors[0, look]), int(seen.stable_errors[0, look])
        state = state.observed(
            counts.Counts(mine, int(seen.candidate[0, look]) - mine),
            counts.Counts(its, int(seen.stable[0, look]) - its),
        )
        expected.append(errorrate.log_evidence(state, line))
    assert simulation.log_evidence(seen, line)[0] == pytest.approx(expected)


QUANTILES = {
    "p90 in the middle of a bucket": (0.9, (0.3, 0.8, 0.95)),
    "p90 at a bound": (0.9, (0.5, 0.9, 0.97)),
    "p50 at a bound": (0.5, (0.5, 0.9, 0.97)),
}


@pytest.mark.parametrize(("q", "up_to"), QUANTILES.values(), ids=QUANTILES.keys())
def test_equal_quantiles_are_rarely_called_worse(q: float, up_to: tuple[float, ...]) -> None:
    found = simulation.quantile_worse(np.random.default_rng(9), ROLLOUTS, 150, (1, 3), (up_to, up_to), q)
    assert alarms(found) <= ALLOWED


def test_times_in_which_both_are_slow_are_not_the_candidates_fault() -> None:
    """At one weight; p90 goes up and down by two buckets for 15 looks at a time."""
    slow = (np.arange(150) // 15) % 2 == 1
    up_to = np.where(slow[:, np.newaxis], [0.3, 0.5, 0.88], [0.7, 0.98, 0.99])
    found = simulation.quantile_worse(np.random.default_rng(12), ROLLOUTS, 150, (2, 6), (up_to, up_to), 0.9)
    assert alarms(found) <= ALLOWED


def test_quantile_verdicts_themselves() -> None:
    """What `compare` says, after 10, 40, 160 intervals, of values that just have the same 90 % quantile."""
    random, wrong = np.random.default_rng(10), 0
    bounds = (0.1, 0.25, 0.5, float("inf"))
    for _ in range(200):
        state, alarmed = quantile.State(), False
        for look in range(160):
            mine, its = random.multinomial(3, (0.5, 0.4, 0.05, 0.05)), random.multinomial(9, (0.8, 0.1, 0.05, 0.05))
            state = state.observed(
                quantile.Buckets(bounds, tuple(mine.cumsum().tolist())),
                quantile.Buckets(bounds, tuple(its.cumsum().tolist())),
            )
            if look + 1 in {10, 40, 160}:
                alarmed |= isinstance(quantile.compare(state, 0.9, margin.Absolute(0.0)), Worse)
        wrong += alarmed
    assert wrong <= ALLOWED * 200


MEANS = {
    "0 or 1": (mean.Range(), lambda random, n: (random.random(n) < 0.1).astype(float)),
    "narrow in a wide range": (mean.Range(0, 10), lambda random, n: random.uniform(4, 5, n)),
    "normal": (mean.SubGaussian(2.0), lambda random, n: random.normal(7, 2.0, n)),
}


@pytest.mark.parametrize(("spread", "values"), MEANS.values(), ids=MEANS.keys())
def test_equal_means_are_rarely_called_higher(spread: mean.Spread, values: object) -> None:
    assert callable(values)
    random = np.random.default_rng(11)
    found = simulation.mean_worse(lambda _, __: (values(random, 4), values(random, 16)), ROLLOUTS, 15, spread, NEEDED)
    assert alarms(found) <= ALLOWED
