"""Real servers for the tests of adapters: started once a session, and only when a test asks for them."""

import functools
import http.server
import importlib.util
import pathlib
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from tests.adapters import servers

ADMIN = ("admin", "correct-horse-battery")

AUTH = """[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/users.db
admin_username = {user}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "only-for-tests",
    "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN[1],
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


def _start_mlflow(folder: pathlib.Path, *options: str) -> servers.Process:
    port = servers.free_port()
    program = str(pathlib.Path(sys.executable).with_name("mlflow"))
    where = ("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts")
    command = (program, "server", *where, "--host", "127.0.0.1", "--port", str(port), "--workers", "1", *options)
    environment = {**ENVIRONMENT, "MLFLOW_AUTH_CONFIG_PATH": f"{folder}/auth.ini"}
    return servers.start(f"http://127.0.0.1:{port}", command, folder / "log", environment)


@pytest.fixture(scope="session")
def _mlflow_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[servers.Process, servers.Process]]:
    """Both at once, because each takes its time to start."""
    plain, auth = tmp_path_factory.mktemp("mlflow"), tmp_path_factory.mktemp("mlflow-auth")
    (auth / "auth.ini").write_text(AUTH.format(folder=auth, user=ADMIN[0]))
    with (
        servers.killed_at_the_end(_start_mlflow(plain)) as without,
        servers.killed_at_the_end(_start_mlflow(auth, "--app-name", "basic-auth")) as with_auth,
    ):
        yield without, with_auth


@pytest.fixture(scope="session")
def mlflow_url(_mlflow_servers: tuple[servers.Process, servers.Process]) -> str:
    """A real MLflow server on SQLite that lets everybody in."""
    _mlflow_servers[0].wait_until_healthy("/health", 240)
    return _mlflow_servers[0].url


@pytest.fixture(scope="session")
def mlflow_auth_url(_mlflow_servers: tuple[servers.Process, servers.Process]) -> str:
    """A real MLflow server with basic authentication; ADMIN may do everything."""
    if importlib.util.find_spec("flask_wtf") is None:
        pytest.skip("no Flask-WTF here, which MLflow's authentication needs: install mlflow[auth]")
    _mlflow_servers[1].wait_until_healthy("/health", 240)
    return _mlflow_servers[1].url


@dataclass
class Exporter:
    """A page of metrics that is written anew at every scrape, given the number of scrapes before it."""

    port: int = 0
    page: Callable[[int], str] = field(default=lambda _: "")
    scrapes: int = 0


class _Page(http.server.BaseHTTPRequestHandler):
    def __init__(self, exporter: Exporter, *args: object) -> None:
        self._exporter = exporter
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        content = self._exporter.page(self._exporter.scrapes).encode()
        self._exporter.scrapes += 1
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def exporter() -> Iterator[Exporter]:
    """What the session's Prometheus scrapes; a module may set its page."""
    exporter = Exporter()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Page, exporter)) as server:
        exporter.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield exporter
        server.shutdown()
        thread.join()


PROMETHEUS = """
global: {{scrape_interval: 500ms, scrape_timeout: 400ms}}
scrape_configs:
- job_name: models
  honor_labels: true
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@dataclass
class PrometheusServer:
    """A real Prometheus that can be killed and started again, with its data."""

    folder: pathlib.Path
    port: int
    process: servers.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        program = shutil.which("prometheus")
        if program is None:
            pytest.skip("no Prometheus here: install the Debian package `prometheus` (or put its program on PATH)")
        command = (
            program,
            f"--config.file={self.folder}/prometheus.yml",
            f"--storage.tsdb.path={self.folder}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
        )
        self.process = servers.start(self.url, command, self.folder / "log")
        self.process.wait_until_healthy("/-/ready", 30)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()


@pytest.fixture(scope="session")
def prometheus(exporter: Exporter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """A real Prometheus that scrapes the exporter twice a second."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "prometheus.yml").write_text(PROMETHEUS.format(port=exporter.port))
    server = PrometheusServer(folder, servers.free_port())
    server.start()
    yield server
    server.kill()
