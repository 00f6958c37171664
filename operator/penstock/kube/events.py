"""Kubernetes Events about an object, as `kubectl describe` shows them: repeated ones are counted, not repeated.

An Event is told to people in passing; whatever goes wrong with it is logged once, counted, and never stops a pass.
"""

import dataclasses
import datetime
import hashlib
import logging
from collections.abc import Mapping
from typing import Any

import prometheus_client

from penstock import errors
from penstock.kube import client, resources
from penstock.kube.resources import Obj

logger = logging.getLogger(__name__)

MESSAGE_LIMIT = 1024
MERGE_WITHIN = datetime.timedelta(minutes=10)
"""A repetition within this time after the last one is counted on the same Event."""
WRITE_EVERY = datetime.timedelta(minutes=1)
"""How often a count is written at most."""


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """What an Event says; `kind` is Normal or Warning."""

    kind: str
    reason: str
    message: str


@dataclasses.dataclass(slots=True)
class _Series:
    """One Event and its repetitions."""

    name: str
    first: datetime.datetime
    last: datetime.datetime
    written: datetime.datetime
    count: int = 1


class Metrics:
    """What can be seen of the events."""

    def __init__(self, registry: prometheus_client.CollectorRegistry) -> None:
        self.written = prometheus_client.Counter(
            "penstock_events", "Kubernetes Events written.", ("type", "reason"), registry=registry
        )
        self.failed = prometheus_client.Counter(
            "penstock_events_failed", "Kubernetes Events that could not be written.", registry=registry
        )


class Recorder:
    """Writes Events on behalf of one operator process."""

    def __init__(self, cluster: client.Cluster, *, instance: str, metrics: Metrics) -> None:
        self._cluster = cluster
        self._instance = instance
        self._metrics = metrics
        self._series: dict[tuple[str, Note], _Series] = {}
        self._failing = False

    async def emit(
        self, involved: Mapping[str, Any], kind: str, reason: str, message: str, now: datetime.datetime
    ) -> None:
        """Write an Event (`kind` Normal or Warning) about an object, or count a repetition; never raises."""
        self._drop_old(now)
        note = Note(kind, reason, cut(message))
        same = (str(involved["metadata"].get("uid", "")), note)
        try:
            known = self._series.get(same)
            if known is None or not await self._repeat(known, involved["metadata"]["namespace"], now):
                self._series[same] = await self._begin(involved, note, now)
                self._metrics.written.labels(kind, reason).inc()
        except (errors.PenstockError, LookupError) as error:
            self._metrics.failed.inc()
            if not self._failing:
                logger.warning("events cannot be written: %s", error)
            self._failing = True
        else:
            self._failing = False

    async def _begin(self, involved: Mapping[str, Any], note: Note, now: datetime.datetime) -> _Series:
        event = body(involved, note, now, self._instance)
        await self._cluster.create(event)
        return _Series(name=event["metadata"]["name"], first=now, last=now, written=now)

    async def _repeat(self, series: _Series, namespace: str, now: datetime.datetime) -> bool:
        """Count a repetition; False if the Event is gone (they expire), so that a new one is needed."""
        series.count += 1
        series.last = now
        if now - series.written < WRITE_EVERY:
            return True
        patch: Obj = {"count": series.count, "lastTimestamp": _stamp(now)}
        try:
            await self._cluster.merge(resources.EVENT, namespace, series.name, patch)
        except errors.Missing:
            return False
        series.written = now
        return True

    def _drop_old(self, now: datetime.datetime) -> None:
        for same in [same for same, series in self._series.items() if now - series.last > MERGE_WITHIN]:
            del self._series[same]


def body(involved: Mapping[str, Any], note: Note, now: datetime.datetime, instance: str) -> Obj:
    """The Event as it is written the first time."""
    metadata = involved["metadata"]
    digest = hashlib.sha256(repr(note).encode()).hexdigest()[:8]
    moment = f"{int(now.timestamp() * 1_000_000):x}"
    reference = {
        "apiVersion": involved.get("apiVersion", resources.MODEL_DEPLOYMENT.api_version),
        "kind": involved["kind"],
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata.get("uid", ""),
        "resourceVersion": metadata.get("resourceVersion", ""),
    }
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{digest}.{moment}", "namespace": metadata["namespace"]},
        "involvedObject": {key: value for key, value in reference.items() if value},
        "type": note.kind,
        "reason": note.reason,
        "message": note.message,
        "count": 1,
        "firstTimestamp": _stamp(now),
        "lastTimestamp": _stamp(now),
        "source": {"component": "penstock"},
        "reportingComponent": "penstock.dev/operator",
        "reportingInstance": instance,
    }


def cut(message: str) -> str:
    """A message of the length that the API server takes."""
    return message if len(message.encode()) <= MESSAGE_LIMIT else _shortened(message)


def _shortened(message: str) -> str:
    return message.encode()[: MESSAGE_LIMIT - len("…".encode())].decode(errors="ignore") + "…"


def _stamp(now: datetime.datetime) -> str:
    return now.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
