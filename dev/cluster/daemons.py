"""Long-running processes of the node: started, recognised, restarted, stopped.

Rule: a record says which process runs and with which configuration. A daemon whose record fits is left alone; one that
is gone or was started with another configuration is started anew. A recycled process id is never taken for ours.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Iterable

from dev.cluster import cgroups, network, settings, shell

_LOG_LIMIT = 50_000_000


@dataclasses.dataclass(frozen=True)
class Daemon:
    """A process of the node. `files` are the configuration files it reads: a change of one restarts it."""

    name: str
    command: tuple[str, ...]
    files: tuple[pathlib.Path, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()

    def digest(self) -> str:
        digest = hashlib.sha256(json.dumps([self.command, self.environment]).encode())
        for path in self.files:
            digest.update(path.read_bytes())
        return digest.hexdigest()


def running(cluster: settings.Settings, daemon: Daemon) -> bool:
    """Whether the process runs, with this very configuration."""
    record = _record(cluster, daemon.name)
    return record is not None and record["digest"] == daemon.digest() and _alive(record)


def ensure(cluster: settings.Settings, daemon: Daemon) -> bool:
    """Start `daemon` unless it runs as described; returns whether it had to be started."""
    if running(cluster, daemon):
        return False
    stop(cluster, daemon.name)
    log = log_of(cluster, daemon.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    # The shell enters the cgroups and then becomes the daemon: whatever it starts is born inside them.
    enter = "".join(f"echo $$ > {path}; " for path in cgroups.daemon_files(cluster))
    with log.open("a") as output:
        output.write(f"--- started at {time.strftime('%Y-%m-%dT%H:%M:%S')}: {shell.shown(daemon.command)}\n")
        output.flush()
        process = subprocess.Popen(
            ["sh", "-c", f'{enter}exec "$@"', "sh", *network.inside(cluster), *daemon.command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            env={**_clean_environment(), **dict(daemon.environment)},
        )
    record = {"pid": process.pid, "started": _start_time(process.pid), "digest": daemon.digest()}
    shell.write(_record_file(cluster, daemon.name), json.dumps(record))
    # The child outlives us on purpose.
    process.returncode = 0
    return True


def stop(cluster: settings.Settings, name: str, *, grace: float = 5.0) -> None:
    """End a daemon, first asking, then not."""
    record = _record(cluster, name)
    if record is not None and _alive(record):
        end([int(record["pid"])], grace=grace)
    _record_file(cluster, name).unlink(missing_ok=True)


def recorded(cluster: settings.Settings) -> list[str]:
    return sorted(path.stem for path in (cluster.volatile / "processes").glob("*.json"))


def pid_of(cluster: settings.Settings, name: str) -> int | None:
    """The id of the running process, None when it does not run."""
    record = _record(cluster, name)
    return int(record["pid"]) if record is not None and _alive(record) else None


def end(pids: Iterable[int], *, grace: float) -> None:
    """Ask `pids` to end, wait up to `grace` seconds, then kill what is left."""
    left = list(pids)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if number is signal.SIGTERM and grace <= 0:
            continue
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + (grace if number is signal.SIGTERM else 5.0)
        while (left := [pid for pid in left if _exists(pid)]) and time.monotonic() < deadline:
            time.sleep(0.02)
        if not left:
            return


def log_of(cluster: settings.Settings, name: str) -> pathlib.Path:
    return cluster.logs / f"{name}.log"


def last_words(cluster: settings.Settings, name: str, lines: int = 12) -> str:
    """The end of a daemon's log, for an error message."""
    log = log_of(cluster, name)
    if not log.exists():
        return "(no log)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _clean_environment() -> dict[str, str]:
    """Daemons get no proxy or Go settings of whoever ran `up` first."""
    return {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "HOME": "/root", "LANG": "C.UTF-8"}


def _record_file(cluster: settings.Settings, name: str) -> pathlib.Path:
    return cluster.volatile / "processes" / f"{name}.json"


def _record(cluster: settings.Settings, name: str) -> dict[str, str | int] | None:
    try:
        record: dict[str, str | int] = json.loads(_record_file(cluster, name).read_text())
    except (OSError, ValueError):
        return None
    return record


def _alive(record: dict[str, str | int]) -> bool:
    return _exists(int(record["pid"])) and _start_time(int(record["pid"])) == record["started"]


def _exists(pid: int) -> bool:
    """Alive: a zombie has ended, whoever has not collected it yet."""
    with contextlib.suppress(ChildProcessError, OSError):
        os.waitpid(pid, os.WNOHANG)
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


def _start_time(pid: int) -> str:
    """When the process started, in clock ticks since boot, together with the boot's own id."""
    try:
        ticks = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
    return f"{boot_id()}/{ticks}"


def boot_id() -> str:
    return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
