"""Which cluster, and where its files are: read from the environment once, then passed along.

Rule: nothing else in this folder reads the environment to find a path or a name.
"""

import dataclasses
import enum
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Self

from dev.cluster import shell

KUBERNETES_VERSION = "v1.35.4"
SERVICE_CIDR = "10.96.0.0/16"
POD_CIDR = "10.244.0.0/16"
NODE_ADDRESS = "10.87.0.1"
API_SERVICE_ADDRESS = "10.96.0.1"
DNS_ADDRESS = "10.96.0.10"
CLUSTER_DOMAIN = "cluster.local"

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?")


class Flavour(enum.StrEnum):
    """Where the cluster comes from."""

    LOCAL = "local"
    KIND = "kind"
    CURRENT = "current"


@dataclasses.dataclass(frozen=True)
class Settings:
    """One cluster: its flavour, its name, its folders.

    Two local clusters with different names share nothing but the cache: each has its own network
    namespace, so that even their addresses may be the same.
    """

    flavour: Flavour
    name: str
    cache: pathlib.Path
    state: pathlib.Path
    """What survives a reboot: keys, etcd's data, containerd's images, logs."""
    volatile: pathlib.Path
    """What a reboot makes worthless: sockets, process records, containerd's running state."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        name = environment.get("PENSTOCK_CLUSTER_NAME") or "penstock"
        if not _NAME.fullmatch(name):
            raise shell.ClusterError(
                f"PENSTOCK_CLUSTER_NAME={name!r} is not usable: at most 20 lower-case letters, digits and dashes."
            )
        wanted = environment.get("CLUSTER") or Flavour.LOCAL.value
        try:
            flavour = Flavour(wanted)
        except ValueError:
            choices = ", ".join(Flavour)
            raise shell.ClusterError(f"CLUSTER={wanted!r} is not one of {choices}.") from None
        home = environment.get("HOME") or os.path.expanduser("~")  # noqa: PTH111
        cache_home = environment.get("XDG_CACHE_HOME") or f"{home}/.cache"
        state = environment.get("PENSTOCK_STATE") or "/var/lib/penstock-dev"
        return cls(
            flavour=flavour,
            name=name,
            cache=pathlib.Path(environment.get("PENSTOCK_CACHE") or f"{cache_home}/penstock").absolute(),
            state=pathlib.Path(state).absolute() / name,
            volatile=pathlib.Path("/run/penstock-dev") / name,
        )

    @property
    def network_namespace(self) -> pathlib.Path:
        return pathlib.Path("/run/netns") / self.name

    @property
    def logs(self) -> pathlib.Path:
        return self.state / "logs"

    @property
    def config(self) -> pathlib.Path:
        return self.state / "config"

    @property
    def pki(self) -> pathlib.Path:
        return self.state / "pki"

    @property
    def containerd_socket(self) -> pathlib.Path:
        return self.volatile / "containerd.sock"

    @property
    def cgroup(self) -> str:
        """The node's cgroup, in every hierarchy: `node` below it holds the daemons, kubelet adds the pods'."""
        return f"penstock-{self.name}"

    @property
    def cni_network(self) -> str:
        return f"penstock-{self.name}"

    @property
    def admin_kubeconfig(self) -> pathlib.Path:
        return self.state / "admin.kubeconfig"

    @property
    def lock(self) -> pathlib.Path:
        """Outside the folders that `down` removes, so that a lock is never held on a deleted file."""
        return self.volatile.parent / f"{self.name}.lock"
