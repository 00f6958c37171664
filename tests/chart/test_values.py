"""The values: each described, each used, bad ones refused in words that help."""

import json
from typing import Any

import pytest
import yaml

from dev import chart_readme
from tests.chart import rendering

TEXT = (rendering.CHART / "values.yaml").read_text()
DEFAULTS: dict[str, Any] = yaml.safe_load(TEXT)
DESCRIBED = chart_readme.values(TEXT)
PATHS = [".".join(value.path) for value in DESCRIBED]

OTHER: dict[str, Any] = {
    "nameOverride": "other",
    "fullnameOverride": "other",
    "clusterDomain": "example.local",
    "watchNamespaces": ["ml"],
    "imageRegistry": "mirror.example",
    "imagePullSecrets": [{"name": "pull"}],
    "registrySecretNames": ["login"],
    "registry": "registry.example",
    "repository": "other/image",
    "tag": "other",
    "digest": f"sha256:{'1' * 64}",
    "pullPolicy": "Always",
    "logFormat": "text",
    "logLevel": "debug",
    "name": "other",
    "annotations": {"example.com/a": "b"},
    "labels": {"example.com/a": "b"},
    "podAnnotations": {"example.com/a": "b"},
    "podLabels": {"example.com/a": "b"},
    "nodeSelector": {"example.com/a": "b"},
    "resources": {"requests": {"cpu": "7m"}},
    "extraEnv": [{"name": "EXTRA", "value": "1"}],
    "tolerations": [{"key": "gpu"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [{"maxSkew": 1}],
    "priorityClassName": "high",
    "type": "NodePort",
    "maxUnavailable": "50%",
    "renewSeconds": 0.7,
    "retrySeconds": 0.7,
    "secretName": "login",
    "allowedHosts": ["mlflow.example"],
    "size": "7Gi",
    "storageClassName": "fast",
    "accessModes": ["ReadWriteMany"],
    "existingClaim": "mine",
    "scrapeInterval": "7s",
    "interval": "7s",
    "retention": "7h",
    "url": "http://service.example",
    "level": "baseline",
    "serviceAccounts": ["trainer"],
    "metricsNamespaces": ["monitoring"],
}
CLAIM = rendering.nested("mlflow.embedded.persistence.enabled", True)
MONITOR = rendering.nested("prometheus.podMonitor.enabled", True)
OWN_MLFLOW = rendering.nested("mlflow.embedded.enabled", False)
OWN_PROMETHEUS = rendering.nested("prometheus", {"url": "http://one.example", "embedded": {"enabled": False}})
NEEDS = {
    "mlflow.url": OWN_MLFLOW,
    "mlflow.embedded.persistence.enabled": {},
    "mlflow.embedded.persistence": CLAIM,
    "prometheus.url": OWN_PROMETHEUS,
    "prometheus.podMonitor.enabled": {},
    "prometheus.podMonitor": MONITOR,
}
NOT_ALONE = {"prometheus.embedded.enabled"}


def another(path: str, default: Any) -> Any:
    """A value that is allowed there and is not the default."""
    if isinstance(default, bool):
        return not default
    key = path.rpartition(".")[2]
    return OTHER[key] if key in OTHER else default - 1


def needed(path: str) -> rendering.Values:
    """What must be set for a value to matter."""
    parts = path.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((NEEDS[prefix] for prefix in prefixes if prefix in NEEDS), {})


def test_every_value_is_described_once() -> None:
    leaves = {".".join(path) for path in chart_readme.leaves(DEFAULTS)}
    undescribed = {leaf for leaf in leaves if not any(leaf == path or leaf.startswith(f"{path}.") for path in PATHS)}

    assert undescribed == set()
    assert len(PATHS) == len(set(PATHS))


def test_the_readme_shows_the_values_as_they_are() -> None:
    readme = (rendering.CHART / "README.md").read_text()

    assert readme == chart_readme.with_table(readme, TEXT), "run `python -m dev.chart_readme`"


@pytest.mark.parametrize(
    "value",
    # The embedded Prometheus cannot be switched off alone: test_objects and test_asks_for_a_prometheus tell of it.
    [pytest.param(value, id=path) for value, path in zip(DESCRIBED, PATHS, strict=True) if path not in NOT_ALONE],
)
def test_a_value_changes_what_is_made(helm: rendering.Helm, value: chart_readme.Value) -> None:
    path = ".".join(value.path)
    before = needed(path)

    changed = rendering.merged(before, rendering.nested(path, another(path, value.default)))

    assert helm.text(changed) != helm.text(before)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        pytest.param({"operater": {}}, "additional properties 'operater' not allowed", id="misspelt at the top"),
        pytest.param(
            {"operator": {"image": {"tagg": "1"}}}, "additional properties 'tagg' not allowed", id="misspelt below"
        ),
        pytest.param(
            {"operator": {"leaderElection": {"leaseSeconds": 4, "renewSeconds": 2}}},
            "set operator.leaderElection.renewSeconds to 1.5 or less",
            id="a lease renewed too late",
        ),
        pytest.param({"envoy": {"replicas": 0}}, "/envoy/replicas': minimum: got 0, want 1", id="no Envoy"),
        pytest.param(
            {"envoy": {"replicas": "2"}}, "/envoy/replicas': got string, want integer", id="text for a number"
        ),
        pytest.param(
            {"envoy": {"image": {"pullPolicy": "Sometimes"}}},
            "/envoy/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'",
            id="unknown pull policy",
        ),
        pytest.param({"runAsUser": 0}, "/runAsUser': minimum: got 0, want 1", id="root"),
        pytest.param({"mlflow": {"url": "mlflow:5000"}}, "/mlflow/url': 'mlflow:5000' does not match", id="no scheme"),
        pytest.param(
            {"mlflow": {"url": "https://ann:secret@mlflow.example"}},
            "/mlflow/url': 'https://ann:secret@mlflow.example' does not match",
            id="a login that every pod would show",
        ),
        pytest.param(
            {"podPolicy": {"level": "none"}},
            "value must be one of 'restricted', 'baseline', 'privileged'",
            id="unknown level",
        ),
        pytest.param(
            {"registry": {"allowedHosts": ["https://mlflow.example/"]}},
            "/registry/allowedHosts/0': 'https://mlflow.example/' does not match",
            id="an address for a host",
        ),
        pytest.param(
            {"prometheus": {"embedded": {"scrapeInterval": 5}}},
            "/prometheus/embedded/scrapeInterval': got number, want string",
            id="interval without its unit",
        ),
        pytest.param({"watchNamespaces": "ml"}, "/watchNamespaces': got string, want array", id="text for a list"),
        pytest.param(
            {"operator": {"logLevel": "loud"}},
            "value must be one of 'debug', 'info', 'warning', 'error'",
            id="unknown log level",
        ),
    ],
)
def test_refuses_a_value_that_cannot_work(helm: rendering.Helm, values: dict[str, Any], words: str) -> None:
    with pytest.raises(rendering.Refused) as refused:
        helm.template(values)

    assert words in str(refused.value)


