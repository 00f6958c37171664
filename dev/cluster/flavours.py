"""What every kind of cluster can do, whoever runs it.

Rule: the command line knows only this; `CLUSTER=local|kind|current` picks who does it.
"""

import dataclasses
import pathlib
from typing import Protocol

from dev.cluster import buildah


@dataclasses.dataclass(frozen=True)
class Entry:
    """How a command gets into the cluster: words to put before it, and what to add to its environment."""

    prefix: tuple[str, ...]
    kubeconfig: str
    path: tuple[str, ...]


class Cluster(Protocol):
    """A cluster for development; every method raises `ClusterError` with what to do about it."""

    def up(self) -> None: ...

    def down(self) -> None: ...

    def status(self) -> bool:
        """Say how the cluster is; returns whether it is healthy."""

    def entry(self) -> Entry: ...

    def load(self, archives: list[pathlib.Path]) -> None:
        """Give the cluster images from archives (docker or OCI)."""

    def has_image(self, name: str) -> bool: ...

    def build(self, build: buildah.Build) -> None:
        """Build an image and give it to the cluster."""

    def base_image(self) -> str:
        """Make the image that Dockerfiles take as `BASE`; returns its name."""
