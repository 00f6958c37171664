"""The real `penstock-serve serve`: signals under load, models that can not be served, and MLflow's real server beside it."""

import asyncio
import contextlib
import json
import os
import pathlib
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.adapters import servers
from tests.unit.runtime import models

pytestmark = pytest.mark.adapters

BIN = pathlib.Path(sys.executable).parent


@dataclass(frozen=True)
class Running:
    process: servers.Process
    port: int
    termination: pathlib.Path


@contextlib.contextmanager
def serving(folder: pathlib.Path, model: str, **settings: str) -> Iterator[Running]:
    port = servers.free_port()
    environment = {
        "PENSTOCK_MODEL_NAME": "fraud",
        "PENSTOCK_MODEL_VERSION": "3",
        "PENSTOCK_MODEL_DIR": str(models.saved(model)),
        "PENSTOCK_PORT": str(port),
        "PENSTOCK_TERMINATION_LOG": str(folder / "termination"),
        "PENSTOCK_ANSWERS_PORT": "0",
        **settings,
    }
    started = servers.start(
        f"http://127.0.0.1:{port}", (str(BIN / "penstock-serve"), "serve"), folder / "log", environment
    )
    with servers.killed_at_the_end(started) as process:
        yield Running(process, port, folder / "termination")


def body(*words: str) -> bytes:
    return json.dumps({"dataframe_records": [{"mood": word} for word in words]}).encode()


def request(content: bytes, content_type: str | None = "application/json") -> bytes:
    kind = "" if content_type is None else f"content-type: {content_type}\r\n"
    return f"POST /invocations HTTP/1.1\r\nhost: a\r\n{kind}content-length: {len(content)}\r\n\r\n".encode() + content


@dataclass
class Client:
    """A connection that is opened again when the server has closed it after an answer."""

    port: int
    statuses: list[int] = field(default_factory=list)
    closes: int = 0
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, message: bytes) -> tuple[int, dict[str, str], bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self._streams
        writer.write(message)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        content = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.closes += 1
            self.close()
        self.statuses.append(int(head[0].split(" ")[1]))
        return self.statuses[-1], headers, content

    async def get(self, path: str) -> int:
        return (await self.ask(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode()))[0]

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def ended(running: Running, seconds: float = 30) -> int:
    deadline = time.monotonic() + seconds
    while (code := running.process.popen.poll()) is None:
        assert time.monotonic() < deadline, running.process.log.read_text()
        await asyncio.sleep(0.02)
    return code


async def test_sigterm_under_load_fails_no_request(tmp_path: pathlib.Path) -> None:
    with serving(tmp_path, "moody", PENSTOCK_DRAIN_SECONDS="5") as running:
        running.process.wait_until_healthy("/health", 60)
        withdrawn = asyncio.Event()
        clients = [Client(running.port) for _ in range(16)]

        async def load(client: Client) -> None:
            while not withdrawn.is_set():
                await client.ask(request(body("glad")))
            client.close()

        tasks = [asyncio.create_task(load(client)) for client in clients]
        probe, slow = Client(running.port), Client(running.port)
        await servers.until(lambda: all_have(clients, 5))
        running.process.popen.send_signal(signal.SIGTERM)
        while await probe.get("/health") == 200:
            pass
        assert await probe.get("/ping") == 200
        before = [len(client.statuses) for client in clients]
        await servers.until(lambda: all_have(clients[:1], before[0] + 1))
        withdrawn.set()  # before the model sleeps for longer than the drain lasts: nobody comes anew after that
        late = asyncio.create_task(slow.ask(request(body("sleep 6"))))
        await asyncio.gather(*tasks)
        status, headers, _ = await late
        assert (status, headers["connection"]) == (200, "close")
        assert await ended(running) == 0
    assert {status for client in clients for status in client.statuses} == {200}
    assert sum(client.closes for client in clients) > 0
    assert not running.termination.exists()


async def all_have(clients: list[Client], answers: int) -> bool | None:
    return True if all(len(client.statuses) >= answers for client in clients) else None


UNSERVABLE: dict[str, tuple[str, int, str]] = {
    "a missing library": (
        "unloadable",
        65,
        (
            "model fraud version 3 cannot be loaded: ModuleNotFoundError: No module named 'a_library_that_nobody_has'; "
            "add 'a_library_that_nobody_has' to the image that serves it\n"
        ),
    ),
    "an example that fails": ("failing-example", 65, "model fraud version 3 cannot predict its own input example: {"),
    "an example that hangs": (
        "hanging-example",
        75,
        (
            "model fraud version 3 did not answer its own input example within 2 s; correct the model, give it more CPU, "
            "or raise PENSTOCK_HANG_SECONDS\n"
        ),
    ),
}


@pytest.mark.parametrize(("model", "code", "sentence"), UNSERVABLE.values(), ids=UNSERVABLE.keys())
async def test_a_model_that_can_not_be_served_ends_in_one_sentence(
    tmp_path: pathlib.Path, model: str, code: int, sentence: str
) -> None:
    with serving(tmp_path, model, PENSTOCK_HANG_SECONDS="2") as running:
        assert await ended(running, 60) == code
        written = running.termination.read_text()
        assert written.startswith(sentence)
        assert written.count("\n") == 1
        assert written in running.process.log.read_text()


async def test_a_port_that_is_taken_is_said(tmp_path: pathlib.Path) -> None:
    async with servers.silent() as taken:
        with serving(tmp_path, "moody", PENSTOCK_PORT=str(taken.port)) as running:
            assert await ended(running, 60) == 65
            assert running.termination.read_text() == (
                f"the server can not listen on 0.0.0.0 port {taken.port}: Address already in use; "
                "set PENSTOCK_PORT to a port that is free and above 1023\n"
            )


async def test_a_server_that_still_loads_is_alive_and_leaves_at_once(tmp_path: pathlib.Path) -> None:
    with serving(tmp_path, "late", PENSTOCK_DRAIN_SECONDS="3600") as running:
        running.process.wait_until_healthy("/ping", 60)
        client = Client(running.port)
        assert [await client.get(path) for path in ("/ping", "/health")] == [200, 503]
        client.close()
        running.process.popen.send_signal(signal.SIGTERM)
        assert await ended(running) == 0


async def test_a_model_that_hangs_costs_its_requests_and_then_the_container(tmp_path: pathlib.Path) -> None:
    settings = {"PENSTOCK_REQUEST_TIMEOUT_SECONDS": "0.5", "PENSTOCK_HANG_SECONDS": "1", "PENSTOCK_DRAIN_SECONDS": "0"}
    with serving(tmp_path, "moody", **settings) as running:
        running.process.wait_until_healthy("/health", 60)
        client = Client(running.port)
        status, _, content = await client.ask(request(body("sleep 3600")))
        assert (status, json.loads(content)["error_code"]) == (504, "DEADLINE_EXCEEDED")

        async def unhealthy() -> bool | None:
            return True if await client.get("/ping") == 503 else None

        await servers.until(unhealthy)
        client.close()
        running.process.popen.send_signal(signal.SIGTERM)
        assert await ended(running) == 0


@pytest.fixture(scope="module")
def moody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("moody"), "moody", PENSTOCK_MAX_BODY_BYTES="100000") as running:
        running.process.wait_until_healthy("/health", 60)
        yield running


