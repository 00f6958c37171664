"""CLUSTER=local: Kubernetes' own programs, run on this machine in a network namespace.

Rule: only puts the parts together; each part is a file of its own.
"""

import json
import pathlib
import tempfile
import time

from dev.cluster import (
    base,
    build,
    buildah,
    containerd,
    daemons,
    flavours,
    network,
    node,
    oci,
    prerequisites,
    settings,
    shell,
    teardown,
)


class Local:
    """A node in a network namespace."""

    def __init__(self, cluster: settings.Settings) -> None:
        self._cluster = cluster

    def up(self) -> None:
        node.up(self._cluster)

    def down(self) -> None:
        prerequisites.require_root()
        teardown.down(self._cluster)

    def status(self) -> bool:
        prerequisites.require_root()
        if not self._cluster.state.exists():
            shell.say(f"cluster {self._cluster.name} is not there: `up` makes it")
            return False
        health = node.health(self._cluster, build.remembered(self._cluster))
        for name in daemons.recorded(self._cluster):
            pid = daemons.pid_of(self._cluster, name)
            shell.say(
                f"  {name:<24} {f'process {pid}' if pid else 'NOT RUNNING':<16} {daemons.log_of(self._cluster, name)}"
            )
        for complaint in health.complaints:
            shell.say(f"  problem: {complaint}")
        shell.say(f"cluster {self._cluster.name} is {'healthy' if health.good else 'not healthy: `up` repairs it'}")
        return health.good

    def entry(self) -> flavours.Entry:
        prerequisites.require_root()
        self._require_up()
        return flavours.Entry(
            prefix=tuple(network.inside(self._cluster)),
            kubeconfig=str(self._cluster.admin_kubeconfig),
            path=tuple(str(folder) for folder in build.remembered(self._cluster).folders),
        )

    def load(self, archives: list[pathlib.Path]) -> None:
        self._require_up()
        for archive in archives:
            started = time.monotonic()
            containerd.load(self._cluster, archive)
            shell.say(f"loaded {archive} ({time.monotonic() - started:.1f} s)")

    def has_image(self, name: str) -> bool:
        self._require_up()
        return containerd.full_name(name) in containerd.digests(self._cluster)

    def build(self, build: buildah.Build) -> None:
        self._require_up()
        prerequisites.ensure(prerequisites.IMAGES)
        store = buildah.Store(self._cluster)
        with shell.locked(store.lock, why="it builds an image"):
            if build.wants("BASE"):
                build = build.with_argument(f"BASE={self._base(store)}")
            started = time.monotonic()
            image = store.build(build)
            built = time.monotonic()
            moved = self._deliver(store, image, build.tag)
        size = f"{moved / 1e6:.1f} MB handed over" if moved is not None else "unchanged in the cluster"
        shell.say(f"{build.tag}: built in {built - started:.1f} s, {size} in {time.monotonic() - built:.1f} s")

    def base_image(self) -> str:
        prerequisites.require_root()
        store = buildah.Store(self._cluster)
        with shell.locked(store.lock, why="it builds an image"):
            return self._base(store)

    def _base(self, store: buildah.Store) -> str:
        prerequisites.ensure(prerequisites.BASE_IMAGE)
        base.ensure(store, self._cluster.cache)
        return base.NAME

    def _deliver(self, store: buildah.Store, image: str, name: str) -> int | None:
        """Hand the image to containerd unless it has it; the record says which image became which manifest."""
        records = self._cluster.state / "images.json"
        known: dict[str, list[str]] = json.loads(records.read_text()) if records.exists() else {}
        full = containerd.full_name(name)
        there = containerd.digests(self._cluster).get(full)
        if there is not None and known.get(full) == [image, there]:
            return None
        try:
            moved = oci.transfer(self._cluster, store.read(image), name)
        except oci.UnknownStoreError as reason:
            shell.say(f"handing over the whole image ({reason})")
            with tempfile.TemporaryDirectory(dir=self._cluster.cache) as folder:
                archive = pathlib.Path(folder) / "image.tar"
                store.save(image, full, archive)
                containerd.load(self._cluster, archive)
                moved = archive.stat().st_size
        now = containerd.digests(self._cluster)[full]
        shell.write(records, json.dumps({**known, full: [image, now]}, indent=2))
        return moved

    def _require_up(self) -> None:
        if not (self._cluster.containerd_socket.exists() and network.exists(self._cluster)):
            raise shell.ClusterError(
                f"Cluster {self._cluster.name} is not up: run `python3 dev/cluster/main.py up` first."
            )
