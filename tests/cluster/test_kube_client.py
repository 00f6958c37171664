"""The client against a real API server."""

import asyncio
import datetime
from collections.abc import AsyncIterator
from typing import Any

import prometheus_client
import pytest
from penstock import errors
from penstock.kube import client, events, resources

from tests.cluster.conftest import DEPLOYMENTS, Api
from tests.unit.api.test_status import FULL_STATUS

pytestmark = pytest.mark.cluster


def mdep(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "penstock.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "fraud", "namespace": namespace},
        "spec": {"model": {"name": "fraud", "alias": "champion"}},
    }


def deployment(namespace: str, **spec: Any) -> dict[str, Any]:
    labels = {"app": "fraud-1"}
    container = {"name": "server", "image": "localhost/none:1", "imagePullPolicy": "Never"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "fraud-1", "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        }
        | spec,
    }


def service(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "fraud-1", "namespace": namespace, "labels": {"app": "fraud-1"}},
        "spec": {"clusterIP": "None", "selector": {"app": "fraud-1"}, "ports": [{"name": "http", "port": 8080}]},
    }


def record(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {"name": "fraud-1", "namespace": namespace, "labels": {"app": "fraud-1"}},
        "data": {"image": "localhost/none:1"},
        "revision": 1,
    }


@pytest.fixture
async def cluster() -> AsyncIterator[client.Cluster]:
    async with client.connect() as found:
        yield found


@pytest.mark.parametrize("make", [mdep, deployment, service, record], ids=lambda make: make.__name__)
async def test_applying_twice_changes_nothing(make: Any, cluster: client.Cluster, namespace: str) -> None:
    first = await cluster.apply(make(namespace))
    second = await cluster.apply(make(namespace))
    assert second["metadata"]["uid"] == first["metadata"]["uid"]
    assert second["metadata"].get("generation") == first["metadata"].get("generation")
    assert await cluster.get(resources.of(first), namespace, first["metadata"]["name"]) is not None


async def test_applying_leaves_the_fields_of_others_alone(cluster: client.Cluster, api: Api, namespace: str) -> None:
    await cluster.apply(deployment(namespace))
    path = resources.DEPLOYMENT.path(namespace, "fraud-1")
    await asyncio.to_thread(
        api.call, "PATCH", path, {"metadata": {"annotations": {"mine": "1"}}}, patch="merge-patch+json"
    )
    stored = await cluster.apply(deployment(namespace, replicas=0, minReadySeconds=3))
    assert stored["metadata"]["annotations"]["mine"] == "1"
    assert stored["spec"]["minReadySeconds"] == 3


async def test_creating_answers_what_is_there_already(cluster: client.Cluster, namespace: str) -> None:
    first = await cluster.create_if_absent(deployment(namespace))
    second = await cluster.create_if_absent(deployment(namespace, minReadySeconds=9))
    assert second["metadata"]["uid"] == first["metadata"]["uid"]
    assert "minReadySeconds" not in second["spec"]


async def test_a_status_is_written_alone_and_only_on_what_was_read(cluster: client.Cluster, namespace: str) -> None:
    created = await cluster.create(mdep(namespace))
    changed = created | {"status": FULL_STATUS.to_wire(), "spec": {"model": {"name": "other", "version": 1}}}
    stored = await cluster.replace_status(changed)
    assert stored["status"] == FULL_STATUS.to_wire()
    assert stored["spec"] == created["spec"]
    assert stored["metadata"]["generation"] == created["metadata"]["generation"]
    with pytest.raises(errors.Conflict):
        await cluster.replace_status(changed)


async def test_a_status_write_leaves_users_metadata_alone(cluster: client.Cluster, namespace: str) -> None:
    body = mdep(namespace)
    body["metadata"] |= {"labels": {"team": "ml"}, "annotations": {"note": "keep"}, "finalizers": ["example.com/keep"]}
    created = await cluster.create(body)
    stored = await cluster.replace_status(created | {"status": {"phase": "Healthy"}})
    kept = ("labels", "annotations", "finalizers")
    assert [stored["metadata"][key] for key in kept] == [created["metadata"][key] for key in kept]
    await cluster.merge(resources.MODEL_DEPLOYMENT, namespace, "fraud", {"metadata": {"finalizers": None}})


