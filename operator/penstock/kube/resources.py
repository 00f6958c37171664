"""The resources of the Kubernetes API that Penstock works with, and their paths."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.api.v1alpha1 import base, modeldeployment

Obj = dict[str, Any]
"""An object as on the wire: JSON, camelCase."""

Objs = list[Obj]


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object, and how its path is spelled. All of them live in namespaces."""

    group: str
    version: str
    kind: str
    plural: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The path of one object, or of all in a namespace, or of all."""
        parts = [f"/apis/{self.group}" if self.group else "/api", self.version]
        if namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part is not None]
        return "/".join(parts)


MODEL_DEPLOYMENT = Resource(base.GROUP, base.VERSION, modeldeployment.KIND, modeldeployment.PLURAL)
DEPLOYMENT = Resource("apps", "v1", "Deployment", "deployments")
CONTROLLER_REVISION = Resource("apps", "v1", "ControllerRevision", "controllerrevisions")
SERVICE = Resource("", "v1", "Service", "services")
POD = Resource("", "v1", "Pod", "pods")
SECRET = Resource("", "v1", "Secret", "secrets")
CONFIG_MAP = Resource("", "v1", "ConfigMap", "configmaps")
EVENT = Resource("", "v1", "Event", "events")
ENDPOINT_SLICE = Resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
LEASE = Resource("coordination.k8s.io", "v1", "Lease", "leases")

WATCHED = (MODEL_DEPLOYMENT, DEPLOYMENT, SERVICE, POD, ENDPOINT_SLICE)
"""What is kept in the cache: our own kind, and what carries our label."""

MANAGED = {"app.kubernetes.io/managed-by": "penstock"}
"""The label of everything Penstock makes."""

_KNOWN = {
    (resource.api_version, resource.kind): resource
    for resource in (*WATCHED, CONTROLLER_REVISION, SECRET, CONFIG_MAP, EVENT, LEASE)
}


def of(obj: Mapping[str, Any]) -> Resource:
    """The resource of an object; KeyError if Penstock does not work with its kind."""
    return _KNOWN[obj["apiVersion"], obj["kind"]]


def selector(resource: Resource) -> dict[str, str]:
    """The labels by which Penstock watches a resource: all of its own kind, of the rest what it made."""
    return {} if resource == MODEL_DEPLOYMENT else dict(MANAGED)
