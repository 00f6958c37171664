"""A pydantic model as a structural schema: the dialect of JSON schema that Kubernetes stores in a CRD.

Rule: what the dialect says differently is translated, what it cannot say is refused when the CRDs are built. Nothing is
dropped that would change which objects are accepted.
"""

import copy
from collections.abc import Mapping
from typing import Any

import pydantic
from pydantic import json_schema
from pydantic_core import core_schema

Schema = dict[str, Any]

_KEPT = frozenset({
    "type", "format", "description", "enum", "pattern",
    "minLength", "maxLength", "minimum", "maximum", "multipleOf",
    "minItems", "maxItems", "minProperties", "maxProperties",
})  # fmt: skip
_DROPPED = frozenset({"title", "examples", "deprecated", "readOnly", "writeOnly"})
_HANDLED = frozenset({"default", "required", "properties", "items", "additionalProperties", "const", "allOf", "anyOf"})
_CURES = {
    "oneOf": "a union: Kubernetes cannot tell its members apart; use one optional field for each and a CEL rule",
    "discriminator": "a discriminated union: use one optional field for each member and a CEL rule",
    "prefixItems": "a tuple: use a model with a named field for each position",
    "uniqueItems": "a set: use a list with json_schema_extra={'x-kubernetes-list-type': 'set'}",
    "patternProperties": "a dict with constrained keys: use a plain dict and a CEL rule",
    "propertyNames": "a dict with constrained keys: use a plain dict and a CEL rule",
}


