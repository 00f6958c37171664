"""The story of the demo: a first version, a better one that is promoted, and two that are undone.

One of these answers wrongly, and no user sees it; the other fails what it was not trained for.
"""

import asyncio
import pathlib
from dataclasses import dataclass
from typing import Any

import yaml
from penstock.api.v1alpha1.modeldeployment_status import HistoryEntry, ModelDeploymentStatus, Outcome, Verdict

from dev.demo import cluster, models, registry, stage, tunnel
from dev.demo.models import Role
from dev.traffic import client, report

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "demo" / "modeldeployment.yaml"
SMOOTH_EVERY = 4
LAST_LOOK_SECONDS = 3.0


@dataclass(frozen=True)
class Place:
    """Where the demo plays."""

    namespace: str
    system_namespace: str
    release: str
    per_second: float


@dataclass(frozen=True)
class Story:
    """How it went."""

    name: str
    address: str
    """Where the model answers, in the cluster's network."""
    versions: dict[Role, registry.Registered]
    history: tuple[HistoryEntry, ...]
    stable_version: int | None
    traffic: report.Report


def modeldeployment() -> dict[str, Any]:
    """The demo's ModelDeployment."""
    parsed: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    return parsed


async def play(place: Place, on: stage.Stage) -> Story:
    """Play the whole story, a bit more than a minute."""
    async with cluster.connect() as kubernetes:
        service = await kubernetes.service_address(place.system_namespace, f"{place.release}-mlflow")
        envoy = await kubernetes.service_address(place.system_namespace, f"{place.release}-envoy")
        async with tunnel.open_to(service) as mlflow:
            await _clear(kubernetes, place, on)
            versions = await _register(mlflow, on)
            return await _Play(kubernetes, place, on, versions, mlflow, envoy).run()


async def _clear(kubernetes: cluster.Cluster, place: Place, on: stage.Stage) -> None:
    on.scene("Setting the stage", "Taking away what an earlier demo left behind.")
    await kubernetes.ensure_namespace(place.namespace)
    async with asyncio.timeout(120):
        await kubernetes.remove(place.namespace, modeldeployment()["metadata"]["name"])


async def _register(mlflow: str, on: stage.Stage) -> dict[Role, registry.Registered]:
    on.scene("Training", f"Four versions of {models.NAME!r}, a small classifier, go into the MLflow registry.")
    versions = await asyncio.to_thread(registry.ensure, mlflow)
    await asyncio.to_thread(registry.point, mlflow, versions[Role.FIRST].version)
    return versions


