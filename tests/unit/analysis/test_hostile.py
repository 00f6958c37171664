"""Traffic and evidence that nobody wishes for, from counters to verdicts: none of it is taken for what it is not."""

import datetime
import itertools
import json
import math

import numpy as np
import pytest
from penstock.analysis import agreement, increments, measurement, verdict
from penstock.analysis.agreement import Shadowed
from penstock.analysis.sequential import counts, errorrate, margin, quantile
from penstock.analysis.sequential.counts import Counts
from penstock.analysis.sequential.errorrate import Line
from penstock.api.v1alpha1.modeldeployment import Metric, MetricType, OnNoData
from penstock.api.v1alpha1.modeldeployment_status import MetricStatus, ModelDeploymentStatus, Verdict

from benchmarks import analysis_simulation as simulation

NOW = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
ERRORS = Metric(name="errors", type=MetricType.ERROR_RATE, max_increase=0.005)
LIMIT = Metric(name="errors", type=MetricType.ERROR_RATE, max=0.05)
LATENCY = Metric(name="latency", type=MetricType.LATENCY, max_increase=0.1)
ANSWERS = Metric(name="answers", type=MetricType.SHADOW_DISAGREEMENT, max=0.01)


def assess(metric: Metric, measured: measurement.Measurement, before: MetricStatus | None = None) -> MetricStatus:
    return verdict.assess(metric, measured, before, NOW)


def flood(share: float, rollouts: int = 2000, looks: int = 250) -> simulation.Traffic:
    """50 requests a look of which 1 % fail; in every fifth look, one client sends what fails always 100 times more."""
    random = np.random.default_rng(7)
    calm = simulation.steady(random, rollouts, looks, 50, share, (0.01, 0.01))
    retries = 100 * (random.random((rollouts, looks)) < 0.2)
    mine = random.binomial(retries, share)
    return simulation.Traffic(
        calm.candidate + mine,
        calm.stable + retries - mine,
        calm.candidate_errors + mine,
        calm.stable_errors + retries - mine,
    )


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_flood_of_retries_over_a_random_split_raises_no_more_false_alarms_than_confidence_allows(
    share: float,
) -> None:
    seen = flood(share)
    found = simulation.worse(seen, Line())
    assert np.isfinite(found).mean() <= 0.05
    if share > 0.01:  # a limit takes it for the candidate's fault
        assert np.isfinite(simulation.threshold(seen, 0.05, window=6)).mean() > 0.9


