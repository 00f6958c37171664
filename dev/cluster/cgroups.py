"""The node's cgroups: one tree that holds every daemon, shim and pod, so that `down` can find them all.

Rule: works on cgroup v1 (a mount for each controller) and v2 (one mount). `<root>/node` holds the daemons; kubelet puts
the pods into `<root>/kubepods`.
"""

import contextlib
import pathlib
import time

from dev.cluster import settings, shell

_MOUNT = pathlib.Path("/sys/fs/cgroup")
_V1_NEEDED = ("cpu", "cpuacct", "cpuset", "memory", "pids")
_V2_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "pids")
DAEMONS = "node"


def version_2() -> bool:
    return (_MOUNT / "cgroup.controllers").exists()


def hierarchies() -> list[pathlib.Path]:
    """Every mounted hierarchy, symbolic links (cpu -> cpu,cpuacct) counted once."""
    if version_2():
        return [_MOUNT]
    if not _MOUNT.exists():
        return []
    return sorted({path.resolve() for path in _MOUNT.iterdir() if (path / "cgroup.procs").exists()})


def create(cluster: settings.Settings) -> None:
    """Make the node's tree; running it again changes nothing."""
    found = hierarchies()
    if not version_2():
        mounted = {part for path in found for part in path.name.split(",")}
        if absent := [name for name in _V1_NEEDED if name not in mounted]:
            raise shell.ClusterError(
                f"The cgroup controllers {', '.join(absent)} are not mounted under {_MOUNT}: kubelet cannot run here."
            )
    for hierarchy in found:
        root = hierarchy / cluster.cgroup
        root.mkdir(exist_ok=True)
        if version_2():
            _delegate(hierarchy)
            _delegate(root)
        elif (root / "cpuset.cpus").exists():
            _inherit_cpuset(root)
        (root / DAEMONS).mkdir(exist_ok=True)
        if (root / DAEMONS / "cpuset.cpus").exists() and not version_2():
            _inherit_cpuset(root / DAEMONS)


def exists(cluster: settings.Settings) -> bool:
    return all((hierarchy / cluster.cgroup / DAEMONS).is_dir() for hierarchy in hierarchies())


def daemon_files(cluster: settings.Settings) -> list[pathlib.Path]:
    """The files a daemon writes its process id to when it starts."""
    return [hierarchy / cluster.cgroup / DAEMONS / "cgroup.procs" for hierarchy in hierarchies()]


def members(cluster: settings.Settings) -> set[int]:
    """Every process of the node: daemons, shims, pods."""
    found: set[int] = set()
    for hierarchy in hierarchies():
        root = hierarchy / cluster.cgroup
        if root.is_dir():
            for procs in root.rglob("cgroup.procs"):
                with contextlib.suppress(OSError):
                    found.update(int(line) for line in procs.read_text().split())
    found.discard(0)
    return found


def remove(cluster: settings.Settings) -> None:
    """Remove the tree, deepest first; the kernel needs a moment after the last process ended."""
    for _ in range(50):
        for root in leftover(cluster):
            deepest_first = sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True)
            for folder in (*deepest_first, root):
                with contextlib.suppress(OSError):
                    folder.rmdir()
        if not leftover(cluster):
            return
        time.sleep(0.1)


def leftover(cluster: settings.Settings) -> list[pathlib.Path]:
    return [path for hierarchy in hierarchies() if (path := hierarchy / cluster.cgroup).is_dir()]


def _delegate(folder: pathlib.Path) -> None:
    offered = (folder / "cgroup.controllers").read_text().split()
    enabled = (folder / "cgroup.subtree_control").read_text().split()
    for name in _V2_CONTROLLERS:
        if name in offered and name not in enabled:
            try:
                (folder / "cgroup.subtree_control").write_text(f"+{name}")
            except OSError as error:
                raise shell.ClusterError(
                    f"Cannot enable the cgroup controller {name} in {folder}: {error}. Inside a container, start it"
                    " privileged with its own cgroup namespace, or use CLUSTER=kind."
                ) from error


def _inherit_cpuset(folder: pathlib.Path) -> None:
    """A new cpuset of cgroup v1 is empty, and an empty one accepts no process."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not (folder / name).read_text().strip():
            (folder / name).write_text((folder.parent / name).read_text())
