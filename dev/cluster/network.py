"""The node's network namespace: made, checked, removed.

Rule: everything of a local cluster lives in a namespace of its own, so the machine's interfaces and firewall are never
touched. Programs are started with nsenter, because `ip netns exec` remounts /sys and hides the cgroups from kubelet.
"""

import json
import pathlib

from dev.cluster import settings, shell

_BRIDGE = "node0"


def inside(cluster: settings.Settings) -> list[str]:
    """The words to put before a command that has to run in the cluster's network."""
    return ["nsenter", f"--net={cluster.network_namespace}"]


def exists(cluster: settings.Settings) -> bool:
    """Whether the namespace is mounted; a file of that name is also what a reboot or a kill leaves behind."""
    return shell.attempt([*inside(cluster), "true"]).returncode == 0


def healthy(cluster: settings.Settings) -> bool:
    """Whether the namespace exists and carries the node's address."""
    shown = shell.attempt([*inside(cluster), "ip", "-json", "-4", "address", "show", "dev", _BRIDGE, "up"])
    if shown.returncode:
        return False
    addresses = [entry.get("local") for link in json.loads(shown.stdout or "[]") for entry in link.get("addr_info", [])]
    return settings.NODE_ADDRESS in addresses


def create(cluster: settings.Settings) -> None:
    """Make the namespace, or repair a half-made one; running it again changes nothing."""
    if not exists(cluster):
        if cluster.network_namespace.exists():
            remove(cluster)
        shell.run(["ip", "netns", "add", cluster.name])
    script = "\n".join(
        (
            "set -e",
            "ip link set lo up",
            # There may be no dummy interface module; a bridge without ports does as well. kubelet refuses loopback.
            f"ip link show {_BRIDGE} >/dev/null 2>&1 || ip link add {_BRIDGE} type bridge",
            f"ip address replace {settings.NODE_ADDRESS}/24 dev {_BRIDGE}",
            f"ip link set {_BRIDGE} up",
            f"ip route replace default dev {_BRIDGE}",
            "echo 1 > /proc/sys/net/ipv4/ip_forward",
        )
    )
    shell.run([*inside(cluster), "sh", "-c", script])


def remove(cluster: settings.Settings) -> None:
    """Unmount and forget the namespace; it ends when the last process in it does."""
    path = cluster.network_namespace
    shell.attempt(["umount", path])
    path.unlink(missing_ok=True)


def members(cluster: settings.Settings) -> list[int]:
    """The processes whose network is this namespace."""
    try:
        wanted = cluster.network_namespace.stat()
    except OSError:
        return []
    if not exists(cluster):
        return []
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                seen = (entry / "ns" / "net").stat()
            except OSError:
                continue
            if (seen.st_dev, seen.st_ino) == (wanted.st_dev, wanted.st_ino):
                found.append(int(entry.name))
    return found
