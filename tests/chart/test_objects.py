"""Which objects the chart makes, and what is in them."""

from typing import Any

import pytest
import yaml

from tests.chart import rendering

OPERATOR = {
    ("ServiceAccount", "penstock-operator"),
    ("ClusterRole", "penstock-operator"),
    ("ClusterRoleBinding", "penstock-operator"),
    ("Role", "penstock-operator-own"),
    ("RoleBinding", "penstock-operator-own"),
    ("Deployment", "penstock-operator"),
    ("Service", "penstock-operator"),
    ("NetworkPolicy", "penstock-operator"),
    ("PodDisruptionBudget", "penstock-operator"),
}
USER_ROLES = {("ClusterRole", "penstock-view"), ("ClusterRole", "penstock-edit")}
ENVOY = {
    ("Deployment", "penstock-envoy"),
    ("Service", "penstock-envoy"),
    ("PodDisruptionBudget", "penstock-envoy"),
    ("NetworkPolicy", "penstock-envoy"),
}
MLFLOW = {("Deployment", "penstock-mlflow"), ("Service", "penstock-mlflow")}
PROMETHEUS = {
    ("ConfigMap", "penstock-prometheus"),
    ("Deployment", "penstock-prometheus"),
    ("Service", "penstock-prometheus"),
    ("NetworkPolicy", "penstock-prometheus"),
}
CRDS = {("CustomResourceDefinition", "modeldeployments.penstock.dev")}
ALL = OPERATOR | USER_ROLES | ENVOY | MLFLOW | PROMETHEUS | CRDS
OWN_PROMETHEUS = {"url": "http://prometheus.example", "embedded": {"enabled": False}}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param({}, ALL, id="by default everything"),
        pytest.param({"mlflow": {"embedded": {"enabled": False}}}, ALL - MLFLOW, id="no MLflow"),
        pytest.param({"prometheus": OWN_PROMETHEUS}, ALL - PROMETHEUS, id="own Prometheus"),
        pytest.param(
            {"prometheus": {**OWN_PROMETHEUS, "podMonitor": {"enabled": True}}},
            (ALL - PROMETHEUS) | {("PodMonitor", "penstock-models")},
            id="own Prometheus that finds pods by a PodMonitor",
        ),
        pytest.param({"crds": {"enabled": False}}, ALL - CRDS, id="no CRDs"),
        pytest.param(
            {"rbac": {"create": False}},
            {one for one in ALL if "Role" not in one[0]},
            id="no rights, somebody else grants them",
        ),
        pytest.param(
            {"networkPolicy": {"enabled": False}}, {one for one in ALL if one[0] != "NetworkPolicy"}, id="open ports"
        ),
        pytest.param({"rbac": {"aggregateToUserRoles": False}}, ALL - USER_ROLES, id="no roles for users"),
        pytest.param(
            {"envoy": {"podDisruptionBudget": {"enabled": False}}},
            ALL - {("PodDisruptionBudget", "penstock-envoy")},
            id="no disruption budget",
        ),
        pytest.param(
            {"operator": {"podDisruptionBudget": {"enabled": False}}},
            ALL - {("PodDisruptionBudget", "penstock-operator")},
            id="no disruption budget of the operators",
        ),
        pytest.param(
            {"operator": {"serviceAccount": {"create": False, "name": "mine"}}},
            ALL - {("ServiceAccount", "penstock-operator")},
            id="own service account",
        ),
        pytest.param(
            {"mlflow": {"embedded": {"persistence": {"enabled": True}}}},
            ALL | {("PersistentVolumeClaim", "penstock-mlflow")},
            id="MLflow on a claim",
        ),
        pytest.param(
            {"mlflow": {"embedded": {"persistence": {"enabled": True, "existingClaim": "mine"}}}},
            ALL,
            id="MLflow on a claim that exists",
        ),
    ],
)
def test_makes_exactly_what_is_switched_on(
    helm: rendering.Helm, values: dict[str, Any], expected: set[tuple[str, str]]
) -> None:
    assert helm.template(values).names == expected


@pytest.mark.parametrize(
    ("release", "values", "service"),
    [
        pytest.param("penstock", {}, "penstock-envoy", id="the chart's name is not doubled"),
        pytest.param("my-penstock", {}, "my-penstock-envoy", id="a release that contains the chart's name"),
        pytest.param("models", {}, "models-penstock-envoy", id="another release"),
        pytest.param("models", {"nameOverride": "p"}, "models-p-envoy", id="another name of the chart"),
        pytest.param("models", {"fullnameOverride": "p"}, "p-envoy", id="another whole name"),
    ],
)
def test_names_objects_after_the_release(
    helm: rendering.Helm, release: str, values: dict[str, Any], service: str
) -> None:
    rendered = helm.template(values, release=release)

    assert ("Service", service) in rendered.names


