"""Two ports, one process: what is reached where."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from penstock_runtime import pages

from tests.unit.runtime import models

Answered = tuple[int, Any]


def free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as taken:
        sockets = [taken.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [int(listener.getsockname()[1]) for listener in sockets]


def fetch(port: int, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answered:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        None if body is None else json.dumps(body).encode(),
        {"content-type": "application/json", **(headers or {})},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read().strip() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


@contextlib.contextmanager
def serving(folder: pathlib.Path, port: int, answers_port: int) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        "PENSTOCK_MODEL_DIR": str(models.saved("moody")),
        "PENSTOCK_HOST": "127.0.0.1",
        "PENSTOCK_PORT": str(port),
        "PENSTOCK_ANSWERS_PORT": str(answers_port),
        "PENSTOCK_DRAIN_SECONDS": "0",
        "PENSTOCK_TERMINATION_LOG": str(folder / "termination"),
    }
    program = [sys.executable, "-c", "import sys; from penstock_runtime import main; sys.exit(main.main(['serve']))"]
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(program, env={**os.environ, "PYTHONPATH": paths, **environment})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def ready(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            if fetch(port, "/health")[0] == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"the server is not ready; exit code {process.returncode}")


def test_each_port_has_its_own_routes(tmp_path: pathlib.Path) -> None:
    port, second = free_ports(2)
    with serving(tmp_path, port, second) as process:
        ready(port, process)
        body = {"dataframe_records": [{"mood": "glad"}]}
        assert fetch(port, "/invocations", body, {"x-request-id": "a"}) == (200, {"predictions": [4.0]})
        assert fetch(port, "/feedback", {"request_id": "a", "truth": 4}) == (202, {"accepted": 1})
        status, answers = fetch(second, "/answers?after=0&limit=10")
        assert (status, [[*row[:2], *row[3:]] for row in answers["answers"]]) == (200, [[1, "a", "success", [4.0]]])
        status, truths = fetch(second, "/truths")
        assert (status, [[*row[:2], row[3]] for row in truths["truths"]]) == (200, [[1, "a", 4]])
        assert truths["boot"] == answers["boot"]
        assert [fetch(port, path)[0] for path in ("/answers", "/truths")] == [404, 404]
        assert [fetch(second, path)[0] for path in ("/health", "/metrics", "/version")] == [404, 404, 404]
        assert [fetch(second, path, {})[0] for path in ("/invocations", "/feedback")] == [404, 404]
        process.terminate()
        assert process.wait(20) == 0


def test_the_second_port_can_be_switched_off(tmp_path: pathlib.Path) -> None:
    (port,) = free_ports(1)
    with serving(tmp_path, port, 0) as process:
        ready(port, process)
        assert fetch(port, "/feedback", {"request_id": "a", "truth": 4})[0] == 404
        process.terminate()
        assert process.wait(20) == 0


def test_a_second_port_that_is_taken_is_named(tmp_path: pathlib.Path) -> None:
    (port,) = free_ports(1)
    with serving(tmp_path, port, port) as process:
        assert process.wait(60) == 65
    assert (tmp_path / "termination").read_text() == (
        f"the server can not listen on 127.0.0.1 port {port}: Address already in use; "
        "set PENSTOCK_ANSWERS_PORT to a port that is free and above 1023\n"
    )


@pytest.mark.parametrize(
    ("local", "chosen"),
    [(("10.0.0.7", 8081), "pages"), (("10.0.0.7", 8080), "server"), (("::1", 8081), "pages"), (None, "server")],
)
async def test_the_port_that_a_request_came_to_decides(local: Any, chosen: str) -> None:
    asked: list[str] = []

    async def server(*_: Any) -> None:
        asked.append("server")

    async def second(*_: Any) -> None:
        asked.append("pages")

    async def unused(*_: Any) -> Any:
        raise AssertionError

    await pages.Ports(server, second, 8081)({"type": "http", "server": local}, unused, unused)
    assert asked == [chosen]
