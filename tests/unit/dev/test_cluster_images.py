"""Names of images, archives without what is there already, Dockerfiles that take a base."""

import base64
import gzip
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


def _description(files: dict[str, bytes]) -> tuple[bytes, list[dict[str, object]]]:
    """A layer's archive, and its description in the words of tar-split: bytes between files, files by name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    whole, lines, position = buffer.getvalue(), list[dict[str, object]](), 0
    for name, content in files.items():
        start = whole.index(content, position)
        lines.append({"type": 2, "payload": base64.b64encode(whole[position:start]).decode()})
        raw = {"name_raw": base64.b64encode(name.encode()).decode()} if name.startswith("raw") else {"name": name}
        lines.append({"type": 1, "size": len(content), **raw})
        position = start + len(content)
    lines.append({"type": 2, "payload": base64.b64encode(whole[position:]).decode()})
    return whole, lines


def _store(folder: pathlib.Path, layers: list[dict[str, bytes]], *, named: list[str] | None = None) -> str:
    """A store with one image over the given layers; returns the image's id."""
    entries, parent, digests = list[dict[str, object]](), "", list[str]()
    (folder / "overlay-layers").mkdir()
    for number, files in enumerate(layers):
        whole, lines = _description(files)
        digests.append(f"sha256:{hashlib.sha256(whole).hexdigest()}")
        own = f"layer{number}"
        for name, content in files.items():
            (folder / "overlay" / own / "diff").mkdir(parents=True, exist_ok=True)
            (folder / "overlay" / own / "diff" / name).write_bytes(content)
        with gzip.open(folder / "overlay-layers" / f"{own}.tar-split.gz", "wt") as written:
            written.writelines(json.dumps(line) + "\n" for line in lines)
        entries.append({"id": own, "parent": parent, "diff-digest": digests[-1], "diff-size": len(whole)})
        parent = own
    (folder / "overlay-layers" / "layers.json").write_text(json.dumps(entries))
    config = json.dumps({"rootfs": {"diff_ids": named if named is not None else digests}}).encode()
    image = hashlib.sha256(config).hexdigest()
    place = folder / "overlay-images" / image
    place.mkdir(parents=True)
    (place / f"={base64.b64encode(f'sha256:{image}'.encode()).decode()}").write_bytes(config)
    (folder / "overlay-images" / "images.json").write_text(json.dumps([{"id": image, "layer": parent}]))
    return image


def test_a_layer_leaves_the_store_byte_for_byte(tmp_path: pathlib.Path) -> None:
    image_id = _store(tmp_path, [{"base": b"lower layer"}, {"app.py": b"print(1)", "raw name": b"x" * 3000}])
    image = oci.read(tmp_path, "overlay", image_id)
    for layer in image.layers:
        whole = b"".join(layer.content())
        assert (f"sha256:{hashlib.sha256(whole).hexdigest()}", len(whole)) == (layer.digest, layer.size)
    manifest = json.loads(image.manifest())
    assert manifest["config"]["digest"] == f"sha256:{image_id}"
    assert [layer["digest"] for layer in manifest["layers"]] == json.loads(image.config)["rootfs"]["diff_ids"]


@pytest.mark.parametrize("damage", ["another image", "other layers", "no store"])
def test_a_store_that_is_laid_out_differently_is_not_guessed_at(tmp_path: pathlib.Path, damage: str) -> None:
    image = _store(tmp_path, [{"a": b"a"}], named=["sha256:other"] if damage == "other layers" else None)
    folder = tmp_path / "elsewhere" if damage == "no store" else tmp_path
    with pytest.raises(oci.UnknownStoreError):
        oci.read(folder, "overlay", "f" * 64 if damage == "another image" else image)


def test_the_pause_image_is_a_docker_archive_whose_layer_matches_its_config() -> None:
    layer = pause.root_layer(b"#!/bin/sh\n", ["sh", "sleep"])
    with tarfile.open(fileobj=io.BytesIO(pause.docker_archive(layer))) as archive:
        members = {member.name: archive.extractfile(member) for member in archive.getmembers()}
        content = {name: stream.read() for name, stream in members.items() if stream is not None}
    manifest = json.loads(content["manifest.json"])[0]
    config = json.loads(content[manifest["Config"]])
    assert manifest["RepoTags"] == [pause.IMAGE]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(content['layer.tar']).hexdigest()}"]
