"""The name of a revision: which of people's words are in it, and the same for ever."""

from typing import Any

import pytest
from penstock import ports
from penstock.api.v1alpha1 import modeldeployment as api
from penstock.rollout import plan, revision

from tests.unit.rollout.cases import CANARY, PAUSE, SHADOW, SMOKE

DEFAULTS = revision.Defaults("http://mlflow:5000", "mlflow-credentials", "runtime:1", "IfNotPresent")
RESOLVED = ports.ModelVersion("fraud", 3)

MINIMAL: dict[str, Any] = {"model": {"name": "fraud", "alias": "champion"}}
FULL: dict[str, Any] = {
    "model": {
        "name": "fraud",
        "version": 3,
        "registry": {"trackingURI": "https://mlflow.example.com", "secretRef": {"name": "mine"}},
        "pollSeconds": 30,
    },
    "server": {
        "replicas": 3,
        "image": "models:2",
        "imagePullPolicy": "Always",
        "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "2Gi"}},
        "env": [
            {"name": "A", "value": "1"},
            {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "b"}}},
        ],
        "envFrom": [{"configMapRef": {"name": "c"}}],
        "template": {"spec": {"nodeSelector": {"gpu": "true"}}},
    },
}


def parsed(wire: dict[str, Any]) -> api.ModelDeploymentSpec:
    return api.ModelDeploymentSpec.model_validate(wire)


def changed(part: str, **fields: Any) -> dict[str, Any]:
    """The full spec with fields of one part changed; None takes a field out."""
    fields_now = {**FULL[part], **fields}
    return {**FULL, part: {name: value for name, value in fields_now.items() if value is not None}}


def name(wire: dict[str, Any], version: int = 3, defaults: revision.Defaults = DEFAULTS) -> str:
    return revision.render(parsed(wire), ports.ModelVersion("fraud", version), defaults, "http://mlflow:5000").name


def test_a_revision_of_few_words() -> None:
    assert revision.render(parsed(MINIMAL), RESOLVED, DEFAULTS, "http://mlflow:5000") == revision.Revision(
        name="a0dc255dda",
        model="fraud",
        version=3,
        tracking_uri="http://mlflow:5000",
        credentials_secret="mlflow-credentials",
        image="runtime:1",
        image_pull_policy="IfNotPresent",
        server={"resources": {}, "env": [], "envFrom": [], "template": {}},
    )


def test_a_revision_of_many_words() -> None:
    assert revision.render(parsed(FULL), RESOLVED, DEFAULTS, "https://mlflow.example.com") == revision.Revision(
        name="e42a1675a1",
        model="fraud",
        version=3,
        tracking_uri="https://mlflow.example.com",
        credentials_secret="mine",
        image="models:2",
        image_pull_policy="Always",
        server={name: value for name, value in FULL["server"].items() if name != "replicas"},
    )


SAME = {
    "the number of pods": changed("server", replicas=9),
    "how often the alias is looked up": changed("model", pollSeconds=60),
    "how the version was asked for": changed("model", version=None, alias="champion"),
    "a field of a later release": changed("server", batching={"maxSize": 32}),
    "defaults written out": changed("server"),
    "the rollout": {**FULL, "rollout": {"paused": True, "steps": []}},
    "the route": {**FULL, "route": {"pin": "Stable", "hostnames": ["fraud.example.com"]}},
}

OTHER = {
    "the image": changed("server", image="models:3"),
    "leaving the image to the release": changed("server", image=None),
    "the pull policy": changed("server", imagePullPolicy="Never"),
    "resources": changed("server", resources={"requests": {"cpu": "2"}}),
    "the value of a variable": changed("server", env=[{"name": "A", "value": "2"}, FULL["server"]["env"][1]]),
    "the order of variables, which may refer to each other": changed("server", env=FULL["server"]["env"][::-1]),
    "envFrom": changed("server", envFrom=[]),
    "the template": changed("server", template={"spec": {"nodeSelector": {"gpu": "false"}}}),
    "the registry": changed("model", registry={"trackingURI": "https://other.example.com"}),
}


@pytest.mark.parametrize("wire", SAME.values(), ids=SAME)
def test_a_change_that_makes_no_revision(wire: dict[str, Any]) -> None:
    assert name(wire) == name(FULL)


@pytest.mark.parametrize("wire", OTHER.values(), ids=OTHER)
def test_a_change_that_makes_another_revision(wire: dict[str, Any]) -> None:
    assert name(wire) != name(FULL)


def test_another_version_is_another_revision() -> None:
    assert len({name(MINIMAL, version) for version in range(1, 50)}) == 49


OTHER_RELEASE = revision.Defaults("http://elsewhere:5000", None, "runtime:2", "Always")


