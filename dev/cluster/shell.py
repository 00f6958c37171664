"""Running other programs: one error type, and output that ends up in its message.

Rule: a command that fails unexpectedly raises `ClusterError` with the command and what it printed.
"""

import contextlib
import fcntl
import os
import pathlib
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

_SHOWN = 4000


class ClusterError(Exception):
    """Something a developer can act on; the text says what to do."""


def say(message: str) -> None:
    print(message, flush=True)


def complain(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def run(
    command: Sequence[str | pathlib.Path],
    *,
    text: str | None = None,
    environment: Mapping[str, str] | None = None,
    folder: pathlib.Path | None = None,
    timeout: float | None = None,
) -> str:
    """The standard output of `command`; raises `ClusterError` when it fails."""
    outcome = attempt(command, text=text, environment=environment, folder=folder, timeout=timeout)
    if outcome.returncode:
        printed = (outcome.stderr.strip() or outcome.stdout.strip())[-_SHOWN:]
        raise ClusterError(f"`{shown(command)}` failed with status {outcome.returncode}:\n{printed}")
    return outcome.stdout


def attempt(
    command: Sequence[str | pathlib.Path],
    *,
    text: str | None = None,
    environment: Mapping[str, str] | None = None,
    folder: pathlib.Path | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `command` and return how it ended, whatever that was."""
    try:
        return subprocess.run(
            [str(part) for part in command],
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env=None if environment is None else dict(environment),
            cwd=folder,
            timeout=timeout,
        )
    except FileNotFoundError as error:
        raise ClusterError(f"`{command[0]}` is not installed or not on PATH.") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"`{shown(command)}` did not end within {timeout:g} s.") from error


def stream(
    command: Sequence[str | pathlib.Path],
    *,
    environment: Mapping[str, str] | None = None,
    folder: pathlib.Path | None = None,
) -> None:
    """Run `command` with its output shown as it comes; raises `ClusterError` when it fails."""
    try:
        status = subprocess.run(
            [str(part) for part in command],
            check=False,
            env=None if environment is None else dict(environment),
            cwd=folder,
        ).returncode
    except FileNotFoundError as error:
        raise ClusterError(f"`{command[0]}` is not installed or not on PATH.") from error
    if status:
        raise ClusterError(f"`{shown(command)}` failed with status {status}; its output is above.")


def shown(command: Sequence[str | pathlib.Path]) -> str:
    return shlex.join(str(part) for part in command)


def wait_until(
    question: Callable[[], bool], *, seconds: float, what: str, hint: Callable[[], str], interval: float = 0.2
) -> None:
    """Ask until the answer is yes; raises `ClusterError` with `what` and `hint` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not question():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what} did not happen within {seconds:g} s. {hint()}")
        time.sleep(interval)


@contextlib.contextmanager
def locked(path: pathlib.Path, *, why: str) -> Iterator[None]:
    """Hold `path` exclusively: a second caller says that it waits, then waits."""
    descriptor = _lock(path, why)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(path: pathlib.Path, why: str) -> int:
    """The descriptor that holds the lock; the holder may have removed the file meanwhile, then a new one is taken."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            complain(f"another command holds {path} ({why}); waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)


def write(path: pathlib.Path, content: str, *, mode: int = 0o644) -> None:
    """Replace the whole file or nothing, so that a killed run leaves no half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(content)
    partial.chmod(mode)
    partial.replace(path)
