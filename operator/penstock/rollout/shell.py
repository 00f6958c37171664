"""The imperative shell of a ModelDeployment: gather, decide, carry out, save once. It holds no rule of its own.

    queue -> reconcile(key) -> Seen -> decide -> actions -> one status write -> events -> next wake-up

Work that takes long (a measurement, a smoke test, a tag) runs beside the passes; its answer lands in a mailbox and
puts the key back into the queue.
"""

import asyncio
import datetime
import functools
import logging
import time
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Any, Protocol, assert_never

import pydantic

from penstock import errors, ports
from penstock.api.v1alpha1 import modeldeployment, modeldeployment_status
from penstock.rollout import decide, gather, mailbox, manifests, meters, podpolicy, resolver, revision, world

logger = logging.getLogger(__name__)

RETRY_SECONDS = 30.0
CONFLICT_SECONDS = 0.1


class Objects(Protocol):
    """The objects as last seen: caches fed by watches."""

    def modeldeployment(self, key: ports.Key) -> dict[str, Any] | None:
        """One ModelDeployment as stored, or None if it does not exist."""
        ...

    def children(self, key: ports.Key) -> gather.Children:
        """Everything that belongs to it."""
        ...

    def learn(self, body: dict[str, Any]) -> None:
        """Take over an object that a write has just answered, without waiting for the watch."""
        ...