@pytest.mark.parametrize("wire", [MINIMAL, FULL], ids=["minimal", "full"])
def test_invariant_06_another_release_or_installation_names_a_revision_alike(wire: dict[str, Any]) -> None:
    assert name(wire, defaults=OTHER_RELEASE) == name(wire)


def test_invariant_06_defaults_that_the_api_server_wrote_change_no_name() -> None:
    """An object that was stored before a field existed gets the field's default when it is read again."""
    spec = parsed(MINIMAL)
    assert name(spec.to_wire()) == name(MINIMAL)
    assert revision.fingerprint(parsed(spec.to_wire())) == revision.fingerprint(spec)


@pytest.mark.parametrize("wire", [MINIMAL, FULL], ids=["minimal", "full"])
def test_a_recorded_revision_reads_back_as_it_was(wire: dict[str, Any]) -> None:
    made = revision.render(parsed(wire), RESOLVED, DEFAULTS, "http://mlflow:5000")
    assert revision.Revision.from_data(made.to_data()) == made


def test_a_record_shares_nothing_with_its_revision() -> None:
    made = revision.render(parsed(FULL), RESOLVED, DEFAULTS, "http://mlflow:5000")
    made.to_data()["server"]["env"].clear()
    assert len(made.server["env"]) == 2


def test_an_old_record_without_the_later_fields_reads_too() -> None:
    data = {"name": "8f0e76c0d3", "model": "fraud", "version": "3", "trackingURI": "http://m", "image": "runtime:0"}
    assert revision.Revision.from_data(data) == revision.Revision(
        name="8f0e76c0d3",
        model="fraud",
        version=3,
        tracking_uri="http://m",
        credentials_secret=None,
        image="runtime:0",
        image_pull_policy="IfNotPresent",
        server={},
    )


ROLLOUT = {**FULL, "rollout": {"steps": [{"canary": {"weight": 10}}]}}

ANOTHER_CHANCE = {
    "another image": changed("server", image="models:3"),
    "another alias": changed("model", version=None, alias="champion"),
    "other steps": {**FULL, "rollout": {"steps": [{"canary": {"weight": 20}}]}},
    "no steps at all": {**FULL, "rollout": {"steps": []}},
    "other metrics": {**FULL, "rollout": {"analysis": {"metrics": [{"name": "e", "type": "ErrorRate", "max": 0.5}]}}},
}

NO_OTHER_CHANCE = {
    "the number of pods": changed("server", replicas=9),
    "how often the alias is looked up": changed("model", pollSeconds=60),
    "pausing": {**FULL, "rollout": {"paused": True}},
    "pinning": {**FULL, "route": {"pin": "Stable"}},
    "keeping the failed": {**FULL, "rollout": {"onFailure": "Pause"}},
    "defaults written out": {**FULL, "rollout": api.Rollout().to_wire()},
    "a field of a later release": {**FULL, "rollout": {"abort": "Gradual"}},
}


@pytest.mark.parametrize("wire", ANOTHER_CHANCE.values(), ids=ANOTHER_CHANCE)
def test_a_change_that_gives_a_rejected_revision_another_chance(wire: dict[str, Any]) -> None:
    assert revision.fingerprint(parsed(wire)) != revision.fingerprint(parsed(FULL))


@pytest.mark.parametrize("wire", NO_OTHER_CHANCE.values(), ids=NO_OTHER_CHANCE)
def test_a_change_that_gives_it_none(wire: dict[str, Any]) -> None:
    assert revision.fingerprint(parsed(wire)) == revision.fingerprint(parsed(FULL))


def test_hashes_stay_what_they_are() -> None:
    """They are stored in objects: a refactoring that changes one starts rollouts, retries and steps over."""
    assert {
        "any JSON": revision.digest({"b": [1, 2.5, None, True], "a": "ä"}),
        "the order of keys": revision.digest({"a": "ä", "b": [1, 2.5, None, True]}),
        "a minimal spec": revision.fingerprint(parsed(MINIMAL)),
        "a full spec": revision.fingerprint(parsed(ROLLOUT)),
        "the default steps": plan.fingerprint(parsed(MINIMAL).rollout.steps),
        "other steps": plan.fingerprint((SMOKE, SHADOW, CANARY, PAUSE)),
        "no steps": plan.fingerprint(()),
    } == {
        "any JSON": "f11879da5f",
        "the order of keys": "f11879da5f",
        "a minimal spec": "23afb9e324",
        "a full spec": "665ba7f704",
        "the default steps": "1db0eda969",
        "other steps": "3c129bd5cf",
        "no steps": "4f53cda18c",
    }
