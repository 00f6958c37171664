"""The pods that we make, and those that we refuse, judged by the API server's own admission of a restricted namespace."""

import copy
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.conftest import Answer, Api, eventually
from tests.unit.rollout import test_podpolicy as table

NEEDS_OBJECTS = {"where to run"}
"""Names classes that this cluster does not have."""

STRICTER = {"a volume of an image"}
"""What we refuse, and the standard leaves open."""


@pytest.fixture(scope="module")
def restricted(api: Api) -> Iterator[str]:
    """A namespace that enforces the restricted standard."""
    name = f"penstock-test-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    answer = api.call("POST", "/api/v1/namespaces", body)
    assert answer.status == 201, answer.message
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    eventually(lambda: api.call("GET", account).status == 200, "the namespace has its service account")
    yield name
    api.call("DELETE", f"/api/v1/namespaces/{name}")


def tried(api: Api, namespace: str, template: dict[str, Any]) -> Answer:
    """What the API server says of a pod of that template, which it does not keep."""
    made = copy.deepcopy(table.pod(template))
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**made["metadata"], "name": "tried", "namespace": namespace},
        "spec": made["spec"],
    }
    query = {"dryRun": "All", "fieldValidation": "Strict"}
    return api.call("POST", f"/api/v1/namespaces/{namespace}/pods", body, query=query)


@pytest.mark.parametrize("name", sorted(table.ALLOWED.keys() - NEEDS_OBJECTS))
def test_pods_that_the_policy_lets_pass_are_admitted(api: Api, restricted: str, name: str) -> None:
    answer = tried(api, restricted, table.ALLOWED[name])
    assert answer.status == 201, answer.message


@pytest.mark.parametrize("name", sorted((table.RESTRICTED.keys() | table.BASELINE.keys()) - STRICTER))
def test_what_the_policy_refuses_is_not_admitted_either(api: Api, restricted: str, name: str) -> None:
    template, _ = {**table.RESTRICTED, **table.BASELINE}[name]
    answer = tried(api, restricted, template)
    assert answer.status in {400, 403, 422}, answer.body
