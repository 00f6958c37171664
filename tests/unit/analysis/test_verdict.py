"""What measurements mean: whole statuses for `assess`, whole judgements for `judge`, and what holds for all of them."""

import datetime
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock.analysis import measurement, verdict
from penstock.api.v1alpha1 import modeldeployment
from penstock.api.v1alpha1.modeldeployment import Metric, MetricType, OnNoData
from penstock.api.v1alpha1.modeldeployment_status import MetricStatus, Verdict

NOW = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)

ERRORS = Metric(name="errors", type=MetricType.ERROR_RATE, max=0.01, min_samples=20)
P99 = Metric(name="p99", type=MetricType.LATENCY, max=0.5)
SLOW = Metric(name="latency", type=MetricType.LATENCY, quantile=0.999, max=0.05)
QUEUE = Metric(name="queue", type=MetricType.PROMETHEUS, query="queue", min=2, max=1000)


def status(
    name: str, kind: Verdict, message: str, *, value: float | None = None, samples: int | None = None, **counters: int
) -> MetricStatus:
    return MetricStatus(
        name=name,
        verdict=kind,
        message=message,
        value=value,
        samples=samples,
        recent=[] if value is None else [value],
        measured_at=NOW,
        **counters,
    )


def with_(metric: Metric, **changes: object) -> Metric:
    return metric.model_copy(update=changes)


