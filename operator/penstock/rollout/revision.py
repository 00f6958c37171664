"""A revision: one resolved model version plus one server template, immutable, named by a hash of what people wrote.

The name is a pure function of the user's own words. What the release adds (its default image, labels, probes) is
resolved once and kept with the revision, so that another release of the operator renders no new one.
"""

import copy
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from penstock import ports
from penstock.api.v1alpha1 import base, modeldeployment

HASH_LENGTH = 10


@dataclass(frozen=True)
class Revision:
    """All that is needed to make the pods of a revision, at any later time."""

    name: str
    model: str
    version: int
    tracking_uri: str
    credentials_secret: str | None
    image: str
    image_pull_policy: str
    server: dict[str, Any] = field(hash=False)
    """The user's `spec.server` without `replicas`, as it was when the revision was made."""

    def to_data(self) -> dict[str, Any]:
        """The form that a ControllerRevision stores."""
        return {
            "name": self.name,
            "model": self.model,
            "version": self.version,
            "trackingURI": self.tracking_uri,
            "credentialsSecret": self.credentials_secret,
            "image": self.image,
            "imagePullPolicy": self.image_pull_policy,
            "server": copy.deepcopy(self.server),
        }

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> "Revision":
        """Read what `to_data` wrote, also by an older release."""
        return cls(
            name=data["name"],
            model=data["model"],
            version=int(data["version"]),
            tracking_uri=data["trackingURI"],
            credentials_secret=data.get("credentialsSecret"),
            image=data["image"],
            image_pull_policy=data.get("imagePullPolicy", "IfNotPresent"),
            server=copy.deepcopy(data.get("server", {})),
        )


@dataclass(frozen=True)
class Defaults:
    """What the release adds to a spec that is silent."""

    tracking_uri: str | None
    credentials_secret: str | None
    image: str
    image_pull_policy: str = "IfNotPresent"


def digest(value: object, length: int = HASH_LENGTH) -> str:
    """A short hash of any JSON value, the same on every machine."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def words(part: base.Model) -> dict[str, Any]:
    """What people wrote: all but the defaults, so that a field that a later release adds changes no hash."""
    return part.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)


def server_template(server: modeldeployment.Server) -> dict[str, Any]:
    """The part of `spec.server` that belongs to a revision: all but the number of pods."""
    wire = server.to_wire()
    wire.pop("replicas", None)
    return wire


def render(
    spec: modeldeployment.ModelDeploymentSpec, resolved: ports.ModelVersion, defaults: Defaults, tracking_uri: str
) -> Revision:
    """The revision that `spec` asks for now that its model is resolved to a version."""
    own_registry = spec.model.registry
    identity = {
        "model": resolved.name,
        "version": resolved.version,
        "registry": words(own_registry) if own_registry else None,
        "server": _without(words(spec.server), "replicas"),
    }
    secret = own_registry.secret_ref.name if own_registry and own_registry.secret_ref else None
    if own_registry is None:
        secret = defaults.credentials_secret
    return Revision(
        name=digest(identity),
        model=resolved.name,
        version=resolved.version,
        tracking_uri=tracking_uri,
        credentials_secret=secret,
        image=spec.server.image or defaults.image,
        image_pull_policy=spec.server.image_pull_policy or defaults.image_pull_policy,
        server=server_template(spec.server),
    )


def fingerprint(spec: modeldeployment.ModelDeploymentSpec) -> str:
    """Hash of the parts of a spec whose change gives a rolled-back revision another chance.

    Scaling, pausing, pinning and how often the alias is looked up are not among them: they say nothing about the
    version.
    """
    rollout = words(spec.rollout)
    return digest(
        {
            "model": _without(words(spec.model), "pollSeconds"),
            "server": _without(words(spec.server), "replicas"),
            "steps": rollout.get("steps"),
            "analysis": rollout.get("analysis"),
        }
    )


def _without(wire: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in wire.items() if key != name}