def test_asks_which_of_two_mlflows_is_meant(helm: rendering.Helm) -> None:
    with pytest.raises(rendering.Refused, match=r"set mlflow\.embedded\.enabled=false to use your own"):
        helm.template({"mlflow": {"url": "http://mine.example"}})


def test_asks_which_of_two_prometheuses_is_meant(helm: rendering.Helm) -> None:
    with pytest.raises(rendering.Refused, match=r"set prometheus\.embedded\.enabled=false to use your own"):
        helm.template({"prometheus": {"url": "http://mine.example"}})


def test_asks_for_a_prometheus(helm: rendering.Helm) -> None:
    with pytest.raises(rendering.Refused, match=r"there is no Prometheus to measure with: set prometheus\.url"):
        helm.template({"prometheus": {"embedded": {"enabled": False}}})


def test_helm_finds_nothing_to_complain_about(helm: rendering.Helm) -> None:
    assert "0 chart(s) failed" in helm.run(
        "lint", "--strict", "--kube-version", rendering.KUBERNETES, str(rendering.CHART)
    )


def test_the_schema_knows_every_default() -> None:
    schema = json.loads((rendering.CHART / "values.schema.json").read_text())

    def unknown(defaults: dict[str, Any], node: dict[str, Any], path: str) -> list[str]:
        node = schema["definitions"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
        if "properties" not in node:
            return []
        found = [f"{path}{key}" for key in defaults if key not in node["properties"]]
        for key, value in defaults.items():
            if isinstance(value, dict) and key in node["properties"]:
                found += unknown(value, node["properties"][key], f"{path}{key}.")
        return found

    assert unknown(DEFAULTS, schema, "") == []
