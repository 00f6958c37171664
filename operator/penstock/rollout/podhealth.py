"""Why the pods of a revision do not serve: read from the pods' own status, told in one sentence.

Exit codes of the runtime are a contract (sysexits.h): 65, the model cannot be loaded and waiting will not help;
75, something outside is down and trying again may help.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from penstock.rollout import world

EXIT_FINAL = 65
EXIT_RETRY = 75
CRASHES_TOLERATED = 2

FATAL_WAITS = frozenset({"InvalidImageName", "ErrImageNeverPull"})
"""Reasons of waiting that waiting will not cure. A failing pull may be the image registry's hiccup: it has until the
progress deadline."""

CURES = {
    "InvalidImageName": "correct spec.server.image",
    "ErrImageNeverPull": "load the image on the node, or change spec.server.imagePullPolicy",
    "ImagePullBackOff": "check spec.server.image and the pull secrets",
    "CreateContainerConfigError": "create what the container refers to, or correct env and envFrom",
}


def judge(pods: Iterable[Mapping[str, Any]], deployment: Mapping[str, Any] | None = None) -> world.PodFailure | None:
    """The worst thing about these pods, or None. A fatal failure wins over one that waiting may cure."""
    alive = [pod for pod in pods if not pod.get("metadata", {}).get("deletionTimestamp")]
    failures = [failure for pod in alive for failure in _of_pod(pod)]
    if not failures and deployment is not None:
        failures = list(_of_deployment(deployment))
    return min(failures, key=lambda failure: not failure.fatal, default=None)


def _of_deployment(deployment: Mapping[str, Any]) -> Iterator[world.PodFailure]:
    for condition in deployment.get("status", {}).get("conditions", []):
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            yield world.PodFailure("PodsRefused", f"the cluster refuses the pods: {condition.get('message', '')}")


def _of_pod(pod: Mapping[str, Any]) -> Iterator[world.PodFailure]:
    status = pod.get("status", {})
    for condition in status.get("conditions", []):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield world.PodFailure("Unschedulable", f"no node takes the pod: {condition.get('message', '')}")
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        yield from _of_container(container)


def _of_container(container: Mapping[str, Any]) -> Iterator[world.PodFailure]:
    name = container.get("name", "")
    waiting = container.get("state", {}).get("waiting") or {}
    reason, text = waiting.get("reason", ""), waiting.get("message", "")
    if reason in CURES:
        yield world.PodFailure(
            reason, f"container {name}: {text or reason}; {CURES[reason]}", fatal=reason in FATAL_WAITS
        )
    ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated") or {}
    code = ended.get("exitCode", 0)
    if not code:
        return
    said = (ended.get("message") or "").strip()
    restarts = container.get("restartCount", 0)
    if container.get("ready") and restarts <= CRASHES_TOLERATED:
        return
    if code == EXIT_FINAL:
        yield world.PodFailure("ModelNotLoadable", said or f"container {name} cannot load the model", fatal=True)
    elif code == EXIT_RETRY:
        yield world.PodFailure("DownloadFailing", said or f"container {name} cannot download the model yet")
    elif restarts >= CRASHES_TOLERATED:
        why = f": {said}" if said else f" with exit code {code}{_of_reason(ended)}"
        yield world.PodFailure(
            "CrashLoop",
            f"container {name} crashed {restarts} times{why}; see its logs",
            fatal=restarts > CRASHES_TOLERATED,
        )


def _of_reason(ended: Mapping[str, Any]) -> str:
    reason = ended.get("reason")
    return f" ({reason})" if reason and reason != "Error" else ""