def scraped(errors: int, from_: float, until: float, phase: int) -> increments.Outcomes:
    """Of one more than `errors` requests a second so many fail in an outage; scraped every 5 s, read every second."""

    def failed(moment: float) -> float:
        return errors * max(0.0, min(moment, until) - from_) + moment // 5

    moments = [(moment, (moment - phase) // 5 * 5 + phase) for moment in range(80)]
    known = [(float(moment), at) for moment, at in moments if at >= 0]
    return increments.Outcomes(
        increments.rises([(moment, failed(at)) for moment, at in known]),
        increments.rises([(moment, (errors + 1) * at - failed(at)) for moment, at in known]),
    )


def until(moment: float, outcomes: increments.Outcomes) -> increments.Outcomes:
    errors, successes = (
        {at: value for at, value in risen.items() if at <= moment} for risen in (outcomes.errors, outcomes.successes)
    )
    return increments.Outcomes(errors, successes)


@pytest.mark.parametrize(("mine", "its"), list(itertools.product(range(5), range(5))))
def test_all_errors_on_both_sides_are_not_the_candidates_fault_whoever_is_scraped_first(mine: int, its: int) -> None:
    """Looked at every second, so also when only the candidate was scraped since both began to fail."""
    needed, line = margin.threshold(0.95), Line(shift=0.005, anchor=0.005)
    for begin in (31.0, 33.0, 35.0):
        candidate, stable = (scraped(20, begin, begin + 8, phase) for phase in (mine, its))
        for moment in range(25, 80):
            state = increments.error_counts(until(moment, candidate), until(moment, stable))
            assert errorrate.log_evidence(state, line) < needed, (begin, moment)


def test_a_negative_counter_step_is_a_restart_and_no_news() -> None:
    """The pod had counted 900 and 9, and begins anew: neither fewer nor more errors than there were."""
    steady = increments.pod_rises(
        {"success": [(t, 100.0 * t) for t in range(20)], "model_error": [(t, float(t)) for t in range(20)]}
    )
    restarted = increments.pod_rises(
        {
            "success": [(t, 100.0 * (t if t < 10 else t - 9)) for t in range(20)],
            "model_error": [(t, float(t if t < 10 else t - 9)) for t in range(20)],
        }
    )
    outcomes = [increments.Outcomes(pod["model_error"], pod["success"]) for pod in (steady, restarted)]
    assert outcomes[0] == outcomes[1]
    found = assess(ERRORS, measurement.Compared(increments.error_counts(outcomes[1], outcomes[0])))
    assert (found.value, found.reference, found.failures) == (19 / 1919, 19 / 1919, 0)


def test_a_metric_that_flaps_fails_as_often_as_it_failed() -> None:
    """To pass in between forgives nothing: three failures in a step are three, whatever lies between them."""
    patient = LIMIT.model_copy(update={"failure_limit": 2})
    good, bad = measurement.Value(0.01, 100), measurement.Value(0.2, 100)
    status, judged = None, []
    for value in (bad, good, good, bad, good, bad):
        status = assess(patient, value, status)
        judged.append(type(verdict.judge([patient], [status])))
    waits, passed, failed = verdict.Waiting, verdict.Passed, verdict.Failed
    assert judged == [waits, passed, passed, waits, passed, failed]


def test_a_comparison_that_flaps_between_numbers_and_none_is_told_and_undoes_nothing() -> None:
    patient = ERRORS.model_copy(update={"inconclusive_limit": 3})
    waiting = measurement.Compared(counts.State().observed(Counts(0, 5), Counts(0, 50)))
    odd = measurement.Ambiguous("9 events of 5")
    status = None
    for measured in (odd, waiting) * 4:
        status = assess(patient, measured, status)
    assert status is not None
    held = verdict.judge([patient], [status])
    assert isinstance(held, verdict.Held)
    assert held.reason == "AnalysisInconclusive"


def histogram(fast: int, slow: int) -> quantile.Buckets:
    return quantile.Buckets((0.1, 0.5, math.inf), (fast, fast + slow, fast + slow))


def test_a_candidate_that_answers_fast_because_it_answers_nothing() -> None:
    """Its failures are quick, so its latency is better than ever; its errors are found after a dozen."""
    latency = assess(LATENCY, measurement.Compared(quantile.State(histogram(2000, 0), histogram(0, 2000), 10)))
    failed = assess(ERRORS, measurement.Compared(counts.State().observed(Counts(12, 0), Counts(1, 107))))
    assert (latency.verdict, failed.verdict) == (Verdict.PASS, Verdict.FAIL)
    judged = verdict.judge([LATENCY, ERRORS], [latency, failed])
    assert isinstance(judged, verdict.Failed)
    assert judged.metric == "errors"


def test_a_shadow_that_answers_with_nothing_disagrees() -> None:
    answered = [Shadowed(f"r{number}", [number], []) for number in range(20)]
    found = assess(ANSWERS, measurement.Compared(agreement.Agreement().observed(answered)))
    assert found.verdict is Verdict.FAIL
    assert "20 of 20 shadowed answers differ" in found.message
    assert "(worst: request r0: [] against [0])" in found.message


ONE_SIDED = {
    "stable gets no requests": counts.State(alone=counts.Pair(Counts(0, 500), Counts())),
    "nobody does": counts.State(),
}


@pytest.mark.parametrize("evidence", ONE_SIDED.values(), ids=ONE_SIDED)
def test_zero_traffic_to_one_side_is_no_data(evidence: counts.State) -> None:
    """So that onNoData says what becomes of it, and a step need not wait for ever."""
    found = {}
    for choice in OnNoData:
        status = assess(ERRORS.model_copy(update={"on_no_data": choice}), measurement.Compared(evidence))
        found[choice] = status.verdict, status.inconclusives
        assert "errors: waiting for data: " in status.message or "no data" in status.message
    assert found == {
        OnNoData.WAIT: (Verdict.INCONCLUSIVE, 0),
        OnNoData.INCONCLUSIVE: (Verdict.INCONCLUSIVE, 1),
        OnNoData.FAIL: (Verdict.FAIL, 0),
        OnNoData.PASS: (Verdict.PASS, 0),
    }


SPOTLESS = counts.State().observed(Counts(0, 5000), Counts(0, 50_000))
STAINED = counts.State().observed(Counts(50, 4950), Counts(500, 49_500))
ENDLESS = {
    "a share of no errors": ({"max_relative_increase": 0.5}, SPOTLESS, "a share of them tells nothing; set maxInc"),
    "no increase at all": ({"max_increase": 0.0}, STAINED, "stays undecided; allow an increase above 0"),
}


@pytest.mark.parametrize(("margins", "evidence", "advice"), ENDLESS.values(), ids=ENDLESS)
def test_what_may_stay_undecided_for_ever_says_what_to_do(
    margins: dict[str, float], evidence: counts.State, advice: str
) -> None:
    metric = ERRORS.model_copy(update={"max_increase": None, **margins})
    found = assess(metric, measurement.Compared(evidence))
    assert (found.verdict, advice in found.message) == (Verdict.INCONCLUSIVE, True), found.message
    assert "; set" not in assess(ERRORS, measurement.Compared(SPOTLESS)).message


def test_the_status_of_the_most_and_worst_metrics_fits_into_an_object() -> None:
    """An object holds 1.5 MB, and everything here is as long as it can be."""
    deep = [Shadowed(f"r{number}" + "x" * 250, ["ü" * 4000], ["é" * 4000]) for number in range(100)]
    evidence = measurement.Compared(agreement.Agreement().observed(deep))
    metrics = [ANSWERS.model_copy(update={"name": f"answers-{number}"}) for number in range(31)]
    statuses = [assess(metric, evidence) for metric in metrics]
    odd = assess(LIMIT, measurement.Ambiguous("series " * 100_000))
    judged = verdict.judge([*metrics, LIMIT], [*statuses, odd])
    assert isinstance(judged, verdict.Failed)
    assert (len(odd.message), len(judged.message)) == (1000, 2000)
    status = ModelDeploymentStatus(verdicts=[*statuses, odd], message=judged.message)
    assert len(json.dumps(status.to_wire(), ensure_ascii=False).encode()) < 300_000
