"""Builds the images and gives them to the cluster: `python dev/images.py [NAME...]`.

Rule: an image's inputs are its Dockerfile and what that copies from the checkout. While their hash is the one that the
cluster's image was built from, nothing is done.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Run as a file, Python looks for modules in this folder; the packages are named from the checkout's root.
sys.path[0] = str(ROOT)

from dev.cluster import settings, shell  # noqa: E402

_CLUSTER = (sys.executable, str(ROOT / "dev" / "cluster" / "main.py"))


@dataclasses.dataclass(frozen=True)
class Image:
    """An image that the cluster is given."""

    name: str
    file: pathlib.Path

    @property
    def tag(self) -> str:
        return f"localhost/penstock-{self.name}:dev"


OWN = tuple(Image(name, ROOT / "images" / f"{name}.Dockerfile") for name in ("operator", "runtime", "envoy"))
STAND_INS = (
    Image("prometheus", ROOT / "dev" / "prometheus" / "Dockerfile"),
    Image("mlflow", ROOT / "dev" / "mlflow" / "Dockerfile"),
)
"""For public images, in a cluster that can pull none."""


def wanted(flavour: settings.Flavour) -> tuple[Image, ...]:
    """The images that a cluster of this flavour cannot pull."""
    return (*OWN, *STAND_INS) if flavour is settings.Flavour.LOCAL else OWN


def inputs(image: Image) -> str:
    """A hash over everything that decides what is in the image."""
    digest = hashlib.sha256()
    for path in sorted(files(image)):
        digest.update(f"{path.relative_to(ROOT)}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def files(image: Image) -> set[pathlib.Path]:
    """The files that decide what is in the image."""
    found = {image.file, ROOT / ".dockerignore", ROOT / "dev" / "cluster" / "base.py"}
    for line in image.file.read_text().splitlines():
        words = line.split()
        if words[:1] != ["COPY"] or any(word.startswith("--from=") for word in words):
            continue
        for source in [word for word in words[1:-1] if not word.startswith("--")]:
            path = ROOT / source
            if not path.exists():
                raise shell.ClusterError(f"{image.file.relative_to(ROOT)} copies {source}, which does not exist.")
            found |= set(path.rglob("*")) if path.is_dir() else {path}
    return {path for path in found if path.is_file() and path.suffix != ".pyc"}


class Record:
    """Which inputs each image of a cluster was built from."""

    def __init__(self, cluster: settings.Settings) -> None:
        self._path = cluster.cache / "images" / f"built-{cluster.flavour}-{cluster.name}.json"

    def get(self, tag: str) -> str | None:
        return self._read().get(tag)

    def put(self, tag: str, hashed: str) -> None:
        shell.write(self._path, json.dumps({**self._read(), tag: hashed}, indent=2, sort_keys=True))

    def _read(self) -> dict[str, str]:
        return dict(json.loads(self._path.read_text())) if self._path.exists() else {}


def ensure(image: Image, cluster: settings.Settings, *, force: bool = False) -> bool:
    """Build the image unless the cluster has it from the same inputs; returns whether it was built."""
    record, hashed = Record(cluster), inputs(image)
    if not force and record.get(image.tag) == hashed and _cluster("image-exists", image.tag).returncode == 0:
        return False
    arguments: list[str] = []
    if "\nARG RUN_BASE" in image.file.read_text() and cluster.flavour is settings.Flavour.LOCAL:
        base = _cluster("base-image").stdout.split()[-1]
        arguments = ["--build-arg", f"RUN_BASE={base}"]
    shell.stream([*_CLUSTER, "build-image", "-f", image.file, "-t", image.tag, *arguments, ROOT])
    record.put(image.tag, hashed)
    return True


def _cluster(*arguments: str) -> subprocess.CompletedProcess[str]:
    return shell.attempt([*_CLUSTER, *arguments])


def main(arguments: list[str]) -> int:
    names = ", ".join(image.name for image in (*OWN, *STAND_INS))
    parser = argparse.ArgumentParser(prog="dev/images.py", description="Build images and give them to the cluster.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{names}; without one, all that the cluster needs")
    parser.add_argument("--force", action="store_true", help="build even if nothing changed")
    options = parser.parse_args(arguments)
    try:
        cluster = settings.Settings.from_environment(os.environ)
        chosen = {image.name: image for image in wanted(cluster.flavour)}
        if unknown := sorted(set(options.names) - set(chosen)):
            parser.error(
                f"CLUSTER={cluster.flavour} needs no image {', '.join(unknown)}: choose from {', '.join(chosen)}"
            )
        for name in options.names or chosen:
            started = time.monotonic()
            built = ensure(chosen[name], cluster, force=options.force)
            what = f"ready after {time.monotonic() - started:.1f} s" if built else "unchanged"
            shell.say(f"{chosen[name].tag}: {what}")
    except shell.ClusterError as error:
        shell.complain(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
