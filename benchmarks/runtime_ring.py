"""What the ring of answers costs: the same server with it, without it, and with somebody who asks for it every second.

The three are measured by turns, in another order each round, and the ratio is the median of the rounds' own ratios: a
busy machine slows all alike. The server's CPU time for a request hardly depends on what else the machine does. Every
request has an id of its own and the headers that Envoy adds. Server and client are pinned to different cores where
there are two. Run it as `python -m benchmarks.runtime_ring`; writes benchmarks/results/runtime_ring.json.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import runtime_client

HERE = Path(__file__).parent
SERVERS = ("off", "on", "on, asked")
FIGURES = ("throughput", "p50", "p99", "client_cpu", "server_cpu")
HEADERS = (
    "accept: */*\r\nuser-agent: benchmark/1\r\ncontent-type: application/json\r\nx-forwarded-proto: http\r\n"
    "x-request-id: %032x\r\nx-penstock-role: stable\r\nx-envoy-expected-rq-timeout-ms: 60000\r\n"
)


class Connection(runtime_client.Connection):
    """Sends each request with an id of its own."""

    def __init__(self, body: bytes, number: int, until: float, latencies: list[float], errors: list[str]) -> None:
        super().__init__(b"", until, latencies, errors)
        self._head = f"POST /invocations HTTP/1.1\r\nhost: a\r\n{HEADERS}content-length: {len(body)}\r\n\r\n"
        self._body = body
        self._number = number << 64

    def _send(self) -> None:
        self._number += 1
        self._request = (self._head % self._number).encode() + self._body
        super()._send()


async def measure(port: int, body: bytes, connections: int, seconds: float) -> dict[str, float | int | str]:
    """Throughput in requests a second and latencies in seconds, of one run."""
    latencies: list[float] = []
    errors: list[str] = []
    loop = asyncio.get_running_loop()
    started, cpu = time.perf_counter(), time.process_time()
    until, process = started + seconds, os.getpid() << 16
    numbers = itertools.count(process)
    opened = [
        await loop.create_connection(
            lambda: Connection(body, next(numbers), until, latencies, errors), "127.0.0.1", port
        )
        for _ in range(connections)
    ]
    async with asyncio.timeout(seconds + 60):
        await asyncio.gather(*(connection.closed for _, connection in opened))
    took = time.perf_counter() - started
    latencies.sort()
    return {
        "requests": len(latencies),
        "errors": len(errors),
        "error": errors[0] if errors else "",
        "throughput": len(latencies) / took,
        "p50": latencies[len(latencies) // 2],
        "p99": latencies[int(len(latencies) * 0.99)],
        "client_cpu": (time.process_time() - cpu) / took,
    }


def load(server: "Server", body: Path, connections: int, seconds: float) -> dict[str, Any]:
    """One run of the client, and the server's CPU time for each request of it."""
    from benchmarks import runtime_vs_mlflow  # not in the client: it imports MLflow

    command = [
        sys.executable,
        "-m",
        "benchmarks.runtime_ring",
        "--client",
        str(server.port),
        str(body),
        str(connections),
    ]
    command = runtime_vs_mlflow.pinned([*command, "--seconds", str(seconds)], 1)
    before = server.cpu()
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    if result["errors"]:
        raise SystemExit(f"{result['errors']} requests failed, the first: {result['error']}")
    return {**result, "server_cpu": (server.cpu() - before) / result["requests"]}


