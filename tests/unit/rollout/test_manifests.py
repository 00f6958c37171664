"""The objects of a revision: golden, restricted, and open to what people lay over them.

After a change on purpose: `PYTHONPATH=operator:. python -m tests.unit.rollout.test_manifests` writes the golden file.
"""

import copy
import json
import pathlib
from typing import Any

import pytest
from penstock.api.v1alpha1 import modeldeployment_status as told
from penstock.rollout import manifests, revision

GOLDEN = pathlib.Path(__file__).parent / "golden" / "revision.json"
OWNER = told.Metadata(name="fraud", namespace="ml", uid="5e2b")
MADE = revision.Revision(
    name="7f3a9c21d0",
    model="fraud",
    version=3,
    tracking_uri="http://mlflow:5000",
    credentials_secret="mlflow",
    image="runtime:1",
    image_pull_policy="IfNotPresent",
    server={
        "resources": {"requests": {"cpu": "1"}},
        "env": [{"name": "A", "value": "1"}],
        "envFrom": [{"secretRef": {"name": "s"}}],
        "template": {"metadata": {"labels": {"team": "risk"}}, "spec": {"nodeSelector": {"gpu": "true"}}},
    },
)


def made(**server: Any) -> revision.Revision:
    data = {**MADE.to_data(), "server": server}
    return revision.Revision.from_data(data)


def everything() -> dict[str, Any]:
    address = manifests.DataPlaneAddress("penstock-envoy", "penstock-system")
    return {
        "record": manifests.record(OWNER, MADE, 7),
        "service": manifests.service(OWNER, MADE.name),
        "deployment": manifests.deployment(OWNER, MADE, 2),
        "entry": manifests.entry(OWNER, address),
    }


def pod(**server: Any) -> dict[str, Any]:
    template = manifests.pod_template(OWNER, made(**server))
    spec: dict[str, Any] = template["spec"]
    return spec


def container(spec: dict[str, Any], name: str = "server") -> dict[str, Any]:
    found = [known for known in (*spec["initContainers"], *spec["containers"]) if known["name"] == name]
    assert len(found) == 1
    only: dict[str, Any] = found[0]
    return only


def environment(**server: Any) -> dict[str, Any]:
    env = container(pod(**server))["env"]
    assert len({variable["name"] for variable in env}) == len(env)
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in env}


def test_the_objects_of_a_revision_are_golden() -> None:
    """A change here reaches new revisions only, and is meant."""
    assert everything() == json.loads(GOLDEN.read_text())


