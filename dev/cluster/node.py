"""A local cluster: brought up, looked at, repaired.

Rule: `up` compares what is with what should be and does only what is missing. When the ground itself is gone (network
namespace, cgroups, a reboot in between), everything that stood on it is ended first and started anew.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Iterable, Sequence

from dev.cluster import (
    addons,
    build,
    cgroups,
    components,
    containerd,
    daemons,
    network,
    pause,
    pki,
    prerequisites,
    settings,
    shell,
    sysctls,
    teardown,
)

_READY_URLS = (("coredns", "http://127.0.0.1:8181/ready"), ("kubelet", "http://127.0.0.1:10248/healthz"))
_DAMAGED = "If it is about damaged data of an earlier cluster: `down`, then `up`."


@dataclasses.dataclass(frozen=True)
class Health:
    """What is wrong with the cluster, in words; nothing when it is healthy."""

    complaints: tuple[str, ...]

    @property
    def good(self) -> bool:
        return not self.complaints


def up(cluster: settings.Settings) -> None:
    """Bring the cluster up, or repair it; returns at once when there is nothing to do."""
    prerequisites.require_root()
    started = time.monotonic()
    with shell.locked(cluster.lock, why="it changes the same cluster"):
        prerequisites.ensure(prerequisites.NODE, cni=True)
        programs = build.binaries(cluster)
        changed = _bring_up(cluster, programs)
        build.remember(cluster, programs)
    shell.say(f"cluster {cluster.name} {'is up' if changed else 'was up already'} ({time.monotonic() - started:.1f} s)")


def health(cluster: settings.Settings, programs: build.Binaries) -> Health:
    """Look, change nothing."""
    complaints: list[str] = []
    if not network.healthy(cluster):
        complaints.append(f"the network namespace {cluster.network_namespace} is missing or incomplete")
    if not cgroups.exists(cluster):
        complaints.append(f"the cgroups {cluster.cgroup} are missing")
    if complaints or not cluster.admin_kubeconfig.exists():
        return Health(tuple(complaints) or ("it was never brought up",))
    complaints.extend(
        f"{daemon.name} does not run as configured"
        for daemon in components.all_daemons(cluster, programs)
        if not daemons.running(cluster, daemon)
    )
    if not addons.applied(cluster):
        complaints.append("the DNS Service and the grants were not applied")
    if not complaints:
        complaints.extend(_serving(cluster, programs))
    return Health(tuple(complaints))


def _bring_up(cluster: settings.Settings, programs: build.Binaries) -> bool:
    """Returns whether anything had to be done."""
    _clear_stale(cluster)
    pki.ensure(cluster)
    components.write_configuration(cluster)
    if health(cluster, programs).good:
        return False
    if not (network.healthy(cluster) and cgroups.exists(cluster)):
        if daemons.recorded(cluster):
            shell.say("  the network namespace or the cgroups are gone: starting the node anew")
        teardown.stop_everything(cluster)
    network.create(cluster)
    cgroups.create(cluster)
    shell.write(cluster.volatile / "boot", daemons.boot_id())
    all_daemons = components.all_daemons(cluster, programs)
    _start(cluster, programs, all_daemons)
    if not addons.applied(cluster):
        addons.apply(cluster, programs)
    shell.wait_until(
        lambda: _require_running(cluster, [daemon.name for daemon in all_daemons]) and not _serving(cluster, programs),
        seconds=180,
        what="a Ready node and a serving CoreDNS",
        hint=lambda: f"{'; '.join(_serving(cluster, programs))}. Logs: {cluster.logs}",
        interval=0.5,
    )
    return True


def _clear_stale(cluster: settings.Settings) -> None:
    """/run is not always emptied by a reboot: what an earlier boot left there describes processes that are gone."""
    boot = cluster.volatile / "boot"
    if cluster.volatile.exists() and (not boot.exists() or boot.read_text() != daemons.boot_id()):
        teardown.stop_everything(cluster)


def _start(cluster: settings.Settings, programs: build.Binaries, all_daemons: tuple[daemons.Daemon, ...]) -> None:
    sysctls.remember(cluster)
    for daemon in all_daemons:
        if daemons.ensure(cluster, daemon):
            shell.say(f"  started {daemon.name}")
        # Also where it ran already: the `up` that started it may have been killed before the next line.
        match daemon.name:
            case "containerd":
                containerd.wait(cluster)
                containerd.load(cluster, pause.archive(cluster.cache), pause.IMAGE)
            case "etcd":
                _wait_for_etcd(cluster)
            case "kube-apiserver":
                _wait_for_api(cluster, programs)
            case _:
                pass


def _wait_for_etcd(cluster: settings.Settings) -> None:
    def healthy() -> bool:
        return _require_running(cluster, ("etcd",)) and not _silent(
            cluster, (("etcd", f"{components.ETCD_URL}/health"),)
        )

    def advice() -> str:
        return (
            f"Its last words ({daemons.log_of(cluster, 'etcd')}):\n{daemons.last_words(cluster, 'etcd', 4)}\n{_DAMAGED}"
        )

    shell.wait_until(healthy, seconds=30, what="a healthy etcd", hint=advice)


def _wait_for_api(cluster: settings.Settings, programs: build.Binaries) -> None:
    command = [*components.kubectl(cluster, programs), "--request-timeout=5s", "get", "--raw", "/readyz"]
    shell.wait_until(
        lambda: _require_running(cluster, components.CONTROL_PLANE) and shell.attempt(command).returncode == 0,
        seconds=90,
        what="a ready API server",
        hint=lambda: f"Its last words:\n{daemons.last_words(cluster, 'kube-apiserver')}",
    )


def _require_running(cluster: settings.Settings, names: Iterable[str]) -> bool:
    """True, or an error with the last words of the daemon that ended."""
    for name in names:
        if daemons.pid_of(cluster, name) is None:
            raise shell.ClusterError(
                f"{name} ended at its start. Its last words ({daemons.log_of(cluster, name)}):\n"
                f"{daemons.last_words(cluster, name)}\n"
                f"{_DAMAGED}"
            )
    return True


def _serving(cluster: settings.Settings, programs: build.Binaries) -> list[str]:
    """What the API server, the node and CoreDNS say of themselves; empty when all is well."""
    kubectl = [*components.kubectl(cluster, programs), "--request-timeout=5s"]
    answer = shell.attempt(
        [*kubectl, "get", f"node/{cluster.name}", "-n", "kube-system", "service/kube-dns", "-o", "json"]
    )
    complaints = []
    if answer.returncode:
        complaints.append(f"the API server says: {answer.stderr.strip()[-300:]}")
    else:
        items = json.loads(answer.stdout)["items"]
        conditions = [one for item in items if item["kind"] == "Node" for one in item["status"]["conditions"]]
        ready = [one for one in conditions if one["type"] == "Ready"]
        if not ready or ready[0]["status"] != "True":
            complaints.append(
                f"node {cluster.name} is not Ready: {ready[0].get('message') if ready else 'no condition'}"
            )
    complaints.extend(f"{name} is not ready" for name in _silent(cluster, _READY_URLS))
    return complaints


def _silent(cluster: settings.Settings, urls: Sequence[tuple[str, str]]) -> list[str]:
    """Which daemons do not say of themselves that they are ready, asked from inside the cluster's network."""
    script = (
        "import sys, urllib.request\n"
        "opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))\n"
        "for name, url in zip(sys.argv[1::2], sys.argv[2::2]):\n"
        "    try: opener.open(url, timeout=3).read()\n"
        "    except OSError: print(name)\n"
    )
    questions = [word for pair in urls for word in pair]
    outcome = shell.attempt([*network.inside(cluster), sys.executable, "-Sc", script, *questions], timeout=30)
    return outcome.stdout.splitlines() if outcome.returncode == 0 else [name for name, _ in urls]
