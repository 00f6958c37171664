"""Queries as Prometheus gets them, and what its answers mean."""

import contextlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock import errors, ports
from penstock.adapters import promql
from penstock.analysis import measurement
from penstock.api.v1alpha1.modeldeployment import Metric, MetricType

SUBJECT = ports.Subject("ml", "fraud", "7f3a9c21d0", "0011223344")


def own(query: str) -> Metric:
    return Metric(name="own", type=MetricType.PROMETHEUS, query=query, max=1)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, None), (1, None), (4, 3), (5, 5), (14, 10), (60, 60), (61, 60), (10**6, 86400)]
)
def test_a_window_is_rounded_down_to_the_ladder(seconds: int, expected: int | None) -> None:
    assert promql.rung(seconds) == expected


def test_one_question_asks_for_the_answers_of_many_revisions() -> None:
    assert promql.answers(60, {"b", "a"}) == (
        "sum by (namespace, deployment, revision, outcome) "
        '(increase(penstock_requests_total{outcome=~"success|model_error",revision=~"a|b"}[60s]))'
    )


def test_one_question_asks_for_the_durations_of_many_revisions() -> None:
    assert promql.durations(5, {"a"}) == (
        "sum by (namespace, deployment, revision, le) "
        '(increase(penstock_request_duration_seconds_bucket{le!="",revision=~"a"}[5s]))'
    )


def test_a_question_about_very_many_revisions_asks_for_all() -> None:
    assert "revision=~" not in promql.answers(60, [str(number) for number in range(promql.LONGEST_FILTER + 1)])


def test_placeholders_are_replaced() -> None:
    query = "f{{{namespace}}} {{name}} {{ candidate }} {{stable}} [{{window}}] by {x}"
    expected = "f{ml} fraud 7f3a9c21d0 0011223344 [60s] by {x}"
    assert promql.filled(own(query), SUBJECT, 60) == expected


REFUSED = {
    "an unknown placeholder": ("up{r='{{revision}}'}", SUBJECT, "unknown placeholder {{revision}}: use {{name}}, "),
    "an empty placeholder": ("up{{}}", SUBJECT, "unknown placeholder {{}}"),
    "a quote in a value": ("{{name}}", ports.Subject("ml", 'x"} or vector(0) #', "c", "s"), "characters other than"),
    "a dot in a value, which is any character": ("{{name}}", ports.Subject("ml", "a.b", "c", "s"), "'a.b'"),
    "no stable": ("{{stable}}", ports.Subject("ml", "fraud", "c", None), "characters other than"),
}


@pytest.mark.parametrize(("query", "subject", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_query_that_cannot_be_filled_says_why(query: str, subject: ports.Subject, words: str) -> None:
    with pytest.raises(errors.QueryInvalid, match=re.escape(words)) as raised:
        promql.filled(own(query), subject, 60)
    assert "'own'" in raised.value.message


@given(st.text(max_size=12))
def test_no_value_ever_means_more_than_itself(name: str) -> None:
    subject = ports.Subject("ml", name, "c", "s")
    try:
        query = promql.filled(own('up{name=~"{{name}}"}'), subject, 5)
    except errors.QueryInvalid:
        assert not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
    else:
        assert query == f'up{{name=~"{name}"}}'
        assert re.escape(name).replace("\\-", "-") == name


def series(value: str, **labels: str) -> dict[str, Any]:
    return {"metric": labels, "value": [1.0, value]}


NUMBERS = {
    "a scalar": ([1.0, "2.5"], measurement.Value(2.5)),
    "a vector of one series": ([series("-3", pod="a")], measurement.Value(-3)),
    "nothing": ([], measurement.NoData("the query answers no series")),
    "NaN": (
        [series("NaN")],
        measurement.Ambiguous("the query answers NaN, as a division of nothing by nothing does"),
    ),
    "infinity": ([1.0, "-Inf"], measurement.Ambiguous("the query answers -Inf, as a division by nothing does")),
    "many series": (
        [series("1"), series("NaN"), series("3")],
        measurement.Ambiguous(
            "the query answers 3 series (1 of them not finite), and a metric needs one: put sum(…) or max(…) around "
            "it, or narrow it"
        ),
    ),
    "a range": (
        [{"metric": {}, "values": [[1.0, "1"]]}],
        measurement.Ambiguous(
            "the query answers a range, and a metric needs one number: use a function such as avg_over_time(…)"
        ),
    ),
    "a histogram": (
        [{"metric": {}, "histogram": [1.0, {}]}],
        measurement.Ambiguous(
            "the query answers a histogram, and a metric needs one number: use histogram_quantile(…)"
        ),
    ),
    "a string": (
        [1.0, "hello"],
        measurement.Ambiguous("the query answers the text 'hello', and a metric needs a number"),
    ),
    "nonsense": (
        [None],
        measurement.Ambiguous("the query answers neither a scalar nor a vector of one series"),
    ),
}


@pytest.mark.parametrize(("result", "expected"), NUMBERS.values(), ids=NUMBERS.keys())
def test_number(result: Any, expected: measurement.Measurement) -> None:
    assert promql.number(result) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["metric", "value"]), inner),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=3))
