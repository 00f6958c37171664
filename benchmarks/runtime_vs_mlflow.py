"""The model server against `mlflow models serve`: same model, same body, same client, one process each, in one run.

The two are measured by turns, several rounds each, and the table has the medians: a busy machine slows both alike.
Server and client are pinned to different cores where there are two. Writes benchmarks/results/runtime_vs_mlflow.json.
"""

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
from sklearn import datasets, linear_model, pipeline, preprocessing

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
CONNECTIONS = (1, 8, 64)
SERVERS = ("mlflow", "penstock", "penstock, one by one")


def make_model(directory: Path) -> None:
    """Breast cancer, logistic regression behind a scaler: 30 columns of `double`, a signature, an input example."""
    features, target = datasets.load_breast_cancer(return_X_y=True, as_frame=True)
    model = pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression(max_iter=1000))
    model.fit(features, target)
    mlflow.sklearn.save_model(
        model,
        str(directory),
        signature=mlflow.models.infer_signature(features, model.predict(features)),
        input_example=features.head(1),
        pip_requirements=["scikit-learn"],
    )


@contextlib.contextmanager
def serving(command: list[str], port: int, environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            pinned(command, 0), env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait(port, process, log)
        yield
    finally:
        process.terminate()
        process.wait(30)


def wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
            return
        time.sleep(0.2)
    raise SystemExit(f"the server did not start:\n{log.read_text()}")


def pinned(command: list[str], core: int) -> list[str]:
    if shutil.which("taskset") and len(os.sched_getaffinity(0)) > 1:
        return ["taskset", "-c", str(sorted(os.sched_getaffinity(0))[core]), *command]
    return command


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def load(port: int, body: Path, connections: int, seconds: float) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "runtime_client.py"), str(port), str(body), str(connections), str(seconds)]
    result: dict[str, Any] = json.loads(subprocess.run(pinned(command, 1), check=True, capture_output=True).stdout)
    if result["errors"]:
        raise SystemExit(f"{result['errors']} requests failed, the first: {result['error']}")
    return result


def median(runs: list[dict[str, Any]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in ("throughput", "p50", "p99", "client_cpu")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        results = compare(Path(scratch), given.rounds, given.seconds)
    conditions = {
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "pinned": pinned([], 0) != [],
        "rounds": given.rounds,
        "seconds": given.seconds,
        "mlflow": mlflow.__version__,
        "python": sys.version.split()[0],
    }
    target = HERE / "results" / "runtime_vs_mlflow.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps({"conditions": conditions, "results": results}, indent=2))
    show(results)
    print(json.dumps(conditions))


def compare(scratch: Path, rounds: int, seconds: float) -> dict[str, dict[int, dict[str, float]]]:
    model, body = scratch / "model", scratch / "body.json"
    make_model(model)
    body.write_bytes((model / "serving_input_example.json").read_bytes())
    ports = {name: free_port() for name in SERVERS}
    peer = [str(BIN / "mlflow"), "models", "serve", "--model-uri", str(model), "--env-manager", "local"]
    peer += ["--port", str(ports["mlflow"]), "--workers", "1"]
    environment = {
        "PENSTOCK_MODEL_DIR": str(model),
        "PENSTOCK_DRAIN_SECONDS": "0",
        "PENSTOCK_ANSWERS_PORT": "0",
        "PENSTOCK_TERMINATION_LOG": str(scratch / "termination"),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }

    def ours(name: str, settings: dict[str, str]) -> contextlib.AbstractContextManager[None]:
        command = [str(BIN / "penstock-serve"), "serve"]
        own = {**environment, "PENSTOCK_PORT": str(ports[name]), **settings}
        return serving(command, ports[name], own, scratch / f"{name}.log")

    runs: dict[str, dict[int, list[dict[str, Any]]]] = {name: {n: [] for n in CONNECTIONS} for name in ports}
    with (
        serving(peer, ports["mlflow"], environment, scratch / "mlflow.log"),
        ours("penstock", {}),
        ours("penstock, one by one", {"PENSTOCK_BATCH_MAX_SIZE": "1"}),
    ):
        for port in ports.values():
            load(port, body, 8, 1.0)  # warm up
        for _ in range(rounds):
            for connections in CONNECTIONS:
                for name, port in ports.items():
                    runs[name][connections].append(load(port, body, connections, seconds))
    return {name: {n: median(of_n) for n, of_n in by_n.items()} for name, by_n in runs.items()}


def show(results: dict[str, dict[int, dict[str, float]]]) -> None:
    print("| connections | server | requests/s | p50 ms | p99 ms | ratio |")
    print("|---:|---|---:|---:|---:|---:|")
    for connections in CONNECTIONS:
        base = results["mlflow"][connections]["throughput"]
        for name in SERVERS:
            row = results[name][connections]
            print(
                f"| {connections} | {name} | {row['throughput']:.0f} | {row['p50'] * 1000:.2f} "
                f"| {row['p99'] * 1000:.2f} | {row['throughput'] / base:.1f} |"
            )


if __name__ == "__main__":
    main()
