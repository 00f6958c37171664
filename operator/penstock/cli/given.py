"""A ModelDeployment from a file of YAML, or a sentence that says which field is wrong.

Objects of the cluster are read leniently, because its API server has checked them. A file has not been there: unknown
fields are refused here, and those rules of the schema without which a rollout means nothing.
"""

import pathlib
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pydantic
import yaml

from penstock.api.v1alpha1 import base, modeldeployment

_ENVELOPE = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})


class BadInputError(Exception):
    """What was given cannot be simulated; the message says why and what to do."""


@dataclass(frozen=True)
class Deployment:
    """A ModelDeployment as its author wrote it."""

    name: str
    spec: modeldeployment.ModelDeploymentSpec


def read(path: str, name: str | None = None) -> Deployment:
    """The ModelDeployment in a file: the only one, the first one, or the one of that name. Raises BadInputError."""
    found = [body for body in _documents(path) if isinstance(body, dict) and body.get("kind") == modeldeployment.KIND]
    if not found:
        raise BadInputError(f"{path}: no document in it is a {modeldeployment.KIND}: give the file that you apply")
    named = [body for body in found if name is None or _name(body) == name]
    if not named:
        known = ", ".join(_name(body) for body in found)
        raise BadInputError(f"{path}: no {modeldeployment.KIND} in it is called {name}: choose one of {known}")
    return parse(named[0], path)


def _documents(path: str) -> list[Any]:
    try:
        return list(yaml.safe_load_all(pathlib.Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path} is not text: give a file of YAML") from error
    except yaml.YAMLError as error:
        raise BadInputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error


def _name(body: Mapping[str, Any]) -> str:
    metadata = body.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, dict) else ""


def parse(body: Mapping[str, Any], where: str) -> Deployment:
    """A ModelDeployment from a document. Raises BadInputError that names every field that is wrong."""
    if body.get("apiVersion") != base.API_VERSION:
        raise BadInputError(f"{where}: apiVersion is {body.get('apiVersion')!r}: write {base.API_VERSION}")
    if not isinstance(body.get("spec"), dict):
        raise BadInputError(f"{where}: spec is missing: write what is to be deployed under it")
    problems = [f"{key}: unknown field" for key in body if key not in _ENVELOPE]
    problems += [f"{path}: unknown field" for path in unknown(modeldeployment.ModelDeploymentSpec, body["spec"])]
    try:
        spec = modeldeployment.ModelDeploymentSpec.model_validate(body["spec"])
    except pydantic.ValidationError as error:
        problems += [f"{_path(problem['loc'])}: {problem['msg']}" for problem in error.errors()]
        spec = None
    if spec is not None:
        problems += broken_rules(spec)
    if problems or spec is None:
        raise BadInputError("\n".join(f"{where}: {problem}; correct the field" for problem in problems))
    return Deployment(_name(body) or "deployment", spec)


def _path(location: tuple[int | str, ...], lead: str = "spec") -> str:
    return lead + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)


def unknown(model: type[pydantic.BaseModel], value: Any, path: str = "spec") -> Iterator[str]:
    """The paths of fields that `model` does not have."""
    if not isinstance(value, dict):
        return
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    for key, inner in value.items():
        if key not in fields:
            yield f"{path}.{key}"
            continue
        part = _model_in(fields[key].annotation)
        if part is None:
            continue
        if isinstance(inner, list):
            for index, item in enumerate(inner):
                yield from unknown(part, item, f"{path}.{key}[{index}]")
        else:
            yield from unknown(part, inner, f"{path}.{key}")


def _model_in(annotation: Any) -> type[pydantic.BaseModel] | None:
    """The model that a field holds, by itself, in a list or unless it is absent."""
    parts = typing.get_args(annotation)
    if not parts and isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return annotation
    return next((found for part in parts if (found := _model_in(part)) is not None), None)


def broken_rules(spec: modeldeployment.ModelDeploymentSpec) -> list[str]:
    """What the API server would refuse by the rules that a rollout rests on; it knows more of them."""
    found = []
    steps, metrics = spec.rollout.steps, spec.rollout.analysis.metrics
    for index, step in enumerate(steps):
        if sum(part is not None for part in (step.smoke_test, step.shadow, step.canary, step.pause)) != 1:
            found.append(
                f"spec.rollout.steps[{index}]: a step holds exactly one of smokeTest, shadow, canary, pause, and an "
                "empty one is written smokeTest: {}"
            )
    weights = [step.canary.weight for step in steps if step.canary is not None]
    if weights != sorted(weights):
        found.append(f"spec.rollout.steps: canary weights fall ({', '.join(map(str, weights))}): order them upwards")
    if not metrics and any(step.shadow or step.canary for step in steps):
        found.append("spec.rollout.analysis.metrics: shadow and canary steps are judged by metrics: add one")
    names = [metric.name for metric in metrics]
    for index, metric in enumerate(metrics):
        where = f"spec.rollout.analysis.metrics[{index}]"
        if names.index(metric.name) != index:
            found.append(f"{where}.name: there is a metric {metric.name} already")
        found += [f"{where}{problem}" for problem in _broken_rules_of(metric)]
    return found


def _broken_rules_of(metric: modeldeployment.Metric) -> Iterator[str]:
    if metric.max_increase is not None and metric.max_relative_increase is not None:
        yield ": maxIncrease is a difference and maxRelativeIncrease a share of stable's value: set one of them"
    if metric.min is None and metric.max is None and not metric.is_compared:
        yield ": a metric needs a limit: set min, max, maxIncrease or maxRelativeIncrease"
    if metric.type is modeldeployment.MetricType.ERROR_RATE:
        if metric.max is not None and metric.max > 1:
            yield ".max: of an ErrorRate it is a share from 0 to 1: write 0.05 for 5 %"
        if metric.max_increase is not None and metric.max_increase >= 1:
            yield ".maxIncrease: of an ErrorRate it is a share below 1: write 0.005 for half a percentage point"
