"""Which looks matter: a look that would find what the last one found need not be folded through a pass.

Only where a verdict may have changed, failed, or counts as inconclusive, the operator is asked, and its verdict is the
one that counts. For error rates the question is answered by adding up the evidence at the margin, interval by interval:
what `errorrate.compare` finds there, without the bounds that it searches for.
"""

import datetime
import functools
import math
from dataclasses import dataclass, field
from typing import Protocol

from penstock.analysis import comparing, verdict
from penstock.analysis.sequential import arithmetic, counts, errorrate, margin
from penstock.api.v1alpha1 import modeldeployment
from penstock.api.v1alpha1.modeldeployment import MetricType, OnNoData
from penstock.api.v1alpha1.modeldeployment_status import Verdict
from penstock.cli import stay

_WORST_FIRST = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASS)
_WHENEVER = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
_GROWTH = 1.01
"""Answer times are compared again once there are this many times as many."""


class Look(Protocol):
    """Watches one metric in one stay."""

    def found(self, elapsed: float) -> Verdict | None:
        """The verdict by now; None if only the operator can tell what it means."""
        ...


def watching(metric: modeldeployment.Metric, seen: "stay.Stay") -> Look:
    """A look at the metric during a stay that has just begun."""
    if not metric.is_compared:
        return Limit(metric, seen)
    compared = Rates(metric, seen) if metric.type is MetricType.ERROR_RATE else Times(metric, seen)
    limited = metric.min is not None or metric.max is not None
    return Both(compared, Limit(metric, seen)) if limited else compared


@dataclass
class Both:
    """A comparison and a limit: the worse one counts."""

    compared: Look
    limit: Look

    def found(self, elapsed: float) -> Verdict | None:
        one, other = self.compared.found(elapsed), self.limit.found(elapsed)
        return None if one is None or other is None else min(one, other, key=_WORST_FIRST.index)


@dataclass
class Limit:
    """A fixed limit over a window."""

    metric: modeldeployment.Metric
    seen: "stay.Stay"
    known: dict[tuple[int, ...], Verdict | None] = field(default_factory=dict)

    def found(self, elapsed: float) -> Verdict | None:
        seconds = min(self.metric.window_seconds, int(elapsed))
        window, begin, end = self.seen.within(seconds)
        key: tuple[int, ...]
        if self.metric.type is MetricType.ERROR_RATE:
            key = (window or 0, end.errors - begin.errors, end.total - begin.total)
        else:
            key = (window or 0, *begin.buckets, *end.buckets)
        if key not in self.known:
            self.known[key] = self._assessed(seconds)
        return self.known[key]

    def _assessed(self, seconds: int) -> Verdict | None:
        status = verdict.assess(self.metric, self.seen.plain(self.metric, seconds), None, _WHENEVER)
        return None if status.inconclusives else status.verdict


@dataclass
class Rates:
    """A comparison of error rates."""

    metric: modeldeployment.Metric
    seen: "stay.Stay"
    worse: "Evidence" = field(init=False)
    not_worse: "Evidence" = field(init=False)

    def __post_init__(self) -> None:
        allowed, needed = comparing.allowed(self.metric), margin.threshold(self.metric.confidence)
        if isinstance(allowed, margin.Absolute):
            worse = errorrate.Line(shift=allowed.value, anchor=allowed.value)
            not_worse = errorrate.Line(shift=-allowed.value)
        else:
            worse = errorrate.Line(ratio=1 + allowed.value)
            not_worse = errorrate.Line(ratio=1 / (1 + allowed.value))
        self.worse, self.not_worse = Evidence(worse, needed), Evidence(not_worse, needed)
        self.seen.listeners.append(self.worse.observe)
        self.seen.listeners.append(lambda cell, pair: self.not_worse.observe(-cell, pair.swapped()))

    def found(self, elapsed: float) -> Verdict | None:
        del elapsed
        if self.worse.is_enough:
            return Verdict.FAIL
        if not self.seen.intervals or self.seen.rows[-1].total < self.metric.min_samples:
            return Verdict.INCONCLUSIVE if self.metric.on_no_data is OnNoData.WAIT else None
        return Verdict.PASS if self.not_worse.is_enough else Verdict.INCONCLUSIVE


@dataclass
class Evidence:
    """`errorrate.log_evidence` against a line, kept up to date."""

    line: errorrate.Line
    needed: float
    logs: list[float] = field(default_factory=lambda: [0.0] * len(errorrate.STAKES))

    def observe(self, cell: int, pair: counts.Pair) -> None:
        """One more interval."""
        candidate, stable = pair.candidate, pair.stable
        for index, found in enumerate(_factors(cell, self.line)):
            if found is None:
                self.logs[index] = -math.inf
                continue
            self.logs[index] += (
                candidate.errors * found.candidate_error
                + candidate.successes * found.candidate_success
                + stable.errors * found.stable_error
            )

    @property
    def is_enough(self) -> bool:
        """Whether the line is refuted."""
        return max(self.logs) >= self.needed and arithmetic.log_mean_exp(self.logs) >= self.needed


@functools.cache
def _factors(cell: int, line: errorrate.Line) -> tuple[errorrate.Factors | None, ...]:
    share = counts.share_above(cell)
    return tuple(errorrate.factors(share, stake, line) for stake in errorrate.STAKES)


@dataclass
class Times:
    """A comparison of a quantile of answer times."""

    metric: modeldeployment.Metric
    seen: "stay.Stay"
    total: int = 0
    last: Verdict | None = Verdict.INCONCLUSIVE

    def found(self, elapsed: float) -> Verdict | None:
        del elapsed
        total = self.seen.rows[-1].total
        if total > _GROWTH * self.total:
            self.total = total
            unlimited = self.metric.model_copy(update={"min": None, "max": None})
            status = verdict.assess(unlimited, self.seen.answer(unlimited, 0), None, _WHENEVER)
            self.last = None if status.inconclusives else status.verdict
        return self.last
