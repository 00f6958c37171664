"""Ending a local cluster so that nothing of it stays: processes, mounts, namespaces, cgroups, files.

Rule: the API server ends before etcd (without etcd it takes a minute to stop), and what is left at the end is looked
for, not assumed.
"""

import contextlib
import os
import pathlib
import shutil

from dev.cluster import cgroups, daemons, network, settings, shared, shell, sysctls

# Who writes to whom decides the order: first those that would start pods again, then those that need etcd.
_ORDER = ("kubelet", "kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns", "kube-apiserver", "etcd")


def down(cluster: settings.Settings) -> None:
    """Remove the cluster; raises `ClusterError` naming what could not be removed."""
    with shell.locked(cluster.lock, why="it changes the same cluster"):
        _announce_guests(cluster)
        stop_everything(cluster)
        network.remove(cluster)
        sysctls.restore(cluster)
        shared.forget_logs(cluster)
        _remove_tree(cluster.state)
        with contextlib.suppress(OSError):
            cluster.state.parent.rmdir()
        shared.remove_empty_folders(last=not cluster.state.parent.exists())
        if left := leftovers(cluster):
            raise shell.ClusterError("Left behind:\n" + "\n".join(f"  {line}" for line in left))
        cluster.lock.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            cluster.lock.parent.rmdir()
    shell.say(f"cluster {cluster.name} is gone: no process, mount, namespace, cgroup or file of it is left")


def _announce_guests(cluster: settings.Settings) -> None:
    """Say which commands lose their network: a forgotten port-forward, a shell in another window."""
    for pid in sorted(set(network.members(cluster)) - cgroups.members(cluster) - _callers()):
        shell.say(f"  ending process {pid}, which was started in the cluster's network: {_command_line(pid)[:100]}")


def stop_everything(cluster: settings.Settings) -> None:
    """End every process of the node and throw away what described them; images, keys and etcd's data stay."""
    for name in _ORDER:
        daemons.stop(cluster, name, grace=1.0)
    traces = shared.traces(cluster)
    for _ in range(20):
        if not (found := _processes(cluster)):
            break
        daemons.end(found, grace=0)
    _unmount(cluster.volatile)
    _unmount(cluster.state)
    cgroups.remove(cluster)
    _remove_tree(cluster.volatile)
    for path in (*traces, *shared.traces(cluster)):
        path.unlink(missing_ok=True)


def leftovers(cluster: settings.Settings) -> list[str]:
    """Everything that is still there of a cluster that should be gone."""
    left = [f"process {pid}: {_command_line(pid)}" for pid in sorted(_processes(cluster))]
    left += [f"mount {path}" for base in (cluster.volatile, cluster.state) for path in _mounts_below(base)]
    left += [f"cgroup {path}" for path in cgroups.leftover(cluster)]
    paths = (cluster.network_namespace, cluster.state, cluster.volatile)
    left += [f"file {path}" for path in paths if path.exists()]
    left += [f"file {path}" for path in shared.traces(cluster)]
    return left


def _processes(cluster: settings.Settings) -> set[int]:
    """Processes in the node's cgroups and in its network, without ourselves and those that called us."""
    return (cgroups.members(cluster) | set(network.members(cluster))) - _callers()


def _callers() -> set[int]:
    found, pid = set(), os.getpid()
    while pid > 1:
        found.add(pid)
        pid = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return found


def _command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return "(ended)"


def _mounts_below(folder: pathlib.Path) -> list[str]:
    """Mount points below `folder`, deepest first."""
    points = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
    # The kernel writes a space as \040.
    points = [point.encode().decode("unicode_escape") for point in points]
    return sorted((point for point in points if point.startswith(f"{folder}/")), reverse=True)


def _unmount(folder: pathlib.Path) -> None:
    for point in _mounts_below(folder):
        if shell.attempt(["umount", point]).returncode:
            shell.attempt(["umount", "--lazy", point])


def _remove_tree(folder: pathlib.Path) -> None:
    """Never through a mount: a volume of the machine could be behind it."""
    if _mounts_below(folder):
        raise shell.ClusterError(f"Still mounted below {folder}: {', '.join(_mounts_below(folder))}")
    shutil.rmtree(folder, ignore_errors=True)
