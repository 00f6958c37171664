"""What callers get for what they should not have sent, through the data plane."""

import pytest

from tests.e2e import specs
from tests.e2e import stage as stages
from tests.e2e.catalogue import Kind
from tests.e2e.stage import Stage
from tests.e2e.theatre import scenario

LIMIT = 16 * 1024 * 1024


@scenario()
async def test_bad_requests_get_the_answers_of_mlflow(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[]))
    good = await stage.ask()
    assert (good.status, good.json()) == (200, {"predictions": [pytest.approx(0.1)]})
    cases = {
        "no JSON": (await stage.ask(b"no JSON at all"), 400),
        "a column that does not exist": (
            await stage.ask(b'{"dataframe_split": {"columns": ["y"], "data": [[1]]}}'),
            400,
        ),
        "no input": (await stage.ask(b'{"x": 1}'), 400),
        "an empty body": (await stage.ask(b""), 400),
        "another content type": (await stage.ask(content_type="application/x-pickle"), 415),
        "another method": (await stage.ask(b"", method="GET"), 405),
        "another path": (await stage.ask(path="/predict"), 404),
    }
    assert {name: answer.status for name, (answer, _) in cases.items()} == {
        name: wanted for name, (_, wanted) in cases.items()
    }
    codes = {
        "no JSON": "BAD_REQUEST",
        "a column that does not exist": "INVALID_PARAMETER_VALUE",
        "no input": "BAD_REQUEST",
    }
    assert {name: cases[name][0].json()["error_code"] for name in codes} == codes
    assert all(cases[name][0].json()["message"] for name in codes)
    assert (await stage.ask()).status == 200


@scenario()
async def test_a_body_that_is_too_large_is_refused(stage: Stage) -> None:
    await stage.serve(specs.spec(stage, steps=[]))
    answer = await stage.ask(b" " * (LIMIT + 1))
    assert (answer.status, answer.json()["error_code"]) == (413, "REQUEST_LIMIT_EXCEEDED")
    assert "PENSTOCK_MAX_BODY_BYTES" in answer.json()["message"]
    assert (await stage.ask()).status == 200


@scenario()
async def test_hosts_that_nobody_serves_are_told_so(stage: Stage) -> None:
    await stage.apply(specs.spec(stage))
    unknown = await stage.ask(host=f"nobody.{stage.namespace}")
    assert (unknown.status, unknown.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")

    async def unavailable() -> bool:
        return (await stage.ask()).status == 503

    await stage.eventually(unavailable, "a model that does not serve yet is unavailable")
    answer = await stage.ask()
    assert answer.json()["error_code"] == "TEMPORARILY_UNAVAILABLE"


@scenario()
async def test_every_name_of_the_model_reaches_it(stage: Stage) -> None:
    name = f"{stages.NAME}.{stage.namespace}"
    public = f"{stage.namespace}.example.com"
    spec = specs.spec(stage, steps=[])
    await stage.serve({**spec, "route": {"hostnames": [public]}}, Kind.GOOD)
    hosts = (name, f"{name}:80", f"{name}.svc", f"{name}.svc.cluster.local", public)
    answers = {host: (await stage.ask(host=host)).status for host in hosts}
    assert answers == dict.fromkeys(hosts, 200)


@scenario()
async def test_the_name_in_the_cluster_leads_to_the_data_plane(stage: Stage) -> None:
    status = await stage.serve(specs.spec(stage, steps=[]))
    assert status.stable is not None
    pods = await stage.kube.items(
        f"/api/v1/namespaces/{stage.namespace}/pods", query={"labelSelector": f"penstock.dev/deployment={stages.NAME}"}
    )
    path = f"/api/v1/namespaces/{stage.namespace}/pods/caller"
    url = f"http://{stages.NAME}.{stage.namespace}/version"
    command = [
        "python3",
        "-c",
        f"import urllib.request; print(urllib.request.urlopen({url!r}, timeout=10).read().decode())",
    ]
    container = {"name": "caller", "image": pods[0]["spec"]["containers"][0]["image"], "command": command}
    spec = {"restartPolicy": "Never", "containers": [container], "automountServiceAccountToken": False}
    await stage.kube.apply(path, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "caller"}, "spec": spec})

    async def ended() -> bool:
        pod = await stage.kube.call("GET", path)
        return pod["status"].get("phase") in {"Succeeded", "Failed"}

    await stage.eventually(ended, "the caller's pod ends")
    said = await stage.kube.text("GET", f"{path}/log")
    assert f'"revision": "{status.stable.name}"' in said
