"""Images from the builder's store into containerd, moving only the layers that containerd does not have.

Rule: layers are read where they are. The store keeps each layer's files, and beside them a description (tar-split) from
which the layer's archive is put together again, byte for byte. After a change of one line of code that is one small
layer; nothing is compressed, and nothing is kept twice.
"""

import base64
import dataclasses
import gzip
import hashlib
import io
import json
import pathlib
import subprocess
import tarfile
from collections.abc import Iterator

from dev.cluster import containerd, settings, shell

_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_FILE, _BYTES = 1, 2


class UnknownStoreError(Exception):
    """The store is not laid out as expected; images have to leave it by its own command."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer in the store; `digest` and `size` are those of its uncompressed archive."""

    digest: str
    size: int
    description: pathlib.Path
    files: pathlib.Path

    def content(self) -> Iterator[bytes]:
        """The layer's archive in pieces: headers and padding come from the description, the rest from the files."""
        with gzip.open(self.description, "rt", encoding="utf-8") as lines:
            for line in lines:
                entry = json.loads(line)
                if entry["type"] == _BYTES:
                    yield base64.b64decode(entry["payload"])
                elif entry["type"] == _FILE and entry.get("size"):
                    yield (self.files / _name(entry)).read_bytes()


@dataclasses.dataclass(frozen=True)
class Image:
    """An image in the store: its configuration, and its layers from the lowest to the highest."""

    config: bytes
    layers: tuple[Layer, ...]

    def manifest(self) -> bytes:
        layers = [{"mediaType": _LAYER, "digest": one.digest, "size": one.size} for one in self.layers]
        config = {"mediaType": _CONFIG, "digest": _digest(self.config), "size": len(self.config)}
        return json.dumps({"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": layers}).encode()


def read(store: pathlib.Path, driver: str, image: str) -> Image:
    """The image with the id `image`; raises `UnknownStoreError` when the store is laid out differently."""
    try:
        found = next(one for one in _listed(store / f"{driver}-images" / "images.json") if one["id"] == image)
        # The store names an image's parts by their base64.
        part = base64.b64encode(f"sha256:{image}".encode()).decode()
        config = (store / f"{driver}-images" / image / f"={part}").read_bytes()
        known = {one["id"]: one for one in _listed(store / f"{driver}-layers" / "layers.json")}
        layers, current = [], found["layer"]
        while current:
            layers.append(_layer(store, driver, known[current]))
            current = known[current].get("parent", "")
        layers.reverse()
        wanted = json.loads(config)["rootfs"]["diff_ids"]
    except (OSError, LookupError, StopIteration, ValueError) as error:
        raise UnknownStoreError(f"{store}: {error!r}") from error
    if [one.digest for one in layers] != wanted:
        raise UnknownStoreError(f"{store}: the layers of {image} are not those its configuration names")
    return Image(config, tuple(layers))


def transfer(cluster: settings.Settings, image: Image, name: str) -> int:
    """Give containerd the image under `name`; returns how many bytes of layers went over."""
    missing = [layer for layer in image.layers if layer.digest not in containerd.contents(cluster)]
    full, manifest = containerd.full_name(name), image.manifest()
    annotations = {"io.containerd.image.name": full, "org.opencontainers.image.ref.name": full}
    entry = {"mediaType": _MANIFEST, "digest": _digest(manifest), "size": len(manifest), "annotations": annotations}
    index = json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [entry]}).encode()
    process = subprocess.Popen(
        [str(part) for part in (*containerd.ctr(cluster), "images", "import", "-")],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    if process.stdin is None or process.stderr is None:
        raise AssertionError
    try:
        with process.stdin as pipe, tarfile.open(fileobj=pipe, mode="w|") as archive:
            _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
            _add(archive, "index.json", index)
            for content in (manifest, image.config):
                _add(archive, _path(_digest(content)), content)
            for layer in missing:
                header = tarfile.TarInfo(_path(layer.digest))
                header.size = layer.size
                archive.addfile(header, _Pieces(layer.content()))
    except BrokenPipeError:
        pass  # its own words, below, say more
    except (OSError, KeyError, ValueError) as error:
        process.kill()
        process.wait()
        raise UnknownStoreError(repr(error)) from error
    words = process.stderr.read().decode(errors="replace")
    if process.wait():
        raise shell.ClusterError(f"containerd did not take {name}:\n{words[-2000:]}")
    return sum(layer.size for layer in missing)


class _Pieces(io.RawIOBase):
    """A file to read from, made of pieces; tarfile asks for a fixed number of bytes at a time."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        collected = [self._rest]
        length = len(self._rest)
        while size < 0 or length < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            collected.append(piece)
            length += len(piece)
        whole = b"".join(collected)
        size = length if size < 0 else size
        self._rest = whole[size:]
        return whole[:size]


def _layer(store: pathlib.Path, driver: str, known: dict[str, str]) -> Layer:
    own = known["id"]
    folders = {"overlay": store / "overlay" / own / "diff", "vfs": store / "vfs" / "dir" / own}
    return Layer(
        digest=known["diff-digest"],
        size=int(known.get("diff-size", 0)),
        description=store / f"{driver}-layers" / f"{own}.tar-split.gz",
        files=folders[driver],
    )


def _listed(path: pathlib.Path) -> list[dict[str, str]]:
    listed: list[dict[str, str]] = json.loads(path.read_text())
    return listed


def _name(entry: dict[str, str]) -> str:
    """Relative to the layer; a name that is no valid UTF-8 is written in base64 instead."""
    if "name_raw" in entry:
        return base64.b64decode(entry["name_raw"]).decode("utf-8", "surrogateescape").lstrip("/")
    return entry["name"].lstrip("/")


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
