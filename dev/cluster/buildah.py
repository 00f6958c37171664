"""Images built from Dockerfiles without a container engine or an image registry.

Rule: the machine's certificates and pip settings are lent to the build as read-only mounts and never become part of the
image.
"""

import configparser
import contextlib
import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping
from typing import Self

from dev.cluster import daemons, oci, settings, shell

_BUNDLE = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
_BUNDLE_VARIABLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
# pip's own settings that are about this machine rather than about what is installed.
_NOT_LENT = ("config-file", "cache-dir", "require-virtualenv", "no-cache-dir", "user", "target", "prefix", "cert")
_PATHS = ("find-links", "constraint", "client-cert")


@dataclasses.dataclass(frozen=True)
class Build:
    """What one build is made of; the fields are the options of `docker build`."""

    context: pathlib.Path
    file: pathlib.Path
    tag: str
    target: str | None = None
    arguments: tuple[str, ...] = ()

    def options(self) -> list[str]:
        options = ["--file", str(self.file), "--tag", self.tag]
        if self.target:
            options += ["--target", self.target]
        for argument in self.arguments:
            options += ["--build-arg", argument]
        return options

    def with_argument(self, argument: str) -> Self:
        return dataclasses.replace(self, arguments=(*self.arguments, argument))

    def wants(self, argument: str) -> bool:
        """Whether the Dockerfile takes `argument` and it was not given."""
        if any(one.partition("=")[0] == argument for one in self.arguments):
            return False
        declared = (line.split() for line in self.file.read_text().splitlines() if line.startswith("ARG "))
        return any(words[1].partition("=")[0] == argument for words in declared if len(words) > 1)


class Store:
    """buildah with a store of its own in the cache, so that layers outlive a cluster."""

    def __init__(self, cluster: settings.Settings) -> None:
        self._root = cluster.cache / "containers"
        # Which layers are mounted: true for one boot only.
        self._run_root = cluster.cache / "containers-run" / daemons.boot_id()
        self.lock = cluster.cache / "images.lock"

    def command(self, *arguments: str | pathlib.Path) -> list[str | pathlib.Path]:
        return [
            "buildah",
            "--root",
            self._root,
            "--runroot",
            self._run_root,
            "--storage-driver",
            self._driver(),
            *arguments,
        ]

    def build(self, build: Build) -> str:
        """Build with the output shown; returns the image's id."""
        with lent_settings(os.environ) as mounts, tempfile.NamedTemporaryFile(mode="r") as written:
            volumes = [part for mount in mounts for part in ("--volume", mount)]
            shell.stream(
                self.command(
                    "build",
                    "--isolation",
                    "chroot",
                    "--network",
                    "host",
                    "--layers",
                    "--iidfile",
                    written.name,
                    *volumes,
                    *build.options(),
                    build.context,
                )
            )
            return written.read().strip().removeprefix("sha256:")

    def image_id(self, name: str) -> str | None:
        outcome = shell.attempt(self.command("inspect", "--type", "image", "--format", "{{.FromImageID}}", name))
        return outcome.stdout.strip() or None if outcome.returncode == 0 else None

    def read(self, image: str) -> oci.Image:
        return oci.read(self._root, self._driver(), image)

    def save(self, image: str, name: str, archive: pathlib.Path) -> None:
        """Write the whole image as a docker archive."""
        shell.run(self.command("push", "--quiet", image, f"docker-archive:{archive}:{name}"))

    def _driver(self) -> str:
        """The fast driver, overlay, where the cache's file system can carry it; else vfs, which copies every layer."""
        known = self._root / "driver"
        if known.exists():
            return known.read_text()
        self._root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._root) as folder:
            place = pathlib.Path(folder)
            for name in ("lower", "upper", "work", "merged"):
                (place / name).mkdir()
            options = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
            outcome = shell.attempt(["mount", "-t", "overlay", "overlay", "-o", options, place / "merged"])
            if outcome.returncode == 0:
                shell.run(["umount", place / "merged"])
        driver = "vfs" if outcome.returncode else "overlay"
        shell.write(known, driver)
        return driver


@contextlib.contextmanager
def lent_settings(environment: Mapping[str, str]) -> Iterator[list[str]]:
    """The mounts (`from:to:options`) that let pip inside a build reach what pip outside reaches."""
    with tempfile.TemporaryDirectory() as folder:
        mounts: list[str] = []
        pip = _pip_settings(environment)
        if bundle := _bundle(environment, pip):
            mounts.append(f"{bundle}:{_BUNDLE}:ro")
            pip["cert"] = str(_BUNDLE)
        for key in _PATHS:
            words = pip.get(key, "").split()
            for number, path in enumerate(words):
                if path.startswith("/") and pathlib.Path(path).exists():
                    # A place of its own, so that no folder of this machine leaves its empty name in the image.
                    words[number] = f"/run/build/{key}-{number}"
                    mounts.append(f"{path}:{words[number]}:ro")
            if words:
                pip[key] = " ".join(words)
        for key in _NOT_LENT:
            if key != "cert":
                pip.pop(key, None)
        if pip:
            lines = [f"{key} = {' '.join(value.split())}" for key, value in sorted(pip.items())]
            config = pathlib.Path(folder) / "pip.conf"
            config.write_text("\n".join(["[global]", *lines, ""]))
            mounts.append(f"{config}:/etc/pip.conf:ro")
        downloads = pathlib.Path(environment.get("PIP_CACHE_DIR") or f"{environment.get('HOME', '/root')}/.cache/pip")
        downloads.mkdir(parents=True, exist_ok=True)
        mounts.append(f"{downloads}:/root/.cache/pip")
        yield mounts


def _pip_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings of pip in the order in which pip itself reads them: the machine's, the user's, the environment's."""
    home = environment.get("HOME", "/root")
    files = ["/etc/pip.conf", f"{home}/.pip/pip.conf", f"{home}/.config/pip/pip.conf"]
    if chosen := environment.get("PIP_CONFIG_FILE"):
        # Named as /dev/null, it tells pip to read none at all.
        files = [] if chosen == os.devnull else ["/etc/pip.conf", chosen]
    parser = configparser.RawConfigParser()
    parser.read(files)
    found = {
        key.replace("_", "-"): value
        for section in ("global", "install")
        if parser.has_section(section)
        for key, value in parser.items(section)
    }
    for name, value in environment.items():
        if name.startswith("PIP_") and value:
            found[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return found


def _bundle(environment: Mapping[str, str], pip: Mapping[str, str]) -> str | None:
    """The machine's certificate bundle, when it was told to use a certain one."""
    for path in (pip.get("cert"), *(environment.get(name) for name in _BUNDLE_VARIABLES)):
        if path and pathlib.Path(path).is_file():
            return path
    return None
