"""Signatures of versions through real MLflow servers, and what is said when they cannot be had."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient, pyfunc
from mlflow.types import ColSpec, Schema
from penstock import errors, ports
from penstock.adapters import mlflow_peers, mlflow_registry, mlflow_signature, mlflow_store
from penstock.analysis.signature import Column, Malformed, Scalar, Signature

from tests.adapters import servers
from tests.adapters.conftest import ADMIN
from tests.adapters.servers import http_answer

pytestmark = pytest.mark.adapters

ANYWHERE = mlflow_peers.Peers(forbidden=())
"""The servers of these tests listen on the loopback."""

DOUBLE = Scalar("double")
SCORED = Signature(inputs=(Column("x", DOUBLE),), outputs=(Column(None, DOUBLE),))
SECRET = "hunter2-never-print-this"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def registry(clock: Clock) -> AsyncIterator[mlflow_registry.Mlflow]:
    made = mlflow_registry.Mlflow(clock=clock, peers=ANYWHERE)
    yield made
    made.close()


@pytest.fixture
def address(mlflow_url: str) -> ports.RegistryAddress:
    return ports.RegistryAddress(mlflow_url)


class Model(pyfunc.PythonModel):  # type: ignore[misc]  # mlflow is not typed
    """Answers every row."""

    def predict(self, model_input: pd.DataFrame) -> list[float]:
        return [1.0] * len(model_input)


@pytest.fixture
def logged(mlflow_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ports.ModelVersion]:
    """Registers models the way people do: log, then register."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    mlflow.set_tracking_uri(mlflow_url)

    def log(signature: object) -> ports.ModelVersion:
        with mlflow.start_run():
            made = pyfunc.log_model(
                name="fraud", python_model=Model(), signature=signature, pip_requirements=["mlflow"]
            )
        name = f"fraud-{uuid.uuid4().hex[:8]}"
        return ports.ModelVersion(name, int(mlflow.register_model(made.model_uri, name).version))

    return log


def kept(address: ports.RegistryAddress, file: str | None, scheme: str = "mlflow-artifacts") -> ports.ModelVersion:
    """A version whose MLmodel file says exactly this (None: there is no such file)."""
    client = MlflowClient(address.tracking_uri)
    run = client.create_run("0")
    name = f"fraud-{uuid.uuid4().hex[:8]}"
    if file is not None:
        client.log_text(run.info.run_id, file, "model/MLmodel")
    sources = {
        "mlflow-artifacts": f"{run.info.artifact_uri}/model",
        "runs": f"runs:/{run.info.run_id}/model",
        "s3": "s3://models/fraud",
    }
    store = mlflow_store.Store(address, mlflow_store.Limits(read_seconds=30), mlflow_peers.session(ANYWHERE))
    store.create_registered_model(name)
    store.create_model_version(name, sources[scheme], run_id=run.info.run_id)
    return ports.ModelVersion(name, 1)


INPUTS = json.dumps([{"type": "double", "name": "x", "required": True}])
OUTPUTS = json.dumps([{"type": "double", "required": True}])
WRITTEN = f"flavors: {{}}\nsignature:\n  inputs: '{INPUTS}'\n  outputs: '{OUTPUTS}'\n  params: null\n"


async def test_the_signature_of_a_logged_model(
    registry: mlflow_registry.Mlflow, address: ports.RegistryAddress, logged: Callable[..., ports.ModelVersion]
) -> None:
    version = logged(mlflow.models.ModelSignature(Schema([ColSpec("double", "x")]), Schema([ColSpec("double")])))
    assert await registry.signature(address, version) == SCORED


async def test_a_logged_model_without_a_signature(
    registry: mlflow_registry.Mlflow, address: ports.RegistryAddress, logged: Callable[..., ports.ModelVersion]
) -> None:
    assert await registry.signature(address, logged(None)) is None


@pytest.mark.parametrize("scheme", ["mlflow-artifacts", "runs"])
async def test_wherever_the_files_of_a_version_lie(
    registry: mlflow_registry.Mlflow, address: ports.RegistryAddress, scheme: str
) -> None:
    assert await registry.signature(address, kept(address, WRITTEN, scheme)) == SCORED


