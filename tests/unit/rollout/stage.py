"""A cluster, registry, data plane and metric store in memory, with a clock that jumps, for whole rollouts through the shell.

Every write can be made to fail, before or after it took effect; the controller is then replaced, as after a crash.
"""

# ports have more arguments than a stage needs
# ruff: noqa: ARG002

import asyncio
import copy
import datetime
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import prometheus_client
from penstock import errors, ports
from penstock.analysis import measurement
from penstock.analysis.signature import Column, Scalar, Signature
from penstock.api.v1alpha1.modeldeployment import Metric, ModelRef, SmokeTestStep
from penstock.api.v1alpha1.modeldeployment_status import ModelDeployment, Split
from penstock.rollout import gather, manifests, meters, resolver, revision, shell, world

Json = dict[str, Any]
KEY = ports.Key("ml", "fraud")
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
SAME = Signature(inputs=(Column("amount", Scalar("double")),), outputs=(Column("score", Scalar("double")),))


class Crash(errors.ClusterUnavailable):
    """The write that the test chose to fail."""


@dataclass
class Trouble:
    """Lets the `at`-th write fail, before it takes effect or after; None: none fails."""

    at: int | None = None
    after: bool = False
    count: int = 0

    def strike(self, *, after: bool) -> None:
        if not after:
            self.count += 1
        if self.at == self.count and after == self.after:
            raise Crash(f"write {self.count} failed {'after' if after else 'before'} it took effect")


class Registry:
    """Aliases by name, and the tags that were written."""

    def __init__(self) -> None:
        self.aliases = {"champion": 1}
        self.tags: dict[int, dict[str, str]] = {}
        self.signatures: dict[int, Signature | errors.PenstockError | None] = {}
        """Of the versions that do not take and give the same as all others."""
        self.problem: errors.PenstockError | None = None

    async def resolve(self, registry: ports.RegistryAddress, model: ModelRef) -> ports.ModelVersion:
        if self.problem is not None:
            raise self.problem
        version = model.version or self.aliases.get(model.alias or "")
        if version is None:
            raise errors.AliasNotFound(f"alias {model.alias} does not exist: set it")
        return ports.ModelVersion(model.name, version)

    async def signature(self, registry: ports.RegistryAddress, version: ports.ModelVersion) -> Signature | None:
        found = self.problem or self.signatures.get(version.version, SAME)
        if isinstance(found, errors.PenstockError):
            raise found
        return found

    async def tag(self, registry: ports.RegistryAddress, version: ports.ModelVersion, tags: Mapping[str, str]) -> None:
        if self.problem is not None:
            raise self.problem
        self.tags.setdefault(version.version, {}).update(tags)


class DataPlane:
    """Confirms at once what it is told, and remembers every split that was ever in force."""

    def __init__(self) -> None:
        self.routed: dict[ports.Key, ports.Routed] = {}
        self.seen: list[ports.Routed] = []

    def publish(self, routed: ports.Routed) -> None:
        if self.routed.get(routed.key) != routed:
            self.routed[routed.key] = routed
            self.seen.append(routed)

    def withdraw(self, key: ports.Key) -> None:
        self.routed.pop(key, None)

    def applied(self, key: ports.Key) -> Split | None:
        return self.routed[key].split if key in self.routed else None

    def unrouted(self, key: ports.Key) -> tuple[str, ...]:
        return ()

    def on_applied(self, listener: Callable[[ports.Key], None]) -> None:
        """Confirms at once, so there is never anything to tell."""