def test_whatever_comes_is_read_or_refused(result: list[Any]) -> None:
    assert isinstance(promql.number(result), measurement.Value | measurement.NoData | measurement.Ambiguous)
    with contextlib.suppress(errors.MetricsUnavailable):
        promql.by_owner(result, "le")


def test_series_are_grouped_by_owner_and_those_of_nobody_left_out() -> None:
    owner = {"namespace": "ml", "deployment": "fraud", "revision": "a"}
    result = [series("1", **owner, outcome="success"), series("2", **owner, outcome="model_error"), series("3")]
    grouped = promql.by_owner(result, "outcome")
    assert grouped[("ml", "fraud", "a")] == {"success": 1.0, "model_error": 2.0}


def readings(values: list[int], **labels: str) -> dict[str, Any]:
    return {"metric": labels, "values": [[moment, str(value)] for moment, value in enumerate(values)]}


SUCCESS, ERROR = {"outcome": "success"}, {"outcome": "model_error"}
SEEN = {"success": [(0.0, 1.0), (1.0, 5.0)], "model_error": [(0.0, 0.0), (1.0, 2.0)]}
PODS = {
    "nothing": ([], []),
    "two pods": (
        [readings([1, 5], pod="a", **SUCCESS), readings([0, 2], pod="a", **ERROR), readings([7], pod="b", **SUCCESS)],
        [SEEN, {"success": [(0.0, 7.0)]}],
    ),
    "a pod that two jobs scrape counts once": (
        [
            readings([2], pod="a", job="annotated", **SUCCESS),
            readings([1, 5], pod="a", job="monitored", **SUCCESS),
            readings([0, 2], pod="a", job="monitored", **ERROR),
        ],
        [SEEN],
    ),
    "addresses where pods have no names": (
        [readings([1, 5], instance="1.1.1.1:8080", **SUCCESS), readings([7], instance="1.1.1.2:8080", **SUCCESS)],
        [{"success": [(0.0, 1.0), (1.0, 5.0)]}, {"success": [(0.0, 7.0)]}],
    ),
    "nothing that tells pods apart": ([readings([7], zone="x", **SUCCESS)], [{"success": [(0.0, 7.0)]}]),
}


@pytest.mark.parametrize(("matrix", "expected"), PODS.values(), ids=PODS)
def test_counters_by_pod(matrix: list[Any], expected: list[dict[str, list[tuple[float, float]]]]) -> None:
    assert promql.by_pod(matrix, "outcome") == expected


@pytest.mark.parametrize("matrix", [[{}], [{"metric": {}, "values": "x"}], ["x"], [None]], ids=str)
def test_what_is_no_matrix_is_refused(matrix: list[Any]) -> None:
    with pytest.raises(errors.MetricsUnavailable, match="is not a matrix"):
        promql.by_pod(matrix, "outcome")


UNSEEN = measurement.NoData(
    "Prometheus has not scraped revision a twice in the last 60 s (it must scrape the model pods and keep their labels)"
)
IDLE = measurement.NoData("revision a answered no request in the last 60 s")

RATES = {
    "some failed": ({"success": 205.0, "model_error": 7.0}, measurement.Value(7 / 212, 212)),
    "samples are whole requests": ({"success": 99.6}, measurement.Value(0.0, 100)),
    "all failed": ({"model_error": 3.0}, measurement.Value(1.0, 3)),
    "no request": ({"success": 0.0, "model_error": 0.0}, IDLE),
    "less than half a request": ({"success": 0.3}, IDLE),
    "not scraped twice": (None, UNSEEN),
    "no number": (
        {"success": float("nan")},
        measurement.Ambiguous("Prometheus counts nan answers of revision a, which is no number"),
    ),
}


@pytest.mark.parametrize(("outcomes", "expected"), RATES.values(), ids=RATES.keys())
def test_error_rate(outcomes: dict[str, float] | None, expected: measurement.Measurement) -> None:
    assert promql.error_rate(outcomes, "a", 60) == expected


LATENCIES = {
    "in a bucket": ({"0.1": 0.0, "0.2": 10.2, "+Inf": 10.2}, measurement.Value(0.15, 10)),
    "beyond the last bucket": ({"0.1": 0.0, "10": 0.0, "+Inf": 4.0}, measurement.Value(10.0, 4, at_least=True)),
    "no request": ({"0.1": 0.0, "+Inf": 0.0}, IDLE),
    "not scraped twice": (None, UNSEEN),
    "no last bucket": (
        {"0.1": 1.0},
        measurement.Ambiguous(
            "the buckets of penstock_request_duration_seconds of revision a are incomplete (bounds: 0.1): scrape all "
            "of them"
        ),
    ),
    "a bound that is no number": (
        {"x": 1.0, "+Inf": 1.0},
        measurement.Ambiguous(
            "the buckets of penstock_request_duration_seconds of revision a are incomplete (bounds: +Inf, x): scrape "
            "all of them"
        ),
    ),
}


@pytest.mark.parametrize(("counts", "expected"), LATENCIES.values(), ids=LATENCIES.keys())
def test_latency(counts: dict[str, float] | None, expected: measurement.Measurement) -> None:
    found = promql.latency(counts, "a", 0.5, 60)
    if isinstance(found, measurement.Value) and isinstance(expected, measurement.Value):
        found = measurement.Value(round(found.value, 9), found.samples, found.at_least)
    assert found == expected
