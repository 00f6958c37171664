"""The login of a registry goes to that registry and nowhere else, whatever fails: the real adapter, the whole shell."""

import asyncio
import base64
import contextlib
import datetime
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import prometheus_client
import pytest
from aiohttp import web
from penstock import errors
from penstock.adapters import mlflow_peers, mlflow_registry, mlflow_store
from penstock.rollout import manifests, meters, resolver, revision, shell

from tests.unit.rollout import stage as stages

USER, PASSWORD, TOKEN, OTHER = "planted-user", "planted-pass:word/+", "planted-token", "planted-other"
PAIR = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
PLANTED = (USER, PASSWORD, TOKEN, OTHER, PAIR, "planted")
LOGIN = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD, "unrelated": OTHER}
BEARER = {"MLFLOW_TRACKING_TOKEN": TOKEN, "unrelated": OTHER}

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def login(request: web.Request) -> list[str]:
    """What a server gets to know: the token, or user and password and both in one."""
    kind, _, given = request.headers["Authorization"].partition(" ")
    return [given] if kind == "Bearer" else [given, *base64.b64decode(given).decode().split(":", 1)]


def repeated(request: web.Request) -> str:
    """All that a careless server may write back of a request."""
    return f"no: {login(request)} {dict(request.headers)} {request.url}"


async def good(request: web.Request) -> web.StreamResponse:
    version = {"name": "fraud", "version": "1", "status": "READY"}
    match request.path.rpartition("/")[2]:
        case "alias" | "get":
            return web.json_response({"model_version": version})
        case "get-download-uri":
            return web.json_response({"artifact_uri": "mlflow-artifacts:/1"})
        case "get-artifact":
            return web.Response(text="flavors: {}")
    return web.json_response({})


async def hung_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


def saying(status: int, code: str | None) -> Answer:
    """An answer that repeats the request in its body, as an error of MLflow's or as a page."""

    async def answer(request: web.Request) -> web.StreamResponse:
        headers = {"WWW-Authenticate": f'Basic realm="{login(request)[-1]}"'}
        if code is None:
            return web.Response(status=status, text=repeated(request), headers=headers)
        body = {"error_code": code.format(*login(request)), "message": repeated(request)}
        return web.json_response(body, status=status, headers=headers)

    return answer


async def elsewhere(request: web.Request) -> web.StreamResponse:
    known = login(request)
    where = f"https://u:{known[0]}@sso.example/{known[0]}/{known[-1]}?token={known[0]}"
    return web.Response(status=302, headers={"Location": where})


FAILURES: dict[str, Answer] = {
    "it hangs up": hung_up,
    "a wrong password": saying(401, None),
    "a right that is missing": saying(403, "PERMISSION_DENIED"),
    "a model that is missing": saying(404, "RESOURCE_DOES_NOT_EXIST"),
    "an argument that it does not like": saying(400, "INVALID_PARAMETER_VALUE"),
    "an error that nobody knows": saying(418, "ODD {0}"),
    "an error that says nothing but its code": saying(418, "{0}"),
    "a page": saying(200, None),
    "an object of another shape": saying(200, "x"),
    "a failing server": saying(500, None),
    "a redirect": elsewhere,
}


@dataclass
class Registry:
    """A server whose manners change."""

    answer: Answer = good
    logins: set[str] = field(default_factory=set)
    port: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.logins.add(request.headers.get("Authorization", ""))
        return await self.answer(request)


@pytest.fixture
async def server() -> AsyncIterator[Registry]:
    registry = Registry()
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", registry.handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    registry.port = runner.addresses[0][1]
    yield registry
    await runner.cleanup()


@dataclass
class Scene:
    """The stage, with the real adapter of registries, and all that anybody could read of it."""

    stage: stages.Stage
    process: shell.Controller
    metrics: prometheus_client.CollectorRegistry
    asked: list[tuple[str, str]]
    logs: pytest.LogCaptureFixture

    async def play(self, until: Callable[[], bool], what: str) -> None:
        """Pass after pass; the stage's clock jumps, and the threads of the adapter get real time."""
        deadline = asyncio.get_running_loop().time() + 8
        while not until():
            assert asyncio.get_running_loop().time() < deadline, (what, self.stage.mdep().status, self.stage.events)
            with contextlib.suppress(errors.Conflict):
                await self.process.reconcile(stages.KEY)
            await asyncio.sleep(0.01)
            self.stage.now += datetime.timedelta(seconds=1)

    def readable(self) -> Mapping[str, str]:
        """Logs with tracebacks and extras, events, what was written to the cluster, metrics."""
        formatter = logging.Formatter()
        written = [
            body | {"spec": None} if body["kind"] == "ModelDeployment" else body for body in self.stage.objects.values()
        ]
        return {
            "logs": "\n".join(f"{formatter.format(record)} {vars(record)}" for record in self.logs.records),
            "events": json.dumps(self.stage.events),
            "objects": json.dumps(written, default=str),
            "metrics": prometheus_client.generate_latest(self.metrics).decode(),
        }

    def fails(self) -> bool:
        status, reason = self.condition()
        return status not in {"", "True"} and reason != "Resolving"

    def condition(self) -> tuple[str, str]:
        found = [one for one in self.stage.mdep().status.conditions if one.type == "ModelResolved"]
        return (found[0].status, found[0].reason) if found else ("", "")