def test_tells_the_operator_where_everything_is(defaults: rendering.Rendered) -> None:
    assert defaults.environment("operator") == {
        "PENSTOCK_OPERATOR_NAMESPACE": {"fieldRef": {"fieldPath": "metadata.namespace"}},
        "PENSTOCK_POD_IP": {"fieldRef": {"fieldPath": "status.podIP"}},
        "PENSTOCK_LEASE_NAME": "penstock-operator",
        "PENSTOCK_LEASE_SECONDS": "4",
        "PENSTOCK_LEASE_RENEW_SECONDS": "1",
        "PENSTOCK_LEASE_RETRY_SECONDS": "0.5",
        "PENSTOCK_WATCH_NAMESPACES": "",
        "PENSTOCK_RUNTIME_IMAGE": "ghcr.io/penstock-dev/penstock-runtime:0.1.0",
        "PENSTOCK_IMAGE_PULL_POLICY": "IfNotPresent",
        "PENSTOCK_TRACKING_URI": "http://penstock-mlflow.penstock-system.svc.cluster.local:5000",
        "PENSTOCK_REGISTRY_SECRET": "",
        "PENSTOCK_REGISTRY_ALLOWED_HOSTS": "",
        "PENSTOCK_POD_POLICY_LEVEL": "restricted",
        "PENSTOCK_POD_POLICY_SERVICE_ACCOUNTS": "",
        "PENSTOCK_PROMETHEUS_URL": "http://penstock-prometheus.penstock-system.svc.cluster.local:9090",
        "PENSTOCK_ENVOY_SERVICE": "penstock-envoy",
        "PENSTOCK_CLUSTER_DOMAIN": "cluster.local",
        "PENSTOCK_DISCOVERY_PORT": "8081",
        "PENSTOCK_METRICS_PORT": "8082",
        "PENSTOCK_PROBE_PORT": "8083",
        "PENSTOCK_LOG_FORMAT": "json",
        "PENSTOCK_LOG_LEVEL": "info",
    }


def test_tells_the_operator_of_another_mlflow_and_prometheus(helm: rendering.Helm) -> None:
    rendered = helm.template(
        {
            "watchNamespaces": ["ml", "fraud"],
            "mlflow": {"url": "https://mlflow.example", "secretName": "login", "embedded": {"enabled": False}},
            "prometheus": OWN_PROMETHEUS,
        }
    )
    environment = rendered.environment("operator")

    assert {name: environment[f"PENSTOCK_{name}"] for name in ("WATCH_NAMESPACES", "TRACKING_URI")} == {
        "WATCH_NAMESPACES": "ml,fraud",
        "TRACKING_URI": "https://mlflow.example",
    }
    assert {name: environment[f"PENSTOCK_{name}"] for name in ("REGISTRY_SECRET", "PROMETHEUS_URL")} == {
        "REGISTRY_SECRET": "login",
        "PROMETHEUS_URL": "http://prometheus.example",
    }


def test_lets_envoy_find_the_operator_and_finish(defaults: rendering.Rendered) -> None:
    pod = defaults.get("Deployment", "penstock-envoy")["spec"]["template"]["spec"]

    assert defaults.environment("envoy") == {
        "POD_NAME": {"fieldRef": {"fieldPath": "metadata.name"}},
        "PENSTOCK_DISCOVERY_HOST": "penstock-operator.penstock-system.svc.cluster.local",
        "PENSTOCK_DISCOVERY_PORT": "8081",
        "PENSTOCK_LOG_LEVEL": "warning",
        "PENSTOCK_CONCURRENCY": "2",
        "PENSTOCK_MAX_CONNECTIONS": "20000",
        "PENSTOCK_DRAIN_SECONDS": "10",
        "PENSTOCK_DRAIN_MAX_SECONDS": "60",
    }
    assert pod["terminationGracePeriodSeconds"] > 10 + 60


@pytest.mark.parametrize(
    ("component", "path"),
    [
        ("operator", "operator.image"),
        ("envoy", "envoy.image"),
        ("mlflow", "mlflow.embedded.image"),
        ("prometheus", "prometheus.embedded.image"),
    ],
)
def test_takes_any_image_for_every_component(helm: rendering.Helm, component: str, path: str) -> None:
    image = {"registry": "registry.example:5000", "repository": "a/b", "tag": "7", "pullPolicy": "Always"}
    digest = f"sha256:{'0' * 64}"

    by_tag = helm.template(rendering.nested(path, image)).container(component)
    by_digest = helm.template(rendering.nested(path, {**image, "digest": digest})).container(component)
    mirrored = helm.template({**rendering.nested(path, image), "imageRegistry": "mirror.example"}).container(component)
    unnamed = helm.template(rendering.nested(path, {**image, "registry": ""})).container(component)

    assert (by_tag["image"], by_tag["imagePullPolicy"]) == ("registry.example:5000/a/b:7", "Always")
    assert by_digest["image"] == f"registry.example:5000/a/b@{digest}"
    assert mirrored["image"] == "mirror.example/a/b:7"
    assert unnamed["image"] == "a/b:7"


