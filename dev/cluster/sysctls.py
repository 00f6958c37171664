"""Settings of the whole machine that kubelet changes when it starts: noted before, put back after.

Rule: noted once for all clusters of the machine, put back when the last one goes.
"""

import contextlib
import json
import pathlib

from dev.cluster import settings, shell

_CHANGED_BY_KUBELET = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
_ROOT = pathlib.Path("/proc/sys")


def remember(cluster: settings.Settings) -> None:
    path = _record(cluster)
    if not path.exists():
        present = {name: (_ROOT / name).read_text().strip() for name in _CHANGED_BY_KUBELET if (_ROOT / name).exists()}
        shell.write(path, json.dumps(present, indent=2))


def restore(cluster: settings.Settings) -> None:
    """Put the noted values back, unless another cluster of this machine still runs."""
    path = _record(cluster)
    others = [folder for folder in path.parent.glob("*/") if folder != cluster.state]
    if others or not path.exists():
        return
    for name, value in json.loads(path.read_text()).items():
        with contextlib.suppress(OSError):
            (_ROOT / name).write_text(value)
    path.unlink()


def _record(cluster: settings.Settings) -> pathlib.Path:
    return cluster.state.parent / "sysctls.json"
