"""The Kubernetes objects of a revision, as JSON: pure functions of the revision, its owner and the release's settings.

Deployment and Service are made once; later only `replicas` changes, so that no operator upgrade touches a running pod.
Everything is owned by the ModelDeployment: deleting it takes all of it along, also while no operator runs.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.api.v1alpha1 import base, modeldeployment, modeldeployment_status
from penstock.rollout import revision

PORT = 8080
ANSWERS_PORT = 8081
"""Where the operator reads the answers that a pod has kept; no route of the data plane leads there."""
USER_ID = 65532
DRAIN_SECONDS = 5
GRACE_SECONDS = 75

MANAGED_BY = "app.kubernetes.io/managed-by"
DEPLOYMENT_LABEL = "penstock.dev/deployment"
REVISION_LABEL = "penstock.dev/revision"
UID_LABEL = "penstock.dev/deployment-uid"
"""Tells the pods of a ModelDeployment from those that a deleted one of the same name has left for a moment."""
COMPONENT_LABEL = "penstock.dev/component"
VERSION_ANNOTATION = "penstock.dev/model-version"

ENTRY = "entry"
"""Names the Service for callers where a revision would be named."""

CREDENTIAL_KEYS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


@dataclass(frozen=True)
class DataPlaneAddress:
    """Where the shared Envoy of the release answers."""

    service: str
    namespace: str
    cluster_domain: str = "cluster.local"


Json = dict[str, Any]


def object_name(owner: modeldeployment_status.Metadata, revision_name: str) -> str:
    """Name of a revision's Deployment, Service and record."""
    return f"{owner.name}-{revision_name}"


def labels(owner: modeldeployment_status.Metadata, revision_name: str | None = None) -> dict[str, str]:
    """Labels of everything that belongs to a ModelDeployment, and to one of its revisions."""
    ours = {MANAGED_BY: "penstock", DEPLOYMENT_LABEL: owner.name, UID_LABEL: owner.uid}
    return ours if revision_name is None else {**ours, REVISION_LABEL: revision_name}


def belongs_to(body: Mapping[str, Any], owner: modeldeployment_status.Metadata) -> bool:
    """Whether an object was made for this very ModelDeployment, and not for an earlier one of its name."""
    ours: bool = (body["metadata"].get("labels") or {}).get(UID_LABEL) == owner.uid
    return ours


def _selector(owner: modeldeployment_status.Metadata, revision_name: str) -> dict[str, str]:
    return {DEPLOYMENT_LABEL: owner.name, UID_LABEL: owner.uid, REVISION_LABEL: revision_name}


def _metadata(owner: modeldeployment_status.Metadata, name: str, own_labels: Mapping[str, str]) -> Json:
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": dict(own_labels),
        "ownerReferences": [
            {
                "apiVersion": base.API_VERSION,
                "kind": modeldeployment.KIND,
                "name": owner.name,
                "uid": owner.uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }


def record(owner: modeldeployment_status.Metadata, made: revision.Revision, number: int) -> Json:
    """The ControllerRevision that remembers how the pods of a revision are made."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": _metadata(owner, object_name(owner, made.name), labels(owner, made.name)),
        "data": made.to_data(),
        "revision": number,
    }


def service(owner: modeldeployment_status.Metadata, revision_name: str) -> Json:
    """The headless Service whose EndpointSlices tell the data plane which pods are ready."""
    own = labels(owner, revision_name)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(owner, object_name(owner, revision_name), own),
        "spec": {
            "clusterIP": "None",
            "selector": _selector(owner, revision_name),
            "ports": [{"name": "http", "port": PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def entry(owner: modeldeployment_status.Metadata, data_plane: DataPlaneAddress) -> Json:
    """The Service <name>.<namespace> for callers in the cluster: a name for the data plane, which works by itself."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(owner, owner.name, labels(owner)),
        "spec": {
            "type": "ExternalName",
            "externalName": f"{data_plane.service}.{data_plane.namespace}.svc.{data_plane.cluster_domain}",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        },
    }


def deployment(owner: modeldeployment_status.Metadata, made: revision.Revision, replicas: int) -> Json:
    """The Deployment of a revision."""
    own = labels(owner, made.name)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(owner, object_name(owner, made.name), own),
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 0,
            "progressDeadlineSeconds": 86400,
            "selector": {"matchLabels": _selector(owner, made.name)},
            "template": pod_template(owner, made),
        },
    }


def pod_metadata(owner: modeldeployment_status.Metadata, made: revision.Revision) -> Json:
    """By what we know the pods of a revision; no template may take it away."""
    return {
        "labels": {**labels(owner, made.name), COMPONENT_LABEL: "model"},
        "annotations": {VERSION_ANNOTATION: str(made.version)},
    }


