"""Clusters that are not ours to run: which commands a kind cluster is made with, what a user's cluster is spared."""

import dataclasses
import pathlib

import pytest

from dev.cluster import buildah, current, kind, settings, shell


@pytest.fixture
def calls(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Stand-ins for kind, docker and kubectl that note how they were called; the file of the notes."""
    notes, programs = tmp_path / "calls", tmp_path / "bin"
    programs.mkdir()
    for name, answer in (("kind", ""), ("docker", ""), ("kubectl", "mine")):
        program = programs / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {notes}\necho "{answer}"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.delenv("PENSTOCK_IMAGES_PREPULLED", raising=False)
    return notes


@pytest.fixture
def chosen(tmp_path: pathlib.Path) -> settings.Settings:
    return dataclasses.replace(settings.Settings.from_environment({"HOME": "/h"}), cache=tmp_path / "cache")


def _noted(calls: pathlib.Path) -> list[str]:
    return [line for line in calls.read_text().splitlines() if line != "docker info"]


def test_a_kind_cluster_is_created_once_and_keeps_a_kubeconfig_of_its_own(
    calls: pathlib.Path, chosen: settings.Settings
) -> None:
    kind.Kind(chosen).up()
    kubeconfig = chosen.cache / "kind-penstock.kubeconfig"
    assert _noted(calls) == [
        "kind get clusters",
        f"kind create cluster --kubeconfig {kubeconfig} --wait 180s --name penstock",
        "kind get kubeconfig --name penstock",
    ]
    assert kind.Kind(chosen).entry().kubeconfig == str(kubeconfig)


def test_an_archive_goes_into_kind_without_a_registry(calls: pathlib.Path, chosen: settings.Settings) -> None:
    kind.Kind(chosen).load([pathlib.Path("/x.tar")])
    assert _noted(calls) == ["kind load image-archive /x.tar --name penstock"]


def test_kind_builds_with_the_engine(calls: pathlib.Path, chosen: settings.Settings, tmp_path: pathlib.Path) -> None:
    kind.Kind(chosen).build(buildah.Build(tmp_path, tmp_path / "D", "x:dev", arguments=("A=b",)))
    built, saved, loaded = _noted(calls)
    assert built == f"docker build --file {tmp_path / 'D'} --tag x:dev --build-arg A=b {tmp_path}"
    assert saved.startswith("docker save --output ")
    assert loaded.startswith("kind load image-archive ")


def test_without_an_engine_the_error_names_the_way_out(
    tmp_path: pathlib.Path, chosen: settings.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(shell.ClusterError, match="CLUSTER=local"):
        kind.Kind(chosen).up()


def test_the_users_cluster_is_never_deleted(calls: pathlib.Path) -> None:
    current.Current().down()
    assert not calls.exists()


def test_images_for_the_users_cluster_come_from_a_registry(
    calls: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(shell.ClusterError, match="PENSTOCK_IMAGES_PREPULLED=1"):
        current.Current().load([pathlib.Path("/x.tar")])
    monkeypatch.setenv("PENSTOCK_IMAGES_PREPULLED", "1")
    current.Current().load([pathlib.Path("/x.tar")])
    assert current.Current().has_image("x:dev")
    assert calls.read_text().startswith("kubectl --request-timeout=10s get nodes")