class Writer(Protocol):
    """Writes to the Kubernetes API; every method is idempotent. Errors: those of `penstock.errors`."""

    async def create_if_absent(self, body: dict[str, Any]) -> dict[str, Any]:
        """Create an object, or answer the one that is there already."""
        ...

    async def scale(self, namespace: str, deployment: str, replicas: int) -> None:
        """Set the number of pods of a Deployment."""
        ...

    async def remove_revision(self, namespace: str, name: str) -> None:
        """Delete Deployment and Service of this name; both may be gone already."""
        ...

    async def revisions(self, namespace: str, deployment: str) -> dict[str, dict[str, Any]]:
        """The recorded revisions of a ModelDeployment: the ControllerRevisions by revision name."""
        ...

    async def delete_record(self, namespace: str, name: str) -> None:
        """Delete a ControllerRevision; it may be gone already."""
        ...

    async def write_status(self, body: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
        """Replace the status of a ModelDeployment at the resourceVersion of `body`, and answer the object."""
        ...


class Recorder(Protocol):
    """Writes Kubernetes events."""

    async def emit(self, involved: dict[str, Any], event: world.Event) -> None:
        """Write an event about an object; never raises."""
        ...


class Queue(Protocol):
    """The work queue."""

    def add(self, key: ports.Key) -> None:
        """Look at the key soon."""
        ...

    def add_after(self, key: ports.Key, seconds: float) -> None:
        """Look at the key in a while."""
        ...


@dataclass(frozen=True)
class World:
    """Everything outside that the shell works with."""

    objects: Objects
    writer: Writer
    recorder: Recorder
    queue: Queue
    resolver: resolver.Resolver
    metrics: ports.MetricSource
    data_plane: ports.DataPlane
    smoke: ports.SmokeTester
    address: manifests.DataPlaneAddress
    meters: meters.Meters
    clock: Callable[[], datetime.datetime]
    pod_policy: podpolicy.Policy = field(default_factory=podpolicy.Policy)


class Controller:
    """Reconciles ModelDeployments, one pass at a time for each key."""

    def __init__(self, outside: World) -> None:
        self._outside = outside
        self._mail: dict[ports.Key, mailbox.Mailbox] = {}
        self._uids: dict[ports.Key, str] = {}
        self._tasks: dict[tuple[ports.Key, Hashable], asyncio.Task[None]] = {}

    async def reconcile(self, key: ports.Key) -> None:
        """One pass over one object."""
        outside = self._outside
        body = outside.objects.modeldeployment(key)
        if body is None:
            self._forget(key)
            return
        started = time.monotonic()
        try:
            mdep = modeldeployment_status.ModelDeployment.model_validate(body)
        except pydantic.ValidationError as error:
            logger.exception("object cannot be read", extra={"key": str(key)})
            await outside.recorder.emit(body, world.Event(world.EventType.WARNING, "Unreadable", _first(error)))
            return
        if self._uids.setdefault(key, mdep.metadata.uid) != mdep.metadata.uid:
            self._forget(key)  # it was deleted and made again, faster than anybody told
            self._uids[key] = mdep.metadata.uid
        result = "error"
        try:
            result = await self._pass(key, body, mdep)
        finally:
            outside.meters.passes.labels(result).inc()
            outside.meters.pass_seconds.observe(time.monotonic() - started)

    def republish(self, key: ports.Key) -> None:
        """Tell the data plane the state of an object at once: a pod became ready, or went."""
        body = self._outside.objects.modeldeployment(key)
        if body is None or body["metadata"].get("deletionTimestamp"):
            self._outside.data_plane.withdraw(key)
            return
        try:
            mdep = modeldeployment_status.ModelDeployment.model_validate(body)
        except pydantic.ValidationError:
            return
        self._publish(mdep)

    async def stop(self) -> None:
        """End the work beside the passes, and forget everything: another process may go on from the status."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for key in [*self._uids]:
            self._outside.resolver.forget(key)
            self._outside.meters.forget(key)
        self._mail.clear()
        self._uids.clear()

    async def _pass(self, key: ports.Key, body: dict[str, Any], mdep: modeldeployment_status.ModelDeployment) -> str:
        outside = self._outside
        self._publish(mdep)
        now = outside.clock()
        seen = self._gather(key, mdep, now)
        decision = decide.decide(mdep, seen, now)
        if mdep.metadata.deletion_timestamp is not None:
            self._forget(key)
            return "deleted"
        for action in decision.actions:
            await self._do(key, mdep, action)
        changed = decision.status != mdep.status
        if changed:
            try:
                body = await outside.writer.write_status(body, decision.status.to_wire())
            except errors.Conflict:
                outside.meters.status_writes.labels("conflict").inc()
                outside.queue.add_after(key, CONFLICT_SECONDS)
                return "conflict"
            except errors.Missing:
                return "deleted"
            outside.meters.status_writes.labels("written").inc()
            outside.objects.learn(body)
            self._publish(modeldeployment_status.ModelDeployment.model_validate(body))
            outside.meters.count_outcomes(key, decision, mdep.status)
        self._mailbox(key).take(seen)
        outside.meters.show(key, decision.status)
        for event in decision.events:
            logger.info(event.message, extra={"key": str(key), "reason": event.reason})
            await outside.recorder.emit(body, event)
        self._wake(key, mdep, decision, now)
        return "changed" if changed else "unchanged"

    def _publish(self, mdep: modeldeployment_status.ModelDeployment) -> None:
        key = ports.Key(mdep.metadata.namespace, mdep.metadata.name)
        try:
            self._outside.data_plane.publish(gather.routed(mdep, self._children(key, mdep.metadata)))
        except errors.Misconfigured as error:
            logger.warning("not routed: %s", error.message, extra={"key": str(key)})

    def _children(self, key: ports.Key, owner: modeldeployment_status.Metadata) -> gather.Children:
        return gather.belonging_to(owner, self._outside.objects.children(key))

    def _gather(
        self, key: ports.Key, mdep: modeldeployment_status.ModelDeployment, now: datetime.datetime
    ) -> world.Seen:
        outside, mail = self._outside, self._mailbox(key)
        children = self._children(key, mdep.metadata)
        workloads = gather.workloads(children)
        for name, failure in mail.refused.items():
            if name == manifests.ENTRY:
                continue
            workloads.setdefault(name, world.Workload(replicas=0, ready=0, failure=failure, exists=False))
        step = _step_id(mdep.status)
        mail.start_step(step)
        return world.Seen(
            wanted=outside.resolver.current(key, mdep.spec, now),
            workloads=workloads,
            entry_exists=gather.entry_exists(mdep.metadata, children) or manifests.ENTRY in mail.refused,
            applied=outside.data_plane.applied(key),
            unrouted=outside.data_plane.unrouted(key),
            measured=tuple(mail.measured),
            last_measured=mail.last_measured(step),
            smoke=mail.smoke,
            tagged=frozenset(mail.tagged),
            signatures=mail.signatures,
        )

    def _wake(
        self,
        key: ports.Key,
        mdep: modeldeployment_status.ModelDeployment,
        decision: world.Decision,
        now: datetime.datetime,
    ) -> None:
        look = self._outside.resolver.next_look(key, mdep.spec, now)
        at = min(decision.wake_at, look) if decision.wake_at is not None else look
        self._outside.queue.add_after(key, max(0.0, (at - self._outside.clock()).total_seconds()))

    async def _do(self, key: ports.Key, mdep: modeldeployment_status.ModelDeployment, action: world.Action) -> None:
        writer, owner = self._outside.writer, mdep.metadata
        match action:
            case world.EnsureRevision():
                await self._ensure(key, mdep, action)
            case world.ScaleRevision():
                await writer.scale(key.namespace, manifests.object_name(owner, action.name), action.replicas)
            case world.RemoveRevision():
                await writer.remove_revision(key.namespace, manifests.object_name(owner, action.name))
                self._mailbox(key).refused.pop(action.name, None)
            case world.EnsureEntry():
                await self._ensure_entry(key, mdep)
            case world.PruneRecords():
                for name in await writer.revisions(key.namespace, key.name):
                    if name not in action.keep:
                        await writer.delete_record(key.namespace, manifests.object_name(owner, name))
            case world.RunSmokeTest():
                self._beside(key, ("smoke", action.step), functools.partial(self._smoke, key, owner, action))
            case world.Measure():
                self._mailbox(key).asked_at[action.step, action.metric.name] = self._outside.clock()
                self._beside(
                    key, ("measure", action.step, action.metric.name), functools.partial(self._measure, key, action)
                )
            case world.ReadSignatures():
                self._beside(key, "signatures", functools.partial(self._read_signatures, key, action))
            case world.TagModelVersion():
                self._beside(
                    key, ("tag", action.entry.revision), functools.partial(self._tag, key, mdep.spec, action.entry)
                )
            case _:
                assert_never(action)

    async def _ensure(
        self, key: ports.Key, mdep: modeldeployment_status.ModelDeployment, action: world.EnsureRevision
    ) -> None:
        """Make a revision's objects; a record that exists wins, so that a revision never changes."""
        writer, owner, mail = self._outside.writer, mdep.metadata, self._mailbox(key)
        try:
            if action.new is not None:
                self._admit(owner, action.new)
                number = len(mdep.status.history) + 1
                stored = await self._create(owner, manifests.record(owner, action.new, number))
            else:
                stored = (await writer.revisions(key.namespace, key.name)).get(action.name, {})
            if "data" not in stored or not manifests.belongs_to(stored, owner):
                message = f"the record of revision {action.name} is gone, so its pods cannot be made again"
                mail.refused[action.name] = world.PodFailure("RecordMissing", message)
                return
            made = revision.Revision.from_data(stored["data"])
            self._admit(owner, made)
            for body in (manifests.service(owner, made.name), manifests.deployment(owner, made, action.replicas)):
                self._outside.objects.learn(await self._create(owner, body))
        except errors.Misconfigured as error:
            mail.refused[action.name] = world.PodFailure("NameTaken", error.message)
            return
        except (errors.Invalid, errors.Denied) as error:
            fatal = isinstance(error, errors.Invalid)
            cure = "correct spec.server" if fatal else "look at the namespace's quota and policies"
            refused = world.PodFailure("PodsRefused", f"{error.message}; {cure}", fatal=fatal)
            if fatal and mail.refused.get(action.name) != refused:  # else it is known, and nothing changes by a pass
                self._outside.queue.add(key)
            mail.refused[action.name] = refused
            return
        mail.refused.pop(action.name, None)

    def _admit(self, owner: modeldeployment_status.Metadata, made: revision.Revision) -> None:
        """Judge a revision's pods before anything of it is written; one that was recorded earlier, too."""
        self._outside.pod_policy.admit(manifests.pod_template(owner, made), manifests.pod_metadata(owner, made))

    async def _create(self, owner: modeldeployment_status.Metadata, body: dict[str, Any]) -> dict[str, Any]:
        """Make an object that belongs to `owner`, or answer the one that is there.

        Raises Conflict while the name is taken by what a deleted ModelDeployment has left and the cluster removes;
        Misconfigured if nobody does.
        """
        found = await self._outside.writer.create_if_absent(body)
        if manifests.belongs_to(found, owner):
            return found
        left = f"{body['kind']} {body['metadata']['name']} is left of an earlier ModelDeployment {owner.name}"
        if found["metadata"].get("ownerReferences"):
            raise errors.Conflict(f"{left}: waiting until the cluster has removed it")
        raise errors.Misconfigured(f"{left} that was deleted without what belonged to it: delete it")

    async def _ensure_entry(self, key: ports.Key, mdep: modeldeployment_status.ModelDeployment) -> None:
        outside = self._outside
        found = await outside.writer.create_if_absent(manifests.entry(mdep.metadata, outside.address))
        owners = found.get("metadata", {}).get("ownerReferences", [])
        if any(owner.get("uid") == mdep.metadata.uid for owner in owners):
            outside.objects.learn(found)
            return
        if owners and manifests.DEPLOYMENT_LABEL in found["metadata"].get("labels", {}):
            raise errors.Conflict(f"Service {key.name} is left of an earlier ModelDeployment: waiting until it is gone")
        message = (
            f"Service {key.name} exists in namespace {key.namespace} and is not Penstock's, so it is left alone: "
            f"remove or rename it, or call the model through spec.route.hostnames"
        )
        self._mailbox(key).refused[manifests.ENTRY] = world.PodFailure("EntryTaken", message)
        await outside.recorder.emit(
            outside.objects.modeldeployment(key) or {"metadata": {}},
            world.Event(world.EventType.WARNING, "EntryTaken", message),
        )

    async def _smoke(self, key: ports.Key, owner: modeldeployment_status.Metadata, action: world.RunSmokeTest) -> None:
        endpoints = gather.ready_endpoints(self._children(key, owner).slices).get(action.step.candidate, ())
        if not endpoints:
            return
        answer = await self._outside.smoke.run(endpoints[0], action.test)
        self._mailbox(key).smoke = world.SmokeResult(action.step, answer.passed, answer.message)

    async def _measure(self, key: ports.Key, action: world.Measure) -> None:
        answer = await self._outside.metrics.measure(action.metric, action.subject, action.window_seconds)
        measured = world.Measured(action.step, action.metric.name, answer, self._outside.clock())
        self._mailbox(key).measured.append(measured)

    async def _read_signatures(self, key: ports.Key, action: world.ReadSignatures) -> None:
        stored = (await self._outside.writer.revisions(key.namespace, key.name)).get(action.stable, {})
        stable = revision.Revision.from_data(stored["data"]) if "data" in stored else None
        read = await self._outside.resolver.signatures(key, action, stable, self._outside.clock())
        self._mailbox(key).heard(read)

    async def _tag(
        self,
        key: ports.Key,
        spec: modeldeployment.ModelDeploymentSpec,
        entry: modeldeployment_status.HistoryEntry,
    ) -> None:
        try:
            await self._outside.resolver.tag(key, spec, entry)
        except errors.PenstockError as error:
            logger.warning("registry not told: %s", error.message, extra={"key": str(key)})
            await asyncio.sleep(RETRY_SECONDS)
            return
        self._mailbox(key).tagged.add((entry.revision, entry.ended_at))

    def _beside(self, key: ports.Key, name: Hashable, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run work beside the passes, once at a time, and look at the key again when it is done."""
        if (key, name) in self._tasks:
            return

        async def run() -> None:
            try:
                await work()
            except Exception:
                logger.exception("work beside the passes failed", extra={"key": str(key), "work": str(name)})
                await asyncio.sleep(1)
            finally:
                self._tasks.pop((key, name), None)
                self._outside.queue.add(key)

        self._tasks[key, name] = asyncio.create_task(run())

    def _mailbox(self, key: ports.Key) -> mailbox.Mailbox:
        return self._mail.setdefault(key, mailbox.Mailbox())

    def _forget(self, key: ports.Key) -> None:
        self._outside.data_plane.withdraw(key)
        self._outside.resolver.forget(key)
        self._outside.meters.forget(key)
        self._mail.pop(key, None)
        self._uids.pop(key, None)
        for known, task in list(self._tasks.items()):
            if known[0] == key:
                task.cancel()


def _step_id(status: modeldeployment_status.ModelDeploymentStatus) -> world.StepId | None:
    if status.candidate is None or status.step is None or status.step.started_at is None:
        return None
    return world.StepId(status.candidate.name, status.step.index, status.step.started_at)


def _first(error: pydantic.ValidationError) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}; correct the field"
