"""What a rollout and its operator cost, measured on the installed release under real traffic.

Run in the cluster's network: `python dev/cluster/main.py exec .venv/bin/python -m benchmarks.rollout`. Prints a table
and writes benchmarks/results/rollout.json. Nothing here asserts: machines differ, figures are compared in one run.
"""

import argparse
import asyncio
import contextlib
import json
import pathlib
import statistics
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from penstock.api.v1alpha1.modeldeployment_status import ModelDeployment, ModelDeploymentStatus, Phase
from penstock.kube import client, resources

from dev.demo import cluster as demo_cluster
from dev.demo import models, registry, tunnel
from dev.traffic import client as traffic

RESULTS = pathlib.Path(__file__).parent / "results" / "rollout.json"
SYSTEM = "penstock-system"
POLL_SECONDS = 0.02
Json = dict[str, Any]


@dataclass
class Figures:
    """What was measured, by name."""

    values: dict[str, Any] = field(default_factory=dict)

    def say(self, name: str, value: float | str, unit: str = "") -> None:
        """Keep a figure and print it."""
        self.values[name] = value
        shown = f"{value:.3f}" if isinstance(value, float) else value
        print(f"{name:64} {shown} {unit}", flush=True)

    def spread(self, name: str, values: list[float]) -> None:
        """Keep the median and the range of a figure."""
        if values:
            self.say(f"{name}, median of {len(values)}", statistics.median(values), "s")
            self.say(f"{name}, range", f"{min(values):.3f} to {max(values):.3f}", "s")


@dataclass(frozen=True)
class Place:
    """Where the benchmark runs."""

    cluster: client.Cluster
    namespace: str
    envoy: str
    mlflow: str
    versions: dict[models.Role, registry.Registered]

    async def apply(self, spec: Json, name: str = models.NAME) -> None:
        await self.cluster.apply(
            {
                "apiVersion": "penstock.dev/v1alpha1",
                "kind": "ModelDeployment",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": spec,
            },
            field_manager="benchmark",
        )

    async def until(
        self, check: Callable[[ModelDeploymentStatus], bool], what: str, seconds: float = 180
    ) -> ModelDeploymentStatus:
        """Poll the status until it is as expected."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            body = await self.cluster.get(resources.MODEL_DEPLOYMENT, self.namespace, models.NAME)
            if body is not None:
                status = ModelDeployment.model_validate(body).status
                if check(status):
                    return status
            await asyncio.sleep(POLL_SECONDS)
        raise TimeoutError(f"{what}: not within {seconds:.0f} s")


def spec(version: int, steps: list[Json], replicas: int = 1) -> Json:
    return {
        "model": {"name": models.NAME, "version": version},
        "server": {"replicas": replicas},
        "rollout": {
            "steps": steps,
            "analysis": {
                "intervalSeconds": 1,
                "metrics": [
                    {"name": "errors", "type": "ErrorRate", "max": 0.02, "windowSeconds": 10, "minSamples": 10}
                ],
            },
            "scaleDownDelaySeconds": 0,
        },
    }


def serves(version: int) -> Callable[[ModelDeploymentStatus], bool]:
    return lambda status: (
        status.stable is not None
        and status.stable.model_version == version
        and status.candidate is None
        and status.phase in {Phase.HEALTHY, Phase.DEGRADED}
    )


def ready_or_promoted(version: int) -> Callable[[ModelDeploymentStatus], bool]:
    """Both pods of the candidate are ready, or it is stable already."""

    def check(status: ModelDeploymentStatus) -> bool:
        if status.candidate is None:
            return status.stable is not None and status.stable.model_version == version
        return status.candidate.waiting_since is None and status.candidate.ready_replicas == 2

    return check


async def undo(place: Place, figures: Figures, rounds: int) -> None:
    """A version that turns bad while it has a share of the traffic: seconds until no caller gets it any more."""
    roles = models.Role
    good, flawed = place.versions[roles.BETTER].version, place.versions[roles.FLAWED].version
    host = f"{models.NAME}.{place.namespace}"
    exposures: list[float] = []
    lost = sent = 0
    for number in range(rounds):
        await place.apply(spec(good, [{"smokeTest": {}}]))
        await place.until(serves(good), "the good version serves")
        harmless, mixed = models.requests(smooth_every=None), models.requests(smooth_every=1)
        load = traffic.Load(harmless, per_second=60, connections=16)
        async with traffic.flowing(traffic.Target(place.envoy, host), load) as callers:
            await place.apply(spec(flawed, [{"canary": {"weight": 50, "holdSeconds": 3600}}]))
            status = await place.until(
                lambda status: bool(status.verdicts) and status.verdicts[0].verdict == "Pass", "the canary passes"
            )
            candidate = status.candidate.name if status.candidate else ""
            await asyncio.sleep(2 + 0.37 * number)  # so that the moment falls anywhere between two measurements
            callers.send_instead(mixed)
            await place.until(lambda status: status.candidate is None, "the flawed version is undone")
            await asyncio.sleep(1)
            report = callers.summary()
        exposure = report.exposure(candidate)
        if exposure is not None:
            exposures.append(exposure)
        lost, sent = lost + len(report.lost), sent + report.sent
    figures.spread("first bad response -> last response of the bad version", exposures)
    figures.say("requests sent meanwhile", sent)
    figures.say("requests lost meanwhile", lost)


async def steps(place: Place, figures: Figures, rounds: int) -> None:
    """Five steps without holds, two replicas: the operator's own time, from ready pods to promotion."""
    roles = models.Role
    five: list[Json] = [{"smokeTest": {}}, *({"pause": {"holdSeconds": 0}} for _ in range(4))]
    whole: list[float] = []
    own: list[float] = []
    for number in range(rounds):
        version = place.versions[roles.FIRST if number % 2 else roles.BETTER].version
        other = place.versions[roles.BETTER if number % 2 else roles.FIRST].version
        await place.apply(spec(other, [{"smokeTest": {}}], replicas=2))
        await place.until(serves(other), "the version before serves")
        await place.apply(spec(version, five, replicas=2))
        begun = time.monotonic()
        await place.until(ready_or_promoted(version), "the candidate's pods are ready")
        ready = time.monotonic()
        await place.until(serves(version), "the candidate is promoted")
        own.append(time.monotonic() - ready)
        whole.append(time.monotonic() - begun)
    figures.spread("5 steps without holds, 2 replicas, from apply to promoted", whole)
    figures.spread("of it after the pods were ready", own)


