"""Names of images, archives without what is there already, Dockerfiles that take a base."""

import hashlib
import io
import json
import pathlib
import tarfile

import pytest

from dev.cluster import buildah, containerd, oci, pause


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        pytest.param("penstock", "docker.io/library/penstock:latest", id="a bare name"),
        pytest.param("penstock:dev", "docker.io/library/penstock:dev", id="with a tag"),
        pytest.param("team/penstock:dev", "docker.io/team/penstock:dev", id="with a user"),
        pytest.param("localhost/penstock:dev", "localhost/penstock:dev", id="a host without dots"),
        pytest.param("registry.example:5000/a/b", "registry.example:5000/a/b:latest", id="a port is not a tag"),
        pytest.param("example.com/a@sha256:12", "example.com/a@sha256:12", id="a digest is no tag"),
    ],
)
def test_image_names_are_read_as_kubernetes_reads_them(written: str, meant: str) -> None:
    assert containerd.full_name(written) == meant


def _build(tmp_path: pathlib.Path, dockerfile: str, *arguments: str) -> buildah.Build:
    file = tmp_path / "Dockerfile"
    file.write_text(dockerfile)
    return buildah.Build(context=tmp_path, file=file, tag="x:dev", arguments=arguments)


@pytest.mark.parametrize(
    ("dockerfile", "arguments", "wanted"),
    [
        pytest.param("ARG BASE=python:3.11-slim\nFROM ${BASE}\n", (), True, id="declared"),
        pytest.param("ARG BASE\nFROM ${BASE}\n", (), True, id="declared without default"),
        pytest.param("ARG BASE=a\nFROM ${BASE}\n", ("BASE=b",), False, id="given"),
        pytest.param("FROM python:3.11-slim\n", (), False, id="not declared"),
        pytest.param("ARG BASELINE=1\nFROM x\n", (), False, id="another name"),
    ],
)
def test_a_base_is_lent_to_dockerfiles_that_ask_for_one(
    tmp_path: pathlib.Path, dockerfile: str, arguments: tuple[str, ...], wanted: bool
) -> None:
    assert _build(tmp_path, dockerfile, *arguments).wants("BASE") is wanted


def test_the_options_are_those_of_docker_build(tmp_path: pathlib.Path) -> None:
    build = buildah.Build(tmp_path, tmp_path / "D", "x:dev", target="run").with_argument("BASE=b")
    assert build.options() == [
        "--file",
        str(tmp_path / "D"),
        "--tag",
        "x:dev",
        "--target",
        "run",
        "--build-arg",
        "BASE=b",
    ]


def test_settings_of_pip_are_lent_as_mounts_and_never_as_arguments(tmp_path: pathlib.Path) -> None:
    wheels, bundle = tmp_path / "wheels", tmp_path / "ca.pem"
    wheels.mkdir()
    bundle.write_text("certificates")
    environment = {
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_FIND_LINKS": f"{wheels} https://example.com/wheels",
        "PIP_INDEX_URL": "https://example.com/simple",
        "SSL_CERT_FILE": str(bundle),
    }
    with buildah.lent_settings(environment) as mounts:
        configured = next(mount for mount in mounts if ":/etc/pip.conf:" in mount).partition(":")[0]
        lines = pathlib.Path(configured).read_text().splitlines()
    assert f"{wheels}:/run/build/find-links-0:ro" in mounts
    assert f"{bundle}:/etc/ssl/certs/ca-certificates.crt:ro" in mounts
    assert "find-links = /run/build/find-links-0 https://example.com/wheels" in lines
    assert "index-url = https://example.com/simple" in lines


def _layout(folder: pathlib.Path, images: dict[str, list[bytes]]) -> None:
    """An image layout with one manifest a name over the given layers."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(content: bytes) -> str:
        name = hashlib.sha256(content).hexdigest()
        (blobs / name).write_bytes(content)
        return f"sha256:{name}"

    entries = []
    for name, layers in images.items():
        config = put(f"config of {name}".encode())
        manifest = {"config": {"digest": config}, "layers": [{"digest": put(layer)} for layer in layers]}
        digest = put(json.dumps(manifest).encode())
        entries.append({"digest": digest, "annotations": {"org.opencontainers.image.ref.name": name}})
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))


def test_pruning_keeps_what_a_named_image_still_has(tmp_path: pathlib.Path) -> None:
    _layout(tmp_path, {"old": [b"shared", b"only old"], "new": [b"shared", b"only new"]})
    index = json.loads((tmp_path / "index.json").read_text())
    # A tag that moved leaves its former manifest behind without a name.
    index["manifests"][0].pop("annotations")
    (tmp_path / "index.json").write_text(json.dumps(index))

    oci.prune(tmp_path, "new")

    kept = {path.read_bytes() for path in (tmp_path / "blobs" / "sha256").iterdir()}
    assert {b"shared", b"only new", b"config of new"} < kept
    assert b"only old" not in kept
    assert json.loads((tmp_path / "index.json").read_text())["manifests"] == index["manifests"][1:]


def test_the_pause_image_is_a_docker_archive_whose_layer_matches_its_config() -> None:
    layer = pause.root_layer(b"#!/bin/sh\n", ["sh", "sleep"])
    with tarfile.open(fileobj=io.BytesIO(pause.docker_archive(layer))) as archive:
        members = {member.name: archive.extractfile(member) for member in archive.getmembers()}
        content = {name: stream.read() for name, stream in members.items() if stream is not None}
    manifest = json.loads(content["manifest.json"])[0]
    config = json.loads(content[manifest["Config"]])
    assert manifest["RepoTags"] == [pause.IMAGE]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(content['layer.tar']).hexdigest()}"]
