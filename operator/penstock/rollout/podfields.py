"""A pod as somebody wrote it: fields by their path, whatever JSON stands there, and what is found wrong with them.

A field that is absent and one that is null are the same, as for the API server. A value of another kind than the API
has there is a finding of its own, so that nothing slips through a check by its shape.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_LONGEST = 63


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with which field, and what to do."""

    path: str
    problem: str
    cure: str

    def __str__(self) -> str:
        return f"{self.path} {self.problem}: {self.cure}"


@dataclass(frozen=True, slots=True)
class Field:
    """Where a field is, what it holds, and everything that was found wrong so far, in order, each once."""

    path: str
    value: Any
    found: dict[Violation, None] = field(default_factory=dict)

    def __getitem__(self, key: str) -> "Field":
        return Field(f"{self.path}.{shown(key)}", self.mapping().get(key), self.found)

    def mapping(self) -> Mapping[str, Any]:
        """The fields in an object; none if it is absent or no object."""
        if self.value is None:
            return {}
        if isinstance(self.value, dict):
            return self.value
        self.refuse("is not an object", "write an object")
        return {}

    def items(self) -> Iterator["Field"]:
        """The entries of a list, called by their name where they have one."""
        if self.value is None:
            return
        if not isinstance(self.value, list):
            self.refuse("is not a list", "write a list")
            return
        for index, value in enumerate(self.value):
            name = value.get("name") if isinstance(value, dict) else None
            yield Field(f"{self.path}[{shown(name) if isinstance(name, str) else index}]", value, self.found)

    def is_one_of(self, *values: object) -> bool:
        """Whether it holds one of these, of the same type: 1 is not true, and 0 is not false."""
        return any(type(self.value) is type(value) and self.value == value for value in values)

    def refuse(self, problem: str, cure: str) -> None:
        """This field is wrong."""
        self.found[Violation(self.path, problem, cure)] = None

    def must_not_be_on(self, problem: str) -> None:
        """A switch that has to stay off."""
        if self.value is not None and self.value is not False:
            self.refuse(problem, "remove it")

    def must_be_among(self, allowed: frozenset[str], cure: str) -> None:
        """A name that has to be one of these, or absent."""
        if self.value is not None and not is_among(self.value, allowed):
            self.refuse(f"is {shown(self.value)}", cure)


def is_among(value: object, allowed: frozenset[str]) -> bool:
    """Whether a value of any kind is one of these strings."""
    return isinstance(value, str) and value in allowed


def shown(value: object) -> str:
    """Foreign text for a message: on one line, and not long."""
    line = " ".join(str(value).split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