@pytest.fixture
async def scene(caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    caplog.set_level(logging.DEBUG)
    secret: dict[str, str] | errors.PenstockError | None = request.param
    stage, metrics, asked = stages.Stage(), prometheus_client.CollectorRegistry(), list[tuple[str, str]]()

    async def read_secret(namespace: str, name: str) -> dict[str, str] | None:
        asked.append((namespace, name))
        if isinstance(secret, errors.PenstockError):
            raise secret
        return secret

    limits = mlflow_registry.Limits(
        exchange=mlflow_store.Limits(0.5, 1), total_seconds=2, error_seconds=0, signature_seconds=0
    )
    registry = mlflow_registry.Mlflow(
        limits,
        lambda: stage.now.timestamp(),  # noqa: PLW0108  # the clock goes on
        mlflow_peers.Peers(forbidden=()),
    )
    process = shell.Controller(
        shell.World(
            objects=stage,
            writer=stage,
            recorder=stage,
            queue=stage,
            resolver=resolver.Resolver(registry, read_secret, revision.Defaults(None, None, "runtime:1"), stage.add),
            metrics=stage,
            data_plane=stage.data_plane,
            smoke=stage,
            address=manifests.DataPlaneAddress("penstock-envoy", "penstock-system"),
            meters=meters.Meters(metrics),
            clock=lambda: stage.now,
        )
    )
    yield Scene(stage, process, metrics, asked, caplog)
    await process.stop()
    registry.close()


def spec(uri: str) -> stages.Json:
    registry = {"trackingURI": uri, "secretRef": {"name": "login"}}
    return {
        "model": {"name": "fraud", "alias": "champion", "pollSeconds": 5, "registry": registry},
        "rollout": {"steps": []},
    }


def found_in(scene: Scene) -> list[tuple[str, str]]:
    """Where something planted stands, and the lines around it."""
    lines = [(where, line) for where, content in scene.readable().items() for line in content.splitlines()]
    return [(where, line) for where, line in lines if any(text in line for text in PLANTED)]


SECRETS = [pytest.param(LOGIN, id="user and password"), pytest.param(BEARER, id="token")]


@pytest.mark.parametrize("scene", SECRETS, indirect=True)
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
async def test_invariant_14_secrets_are_nowhere_when_the_registry_fails(
    scene: Scene, server: Registry, failure: Answer
) -> None:
    """From the start; then after a good start, for a next revision, whose verdict it is told, and in tags."""
    server.answer = failure
    scene.stage.create(spec(f"http://127.0.0.1:{server.port}"))
    await scene.play(scene.fails, "the failure is told")

    server.answer = good
    await scene.play(lambda: scene.stage.mdep().status.stable is not None, "a version is served")
    server.answer = failure
    scene.stage.edit(lambda body: body["spec"].update(server={"env": [{"name": "A", "value": "1"}]}))
    await scene.play(scene.fails, "the failure is told again")

    assert server.logins in ({f"Basic {PAIR}"}, {f"Bearer {TOKEN}"})
    assert set(scene.asked) == {("ml", "login")}
    assert found_in(scene) == []
    assert all(scene.readable().values())


@pytest.mark.parametrize("scene", SECRETS, indirect=True)
async def test_invariant_14_secrets_are_nowhere_when_only_verdicts_and_signatures_fail(
    scene: Scene, server: Registry
) -> None:
    async def mean(request: web.Request) -> web.StreamResponse:
        resolves = request.path.endswith("/alias")
        return await (good(request) if resolves else saying(400, "INVALID_PARAMETER_VALUE")(request))

    scene.stage.create(spec(f"http://127.0.0.1:{server.port}"))
    await scene.play(lambda: scene.stage.mdep().status.stable is not None, "a version is served")
    server.answer = mean
    scene.stage.edit(lambda body: body["spec"].update(server={"env": [{"name": "A", "value": "1"}]}))
    await scene.play(lambda: "registry not told" in scene.logs.text, "the verdict cannot be told")
    assert found_in(scene) == []


def nobody() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


ADDRESSES = {
    "nobody listens": "http://{nobody}",
    "the login in the address": f"http://{USER}:{TOKEN}@{{nobody}}/path?token={TOKEN}#{TOKEN}",
    "a port that is none": f"http://{USER}:{TOKEN}@h:{TOKEN}",
    "a scheme that is none": f"ftp://{USER}:{TOKEN}@h/{TOKEN}",
    "no address": f"{TOKEN}",
    "brackets": f"http://{USER}:{TOKEN}@[h",
}


@pytest.mark.parametrize("scene", SECRETS, indirect=True)
@pytest.mark.parametrize("uri", ADDRESSES.values(), ids=ADDRESSES.keys())
async def test_invariant_14_secrets_are_nowhere_when_the_address_is_wrong(scene: Scene, uri: str) -> None:
    scene.stage.create(spec(uri.format(nobody=nobody())))
    await scene.play(scene.fails, "the failure is told")
    assert found_in(scene) == []


@pytest.mark.parametrize(
    ("scene", "reason"),
    [
        pytest.param(None, "CredentialsMissing", id="no such Secret"),
        pytest.param({"unrelated": OTHER}, "CredentialsMissing", id="no known key"),
        pytest.param(errors.Denied('secrets "login" is forbidden'), "Denied", id="a Secret that may not be read"),
        pytest.param({"MLFLOW_TRACKING_TOKEN": f"{TOKEN}\r\nX: {OTHER}"}, "RegistryDenied", id="a broken line"),
        pytest.param({"MLFLOW_TRACKING_TOKEN": f"{TOKEN}→"}, "RegistryDenied", id="a letter beyond Latin"),
    ],
    indirect=["scene"],
)
async def test_invariant_14_secrets_are_nowhere_when_they_cannot_be_used(
    scene: Scene, server: Registry, reason: str
) -> None:
    scene.stage.create(spec(f"http://127.0.0.1:{server.port}"))
    await scene.play(scene.fails, "the failure is told")
    assert scene.condition()[1] == reason
    assert found_in(scene) == []
    assert set(scene.asked) == {("ml", "login")}
