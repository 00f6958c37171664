"""What a stretch of traffic says: pure sums over exchanges, so that a test can compare them whole.

A request belongs to the moment at which its answer came: that is what a caller sees.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dev.traffic.exchange import Exchange, Outcome


@dataclass(frozen=True)
class Tally:
    """The answers of one revision. Times are in seconds since the traffic began."""

    revision: str
    version: int | None
    answered: int
    failed: int
    first_at: float
    last_at: float
    first_failure_at: float | None = None
    slowest: float = 0.0


@dataclass(frozen=True)
class Report:
    """A stretch of traffic: how many were answered by whom, which requests the models failed, and which were lost."""

    sent: int = 0
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    failed: tuple[Exchange, ...] = ()
    lost: tuple[Exchange, ...] = ()

    @property
    def answered(self) -> int:
        """Requests that a model answered."""
        return sum(tally.answered for tally in self.tallies.values())

    @property
    def revisions(self) -> frozenset[str]:
        """Who answered anything."""
        return frozenset(self.tallies)

    def failures(self) -> dict[str, int]:
        """How many requests each revision failed; those without failures are left out."""
        return {revision: tally.failed for revision, tally in self.tallies.items() if tally.failed}

    def exposure(self, revision: str) -> float | None:
        """Seconds from the first bad answer of a revision to its last answer of any kind; None if none was bad."""
        tally = self.tallies.get(revision)
        if tally is None or tally.first_failure_at is None:
            return None
        return tally.last_at - tally.first_failure_at


def summarise(exchanges: Iterable[Exchange]) -> Report:
    """Sum up exchanges."""
    ordered = sorted(exchanges, key=lambda exchange: exchange.ended_at)
    return Report(
        sent=len(ordered),
        tallies=_tallies(ordered),
        failed=tuple(exchange for exchange in ordered if exchange.outcome is Outcome.FAILED),
        lost=tuple(exchange for exchange in ordered if exchange.outcome is Outcome.LOST),
    )


def _tallies(ordered: Sequence[Exchange]) -> dict[str, Tally]:
    by_revision: dict[str, list[Exchange]] = {}
    for exchange in ordered:
        if exchange.revision is not None and exchange.outcome is not Outcome.LOST:
            by_revision.setdefault(exchange.revision, []).append(exchange)
    return {revision: _tally(revision, answers) for revision, answers in by_revision.items()}


def _tally(revision: str, answers: Sequence[Exchange]) -> Tally:
    failed = [answer for answer in answers if answer.outcome is Outcome.FAILED]
    return Tally(
        revision=revision,
        version=answers[0].version,
        answered=len(answers) - len(failed),
        failed=len(failed),
        first_at=answers[0].ended_at,
        last_at=answers[-1].ended_at,
        first_failure_at=failed[0].ended_at if failed else None,
        slowest=max(answer.seconds for answer in answers),
    )


@dataclass(frozen=True)
class Rate:
    """What one version does at the moment."""

    version: int
    per_second: float
    failed_per_second: float


def rates(exchanges: Sequence[Exchange], now: float, window: float) -> tuple[Rate, ...]:
    """Answers per second and version over the last `window` seconds, by version."""
    counts: dict[int, list[int]] = {}
    for exchange in _recent(exchanges, now - window):
        if exchange.version is not None and exchange.outcome is not Outcome.LOST:
            count = counts.setdefault(exchange.version, [0, 0])
            count[0] += 1
            count[1] += exchange.outcome is Outcome.FAILED
    return tuple(Rate(version, total / window, bad / window) for version, (total, bad) in sorted(counts.items()))


def _recent(exchanges: Sequence[Exchange], since: float) -> Iterator[Exchange]:
    """Those that ended after `since`; they are stored in the order in which they ended."""
    return itertools.takewhile(lambda exchange: exchange.ended_at > since, reversed(exchanges))


def describe(report: Report) -> str:
    """A report in a few lines, for logs and failed tests."""
    lines = [f"{report.sent} requests, {len(report.failed)} failed by a model, {len(report.lost)} lost"]
    lines += [
        f"  version {tally.version} (revision {tally.revision}): {tally.answered} answered, {tally.failed} failed, "
        f"from {tally.first_at:.2f} s to {tally.last_at:.2f} s, slowest {tally.slowest:.3f} s"
        for tally in report.tallies.values()
    ]
    lines += [f"  lost: {exchange}" for exchange in report.lost[:10]]
    if len(report.lost) > 10:
        lines.append(f"  and {len(report.lost) - 10} more")
    return "\n".join(lines)
