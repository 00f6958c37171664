"""The real `penstock-serve download` against a real MLflow server, and against everything that can be wrong with one."""

import asyncio
import contextlib
import io
import json
import os
import pathlib
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import mlflow
import pytest
from penstock_runtime import download as runtime
from penstock_runtime import errors, settings

from tests.adapters import servers
from tests.unit.runtime import models

pytestmark = pytest.mark.adapters

BIN = pathlib.Path(sys.executable).parent
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
PROGRAM = (str(BIN / "penstock-serve"), "download")


@dataclass(frozen=True)
class Ended:
    code: int
    sentence: str
    output: str


def environment(folder: pathlib.Path, url: str, version: str = "1", **more: str) -> dict[str, str]:
    return {
        "PENSTOCK_MODEL_NAME": "downloads",
        "PENSTOCK_MODEL_VERSION": version,
        "PENSTOCK_MODEL_DIR": str(folder / "model"),
        "PENSTOCK_TERMINATION_LOG": str(folder / "termination"),
        "MLFLOW_TRACKING_URI": url,
        **more,
    }


def ended(folder: pathlib.Path, code: int, output: str) -> Ended:
    log = folder / "termination"
    return Ended(code, log.read_text() if log.exists() else "", output)


def process(folder: pathlib.Path, url: str, version: str = "1", **more: str) -> Ended:
    """The command, as a pod runs it."""
    done = subprocess.run(
        PROGRAM,
        env={**os.environ, **environment(folder, url, version, **more)},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return ended(folder, done.returncode, done.stdout)


def download(folder: pathlib.Path, url: str, version: str = "1", **more: str) -> Ended:
    """The same in this process, where MLflow is imported already; MLflow reads its own part from the environment."""
    chosen = environment(folder, url, version, **more)
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), pytest.MonkeyPatch.context() as patch:
        for name, value in (*PATIENCE.items(), *chosen.items()):
            patch.setenv(name, value)
        try:
            runtime.run(settings.read(chosen))
        except errors.Failure as failure:
            errors.report(str(failure), *settings.termination(chosen))
            return ended(folder, failure.code, output.getvalue())
    return ended(folder, 0, output.getvalue())


async def downloading(folder: pathlib.Path, url: str, **more: str) -> Ended:
    """The same beside a server that lives in this loop."""
    return await asyncio.to_thread(download, folder, url, **more)


async def processing(folder: pathlib.Path, url: str, **more: str) -> Ended:
    return await asyncio.to_thread(process, folder, url, **more)