ASSESSED = {
    "an error rate above its limit fails": (
        ERRORS,
        measurement.Value(7 / 212, 212),
        status(
            "errors",
            Verdict.FAIL,
            "errors: 7 of 212 requests failed (3.3 %), above the limit of 1 %",
            value=7 / 212,
            samples=212,
            failures=1,
        ),
    ),
    "an error rate at its limit passes": (
        ERRORS,
        measurement.Value(0.01, 200),
        status(
            "errors",
            Verdict.PASS,
            "errors: 2 of 200 requests failed (1 %), within the limit of 1 %",
            value=0.01,
            samples=200,
        ),
    ),
    "an error rate a hair above its limit shows the hair": (
        ERRORS,
        measurement.Value(0.0100004, 1_000_000),
        status(
            "errors",
            Verdict.FAIL,
            "errors: 10000 of 1000000 requests failed (1.00004 %), above the limit of 1 %",
            value=0.0100004,
            samples=1_000_000,
            failures=1,
        ),
    ),
    "a quantile within its limit passes": (
        P99,
        measurement.Value(0.412, 212),
        status(
            "p99",
            Verdict.PASS,
            "p99: 0.412 s over 212 requests, within the limit of 0.5 s",
            value=0.412,
            samples=212,
        ),
    ),
    "a metric whose name does not tell the quantile tells it, and small limits are in milliseconds": (
        SLOW,
        measurement.Value(0.0612, 40),
        status(
            "latency",
            Verdict.FAIL,
            "latency: p99.9 is 61.2 ms over 40 requests, above the limit of 50 ms",
            value=0.0612,
            samples=40,
            failures=1,
        ),
    ),
    "a quantile beyond the last bucket fails a limit up to that bucket": (
        with_(P99, max=10),
        measurement.Value(10, 212, at_least=True),
        status(
            "p99",
            Verdict.FAIL,
            "p99: more than 10 s over 212 requests, above the limit of 10 s",
            value=10,
            samples=212,
            failures=1,
        ),
    ),
    "a quantile beyond the last bucket cannot be compared with a limit beyond it": (
        with_(P99, max=15),
        measurement.Value(10, 212, at_least=True),
        status(
            "p99",
            Verdict.INCONCLUSIVE,
            "p99: more than 10 s over 212 requests, which cannot be compared with the limit of 15 s: "
            "set a limit of at most 10 s",
            value=10,
            samples=212,
            inconclusives=1,
        ),
    ),
    "a value that is only known to be above something passes a minimum below it": (
        with_(P99, min=1, max=None),
        measurement.Value(10, 212, at_least=True),
        status(
            "p99",
            Verdict.PASS,
            "p99: more than 10 s over 212 requests, within the limit of 1 s",
            value=10,
            samples=212,
        ),
    ),
    "a value that is only known to be above something cannot be compared with a minimum above it": (
        with_(P99, min=15, max=None),
        measurement.Value(10, 212, at_least=True),
        status(
            "p99",
            Verdict.INCONCLUSIVE,
            "p99: more than 10 s over 212 requests, which cannot be compared with the limit of 15 s: "
            "set a limit of at most 10 s",
            value=10,
            samples=212,
            inconclusives=1,
        ),
    ),
    "an own query between its limits passes": (
        QUEUE,
        measurement.Value(12.5),
        status("queue", Verdict.PASS, "queue: 12.5, between the limits of 2 and 1000", value=12.5),
    ),
    "an own query below its minimum fails": (
        QUEUE,
        measurement.Value(-3),
        status("queue", Verdict.FAIL, "queue: -3, below the limit of 2", value=-3, failures=1),
    ),
    "an own query above its maximum fails": (
        QUEUE,
        measurement.Value(1000.2),
        status("queue", Verdict.FAIL, "queue: 1000.2, above the limit of 1000", value=1000.2, failures=1),
    ),
    "too few requests are waited for, whatever they say": (
        ERRORS,
        measurement.Value(1.0, 3),
        status(
            "errors",
            Verdict.INCONCLUSIVE,
            "errors: waiting for data: 3 of 20 requests",
            value=1.0,
            samples=3,
        ),
    ),
    "no data is waited for": (
        ERRORS,
        measurement.NoData("no request was answered in the last 60 s"),
        status(
            "errors",
            Verdict.INCONCLUSIVE,
            "errors: waiting for data: 0 of 20 requests: no request was answered in the last 60 s",
            samples=0,
        ),
    ),
    "no data counts as inconclusive if so wished": (
        with_(ERRORS, on_no_data=OnNoData.INCONCLUSIVE),
        measurement.Value(0.0, 3),
        status(
            "errors",
            Verdict.INCONCLUSIVE,
            "errors: no data: 3 of 20 requests; it counts as Inconclusive because onNoData says so",
            value=0.0,
            samples=3,
            inconclusives=1,
        ),
    ),
    "no data fails if so wished": (
        with_(ERRORS, on_no_data=OnNoData.FAIL),
        measurement.Value(0.0, 3),
        status(
            "errors",
            Verdict.FAIL,
            "errors: no data: 3 of 20 requests; it counts as failed because onNoData is Fail: "
            "send requests, or choose another",
            value=0.0,
            samples=3,
            failures=1,
        ),
    ),
    "no data passes if so wished": (
        with_(QUEUE, on_no_data=OnNoData.PASS),
        measurement.NoData("the query answers no series"),
        status(
            "queue",
            Verdict.PASS,
            "queue: no data: the query answers no series; it counts as Pass because onNoData says so",
            samples=0,
        ),
    ),
    "many series are no number": (
        QUEUE,
        measurement.Ambiguous("the query answers 3 series, and a metric needs one: put sum(…) around it"),
        status(
            "queue",
            Verdict.INCONCLUSIVE,
            "queue: the query answers 3 series, and a metric needs one: put sum(…) around it",
            inconclusives=1,
        ),
    ),
    "NaN is no number": (
        QUEUE,
        measurement.Value(math.nan),
        status(
            "queue",
            Verdict.INCONCLUSIVE,
            "queue: the answer is nan, which is not a finite number",
            inconclusives=1,
        ),
    ),
    "infinity is no number, though it is above every limit": (
        ERRORS,
        measurement.Value(math.inf, 100),
        status(
            "errors",
            Verdict.INCONCLUSIVE,
            "errors: the answer is inf, which is not a finite number",
            samples=100,
            inconclusives=1,
        ),
    ),
    "a source that cannot be asked is an error": (
        ERRORS,
        measurement.Unavailable("Prometheus at http://prometheus:9090 refuses the connection"),
        status(
            "errors",
            Verdict.ERROR,
            "errors: could not be measured: Prometheus at http://prometheus:9090 refuses the connection",
            errors=1,
        ),
    ),
}


