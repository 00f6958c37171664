"""Leads, or waits to: carries out what `penstock.kube.lease` says, and tells whoever acts how long it still may.

Rule: nobody waits to be told that leading is over. Whoever is about to write asks `seconds_left` at that moment, so a
process that slept through the end of its time finds out before it does anything.
"""

import asyncio
import contextlib
import dataclasses
import datetime
import ipaddress
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, assert_never

import prometheus_client

from penstock import errors, ports
from penstock.kube import client, lease, resources
from penstock.kube.resources import Obj

logger = logging.getLogger(__name__)

_DENIED_SECONDS = 5.0
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock() -> float:
    """Seconds that only ever grow, also while the machine is suspended where the system can tell."""
    return time.clock_gettime(_CLOCK)


class Metrics:
    """What can be seen of who leads."""

    def __init__(self, registry: prometheus_client.CollectorRegistry) -> None:
        self.leader = prometheus_client.Gauge("penstock_leader", "1 while this process leads.", registry=registry)
        self.transitions = prometheus_client.Counter(
            "penstock_leader_transitions", "Times that this process saw another leader begin.", registry=registry
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """Who stands for election: a name that no other process has, and where it answers Envoys (empty: nowhere)."""

    name: str
    address: str = ""


class Election:
    """One contender for one Lease. All methods belong to the event loop that `run` runs in."""

    def __init__(
        self,
        cluster: client.Cluster,
        where: ports.Key,
        candidate: Candidate,
        timings: lease.Timings,
        metrics: Metrics,
        *,
        now: Callable[[], float] = clock,
    ) -> None:
        self._cluster = cluster
        self._where = where
        self._candidate = candidate
        self._metrics = metrics
        self._envoys: Callable[[], Sequence[str]] = tuple
        self._now = now
        self._state = lease.State(candidate.name, timings)
        self._stored: Obj | None = None
        self._stop = asyncio.Event()
        self._told: tuple[bool, str] = (False, "")
        self._news = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []
        self._trouble = ""
        metrics.leader.set_function(lambda: float(self.leading()))

    def leading(self) -> bool:
        """Whether this process may act at this moment."""
        return lease.leads(self._state, self._now())

    def seconds_left(self) -> float:
        """How long this process may act for sure. Raises NotLeading if it may not."""
        now = self._now()
        if not lease.leads(self._state, now):
            raise errors.NotLeading(
                f"{self._candidate.name} does not hold Lease {self._where} (any more): the process that holds it acts"
            )
        return self._state.until - now

    def leader(self) -> str | None:
        """Where the other process that leads answers Envoys; None if there is none, or it does not say."""
        record = lease.leader(self._state, self._now())
        return record.address if record is not None and _is_of_a_pod(record.address) else None

    def informed(self) -> bool:
        """Whether this process would know of a new leader."""
        return lease.informed(self._state, self._now())

    def heirloom(self) -> tuple[str, ...]:
        """The Envoys that the leader before this one heard of."""
        return lease.read(self._stored).envoys if self._stored is not None else ()

    def about(self) -> Obj:
        """The Lease as what an event is about."""
        metadata = {"namespace": self._where.namespace, "name": self._where.name}
        known = (self._stored or {}).get("metadata", {})
        return {
            "apiVersion": resources.LEASE.api_version,
            "kind": resources.LEASE.kind,
            "metadata": metadata | {key: known[key] for key in ("uid", "resourceVersion") if key in known},
        }

    def tell_of(self, envoys: Callable[[], Sequence[str]]) -> None:
        """While leading, keep these Envoys in the Lease for the successor."""
        self._envoys = envoys

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever another process leads than before, or none."""
        self._listeners.append(listener)

    async def until(self, *, leading: bool) -> None:
        """Wait until this process leads, or leads no more."""
        while self.leading() is not leading:
            await self._news.wait()

    async def run(self) -> None:
        """Stand for election, and hold the lease, until `resign`; then give it up."""
        while not self._stop.is_set():
            move = lease.move(self._state, self._now())
            match move:
                case lease.Rest():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._stop.wait(), max(0.0, move.until - self._now()))
                case lease.Look():
                    await self._look()
                case lease.Write():
                    await self._take(move.instead_of)
                case _:
                    assert_never(move)
            self._tell()
        await self._give_up()

    def resign(self) -> None:
        """Lead no more from this moment on, and let the others know; to be called when nothing acts any more."""
        self._stop.set()
        self._state = dataclasses.replace(self._state, until=-math.inf)
        self._tell()

    async def _give_up(self) -> None:
        if self._state.doubtful:
            await self._look()
        held = lease.read(self._stored) if self._stored is not None else None
        if held is None or held.holder != self._candidate.name or self._state.begins > self._now():
            return  # given up before it began, it would let another one begin too early
        try:
            await self._cluster.replace(self._as_lease(dataclasses.replace(held, holder="", seconds=1.0, address="")))
        except errors.PenstockError as error:
            logger.warning("the lease could not be given up, so it runs out by itself: %s", error.message)
        else:
            logger.info("gave up Lease %s", self._where)

    async def _look(self) -> None:
        try:
            found = await self._cluster.get(resources.LEASE, self._where.namespace, self._where.name)
        except errors.PenstockError as error:
            self._fail(error)
            return
        self._note(found)
        self._state = lease.looked(self._state, None if found is None else lease.read(found), self._now())
        self._trouble = ""

    async def _take(self, before: lease.Record | None) -> None:
        """Take or renew the lease. What counts is the time before the request, however long the answer takes."""
        state = self._state
        transitions = 0 if before is None else before.transitions + (before.holder != state.me)
        seconds = float(state.timings.lease_seconds)
        envoys = tuple(self._envoys()) if lease.leads(state, self._now()) or before is None else before.envoys
        wanted = lease.Record("", state.me, seconds, transitions, self._candidate.address, envoys)
        asked = self._now()
        self._state = lease.asking(self._state, lease.Write(before), asked)
        try:
            if before is None:
                self._stored = None
                stored = await self._cluster.create(self._as_lease(wanted))
            else:
                stored = await self._cluster.replace(self._as_lease(wanted))
        except (errors.Conflict, errors.Missing):
            self._state = lease.conflicted(self._state)
            return
        except errors.PenstockError as error:
            self._fail(error)
            return
        self._note(stored)
        if not self._stop.is_set():
            self._state = lease.wrote(self._state, lease.read(stored), asked, self._now())
        self._trouble = ""

    def _as_lease(self, record: lease.Record) -> Obj:
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        name = {"namespace": self._where.namespace, "name": self._where.name}
        return lease.write(self._stored, name, record, stamp)

    def _note(self, found: Obj | None) -> None:
        names = {"apiVersion": resources.LEASE.api_version, "kind": resources.LEASE.kind}
        self._stored = None if found is None else names | found

    def _fail(self, error: errors.PenstockError) -> None:
        wait = None if error.retryable else _DENIED_SECONDS
        self._state = lease.failed(self._state, self._now(), wait=wait)
        if error.reason != self._trouble:
            cure = "" if error.retryable else f"; allow get, create and update of Lease {self._where}"
            logger.warning("the lease cannot be kept: %s%s", error.message, cure)
        self._trouble = error.reason

    def _tell(self) -> None:
        """Log, count and pass on who leads, if that has changed."""
        seen = self._state.seen
        leads, holder = self.leading(), seen.record.holder if seen is not None and seen.record is not None else ""
        led, held = self._told
        if (leads, holder) == (led, held):
            return
        self._told = leads, holder
        extra: dict[str, Any] = {"lease": str(self._where), "holder": holder}
        if leads and not led:
            logger.info("%s leads now", self._candidate.name, extra=extra)
        elif led and not leads:
            level = logging.INFO if self._stop.is_set() else logging.WARNING
            logger.log(level, "%s leads no more", self._candidate.name, extra=extra)
        elif holder and holder != held:
            logger.info("%s leads; this process stands by", holder, extra=extra)
        if holder and holder != held:
            self._metrics.transitions.inc()
        news, self._news = self._news, asyncio.Event()
        news.set()
        for listener in self._listeners:
            listener()


def _is_of_a_pod(address: str) -> bool:
    """Whether this is what another operator writes: an IP address and a port, and nowhere else to be led to."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return address.startswith("http://") and port.isdecimal()
