"""Where a scenario plays: a namespace of its own, one ModelDeployment, callers, and what went on when it fails."""

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import yaml
from penstock.api.v1alpha1.modeldeployment_status import ModelDeployment, ModelDeploymentStatus

from dev.traffic import client, report
from tests.e2e import kube, seen
from tests.e2e.catalogue import Catalogue, Kind
from tests.e2e.kube import Json, Kube

NAME = "fraud"
POLL_SECONDS = 0.1
BODIES = tuple(
    b'{"dataframe_split": {"columns": ["x"], "data": [[%.2f]]}}' % (0.05 + number / 10) for number in range(10)
)
"""Inputs of which an erroring model fails three in ten."""

Check = Callable[[ModelDeploymentStatus], bool]


@dataclass(frozen=True)
class World:
    """What the scenarios of a session share."""

    kube: Kube
    catalogue: Catalogue
    envoy: str
    """Address of the data plane."""
    registry: str
    """Address of the registry, as pods reach it."""
    system_namespace: str
    release: str

    @property
    def operator(self) -> str:
        """Name of the operator's Deployment."""
        return f"{self.release}-operator"


@dataclass(frozen=True)
class Answer:
    """What a caller got."""

    status: int
    text: str
    revision: str | None = None

    def json(self) -> Json:
        """The body as an object."""
        parsed: Json = json.loads(self.text)
        return parsed


