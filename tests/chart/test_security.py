"""What the pods may do to the node, and the operator to the cluster."""

from typing import Any

import pytest
from penstock import settings

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
CHANGE = {*READ, "create", "delete"}
OPERATOR_RIGHTS = {
    "penstock.dev/modeldeployments": READ,
    "penstock.dev/modeldeployments/status": {"update"},
    "apps/deployments": CHANGE,
    "apps/controllerrevisions": CHANGE - {"watch"},
    "apps/deployments/scale": {"patch"},
    "services": CHANGE,
    "pods": READ,
    "discovery.k8s.io/endpointslices": READ,
    "events": {"create", "patch"},
    "secrets": {"get"},
}
OWN_RIGHTS = {"coordination.k8s.io/leases": {"get", "create", "update"}, "events": {"create", "patch"}}


def test_the_operator_may_do_what_it_does_and_nothing_else(defaults: rendering.Rendered) -> None:
    assert rights(defaults.get("ClusterRole", "penstock-operator")) == OPERATOR_RIGHTS
    assert rights(defaults.get("Role", "penstock-operator-own")) == OWN_RIGHTS
    (named,) = (one for one in defaults.get("Role", "penstock-operator-own")["rules"] if "get" in one["verbs"])
    assert named["resourceNames"] == [defaults.environment("operator")["PENSTOCK_LEASE_NAME"]]


def test_watched_namespaces_give_rights_there_and_nowhere_else(helm: rendering.Helm) -> None:
    rendered = helm.template({"watchNamespaces": ["ml", "fraud"], "rbac": {"aggregateToUserRoles": False}})
    roles = {(one["metadata"]["name"], one["metadata"]["namespace"]): rights(one) for one in rendered.all("Role")}

    assert rendered.all("ClusterRole", "ClusterRoleBinding") == []
    assert roles == {
        ("penstock-operator", "ml"): OPERATOR_RIGHTS,
        ("penstock-operator", "fraud"): OPERATOR_RIGHTS,
        ("penstock-operator-own", "penstock-system"): OWN_RIGHTS,
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


def peers(rendered: rendering.Rendered, component: str) -> dict[str, list[str] | None]:
    """Port -> who may reach it, everybody if None."""
    policy = rendered.get("NetworkPolicy", f"penstock-{component}")["spec"]
    pods = rendered.get("Deployment", f"penstock-{component}")["spec"]["template"]
    assert policy["policyTypes"] == ["Ingress"]
    assert policy["podSelector"]["matchLabels"].items() <= pods["metadata"]["labels"].items()
    named = {port["name"] for container in pods["spec"]["containers"] for port in container["ports"]}
    found: dict[str, list[str] | None] = {}
    for rule in policy["ingress"]:
        who = [_peer(rendered, one) for one in rule["from"]] if "from" in rule else None
        found.update({port["port"]: who for port in rule["ports"]})
    assert set(found) <= named
    return found


def _peer(rendered: rendering.Rendered, peer: dict[str, Any]) -> str:
    if "namespaceSelector" in peer:
        (expression,) = peer["namespaceSelector"]["matchExpressions"]
        assert (expression["key"], expression["operator"]) == ("kubernetes.io/metadata.name", "In")
        return f"namespaces {','.join(expression['values'])}"
    labels = peer["podSelector"]["matchLabels"].items()
    (deployment,) = (
        one for one in rendered.all("Deployment") if labels <= one["spec"]["template"]["metadata"]["labels"].items()
    )
    return str(deployment["metadata"]["name"])


def test_ports_are_open_to_those_who_need_them(defaults: rendering.Rendered) -> None:
    assert {component: peers(defaults, component) for component in ("operator", "envoy", "prometheus")} == {
        "operator": {
            "discovery": ["penstock-envoy", "penstock-operator"],
            "metrics": ["penstock-prometheus"],
            "probe": None,
        },
        "envoy": {"http": None},
        "prometheus": {"http": ["penstock-operator"]},
    }


def test_namespaces_of_a_monitoring_may_read_all_metrics_and_nothing_else(helm: rendering.Helm) -> None:
    rendered = helm.template({"networkPolicy": {"metricsNamespaces": ["monitoring", "grafana"]}})
    everywhere = "namespaces monitoring,grafana"
    assert {component: peers(rendered, component) for component in ("operator", "envoy", "prometheus")} == {
        "operator": {
            "discovery": ["penstock-envoy", "penstock-operator"],
            "metrics": ["penstock-prometheus", everywhere],
            "probe": None,
        },
        "envoy": {"http": None, "stats": [everywhere]},
        "prometheus": {"http": ["penstock-operator", everywhere]},
    }


@pytest.mark.parametrize(
    ("namespaces", "readers"),
    [pytest.param([], {}, id="nobody"), pytest.param(["mon"], {"metrics": ["namespaces mon"]}, id="its namespace")],
)
def test_without_the_embedded_prometheus_its_own_namespace_reads_the_operators_metrics(
    helm: rendering.Helm, namespaces: list[str], readers: dict[str, list[str]]
) -> None:
    own = {"url": "http://prometheus.example", "embedded": {"enabled": False}}
    rendered = helm.template({"prometheus": own, "networkPolicy": {"metricsNamespaces": namespaces}})
    assert peers(rendered, "operator") == {
        "discovery": ["penstock-envoy", "penstock-operator"],
        "probe": None,
        **readers,
    }


def test_envoys_admin_interface_stays_on_the_loopback(defaults: rendering.Rendered) -> None:
    bootstrap = (rendering.CHART.parents[1] / "images" / "envoy" / "bootstrap.yaml").read_text()
    ports = {port["name"]: port["containerPort"] for port in defaults.container("envoy")["ports"]}
    assert "admin:\n  address:\n    socket_address: {address: 127.0.0.1," in bootstrap
    assert ports == {"http": 8080, "stats": 9902}


@pytest.mark.parametrize(
    ("values", "environment"),
    [
        pytest.param(
            {"podPolicy": {"level": "baseline", "serviceAccounts": ["a", "b"]}},
            {"POD_POLICY_LEVEL": "baseline", "POD_POLICY_SERVICE_ACCOUNTS": "a,b"},
            id="pods",
        ),
        pytest.param(
            {"registry": {"allowedHosts": ["*.example", "mlflow.ml.svc"]}},
            {"REGISTRY_ALLOWED_HOSTS": "*.example,mlflow.ml.svc"},
            id="registries",
        ),
    ],
)
def test_the_operator_is_told_what_users_may_ask_for_and_understands_it(
    helm: rendering.Helm, values: dict[str, Any], environment: dict[str, str]
) -> None:
    given = helm.template(values).environment("operator")
    texts = {name: value for name, value in given.items() if isinstance(value, str)}
    read = settings.Settings.from_environment({**texts, "PENSTOCK_OPERATOR_NAMESPACE": "penstock-system"}).model_dump()
    understood = {name: read[name.lower()] for name in environment}

    assert {name: texts[f"PENSTOCK_{name}"] for name in environment} == environment
    assert {
        name: ",".join(value) if isinstance(value, tuple) else value for name, value in understood.items()
    } == environment