@dataclass(frozen=True)
class _Play:
    """The acts, and what they need."""

    kubernetes: cluster.Cluster
    place: Place
    on: stage.Stage
    versions: dict[Role, registry.Registered]
    mlflow: str
    envoy: str

    async def run(self) -> Story:
        """All acts, while the cluster's news come in."""
        body, namespace = modeldeployment(), self.place.namespace
        name = body["metadata"]["name"]
        async with asyncio.TaskGroup() as background:
            uid = await self.kubernetes.apply(namespace, body)
            watching = [
                background.create_task(self.kubernetes.follow(namespace, name, self.on.learn)),
                background.create_task(self.kubernetes.follow_events(namespace, uid, self.on.learn_event)),
            ]
            story = await self._acts(name)
            for task in watching:
                task.cancel()
        return story

    async def _acts(self, name: str) -> Story:
        await self._first()
        target = client.Target(self.envoy, host=f"{name}.{self.place.namespace}")
        load = client.Load(models.requests(smooth_every=None), per_second=self.place.per_second)
        async with client.flowing(target, load) as traffic:
            self.on.callers(traffic)
            await self._better()
            await self._inverted()
            last = await self._flawed(traffic)
            await asyncio.sleep(LAST_LOOK_SECONDS)
        flawed = self.versions[Role.FLAWED].version
        serving = f"version {last.stable.model_version}" if last.stable else "nothing"
        self.on.scene(
            "The end", f"The rollout of version {flawed} is {last.history[0].outcome.value}; {serving} serves."
        )
        return Story(
            name=name,
            address=self.envoy,
            versions=self.versions,
            history=tuple(last.history),
            stable_version=last.stable.model_version if last.stable else None,
            traffic=traffic.summary(),
        )

    async def _first(self) -> None:
        first = self.versions[Role.FIRST]
        self.on.scene(
            f"Version {first.version} is the first",
            f"{registry.ALIAS!r} names version {first.version} ({first.accuracy:.1%} right): nobody to protect yet.",
        )
        await self.on.until(lambda status: _serves(status, first), f"version {first.version} serves")

    async def _better(self) -> None:
        better = self.versions[Role.BETTER]
        self.on.scene(
            f"Version {better.version} is better",
            f"{registry.ALIAS!r} moves to version {better.version} ({better.accuracy:.1%} right).",
        )
        await self._point(better)
        await self.on.until(lambda status: _ended(status, better), f"the rollout of version {better.version} ends")

    async def _inverted(self) -> None:
        inverted = self.versions[Role.INVERTED]
        self.on.scene(
            f"Version {inverted.version} answers everything, and wrongly",
            f"{registry.ALIAS!r} moves to version {inverted.version} ({inverted.accuracy:.1%} right, says its author, "
            "who has the labels the other way round).",
        )
        await self._point(inverted)
        await self.on.until(lambda status: _ended(status, inverted), f"the rollout of version {inverted.version} ends")

    async def _flawed(self, traffic: client.Traffic) -> ModelDeploymentStatus:
        flawed = self.versions[Role.FLAWED]
        self.on.scene(
            f"Version {flawed.version} is said to be better still",
            f"{registry.ALIAS!r} moves to version {flawed.version} ({flawed.accuracy:.1%} right, says its author).",
        )
        await self._point(flawed)
        await self.on.until(
            lambda status: _looks_good(status, flawed) or _ended(status, flawed), "the flawed version's canary passes"
        )
        self.on.scene(
            "A second clinic connects",
            f"Some of its samples have a smooth outline. Version {flawed.version} takes a logarithm of 0 and raises.",
        )
        traffic.send_instead(models.requests(smooth_every=SMOOTH_EVERY))
        return await self.on.until(
            lambda status: _ended(status, flawed), f"the rollout of version {flawed.version} ends"
        )

    async def _point(self, to: registry.Registered) -> None:
        await asyncio.to_thread(registry.point, self.mlflow, to.version)


def _serves(status: ModelDeploymentStatus, wanted: registry.Registered) -> bool:
    return status.candidate is None and status.stable is not None and status.stable.model_version == wanted.version


def _ended(status: ModelDeploymentStatus, wanted: registry.Registered) -> bool:
    return status.candidate is None and bool(status.history) and status.history[0].model_version == wanted.version


def _looks_good(status: ModelDeploymentStatus, wanted: registry.Registered) -> bool:
    """Whether users get answers of this version, and no check objects."""
    candidate, step = status.candidate, status.step
    return (
        candidate is not None
        and candidate.model_version == wanted.version
        and step is not None
        and step.kind == "canary"
        and bool(status.verdicts)
        and all(verdict.verdict is Verdict.PASS for verdict in status.verdicts)
    )


def problems(story: Story) -> list[str]:
    """What did not go as it should have."""
    better, inverted, flawed = (story.versions[role].version for role in (Role.BETTER, Role.INVERTED, Role.FLAWED))
    outcomes = {entry.model_version: entry for entry in reversed(story.history)}
    found = []
    wanted_of = {better: Outcome.PROMOTED, inverted: Outcome.ROLLED_BACK, flawed: Outcome.ROLLED_BACK}
    for version, wanted in wanted_of.items():
        entry = outcomes.get(version)
        if entry is None or entry.outcome is not wanted:
            was = f"{entry.outcome.value} ({entry.message})" if entry else "not rolled out"
            found.append(f"version {version} should have been {wanted.value} and was {was}")
    if story.stable_version != better:
        found.append(f"version {better} should be stable, and version {story.stable_version} is")
    if story.traffic.lost:
        found.append(f"{len(story.traffic.lost)} requests were lost, the first: {story.traffic.lost[0]}")
    if any(tally.version == inverted for tally in story.traffic.tallies.values()):
        found.append(f"users got answers of version {inverted}, which its shadow should have stopped")
    blamed = {tally.version for tally in story.traffic.tallies.values() if tally.failed}
    if blamed - {flawed}:
        found.append(f"requests were failed by versions {sorted(str(version) for version in blamed - {flawed})}")
    return found