class Unsupported(TypeError):
    """The model holds something that a structural schema cannot express."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path or 'the model'} is {what}")


class _Generator(json_schema.GenerateJsonSchema):
    """Also calls default factories, and writes defaults the way their author wrote them.

    A default that is a model holds the fields that were given and no others: the schema carries the defaults of the
    rest, one level further down, and the API server fills them in.
    """

    def get_default_value(self, schema: core_schema.WithDefaultSchema) -> Any:
        if "default_factory" in schema:
            return schema["default_factory"]()  # type: ignore[call-arg]  # none of ours looks at the other fields
        return super().get_default_value(schema)

    def encode_default(self, dft: Any) -> Any:
        return pydantic.RootModel[Any](dft).model_dump(
            mode="json", by_alias=True, exclude_unset=True, exclude_none=True
        )


def of(model: type[pydantic.BaseModel], *, defaults: bool = True) -> Schema:
    """The structural schema of `model`; without its defaults if they belong to whoever writes the object.

    Raises Unsupported for what Kubernetes cannot express.
    """
    raw = model.model_json_schema(by_alias=True, schema_generator=_Generator)
    return _Translation(raw.get("$defs", {}), defaults=defaults).translate(raw, path="", within=())


def complete(schema: Schema) -> Schema:
    """`schema` with every default written out in full.

    The API server would fill `{}` in from the defaults further down, but it checks a default against the CEL rules
    before it does, so a rule on a part that has defaults needs them all in place.
    """
    result = dict(schema)
    if "properties" in schema:
        result["properties"] = {name: complete(child) for name, child in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in schema:
            result[key] = complete(schema[key])
    if "default" in schema:
        result["default"] = defaulted(schema["default"], schema)
    return result


def defaulted(value: Any, schema: Schema) -> Any:
    """`value` with what is absent filled in, from the top down, as the API server does it."""
    if isinstance(value, list):
        return [defaulted(item, schema["items"]) for item in value]
    if not isinstance(value, dict):
        return value
    properties: dict[str, Schema] = schema.get("properties", {})
    absent = {name: child["default"] for name, child in properties.items() if "default" in child and name not in value}
    others: Schema = schema.get("additionalProperties", {})
    filled = {name: defaulted(item, properties.get(name, others)) for name, item in (value | absent).items()}
    return copy.deepcopy(filled)


class _Translation:
    """One walk over a schema, with the definitions it may refer to."""

    def __init__(self, definitions: Mapping[str, Schema], *, defaults: bool) -> None:
        self._definitions = definitions
        self._defaults = defaults

    def translate(self, raw: Schema, path: str, within: tuple[str, ...]) -> Schema:
        """`raw` at `path`, inside the definitions `within` (to notice recursion)."""
        flat, within = self._flatten(raw, path, within)
        flat = _without_null(flat, path)
        if "$ref" in flat:
            flat, within = self._flatten(flat, path, within)
        _refuse(flat, path)
        result: Schema = {}
        for key, value in flat.items():
            if key in _KEPT or key.startswith("x-kubernetes-"):
                result[key] = copy.deepcopy(value)
        if "const" in flat:
            result["enum"] = [flat["const"]]
        result |= _bounds(flat)
        if self._defaults and flat.get("default") is not None:
            result["default"] = copy.deepcopy(flat["default"])
        result |= self._children(flat, path, within)
        if "type" not in result and "x-kubernetes-int-or-string" not in result:
            raise Unsupported(path, "of any type: give it one, or use base.Opaque for a part of the core API")
        return dict(sorted(result.items(), key=_order))

    def _flatten(self, raw: Schema, path: str, within: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        """`raw` with its reference replaced by what it refers to; what stands beside the reference wins."""
        if "$ref" not in raw:
            return raw, within
        name = raw["$ref"].removeprefix("#/$defs/")
        if name in within:
            raise Unsupported(path, f"recursive ({name} holds itself): Kubernetes needs schemas of finite depth")
        beside = {key: value for key, value in raw.items() if key != "$ref"}
        return self._flatten(self._definitions[name] | beside, path, (*within, name))

    def _children(self, flat: Schema, path: str, within: tuple[str, ...]) -> Schema:
        result: Schema = {}
        if "properties" in flat:
            result["properties"] = {
                name: self.translate(child, f"{path}.{name}" if path else name, within)
                for name, child in flat["properties"].items()
            }
            if flat.get("required"):
                result["required"] = list(flat["required"])
        if "items" in flat:
            result["items"] = self.translate(flat["items"], f"{path}[]", within)
        elif flat.get("type") == "array":
            raise Unsupported(path, "a list of anything: name the type of its items")
        values = flat.get("additionalProperties")
        if isinstance(values, dict):
            result["additionalProperties"] = self.translate(values, f"{path}.*", within)
        elif values is True and not flat.get("x-kubernetes-preserve-unknown-fields"):
            raise Unsupported(path, "a dict of anything: name the type of its values, or use base.Opaque")
        return result


def _without_null(flat: Schema, path: str) -> Schema:
    """An optional value: absent, never null; so only the other member of the union counts."""
    if "anyOf" not in flat:
        return flat
    members: list[Schema] = [member for member in flat["anyOf"] if member.get("type") != "null"]
    if len(members) != 1:
        raise Unsupported(path, "a union: Kubernetes needs one type; use one optional field for each and a CEL rule")
    beside = {key: value for key, value in flat.items() if key != "anyOf"}
    return members[0] | beside


def _bounds(flat: Schema) -> Schema:
    """Exclusive bounds are numbers in JSON schema, and flags beside the bound in Kubernetes."""
    result: Schema = {}
    for ours, theirs in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if ours in flat:
            result[theirs] = flat[ours]
            result[ours] = True
    return result


def _refuse(flat: Schema, path: str) -> None:
    for key in flat:
        if key in _CURES:
            raise Unsupported(path, _CURES[key])
    if flat.get("format") == "duration":
        raise Unsupported(path, "a timedelta: use an int whose name ends in Seconds")
    known = _KEPT | _DROPPED | _HANDLED | {"exclusiveMinimum", "exclusiveMaximum", "$defs"}
    unknown = sorted(key for key in flat if key not in known and not key.startswith("x-kubernetes-"))
    if unknown or "allOf" in flat:
        raise Unsupported(path, f"described with {', '.join(unknown) or 'allOf'}, which has no translation yet")


_ORDER = ("description", "type", "format", "default", "enum")
_LAST = ("required", "properties", "items", "additionalProperties")


def _order(item: tuple[str, Any]) -> tuple[int, str]:
    """A fixed order, so that generated files differ only where the models do."""
    key = item[0]
    if key in _ORDER:
        return (_ORDER.index(key), "")
    if key in _LAST:
        return (100 + _LAST.index(key), "")
    return (50, key)