FILES = {
    "no signature": ("flavors: {}\n", None),
    "a signature of nothing": ("signature: null\n", None),
    "one that a person wrote": (
        'signature: {inputs: \'[{"name": "x", "type": "double"}]\'}',
        Signature(inputs=(Column("x", DOUBLE),)),
    ),
}


@pytest.mark.parametrize(("file", "expected"), FILES.values(), ids=FILES)
async def test_what_a_file_says(
    registry: mlflow_registry.Mlflow, address: ports.RegistryAddress, file: str, expected: Signature | None
) -> None:
    assert await registry.signature(address, kept(address, file)) == expected


ODD = {
    "no file": (None, "version 1 of {name!r} has no file MLmodel: log it as an MLflow model and register it again"),
    "no YAML": (
        "signature: [",
        "the file MLmodel of version 1 of {name!r} cannot be understood: it is not YAML; log the model again with MLflow",
    ),
    "endless YAML": (
        "[" * 5000,
        "the file MLmodel of version 1 of {name!r} cannot be understood: it is not YAML; log the model again with MLflow",
    ),
    "no mapping": (
        "- signature",
        (
            "the file MLmodel of version 1 of {name!r} cannot be understood: it is not a mapping; log the model again "
            "with MLflow"
        ),
    ),
    "no columns": (
        "signature: {inputs: [1]}",
        (
            "the file MLmodel of version 1 of {name!r} cannot be understood: the signature's inputs are a list and not "
            "JSON in a string; log the model again with MLflow"
        ),
    ),
}


@pytest.mark.parametrize(("file", "said"), ODD.values(), ids=ODD)
async def test_a_file_that_tells_nothing(
    registry: mlflow_registry.Mlflow, address: ports.RegistryAddress, file: str | None, said: str
) -> None:
    version = kept(address, file)
    with pytest.raises(errors.Misconfigured) as raised:
        await registry.signature(address, version)
    assert raised.value.message == said.format(name=version.name)


async def test_a_store_that_the_server_cannot_read(
    registry: mlflow_registry.Mlflow, address: ports.RegistryAddress
) -> None:
    version = kept(address, None, "s3")
    with pytest.raises(errors.RegistryUnavailable) as raised:
        await registry.signature(address, version)
    assert raised.value.message == (
        f"the file MLmodel of version 1 of {version.name!r}, which lies in s3, cannot be read: the registry at "
        f"{address.tracking_uri} cannot be used: it answers 500 Internal Server Error; the server itself must be able "
        "to read its artifact store"
    )


async def test_a_version_that_does_not_exist(registry: mlflow_registry.Mlflow, address: ports.RegistryAddress) -> None:
    known = kept(address, WRITTEN)
    with pytest.raises(errors.VersionNotFound):
        await registry.signature(address, ports.ModelVersion(known.name, 9))
    with pytest.raises(errors.ModelNotFound):
        await registry.signature(address, ports.ModelVersion("nobody", 1))


async def test_a_signature_is_read_once_a_minute_and_an_error_once_in_five_seconds(
    registry: mlflow_registry.Mlflow, clock: Clock, address: ports.RegistryAddress
) -> None:
    version, missing = kept(address, WRITTEN), kept(address, None)
    async with servers.relaying(address.tracking_uri) as wire:
        through = ports.RegistryAddress(wire.url)
        counts = []
        for seconds in (0, 30, 29.9, 0.1):
            clock.now += seconds
            await asyncio.gather(*(registry.signature(through, version) for _ in range(5)))
            counts.append(wire.requests)
        assert counts == [2, 2, 2, 4]
        for seconds in (0, 4.9, 0.1):
            clock.now += seconds
            with pytest.raises(errors.Misconfigured):
                await registry.signature(through, missing)
            counts.append(wire.requests)
        assert counts[4:] == [6, 6, 8]


