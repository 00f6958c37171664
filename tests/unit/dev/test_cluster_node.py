"""The local cluster's parts that need no cluster: settings, keys of programs, records of processes, locks."""

import dataclasses
import pathlib
import threading
from collections.abc import Iterator

import pytest

from dev.cluster import addons, build, components, configs, daemons, settings, shell


@pytest.fixture
def cluster(tmp_path: pathlib.Path) -> settings.Settings:
    chosen = settings.Settings.from_environment({"HOME": str(tmp_path), "PENSTOCK_STATE": str(tmp_path / "state")})
    return dataclasses.replace(chosen, volatile=tmp_path / "run")


def test_without_settings_it_is_a_local_cluster_called_penstock() -> None:
    chosen = settings.Settings.from_environment({"HOME": "/home/me"})
    assert chosen == settings.Settings(
        flavour=settings.Flavour.LOCAL,
        name="penstock",
        cache=pathlib.Path("/home/me/.cache/penstock"),
        state=pathlib.Path("/var/lib/penstock-dev/penstock"),
        volatile=pathlib.Path("/run/penstock-dev/penstock"),
    )


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        pytest.param({"CLUSTER": "minikube"}, "local, kind, current", id="an unknown flavour names the known ones"),
        pytest.param({"PENSTOCK_CLUSTER_NAME": "../x"}, "lower-case", id="a name that is no file name"),
        pytest.param({"PENSTOCK_CLUSTER_NAME": "x" * 40}, "at most 20", id="a name too long for an interface"),
    ],
)
def test_a_wrong_setting_says_what_would_be_right(environment: dict[str, str], words: str) -> None:
    with pytest.raises(shell.ClusterError, match=words):
        settings.Settings.from_environment(environment)


def test_two_names_share_no_file_but_the_cache() -> None:
    one = settings.Settings.from_environment({"HOME": "/h", "PENSTOCK_CLUSTER_NAME": "one"})
    two = settings.Settings.from_environment({"HOME": "/h", "PENSTOCK_CLUSTER_NAME": "two"})
    assert one.cache == two.cache
    for path in ("state", "volatile", "network_namespace", "cgroup", "cni_network", "lock"):
        assert getattr(one, path) != getattr(two, path)


def test_every_module_pins_what_it_builds() -> None:
    for module in build.MODULES:
        pinned = (module.folder / "go.mod").read_text()
        assert (module.folder / "go.sum").exists()
        for _, package in module.programs:
            assert package == "." or any(package.startswith(line.split()[0]) for line in _required(pinned))
    kubernetes = (build.KUBERNETES.folder / "go.mod").read_text()
    assert f"k8s.io/kubernetes {settings.KUBERNETES_VERSION}" in kubernetes


def _required(go_mod: str) -> Iterator[str]:
    for line in go_mod.splitlines():
        words = line.removeprefix("require ").strip()
        if " v" in words and "=>" not in words:
            yield words


def test_a_changed_configuration_file_makes_another_daemon(tmp_path: pathlib.Path) -> None:
    config = tmp_path / "config"
    config.write_text("one")
    daemon = daemons.Daemon("x", ("x", "--config", str(config)), (config,))
    before = daemon.digest()
    config.write_text("two")
    assert daemon.digest() != before


def test_a_record_of_another_process_with_the_same_id_is_not_ours(cluster: settings.Settings) -> None:
    record = cluster.volatile / "processes" / "x.json"
    record.parent.mkdir(parents=True)
    record.write_text('{"pid": 1, "started": "another boot/1", "digest": "d"}')
    assert daemons.pid_of(cluster, "x") is None


def test_the_api_server_starts_after_etcd_and_kubelet_last(cluster: settings.Settings, tmp_path: pathlib.Path) -> None:
    for module in build.MODULES:
        for name, _ in module.programs:
            (tmp_path / name).touch()
    order = [daemon.name for daemon in components.all_daemons(cluster, build.Binaries((tmp_path,)))]
    assert order.index("etcd") < order.index("kube-apiserver")
    assert order[0] == "containerd"
    assert order[-1] == "kubelet"


def test_nothing_of_containerd_is_outside_the_clusters_folders(cluster: settings.Settings) -> None:
    text = configs.containerd(cluster, pathlib.Path("/usr/lib/cni"))
    paths = [line.split('"')[1] for line in text.splitlines() if ' = "/' in line]
    outside = [path for path in paths if not path.startswith((str(cluster.state), str(cluster.volatile)))]
    assert outside == ["/usr/lib/cni"]


def test_half_applied_manifests_count_as_not_applied(cluster: settings.Settings) -> None:
    assert not addons.applied(cluster)


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_anew(tmp_path: pathlib.Path) -> None:
    path, entered = tmp_path / "lock", threading.Event()

    def second() -> None:
        with shell.locked(path, why="test"):
            entered.set()

    with shell.locked(path, why="test"):
        waiting = threading.Thread(target=second)
        waiting.start()
        assert not entered.wait(0.2)
        path.unlink()
    waiting.join(5)
    assert entered.is_set()
    assert path.exists()


def test_a_failing_command_is_named_with_what_it_printed() -> None:
    with pytest.raises(shell.ClusterError, match=r"(?s)`sh -c 'echo oh; exit 3'` failed with status 3:.*oh"):
        shell.run(["sh", "-c", "echo oh; exit 3"])


def test_a_file_is_written_whole_or_not_at_all(tmp_path: pathlib.Path) -> None:
    target = tmp_path / "folder" / "file"
    shell.write(target, "content", mode=0o600)
    assert [path.name for path in target.parent.iterdir()] == ["file"]
    assert target.stat().st_mode & 0o777 == 0o600
