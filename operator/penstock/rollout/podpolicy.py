"""What a pod may ask for: the operator makes it, and lends nobody the rights that it makes it with.

Two parts. The Pod Security Standard, as strict as the installation says. And what no standard speaks of, because a user
who makes a pod is asked for it by the API server, and a user who has one made is not: whose account it runs as, whose
token it carries, which node it lands on, before whom it is scheduled, and which labels make it ours.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock import errors
from penstock.rollout import podfields, podstandard
from penstock.rollout.podfields import Field, Violation

ROOT = "spec.server.template"
OURS = "penstock.dev/"
MANAGED_BY = "app.kubernetes.io/managed-by"
SHOWN = 5
"""How many violations an error tells of."""

TOKENS = ("serviceAccountToken", "podCertificate")
"""Projected volumes that prove to others that the pod is its service account."""


class Level(enum.StrEnum):
    """How much of the Pod Security Standards is asked for."""

    RESTRICTED = "restricted"
    BASELINE = "baseline"
    PRIVILEGED = "privileged"


@dataclass(frozen=True)
class Policy:
    """What an installation lets the pods of ModelDeployments ask for."""

    level: Level = Level.RESTRICTED
    service_accounts: frozenset[str] = frozenset()
    """Names that pods may run as, each in its own namespace."""

    def violations(self, template: Mapping[str, Any], generated: Mapping[str, Any]) -> Sequence[Violation]:
        """All that is wrong with a pod template, in order. `generated` is the metadata that it must have kept."""
        pod = Field(ROOT, template)
        metadata, spec = pod["metadata"], pod["spec"]
        _metadata(metadata, generated)
        self._account(spec)
        _place(spec)
        if self.level is not Level.PRIVILEGED:
            podstandard.baseline(metadata, spec)
        if self.level is Level.RESTRICTED:
            podstandard.restricted(spec)
        return tuple(pod.found)

    def admit(self, template: Mapping[str, Any], generated: Mapping[str, Any]) -> None:
        """Let a pod template pass.

        Raises:
            errors.Invalid: naming what it must not ask for, where, and what to write instead.
        """
        found = self.violations(template, generated)
        if not found:
            return
        told = "; ".join(str(one) for one in found[:SHOWN])
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise errors.Invalid(f"the pod policy (level {self.level}) refuses the pods: {told}{more}")

    def _account(self, spec: Field) -> None:
        """The API server asks nobody whether they may use an account: who may make pods may, and here that is us."""
        listed = False
        for name in ("serviceAccountName", "serviceAccount"):
            account = spec[name]
            known = isinstance(account.value, str) and account.value in self.service_accounts
            listed = listed or known
            if not known and not account.is_one_of(None, "", "default"):
                account.refuse(
                    f"is {podfields.shown(account.value)}, which pods may not run as",
                    "remove it, or have the name added to the chart's podPolicy.serviceAccounts",
                )
        if not (listed or "default" in self.service_accounts):
            _no_token(spec)


def _no_token(spec: Field) -> None:
    token = spec["automountServiceAccountToken"]
    if token.value is not False:
        token.refuse("lets the pod act as its service account", "remove it")
    for volume in spec["volumes"].items():
        for source in volume["projected"]["sources"].items():
            for kind in TOKENS:
                if source[kind].value is not None:
                    source[kind].refuse("lets the pod act as its service account", "remove it")


def _place(spec: Field) -> None:
    if not spec["nodeName"].is_one_of(None, ""):
        spec["nodeName"].refuse("goes past the scheduler, and so past taints and quotas", "use nodeSelector")
    priority = spec["priorityClassName"]
    if not priority.is_one_of(None) and (not isinstance(priority.value, str) or priority.value.startswith("system-")):
        priority.refuse("would drive the cluster's own pods from their nodes", "use a class of your own")
    if spec["ephemeralContainers"].value is not None:
        spec["ephemeralContainers"].refuse("are for pods that run", "remove them, and use kubectl debug")


def _metadata(metadata: Field, generated: Mapping[str, Any]) -> None:
    if metadata["finalizers"].value is not None:
        metadata["finalizers"].refuse("keep pods from going when they should", "remove them")
    for name in ("labels", "annotations"):
        field, own = metadata[name], generated.get(name, {})
        values = field.mapping()
        for key in sorted({*own, *(key for key in values if _is_ours(key))}):
            if values.get(key) != own.get(key):
                field[key].refuse("is how Penstock knows its pods", "remove it")


def _is_ours(key: str) -> bool:
    return key == MANAGED_BY or key.startswith(OURS)
