"""Verdicts of comparisons with stable: whole statuses, the limit beside them, and hostile evidence."""

import dataclasses
import datetime
import math

import pytest
from penstock.analysis import agreement, drift, measurement, verdict
from penstock.analysis.sequential import counts, mean, quantile
from penstock.analysis.sequential.counts import Counts
from penstock.api.v1alpha1.modeldeployment import Metric, MetricType, OnNoData
from penstock.api.v1alpha1.modeldeployment_status import MetricStatus, Verdict

NOW = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
ERRORS = Metric(name="errors", type=MetricType.ERROR_RATE, max_increase=0.005)
LIMITED = ERRORS.model_copy(update={"max": 0.01})
RELATIVE = Metric(name="errors", type=MetricType.ERROR_RATE, max_relative_increase=1.0)
LATENCY = Metric(name="latency", type=MetricType.LATENCY, quantile=0.9, max_increase=0.1)
BASKET = Metric(
    name="basket", type=MetricType.PROMETHEUS, query="a", total_query="b", max_increase=5, range={"low": 0, "high": 10}
)


def errors(candidate: tuple[int, int], stable: tuple[int, int], looks: int = 14) -> counts.State:
    """So many errors of so many requests, in intervals alike."""
    state = counts.State()
    for look in range(looks):
        pair = []
        for failed, total in (candidate, stable):
            done, due = total * look // looks, total * (look + 1) // looks
            bad = failed * (look + 1) // looks - failed * look // looks
            pair.append(Counts(bad, due - done - bad))
        state = state.observed(*pair)
    return state


def assess(metric: Metric, evidence: measurement.Evidence, plain: measurement.Plain | None = None) -> MetricStatus:
    return verdict.assess(metric, measurement.Compared(evidence, plain), None, NOW)


def test_a_worse_candidate_fails_with_the_numbers_it_rests_on() -> None:
    found = assess(ERRORS, errors((7, 212), (4, 4020)))
    assert dataclasses.asdict(_shown(found)) == {
        "verdict": Verdict.FAIL,
        "message": (
            "errors: 7 of 212 (3.3 %) against 4 of 4,020 (0.1 %): worse by at least 0.63 points at 95 % after 14 looks"
        ),
        "value": 7 / 212,
        "samples": 212,
        "reference": 4 / 4020,
        "reference_samples": 4020,
        "looks": 14,
        "counters": (1, 0, 0),
    }
    assert found.low is not None
    assert 0.005 <= found.low <= 0.0064


@dataclasses.dataclass
class Shown:
    verdict: Verdict
    message: str
    value: float | None
    samples: int | None
    reference: float | None
    reference_samples: int | None
    looks: int
    counters: tuple[int, int, int]


def _shown(status: MetricStatus) -> Shown:
    return Shown(
        status.verdict,
        status.message,
        status.value,
        status.samples,
        status.reference,
        status.reference_samples,
        status.looks,
        (status.failures, status.inconclusives, status.errors),
    )


SAME = errors((1, 4000), (4, 16000))
FEW = errors((0, 20), (0, 180))
BOTH_BAD = errors((500, 1000), (4500, 9000))
LOW = measurement.Value(0.001, 1000)
HIGH = measurement.Value(0.05, 1000)

VERDICTS = {
    "not worse": (ERRORS, SAME, None, Verdict.PASS, "worse by at most 0.17 points, within the margin of 0.5"),
    "too few to tell": (ERRORS, FEW, None, Verdict.INCONCLUSIVE, "not decided yet"),
    "all errors on both sides are not the candidate's fault": (
        RELATIVE,
        BOTH_BAD,
        None,
        Verdict.PASS,
        "worse by at most",
    ),
    "nothing at all": (ERRORS, counts.State(), None, Verdict.INCONCLUSIVE, "waiting for data: 0 of 1 requests"),
    "no traffic to stable": (
        ERRORS,
        counts.State(alone=counts.Pair(Counts(3, 97), Counts())),
        None,
        Verdict.INCONCLUSIVE,
        "nothing to compare yet",
    ),
    "both hold": (LIMITED, SAME, LOW, Verdict.PASS, "within the limit of 1 %; 1 of 4,000"),
    "the limit is broken and the comparison is not": (LIMITED, SAME, HIGH, Verdict.FAIL, "above the limit of 1 %"),
    "the comparison is broken and the limit is not": (
        LIMITED,
        errors((70, 2120), (4, 4020)),
        LOW,
        Verdict.FAIL,
        "worse by at least",
    ),
    "the limit holds and the comparison does not know": (LIMITED, FEW, LOW, Verdict.INCONCLUSIVE, "not decided yet"),
    "the limit has no answer": (
        LIMITED,
        SAME,
        measurement.Unavailable("it is down"),
        Verdict.ERROR,
        "could not be measured: it is down",
    ),
}


@pytest.mark.parametrize(("metric", "evidence", "plain", "kind", "text"), VERDICTS.values(), ids=VERDICTS)
def test_what_a_comparison_and_a_limit_say_together(
    metric: Metric, evidence: measurement.Evidence, plain: measurement.Plain | None, kind: Verdict, text: str
) -> None:
    found = assess(metric, evidence, plain)
    assert (found.verdict, text in found.message) == (kind, True), found.message
    assert found.inconclusives == 0