def test_everything_belongs_to_the_modeldeployment_so_that_deleting_it_leaves_nothing() -> None:
    for body in everything().values():
        assert body["metadata"]["namespace"] == "ml"
        assert body["metadata"]["labels"]["penstock.dev/deployment"] == "fraud"
        assert body["metadata"]["ownerReferences"] == [
            {
                "apiVersion": "penstock.dev/v1alpha1",
                "kind": "ModelDeployment",
                "name": "fraud",
                "uid": "5e2b",
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ]


def test_service_and_deployment_select_the_pods_of_their_revision_and_no_others() -> None:
    body = manifests.deployment(OWNER, MADE, 2)
    selector = body["spec"]["selector"]["matchLabels"]
    assert selector == manifests.service(OWNER, MADE.name)["spec"]["selector"]
    assert selector.items() <= body["spec"]["template"]["metadata"]["labels"].items()
    assert selector["penstock.dev/revision"] == MADE.name


def violations(spec: dict[str, Any]) -> list[str]:
    """What the restricted Pod Security Standard refuses about a pod."""
    found = [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    found += [f"volume {volume['name']}" for volume in spec["volumes"] if not volume.keys() - {"name"} <= allowed]
    if spec["securityContext"].get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        found.append("seccomp")
    for each in (*spec["initContainers"], *spec["containers"]):
        context = each["securityContext"]
        wanted = {
            "privileged": not context.get("privileged", False),
            "escalation": context.get("allowPrivilegeEscalation") is False,
            "capabilities": context.get("capabilities") == {"drop": ["ALL"]},
            "non-root": context.get("runAsNonRoot", spec["securityContext"].get("runAsNonRoot")) is True,
            "user": context.get("runAsUser", spec["securityContext"].get("runAsUser")) != 0,
            "host ports": not any("hostPort" in port for port in each.get("ports", [])),
            "read-only root": context.get("readOnlyRootFilesystem") is True,
        }
        found += [f"{each['name']}: {name}" for name, fine in wanted.items() if not fine]
    return found


def test_a_pod_fits_the_restricted_pod_security_standard_and_has_no_token() -> None:
    spec = pod()
    assert violations(spec) == []
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsUser"] == 65532


def test_the_check_of_the_standard_notices() -> None:
    loose = pod(template={"spec": {"containers": [{"name": "server", "securityContext": {"runAsUser": 0}}]}})
    assert violations(loose) == ["server: user"]


def test_a_model_never_sees_the_credentials_of_the_registry() -> None:
    spec = pod()
    secret = {"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"}
    names = {each: {variable["name"] for variable in container(spec, each)["env"]} for each in ("download", "server")}
    assert secret <= names["download"]
    assert not secret & names["server"]


def test_both_containers_know_what_they_serve() -> None:
    spec = pod()
    for name in ("download", "server"):
        env = {variable["name"]: variable.get("value") for variable in container(spec, name)["env"]}
        assert {
            "PENSTOCK_NAMESPACE": "ml",
            "PENSTOCK_DEPLOYMENT": "fraud",
            "PENSTOCK_REVISION": "7f3a9c21d0",
            "PENSTOCK_MODEL_NAME": "fraud",
            "PENSTOCK_MODEL_VERSION": "3",
            "PENSTOCK_MODEL_DIR": "/model",
            "PENSTOCK_PORT": "8080",
            "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        }.items() <= env.items()


FROM = {"secretKeyRef": {"name": "s", "key": "home"}}


def test_a_variable_of_the_user_takes_the_place_of_ours() -> None:
    ours = environment()
    env = environment(env=[{"name": "HOME", "valueFrom": FROM}, {"name": "A", "value": "1"}])
    assert env == {**ours, "HOME": FROM, "A": "1"}
    mixed = [known for known in container(pod(env=[{"name": "HOME", "valueFrom": FROM}]))["env"] if "value" in known]
    assert "HOME" not in {known["name"] for known in mixed}


def test_a_template_adds_to_the_pod() -> None:
    plain = pod()
    spec = pod(
        template={
            "spec": {
                "tolerations": [{"key": "gpu"}],
                "volumes": [
                    {"name": "tmp", "persistentVolumeClaim": {"claimName": "c"}},
                    {"name": "x", "emptyDir": {}},
                ],
                "containers": [
                    {
                        "name": "server",
                        "volumeMounts": [{"name": "tmp", "mountPath": "/cache"}, {"name": "x", "mountPath": "/tmp"}],
                        "readinessProbe": {"exec": {"command": ["true"]}, "failureThreshold": 9},
                        "securityContext": {"readOnlyRootFilesystem": False},
                    },
                    {"name": "sidecar", "image": "sidecar:1"},
                ],
            }
        }
    )
    expected = copy.deepcopy(plain)
    expected["tolerations"] = [{"key": "gpu"}]
    expected["volumes"] = [
        {"name": "model", "emptyDir": {}},
        {"name": "tmp", "persistentVolumeClaim": {"claimName": "c"}},
        {"name": "x", "emptyDir": {}},
    ]
    server = container(expected)
    server["volumeMounts"] = [
        {"name": "model", "mountPath": "/model"},
        {"name": "x", "mountPath": "/tmp"},
        {"name": "tmp", "mountPath": "/cache"},
    ]
    server["readinessProbe"] = {
        "exec": {"command": ["true"]},
        "failureThreshold": 9,
        "periodSeconds": 1,
        "timeoutSeconds": 2,
    }
    server["securityContext"]["readOnlyRootFilesystem"] = False
    expected["containers"].append({"name": "sidecar", "image": "sidecar:1"})
    assert spec == expected


MERGES: dict[str, tuple[Any, Any, Any]] = {
    "a new key is added": ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
    "a value is replaced": ({"a": 1}, {"a": 2}, {"a": 2}),
    "objects are merged deeply": ({"a": {"b": 1, "c": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}),
    "a plain list is replaced": ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
    "an empty list empties": ({"a": [{"name": "x"}]}, {"a": []}, {"a": []}),
    "an object may become something else": ({"a": {"b": 1}}, {"a": None}, {"a": None}),
    "named objects are merged by name": (
        {"containers": [{"name": "x", "image": "1"}, {"name": "y"}]},
        {"containers": [{"name": "z"}, {"name": "x", "tty": True}]},
        {"containers": [{"name": "x", "image": "1", "tty": True}, {"name": "y"}, {"name": "z"}]},
    ),
    "ports are told apart by number": (
        {"ports": [{"name": "http", "containerPort": 8080}]},
        {"ports": [{"containerPort": 8080, "hostIP": "::"}, {"containerPort": 9}]},
        {"ports": [{"name": "http", "containerPort": 8080, "hostIP": "::"}, {"containerPort": 9}]},
    ),
    "a probe keeps one handler": (
        {"httpGet": {"path": "/"}, "periodSeconds": 1},
        {"tcpSocket": {"port": 1}},
        {"tcpSocket": {"port": 1}, "periodSeconds": 1},
    ),
    "a probe's own handler is merged": (
        {"httpGet": {"path": "/", "port": 1}},
        {"httpGet": {"path": "/ready"}},
        {"httpGet": {"path": "/ready", "port": 1}},
    ),
}


@pytest.mark.parametrize(("generated", "partial", "merged"), MERGES.values(), ids=MERGES)
def test_merge(generated: Any, partial: Any, merged: Any) -> None:
    before = copy.deepcopy((generated, partial))
    assert manifests.merge(generated, partial) == merged
    assert (generated, partial) == before


def test_what_is_merged_shares_nothing_with_what_it_was_made_of() -> None:
    partial = {"spec": {"tolerations": [{"key": "a"}]}}
    merged = manifests.merge({"spec": {}}, partial)
    merged["spec"]["tolerations"][0]["key"] = "b"
    assert partial == {"spec": {"tolerations": [{"key": "a"}]}}


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(everything(), indent=2) + "\n")