@dataclass(frozen=True)
class Server:
    port: int
    process: subprocess.Popen[bytes]

    def cpu(self) -> float:
        """Seconds of CPU time so far, of all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def serving(scratch: Path, name: str, answers_port: int) -> Iterator[Server]:
    from benchmarks import runtime_vs_mlflow

    port, log = runtime_vs_mlflow.free_port(), scratch / f"{name}.log"
    environment = {
        "PENSTOCK_MODEL_DIR": str(scratch / "model"),
        "PENSTOCK_DRAIN_SECONDS": "0",
        "PENSTOCK_TERMINATION_LOG": str(scratch / "termination"),
        "PENSTOCK_PORT": str(port),
        "PENSTOCK_ANSWERS_PORT": str(answers_port),
    }
    command = runtime_vs_mlflow.pinned([str(runtime_vs_mlflow.BIN / "penstock-serve"), "serve"], 0)
    with log.open("wb") as output:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT)
    try:
        runtime_vs_mlflow.wait(port, process, log)
        yield Server(port, process)
    finally:
        process.terminate()
        process.wait(30)


class Asker:
    """Asks for the answers every second, page after page, as the operator does."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._after = 0
        self.answers = 0
        self.lost = 0
        self.pages: list[float] = []

    def ask(self) -> None:
        while True:
            started = time.perf_counter()
            url = f"http://127.0.0.1:{self._port}/answers?after={self._after}&limit=1000"
            with urllib.request.urlopen(url, timeout=10) as response:
                page = json.loads(response.read())
            if page["answers"]:
                self.pages.append(time.perf_counter() - started)
            self._after = page["next"]
            self.answers += len(page["answers"])
            self.lost += page["lost"]
            if len(page["answers"]) < 1000:
                return

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(1.0):
                self.ask()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def compare(scratch: Path, numbers: list[int], rounds: int, seconds: float) -> tuple[dict[str, Any], dict[str, float]]:
    from benchmarks import runtime_vs_mlflow

    model, body = scratch / "model", scratch / "body.json"
    runtime_vs_mlflow.make_model(model)
    body.write_bytes((model / "serving_input_example.json").read_bytes())
    answers = {name: 0 if name == "off" else runtime_vs_mlflow.free_port() for name in SERVERS}
    asker = Asker(answers["on, asked"])
    runs: dict[str, dict[int, list[dict[str, Any]]]] = {name: {n: [] for n in numbers} for name in SERVERS}
    with contextlib.ExitStack() as started:
        servers = {name: started.enter_context(serving(scratch, name, answers[name])) for name in SERVERS}
        for server in servers.values():
            load(server, body, 8, 1.0)  # warm up
        for turn in range(rounds):
            order = SERVERS[turn % 3 :] + SERVERS[: turn % 3]
            for connections in numbers:
                for name in order:
                    asking = asker.asking() if name == "on, asked" else contextlib.nullcontext()
                    with asking:
                        runs[name][connections].append(load(servers[name], body, connections, seconds))
    asked = {
        "answers": asker.answers,
        "lost": asker.lost,
        "page_p50": statistics.median(asker.pages),
        "page_longest": max(asker.pages),
    }
    return {name: {str(n): summary(runs, name, n) for n in numbers} for name in SERVERS}, asked


def summary(runs: dict[str, dict[int, list[dict[str, Any]]]], name: str, connections: int) -> dict[str, Any]:
    """Medians of the rounds, and of the rounds' ratios to the server without a ring."""
    own, off = runs[name][connections], runs["off"][connections]
    return {
        **{figure: statistics.median(run[figure] for run in own) for figure in FIGURES},
        **{
            f"{figure}_ratios": [run[figure] / other[figure] for run, other in zip(own, off, strict=True)]
            for figure in ("throughput", "server_cpu")
        },
    }


def show(results: dict[str, Any]) -> None:
    print(
        "| connections | ring | requests/s | p50 ms | p99 ms | server CPU µs a request | requests/s ratio | CPU ratio |"
    )
    print("|---:|---|---:|---:|---:|---:|---|---|")
    for connections in results["off"]:
        for name in SERVERS:
            row = results[name][connections]
            ratios = [
                f"{statistics.median(found):.3f} ({min(found):.2f} to {max(found):.2f})"
                for found in (row["throughput_ratios"], row["server_cpu_ratios"])
            ]
            print(
                f"| {connections} | {name} | {row['throughput']:.0f} | {row['p50'] * 1000:.2f} "
                f"| {row['p99'] * 1000:.2f} | {row['server_cpu'] * 1e6:.0f} | {' | '.join(ratios)} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--client", nargs=3, metavar=("PORT", "BODY", "CONNECTIONS"))
    given = parser.parse_args()
    if given.client:
        port, body, connections = int(given.client[0]), Path(given.client[1]).read_bytes(), int(given.client[2])
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(json.dumps(runner.run(measure(port, body, connections, given.seconds))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        results, asked = compare(Path(scratch), given.connections, given.rounds, given.seconds)
    conditions = {
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "pinned": bool(shutil.which("taskset")) and len(os.sched_getaffinity(0)) > 1,
        "rounds": given.rounds,
        "seconds": given.seconds,
        "python": sys.version.split()[0],
    }
    target = HERE / "results" / "runtime_ring.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps({"conditions": conditions, "asked": asked, "results": results}, indent=2))
    show(results)
    print(json.dumps({**conditions, "asked": asked}))


if __name__ == "__main__":
    main()
