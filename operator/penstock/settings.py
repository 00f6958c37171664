"""The operator's settings: read once from the environment at the start, frozen from then on."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import Field

from penstock import errors
from penstock.rollout import podpolicy

PREFIX = "PENSTOCK_"
LISTS = frozenset({"watch_namespaces", "pod_policy_service_accounts", "registry_allowed_hosts"})
"""Fields that hold names with commas between them."""


class Settings(pydantic.BaseModel):
    """What an installation decides; each field is the environment variable PENSTOCK_<FIELD> in upper case."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    operator_namespace: str = Field(min_length=1, description="Namespace of the operator and its Envoy.")
    watch_namespaces: tuple[str, ...] = Field(default=(), description="Namespaces to look after; all if empty.")
    runtime_image: str = Field(min_length=1, description="Image of the model server where a spec names none.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="Pull policy of model pods where a spec names none."
    )
    tracking_uri: str | None = Field(default=None, description="MLflow server where a spec names none.")
    registry_secret: str | None = Field(
        default=None, description="Secret with the credentials of that server, in the namespace of each deployment."
    )
    prometheus_url: str = Field(description="Prometheus that scrapes the model pods.")
    envoy_service: str = Field(default="penstock-envoy", description="Service of the Envoys, in operator_namespace.")
    cluster_domain: str = Field(default="cluster.local", description="DNS suffix of the cluster.")
    discovery_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=8081, description="Port for Envoy's discovery."
    )
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = Field(default=8082, description="Port of /metrics.")
    probe_port: Annotated[int, Field(ge=0, le=65535)] = Field(default=8083, description="Port of /healthz.")
    pod_policy_level: podpolicy.Level = Field(
        default=podpolicy.Level.RESTRICTED, description="Pod Security Standard that model pods must meet."
    )
    pod_policy_service_accounts: tuple[str, ...] = Field(
        default=(), description="Service accounts that model pods may run as, each in its own namespace."
    )
    registry_allowed_hosts: tuple[str, ...] = Field(
        default=(), description="Globs of the hosts that a registry may be on; any but forbidden addresses if empty."
    )
    pod_ip: str = Field(
        default="", description="Address of this pod: followers send the Envoys' polls to the leader's."
    )
    lease_name: str = Field(
        default="penstock-operator", min_length=1, description="Lease of the process that acts, in operator_namespace."
    )
    lease_seconds: Annotated[int, Field(ge=2, le=120)] = Field(
        default=4, description="How long after its last sign of life a leader is replaced."
    )
    lease_renew_seconds: Annotated[float, Field(gt=0)] = Field(
        default=1.0, description="How often the leader gives a sign of life."
    )
    lease_retry_seconds: Annotated[float, Field(gt=0)] = Field(
        default=0.5, description="How often the others look at the lease."
    )
    workers: Annotated[int, Field(ge=1, le=64)] = Field(default=8, description="Objects worked on at the same time.")
    resync_seconds: Annotated[int, Field(ge=10)] = Field(
        default=300, description="How often the caches are compared with a full list."
    )
    log_format: Literal["json", "text"] = Field(default="json", description="How log lines look.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Which lines are logged."
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings.

        Raises:
            errors.Misconfigured: naming each variable that is missing or cannot be used.
        """
        given: dict[str, Any] = {}
        for name in cls.model_fields:
            value = environment.get(PREFIX + name.upper(), "").strip()
            if value:
                given[name] = _names(value) if name in LISTS else value
        try:
            return cls.model_validate(given)
        except pydantic.ValidationError as error:
            problems = (
                f"{PREFIX}{'.'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}"
                for problem in error.errors()
            )
            raise errors.Misconfigured(f"the environment cannot be used: {'; '.join(problems)}") from error


def _names(value: str) -> tuple[str, ...]:
    if value.startswith("["):
        return tuple(json.loads(value))
    return tuple(name.strip() for name in value.split(",") if name.strip())