@pytest.mark.parametrize(("metric", "measured", "expected"), ASSESSED.values(), ids=ASSESSED.keys())
def test_assess(metric: Metric, measured: measurement.Measurement, expected: MetricStatus) -> None:
    assert verdict.assess(metric, measured, None, NOW) == expected


GOOD = measurement.Value(0.0, 100)
BAD = measurement.Value(0.5, 100)
FEW = measurement.Value(0.0, 3)
ODD = measurement.Ambiguous("odd")
DEAD = measurement.Unavailable("dead")

COUNTED = {
    "failures add up over the step": ([BAD, GOOD, BAD], (2, 0, 0)),
    "inconclusive measurements count in a row": ([ODD, ODD], (0, 2, 0)),
    "a pass ends the row of inconclusive ones": ([ODD, ODD, GOOD], (0, 0, 0)),
    "a failure ends the row of inconclusive ones": ([ODD, BAD], (1, 0, 0)),
    "waiting for data neither counts nor ends a row": ([ODD, FEW, FEW], (0, 1, 0)),
    "errors count in a row": ([DEAD, DEAD, DEAD], (0, 0, 3)),
    "any answer ends the row of errors": ([DEAD, DEAD, FEW], (0, 0, 0)),
    "an error does not end the row of inconclusive ones": ([ODD, DEAD, ODD], (0, 2, 0)),
    "an error forgets no failure": ([BAD, DEAD], (1, 0, 1)),
}


@pytest.mark.parametrize(("measured", "expected"), COUNTED.values(), ids=COUNTED.keys())
def test_counters(measured: list[measurement.Measurement], expected: tuple[int, int, int]) -> None:
    last: MetricStatus | None = None
    for one in measured:
        last = verdict.assess(ERRORS, one, last, NOW)
    assert last is not None
    assert (last.failures, last.inconclusives, last.errors) == expected


PASSED = status("errors", Verdict.PASS, "errors: good")
LATE = status("p99", Verdict.FAIL, "p99: slow", failures=1)

JUDGED: dict[str, tuple[list[Metric], list[MetricStatus], verdict.Judgement]] = {
    "no metrics object to nothing": ([], [], verdict.Passed()),
    "all that count have passed": ([ERRORS], [PASSED], verdict.Passed()),
    "one failure more than tolerated fails": ([ERRORS, P99], [PASSED, LATE], verdict.Failed("p99", "p99: slow")),
    "a tolerated failure is waited over": (
        [ERRORS, with_(P99, failure_limit=1)],
        [PASSED, LATE],
        verdict.Waiting("p99: slow"),
    ),
    "a metric that was never measured is waited for": (
        [ERRORS, P99, QUEUE],
        [PASSED],
        verdict.Waiting("not measured yet: p99, queue"),
    ),
    "a dry run decides nothing": ([ERRORS, with_(P99, dry_run=True)], [PASSED, LATE], verdict.Passed()),
    "a dry run is not waited for": ([with_(P99, dry_run=True)], [], verdict.Passed()),
    "an inconclusive measurement more than tolerated holds": (
        [ERRORS],
        [status("errors", Verdict.INCONCLUSIVE, "errors: odd", inconclusives=1)],
        verdict.Held("AnalysisInconclusive", "errors: odd"),
    ),
    "a tolerated inconclusive measurement is waited over": (
        [with_(ERRORS, inconclusive_limit=1)],
        [status("errors", Verdict.INCONCLUSIVE, "errors: odd", inconclusives=1)],
        verdict.Waiting("errors: odd"),
    ),
    "an error more than tolerated holds": (
        [ERRORS],
        [status("errors", Verdict.ERROR, "errors: dead", errors=5)],
        verdict.Held("AnalysisError", "errors: dead"),
    ),
    "a tolerated error is waited over": (
        [ERRORS],
        [status("errors", Verdict.ERROR, "errors: dead", errors=4)],
        verdict.Waiting("errors: dead"),
    ),
    "a failure wins over a hold, and a hold over waiting": (
        [ERRORS, P99, QUEUE],
        [status("errors", Verdict.ERROR, "errors: dead", errors=5), LATE],
        verdict.Failed("p99", "p99: slow"),
    ),
    "all that fail are told": (
        [P99, ERRORS],
        [LATE, status("errors", Verdict.FAIL, "errors: many", failures=1)],
        verdict.Failed("errors", "errors: many; p99: slow"),
    ),
    "a status of a metric that was removed is forgotten": ([ERRORS], [PASSED, LATE], verdict.Passed()),
    "an earlier failure stays one after a later pass": (
        [ERRORS],
        [status("errors", Verdict.PASS, "errors: good again", failures=1)],
        verdict.Failed("errors", "errors: good again (1 failed measurements in this step, 0 tolerated)"),
    ),
    "how often it failed is told where some failures are tolerated": (
        [with_(ERRORS, failure_limit=1)],
        [status("errors", Verdict.FAIL, "errors: many", failures=2)],
        verdict.Failed("errors", "errors: many (2 failed measurements in this step, 1 tolerated)"),
    ),
}


