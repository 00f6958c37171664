"""What many rollouts have in common: shares with their bounds, times, and what users saw."""

import collections
from collections.abc import Sequence
from dataclasses import dataclass

from penstock.cli import chance, rollouts


@dataclass(frozen=True)
class Spread:
    """The median, and what nine of ten do not exceed; None where there is nothing to speak of."""

    median: float | None
    p90: float | None


@dataclass(frozen=True)
class Summary:
    """How the rollouts of one version ended."""

    undone: chance.Share
    promoted: chance.Share
    waiting: chance.Share
    seconds_to_undo: Spread
    seconds_to_promotion: Spread
    failed_requests: Spread
    """Requests of users that the version failed before it was undone."""
    undone_in: tuple["Place", ...]
    waiting_in: tuple["Place", ...]


@dataclass(frozen=True)
class Place:
    """A step, the metrics that undid rollouts in it (or that they wait for), and how many it were."""

    step: str
    metrics: tuple[str, ...]
    count: int


def summarize(endings: Sequence[rollouts.Ending]) -> Summary:
    """Of at least one rollout."""
    undone = [ending for ending in endings if ending.undone]
    promoted = [ending for ending in endings if ending.promoted]
    waiting = [ending for ending in endings if not ending.undone and not ending.promoted]
    return Summary(
        undone=chance.wilson(len(undone), len(endings)),
        promoted=chance.wilson(len(promoted), len(endings)),
        waiting=chance.wilson(len(waiting), len(endings)),
        seconds_to_undo=_spread([ending.seconds for ending in undone]),
        seconds_to_promotion=_spread([ending.seconds for ending in promoted]),
        failed_requests=_spread([ending.failed_requests for ending in undone]),
        undone_in=_places(undone),
        waiting_in=_places(waiting),
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(chance.nth(values, 0.5), chance.nth(values, 0.9))


def _places(endings: Sequence[rollouts.Ending]) -> tuple[Place, ...]:
    """The most frequent first."""
    found = collections.Counter((ending.step, ending.metrics) for ending in endings)
    return tuple(Place(step, metrics, count) for (step, metrics), count in found.most_common())
