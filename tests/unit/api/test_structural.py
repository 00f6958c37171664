"""What pydantic says, as Kubernetes wants to hear it."""

import datetime
import enum
from typing import Annotated, Any, Literal

import pydantic
import pytest
from penstock.api import structural
from penstock.api.v1alpha1 import base
from pydantic import Field


class Colour(enum.StrEnum):
    RED = "Red"
    BLUE = "Blue"


class Leaf(base.Model):
    """A leaf."""

    some_number: Annotated[int, Field(ge=1, le=9)] = Field(default=3, description="A number.")
    word: str | None = Field(default=None, description="A word.")


class Recursive(base.Model):
    child: "Recursive | None" = None


class Cat(base.Model):
    kind: Literal["cat"]


class Dog(base.Model):
    kind: Literal["dog"]


def translated(annotation: Any, **field: Any) -> structural.Schema:
    """The schema of one field named x."""
    model = pydantic.create_model("Whole", __base__=base.Model, x=(annotation, Field(**field)))
    properties: structural.Schema = structural.of(model)["properties"]
    result: structural.Schema = properties["x"]
    return result


LEAF = {
    "description": "A leaf.",
    "type": "object",
    "properties": {
        "someNumber": {"description": "A number.", "type": "integer", "default": 3, "minimum": 1, "maximum": 9},
        "word": {"description": "A word.", "type": "string"},
    },
}


@pytest.mark.parametrize(
    ("annotation", "field", "expected"),
    [
        pytest.param(int, {"default": 1}, {"type": "integer", "default": 1}, id="a default is kept"),
        pytest.param(str | None, {"default": None}, {"type": "string"}, id="optional means absent, never null"),
        pytest.param(bool, {"default": False}, {"type": "boolean", "default": False}, id="false is a default too"),
        pytest.param(Literal["One"], {}, {"type": "string", "enum": ["One"]}, id="a constant is an enum of one"),
        pytest.param(
            Colour,
            {"default": Colour.RED},
            {"type": "string", "default": "Red", "enum": ["Red", "Blue"]},
            id="an enum default is its wire string",
        ),
        pytest.param(
            Annotated[float, Field(gt=0, lt=1)] | None,
            {"default": None},
            {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 1, "exclusiveMaximum": True},
            id="exclusive bounds are flags",
        ),
        pytest.param(Leaf, {}, LEAF, id="a reference is written in place"),
        pytest.param(Leaf | None, {"default": None}, LEAF, id="an optional reference too"),
        pytest.param(
            Leaf, {"description": "Mine."}, LEAF | {"description": "Mine."}, id="the field's own description wins"
        ),
        pytest.param(Leaf, {"default_factory": Leaf}, LEAF | {"default": {}}, id="a factory is called"),
        pytest.param(
            list[Leaf],
            {"default_factory": lambda: [Leaf(some_number=5), Leaf()]},
            {"type": "array", "items": LEAF, "default": [{"someNumber": 5}, {}]},
            id="a default holds what its author wrote",
        ),
        pytest.param(
            dict[str, int],
            {},
            {"type": "object", "additionalProperties": {"type": "integer"}},
            id="a map keeps the type of its values",
        ),
        pytest.param(
            base.Opaque,
            {"default_factory": dict},
            {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "default": {}},
            id="a part of the core API is passed on",
        ),
        pytest.param(datetime.datetime, {}, {"type": "string", "format": "date-time"}, id="a time"),
        pytest.param(
            Annotated[str, Field(json_schema_extra=base.rules(("self != ''", "say something")))],
            {},
            {"type": "string", "x-kubernetes-validations": [{"rule": "self != ''", "message": "say something"}]},
            id="rules are kept",
        ),
    ],
)
def test_a_field_is_translated(annotation: Any, field: dict[str, Any], expected: structural.Schema) -> None:
    result = translated(annotation, **field)
    assert {"description": None} | result == {"description": None} | expected


@pytest.mark.parametrize(
    ("annotation", "field", "cure"),
    [
        pytest.param(datetime.timedelta, {}, "x is a timedelta: use an int whose name ends in Seconds", id="timedelta"),
        pytest.param(set[str], {}, "x is a set: use a list with json_schema_extra", id="set"),
        pytest.param(int | str, {}, "x is a union: Kubernetes needs one type", id="union"),
        pytest.param(Cat | Dog, {"discriminator": "kind"}, "x is a discriminated union", id="discriminator"),
        pytest.param(tuple[int, str], {}, "x is a tuple", id="tuple"),
        pytest.param(Any, {}, "x is of any type", id="any"),
        pytest.param(dict[str, Any], {}, "x is a dict of anything", id="dict of anything"),
        pytest.param(list, {}, "x[] is of any type", id="list of anything"),
        pytest.param(Recursive, {}, "x.child is recursive (Recursive holds itself)", id="recursion"),
        pytest.param(
            Annotated[str, Field(json_schema_extra={"not": {"enum": [""]}})],
            {},
            "x is described with not, which has no translation yet",
            id="a word without translation",
        ),
    ],
)
def test_what_kubernetes_cannot_say_is_refused_with_the_cure(annotation: Any, field: dict[str, Any], cure: str) -> None:
    with pytest.raises(structural.Unsupported) as refusal:
        translated(annotation, **field)
    assert str(refusal.value).startswith(cure)


def test_the_status_may_go_without_defaults() -> None:
    assert structural.of(Leaf, defaults=False)["properties"]["someNumber"] == {
        "description": "A number.",
        "type": "integer",
        "minimum": 1,
        "maximum": 9,
    }


def test_defaults_are_written_out_at_every_level() -> None:
    schema: structural.Schema = {
        "type": "object",
        "default": {"list": [{}]},
        "properties": {
            "n": {"type": "integer", "default": 1},
            "none": {"type": "integer"},
            "list": {
                "type": "array",
                "items": {"type": "object", "properties": {"m": {"type": "integer", "default": 2}}},
            },
            "map": {
                "type": "object",
                "default": {"a": {}},
                "additionalProperties": {
                    "type": "object",
                    "properties": {"k": {"type": "integer", "default": 3}},
                },
            },
        },
    }
    assert structural.complete(schema)["default"] == {"n": 1, "list": [{"m": 2}], "map": {"a": {"k": 3}}}
