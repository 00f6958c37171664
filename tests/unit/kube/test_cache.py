"""The cache takes nothing that is older than what it holds, whoever tells it, in whatever order."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock import ports
from penstock.kube import cache, resources

KEY = ports.Key("ml", "fraud")


def service(
    version: str, *, uid: str = "u1", name: str = "fraud-1", owner: str | None = "fraud", **metadata: Any
) -> dict[str, Any]:
    labels = {"penstock.dev/deployment": owner} if owner else {}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "ml", "name": name, "uid": uid, "resourceVersion": version, "labels": labels}
        | metadata,
    }


def told(*steps: Callable[[cache.Cache], object]) -> tuple[cache.Cache, list[tuple[str, str]]]:
    """A cache after these steps, and the changes it told: type and version."""
    held = cache.Cache()
    changes: list[tuple[str, str]] = []
    held.subscribe(lambda change: changes.append((change.type.value, change.obj["metadata"]["resourceVersion"])))
    for step in steps:
        step(held)
    return held, changes


def learn(version: str, **given: Any) -> Callable[[cache.Cache], object]:
    return lambda held: held.learn(service(version, **given))


def lose(version: str, **given: Any) -> Callable[[cache.Cache], object]:
    return lambda held: held.lose(service(version, **given))


@pytest.mark.parametrize(
    ("steps", "changes"),
    [
        pytest.param([learn("1")], [("ADDED", "1")], id="a new object"),
        pytest.param([learn("1"), learn("2")], [("ADDED", "1"), ("MODIFIED", "2")], id="a newer version"),
        pytest.param([learn("2"), learn("2")], [("ADDED", "2")], id="the same version is no news"),
        pytest.param([learn("10"), learn("9")], [("ADDED", "10")], id="an older version, compared as a number"),
        pytest.param([learn("1"), lose("2")], [("ADDED", "1"), ("DELETED", "1")], id="a deleted object"),
        pytest.param([lose("2")], [], id="an unknown object that is deleted"),
        pytest.param([lose("2"), learn("1")], [], id="told of after its end"),
        pytest.param([learn("1"), lose("3"), learn("2")], [("ADDED", "1"), ("DELETED", "1")], id="a late change"),
        pytest.param(
            [learn("1"), lose("2"), learn("3")],
            [("ADDED", "1"), ("DELETED", "1"), ("ADDED", "3")],
            id="our label came back",
        ),
        pytest.param([learn("3"), lose("2")], [("ADDED", "3")], id="a late end, our label is back already"),
        pytest.param(
            [learn("1"), learn("5", uid="u2")],
            [("ADDED", "1"), ("DELETED", "1"), ("ADDED", "5")],
            id="another object of the same name",
        ),
        pytest.param(
            [learn("5", uid="u2"), learn("1")], [("ADDED", "5")], id="the earlier object of that name does not return"
        ),
        pytest.param([learn("5", uid="u2"), lose("4")], [("ADDED", "5")], id="the end of the earlier object"),
        pytest.param(
            [learn("x"), learn("a"), lose("b")],
            [("ADDED", "x"), ("MODIFIED", "a"), ("DELETED", "a")],
            id="versions that cannot be compared: the last to come counts",
        ),
    ],
)
def test_a_cache_tells_what_changed(
    steps: list[Callable[[cache.Cache], object]], changes: list[tuple[str, str]]
) -> None:
    assert told(*steps)[1] == changes


@given(st.permutations(range(1, 7)))
def test_in_any_order_the_newest_is_held(versions: list[int]) -> None:
    held, _ = told(*(learn(str(version)) for version in versions))
    assert held.get(resources.SERVICE, "ml", "fraud-1") == service("6")


@given(st.permutations([learn("1"), learn("2"), learn("3"), lose("4")]))
def test_in_any_order_what_is_deleted_stays_away(steps: list[Callable[[cache.Cache], object]]) -> None:
    held, _ = told(*steps)
    assert held.get(resources.SERVICE, "ml", "fraud-1") is None
    assert held.children(resources.SERVICE, KEY) == ()


def test_children_are_those_with_the_label_sorted_by_name() -> None:
    held, _ = told(
        learn("1", name="fraud-2", uid="u2"), learn("1"), learn("1", name="other", uid="u3", owner="another")
    )
    assert held.children(resources.SERVICE, KEY) == (service("1"), service("1", name="fraud-2", uid="u2"))


def test_an_object_can_change_its_owner() -> None:
    held, _ = told(learn("1"), learn("2", owner="other"))
    assert held.children(resources.SERVICE, KEY) == ()
    assert held.children(resources.SERVICE, ports.Key("ml", "other")) == (service("2", owner="other"),)


def test_a_modeldeployment_is_its_own_owner_whatever_its_labels_say() -> None:
    obj = service("1", name="fraud", owner="other") | {
        "apiVersion": "penstock.dev/v1alpha1",
        "kind": "ModelDeployment",
    }
    assert cache.owner_of(obj) == KEY


def test_known_objects_can_be_asked_by_namespace() -> None:
    held, _ = told(learn("1"), learn("1", name="fraud", uid="u2", namespace="elsewhere"))
    assert held.known(resources.SERVICE, ["elsewhere"]) == {ports.Key("elsewhere", "fraud"): "u2"}
    assert set(held.known(resources.SERVICE)) == {ports.Key("ml", "fraud-1"), ports.Key("elsewhere", "fraud")}


def test_a_pod_is_kept_without_what_its_deployment_says() -> None:
    pod = service("1") | {
        "kind": "Pod",
        "spec": {"nodeName": "n1", "containers": [{"name": "server"}]},
        "status": {"phase": "Running"},
    }
    pod["metadata"]["managedFields"] = [{"manager": "kubelet"}]
    expected = service("1") | {"kind": "Pod", "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}}
    assert cache.slimmed(resources.POD, pod) == expected


def test_a_listener_that_fails_does_not_keep_the_others_from_listening() -> None:
    held = cache.Cache()
    heard: list[str] = []

    def fail(_change: cache.Change) -> None:
        raise ZeroDivisionError

    held.subscribe(fail)
    held.subscribe(lambda change: heard.append(change.type.value))
    held.learn(service("1"))
    assert heard == ["ADDED"]


def test_the_memory_of_what_went_is_bounded() -> None:
    held = cache.Cache()
    for number in range(25_000):
        held.lose(service("1", uid=f"u{number}"))
    assert len(held._graves) == 20_000