@pytest.mark.parametrize(("metrics", "statuses", "expected"), JUDGED.values(), ids=JUDGED.keys())
def test_judge(metrics: list[Metric], statuses: list[MetricStatus], expected: verdict.Judgement) -> None:
    assert verdict.judge(metrics, statuses) == expected


DUE = {
    "never measured": (None, NOW),
    "measured just now": (NOW, NOW + datetime.timedelta(seconds=10)),
    "measured a while ago": (NOW - datetime.timedelta(seconds=4), NOW + datetime.timedelta(seconds=6)),
    "overdue": (NOW - datetime.timedelta(seconds=40), NOW),
    "the clock was set back": (NOW + datetime.timedelta(hours=1), NOW),
}


@pytest.mark.parametrize(("last", "expected"), DUE.values(), ids=DUE.keys())
def test_next_due(last: datetime.datetime | None, expected: datetime.datetime) -> None:
    assert verdict.next_due(10, last, NOW) == expected
    assert verdict.is_due(10, last, NOW) == (expected == NOW)


# --- what holds for all of them

FLOATS = st.floats(allow_nan=True, allow_infinity=True)
MEASUREMENTS = st.one_of(
    st.builds(measurement.Value, FLOATS, st.none() | st.integers(0, 1000), st.booleans()),
    st.builds(measurement.NoData, st.text(max_size=5), st.integers(0, 100)),
    st.builds(measurement.Ambiguous, st.text(max_size=5)),
    st.builds(measurement.Unavailable, st.text(max_size=5)),
)
FINITE = st.floats(-1e6, 1e6)


@st.composite
def metrics(draw: st.DrawFn, name: str = "m") -> Metric:
    low, high = sorted((draw(FINITE), draw(FINITE)))
    which = draw(st.sampled_from(["min", "max", "both"]))
    return Metric(
        name=name,
        type=draw(st.sampled_from(MetricType)),
        query="q",
        min=low if which != "max" else None,
        max=high if which != "min" else None,
        min_samples=draw(st.integers(0, 50)),
        on_no_data=draw(st.sampled_from(OnNoData)),
        failure_limit=draw(st.integers(0, 2)),
        inconclusive_limit=draw(st.integers(0, 2)),
        consecutive_error_limit=draw(st.integers(0, 2)),
        dry_run=draw(st.booleans()),
    )


def replay(metric: Metric, measured: list[measurement.Measurement]) -> list[MetricStatus]:
    statuses: list[MetricStatus] = []
    for one in measured:
        statuses.append(verdict.assess(metric, one, statuses[-1] if statuses else None, NOW))
    return statuses


@given(metrics(), st.sampled_from([math.nan, math.inf, -math.inf]), st.none() | st.integers(0, 1000))
def test_what_is_not_finite_neither_passes_nor_fails_and_is_not_stored(
    metric: Metric, odd: float, samples: int | None
) -> None:
    got = verdict.assess(metric, measurement.Value(odd, samples), None, NOW)
    assert (got.verdict, got.value, got.inconclusives) == (Verdict.INCONCLUSIVE, None, 1)


