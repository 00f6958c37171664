"""What the client asks, and what it makes of the answers."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio import client as official
from penstock import errors
from penstock.kube import client, resources

from tests.unit.kube.fakeapi import FakeApi, web_answer

Ask = Callable[[client.Cluster], Awaitable[Any]]

SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "ml", "name": "fraud"}}
STORED = {
    "apiVersion": "penstock.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"namespace": "ml", "name": "fraud", "uid": "u1", "resourceVersion": "7", "labels": {"mine": "1"}},
    "spec": {"model": {"name": "fraud"}},
    "status": {"phase": "Healthy"},
}


async def asked(ask: Ask, *answers: web.Response) -> tuple[Any, list[tuple[str, str, dict[str, str], Any]]]:
    """What a call answers, and the requests it made."""
    api = FakeApi()
    api.answers = list(answers)
    async with api.served() as configuration, client.connect(configuration) as cluster:
        result = await ask(cluster)
    requests = [(method, path, query, json.loads(body) if body else None) for method, path, query, body in api.requests]
    return result, requests


@pytest.mark.parametrize(
    ("status", "error"),
    [
        pytest.param(400, errors.Invalid, id="unreadable"),
        pytest.param(401, errors.ClusterUnavailable, id="token expired"),
        pytest.param(403, errors.Denied, id="not allowed"),
        pytest.param(404, errors.Missing, id="no such object"),
        pytest.param(409, errors.Conflict, id="somebody was first"),
        pytest.param(410, errors.ClusterUnavailable, id="list expired"),
        pytest.param(415, errors.Invalid, id="unknown content type"),
        pytest.param(422, errors.Invalid, id="refused by the schema"),
        pytest.param(429, errors.ClusterUnavailable, id="too many requests"),
        pytest.param(500, errors.ClusterUnavailable, id="broken"),
        pytest.param(503, errors.ClusterUnavailable, id="starting"),
    ],
)
async def test_a_status_is_an_error_of_ours(status: int, error: type[errors.PenstockError]) -> None:
    with pytest.raises(error, match=r"PATCH /api/v1/namespaces/ml/services/fraud.*because"):
        await asked(lambda cluster: cluster.apply(SERVICE), web_answer(status, "because"))


async def test_a_server_that_does_not_answer_is_unavailable() -> None:
    async with client.connect(official.Configuration(host="http://127.0.0.1:9")) as cluster:
        with pytest.raises(errors.ClusterUnavailable, match="does not answer GET"):
            await cluster.get(resources.POD, "ml", "fraud")


async def test_a_server_that_takes_too_long_is_unavailable() -> None:
    api = FakeApi()
    async with (
        api.served() as configuration,
        client.connect(configuration, timeout_seconds=0.05) as cluster,
    ):
        with pytest.raises(errors.ClusterUnavailable, match="does not answer GET"):
            await cluster.get(resources.Resource("", "v1", "Slow", "slow"), "ml", "fraud")


async def test_an_answer_that_is_no_json_is_quoted() -> None:
    with pytest.raises(errors.ClusterUnavailable, match="bad gateway"):
        await asked(
            lambda cluster: cluster.get(resources.POD, "ml", "a"), web.Response(status=502, text="<h1>bad gateway")
        )


@pytest.mark.parametrize(
    ("ask", "request_"),
    [
        pytest.param(
            lambda cluster: cluster.apply(SERVICE),
            ("PATCH", "/api/v1/namespaces/ml/services/fraud", {"fieldManager": "penstock", "force": "true"}, SERVICE),
            id="apply",
        ),
        pytest.param(
            lambda cluster: cluster.replace_status(STORED),
            (
                "PUT",
                "/apis/penstock.dev/v1alpha1/namespaces/ml/modeldeployments/fraud/status",
                {"fieldManager": "penstock"},
                {
                    "apiVersion": "penstock.dev/v1alpha1",
                    "kind": "ModelDeployment",
                    "metadata": {"namespace": "ml", "name": "fraud", "uid": "u1", "resourceVersion": "7"},
                    "status": {"phase": "Healthy"},
                },
            ),
            id="a status goes alone",
        ),
        pytest.param(
            lambda cluster: cluster.scale("ml", "fraud-1", 3),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/ml/deployments/fraud-1/scale",
                {"fieldManager": "penstock"},
                {"spec": {"replicas": 3}},
            ),
            id="scale",
        ),
        pytest.param(
            lambda cluster: cluster.delete(resources.DEPLOYMENT, "ml", "fraud-1", uid="u1"),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/ml/deployments/fraud-1",
                {},
                {"propagationPolicy": "Background", "preconditions": {"uid": "u1"}},
            ),
            id="delete the one that is meant",
        ),
    ],
)
async def test_a_call_makes_one_request(ask: Ask, request_: tuple[str, str, dict[str, str], Any]) -> None:
    _, requests = await asked(ask, web_answer(200))
    assert requests == [request_]


@pytest.mark.parametrize(
    ("answers", "result"),
    [
        pytest.param([web_answer(200)], True, id="it is there"),
        pytest.param([web_answer(404)], False, id="it is gone"),
        pytest.param([web_answer(409)], False, id="another has its name"),
    ],
)
async def test_deleting_tells_whether_it_was_there(answers: list[web.Response], result: bool) -> None:
    assert (await asked(lambda cluster: cluster.delete(resources.POD, "ml", "a", uid="u1"), *answers))[0] == result


async def test_a_list_is_read_page_by_page() -> None:
    pages = [
        web.json_response({"metadata": {"continue": "more"}, "items": [{"metadata": {"name": "a"}}]}),
        web.json_response({"metadata": {}, "items": [{"metadata": {"name": "b"}}]}),
    ]
    result, requests = await asked(lambda cluster: cluster.list(resources.POD, "ml", {"b": "2", "a": "1"}), *pages)
    assert result == [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}},
    ]
    selector = {"limit": "500", "labelSelector": "a=1,b=2"}
    path = "/api/v1/namespaces/ml/pods"
    assert requests == [("GET", path, selector, None), ("GET", path, selector | {"continue": "more"}, None)]


async def test_a_secret_is_decoded_and_what_is_no_text_is_left_out() -> None:
    stored = web.json_response({"data": {"token": "c2VjcmV0", "blob": "/w=="}})
    assert (await asked(lambda cluster: cluster.read_secret("ml", "login"), stored))[0] == {"token": "secret"}


async def test_a_token_is_sent() -> None:
    api = FakeApi()
    seen: list[str | None] = []

    async def note(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.json_response({})

    async with api.served() as configuration:
        configuration.api_key["BearerToken"] = "Bearer abc"
        app = web.Application()
        app.router.add_get("/{path:.*}", note)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with client.connect(configuration) as cluster:
            await cluster.get(resources.POD, "ml", "a")
        await runner.cleanup()
    assert seen == ["Bearer abc"]


async def test_without_any_login_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(errors.Misconfigured, match="set KUBECONFIG"):
        async with client.connect():
            pass