@dataclass
class Stage:
    """Everything outside the controller, as `shell.Objects`, `Writer`, `Recorder`, `Queue`, metrics and smoke tester."""

    trouble: Trouble = field(default_factory=Trouble)
    now: datetime.datetime = START
    objects: dict[tuple[str, str], Json] = field(default_factory=dict)
    events: list[tuple[str, str]] = field(default_factory=list)
    bad: set[int] = field(default_factory=set)
    broken_smoke: set[int] = field(default_factory=set)
    status_writes: int = 0
    planned: datetime.datetime | None = None

    def __post_init__(self) -> None:
        self.registry = Registry()
        self.data_plane = DataPlane()
        self._versions = itertools.count(1)

    # what the API server does

    def put(self, body: Json) -> Json:
        stored = copy.deepcopy(body)
        stored["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[stored["kind"], stored["metadata"]["name"]] = stored
        return copy.deepcopy(stored)

    def create(self, spec: Json, uid: str = "u1") -> None:
        self.put(
            {
                "apiVersion": "penstock.dev/v1alpha1",
                "kind": "ModelDeployment",
                "metadata": {"name": KEY.name, "namespace": KEY.namespace, "uid": uid, "generation": 1},
                "spec": spec,
            }
        )

    def collect_garbage(self, most: int = 1) -> int:
        """Remove some objects whose owner is gone, as the cluster does in its own time; how many there were."""
        uid = self.mdep().metadata.uid
        left = [
            found
            for found, body in sorted(self.objects.items())
            if body["kind"] != "ModelDeployment" and body["metadata"]["ownerReferences"][0]["uid"] != uid
        ]
        for found in left[:most]:
            del self.objects[found]
        return len(left)

    def of_kind(self, kind: str) -> tuple[Json, ...]:
        return tuple(body for (found, _), body in sorted(self.objects.items()) if found == kind)

    def mdep(self) -> ModelDeployment:
        return ModelDeployment.model_validate(self.objects["ModelDeployment", KEY.name])

    def edit(self, change: Callable[[Json], None]) -> None:
        """A person edits the object."""
        body = copy.deepcopy(self.objects["ModelDeployment", KEY.name])
        change(body)
        body["metadata"]["generation"] += 1
        self.put(body)

    # shell.Objects

    def modeldeployment(self, key: ports.Key) -> Json | None:
        return self.objects.get(("ModelDeployment", key.name))

    def children(self, key: ports.Key) -> gather.Children:
        slices = [
            {
                "metadata": {"labels": body["metadata"]["labels"]},
                "ports": [{"name": "http", "port": 8080}],
                "endpoints": [
                    {"addresses": [f"10.0.{number}.{pod + 1}"], "conditions": {"ready": True}}
                    for pod in range(body["spec"]["replicas"])
                ],
            }
            for number, body in enumerate(self.of_kind("Deployment"))
        ]
        ours = tuple(body for body in self.of_kind("Service") if manifests.MANAGED_BY in body["metadata"]["labels"])
        return gather.Children(self.of_kind("Deployment"), ours, (), tuple(slices))

    def learn(self, body: Json) -> None:
        """The objects are the API server's own, so there is nothing to learn."""

    # shell.Writer

    async def create_if_absent(self, body: Json) -> Json:
        found = self.objects.get((body["kind"], body["metadata"]["name"]))
        if found is not None:
            return copy.deepcopy(found)
        self.trouble.strike(after=False)
        stored = self.put(body)
        self.trouble.strike(after=True)
        return stored

    async def scale(self, namespace: str, deployment: str, replicas: int) -> None:
        self.trouble.strike(after=False)
        body = copy.deepcopy(self.objects["Deployment", deployment])
        body["spec"]["replicas"] = replicas
        self.put(body)
        self.trouble.strike(after=True)

    async def remove_revision(self, namespace: str, name: str) -> None:
        self.trouble.strike(after=False)
        self.objects.pop(("Deployment", name), None)
        self.objects.pop(("Service", name), None)
        self.trouble.strike(after=True)

    async def revisions(self, namespace: str, deployment: str) -> dict[str, Json]:
        return {
            body["metadata"]["labels"][manifests.REVISION_LABEL]: body for body in self.of_kind("ControllerRevision")
        }

    async def delete_record(self, namespace: str, name: str) -> None:
        self.trouble.strike(after=False)
        self.objects.pop(("ControllerRevision", name), None)
        self.trouble.strike(after=True)

    async def write_status(self, body: Json, status: Json) -> Json:
        stored = self.objects["ModelDeployment", KEY.name]
        if stored["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            raise errors.Conflict("somebody wrote first")
        self.trouble.strike(after=False)
        self.status_writes += 1
        written = self.put({**stored, "status": status})
        self.trouble.strike(after=True)
        return written

    # shell.Recorder, shell.Queue, ports.MetricSource, ports.SmokeTester

    async def emit(self, involved: Json, event: world.Event) -> None:
        self.events.append((event.reason, event.message))

    def add(self, key: ports.Key) -> None:
        self.planned = self.now

    def add_after(self, key: ports.Key, seconds: float) -> None:
        at = self.now + datetime.timedelta(seconds=seconds)
        self.planned = at if self.planned is None else min(self.planned, at)

    async def measure(self, metric: Metric, subject: ports.Subject, window_seconds: int) -> measurement.Measurement:
        return measurement.Value(0.5 if self._version(subject.candidate) in self.bad else 0.0, samples=1000)

    async def run(self, endpoint: ports.Endpoint, test: SmokeTestStep) -> ports.SmokeAnswer:
        candidate = self.mdep().status.candidate
        broken = candidate is not None and candidate.model_version in self.broken_smoke
        return ports.SmokeAnswer(not broken, "no" if broken else "yes")

    def _version(self, name: str) -> int:
        return int(self.objects["ControllerRevision", f"{KEY.name}-{name}"]["data"]["version"])


def controller(stage: Stage) -> shell.Controller:
    """A process that has just started."""

    async def read_secret(namespace: str, name: str) -> dict[str, str] | None:
        return None

    defaults = revision.Defaults("http://mlflow:5000", None, "runtime:1")
    return shell.Controller(
        shell.World(
            objects=stage,
            writer=stage,
            recorder=stage,
            queue=stage,
            resolver=resolver.Resolver(stage.registry, read_secret, defaults, stage.add),
            metrics=stage,
            data_plane=stage.data_plane,
            smoke=stage,
            address=manifests.DataPlaneAddress("penstock-envoy", "penstock-system"),
            meters=meters.Meters(prometheus_client.CollectorRegistry()),
            clock=lambda: stage.now,
        )
    )


async def play(stage: Stage, until: Callable[[], bool], seconds: float = 600) -> int:
    """Run passes, jumping from one planned moment to the next, until a condition holds; how often it crashed."""
    process, crashes, deadline = controller(stage), 0, stage.now + datetime.timedelta(seconds=seconds)
    stage.planned = stage.now
    while not until():
        if stage.now > deadline:
            status = stage.mdep().status
            raise AssertionError(f"not within {seconds} s: {status.phase}: {status.message}; events {stage.events}")
        stage.planned = None
        try:
            await process.reconcile(KEY)
        except Crash:
            crashes += 1
            await process.stop()
            process = controller(stage)
            stage.planned = stage.now
        except errors.Conflict:
            stage.add_after(KEY, 0.2)
        for _ in range(10):
            await asyncio.sleep(0)
        at = stage.planned or stage.now
        stage.now = max(at, stage.now + datetime.timedelta(milliseconds=10))
    await process.stop()
    return crashes
