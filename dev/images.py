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
    """An image of this project."""

    name: str
    file: pathlib.Path

    @property
    def tag(self) -> str:
        return f"localhost/penstock-{self.name}:dev"


IMAGES = (
    *(Image(name, ROOT / "images" / f"{name}.Dockerfile") for name in ("operator", "runtime", "envoy")),
    *(Image(name, ROOT / "dev" / "dockerfiles" / f"{name}.Dockerfile") for name in ("prometheus", "mlflow")),
)


def inputs(image: Image) -> str:
    """A hash over everything that decides what is in the image."""
    digest = hashlib.sha256()
    for path in sorted(_files(image)):
        digest.update(f"{path.relative_to(ROOT)}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _files(image: Image) -> set[pathlib.Path]:
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


def ensure(image: Image, record: Record, *, force: bool = False) -> bool:
    """Build the image unless the cluster has it from the same inputs; returns whether it was built."""
    hashed = inputs(image)
    if not force and record.get(image.tag) == hashed and _cluster("image-exists", image.tag).returncode == 0:
        return False
    arguments = []
    if "\nARG RUN_BASE" in image.file.read_text() and os.environ.get("CLUSTER", "local") == settings.Flavour.LOCAL:
        base = _cluster("base-image").stdout.split()[-1]
        arguments = ["--build-arg", f"RUN_BASE={base}"]
    shell.stream([*_CLUSTER, "build-image", "-f", image.file, "-t", image.tag, *arguments, ROOT])
    record.put(image.tag, hashed)
    return True


def _cluster(*arguments: str) -> subprocess.CompletedProcess[str]:
    return shell.attempt([*_CLUSTER, *arguments])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="dev/images.py", description="Build images and give them to the cluster.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(image.name for image in IMAGES))
    parser.add_argument("--force", action="store_true", help="build even if nothing changed")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - {image.name for image in IMAGES}:
        parser.error(f"no image is called {', '.join(sorted(unknown))}: choose from {parser._actions[1].help}")  # noqa: SLF001
    try:
        record = Record(settings.Settings.from_environment(os.environ))
        for image in IMAGES:
            if options.names and image.name not in options.names:
                continue
            started = time.monotonic()
            if ensure(image, record, force=options.force):
                shell.say(f"{image.tag}: ready after {time.monotonic() - started:.1f} s")
            else:
                shell.say(f"{image.tag}: unchanged")
    except shell.ClusterError as error:
        shell.complain(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
