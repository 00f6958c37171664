"""CLUSTER=kind: a kind cluster, for machines with a container engine that can reach an image registry.

Rule: one cluster, named like the local one would be; images go in as archives, never through a registry.
"""

import os
import pathlib
import shutil
import tempfile

from dev.cluster import buildah, flavours, settings, shell

_CURE = "Or use CLUSTER=local, which needs neither an engine nor an image registry."


class Kind:
    """A cluster in containers."""

    def __init__(self, cluster: settings.Settings) -> None:
        self._cluster = cluster

    @property
    def _kubeconfig(self) -> pathlib.Path:
        return self._cluster.cache / f"kind-{self._cluster.name}.kubeconfig"

    def up(self) -> None:
        engine = self._engine()
        with shell.locked(self._cluster.cache / "kind.lock", why="it changes the same cluster"):
            if not self._exists():
                shell.stream(
                    self._kind("create", "cluster", "--kubeconfig", str(self._kubeconfig), "--wait", "180s"),
                    environment=self._environment(engine),
                )
            kubeconfig = shell.run(self._kind("get", "kubeconfig"), environment=self._environment(engine))
            shell.write(self._kubeconfig, kubeconfig, mode=0o600)
        shell.say(f"kind cluster {self._cluster.name} is up")

    def down(self) -> None:
        engine = self._engine()
        shell.stream(self._kind("delete", "cluster"), environment=self._environment(engine))
        self._kubeconfig.unlink(missing_ok=True)

    def status(self) -> bool:
        self._engine()
        if not self._exists():
            shell.say(f"kind cluster {self._cluster.name} is not there: `up` makes it")
            return False
        command: list[str | pathlib.Path] = ["kubectl", "--kubeconfig", self._kubeconfig, "get", "nodes"]
        outcome = shell.attempt(command)
        shell.say((outcome.stdout + outcome.stderr).strip())
        return outcome.returncode == 0

    def entry(self) -> flavours.Entry:
        if not self._kubeconfig.exists():
            raise shell.ClusterError(f"kind cluster {self._cluster.name} is not up: run `up` first.")
        return flavours.Entry(prefix=(), kubeconfig=str(self._kubeconfig), path=())

    def load(self, archives: list[pathlib.Path]) -> None:
        engine = self._engine()
        for archive in archives:
            shell.stream(self._kind("load", "image-archive", str(archive)), environment=self._environment(engine))

    def has_image(self, name: str) -> bool:
        engine = self._engine()
        node = f"{self._cluster.name}-control-plane"
        listed = shell.run([engine, "exec", node, "crictl", "images", "--quiet", name])
        return bool(listed.strip())

    def build(self, build: buildah.Build) -> None:
        engine = self._engine()
        shell.stream([engine, "build", *build.options(), build.context])
        with tempfile.TemporaryDirectory() as folder:
            archive = pathlib.Path(folder) / "image.tar"
            shell.run([engine, "save", "--output", archive, build.tag])
            self.load([archive])

    def base_image(self) -> str:
        return "python:3.11-slim"

    def _exists(self) -> bool:
        engine = self._engine()
        found = shell.run(["kind", "get", "clusters"], environment=self._environment(engine))
        return self._cluster.name in found.split()

    def _kind(self, *arguments: str) -> list[str]:
        return ["kind", *arguments, "--name", self._cluster.name]

    def _environment(self, engine: str) -> dict[str, str]:
        return {**os.environ, "KIND_EXPERIMENTAL_PROVIDER": engine}

    def _engine(self) -> str:
        """The engine that answers: docker or podman."""
        if not shutil.which("kind"):
            raise shell.ClusterError(f"CLUSTER=kind needs the `kind` program on PATH (kind.sigs.k8s.io). {_CURE}")
        for engine in ("docker", "podman"):
            if shutil.which(engine) and shell.attempt([engine, "info"]).returncode == 0:
                return engine
        raise shell.ClusterError(
            f"CLUSTER=kind needs a container engine that answers: start Docker (`docker info`) or Podman. {_CURE}"
        )
