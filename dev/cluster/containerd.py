"""The cluster's own containerd, spoken to with ctr: which images it has, and giving it more.

Rule: images are named as Kubernetes names them, so `penstock:dev` means `docker.io/library/penstock:dev`.
"""

import pathlib

from dev.cluster import daemons, settings, shell

_NAMESPACE = "k8s.io"


def ctr(cluster: settings.Settings) -> list[str | pathlib.Path]:
    return ["ctr", "--address", cluster.containerd_socket, "--namespace", _NAMESPACE]


def wait(cluster: settings.Settings) -> None:
    """Return when containerd answers."""

    def answers() -> bool:
        if daemons.pid_of(cluster, "containerd") is None:
            raise shell.ClusterError(f"containerd ended at its start:\n{daemons.last_words(cluster, 'containerd')}")
        return cluster.containerd_socket.exists() and shell.attempt([*ctr(cluster), "version"]).returncode == 0

    shell.wait_until(
        answers, seconds=60, what="containerd's start", hint=lambda: daemons.last_words(cluster, "containerd")
    )


def digests(cluster: settings.Settings) -> dict[str, str]:
    """The name of every image -> the digest of its manifest."""
    lines = shell.run([*ctr(cluster), "images", "ls"]).splitlines()[1:]
    return {fields[0]: fields[2] for line in lines if len(fields := line.split()) > 2}


def load(cluster: settings.Settings, archive: pathlib.Path, name: str | None = None) -> list[str]:
    """Import a docker or OCI archive, unless an image called `name` is there already; returns what was imported."""
    if name is not None and full_name(name) in digests(cluster):
        return []
    printed = shell.run([*ctr(cluster), "images", "import", archive])
    return [line.split()[1] for line in printed.splitlines() if line.startswith("unpacking ")]


def full_name(name: str) -> str:
    """The name Kubernetes uses for what a manifest calls `name`.

    >>> full_name("penstock"), full_name("a/b:1"), full_name("localhost/x:1")
    ('docker.io/library/penstock:latest', 'docker.io/a/b:1', 'localhost/x:1')
    """
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif not ("." in first or ":" in first or first == "localhost"):
        name = f"docker.io/{name}"
    last = name.rpartition("/")[2]
    return name if ":" in last or "@" in last else f"{name}:latest"


def contents(cluster: settings.Settings) -> set[str]:
    """The digests of everything in the content store: layers, configurations, manifests."""
    return set(shell.run([*ctr(cluster), "content", "ls", "--quiet"]).split())