def test_every_object_is_labelled_and_every_component_selects_its_own_pods(defaults: rendering.Rendered) -> None:
    labelled = {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "helm.sh/chart"}
    for one in defaults.objects:
        if one["kind"] != "CustomResourceDefinition":
            assert labelled <= set(one["metadata"]["labels"]), one["metadata"]["name"]

    for deployment in defaults.all("Deployment"):
        name = deployment["metadata"]["name"]
        pod_labels = deployment["spec"]["template"]["metadata"]["labels"]
        selectors = {
            other["metadata"]["name"]: other["spec"]["selector"]
            for other in defaults.all("Service")
            if other["spec"]["selector"].items() <= pod_labels.items()
        }
        assert selectors == {name: deployment["spec"]["selector"]["matchLabels"]}


def test_everything_lives_in_the_releases_namespace_or_in_none(helm: rendering.Helm) -> None:
    clusterwide = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
    namespaces = {
        (one["kind"] in clusterwide, one["metadata"].get("namespace")) for one in helm.template(namespace="x").objects
    }

    assert namespaces == {(True, None), (False, "x")}


def test_prometheus_asks_the_operator_whom_to_scrape_and_believes_it_about_namespaces(helm: rendering.Helm) -> None:
    rendered = helm.template({"prometheus": {"embedded": {"scrapeInterval": "1s"}}})
    config = yaml.safe_load(rendered.get("ConfigMap", "penstock-prometheus")["data"]["prometheus.yml"])

    assert config == {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [
            {
                "job_name": "penstock-models",
                "honor_labels": False,
                "metric_relabel_configs": [{"action": "labeldrop", "regex": "exported_(namespace|pod)"}],
                "http_sd_configs": [
                    {
                        "url": "http://penstock-operator.penstock-system.svc.cluster.local:8082/targets",
                        "refresh_interval": "1s",
                    }
                ],
            }
        ],
    }


def test_a_pod_monitor_believes_no_pod_about_its_namespace(helm: rendering.Helm) -> None:
    rendered = helm.template({"prometheus": {**OWN_PROMETHEUS, "podMonitor": {"enabled": True}}})
    (endpoint,) = rendered.get("PodMonitor", "penstock-models")["spec"]["podMetricsEndpoints"]

    assert endpoint == {
        "port": "http",
        "path": "/metrics",
        "interval": "5s",
        "honorLabels": False,
        "metricRelabelings": [{"action": "labeldrop", "regex": "exported_(namespace|pod)"}],
    }


def test_prometheus_restarts_when_its_configuration_changes(helm: rendering.Helm) -> None:
    def annotations(interval: str) -> Any:
        rendered = helm.template(rendering.nested("prometheus.embedded.scrapeInterval", interval))
        return rendered.get("Deployment", "penstock-prometheus")["spec"]["template"]["metadata"]["annotations"]

    assert annotations("1s") != annotations("2s")


def test_mlflow_accepts_the_host_that_the_operator_uses(helm: rendering.Helm) -> None:
    rendered = helm.template({"mlflow": {"embedded": {"allowedHosts": ["mlflow.example"]}}})
    uri = rendered.environment("operator")["PENSTOCK_TRACKING_URI"]
    (hosts,) = (
        one.partition("=")[2].split(",")
        for one in rendered.container("mlflow")["args"]
        if one.startswith("--allowed-hosts=")
    )

    assert {uri.removeprefix("http://"), "penstock-mlflow:5000", "localhost:*", "mlflow.example"} <= set(hosts)
    assert "*" not in hosts


def test_crds_and_claims_outlive_the_release_unless_told_otherwise(helm: rendering.Helm) -> None:
    def policies(keep: bool) -> set[str | None]:
        persistence = {"enabled": True, "keep": keep}
        rendered = helm.template({"crds": {"keep": keep}, "mlflow": {"embedded": {"persistence": persistence}}})
        kept = rendered.all("CustomResourceDefinition", "PersistentVolumeClaim")
        return {one["metadata"].get("annotations", {}).get("helm.sh/resource-policy") for one in kept}

    assert policies(keep=True) == {"keep"}
    assert policies(keep=False) == {None}


def test_one_operator_stands_by_wherever_it_can_and_is_there_before_another_goes(defaults: rendering.Rendered) -> None:
    spec = defaults.get("Deployment", "penstock-operator")["spec"]
    budget = defaults.get("PodDisruptionBudget", "penstock-operator")["spec"]
    (preferred,) = spec["template"]["spec"]["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]

    assert spec["replicas"] == 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    assert budget == {"maxUnavailable": 1, "selector": spec["selector"]}
    assert preferred["podAffinityTerm"] == {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": spec["selector"],
    }
