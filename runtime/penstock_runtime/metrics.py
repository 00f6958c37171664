"""The metrics of one server: every series carries namespace, deployment, revision and model_version.

Written by the event loop only. Predictions are counted with numpy, a batch at a time: a loop over values would cost
more than the model. Their buckets are the same for every model, so that two revisions compare bucket by bucket.
"""

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
import prometheus_client
from prometheus_client import core

from penstock_runtime import ledger
from penstock_runtime.answers import Answer, Outcome
from penstock_runtime.settings import Identity

LABELS: Final = ("namespace", "deployment", "revision", "model_version")
DURATION_BUCKETS: Final = (
    *(0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1),
    *(0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0),
)
BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)

# Probabilities in twentieths, the first ten classes one by one, and 1-2-5 steps to a million on both sides of zero.
_LARGE: Final = (*(step * 10.0**power for power in range(1, 6) for step in (1, 2, 5)), 1e6)
PREDICTION_BUCKETS: Final = (
    *sorted(-value for value in _LARGE),
    -5.0,
    -2.0,
    -1.0,
    -0.5,
    -0.1,
    0.0,
    *(twentieth / 20 for twentieth in range(1, 21)),
    *(float(value) for value in range(2, 10)),
    *_LARGE,
)

_FEEDBACK: Final = {
    Outcome.SUCCESS: "accepted",
    Outcome.BAD_REQUEST: "bad_request",
    Outcome.REJECTED: "rejected",
}


class Predictions:
    """The histogram `penstock_predictions`: numeric outputs, NaN counted in the last bucket and left out of the sum."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._labels = labels
        self._bounds = np.array(PREDICTION_BUCKETS)
        self._counts = np.zeros(len(PREDICTION_BUCKETS) + 1, dtype=np.int64)
        self._sum = 0.0

    def observe(self, values: np.ndarray) -> None:
        if values.size == 1:  # the usual answer, and bincount is ten times as dear
            value = float(values.flat[0])
            self._counts[self._bounds.searchsorted(value)] += 1
            self._sum += value if np.isfinite(value) else 0.0
            return
        flat = values.ravel()
        self._counts += np.bincount(self._bounds.searchsorted(flat), minlength=len(self._counts))
        self._sum += float(flat[np.isfinite(flat)].sum())

    def collect(self) -> Iterable[core.Metric]:
        family = core.HistogramMetricFamily("penstock_predictions", "Numeric predictions, by value.", labels=LABELS)
        bounds = [*(str(bound) for bound in PREDICTION_BUCKETS), "+Inf"]
        cumulative = np.cumsum(self._counts).tolist()
        family.add_metric(self._labels, list(zip(bounds, cumulative, strict=True)), None)
        labels = dict(zip(LABELS, self._labels, strict=True))
        # the client library leaves these out where a bucket is negative
        family.add_sample("penstock_predictions_count", labels, cumulative[-1])
        family.add_sample("penstock_predictions_sum", labels, self._sum)
        yield family


class Count:
    """A counter that somebody else counts, in a plain integer, because that is all a request may pay for."""

    def __init__(self, name: str, documentation: str, labels: tuple[str, ...], value: Callable[[], int]) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._value = value

    def collect(self) -> Iterable[core.Metric]:
        family = core.CounterMetricFamily(self._name, self._documentation, labels=LABELS)
        family.add_metric(self._labels, self._value())
        yield family


class Metrics:
    def __init__(self, identity: Identity) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = prometheus_client.CollectorRegistry()
        labels = (identity.namespace, identity.deployment, identity.revision, identity.model_version)
        requests = prometheus_client.Counter(
            "penstock_requests", "Requests to the model, by outcome.", (*LABELS, "outcome"), registry=self._registry
        )
        self._requests = {outcome: requests.labels(*labels, outcome.value) for outcome in Outcome}
        self._duration = prometheus_client.Histogram(
            "penstock_request_duration_seconds",
            "Time from a request's headers to its answer; successes and model errors only.",
            LABELS,
            buckets=DURATION_BUCKETS,
            registry=self._registry,
        ).labels(*labels)
        self._batch = prometheus_client.Histogram(
            "penstock_batch_size",
            "Requests answered by one call of the model.",
            LABELS,
            buckets=BATCH_BUCKETS,
            registry=self._registry,
        ).labels(*labels)
        self._violations = prometheus_client.Counter(
            "penstock_signature_violations",
            "Requests whose input the model's signature refuses.",
            LABELS,
            registry=self._registry,
        ).labels(*labels)
        feedback = prometheus_client.Counter(
            "penstock_feedback", "Requests to /feedback, by outcome.", (*LABELS, "outcome"), registry=self._registry
        )
        self._feedback = {outcome: feedback.labels(*labels, name) for outcome, name in _FEEDBACK.items()}
        self._predictions = Predictions(labels)
        self._registry.register(self._predictions)
        self._labels = labels

    def gauge(self, name: str, documentation: str, value: Callable[[], float]) -> None:
        """Publish a value that is read when somebody asks for it."""
        gauge = prometheus_client.Gauge(name, documentation, LABELS, registry=self._registry)
        gauge.labels(*self._labels).set_function(value)

    def keeps(self, kept: ledger.Ledger) -> None:
        """Publish what the ledger counts for itself."""
        for name, documentation, value in (
            ("answers_sampled", "Answers kept for comparison.", lambda: kept.answers.last),
            ("answers_without_id", "Answers not kept: no x-request-id, or one too long.", lambda: kept.without_id),
            ("answers_oversized", "Answers kept without their predictions.", lambda: kept.oversized),
            ("answers_lost", "Answers overwritten before they were asked for.", lambda: kept.answers.lost),
            ("truths", "Truths that callers sent to /feedback.", lambda: kept.truths.last),
            ("truths_lost", "Truths overwritten before they were asked for.", lambda: kept.truths.lost),
        ):
            self._registry.register(Count(f"penstock_{name}", documentation, self._labels, value))

    def fed_back(self, answer: Answer) -> None:
        self._feedback[answer.outcome].inc()

    def answered(self, answer: Answer, seconds: float) -> None:
        self._requests[answer.outcome].inc()
        if answer.outcome in {Outcome.SUCCESS, Outcome.MODEL_ERROR}:
            self._duration.observe(seconds)
        if answer.violation:
            self._violations.inc()

    def predicted(self, numbers: np.ndarray) -> None:
        self._predictions.observe(numbers)

    def called(self, size: int) -> None:
        """The model was called once, for so many requests."""
        self._batch.observe(size)

    def exposition(self) -> bytes:
        return prometheus_client.generate_latest(self._registry)
