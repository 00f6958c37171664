"""Made-up requests: a Poisson stream, split as a step says, and what a version's pods would have counted of it.

Requests fail independently of each other, each version's at a rate that stays. Answer times are log-normal. A copied
request is one request to each version.
"""

import math
import random
import statistics
from dataclasses import dataclass

from penstock.api.v1alpha1.modeldeployment_status import Split
from penstock.cli import chance

BOUNDS = (
    *(0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1),
    *(0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0),
)
"""Upper bounds of the runtime's buckets, in seconds; one more has none."""

SPREAD = 0.5
"""Standard deviation of the logarithm of answer times: p99 is 3.2 times the median."""


@dataclass(frozen=True, slots=True)
class Version:
    """How a version answers: the share of errors, and the share of answer times in each bucket."""

    error_rate: float
    buckets: tuple[float, ...]


def version(error_rate: float, median_seconds: float) -> Version:
    """A version whose answers take `median_seconds` (above 0) in the median."""
    times = statistics.NormalDist(math.log(median_seconds), SPREAD)
    up_to = [times.cdf(math.log(bound)) for bound in BOUNDS]
    return Version(error_rate, tuple(high - low for low, high in zip([0.0, *up_to], [*up_to, 1.0], strict=True)))


@dataclass(frozen=True, slots=True)
class Answers:
    """What one version answered in a while; buckets only where somebody looks at them."""

    errors: int
    successes: int
    buckets: tuple[int, ...] = ()

    @property
    def total(self) -> int:
        return self.errors + self.successes


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests of users, and the two versions that they go to."""

    requests_per_second: float
    candidate: Version
    stable: Version

    def over(
        self, source: random.Random, seconds: float, split: Split, stable_share: float, *, timed: bool
    ) -> tuple[Answers, Answers]:
        """The answers of candidate and stable in `seconds`; stable gets a `stable_share` of the users' requests."""
        expected = self.requests_per_second * seconds
        if split.mirror:
            mine = chance.poisson(source, expected * split.mirror / 100)
            its = mine + chance.poisson(source, expected * (stable_share - split.mirror / 100))
        else:
            mine = chance.poisson(source, expected * split.weight / 100)
            its = chance.poisson(source, expected * stable_share)
        return _answers(source, self.candidate, mine, timed=timed), _answers(source, self.stable, its, timed=timed)


def _answers(source: random.Random, of: Version, requests: int, *, timed: bool) -> Answers:
    errors = chance.binomial(source, requests, of.error_rate)
    buckets = tuple(chance.scattered(source, requests, of.buckets)) if timed else ()
    return Answers(errors, requests - errors, buckets)