@given(metrics(), FINITE, st.integers(50, 1000))
def test_a_finite_value_passes_exactly_within_its_limits(metric: Metric, value: float, samples: int) -> None:
    within = (metric.min is None or value >= metric.min) and (metric.max is None or value <= metric.max)
    got = verdict.assess(metric, measurement.Value(value, samples), None, NOW)
    assert got.verdict is (Verdict.PASS if within else Verdict.FAIL)


@given(metrics(), FINITE, st.floats(0, 1e6, exclude_min=True), st.integers(50, 1000))
def test_a_value_known_to_be_exceeded_is_never_judged_unlike_any_value_above_it(
    metric: Metric, bound: float, more: float, samples: int
) -> None:
    known = verdict.assess(metric, measurement.Value(bound, samples, at_least=True), None, NOW)
    true = verdict.assess(metric, measurement.Value(math.nextafter(bound, math.inf) + more, samples), None, NOW)
    assert known.verdict in {Verdict.INCONCLUSIVE, true.verdict}


@given(metrics(), st.lists(MEASUREMENTS, min_size=1, max_size=8))
def test_no_failure_is_ever_lost(metric: Metric, measured: list[measurement.Measurement]) -> None:
    statuses = replay(metric, measured)
    failed = sum(one.verdict is Verdict.FAIL for one in statuses)
    assert statuses[-1].failures == failed
    decided = isinstance(verdict.judge([metric], statuses[-1:]), verdict.Failed)
    assert decided == (failed > metric.failure_limit and not metric.dry_run)


@given(metrics(), st.lists(MEASUREMENTS, max_size=8))
def test_a_dry_run_never_decides(metric: Metric, measured: list[measurement.Measurement]) -> None:
    dry = with_(metric, dry_run=True)
    assert verdict.judge([dry], replay(dry, measured)[-1:]) == verdict.Passed()


@given(st.data())
def test_the_order_of_the_metrics_is_irrelevant(data: st.DataObject) -> None:
    some = [data.draw(metrics(name)) for name in ("a", "b", "c")]
    histories = [replay(metric, data.draw(st.lists(MEASUREMENTS, max_size=3))) for metric in some]
    statuses = [history[-1] for history in histories if history]
    judgements = {
        verdict.judge(ordered, shuffled)
        for ordered in itertools.permutations(some)
        for shuffled in (statuses, statuses[::-1])
    }
    assert len(judgements) == 1


@given(metrics(), FINITE, st.integers(1, 1000))
def test_a_failure_never_reads_as_if_value_and_limit_were_equal(metric: Metric, value: float, samples: int) -> None:
    got = verdict.assess(with_(metric, min_samples=0, name="m"), measurement.Value(value, samples), None, NOW)
    if got.verdict is Verdict.FAIL:
        assert got.message.startswith("m: ")
        told, limit = got.message.split(" the limit of ")
        assert limit not in told.replace("(", " ").replace(")", " ").replace(",", " ").split()


@given(st.integers(1, 3600), st.none() | st.integers(-5000, 5000), st.integers(-5000, 5000))
def test_a_measurement_is_due_exactly_when_its_time_has_come(interval: int, last: int | None, at: int) -> None:
    now = NOW + datetime.timedelta(seconds=at)
    measured = None if last is None else NOW + datetime.timedelta(seconds=last)
    assert verdict.is_due(interval, measured, now) == (verdict.next_due(interval, measured, now) <= now)
    assert now <= verdict.next_due(interval, measured, now) <= now + datetime.timedelta(seconds=interval)


def test_the_default_metrics_are_judged_without_a_word_of_configuration() -> None:
    (metric,) = modeldeployment.default_metrics()
    assert verdict.assess(metric, measurement.Value(0.06, 100), None, NOW).verdict is Verdict.FAIL
    assert verdict.assess(metric, measurement.Value(0.05, 100), None, NOW).verdict is Verdict.PASS
