"""The field reference of a kind, as Markdown, from the same schema that the API server checks."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from penstock.api import crd, structural
from penstock.api.v1alpha1 import base


@dataclass(frozen=True, slots=True)
class Field:
    """One row of the reference."""

    path: str
    type: str
    default: str
    limits: str
    description: str
    rules: tuple[str, ...] = ()


def page(kind: crd.Kind) -> str:
    """The whole page."""
    properties = crd.schema(kind)["properties"]
    names = ", ".join(f"`{name}`" for name in kind.short_names)
    intro = f"`{base.API_VERSION}`, kind `{kind.name}`, plural `{kind.plural}`, short {names}, namespaced."
    parts = [
        "<!-- Generated from the models in operator/penstock/api by `make generate`; do not edit. -->\n",
        f"# {kind.name}\n",
        f"{intro} {kind.description}\n",
        "`-` marks what has no default; fields that are *required* must be given wherever their parent is.\n",
    ]
    if kind.rules:
        parts += ["## Rules for the whole object\n", "".join(f"* {message}\n" for _, message in kind.rules)]
    spec = list(fields(properties["spec"], "spec"))
    parts += ["## spec\n", _table(spec)]
    ruled = [field for field in spec if field.rules]
    if ruled:
        lines = (f"* `{field.path}`: {rule}\n" for field in ruled for rule in field.rules)
        parts += ["## Rules\n", "The API server refuses an object that breaks one of them.\n", "".join(lines)]
    parts += ["## status\n", "Written by the operator only.\n", _table(list(fields(properties["status"], "status")))]
    return "\n".join(parts)


def fields(schema: structural.Schema, path: str) -> Iterator[Field]:
    """Every field below `path`, parents first."""
    required = frozenset(schema.get("required", ()))
    rules = tuple(rule["message"] for rule in schema.get("x-kubernetes-validations", ()))
    if rules and path.count(".") == 0:
        yield Field(path, "object", "-", "", schema.get("description", ""), rules)
    for name, child in schema.get("properties", {}).items():
        yield from _field(child, f"{path}.{name}", required=name in required)


def _field(schema: structural.Schema, path: str, *, required: bool) -> Iterator[Field]:
    inner, suffix = schema, ""
    while inner["type"] == "array":
        inner, suffix = inner["items"], f"{suffix}[]"
    validations = [
        *schema.get("x-kubernetes-validations", ()),
        *(inner.get("x-kubernetes-validations", ()) if suffix else ()),
    ]
    yield Field(
        path=path + suffix,
        type=_type(schema),
        default="*required*" if required else json.dumps(schema["default"]) if "default" in schema else "-",
        limits=_limits(schema, inner if suffix else {}),
        description=schema.get("description", ""),
        rules=tuple(rule["message"] for rule in validations),
    )
    yield from fields({**inner, "x-kubernetes-validations": ()}, path + suffix)


def _type(schema: structural.Schema) -> str:
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"map of {_type(schema['additionalProperties'])}"
    if schema.get("format") == "date-time":
        return "time"
    return str(schema["type"])


def _limits(schema: structural.Schema, item: structural.Schema) -> str:
    """The bounds of a value, and those of a list's items after them."""
    words: list[str] = []
    if "enum" in schema:
        words.append("one of " + ", ".join(f"`{value}`" for value in schema["enum"]))
    for key, sign in (("minimum", "≥"), ("maximum", "≤")):
        if key in schema:
            strict = schema.get(f"exclusive{key.capitalize()}", False)
            words.append(f"{ ({'≥': '>', '≤': '<'}[sign] if strict else sign) } {schema[key]}")
    for what, word in (("Length", "characters"), ("Items", "items")):
        low, high = schema.get(f"min{what}"), schema.get(f"max{what}")
        if high is not None:
            words.append(f"{low} to {high} {word}" if low else f"at most {high} {word}")
    if "pattern" in schema:
        words.append(f"matches `{schema['pattern']}`")
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        words.append("as in the core API")
    if schema.get("x-kubernetes-list-type") == "map":
        words.append("unique by " + ", ".join(f"`{key}`" for key in schema["x-kubernetes-list-map-keys"]))
    if schema.get("x-kubernetes-list-type") == "set":
        words.append("no duplicates")
    if item and (inner := _limits(item, {})):
        words.append(f"each {inner}")
    return "; ".join(words)


def _table(rows: list[Field]) -> str:
    lines = ["| field | type | default | limits | meaning |", "|---|---|---|---|---|"]
    lines += [
        f"| `{row.path}` | {row.type} | {_cell(row.default)} | {_escape(row.limits)} | {_escape(row.description)} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _cell(default: str) -> str:
    return default if default in {"-", "*required*"} else f"`{_escape(default)}`"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<") if "`" not in text else text.replace("|", "\\|")
