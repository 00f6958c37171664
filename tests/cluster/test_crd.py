"""The generated CRD on a real API server: what it accepts, refuses, fills in and stores."""

import pathlib
from typing import Any

import pytest
import yaml
from penstock.api.v1alpha1 import modeldeployment
from penstock.api.v1alpha1.modeldeployment_status import ModelDeploymentStatus

from tests.cluster.conftest import DEPLOYMENTS, Answer, Api
from tests.unit.api.test_status import FULL_STATUS

pytestmark = pytest.mark.cluster

ROOT = pathlib.Path(__file__).parents[2]
INVALID = sorted((ROOT / "tests" / "cluster" / "invalid").glob("*.yaml"))
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def documents(file: pathlib.Path) -> list[dict[str, Any]]:
    found = [document for document in yaml.safe_load_all(file.read_text()) if document]
    return [document for document in found if document["kind"] == "ModelDeployment"]


def create(api: Api, namespace: str, body: dict[str, Any], **query: str) -> Answer:
    query = {"fieldValidation": "Strict"} | query
    return api.call("POST", DEPLOYMENTS.format(namespace=namespace), body, query=query)


def test_the_crd_is_established_and_structural(crds: dict[str, dict[str, Any]]) -> None:
    conditions = crds["modeldeployments.penstock.dev"]["status"]["conditions"]
    assert {condition["type"]: condition["status"] for condition in conditions} == {
        "NamesAccepted": "True",
        "Established": "True",
    }


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_accepted(file: pathlib.Path, api: Api, namespace: str) -> None:
    for body in documents(file):
        answer = create(api, namespace, body)
        assert answer.status == 201, answer.message


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_an_invalid_object_is_refused_with_its_reason(file: pathlib.Path, api: Api, namespace: str) -> None:
    text = file.read_text()
    expected = text.splitlines()[0].removeprefix("# expect: ")
    answer = create(api, namespace, yaml.safe_load(text))
    assert answer.status in {400, 422}, "the API server accepted it"
    assert expected in answer.message


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_the_api_server_fills_in_what_the_models_fill_in(file: pathlib.Path, api: Api, namespace: str) -> None:
    for body in documents(file):
        stored = create(api, namespace, body).body
        assert stored["spec"] == modeldeployment.ModelDeploymentSpec.model_validate(body["spec"]).to_wire()


def test_defaults_given_in_part_are_filled_in_further_down(api: Api, namespace: str) -> None:
    spec = {
        "model": {"name": "fraud", "alias": "champion"},
        "rollout": {"steps": [{"shadow": {}}], "analysis": {"intervalSeconds": 5}},
    }
    body = {
        "apiVersion": "penstock.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "part"},
        "spec": spec,
    }
    stored = create(api, namespace, body).body
    assert stored["spec"]["rollout"] == {
        "paused": False,
        "steps": [{"shadow": {"percent": 100, "minSamples": 0, "holdSeconds": 60}}],
        "analysis": {
            "intervalSeconds": 5,
            "metrics": [
                {
                    "name": "errors",
                    "type": "ErrorRate",
                    "max": 0.05,
                    "minSamples": 20,
                    "windowSeconds": 600,
                    "onNoData": "Wait",
                    "failureLimit": 0,
                    "inconclusiveLimit": 0,
                    "consecutiveErrorLimit": 4,
                    "confidence": 0.95,
                    "dryRun": False,
                }
            ],
        },
        "onFailure": "Rollback",
        "abort": "Immediate",
        "watchSeconds": 0,
        "progressDeadlineSeconds": 600,
        "scaleDownDelaySeconds": 30,
        "historyLimit": 10,
    }


def test_a_whole_status_is_stored_as_it_was_written(api: Api, namespace: str) -> None:
    body = documents(ROOT / "examples" / "quickstart.yaml")[0]
    stored = create(api, namespace, body).body
    path = DEPLOYMENTS.format(namespace=namespace) + "/fraud/status"
    wire = FULL_STATUS.to_wire()
    answer = api.call("PUT", path, stored | {"status": wire}, query={"fieldValidation": "Strict"})
    assert answer.status == 200, answer.message
    assert answer.body["status"] == wire
    assert answer.body["spec"] == stored["spec"]
    assert answer.body["metadata"]["generation"] == 1
    assert ModelDeploymentStatus.model_validate(answer.body["status"]) == FULL_STATUS


def test_scaling_changes_the_replicas_of_the_server(api: Api, namespace: str) -> None:
    create(api, namespace, documents(ROOT / "examples" / "quickstart.yaml")[0])
    path = DEPLOYMENTS.format(namespace=namespace) + "/fraud"
    answer = api.call("PATCH", path + "/scale", {"spec": {"replicas": 3}}, patch="merge-patch+json")
    assert answer.status == 200, answer.message
    assert api.call("GET", path).body["spec"]["server"]["replicas"] == 3


def test_the_table_shows_versions_step_and_weight(api: Api, namespace: str) -> None:
    version = api.call("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/modeldeployments.penstock.dev")
    columns = version.body["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [column["name"] for column in columns] == [
        "Phase",
        "Stable",
        "Candidate",
        "Step",
        "Weight",
        "Message",
        "Age",
    ]
