"""The base image: what `python:3.11-slim` is where an image registry can be reached, made from Debian's own packages.

Rule: a Dockerfile that says `ARG BASE=python:3.11-slim` builds on either; this one also has `python`, `python3` and a
pip that may install system-wide.
"""

import hashlib
import pathlib

from dev.cluster import buildah, shell

NAME = "localhost/penstock-base:bookworm-py311"
_SUITE = "bookworm"
_PACKAGES = "python3,python3-pip,python3-venv,ca-certificates,media-types"
_HOOKS = (
    'ln -sf python3 "$1/usr/bin/python"',
    # A container is not a machine that someone administers: pip may install into it.
    'rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED',
    'rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/log/*',
)
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


def ensure(store: buildah.Store, cache: pathlib.Path) -> None:
    """Make the base image unless the store has it."""
    wanted = f"{NAME}-{_key()}"
    if store.image_id(wanted) is None:
        archive = _archive(cache)
        container = shell.run(store.command("from", "scratch")).strip()
        try:
            shell.run(store.command("add", "--quiet", container, archive, "/"))
            shell.run(store.command("config", "--env", "LANG=C.UTF-8", "--cmd", "python3", container))
            shell.run(store.command("commit", "--quiet", container, wanted))
        finally:
            shell.attempt(store.command("rm", container))
    shell.run(store.command("tag", wanted, NAME))


def _archive(cache: pathlib.Path) -> pathlib.Path:
    """The root file system as a tar, made once."""
    path = cache / "images" / f"base-{_key()}.tar"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.stem}.partial.tar")
        shell.say(f"making the base image from Debian {_SUITE} (about half a minute, once)")
        shell.run(
            [
                "mmdebstrap",
                "--quiet",
                "--variant=minbase",
                f"--include={_PACKAGES}",
                *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
                *(f"--customize-hook={hook}" for hook in _HOOKS),
                _SUITE,
                partial,
            ]
        )
        partial.replace(path)
    return path


def _key() -> str:
    recipe = "\n".join((_SUITE, _PACKAGES, *_HOOKS, *_LEFT_OUT))
    return hashlib.sha256(recipe.encode()).hexdigest()[:10]
