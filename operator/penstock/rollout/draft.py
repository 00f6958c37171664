"""A pass in the making: the context that does not change, and the answer as it grows, each step a new value."""

import datetime
from dataclasses import dataclass, replace
from typing import Any

from penstock import ports
from penstock.api.v1alpha1 import modeldeployment, modeldeployment_status
from penstock.rollout import world


@dataclass(frozen=True)
class Hold:
    """Why a rollout does not go on, though nothing failed."""

    reason: str
    message: str


@dataclass(frozen=True)
class Draft:
    """What the pass knows, and what it has decided so far."""

    meta: modeldeployment_status.Metadata
    spec: modeldeployment.ModelDeploymentSpec
    seen: world.Seen
    now: datetime.datetime
    status: modeldeployment_status.ModelDeploymentStatus
    actions: tuple[world.Action, ...] = ()
    events: tuple[world.Event, ...] = ()
    wakes: tuple[datetime.datetime, ...] = ()
    hold: Hold | None = None
    note: str = ""
    """What the rollout is waiting for, in a sentence that does not change while it waits."""

    def update(self, **changes: Any) -> "Draft":
        """The same with fields of the status changed."""
        return replace(self, status=self.status.model_copy(update=changes))

    def act(self, *actions: world.Action) -> "Draft":
        """The same with more actions."""
        return replace(self, actions=(*self.actions, *actions))

    def tell(self, reason: str, message: str, kind: world.EventType = world.EventType.NORMAL) -> "Draft":
        """The same with one more event."""
        return replace(self, events=(*self.events, world.Event(kind, reason, message)))

    def warn(self, reason: str, message: str) -> "Draft":
        """The same with one more warning."""
        return self.tell(reason, message, world.EventType.WARNING)

    def wake(self, at: datetime.datetime) -> "Draft":
        """The same, looking again at `at` at the latest."""
        return replace(self, wakes=(*self.wakes, at))

    def after(self, seconds: float) -> datetime.datetime:
        """The moment some seconds from now."""
        return self.now + datetime.timedelta(seconds=seconds)

    def waiting_for(self, note: str) -> "Draft":
        """The same with a sentence on what it waits for."""
        return replace(self, note=note)

    def held(self, reason: str, message: str) -> "Draft":
        """The same, held."""
        return replace(self, hold=Hold(reason, message))

    @property
    def key(self) -> ports.Key:
        """The object's key."""
        return ports.Key(self.meta.namespace, self.meta.name)

    @property
    def candidate(self) -> modeldeployment_status.Candidate:
        """The candidate of a pass that has one."""
        candidate = self.status.candidate
        if candidate is None:
            raise AssertionError("asked for the candidate of a pass that has none")
        return candidate

    def workload(self, name: str) -> world.Workload:
        """The pods of a revision; none if the cluster shows none."""
        return self.seen.workloads.get(name, world.Workload(replicas=0, ready=0))

    @property
    def stable_name(self) -> str | None:
        """Name of the stable revision, if there is one."""
        return self.status.stable.name if self.status.stable else None
