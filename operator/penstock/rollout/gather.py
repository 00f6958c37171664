"""From the objects that the caches hold to what a decision, or the data plane, needs to see. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from penstock import ports
from penstock.api.v1alpha1 import modeldeployment_status
from penstock.rollout import manifests, podhealth, world

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Children:
    """The objects that belong to one ModelDeployment, as the API server stores them."""

    deployments: tuple[Json, ...] = ()
    services: tuple[Json, ...] = ()
    pods: tuple[Json, ...] = ()
    slices: tuple[Json, ...] = ()


def belonging_to(owner: modeldeployment_status.Metadata, children: Children) -> Children:
    """Without what a deleted ModelDeployment of the same name has left: the cluster is about to remove that."""

    def ours(bodies: Iterable[Json]) -> tuple[Json, ...]:
        return tuple(body for body in bodies if manifests.belongs_to(body, owner))

    return Children(ours(children.deployments), ours(children.services), ours(children.pods), ours(children.slices))


def workloads(children: Children) -> dict[str, world.Workload]:
    """The revisions that run, by name. One whose Service is missing counts as not there: it is to be made again."""
    endpoints = ready_endpoints(children.slices)
    with_service = {_revision(service) for service in children.services}
    pods: dict[str, list[Json]] = {}
    for pod in children.pods:
        pods.setdefault(_revision(pod), []).append(pod)
    found = {}
    for deployment in children.deployments:
        name = _revision(deployment)
        if not name or name not in with_service or deployment["metadata"].get("deletionTimestamp"):
            continue
        found[name] = world.Workload(
            replicas=deployment.get("spec", {}).get("replicas", 1),
            ready=len(endpoints.get(name, ())),
            failure=podhealth.judge(pods.get(name, []), deployment),
        )
    return found


def entry_exists(owner: modeldeployment_status.Metadata, children: Children) -> bool:
    """Whether the Service for callers in the cluster exists."""
    return any(service["metadata"]["name"] == owner.name for service in children.services)


def ready_endpoints(slices: Iterable[Json]) -> dict[str, tuple[ports.Endpoint, ...]]:
    """The ready endpoints of every revision, sorted, each once."""
    found: dict[str, set[ports.Endpoint]] = {}
    for slice_ in slices:
        name = _revision(slice_)
        port = next((port.get("port") for port in slice_.get("ports") or [] if port.get("name") == "http"), None)
        for endpoint in slice_.get("endpoints") or []:
            if port is not None and (endpoint.get("conditions") or {}).get("ready", True):
                found.setdefault(name, set()).update(
                    ports.Endpoint(address, int(port)) for address in endpoint.get("addresses", [])
                )
    return {name: tuple(sorted(endpoints)) for name, endpoints in found.items() if name}


def running(pods: Iterable[Json], owner_uid: str, revision_name: str) -> tuple[ports.Endpoint, ...]:
    """Where the running pods of a revision keep their answers; those that are going are among them.

    Pods that a deleted ModelDeployment of the same name has left are not.
    """
    return tuple(
        ports.Endpoint(pod["status"]["podIP"], manifests.ANSWERS_PORT)
        for pod in pods
        if _revision(pod) == revision_name
        and pod["metadata"]["labels"].get(manifests.UID_LABEL) == owner_uid
        and pod.get("status", {}).get("phase") == "Running"
        and pod["status"].get("podIP")
    )


def scrape_targets(pods: Iterable[Json]) -> list[dict[str, Any]]:
    """Every running model pod, in the form of Prometheus's HTTP service discovery.

    A pod that is not ready is among them: its errors may be the reason.
    """
    targets = []
    for pod in pods:
        metadata, status = pod["metadata"], pod.get("status", {})
        address = status.get("podIP")
        if status.get("phase") == "Running" and address:
            host = f"[{address}]" if ":" in address else address
            labels = {"pod": metadata["name"], "namespace": metadata["namespace"]}
            targets.append({"targets": [f"{host}:{manifests.PORT}"], "labels": labels})
    return targets


def routed(mdep: modeldeployment_status.ModelDeployment, children: Children) -> ports.Routed:
    """What the data plane needs to know of a ModelDeployment: its split, and all revisions with ready endpoints.

    Those that the split does not name get no request; known early, they are a change of weights away from one.
    """
    endpoints = ready_endpoints(children.slices)
    versions = {
        revision_.name: revision_.model_version
        for revision_ in (mdep.status.stable, mdep.status.candidate)
        if revision_
    }
    split = mdep.status.split
    names = sorted({name for name in (split.stable, split.candidate) if name is not None} | set(endpoints))
    return ports.Routed(
        key=ports.Key(mdep.metadata.namespace, mdep.metadata.name),
        hostnames=tuple(mdep.spec.route.hostnames),
        split=split,
        backends={name: ports.Backend(name, versions.get(name, 0), endpoints.get(name, ())) for name in names},
    )


def _revision(body: Json) -> str:
    labels: Mapping[str, str] = body.get("metadata", {}).get("labels") or {}
    return labels.get(manifests.REVISION_LABEL, "")
