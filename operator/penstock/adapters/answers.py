"""Metrics that rest on answers themselves: disagreement of shadows, drift of predictions, scores against the truth.

Every measurement asks all pods of both revisions at once for what is new in their rings. A pod that is dead or slow
costs the time-out once, and its answers: the others are judged without it. What was seen of a subject is kept from one
measurement to the next, and starts anew with another candidate, stable or beginning. Whatever happens becomes a
measurement: `measure` raises nothing.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiohttp

from penstock import ports
from penstock.adapters import joins, rings, waiting
from penstock.analysis import measurement
from penstock.analysis.difference import Tolerance
from penstock.api.v1alpha1 import modeldeployment
from penstock.api.v1alpha1.modeldeployment import MetricType, Scorer

PORT = 8081
PART = 50
"""Answers of each version that are taken in at a time; 4 KiB of numbers take a third of a millisecond."""
TYPES = frozenset({MetricType.SHADOW_DISAGREEMENT, MetricType.PREDICTION_DRIFT, MetricType.PERFORMANCE})

Endpoints = Callable[[str, str, str], Sequence[ports.Endpoint]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the adapter may use of one pod, of one subject's metric, of memory for all; seconds until it forgets."""

    ring: rings.Limits = field(default_factory=rings.Limits)
    room: waiting.Room = field(default_factory=waiting.Room)
    size: int = 64 << 20
    forget_seconds: float = 600
    positions: int = 500


@dataclass(frozen=True, slots=True)
class _Owner:
    namespace: str
    deployment: str
    metric: str


@dataclass(slots=True)
class _State:
    """What one metric knows of its subject, as long as `identity` stays."""

    identity: object
    join: joins.Join
    asked_at: float
    positions: dict[tuple[rings.Name, str, str], rings.Position] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Answers:
    """Implements `ports.MetricSource` for the metric types in `TYPES`."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        endpoints: Endpoints,
        limits: Limits | None = None,
        *,
        port: int = PORT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`endpoints` names the pods of a revision, given namespace, deployment and revision; their port is ignored."""
        self._limits = limits or Limits()
        self._rings = rings.Rings(session, self._limits.ring)
        self._endpoints = endpoints
        self._port = port
        self._clock = clock
        self._states: dict[_Owner, _State] = {}

    @property
    def subjects(self) -> int:
        """Of how many metrics something is kept."""
        return len(self._states)

    async def measure(
        self, metric: modeldeployment.Metric, subject: ports.Subject, window_seconds: int
    ) -> measurement.Measurement:
        """All that is known since `subject.since`; evidence is of the whole step, so the window changes nothing."""
        del window_seconds
        self._forget()
        if metric.type not in TYPES:
            return measurement.Unavailable(f"{metric.type} does not rest on answers: ask Prometheus for it")
        if subject.stable is None and metric.type is not MetricType.PERFORMANCE:
            return measurement.NoData("there is no stable revision to compare with yet")
        state = self._state(metric, subject)
        async with state.lock:
            problem = await self._look(state, subject, with_truths=metric.type is MetricType.PERFORMANCE)
            state.asked_at = self._clock()
            self._make_room()
            return problem or state.join.measured()

    def _state(self, metric: modeldeployment.Metric, subject: ports.Subject) -> _State:
        owner = _Owner(subject.namespace, subject.deployment, metric.name)
        judged = metric.type, metric.tolerance, metric.scorer
        identity = subject.candidate, subject.stable, subject.since, judged
        state = self._states.get(owner)
        if state is None or state.identity != identity:
            state = self._states[owner] = _State(identity, _join(metric, self._limits.room), self._clock())
        return state

    async def _look(
        self, state: _State, subject: ports.Subject, *, with_truths: bool
    ) -> measurement.Unavailable | None:
        """Read what is new and take it in. Why it is not enough to judge by, if a whole version cannot be asked."""
        revisions = [subject.candidate] if subject.stable is None else [subject.candidate, subject.stable]
        names: list[rings.Name] = ["answers", "truths"] if with_truths else ["answers"]
        asked = [
            (name, revision, endpoint.address)
            for revision in revisions
            for endpoint in dict.fromkeys(self._endpoints(subject.namespace, subject.deployment, revision))
            for name in names
        ]
        found = await asyncio.gather(
            *(
                self._rings.read(address, self._port, name, state.positions.get((name, revision, address), _START))
                for name, revision, address in asked
            )
        )
        since = subject.since.timestamp() if subject.since is not None else 0.0
        readings = list(zip(asked, found, strict=True))

        def entries(wanted: rings.Name, revision: str | None) -> list[rings.Entry]:
            return [
                entry
                for (name, its, _), reading in readings
                if name == wanted and revision in {None, its}
                for entry in reading.entries
                if entry.at >= since
            ]

        arrivals = joins.Arrivals(
            self._clock(),
            entries("answers", subject.candidate),
            entries("answers", subject.stable) if subject.stable is not None else [],
            entries("truths", None),
            lost=sum(reading.lost for reading in found),
        )
        for part in arrivals.parts(PART):
            state.join.take(part)
            await asyncio.sleep(0)  # others have work too
        for key, reading in readings:  # not before: who is interrupted reads again, and ids count once
            state.positions.pop(key, None)  # so that the order is that of the last reading
            state.positions[key] = reading.position
        while len(state.positions) > max(self._limits.positions, len(asked)):
            del state.positions[next(iter(state.positions))]
        return _missing(revisions, names, readings)

    def _make_room(self) -> None:
        """Whoever waits with the most gives way first."""
        while sum(state.join.size for state in self._states.values()) > self._limits.size:
            largest = max(self._states.values(), key=lambda state: state.join.size)
            before = largest.join.size
            largest.join.shrink()
            if largest.join.size >= before:
                return

    def _forget(self) -> None:
        """Drop what nobody has asked about for a while."""
        now = self._clock()
        for owner, state in list(self._states.items()):
            if now - state.asked_at > self._limits.forget_seconds and not state.lock.locked():
                del self._states[owner]


_START = rings.Position()


def _join(metric: modeldeployment.Metric, room: waiting.Room) -> joins.Join:
    if metric.type is MetricType.SHADOW_DISAGREEMENT:
        allowed = metric.tolerance
        return joins.Disagreements(Tolerance(allowed.absolute, allowed.relative) if allowed else Tolerance(), room)
    if metric.type is MetricType.PREDICTION_DRIFT:
        return joins.Drift(room)
    return joins.Performance(metric.scorer or Scorer.ACCURACY, room)


def _missing(
    revisions: Sequence[str],
    names: Sequence[rings.Name],
    readings: Sequence[tuple[tuple[rings.Name, str, str], rings.Reading]],
) -> measurement.Unavailable | None:
    """A revision none of whose pods could be read."""
    for revision in revisions:
        for name in names:
            of_it = [reading for (asked, its, _), reading in readings if (asked, its) == (name, revision)]
            if not of_it:
                return measurement.Unavailable(f"no pod of revision {revision} is ready to be asked for its {name}")
            problems = [reading.problem for reading in of_it if reading.problem is not None]
            if len(problems) == len(of_it) and not any(reading.entries for reading in of_it):
                pods = "the pod" if len(of_it) == 1 else f"none of the {len(of_it)} pods"
                can = "cannot" if len(of_it) == 1 else "can"
                return measurement.Unavailable(
                    f"{pods} of revision {revision} {can} be asked for its {name}: {problems[0]}"
                )
    return None