async def test_the_status_of_an_object_made_anew_is_not_overwritten(cluster: client.Cluster, namespace: str) -> None:
    old = await cluster.create(mdep(namespace))
    assert await cluster.delete(resources.MODEL_DEPLOYMENT, namespace, "fraud")
    await cluster.create(mdep(namespace))
    with pytest.raises(errors.Conflict):
        await cluster.replace_status(old | {"status": {"phase": "Healthy"}})


async def test_scaling_changes_the_replicas_only(cluster: client.Cluster, namespace: str) -> None:
    created = await cluster.create(deployment(namespace))
    await cluster.scale(namespace, "fraud-1", 1)
    stored = await cluster.get(resources.DEPLOYMENT, namespace, "fraud-1")
    assert stored is not None
    assert stored["spec"] == created["spec"] | {"replicas": 1}
    await cluster.scale(namespace, "fraud-1", 0)


async def test_deleting_what_is_gone_is_no_error(cluster: client.Cluster, namespace: str) -> None:
    created = await cluster.create(service(namespace))
    assert not await cluster.delete(resources.SERVICE, namespace, "fraud-1", uid="00000000-0000-0000-0000-000000000000")
    assert await cluster.delete(resources.SERVICE, namespace, "fraud-1", uid=created["metadata"]["uid"])
    assert not await cluster.delete(resources.SERVICE, namespace, "fraud-1")


async def test_a_list_can_be_asked_by_label(cluster: client.Cluster, namespace: str) -> None:
    created = await cluster.create(service(namespace))
    assert await cluster.list(resources.SERVICE, namespace, {"app": "fraud-1"}) == [created]
    assert await cluster.list(resources.SERVICE, namespace, {"app": "other"}) == []
    metadata = await cluster.list_metadata(resources.SERVICE, namespace)
    assert [item["metadata"]["uid"] for item in metadata] == [created["metadata"]["uid"]]
    assert "spec" not in metadata[0]


async def test_a_secret_is_read_decoded(cluster: client.Cluster, api: Api, namespace: str) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "login", "namespace": namespace},
        "stringData": {"MLFLOW_TRACKING_USERNAME": "me"},
    }
    assert await cluster.read_secret(namespace, "login") is None
    await cluster.create(secret)
    assert await cluster.read_secret(namespace, "login") == {"MLFLOW_TRACKING_USERNAME": "me"}


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        pytest.param(
            {"spec": {"model": {"name": "fraud"}}}, errors.Invalid, "set exactly one of model.alias", id="422"
        ),
        pytest.param({"metadata": {"name": "no/slash"}}, errors.PenstockError, "no/slash", id="a bad name"),
    ],
)
async def test_a_refusal_is_quoted(
    change: dict[str, Any], error: type[Exception], said: str, cluster: client.Cluster, namespace: str
) -> None:
    body = mdep(namespace) | change
    body["metadata"] = {"namespace": namespace} | body["metadata"]
    with pytest.raises(error) as refusal:
        await cluster.create(body)
    assert said in str(refusal.value)


async def test_a_namespace_that_does_not_exist_is_missing(cluster: client.Cluster, namespace: str) -> None:
    with pytest.raises(errors.Missing):
        await cluster.create(service(f"{namespace}-none"))


async def test_events_are_merged_on_the_object(cluster: client.Cluster, api: Api, namespace: str) -> None:
    involved = await cluster.create(mdep(namespace))
    metrics = events.Metrics(prometheus_client.CollectorRegistry())
    recorder = events.Recorder(cluster, instance="pod-1", metrics=metrics)
    now = datetime.datetime.now(datetime.UTC)
    for minutes in range(3):
        at = now + datetime.timedelta(minutes=minutes)
        await recorder.emit(involved, "Warning", "MetricFailed", "errors: " + "x" * 2000, at)
    path = f"/api/v1/namespaces/{namespace}/events"
    query = {"fieldSelector": f"involvedObject.uid={involved['metadata']['uid']}"}
    found = (await asyncio.to_thread(api.call, "GET", path, query=query)).body["items"]
    assert [(event["reason"], event["type"], event["count"], len(event["message"])) for event in found] == [
        ("MetricFailed", "Warning", 3, 1022)
    ]


def test_modeldeployments_live_where_the_paths_say() -> None:
    assert resources.MODEL_DEPLOYMENT.path("ml") == DEPLOYMENTS.format(namespace="ml")
