"""Images from the builder's store into containerd, moving only the layers that are not there yet.

Rule: an image layout folder in the cache keeps each layer once; what containerd has already is left out of the archive
that is handed to it. After a change of one line of code that is one small layer instead of the whole image.
"""

import io
import json
import pathlib
import subprocess
import tarfile

from dev.cluster import containerd, settings, shell

_INDEX = "application/vnd.oci.image.index.v1+json"
_REFERENCE = "org.opencontainers.image.ref.name"


def transfer(cluster: settings.Settings, layout: pathlib.Path, reference: str, name: str) -> int:
    """Give containerd the image that `layout` calls `reference`, under `name`; returns how many bytes went over."""
    index = json.loads((layout / "index.json").read_text())
    entry = next(one for one in index["manifests"] if one.get("annotations", {}).get(_REFERENCE) == reference)
    present = containerd.contents(cluster)
    wanted = [digest for digest in (entry["digest"], *_references(layout, entry["digest"])) if digest not in present]
    full = containerd.full_name(name)
    document = {
        "schemaVersion": 2,
        "mediaType": _INDEX,
        "manifests": [{**entry, "annotations": {"io.containerd.image.name": full, _REFERENCE: full}}],
    }
    process = subprocess.Popen(
        [str(part) for part in (*containerd.ctr(cluster), "images", "import", "-")],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    total = 0
    try:
        with process.stdin as pipe, tarfile.open(fileobj=pipe, mode="w|") as archive:
            _add(archive, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
            _add(archive, "index.json", json.dumps(document).encode())
            for digest in dict.fromkeys(wanted):
                blob = _blob(layout, digest)
                archive.add(blob, arcname=f"blobs/{digest.replace(':', '/')}")
                total += blob.stat().st_size
    except BrokenPipeError:
        pass  # its own words, below, say more
    words = process.stderr.read().decode(errors="replace")
    if process.wait():
        raise shell.ClusterError(f"containerd did not take {name}:\n{words[-2000:]}")
    return total


def prune(layout: pathlib.Path, keep: str) -> None:
    """Forget earlier images called `keep` and the layers that no image in `layout` has any more."""
    path = layout / "index.json"
    index = json.loads(path.read_text())
    named = [one for one in index["manifests"] if one.get("annotations", {}).get(_REFERENCE)]
    if len(named) != len(index["manifests"]):
        shell.write(path, json.dumps({**index, "manifests": named}))
    alive = {digest for one in named for digest in (one["digest"], *_references(layout, one["digest"]))}
    for blob in (layout / "blobs" / "sha256").iterdir():
        if f"sha256:{blob.name}" not in alive:
            blob.unlink()
    if not any(one["annotations"][_REFERENCE] == keep for one in named):
        raise shell.ClusterError(f"{layout} has no image {keep}: remove the folder and build again.")


def _references(layout: pathlib.Path, digest: str) -> list[str]:
    manifest = json.loads(_blob(layout, digest).read_text())
    return [manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]


def _blob(layout: pathlib.Path, digest: str) -> pathlib.Path:
    return layout / "blobs" / digest.replace(":", "/")


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