async def test_credentials_open_the_file_too(
    registry: mlflow_registry.Mlflow, mlflow_auth_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = ports.RegistryAddress(mlflow_auth_url, ports.Credentials(*ADMIN))
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_USERNAME", ADMIN[0])
        patch.setenv("MLFLOW_TRACKING_PASSWORD", ADMIN[1])
        version = kept(user, WRITTEN)
    assert await registry.signature(user, version) == SCORED
    with pytest.raises(errors.RegistryDenied, match="wants credentials"):
        await registry.signature(ports.RegistryAddress(mlflow_auth_url), version)


# --- servers that are not well-behaved

URI = http_answer("200 OK", json.dumps({"artifact_uri": "s3://models/fraud"}))
VERSION = ports.ModelVersion("fraud", 3)
QUICK = mlflow_registry.Limits(
    exchange=mlflow_store.Limits(connect_seconds=0.5, read_seconds=0.3, answer_bytes=10_000), total_seconds=3
)
LIES_IN_S3 = "the file MLmodel of version 3 of 'fraud', which lies in s3, cannot be read: the registry at {url}"
ITS_OWN = "; the server itself must be able to read its artifact store"
NOT_MLFLOW = ": check that the tracking URI leads to an MLflow server, any path prefix included"

MISBEHAVED = {
    "a page instead of the file": (
        http_answer("404 Not Found", "<html>no</html>", "text/html"),
        errors.RegistryUnavailable,
        LIES_IN_S3 + " cannot be used: its answer (404 Not Found) is not a file" + NOT_MLFLOW + ITS_OWN,
    ),
    "a file of gigabytes": (
        http_answer("200 OK", b"x" * 20_000, "text/plain"),
        errors.RegistryUnavailable,
        LIES_IN_S3 + " cannot be used: its answer is longer than 10000 bytes" + ITS_OWN,
    ),
    "a file that ends too early": (
        http_answer("200 OK", WRITTEN, "text/plain")[:-5],
        errors.RegistryUnavailable,
        LIES_IN_S3 + " cannot be used: its answer ended too early" + ITS_OWN,
    ),
    "a redirect to the store": (
        http_answer("302 Found", "", "text/html", f"Location: https://u:{SECRET}@s3.example.org/x?token={SECRET}"),
        errors.RegistryUnavailable,
        LIES_IN_S3 + " cannot be used: it redirects to https://s3.example.org/x: make that the tracking URI" + ITS_OWN,
    ),
    "a file that is forbidden": (
        http_answer("403 Forbidden"),
        errors.RegistryDenied,
        (
            "the registry at {url} forbids this (answers 403 Forbidden): grant the user READ on the model, and EDIT so "
            "that verdicts become tags"
        ),
    ),
}


@pytest.mark.parametrize(("answer", "kind", "said"), MISBEHAVED.values(), ids=MISBEHAVED)
async def test_an_answer_that_is_no_file(answer: bytes, kind: type[errors.PenstockError], said: str) -> None:
    registry = mlflow_registry.Mlflow(QUICK, peers=ANYWHERE)
    async with servers.answering(URI, answer) as peer:
        with pytest.raises(kind) as raised:
            await registry.signature(ports.RegistryAddress(peer.url, ports.Credentials("ann", SECRET)), VERSION)
    registry.close()
    assert raised.value.message == said.format(url=peer.url)
    assert SECRET not in raised.value.message


async def test_a_server_that_says_nothing_costs_seconds() -> None:
    registry = mlflow_registry.Mlflow(QUICK, peers=ANYWHERE)
    async with servers.silent() as peer:
        with pytest.raises(errors.RegistryUnavailable, match="cannot be used: no answer"):
            await registry.signature(ports.RegistryAddress(peer.url), VERSION)
    registry.close()


def test_bombs_in_yaml_do_not_go_off() -> None:
    """Anchors that would unfold to 10^20 columns: read as the few lines that they are."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 20)]
    file = "\n".join([*lines, "signature: {inputs: *a19}"])
    with pytest.raises(Malformed, match="inputs are a list and not JSON in a string"):
        mlflow_signature.parse(file.encode())
