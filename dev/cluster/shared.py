"""Places that containerd, the network plugins and kubelet use for the whole machine, whatever their configuration says.

Rule: only what is provably ours is removed from them, and a folder only when it is empty.
"""

import contextlib
import pathlib
import socket
import time

from dev.cluster import settings

_SHIM_SOCKETS = pathlib.Path("/run/containerd/s")
_CONTAINER_LOGS = pathlib.Path("/var/log/containers")
_CNI_RESULTS = pathlib.Path("/var/lib/cni/results")
_DEVICE_PLUGINS = pathlib.Path("/var/lib/kubelet/device-plugins")
_MAYBE_EMPTY = (
    _CONTAINER_LOGS,
    _SHIM_SOCKETS,
    _SHIM_SOCKETS.parent,
    _CNI_RESULTS,
    _CNI_RESULTS.parent,
    _DEVICE_PLUGINS,
    _DEVICE_PLUGINS.parent,
)


def traces(cluster: settings.Settings) -> list[pathlib.Path]:
    """Files of the cluster's pods in shared folders: shims' sockets, the network plugins' results."""
    return [*_shim_sockets(cluster), *_network_results(cluster)]


def forget_logs(cluster: settings.Settings) -> None:
    """The kubelet links every container's log from one folder."""
    if _CONTAINER_LOGS.is_dir():
        for link in _CONTAINER_LOGS.iterdir():
            if link.is_symlink() and link.readlink().is_relative_to(cluster.state):
                link.unlink()


def remove_empty_folders(*, last: bool) -> None:
    """Remove what is empty; after the last cluster also kubelet's socket, if no kubelet listens there."""
    plugins = _DEVICE_PLUGINS / "kubelet.sock"
    if last and plugins.is_socket() and _abandoned(plugins):
        plugins.unlink()
    for folder in _MAYBE_EMPTY:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _shim_sockets(cluster: settings.Settings) -> list[pathlib.Path]:
    """Each task's folder names its shim's socket; where the folder is lost already, nobody listens to the socket."""
    found = set()
    for address in (cluster.volatile / "containerd").glob("io.containerd.runtime.v2.task/*/*/address"):
        with contextlib.suppress(OSError):
            found.add(pathlib.Path(address.read_text().strip().removeprefix("unix://")))
    named = {path for path in found if path.is_relative_to(_SHIM_SOCKETS) and path.exists()}
    if _SHIM_SOCKETS.is_dir():
        named.update(path for path in _SHIM_SOCKETS.iterdir() if _abandoned(path))
    return sorted(named)


def _network_results(cluster: settings.Settings) -> list[pathlib.Path]:
    """Results carry the pod's id in their name; the loopback plugin's carry nothing else that tells whose they are."""
    base = cluster.state / "containerd" / "io.containerd.grpc.v1.cri" / "sandboxes"
    pods = [path.name for path in base.glob("*")]
    found = set(_CNI_RESULTS.glob(f"{cluster.cni_network}-*"))
    found.update(path for pod in pods for path in _CNI_RESULTS.glob(f"cni-loopback-{pod}-*"))
    return sorted(found)


def _abandoned(path: pathlib.Path) -> bool:
    """Whether nobody listens to the socket. A young one may be about to be listened to: its owner binds first."""
    try:
        if time.time() - path.stat().st_mtime < 60:
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(1)
            client.connect(str(path))
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False