def pod_template(owner: modeldeployment_status.Metadata, made: revision.Revision) -> Json:
    """The pod of a revision: the model is downloaded by one container and served by the next."""
    generated: Json = {
        "metadata": pod_metadata(owner, made),
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER_ID,
                "runAsGroup": USER_ID,
                "fsGroup": USER_ID,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "initContainers": [_download(owner, made)],
            "containers": [_server(owner, made)],
            "volumes": [{"name": "model", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
        },
    }
    merged: Json = merge(generated, made.server.get("template", {}))
    return merged


def _container(
    owner: modeldeployment_status.Metadata, made: revision.Revision, name: str, command: str, login: Sequence[Json] = ()
) -> Json:
    """What both containers share; the user's environment too (a proxy, the login of an artifact store)."""
    server = made.server
    more = {"envFrom": copy.deepcopy(server["envFrom"])} if server.get("envFrom") else {}
    return {
        **more,
        "name": name,
        "image": made.image,
        "imagePullPolicy": made.image_pull_policy,
        "command": ["penstock-serve", command],
        "env": merge_list([*_environment(owner, made), *login], server.get("env", []), "env"),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "model", "mountPath": "/model"}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }


def _download(owner: modeldeployment_status.Metadata, made: revision.Revision) -> Json:
    """Only this container gets the registry's login."""
    login = [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": made.credentials_secret, "key": key, "optional": True}}}
        for key in CREDENTIAL_KEYS
        if made.credentials_secret
    ]
    return _container(owner, made, "download", "download", login)


def _server(owner: modeldeployment_status.Metadata, made: revision.Revision) -> Json:
    container = _container(owner, made, "server", "serve")
    server = made.server
    if server.get("resources"):
        container["resources"] = copy.deepcopy(server["resources"])
    container["ports"] = [
        {"name": "http", "containerPort": PORT, "protocol": "TCP"},
        {"name": "answers", "containerPort": ANSWERS_PORT, "protocol": "TCP"},
    ]
    container["startupProbe"] = _probe("/ping", period=1, failures=600)
    container["livenessProbe"] = _probe("/ping", period=5, failures=6)
    container["readinessProbe"] = _probe("/health", period=1, failures=2)
    return container


def _probe(path: str, period: int, failures: int) -> Json:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }


def _environment(owner: modeldeployment_status.Metadata, made: revision.Revision) -> list[Json]:
    values = {
        "PENSTOCK_NAMESPACE": owner.namespace,
        "PENSTOCK_DEPLOYMENT": owner.name,
        "PENSTOCK_REVISION": made.name,
        "PENSTOCK_MODEL_NAME": made.model,
        "PENSTOCK_MODEL_VERSION": str(made.version),
        "PENSTOCK_MODEL_DIR": "/model",
        "PENSTOCK_PORT": str(PORT),
        "PENSTOCK_ANSWERS_PORT": str(ANSWERS_PORT),
        "PENSTOCK_DRAIN_SECONDS": str(DRAIN_SECONDS),
        "MLFLOW_TRACKING_URI": made.tracking_uri,
        "HOME": "/tmp",  # noqa: S108
    }
    return [{"name": name, "value": value} for name, value in values.items()]


KEYS = {"volumeMounts": "mountPath", "ports": "containerPort"}
"""What tells the objects of a list apart, where it is not the name."""

WHOLE = frozenset({"env", "volumes", "volumeMounts"})
"""Lists whose objects have one source each: the user's replaces ours."""

HANDLERS = frozenset({"httpGet", "exec", "tcpSocket", "grpc"})
"""A probe has one of these."""


def merge(generated: Any, partial: Any, name: str = "") -> Any:
    """`partial` laid over `generated`: objects by key, lists of keyed objects by that, anything else replaced.

    `name` is the field that holds them.
    """
    if isinstance(generated, dict) and isinstance(partial, dict):
        replaced = HANDLERS - partial.keys() if HANDLERS & partial.keys() else frozenset()
        merged = {key: value for key, value in generated.items() if key not in replaced}
        for key, value in partial.items():
            merged[key] = merge(generated[key], value, key) if key in generated else copy.deepcopy(value)
        return merged
    if _keyed(generated, name) and _keyed(partial, name):
        return merge_list(generated, partial, name)
    return copy.deepcopy(partial)


def merge_list(generated: Sequence[Json], partial: Sequence[Json], name: str) -> list[Json]:
    """Lists of keyed objects: same keys merged or replaced, new ones appended."""
    key = KEYS.get(name, "name")
    over = {item[key]: item for item in partial}
    known = {item[key] for item in generated}
    kept = [_laid_over(item, over.get(item[key]), name) for item in generated]
    return kept + [copy.deepcopy(item) for item in partial if item[key] not in known]


def _laid_over(item: Json, over: Json | None, name: str) -> Json:
    if over is None or name in WHOLE:
        return copy.deepcopy(item if over is None else over)
    merged: Json = merge(item, over)
    return merged


def _keyed(items: Any, name: str) -> bool:
    key = KEYS.get(name, "name")
    return (
        isinstance(items, list)
        and bool(items)
        and all(isinstance(item, dict) and isinstance(item.get(key), str | int) for item in items)
    )
