"""From stored objects to what decisions, the data plane and Prometheus see."""

from typing import Any

import pytest
from penstock import ports
from penstock.api.v1alpha1.modeldeployment_status import Metadata, ModelDeployment
from penstock.rollout import gather, world

Json = dict[str, Any]
OWNER = Metadata(name="fraud", namespace="ml", uid="u1")


def labelled(name: str, revision: str, **more: Any) -> Json:
    labels = {
        "penstock.dev/deployment": "fraud",
        "penstock.dev/deployment-uid": "u1",
        "penstock.dev/revision": revision,
    }
    return {"metadata": {"name": name, "namespace": "ml", "labels": labels}, **more}


def slice_of(revision: str, *endpoints: tuple[str, bool | None], port: str = "http") -> Json:
    return labelled(
        f"fraud-{revision}-x",
        revision,
        ports=[{"name": port, "port": 8080}],
        endpoints=[{"addresses": [address], "conditions": {"ready": ready}} for address, ready in endpoints],
    )


def deployment(revision: str, replicas: int = 2, **metadata: Any) -> Json:
    body = labelled(f"fraud-{revision}", revision, spec={"replicas": replicas})
    body["metadata"].update(metadata)
    return body


def test_a_revision_runs_when_its_deployment_and_its_service_are_there() -> None:
    children = gather.Children(
        deployments=(deployment("aa"), deployment("bb"), deployment("cc", deletionTimestamp="2026-01-01T00:00:00Z")),
        services=(labelled("fraud-aa", "aa"), labelled("fraud-cc", "cc")),
        slices=(slice_of("aa", ("10.0.0.1", True), ("10.0.0.2", False)),),
    )
    assert gather.workloads(children) == {"aa": world.Workload(replicas=2, ready=1)}


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        pytest.param([slice_of("aa", ("10.0.0.1", True))], {"aa": (ports.Endpoint("10.0.0.1", 8080),)}, id="ready"),
        pytest.param([slice_of("aa", ("10.0.0.1", False))], {}, id="not ready"),
        pytest.param([slice_of("aa", ("10.0.0.1", True), port="metrics")], {}, id="another port"),
        pytest.param([slice_of("", ("10.0.0.1", True))], {}, id="of no revision"),
        pytest.param(
            [{**slice_of("aa"), "endpoints": None, "ports": None}], {}, id="empty, as the API server stores it"
        ),
        pytest.param(
            [slice_of("aa", ("10.0.0.2", True)), slice_of("aa", ("10.0.0.1", True), ("10.0.0.2", True))],
            {"aa": (ports.Endpoint("10.0.0.1", 8080), ports.Endpoint("10.0.0.2", 8080))},
            id="several slices, each endpoint once",
        ),
    ],
)
def test_ready_endpoints(slices: list[Json], expected: dict[str, tuple[ports.Endpoint, ...]]) -> None:
    assert gather.ready_endpoints(slices) == expected


def test_the_data_plane_learns_every_revision_that_is_ready_and_those_of_the_split() -> None:
    mdep = ModelDeployment.model_validate(
        {
            "metadata": {"name": "fraud", "namespace": "ml"},
            "spec": {"model": {"name": "fraud", "version": 2}, "route": {"hostnames": ["fraud.example"]}},
            "status": {
                "stable": {"name": "aa", "modelVersion": 1},
                "candidate": {"name": "bb", "modelVersion": 2, "startedAt": "2026-01-01T00:00:00Z"},
                "split": {"stable": "aa", "candidate": "bb", "weight": 20},
            },
        }
    )
    children = gather.Children(slices=(slice_of("aa", ("10.0.0.1", True)), slice_of("old", ("10.0.0.9", True))))
    assert gather.routed(mdep, children) == ports.Routed(
        key=ports.Key("ml", "fraud"),
        hostnames=("fraud.example",),
        split=mdep.status.split,
        backends={
            "aa": ports.Backend("aa", 1, (ports.Endpoint("10.0.0.1", 8080),)),
            "bb": ports.Backend("bb", 2, ()),
            "old": ports.Backend("old", 0, (ports.Endpoint("10.0.0.9", 8080),)),
        },
    )


def test_prometheus_is_told_every_running_pod() -> None:
    pods = [
        labelled("one", "aa", status={"phase": "Running", "podIP": "10.0.0.1"}),
        labelled("two", "aa", status={"phase": "Running", "podIP": "fd00::1"}),
        labelled("waiting", "aa", status={"phase": "Pending"}),
        labelled("done", "aa", status={"phase": "Failed", "podIP": "10.0.0.3"}),
    ]
    assert gather.scrape_targets(pods) == [
        {"targets": ["10.0.0.1:8080"], "labels": {"pod": "one", "namespace": "ml"}},
        {"targets": ["[fd00::1]:8080"], "labels": {"pod": "two", "namespace": "ml"}},
    ]


def test_the_entry_is_the_service_of_the_same_name() -> None:
    assert not gather.entry_exists(OWNER, gather.Children(services=(labelled("fraud-aa", "aa"),)))
    assert gather.entry_exists(OWNER, gather.Children(services=(labelled("fraud", ""),)))


def test_the_answers_of_a_revision_are_with_its_running_pods_and_no_other() -> None:
    """Not with those of another revision, of another ModelDeployment that had this name, or without an address."""

    def pod(revision: str, address: str | None, uid: str = "u1", phase: str = "Running") -> Json:
        body = labelled(f"pod-{address}", revision, status={"phase": phase, "podIP": address})
        body["metadata"]["labels"]["penstock.dev/deployment-uid"] = uid
        return body

    pods = [
        pod("aa", "10.0.0.1"),
        pod("bb", "10.0.0.2"),
        pod("aa", "10.0.0.3", uid="u0"),
        pod("aa", None),
        pod("aa", "10.0.0.4", phase="Pending"),
    ]
    assert gather.running(pods, "u1", "aa") == (ports.Endpoint("10.0.0.1", 8081),)
