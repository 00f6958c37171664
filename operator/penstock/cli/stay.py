"""One stay in a step: what was scraped in it, and the answers that the operator's questions get from that.

The answers are made by the same functions that read Prometheus' (`promql`, `counts`, `quantile`), from counts that are
whole and of every pod. Scrapes come every `SCRAPE_SECONDS`, and less often in a stay that lasts, as the operator reads
them (`increments.step_seconds`), unless a limit looks at the last few only.
"""

import bisect
import datetime
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from penstock.adapters import promql
from penstock.analysis import histogram, increments, measurement
from penstock.analysis.sequential import counts, quantile
from penstock.api.v1alpha1 import modeldeployment
from penstock.api.v1alpha1.modeldeployment import MetricType
from penstock.api.v1alpha1.modeldeployment_status import Split
from penstock.cli import traffic

SCRAPE_SECONDS = 5.0
"""How often pods are scraped: the default of the release."""

Observed = Callable[[int, counts.Pair], None]
"""Hears of an interval in which both versions had requests: its stratum and what was counted."""


@dataclass
class _Row:
    """Sums since the beginning of the stay, after a scrape."""

    at: float
    errors: int
    total: int
    buckets: tuple[int, ...]


@dataclass
class Stay:
    """The scrapes of a stay so far."""

    stream: traffic.Stream
    source: random.Random
    started_at: datetime.datetime
    split: Split
    stable_share: Callable[[float], float]
    """The share of users' requests that stable is compared by, so many seconds into the stay."""
    timed: bool
    """Whether anybody looks at answer times,"""
    compared: bool
    """at stable's counts,"""
    fine: bool
    """or at the latest few scrapes only."""
    listeners: list[Observed] = field(default_factory=list)
    failed_users: int = 0
    rows: list[_Row] = field(init=False)
    strata: dict[int, counts.Pair] = field(default_factory=dict)
    pending: counts.Pair = field(default_factory=counts.Pair)
    intervals: int = 0
    scrapes: int = 0
    stable_buckets: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        empty = (0,) * (len(traffic.BOUNDS) + 1) if self.timed else ()
        self.rows, self.stable_buckets = [_Row(0.0, 0, 0, empty)], empty

    @property
    def block_seconds(self) -> float:
        """The time between two scrapes by now."""
        return SCRAPE_SECONDS if self.fine else max(SCRAPE_SECONDS, increments.step_seconds(self.rows[-1].at))

    def advance(self, elapsed: float) -> None:
        """Scrape up to `elapsed` seconds into the stay."""
        while self.rows[-1].at + self.block_seconds <= elapsed:
            self._scrape(self.block_seconds)

    def close(self, elapsed: float) -> None:
        """The stay ends; what happened since the last scrape is nobody's evidence, but users saw it."""
        rest = max(0.0, elapsed - self.rows[-1].at)
        mine, _ = self.stream.over(self.source, rest, self.split, 1.0, timed=False)
        self._count_users(mine)

    def _count_users(self, mine: traffic.Answers) -> None:
        self.failed_users += mine.errors if self.split.weight else 0

    def _scrape(self, seconds: float) -> None:
        last = self.rows[-1]
        share = self.stable_share(last.at + seconds / 2)
        mine, its = self.stream.over(self.source, seconds, self.split, share, timed=self.timed)
        self._count_users(mine)
        self.rows.append(
            _Row(
                last.at + seconds, last.errors + mine.errors, last.total + mine.total, _sum(last.buckets, mine.buckets)
            )
        )
        self.stable_buckets = _sum(self.stable_buckets, its.buckets)
        self.scrapes += 1
        if self.compared:
            self._compare(mine, its)

    def _compare(self, mine: traffic.Answers, its: traffic.Answers) -> None:
        """An interval ends once both have counted something in it, as in `increments.error_counts`."""
        self.pending = self.pending.plus(
            counts.Pair(counts.Counts(mine.errors, mine.successes), counts.Counts(its.errors, its.successes))
        )
        if self.pending.candidate.total and self.pending.stable.total:
            cell = counts.cell(self.pending.candidate.total, self.pending.stable.total)
            known = self.strata.get(cell)
            self.strata[cell] = self.pending if known is None else known.plus(self.pending)
            for listener in self.listeners:
                listener(cell, self.pending)
            self.pending, self.intervals = counts.Pair(), self.intervals + 1

    def answer(self, metric: modeldeployment.Metric, window_seconds: int) -> measurement.Measurement:
        """What the metric source answers by now."""
        if not metric.is_compared:
            return self.plain(metric, window_seconds)
        limited = metric.min is not None or metric.max is not None
        plain = self.plain(metric, window_seconds) if limited else None
        return measurement.Compared(self.errors() if metric.type is MetricType.ERROR_RATE else self.durations(), plain)

    def errors(self) -> counts.State:
        """Both versions' errors and successes so far."""
        strata = tuple(counts.Stratum(cell, self.strata[cell]) for cell in sorted(self.strata))
        alone = self.pending.candidate.total or self.pending.stable.total
        return counts.State(strata, self.pending, self.intervals + bool(alone))

    def durations(self) -> quantile.State:
        """Both versions' answer times so far."""
        return quantile.State(_cumulative(self.rows[-1].buckets), _cumulative(self.stable_buckets), self.scrapes)

    def within(self, window_seconds: int) -> tuple[int | None, "_Row", "_Row"]:
        """The length of the window that is looked at, if any, and the sums at its beginning and at its end."""
        window, last = promql.rung(window_seconds), self.rows[-1]
        if window is None or not self.scrapes:
            return None, last, last
        return window, self.rows[bisect.bisect_left(self.rows, last.at - window, key=lambda row: row.at)], last

    def plain(self, metric: modeldeployment.Metric, window_seconds: int) -> measurement.Plain:
        """The candidate's own value over the last `window_seconds`."""
        window, begin, end = self.within(window_seconds)
        if window is None:
            return measurement.NoData("not scraped twice yet")
        if metric.type is MetricType.ERROR_RATE:
            errors, total = end.errors - begin.errors, end.total - begin.total
            return promql.error_rate({"model_error": errors, "success": total - errors}, "candidate", window)
        counted = itertools.accumulate(after - before for after, before in zip(end.buckets, begin.buckets, strict=True))
        names = [*map(str, traffic.BOUNDS), "+Inf"]
        level = metric.quantile or histogram.DEFAULT_QUANTILE
        return promql.latency(dict(zip(names, map(float, counted), strict=True)), "candidate", level, window)


def _sum(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    return tuple(mine + its for mine, its in zip(one, other, strict=True))


def _cumulative(buckets: tuple[int, ...]) -> quantile.Buckets:
    return quantile.Buckets((*traffic.BOUNDS, math.inf), tuple(itertools.accumulate(buckets)))