async def idle(place: Place, figures: Figures, objects: int, seconds: float) -> None:
    """Memory and API writes at rest, with one ModelDeployment and with many whose pods no node takes."""
    figures.say("operator's memory, a few ModelDeployments", await _memory(place), "MiB")
    quiet = {**spec(1, [{"smokeTest": {}}])}
    quiet["model"] = {"name": models.NAME, "version": place.versions[models.Role.FIRST].version}
    quiet["server"]["template"] = {"spec": {"nodeSelector": {"benchmark": "nowhere"}}}
    quiet["rollout"]["progressDeadlineSeconds"] = 86400
    begun = time.monotonic()
    await asyncio.gather(*(place.apply(quiet, f"quiet-{number}") for number in range(objects)))
    while True:
        bodies = await place.cluster.list(resources.MODEL_DEPLOYMENT, place.namespace)
        taken = sum(
            1 for body in bodies if body.get("status", {}).get("candidate") and "quiet-" in str(body["metadata"])
        )
        if taken == objects:
            break
        await asyncio.sleep(0.2)
    figures.say(f"{objects} new ModelDeployments taken up within", time.monotonic() - begun, "s")
    await _settled(place)
    before, cpu = await _writes(place), await _cpu(place)
    await asyncio.sleep(seconds)
    figures.say(f"API writes of {objects} idle ModelDeployments in {seconds:.0f} s", await _writes(place) - before)
    figures.say("CPU of all operators meanwhile", 100 * (await _cpu(place) - cpu) / seconds, "% of a core")
    figures.say(f"operator's memory, {objects} ModelDeployments", await _memory(place), "MiB")


async def _settled(place: Place) -> None:
    last = -1.0
    while (now := await _writes(place)) != last:
        last = now
        await asyncio.sleep(10)


async def _metric(place: Place, name: str) -> list[float]:
    """A number from every operator."""
    pods = await place.cluster.list(resources.POD, SYSTEM, {"app.kubernetes.io/component": "operator"})
    numbers = []
    for pod in pods:
        url = f"http://{pod['status']['podIP']}:8082/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            lines = (await response.text()).splitlines()
        found = (float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))
        numbers.append(sum(found))
    return numbers


async def _memory(place: Place) -> float:
    return max(await _metric(place, "process_resident_memory_bytes")) / 2**20


async def _cpu(place: Place) -> float:
    return sum(await _metric(place, "process_cpu_seconds_total"))


async def _writes(place: Place) -> float:
    status = await _metric(place, "penstock_operator_status_writes_total")
    return sum((*status, *await _metric(place, "penstock_events_total")))


@contextlib.asynccontextmanager
async def placed() -> AsyncIterator[Place]:
    """A namespace of its own in the cluster, removed afterwards."""
    namespace = f"bench-{uuid.uuid4().hex[:6]}"
    async with demo_cluster.connect() as kubernetes, client.connect() as api:
        envoy = await kubernetes.service_address(SYSTEM, "penstock-envoy")
        await kubernetes.ensure_namespace(namespace)
        try:
            async with tunnel.open_to(await kubernetes.service_address(SYSTEM, "penstock-mlflow")) as mlflow:
                versions = await asyncio.to_thread(registry.ensure, mlflow)
                yield Place(api, namespace, envoy, mlflow, versions)
        finally:
            process = await asyncio.create_subprocess_exec("kubectl", "delete", "namespace", namespace, "--wait=false")
            await process.wait()


async def run(options: argparse.Namespace) -> None:
    figures = Figures()
    async with placed() as place:
        await undo(place, figures, options.rounds)
        await steps(place, figures, options.rounds)
        await idle(place, figures, options.objects, options.idle_seconds)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(figures.values, indent=2) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, help="rollouts of each kind")
    parser.add_argument("--objects", type=int, default=100, help="ModelDeployments at rest")
    parser.add_argument("--idle-seconds", type=float, default=60, help="how long to watch them rest")
    asyncio.run(run(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