def files(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A model with a file that takes many packets."""
    folder = tmp_path_factory.mktemp("source")
    for name, content in files(models.saved("moody")).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "code" / "deep").mkdir(parents=True)
    (folder / "code" / "deep" / "weights.bin").write_bytes(random.Random(0).randbytes(3_000_000))
    return folder


@pytest.fixture(scope="module")
def registry(mlflow_url: str, source: pathlib.Path) -> str:
    """Version 1 is a model, version 2 the same, version 3 has no artifacts, version 4 some that are no model."""
    client = mlflow.MlflowClient(tracking_uri=mlflow_url)
    client.create_registered_model("downloads")
    run = client.create_run("0")
    client.log_artifacts(run.info.run_id, str(source), "model")
    client.log_text(run.info.run_id, "no model", "notes/readme.txt")
    for path in ("model", "model", "nothing", "notes"):
        client.create_model_version("downloads", f"{run.info.artifact_uri}/{path}", run.info.run_id)
    return mlflow_url


def test_a_download_is_complete_and_needed_only_once(
    tmp_path: pathlib.Path, registry: str, source: pathlib.Path
) -> None:
    first = process(tmp_path, registry)
    assert (first.code, first.sentence) == (0, "")
    arrived = files(tmp_path / "model")
    assert json.loads(arrived.pop(".penstock-model.json")) == {"name": "downloads", "version": "1"}
    arrived.pop("registered_model_meta")  # MLflow's own note
    assert arrived == files(source)
    again = process(tmp_path, "http://127.0.0.1:1")  # nobody is asked
    assert (again.code, again.output) == (0, f"model downloads version 1 is in {tmp_path / 'model'} already\n")


def test_what_another_download_left_is_replaced(tmp_path: pathlib.Path, registry: str, source: pathlib.Path) -> None:
    model = tmp_path / "model"
    (model / ".penstock-incoming").mkdir(parents=True)
    (model / ".penstock-incoming" / "MLmodel").write_text("half")
    (model / "MLmodel").write_text("old")
    (model / "old" / "code").mkdir(parents=True)
    (model / ".penstock-model.json").write_text(json.dumps({"name": "downloads", "version": "1"}))
    (model / "elsewhere").symlink_to(source)
    assert download(tmp_path, registry, "2").code == 0
    arrived = files(model)
    assert json.loads(arrived.pop(".penstock-model.json"))["version"] == "2"
    assert arrived.keys() - {"registered_model_meta"} == files(source).keys()
    assert files(source)["MLmodel"] != b"old"


@dataclass
class Wire:
    """A wire to the registry on which large files stop after their first half megabyte."""

    target: str
    stuck: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: servers.Peer) -> None:
        host, _, port = self.target.removeprefix("http://").partition(":")
        upstream_reader, upstream_writer = await asyncio.open_connection(host, int(port))

        async def forth() -> None:
            while data := await reader.read(65536):
                peer.received.append(data)
                upstream_writer.write(data)

        sending = asyncio.create_task(forth())
        passed = 0
        while passed < 500_000 and (data := await upstream_reader.read(65536)):
            passed += len(data)
            writer.write(data)
            await writer.drain()
        if passed >= 500_000:
            self.stuck.set()
        await sending


async def test_a_killed_download_leaves_no_model_and_the_next_one_completes_it(
    tmp_path: pathlib.Path, registry: str, source: pathlib.Path
) -> None:
    wire = Wire(registry)
    async with servers.listening(wire) as peer:
        process = await asyncio.create_subprocess_exec(
            *PROGRAM, env={**os.environ, **environment(tmp_path, peer.url)}, stderr=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(60):
            await wire.stuck.wait()
        process.kill()
        await process.wait()
    assert not (tmp_path / "model" / "MLmodel").exists()
    assert (tmp_path / "model" / ".penstock-incoming").is_dir()
    assert (await downloading(tmp_path, registry)).code == 0
    assert files(source).items() <= files(tmp_path / "model").items()


async def test_a_download_that_stops_halfway_is_given_up(tmp_path: pathlib.Path, registry: str) -> None:
    async with servers.listening(Wire(registry)) as peer:
        result = await processing(tmp_path, peer.url, PENSTOCK_DOWNLOAD_TIMEOUT_SECONDS="10")
    assert (result.code, result.sentence) == (
        75,
        (
            "model downloads version 1 was not downloaded within 10 s; look whether the artifact store is slow, "
            "or raise PENSTOCK_DOWNLOAD_TIMEOUT_SECONDS\n"
        ),
    )
    assert not (tmp_path / "model" / "MLmodel").exists()


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        ("9", "model downloads version 9 is not in the registry {}: "),
        ("3", "the artifacts of model downloads version 3 are missing: MLmodel is not among the files"),
        ("4", "the artifacts of model downloads version 4 are missing: MLmodel is not among the files"),
        ("newest", "the registry {} can not look up model downloads version newest: "),
    ],
    ids=["no such version", "no artifacts", "artifacts without a model", "no version number"],
)
def test_what_the_registry_does_not_have(tmp_path: pathlib.Path, registry: str, version: str, sentence: str) -> None:
    result = download(tmp_path, registry, version)
    assert result.code == 65
    assert result.sentence.startswith(sentence.format(registry))
    assert result.sentence.count("\n") == 1
    assert not (tmp_path / "model" / "MLmodel").exists()


def test_a_model_that_is_not_registered(tmp_path: pathlib.Path, registry: str) -> None:
    result = download(tmp_path, registry, PENSTOCK_MODEL_NAME="unknown")
    assert result.code == 65
    assert result.sentence.startswith(f"model unknown version 1 is not in the registry {registry}: ")


REFUSED = json.dumps({"error_code": "PERMISSION_DENIED", "message": "Permission denied"})
ANSWERS = {
    "wrong password": (
        servers.http_answer("401 Unauthorized", "You are not authenticated.", "text/plain"),
        "refuses the credentials for model downloads version 1 (401); correct MLFLOW_TRACKING_USERNAME",
    ),
    "no permission": (
        servers.http_answer("403 Forbidden", REFUSED),
        "does not allow these credentials to read model downloads version 1 (403); give the user read permission",
    ),
    "no permission, as plain text": (
        servers.http_answer("403 Forbidden", "Permission denied", "text/plain"),
        "does not allow these credentials to read model downloads version 1 (403); give the user read permission",
    ),
}


@pytest.mark.parametrize(("answer", "sentence"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_credentials_that_are_refused(tmp_path: pathlib.Path, answer: bytes, sentence: str) -> None:
    async with servers.answering(answer) as refusing:
        secret = {"MLFLOW_TRACKING_USERNAME": "robot", "MLFLOW_TRACKING_PASSWORD": "hunter2"}
        result = await downloading(tmp_path, refusing.url, **secret)
        assert refusing.requests == 1  # a refusal does not pass by itself
    assert result.code == 65
    assert result.sentence.startswith(f"the registry {refusing.url} {sentence}")
    assert "hunter2" not in result.output + result.sentence


async def test_a_registry_that_is_down_is_tried_again_and_keeps_its_secrets(tmp_path: pathlib.Path) -> None:
    url = f"http://robot:hunter2@127.0.0.1:{servers.free_port()}"
    result = await processing(tmp_path, url)
    assert result.code == 75
    assert result.sentence.startswith(f"the registry {url.replace('robot:hunter2', '***')} can not be reached: ")
    assert result.output.count("; trying again in ") == 3
    assert "hunter2" not in result.output + result.sentence


async def test_a_registry_in_trouble_is_tried_again(tmp_path: pathlib.Path, registry: str) -> None:
    trouble = servers.http_answer("500 Internal Server Error", "broken", "text/plain")
    async with servers.answering(trouble) as broken:
        result = await downloading(tmp_path, broken.url, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
        assert len(broken.received) == 4
    assert result.code == 75


def test_a_folder_that_can_not_be_written(tmp_path: pathlib.Path, registry: str) -> None:
    (tmp_path / "file").touch()
    result = download(tmp_path, registry, PENSTOCK_MODEL_DIR=str(tmp_path / "file" / "model"))
    assert (result.code, result.sentence) == (
        65,
        (
            f"{tmp_path}/file/model can not be written: Not a directory; mount a volume there that the container's "
            "user may write to\n"
        ),
    )


@pytest.fixture
def small_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("file systems can not be mounted here: run as root")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_full(tmp_path: pathlib.Path, registry: str, small_disk: pathlib.Path) -> None:
    result = download(tmp_path, registry, PENSTOCK_MODEL_DIR=str(small_disk / "model"))
    assert (result.code, result.sentence) == (
        75,
        (
            f"model downloads version 1 does not fit into {small_disk}/model: no space left; "
            "raise the size limit of the model volume, or free the node's disk\n"
        ),
    )
    assert files(small_disk) == {}


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_URI is not set; set it to the address of the MLflow registry\n"),
        ("PENSTOCK_MODEL_NAME", "PENSTOCK_MODEL_NAME and PENSTOCK_MODEL_VERSION are not set; set both\n"),
    ],
)
def test_settings_that_are_missing(tmp_path: pathlib.Path, missing: str, sentence: str) -> None:
    result = download(tmp_path, "http://127.0.0.1:1", **{missing: ""})
    assert (result.code, result.sentence) == (65, sentence)
