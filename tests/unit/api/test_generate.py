"""The committed files are what the models say, and the examples are what the committed files accept."""

import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from penstock.api import crd, generate, kinds, reference, structural
from penstock.api.v1alpha1 import modeldeployment

ROOT = pathlib.Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
SPEC = structural.complete(crd.schema(kinds.MODEL_DEPLOYMENT))["properties"]["spec"]


def documents(file: pathlib.Path) -> list[dict[str, Any]]:
    found = [document for document in yaml.safe_load_all(file.read_text()) if document]
    return [document for document in found if document["kind"] == "ModelDeployment"]


@pytest.mark.parametrize("path", sorted(generate.outputs()))
def test_a_generated_file_is_current(path: str) -> None:
    assert (ROOT / path).read_text() == generate.outputs()[path], "run `make generate`"


def test_generating_writes_every_file(tmp_path: pathlib.Path) -> None:
    generate.main(tmp_path)
    written = {str(file.relative_to(tmp_path)): file.read_text() for file in tmp_path.rglob("*") if file.is_file()}
    assert written == generate.outputs()


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_defaults_of_the_schema_are_those_of_the_models(file: pathlib.Path) -> None:
    for body in documents(file):
        by_models = modeldeployment.ModelDeploymentSpec.model_validate(body["spec"]).to_wire()
        assert structural.defaulted(body["spec"], SPEC) == by_models


def test_the_full_example_shows_every_field() -> None:
    text = (ROOT / "examples" / "full.yaml").read_text()
    paths = [field.path.replace("[]", "") for field in reference.fields(SPEC, "spec")]
    names = {path.rsplit(".", 1)[-1] for path in paths if "." in path}
    assert {name for name in names if not re.search(rf"\b{name}:", text)} == set()


def walk(schema: structural.Schema, path: str) -> Iterator[tuple[str, structural.Schema]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}")
    if "items" in schema:
        yield from walk(schema["items"], f"{path}[]")


def test_every_field_is_described() -> None:
    whole = crd.schema(kinds.MODEL_DEPLOYMENT)
    undescribed = [
        path
        for path, schema in walk(whole, "")
        if not schema.get("description") and not path.endswith("[]") and path != ".metadata"
    ]
    assert undescribed == []


def test_lists_and_texts_of_the_spec_are_bounded() -> None:
    unbounded = [
        path
        for path, schema in walk(SPEC, "spec")
        if (schema["type"] == "array" and "maxItems" not in schema)
        or (schema["type"] == "string" and not schema.keys() & {"maxLength", "enum"})
    ]
    assert unbounded == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("plain {text}", "plain {text}", id="single braces stay"),
        pytest.param("{{name}}", '{{ "{{" }}name{{ "}}" }}', id="double braces are printed by Helm"),
        pytest.param("a}} {{b", 'a{{ "}}" }} {{ "{{" }}b', id="in any order"),
    ],
)
def test_text_is_escaped_for_helm(text: str, expected: str) -> None:
    assert generate.escape(text) == expected


def test_the_charts_copy_is_the_crd_once_helm_has_printed_it() -> None:
    text = (ROOT / "charts/penstock/templates/crds/modeldeployments.yaml").read_text()
    printed = re.sub(r'\{\{ "([{}]{2})" \}\}', r"\1", re.sub(r"^ *\{\{-.*\n", "", text, flags=re.MULTILINE))
    definition = crd.definition(kinds.MODEL_DEPLOYMENT)
    definition["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
    assert yaml.safe_load(printed) == definition


def test_the_module_runs_as_a_program(tmp_path: pathlib.Path) -> None:
    program = [sys.executable, "-m", "penstock.api.generate", str(tmp_path)]
    subprocess.run(program, check=True, cwd=ROOT / "operator")
    assert (tmp_path / "crds/penstock.dev_modeldeployments.yaml").exists()
