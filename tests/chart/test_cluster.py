"""What the chart makes, judged by a real API server: nothing is kept of it."""

import copy
import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.chart import rendering

pytestmark = pytest.mark.cluster

Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def kubectl() -> Kubectl:
    program = shutil.which("kubectl")
    if program is None or not os.environ.get("KUBECONFIG"):
        pytest.skip("needs a cluster: KUBECONFIG is not set (make chart)")

    def run(*arguments: str, objects: list[dict[str, Any]] | None = None) -> subprocess.CompletedProcess[str]:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects or []})
        return subprocess.run([program, *arguments], input=text, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module")
def restricted(kubectl: Kubectl) -> Iterator[str]:
    """A namespace that enforces the restricted Pod Security Standard."""
    name = f"penstock-chart-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    made = kubectl("create", "-f", "-", objects=[namespace])
    assert made.returncode == 0, made.stderr
    deadline = time.monotonic() + 20
    while kubectl("get", "serviceaccount", "default", "-n", name).returncode:
        assert time.monotonic() < deadline, f"{name} has no default service account after 20 s"
        time.sleep(0.1)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({}, id="defaults"),
        pytest.param(
            {
                "mlflow": {"embedded": {"persistence": {"enabled": True, "storageClassName": "fast"}}},
                "operator": {"tolerations": [{"operator": "Exists"}], "priorityClassName": "high"},
                "envoy": {"service": {"type": "LoadBalancer"}, "podDisruptionBudget": {"maxUnavailable": "50%"}},
                "imagePullSecrets": [{"name": "pull"}],
                "runAsUser": None,
            },
            id="with options",
        ),
    ],
)
def test_the_api_server_accepts_every_object(
    helm: rendering.Helm, kubectl: Kubectl, restricted: str, values: dict[str, Any]
) -> None:
    rendered = helm.template({**values, "watchNamespaces": [restricted]}, release="dry-run", namespace=restricted)
    clusterwide = helm.template(values, release="dry-run", namespace=restricted)
    objects = {(one["kind"], one["metadata"]["name"]): one for one in (*rendered.objects, *clusterwide.objects)}

    applied = kubectl(
        "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-",
        objects=list(objects.values()),
    )  # fmt: skip

    assert applied.returncode == 0, applied.stderr
    assert applied.stdout.count("serverside-applied") == len(objects)


def test_the_restricted_standard_admits_every_pod(
    defaults: rendering.Rendered, kubectl: Kubectl, restricted: str
) -> None:
    pods = []
    for deployment in defaults.all("Deployment"):
        spec = copy.deepcopy(deployment["spec"]["template"]["spec"])
        spec.pop("serviceAccountName", None)
        metadata = {"name": deployment["metadata"]["name"], "namespace": restricted}
        pods.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    lax = copy.deepcopy(pods[0])
    del lax["spec"]["containers"][0]["securityContext"]

    admitted = kubectl("create", "--dry-run=server", "-f", "-", objects=pods)
    refused = kubectl("create", "--dry-run=server", "-f", "-", objects=[lax])

    assert admitted.returncode == 0, admitted.stderr
    assert admitted.stdout.count("created (server dry run)") == len(pods) == 4
    assert 'violates PodSecurity "restricted' in refused.stderr
