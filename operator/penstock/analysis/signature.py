"""What a model takes and gives, as the signature in its MLmodel file says. Pure.

Whatever stands in that file, reading it ends in a value or in `Malformed`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

_DEEPEST = 50


@dataclass(frozen=True, slots=True)
class Scalar:
    """One of MLflow's own types: boolean, integer, long, float, double, string, binary, datetime, …"""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Tensor:
    """An array of numbers; a length of -1 means any."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"tensor({self.dtype}, [{', '.join(str(length) for length in self.shape)}])"


@dataclass(frozen=True, slots=True)
class Array:
    """A list."""

    items: "Kind"

    def __str__(self) -> str:
        return f"array of {self.items}"


@dataclass(frozen=True, slots=True)
class Map:
    """Any keys, with values of one type."""

    values: "Kind"

    def __str__(self) -> str:
        return f"map of {self.values}"


@dataclass(frozen=True, slots=True)
class Object:
    """Named properties."""

    properties: tuple["Column", ...]

    def __str__(self) -> str:
        inside = ", ".join(f"{one.name}{'' if one.required else '?'}: {one.kind}" for one in self.properties)
        return f"object({inside})"


@dataclass(frozen=True, slots=True)
class Anything:
    """Any value, or none."""

    def __str__(self) -> str:
        return "any"


Kind = Scalar | Tensor | Array | Map | Object | Anything


@dataclass(frozen=True, slots=True)
class Column:
    """An input, an output, or a property of an object. Without a name it is known by its position."""

    name: str | None
    kind: Kind
    required: bool = True


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a caller may set beside the inputs."""

    name: str
    kind: Kind
    default: str
    """As JSON."""
    shape: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return str(self.kind) if self.shape is None else f"array of {self.kind}"


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model says it takes and gives; None where it says nothing."""

    inputs: tuple[Column, ...] | None = None
    outputs: tuple[Column, ...] | None = None
    parameters: tuple[Parameter, ...] | None = None


class Malformed(ValueError):
    """Not a signature that MLflow writes; the message says what is wrong."""


def parse(stored: Mapping[str, Any] | None) -> Signature | None:
    """The `signature` of an MLmodel file, each part of it JSON in a string; None if it says nothing.

    Raises Malformed, and nothing else.
    """
    if stored is None:
        return None
    if not isinstance(stored, Mapping):
        raise Malformed(f"the signature is {_what(stored)} and not a mapping")
    found = Signature(
        inputs=_columns(stored.get("inputs"), "inputs"),
        outputs=_columns(stored.get("outputs"), "outputs"),
        parameters=_part(stored.get("params"), "params", _parameter),
    )
    return None if found == Signature() else found


def _part(stored: object, part: str, read: Callable[[Mapping[str, Any], str], T]) -> tuple[T, ...] | None:
    if stored is None or stored == "":
        return None
    if not isinstance(stored, str):
        raise Malformed(f"the signature's {part} are {_what(stored)} and not JSON in a string")
    try:
        entries = json.loads(stored)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the signature's {part} are not JSON") from error
    if entries is None:
        return None
    if not isinstance(entries, list):
        raise Malformed(f"the signature's {part} are {_what(entries)} and not a list")
    return tuple(read(_mapping(entry, f"{part}[{index}]"), f"{part}[{index}]") for index, entry in enumerate(entries))


def _columns(stored: object, part: str) -> tuple[Column, ...] | None:
    columns = _part(stored, part, _column)
    if columns and len({column.name is None for column in columns}) > 1:
        raise Malformed(f"some of the signature's {part} have names and some have not")
    return columns


def _column(entry: Mapping[str, Any], where: str) -> Column:
    name = entry.get("name")
    if name is not None and not isinstance(name, str):
        name = json.dumps(name, default=str)  # a column of pandas may be called 3
    return Column(name, _kind(entry, where, 0), _required(entry, where))


def _required(entry: Mapping[str, Any], where: str) -> bool:
    # MLflow 2 wrote `optional` for a while
    required = entry.get("required", not entry.get("optional", False))
    if not isinstance(required, bool):
        raise Malformed(f"the signature's {where}.required is {_what(required)} and not true or false")
    return required


def _parameter(entry: Mapping[str, Any], where: str) -> Parameter:
    name, shape = entry.get("name"), entry.get("shape")
    if not isinstance(name, str):
        raise Malformed(f"the signature's {where} has no name")
    kind = _kind({**entry, "type": entry.get("type") or entry.get("dtype")}, where, 0)
    default = json.dumps(entry.get("default"), sort_keys=True, default=str)
    return Parameter(name, kind, default, None if shape is None else _shape(shape, where))


def _kind(entry: Mapping[str, Any], where: str, depth: int) -> Kind:
    if depth > _DEEPEST:
        raise Malformed(f"the signature's {where.partition('.')[0]} is nested too deeply")
    match entry.get("type"):
        case "tensor":
            spec = _mapping(entry.get("tensor-spec"), f"{where}.tensor-spec")
            return Tensor(_word(spec.get("dtype"), f"{where}.tensor-spec.dtype"), _shape(spec.get("shape"), where))
        case "array":
            return Array(_kind(_mapping(entry.get("items"), f"{where}.items"), f"{where}.items", depth + 1))
        case "map":
            return Map(_kind(_mapping(entry.get("values"), f"{where}.values"), f"{where}.values", depth + 1))
        case "object":
            properties = _mapping(entry.get("properties"), f"{where}.properties")
            return Object(tuple(_property(str(name), properties[name], where, depth) for name in properties))
        case "any":
            return Anything()
        case name:
            return Scalar(_word(name, f"{where}.type"))


def _property(name: str, entry: object, where: str, depth: int) -> Column:
    inside = f"{where}.{name}"
    read = _mapping(entry, inside)
    return Column(name, _kind(read, inside, depth + 1), _required(read, inside))


def _shape(stored: object, where: str) -> tuple[int, ...]:
    if not isinstance(stored, Sequence) or not all(type(length) is int for length in stored):
        raise Malformed(f"the signature's {where} has no shape such as [-1, 4]")
    return tuple(stored)


def _mapping(stored: object, where: str) -> Mapping[str, Any]:
    if not isinstance(stored, Mapping):
        raise Malformed(f"the signature's {where} is {_what(stored)} and not a mapping")
    return stored


def _word(stored: object, where: str) -> str:
    """A type that MLflow may add one day is a word too, and fits itself."""
    if not isinstance(stored, str) or not stored.isprintable() or not 0 < len(stored) <= 40:
        raise Malformed(f"the signature's {where} is {_what(stored)} and not the name of a type")
    return stored


def _what(stored: object) -> str:
    """A value in words, short whatever it is."""
    match stored:
        case None:
            return "missing"
        case str() | bool() | int() | float():
            text = " ".join(repr(stored).split())
            return text if len(text) <= 40 else text[:39] + "…"
        case Mapping():
            return "a mapping"
        case _:
            return "a list"
