"""Programs that come from the distribution: found, installed where we may, else named with their cure.

Rule: every missing one is reported at once, not one a run.
"""

import dataclasses
import os
import pathlib
import shutil

from dev.cluster import shell

_EXTRA_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
_CNI_FOLDERS = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
_CNI_PLUGINS = ("ptp", "host-local", "portmap", "loopback")


@dataclasses.dataclass(frozen=True)
class Prerequisite:
    """A program and the Debian or Ubuntu package that brings it."""

    program: str
    package: str


NODE = (
    Prerequisite("containerd", "containerd"),
    Prerequisite("ctr", "containerd"),
    Prerequisite("runc", "runc"),
    Prerequisite("iptables", "iptables"),
    Prerequisite("nft", "nftables"),
    Prerequisite("conntrack", "conntrack"),
    Prerequisite("ip", "iproute2"),
    Prerequisite("nsenter", "util-linux"),
    Prerequisite("openssl", "openssl"),
    Prerequisite("dpkg-deb", "dpkg"),
)
IMAGES = (Prerequisite("buildah", "buildah"),)
BASE_IMAGE = (*IMAGES, Prerequisite("mmdebstrap", "mmdebstrap"))


def ensure(wanted: tuple[Prerequisite, ...], *, cni: bool = False) -> None:
    """Install what is missing when we are root on a machine with apt-get; else raise, naming all of it."""
    missing = _missing(wanted, cni=cni)
    if not missing:
        return
    packages = sorted(set(missing.values()))
    command = f"apt-get install --no-install-recommends {' '.join(packages)}"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise shell.ClusterError(f"Missing: {', '.join(missing)}. Install the packages: sudo {command}")
    shell.say(f"installing {', '.join(packages)}")
    _install(packages)
    if still := _missing(wanted, cni=cni):
        raise shell.ClusterError(f"Still missing after `{command}`: {', '.join(still)}. Install them by hand.")


def require_root() -> None:
    if os.geteuid() != 0:
        raise shell.ClusterError(
            "A local cluster makes a network namespace, mounts and cgroups, which needs root: use sudo, or"
            " CLUSTER=kind (a container engine), or CLUSTER=current (a cluster of your own)."
        )


def cni_folder() -> pathlib.Path:
    """Where the network plugins are."""
    for folder in _CNI_FOLDERS:
        if all((pathlib.Path(folder) / plugin).exists() for plugin in _CNI_PLUGINS):
            return pathlib.Path(folder)
    raise shell.ClusterError(
        "The CNI plugins ptp, host-local, portmap and loopback are missing: apt-get install containernetworking-plugins"
    )


def complete_path() -> None:
    """System programs live in sbin, which is not on every user's PATH."""
    present = os.environ.get("PATH", "").split(":")
    os.environ["PATH"] = ":".join([*present, *(part for part in _EXTRA_PATH.split(":") if part not in present)])


def apt(*arguments: str, folder: pathlib.Path | None = None) -> None:
    """apt-get that asks nothing; its package lists are refreshed once if they do not know what is asked for."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300", *arguments]
    if shell.attempt(command, environment=environment, folder=folder).returncode == 0:
        return
    shell.run(["apt-get", "-q", "update"], environment=environment)
    shell.run(command, environment=environment, folder=folder)


def _install(packages: list[str]) -> None:
    apt("install", "--no-install-recommends", *packages)


def _missing(wanted: tuple[Prerequisite, ...], *, cni: bool) -> dict[str, str]:
    """What is missing -> the package that brings it."""
    missing = {one.program: one.package for one in wanted if not shutil.which(one.program)}
    if cni:
        try:
            cni_folder()
        except shell.ClusterError:
            missing["CNI plugins"] = "containernetworking-plugins"
    return missing
