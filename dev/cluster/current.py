"""CLUSTER=current: the cluster that kubectl talks to now.

Rule: it belongs to someone else. It is never created and never deleted, and images reach it only through a registry
that it can pull from.
"""

import os
import pathlib
import shutil

from dev.cluster import buildah, flavours, shell

_PREPULLED = "PENSTOCK_IMAGES_PREPULLED"


class Current:
    """The current kubeconfig context."""

    def up(self) -> None:
        self._require_answer()
        shell.say(f"using the context {self._context()}; `down` will leave it alone")

    def down(self) -> None:
        shell.say("CLUSTER=current: the cluster is not ours to remove; nothing was done")

    def status(self) -> bool:
        self._require_answer()
        shell.say(shell.run([*self._kubectl(), "get", "nodes"]).strip())
        return True

    def entry(self) -> flavours.Entry:
        return flavours.Entry(prefix=(), kubeconfig=os.environ.get("KUBECONFIG", ""), path=())

    def load(self, archives: list[pathlib.Path]) -> None:
        if os.environ.get(_PREPULLED) == "1":
            return
        names = ", ".join(str(archive) for archive in archives)
        raise shell.ClusterError(
            f"CLUSTER=current cannot take {names}: push the images to a registry that the cluster pulls from and name"
            f" them in the chart's values, then set {_PREPULLED}=1 to go on."
        )

    def has_image(self, name: str) -> bool:
        """Whether a node says that it holds the image; nodes list only their largest ones."""
        names = shell.run([*self._kubectl(), "get", "nodes", "-o", "jsonpath={.items[*].status.images[*].names[*]}"])
        return name in names.split() or os.environ.get(_PREPULLED) == "1"

    def build(self, build: buildah.Build) -> None:
        if os.environ.get(_PREPULLED) == "1":
            return
        raise shell.ClusterError(
            f"CLUSTER=current: build {build.tag} with your own builder and push it to a registry that the cluster pulls"
            f" from, then set {_PREPULLED}=1 to go on."
        )

    def base_image(self) -> str:
        return "python:3.11-slim"

    def _kubectl(self) -> list[str]:
        if not shutil.which("kubectl"):
            raise shell.ClusterError("CLUSTER=current needs kubectl on PATH and a kubeconfig.")
        return ["kubectl", "--request-timeout=10s"]

    def _context(self) -> str:
        outcome = shell.attempt([*self._kubectl(), "config", "current-context"])
        if outcome.returncode:
            raise shell.ClusterError(
                "No current kubeconfig context: `kubectl config use-context NAME`, or CLUSTER=local."
            )
        return outcome.stdout.strip()

    def _require_answer(self) -> None:
        context = self._context()
        outcome = shell.attempt([*self._kubectl(), "version", "-o", "json"])
        if outcome.returncode:
            raise shell.ClusterError(f"The cluster of context {context} does not answer:\n{outcome.stderr.strip()}")