async def test_a_body_too_large_is_answered_while_the_client_still_sends(moody: Running) -> None:
    client = Client(moody.port)
    large = b'{"dataframe_records": [' + b" " * 3_000_000 + b"]}"
    status, _, content = await client.ask(request(large))
    assert (status, json.loads(content)["error_code"]) == (413, "REQUEST_LIMIT_EXCEEDED")
    chunked = b"POST /invocations HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    chunked += b"transfer-encoding: chunked\r\n\r\n" + b"%x\r\n%s\r\n0\r\n\r\n" % (len(large), large)
    assert (await client.ask(chunked))[0] == 413
    assert (await client.ask(request(body("glad"))))[0] == 200  # on the same connection
    client.close()


REQUESTS: list[tuple[bytes, str]] = [
    (body("glad", "sad"), "application/json"),
    (body("glad"), "application/json; charset=utf-8"),
    (body("boom"), "application/json"),
    (body("nan"), "application/json"),
    (b"{", "application/json"),
    (b'{"dataframe_records": [{"mode": "a"}]}', "application/json"),
    (b"mood\nglad\nsad\n", "text/csv"),
    (b"{}", "text/html"),
    (b"{}", "application/json; charset=latin-1"),
]


async def test_the_real_server_of_mlflow_answers_the_same(tmp_path: pathlib.Path, moody: Running) -> None:
    port = servers.free_port()
    command = [str(BIN / "mlflow"), "models", "serve", "--env-manager", "local", "--workers", "1"]
    command += ["--model-uri", str(models.saved("moody")), "--port", str(port)]
    path = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    started = servers.start(f"http://127.0.0.1:{port}", command, tmp_path / "mlflow.log", path)
    with servers.killed_at_the_end(started) as mlflow:
        mlflow.wait_until_healthy("/health", 120)
        ours, theirs = Client(moody.port), Client(port)
        for content, content_type in REQUESTS:
            answers = []
            for client in (ours, theirs):
                status, headers, answer = await client.ask(request(content, content_type))
                is_json = headers["content-type"] == "application/json"
                read = json.dumps(without_trace(json.loads(answer))) if is_json else answer
                answers.append((status, headers["content-type"], read))
            assert answers[0] == answers[1]
        ours.close()
        theirs.close()


def without_trace(answer: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in answer.items() if name != "stack_trace"}
