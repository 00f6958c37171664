"""What the pods may do to the node, and the operator to the cluster."""

from typing import Any

import pytest

from tests.chart import rendering

COMPONENTS = ("operator", "envoy", "mlflow", "prometheus")


def pod_of(rendered: rendering.Rendered, component: str) -> dict[str, Any]:
    return dict(rendered.get("Deployment", f"penstock-{component}")["spec"]["template"]["spec"])


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_pod_fits_the_restricted_standard_and_has_a_read_only_root(
    defaults: rendering.Rendered, component: str
) -> None:
    pod = pod_of(defaults, component)

    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert [one["securityContext"] for one in (*pod.get("initContainers", []), *pod["containers"])] == [
        {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    ]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert {kind for volume in pod.get("volumes", []) for kind in volume if kind != "name"} <= {"emptyDir", "configMap"}


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_container_has_probes_requests_and_a_memory_limit(defaults: rendering.Rendered, component: str) -> None:
    container = defaults.container(component)

    assert {key for key in container if key.endswith("Probe")} == {"startupProbe", "livenessProbe", "readinessProbe"}
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


def test_the_platform_may_choose_the_user(helm: rendering.Helm) -> None:
    rendered = helm.template({"runAsUser": None})

    assert [pod_of(rendered, component)["securityContext"] for component in COMPONENTS] == [
        {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    ] * len(COMPONENTS)


def test_only_who_talks_to_the_api_server_has_a_token(defaults: rendering.Rendered) -> None:
    assert {component: pod_of(defaults, component)["automountServiceAccountToken"] for component in COMPONENTS} == {
        "operator": True,
        "envoy": False,
        "mlflow": False,
        "prometheus": False,
    }


def rights(role: dict[str, Any]) -> dict[str, set[str]]:
    """Group and resource -> verbs."""
    found: dict[str, set[str]] = {}
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found.setdefault(f"{group}/{resource}".lstrip("/"), set()).update(rule["verbs"])
    return found


READ = {"get", "list", "watch"}
CHANGE = {*READ, "create", "patch", "delete"}
OPERATOR_RIGHTS = {
    "penstock.dev/modeldeployments": READ,
    "penstock.dev/modeldeployments/status": {"update", "patch"},
    "apps/deployments": CHANGE,
    "apps/controllerrevisions": CHANGE,
    "apps/deployments/scale": {"patch"},
    "services": CHANGE,
    "pods": READ,
    "discovery.k8s.io/endpointslices": READ,
    "events": {"create", "patch"},
    "secrets": {"get"},
}


def test_the_operator_may_do_what_it_does_and_nothing_else(defaults: rendering.Rendered) -> None:
    assert rights(defaults.get("ClusterRole", "penstock-operator")) == OPERATOR_RIGHTS
    assert rights(defaults.get("Role", "penstock-operator-own")) == {
        "coordination.k8s.io/leases": {*READ, "create", "update", "patch"}
    }


def test_watched_namespaces_give_rights_there_and_nowhere_else(helm: rendering.Helm) -> None:
    rendered = helm.template({"watchNamespaces": ["ml", "fraud"], "rbac": {"aggregateToUserRoles": False}})
    roles = {(one["metadata"]["name"], one["metadata"]["namespace"]): rights(one) for one in rendered.all("Role")}

    assert rendered.all("ClusterRole", "ClusterRoleBinding") == []
    assert roles == {
        ("penstock-operator", "ml"): OPERATOR_RIGHTS,
        ("penstock-operator", "fraud"): OPERATOR_RIGHTS,
        ("penstock-operator-own", "penstock-system"): {
            "coordination.k8s.io/leases": {*READ, "create", "update", "patch"}
        },
    }


def test_readable_secrets_can_be_limited_by_name(helm: rendering.Helm) -> None:
    rendered = helm.template({"rbac": {"registrySecretNames": ["a"]}, "mlflow": {"secretName": "b"}})
    (rule,) = (
        one for one in rendered.get("ClusterRole", "penstock-operator")["rules"] if one["resources"] == ["secrets"]
    )

    assert rule == {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a", "b"], "verbs": ["get"]}


@pytest.mark.parametrize("namespaces", [[], ["ml"]], ids=["all namespaces", "one namespace"])
def test_no_role_has_a_wildcard_and_every_binding_names_a_role_and_an_account(
    helm: rendering.Helm, namespaces: list[str]
) -> None:
    rendered = helm.template({"watchNamespaces": namespaces})
    rules = [rule for role in rendered.all("Role", "ClusterRole") for rule in role["rules"]]
    accounts = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in rendered.all("ServiceAccount")}
    bindings = rendered.all("RoleBinding", "ClusterRoleBinding")

    assert not [rule for rule in rules if "*" in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])]
    for binding in bindings:
        assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) in rendered.names
        assert {(one["namespace"], one["name"]) for one in binding["subjects"]} <= accounts
    used = {pod_of(rendered, component).get("serviceAccountName") for component in COMPONENTS} - {None, "default"}
    assert {name for _, name in accounts} == used