DOWN = measurement.Unavailable("it is down")
UNCOMPARED = {
    "a limit that is broken does not wait for the comparison": (HIGH, DOWN, Verdict.FAIL, "above the limit of 1 %"),
    "a limit that holds does": (LOW, DOWN, Verdict.ERROR, "could not be measured: it is down"),
    "nonsense to compare": (LOW, measurement.Ambiguous("9 events of 5"), Verdict.INCONCLUSIVE, "9 events of 5"),
}


@pytest.mark.parametrize(("plain", "problem", "kind", "text"), UNCOMPARED.values(), ids=UNCOMPARED)
def test_what_a_limit_says_where_nothing_can_be_compared(
    plain: measurement.Plain, problem: measurement.Ambiguous | measurement.Unavailable, kind: Verdict, text: str
) -> None:
    found = verdict.assess(LIMITED, measurement.Uncompared(plain, problem), None, NOW)
    assert (found.verdict, text in found.message) == (kind, True), found.message


def test_waiting_for_evidence_never_counts_against_a_limit() -> None:
    status = assess(ERRORS, FEW)
    for _ in range(50):
        status = verdict.assess(ERRORS, measurement.Compared(FEW), status, NOW)
    assert verdict.judge([ERRORS], [status]) == verdict.Waiting(status.message)


def test_no_data_counts_as_the_metric_says() -> None:
    failing = ERRORS.model_copy(update={"on_no_data": OnNoData.FAIL, "min_samples": 100})
    assert assess(failing, FEW).verdict is Verdict.FAIL
    assert assess(failing, SAME).verdict is Verdict.PASS


def test_what_is_established_fails_before_min_samples() -> None:
    patient = ERRORS.model_copy(update={"min_samples": 10_000})
    assert assess(patient, errors((70, 2120), (4, 4020))).verdict is Verdict.FAIL
    assert "waiting for data: 4000 of 10000 requests" in assess(patient, SAME).message


def buckets(*values: int, bounds: tuple[float, ...] = (0.1, 0.2, 0.5, math.inf)) -> quantile.Buckets:
    return quantile.Buckets(bounds, values)


HISTOGRAMS = {
    "slower": (buckets(0, 100, 1000, 1000), buckets(3900, 4000, 4000, 4000), Verdict.FAIL, 0),
    "as fast": (buckets(990, 1000, 1000, 1000), buckets(3900, 4000, 4000, 4000), Verdict.PASS, 0),
    "other buckets, which no request will mend": (
        buckets(990, 1000, 1000, bounds=(0.1, 0.3, math.inf)),
        buckets(3900, 4000, 4000, 4000),
        Verdict.INCONCLUSIVE,
        1,
    ),
    "no requests to one side": (buckets(0, 0, 0, 0), buckets(3900, 4000, 4000, 4000), Verdict.INCONCLUSIVE, 0),
}


def test_what_no_number_of_requests_will_tell_holds_the_rollout() -> None:
    """Both p90 are known to lie between 0.2 and 0.5 s: that is wider than the margin."""
    state = quantile.State(buckets(0, 0, 4000, 4000), buckets(0, 0, 4000, 4000), 5)
    found = assess(LATENCY, state)
    assert (found.verdict, found.inconclusives) == (Verdict.INCONCLUSIVE, 1)
    assert "the buckets are too wide for this margin, so set a wider one" in found.message
    assert isinstance(verdict.judge([LATENCY], [found]), verdict.Held)


@pytest.mark.parametrize(("candidate", "stable", "kind", "counted"), HISTOGRAMS.values(), ids=HISTOGRAMS)
def test_quantiles(candidate: quantile.Buckets, stable: quantile.Buckets, kind: Verdict, counted: int) -> None:
    found = assess(LATENCY, quantile.State(candidate, stable, 5))
    assert (found.verdict, found.inconclusives) == (kind, counted), found.message
    assert found.message.startswith("latency: ")


def test_a_quantile_may_be_half_as_much_again() -> None:
    metric = LATENCY.model_copy(update={"max_increase": None, "max_relative_increase": 0.5})
    slower = quantile.State(buckets(0, 0, 1000, 1000), buckets(0, 4000, 4000, 4000), 5)
    much_slower = quantile.State(buckets(0, 0, 1000, 1000), buckets(4000, 4000, 4000, 4000), 5)
    assert assess(metric, slower).verdict is Verdict.INCONCLUSIVE
    found = assess(metric, much_slower)
    assert (found.verdict, found.low) == (Verdict.FAIL, 1.0)
    assert found.message == (
        "latency: p90: 0.2 to 0.5 s over 1,000 requests against at most 0.1 s over 4,000 requests: worse by at least "
        "100 % at 95 % after 5 looks"
    )


def test_means() -> None:
    state = mean.State(mean.SubGaussian(5))
    for _ in range(20):
        state = state.observed(mean.Moments(50, 450, 4050), mean.Moments(50, 50, 50))
    found = assess(BASKET, state)
    assert (found.verdict, found.value, found.reference) == (Verdict.FAIL, 9.0, 1.0)


def test_an_agreement_and_a_drift_without_answers_wait() -> None:
    answers = Metric(name="answers", type=MetricType.SHADOW_DISAGREEMENT, max=0.02, min_samples=50)
    drifted = Metric(name="drift", type=MetricType.PREDICTION_DRIFT, max=0.1, min_samples=50)
    assert assess(answers, agreement.Agreement()).message == "answers: waiting for data: 0 of 50 requests"
    assert assess(drifted, drift.Distributions()).message == "drift: waiting for data: 0 of 50 requests"
