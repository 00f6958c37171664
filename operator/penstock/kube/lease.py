"""Who leads, as a state machine over one Lease: what was found in it and when, and what to do next. Pure.

    move(state, now) -> Look | Write | Rest        looked / wrote / failed -> the next state

Rule: whoever holds the lease stops acting before anybody else may take it. The holder counts from the moment before it
asked for the write that succeeded, the others from the moment after they first saw that write; all on their own clocks.
Nobody reads the times that another one wrote. Every write names the version it replaces, so of two only one succeeds.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from penstock import errors

ADDRESS = "penstock.dev/discovery"
"""Annotation: where the leader answers the polls of Envoys."""
ENVOYS = "penstock.dev/envoys"
"""Annotation: the Envoys that the leader hears of, for its successor to wait for."""
_MOST_ENVOYS = 500
_SAFE_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Timings:
    """How long a lease holds and how often it is written and looked at, in seconds.

    A quarter of the lease is never used: clocks may differ in pace by that much, and a write may be under way.
    """

    lease_seconds: int = 4
    renew_seconds: float = 1.0
    retry_seconds: float = 0.5

    def __post_init__(self) -> None:
        if self.retry_seconds <= 0 or not 0 < self.renew_seconds <= self.certain_seconds / 2:
            raise errors.Misconfigured(
                f"a lease of {self.lease_seconds} s that is renewed every {self.renew_seconds:g} s and tried for every "
                f"{self.retry_seconds:g} s cannot be held: renew it every {self.certain_seconds / 2:g} s or more often"
            )

    @property
    def certain_seconds(self) -> float:
        """How long its holder relies on a write, from the moment before it was asked for."""
        return self.lease_seconds * (1 - _SAFE_SHARE)

    @property
    def patience_seconds(self) -> float:
        """How long one request may take: a renewal that fails can be tried once more in time."""
        return self.certain_seconds / 2


@dataclass(frozen=True, slots=True)
class Record:
    """What a Lease says; nobody holds it if `holder` is empty."""

    version: str
    holder: str
    seconds: float
    transitions: int = 0
    address: str = ""
    envoys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was found, since when it is known to be so, and when it was seen last. None: there is no Lease."""

    record: Record | None
    since: float
    at: float


@dataclass(frozen=True, slots=True)
class State:
    """What one contender knows. It leads from `begins` to `until` of its own clock.

    A Lease that is not there may have been deleted a moment ago, and its holder not know it yet. So whoever makes one
    begins a whole lease later.
    """

    me: str
    timings: Timings = Timings()
    seen: Sighting | None = None
    begins: float = -math.inf
    until: float = -math.inf
    creating: bool = False
    """One was asked for where there was none, and nobody knows what became of it."""
    doubtful: bool = False
    """A write was asked for, and nobody knows what became of it."""
    not_before: float = -math.inf


@dataclass(frozen=True, slots=True)
class Look:
    """Read the Lease."""


@dataclass(frozen=True, slots=True)
class Write:
    """Take or renew the Lease, in place of this record; None: make one."""

    instead_of: Record | None


@dataclass(frozen=True, slots=True)
class Rest:
    """Do nothing until then."""

    until: float


Move = Look | Write | Rest


def move(state: State, now: float) -> Move:
    """What to do now."""
    if now < state.not_before:
        return Rest(_not_past_the_end(state, state.not_before, now))
    seen = state.seen
    if seen is None or state.doubtful:
        return Look()
    if seen.record is not None and seen.record.holder == state.me:
        due = state.until - state.timings.certain_seconds + state.timings.renew_seconds
        return Write(seen.record) if now >= due else Rest(_not_past_the_end(state, due, now))
    free = _free_at(state, seen)
    if now >= free:
        return Write(seen.record)
    again = seen.at + state.timings.retry_seconds
    return Look() if now >= again else Rest(min(again, free))


def _not_past_the_end(state: State, when: float, now: float) -> float:
    """Beginning and end of one's own time are noticed when they come."""
    return min([when, *(moment for moment in (state.begins, state.until) if moment > now)])