class Stage:
    """One scenario's place in the world."""

    def __init__(self, world: World, title: str) -> None:
        self.world = world
        self.kube = world.kube
        self.namespace = f"e2e-{title.replace('_', '-')[:40].strip('-')}-{uuid.uuid4().hex[:6]}"
        self.alias = f"a{uuid.uuid4().hex[:8]}"
        self.traffic: client.Traffic | None = None

    @property
    def path(self) -> str:
        """The ModelDeployment in the API."""
        return f"/apis/penstock.dev/v1alpha1/namespaces/{self.namespace}/modeldeployments/{NAME}"

    # what a person does

    async def open(self) -> None:
        """Make the namespace."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        await self.kube.call("POST", "/api/v1/namespaces", body)

    async def close(self) -> None:
        """Remove the namespace, without waiting."""
        await self.kube.delete(f"/api/v1/namespaces/{self.namespace}")

    async def point(self, kind: Kind) -> None:
        """Move the alias that the ModelDeployment follows."""
        await asyncio.to_thread(self.world.catalogue.point, self.alias, kind)

    async def unpoint(self) -> None:
        """Remove the alias."""
        await asyncio.to_thread(self.world.catalogue.forget, self.alias)

    async def apply(self, spec: Json) -> None:
        """Apply the ModelDeployment."""
        body = {"apiVersion": "penstock.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": NAME}}
        await self.kube.apply(self.path, {**body, "spec": spec})

    async def patch(self, spec: Json) -> None:
        """Change parts of the spec."""
        await self.kube.merge(self.path, {"spec": spec})

    async def annotate(self, verb: str, value: str) -> None:
        """Ask for something by annotation."""
        await self.kube.merge(self.path, {"metadata": {"annotations": {f"penstock.dev/{verb}": value}}})

    async def serve(self, spec: Json, kind: Kind = Kind.GOOD) -> ModelDeploymentStatus:
        """Apply a ModelDeployment and wait until this kind of version serves."""
        if "alias" in spec["model"]:
            await self.point(kind)
        await self.apply(spec)
        return await self.until(lambda status: seen.serves(status, self.version(kind)), f"{kind} serves", seconds=180)

    async def tags(self, kind: Kind) -> dict[str, str]:
        """What the registry knows of a version."""
        return await asyncio.to_thread(self.world.catalogue.tags, kind)

    def version(self, kind: Kind) -> int:
        """The number of a version."""
        return self.world.catalogue.versions[kind]

    # what a person sees

    async def modeldeployment(self) -> ModelDeployment:
        """The object as it is now."""
        return ModelDeployment.model_validate(await self.kube.call("GET", self.path))

    async def status(self) -> ModelDeploymentStatus:
        """Its status as it is now."""
        return (await self.modeldeployment()).status

    async def until(self, check: Check, what: str, seconds: float = 120) -> ModelDeploymentStatus:
        """Poll the status until it is as expected."""
        status = ModelDeploymentStatus()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status = await self.status()
            if check(status):
                return status
            await asyncio.sleep(POLL_SECONDS)
        raise AssertionError(f"{what}: not within {seconds:.0f} s; it is {status.phase}: {status.message}")

    async def never(self, check: Check, what: str, seconds: float) -> ModelDeploymentStatus:
        """Poll the status for a while: what must not happen does not."""
        deadline = time.monotonic() + seconds
        while True:
            status = await self.status()
            assert not check(status), f"{what}: it is {status.phase}: {status.message}"
            if time.monotonic() > deadline:
                return status
            await asyncio.sleep(POLL_SECONDS)

    async def eventually(self, check: Callable[[], Any], what: str, seconds: float = 120) -> None:
        """Poll anything else until it is true; `check` may be a coroutine function."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            answer = check()
            if await answer if asyncio.iscoroutine(answer) else answer:
                return
            await asyncio.sleep(POLL_SECONDS)
        raise AssertionError(f"{what}: not within {seconds:.0f} s")

    async def events(self) -> list[tuple[str, str]]:
        """Reason and message of the events about the ModelDeployment, in order."""
        path = f"/api/v1/namespaces/{self.namespace}/events"
        found = await self.kube.items(path, {"fieldSelector": "involvedObject.kind=ModelDeployment"})
        found.sort(key=lambda event: event["metadata"]["creationTimestamp"])
        return [(event.get("reason", ""), event.get("message", "")) for event in found]

    async def owned(self) -> list[str]:
        """Everything in the namespace that belongs to the ModelDeployment, as kind/name."""
        kinds = {
            "/api/v1": ("pods", "services"),
            "/apis/apps/v1": ("deployments", "replicasets", "controllerrevisions"),
        }
        found = []
        for base, plurals in kinds.items():
            for plural in plurals:
                items = await self.kube.items(
                    f"{base}/namespaces/{self.namespace}/{plural}", {"labelSelector": f"penstock.dev/deployment={NAME}"}
                )
                found += [f"{plural}/{item['metadata']['name']}" for item in items]
        return sorted(found)

    async def only(self, revision: str) -> bool:
        """Whether the pods of a revision are all that is left."""
        pods = [name for name in await self.owned() if name.startswith("pods/")]
        return bool(pods) and all(f"-{revision}-" in name for name in pods)

    # the callers

    @property
    def target(self) -> client.Target:
        """Where callers send their requests."""
        return client.Target(self.world.envoy, host=f"{NAME}.{self.namespace}")

    @contextlib.asynccontextmanager
    async def callers(
        self, bodies: Sequence[bytes] = BODIES, per_second: float = 25, connections: int = 6
    ) -> AsyncIterator[client.Traffic]:
        """Callers while the block runs, and some answers before it begins."""
        async with client.flowing(self.target, client.Load(bodies, per_second, connections)) as traffic:
            self.traffic = traffic
            await self.eventually(lambda: len(traffic.exchanges) >= 5, "the first requests are answered")
            yield traffic
            enough = len(traffic.exchanges) + 5
            await self.eventually(lambda: len(traffic.exchanges) >= enough, "the last requests are answered")

    async def ask(
        self,
        body: bytes = BODIES[0],
        *,
        path: str = "/invocations",
        method: str = "POST",
        content_type: str = "application/json",
        host: str | None = None,
    ) -> Answer:
        """One request of a caller."""
        headers = {"Host": host or f"{NAME}.{self.namespace}", "Content-Type": content_type}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{self.world.envoy}{path}", data=body or None, headers=headers) as response,
        ):
            return Answer(response.status, await response.text(), response.headers.get("x-penstock-revision"))

    # when it fails

    async def describe(self) -> str:
        """Everything that helps to see why a scenario failed."""
        parts = [f"namespace {self.namespace}"]
        with contextlib.suppress(kube.Refused):
            body = await self.kube.call("GET", self.path)
            parts += ["--- spec", yaml.safe_dump(body.get("spec")), "--- annotations"]
            parts += [str(body["metadata"].get("annotations")), "--- status", yaml.safe_dump(body.get("status"))]
        if self.traffic is not None:
            parts += ["--- traffic", report.describe(self.traffic.summary())]
        events = await self.kube.items(f"/api/v1/namespaces/{self.namespace}/events")
        parts += ["--- events", *(_event(event) for event in events)]
        pods = await self.kube.items(f"/api/v1/namespaces/{self.namespace}/pods")
        parts += ["--- pods", *(_pod(pod) for pod in pods)]
        parts += ["--- operator's log", await self.operator_log()]
        return "\n".join(parts)

    async def operator_log(self) -> str:
        """The last lines of the operator's log that speak of this namespace, or of an error."""
        system = f"/api/v1/namespaces/{self.world.system_namespace}/pods"
        pods = await self.kube.items(system, {"labelSelector": "app.kubernetes.io/component=operator"})
        lines: list[str] = []
        for pod in pods:
            with contextlib.suppress(kube.Refused):
                text = await self.kube.text(
                    "GET", f"{system}/{pod['metadata']['name']}/log", query={"tailLines": "3000"}
                )
                lines += [line for line in text.splitlines() if self.namespace in line or "error" in line.lower()]
        return "\n".join(lines[-60:])


def _event(event: Json) -> str:
    subject = event["involvedObject"]
    when = event["metadata"]["creationTimestamp"]
    return f"{when} {subject['kind']}/{subject.get('name')} {event.get('reason')}: {event.get('message')}"


def _pod(pod: Json) -> str:
    states = [
        f"{status['name']} {status['state']} restarts={status['restartCount']}"
        for status in [
            *pod["status"].get("initContainerStatuses", []),
            *pod["status"].get("containerStatuses", []),
        ]
    ]
    return f"{pod['metadata']['name']} {pod['status'].get('phase')} {'; '.join(states)}"
