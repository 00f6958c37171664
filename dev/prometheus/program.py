"""Prometheus, compiled from its Go module into the cache, for a cluster that can pull no image.

Rule: it is the real one, with Kubernetes discovery and without those of the clouds: Debian's has no Kubernetes
discovery. The web pages are not part of the Go module, the HTTP API is.
"""

import hashlib
import pathlib
import subprocess
import tempfile
import time

from dev.cluster import settings, shell, toolchain

HERE = pathlib.Path(__file__).parent
_PACKAGE = "github.com/prometheus/prometheus/cmd/prometheus"
_TAGS = "remove_all_sd,enable_kubernetes_sd"
_HEARTBEAT = 15.0


def folder(cluster: settings.Settings) -> pathlib.Path:
    """The folder with the program and its Dockerfile; the program is compiled when it is not there."""
    go = toolchain.Go(cluster.cache)
    place = cluster.cache / "bin" / f"prometheus-{_key(go)}"
    with shell.locked(cluster.cache / "prometheus.lock", why="it compiles Prometheus"):
        if not (place / "prometheus").exists():
            place.mkdir(parents=True, exist_ok=True)
            _compile(go, place / "prometheus")
        shell.write(place / "Dockerfile", (HERE / "Dockerfile").read_text())
    return place


def _key(go: toolchain.Go) -> str:
    digest = hashlib.sha256(f"{go.version}\n{_TAGS}\n".encode())
    for name in ("go.mod", "go.sum"):
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()[:12]


def _compile(go: toolchain.Go, program: pathlib.Path) -> None:
    partial = program.with_name(f".{program.name}.partial")
    command = [
        str(go.command), "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-tags", _TAGS,
        "-ldflags", "-s -w", "-o", str(partial), _PACKAGE,
    ]  # fmt: skip
    shell.say("compiling Prometheus (minutes, once)")
    started = time.monotonic()
    with tempfile.TemporaryFile(mode="w+") as output:
        process = subprocess.Popen(command, cwd=HERE, env=go.environment, stdout=output, stderr=subprocess.STDOUT)
        while True:
            try:
                status = process.wait(timeout=_HEARTBEAT)
                break
            except subprocess.TimeoutExpired:
                shell.say(f"  Prometheus ... {time.monotonic() - started:.0f} s")
            except BaseException:
                process.kill()
                raise
        if status:
            output.seek(0)
            raise shell.ClusterError(
                f"compiling Prometheus failed (`cd {HERE} && {shell.shown(command)}`):\n{output.read()[-4000:]}\n"
                "If modules could not be fetched, check that Go's module proxy answers (`go env GOPROXY`)."
            )
    partial.replace(program)
    shell.say(f"  Prometheus compiled in {time.monotonic() - started:.0f} s")
