"""What every kind shares: camelCase on the wire, unknown fields kept out of our models, frozen values.

The API server has already refused what the schema forbids, so the models read leniently (an object stored by an older
or newer release must still load) and the generated schema is strict.
"""

from typing import Annotated, Any

import pydantic
from pydantic import alias_generators

GROUP = "penstock.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


class Model(pydantic.BaseModel):
    """A part of a custom resource: camelCase outside, snake_case inside, immutable."""

    model_config = pydantic.ConfigDict(
        alias_generator=alias_generators.to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="ignore",
        frozen=True,
    )

    def to_wire(self) -> dict[str, Any]:
        """The JSON object as the API server stores it: camelCase, absent instead of null."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    """JSON-schema extra that carries CEL rules: pairs of expression and message (which names the cure)."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]}


def matching(pattern: str, message: str) -> dict[str, Any]:
    """JSON-schema extra for a string: a `pattern` whose refusal names the cure and not the expression."""
    return rules((f"self.matches(r'{pattern}')", message))


def keyed_by(key: str) -> dict[str, Any]:
    """JSON-schema extra for a list in which each value of the field `key` occurs once."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


DnsLabel = Annotated[str, pydantic.Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A name as Kubernetes wants it for labels of DNS."""

ObjectName = Annotated[
    str,
    pydantic.Field(
        min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
    ),
]
"""The name of an object such as a Secret."""

Opaque = Annotated[dict[str, Any], pydantic.Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
"""A part of the core API (a resources block, a pod template), passed on as it is; the API server checks it on use."""
