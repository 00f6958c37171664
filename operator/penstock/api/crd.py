"""CustomResourceDefinitions, computed from the pydantic models: a pure function of `penstock.api.kinds`."""

from dataclasses import dataclass
from typing import Any

import pydantic

from penstock.api import structural
from penstock.api.v1alpha1 import base

_API_VERSION = (
    "APIVersion defines the versioned schema of this representation of an object. "
    "More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"
)
_KIND = (
    "Kind is a string value representing the REST resource this object represents. "
    "More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column that `kubectl get` prints; priority 0 always, 1 with `-o wide`."""

    name: str
    path: str
    type: str = "string"
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Scale:
    """Where the scale subresource finds the number of replicas."""

    spec_path: str
    status_path: str


@dataclass(frozen=True, slots=True)
class Kind:
    """All that a CustomResourceDefinition says of one kind."""

    name: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    description: str
    spec: type[pydantic.BaseModel]
    status: type[pydantic.BaseModel]
    columns: tuple[Column, ...]
    scale: Scale | None = None
    rules: tuple[tuple[str, str], ...] = ()

    @property
    def crd_name(self) -> str:
        return f"{self.plural}.{base.GROUP}"


def definition(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of `kind`, ready to be applied."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.crd_name, "labels": {"app.kubernetes.io/part-of": "penstock"}},
        "spec": {
            "group": base.GROUP,
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": list(kind.short_names),
                "categories": ["penstock"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": base.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": _subresources(kind),
                    "additionalPrinterColumns": [_column(column) for column in kind.columns],
                    "schema": {"openAPIV3Schema": structural.complete(schema(kind))},
                }
            ],
        },
    }


def schema(kind: Kind) -> structural.Schema:
    """The structural schema of whole objects. The status has no defaults: whoever writes it writes all of it."""
    return {
        "description": kind.description,
        "type": "object",
        **(base.rules(*kind.rules) if kind.rules else {}),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": _API_VERSION, "type": "string"},
            "kind": {"description": _KIND, "type": "string"},
            "metadata": {"type": "object"},
            "spec": structural.of(kind.spec),
            "status": structural.of(kind.status, defaults=False),
        },
    }


def _subresources(kind: Kind) -> dict[str, Any]:
    result: dict[str, Any] = {"status": {}}
    if kind.scale is not None:
        result["scale"] = {"specReplicasPath": kind.scale.spec_path, "statusReplicasPath": kind.scale.status_path}
    return result


def _column(column: Column) -> dict[str, Any]:
    result: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.path}
    if column.description:
        result["description"] = column.description
    if column.priority:
        result["priority"] = column.priority
    return result
