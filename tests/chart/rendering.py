"""What helm makes of the chart, as plain objects."""

import dataclasses
import functools
import json
import pathlib
import subprocess
from typing import Any, Self

import yaml

CHART = pathlib.Path(__file__).parents[2] / "charts" / "penstock"
KUBERNETES = "1.35.0"

Object = dict[str, Any]
Values = dict[str, Any]


class Refused(Exception):
    """Helm did not render; the text is what it says."""


@dataclasses.dataclass(frozen=True)
class Rendered:
    """The objects of one rendering."""

    objects: tuple[Object, ...]

    @classmethod
    def of(cls, text: str) -> Self:
        return cls(tuple(one for one in yaml.load_all(text, Loader=yaml.CSafeLoader) if one))

    @property
    def names(self) -> set[tuple[str, str]]:
        return {(one["kind"], one["metadata"]["name"]) for one in self.objects}

    def get(self, kind: str, name: str) -> Object:
        (found,) = (one for one in self.objects if one["kind"] == kind and one["metadata"]["name"] == name)
        return found

    def all(self, *kinds: str) -> list[Object]:
        return [one for one in self.objects if one["kind"] in kinds]

    def container(self, component: str) -> Object:
        (container,) = self.get("Deployment", f"penstock-{component}")["spec"]["template"]["spec"]["containers"]
        return dict(container)

    def environment(self, component: str) -> dict[str, Any]:
        return {one["name"]: one.get("value", one.get("valueFrom")) for one in self.container(component)["env"]}


@dataclasses.dataclass(frozen=True)
class Helm:
    """The helm program."""

    path: str

    def template(
        self, values: Values | None = None, *, release: str = "penstock", namespace: str = "penstock-system"
    ) -> Rendered:
        return Rendered.of(self.text(values, release=release, namespace=namespace))

    def text(
        self, values: Values | None = None, *, release: str = "penstock", namespace: str = "penstock-system"
    ) -> str:
        """
        What `helm template` prints.

        Raises:
            Refused: with what helm says.
        """
        command = ("template", release, str(CHART), "--namespace", namespace, "--kube-version", KUBERNETES)
        return self.run(*command, "--values", "-", text=json.dumps(values or {}))

    @functools.cache  # noqa: B019 - one Helm a session
    def run(self, *arguments: str, text: str = "") -> str:
        outcome = subprocess.run([self.path, *arguments], input=text, capture_output=True, text=True, check=False)
        if outcome.returncode:
            raise Refused(outcome.stderr + outcome.stdout)
        return outcome.stdout


def nested(path: str, value: Any) -> Values:
    """The values that set `path`: nested("a.b", 1) == {"a": {"b": 1}}."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


def merged(*several: Values) -> Values:
    """Values on top of values, mappings merged."""
    result: Values = {}
    for values in several:
        for key, value in values.items():
            known = result.get(key)
            both = isinstance(known, dict) and isinstance(value, dict)
            result[key] = merged(known, value) if both else value  # type: ignore[arg-type]
    return result