def _free_at(state: State, seen: Sighting) -> float:
    """When somebody else's lease has run out for sure."""
    if seen.record is None or not seen.record.holder:
        return -math.inf
    return seen.since + max(seen.record.seconds, state.timings.lease_seconds)


def leads(state: State, now: float) -> bool:
    """Whether this contender may act."""
    return state.begins <= now < state.until


def leader(state: State, now: float) -> Record | None:
    """What the Lease says of another one that leads, as far as is known."""
    seen = state.seen
    if seen is None or seen.record is None or seen.record.holder in {"", state.me}:
        return None
    return seen.record if now < _free_at(state, seen) else None


def informed(state: State, now: float) -> bool:
    """Whether the Lease was seen lately, so that a new leader would be known of."""
    return state.seen is not None and now < state.seen.at + state.timings.lease_seconds


def looked(state: State, record: Record | None, now: float) -> State:
    """The Lease was read: `now` is when the answer had come."""
    seen = state.seen
    same = seen is not None and _version(seen.record) == _version(record)
    since = seen.since if seen is not None and same else now
    ours = record is not None and record.holder == state.me
    until = state.until if ours or record is None else -math.inf
    begins = now + state.timings.lease_seconds if ours and state.creating else state.begins
    return replace(_answered(state), seen=Sighting(record, since, now), begins=begins, until=until)


def asking(state: State, write: Write, now: float) -> State:
    """The Lease is about to be written."""
    return replace(state, creating=write.instead_of is None and not leads(state, now))


def wrote(state: State, record: Record, asked: float, now: float) -> State:
    """The Lease was written: `asked` is when that was asked for, `now` when the answer had come."""
    until = asked + state.timings.certain_seconds
    renewed = state.seen is None or state.seen.record is None or state.seen.record.holder == state.me
    begins = state.begins if renewed else -math.inf
    begins = now + state.timings.lease_seconds if state.creating else begins
    return replace(_answered(state), seen=Sighting(record, now, now), begins=begins, until=until)


def _answered(state: State) -> State:
    return replace(state, creating=False, doubtful=False, not_before=-math.inf)


def conflicted(state: State) -> State:
    """Somebody wrote first, be it an earlier write of one's own that came late."""
    return replace(state, doubtful=True, not_before=-math.inf)


def failed(state: State, now: float, *, wait: float | None = None) -> State:
    """There was no answer, or none that helps; a write may come through all the same."""
    return replace(state, doubtful=True, not_before=now + (state.timings.retry_seconds if wait is None else wait))


def _version(record: Record | None) -> str | None:
    return None if record is None else record.version


def read(lease: Mapping[str, Any]) -> Record:
    """The record in a Lease, whoever wrote it."""
    spec, metadata = lease.get("spec") or {}, lease["metadata"]
    annotations = metadata.get("annotations") or {}
    return Record(
        version=metadata["resourceVersion"],
        holder=spec.get("holderIdentity") or "",
        seconds=float(spec.get("leaseDurationSeconds") or 0),
        transitions=int(spec.get("leaseTransitions") or 0),
        address=annotations.get(ADDRESS, ""),
        envoys=tuple(name for name in annotations.get(ENVOYS, "").split(",") if name),
    )


def write(
    before: Mapping[str, Any] | None,
    name: Mapping[str, str],
    record: Record,
    stamp: str,
) -> dict[str, Any]:
    """The Lease that says `record`, in place of `before`; what others wrote on it stays. `stamp` is for people."""
    old = before or {}
    spec = dict(old.get("spec") or {})
    if spec.get("holderIdentity") != record.holder:
        spec["acquireTime"] = stamp
    metadata = dict(old.get("metadata") or {}) | dict(name)
    metadata.pop("managedFields", None)
    metadata["annotations"] = (metadata.get("annotations") or {}) | {
        ADDRESS: record.address,
        ENVOYS: ",".join(sorted(record.envoys)[:_MOST_ENVOYS]),
    }
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": spec
        | {
            "holderIdentity": record.holder,
            "leaseDurationSeconds": math.ceil(record.seconds),
            "leaseTransitions": record.transitions,
            "renewTime": stamp,
        },
    }
