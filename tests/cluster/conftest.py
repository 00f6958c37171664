"""A real API server, found by KUBECONFIG: the CRDs applied, a namespace of its own for each test."""

import json
import os
import pathlib
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import kubernetes
import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[2]
DEPLOYMENTS = "/apis/penstock.dev/v1alpha1/namespaces/{namespace}/modeldeployments"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a cluster these tests say so and do nothing; with one they run, come what may."""
    if os.environ.get("KUBECONFIG"):
        return
    reason = pytest.mark.skip(reason="needs a cluster: KUBECONFIG is not set (make cluster)")
    for item in items:
        if item.path.is_relative_to(ROOT / "tests" / "cluster"):
            item.add_marker(reason)


@dataclass(frozen=True)
class Answer:
    """What the API server said."""

    status: int
    body: dict[str, Any]

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


class Api:
    """The API server as the tests see it: plain JSON, and nothing of the code under test."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def call(
        self, method: str, path: str, body: Any = None, *, query: dict[str, str] | None = None, patch: str = ""
    ) -> Answer:
        content_type = f"application/{patch or 'json'}"
        serialized = self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        response = self._client.call_api(*serialized, _request_timeout=15)
        return Answer(response.status, json.loads(response.read() or b"{}"))

    def apply(self, path: str, body: Any, *, dry_run: bool = False) -> Answer:
        query = {"fieldManager": "tests", "force": "true", "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        return self.call("PATCH", path, body, query=query, patch="apply-patch+yaml")


def eventually(check: Callable[[], bool], what: str, *, seconds: float = 20) -> None:
    """Poll until `check` holds."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {seconds} s")
        time.sleep(0.05)


@pytest.fixture(scope="session")
def api() -> Api:
    configuration = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config(client_configuration=configuration)
    return Api(kubernetes.client.ApiClient(configuration))


@pytest.fixture(scope="session")
def crds(api: Api) -> dict[str, dict[str, Any]]:
    """The CRDs by name, as stored, all of them established."""
    stored: dict[str, dict[str, Any]] = {}
    for file in sorted((ROOT / "crds").glob("*.yaml")):
        crd = yaml.safe_load(file.read_text())
        name = crd["metadata"]["name"]
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
        if api.call("GET", path).body.get("spec") != api.apply(path, crd, dry_run=True).body.get("spec"):
            # an installation's own CRD is left to it as long as it is the same
            answer = api.apply(path, crd)
            assert answer.status in {200, 201}, answer.message

        def established(path: str = path, name: str = name) -> bool:
            stored[name] = api.call("GET", path).body
            conditions = stored[name].get("status", {}).get("conditions") or []
            return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)

        eventually(established, f"{name} becomes established")
    served = DEPLOYMENTS.format(namespace="default")
    eventually(lambda: api.call("GET", served).status == 200, "ModelDeployments are served")
    return stored


@pytest.fixture(scope="module")
def no_operator(api: Api) -> Iterator[None]:
    """An installed operator rests meanwhile: it would take up the objects of these tests."""
    path = "/apis/apps/v1/namespaces/penstock-system/deployments/penstock-operator"
    found = api.call("GET", path)
    replicas = found.body.get("spec", {}).get("replicas", 0) if found.status == 200 else 0
    if not replicas:
        yield
        return
    labels = ",".join(f"{key}={value}" for key, value in found.body["spec"]["selector"]["matchLabels"].items())
    pods, query = "/api/v1/namespaces/penstock-system/pods", {"labelSelector": labels}
    try:
        api.call("PATCH", f"{path}/scale", {"spec": {"replicas": 0}}, patch="merge-patch+json")
        eventually(lambda: not api.call("GET", pods, query=query).body["items"], "the operator rests", seconds=60)
        yield
    finally:
        api.call("PATCH", f"{path}/scale", {"spec": {"replicas": replicas}}, patch="merge-patch+json")
    eventually(
        lambda: api.call("GET", path).body["status"].get("readyReplicas", 0) == replicas,
        "the operator works again",
        seconds=120,
    )


@pytest.fixture
def namespace(api: Api, crds: dict[str, dict[str, Any]], no_operator: None) -> Iterator[str]:
    """A namespace of the test's own; the ModelDeployments in it go with it."""
    name = f"penstock-test-{uuid.uuid4().hex[:8]}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    answer = api.call("POST", "/api/v1/namespaces", body)
    assert answer.status == 201, answer.message
    yield name
    api.call("DELETE", f"/api/v1/namespaces/{name}")
