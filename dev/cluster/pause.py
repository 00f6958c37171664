"""The image that holds a pod's namespaces open: a static busybox, packed without any image tool.

Rule: the archive's bytes follow from busybox's, so that it is imported once.
"""

import hashlib
import io
import json
import pathlib
import shutil
import subprocess
import tarfile
import tempfile

from dev.cluster import prerequisites, shell

IMAGE = "localhost/penstock-pause:1"


def archive(cache: pathlib.Path) -> pathlib.Path:
    """The image as a docker archive, made when it is not in the cache."""
    path = cache / "images" / "pause.tar"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(".pause.tar.partial")
        busybox = _busybox(cache)
        partial.write_bytes(docker_archive(root_layer(busybox, _applets(busybox))))
        partial.replace(path)
    return path


def _busybox(cache: pathlib.Path) -> bytes:
    """The machine's busybox when it is static, else the one from its package, which is unpacked but not installed."""
    present = shutil.which("busybox")
    if present and _static(pathlib.Path(present)):
        return pathlib.Path(present).read_bytes()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        if not shutil.which("apt-get"):
            raise shell.ClusterError("A static busybox is missing: install the package busybox-static.")
        place = pathlib.Path(folder)
        place.chmod(0o755)
        prerequisites.apt("download", "busybox-static", folder=place)
        package = next(place.glob("busybox-static*.deb"), None)
        if package is None:
            raise shell.ClusterError("The package busybox-static could not be downloaded: install it by hand.")
        shell.run(["dpkg-deb", "-x", package, place / "tree"])
        # The merged-/usr releases moved it; other files of the package are called busybox too.
        candidates = (place / "tree" / "bin" / "busybox", place / "tree" / "usr" / "bin" / "busybox")
        return next(path for path in candidates if path.is_file()).read_bytes()


def _static(program: pathlib.Path) -> bool:
    """A dynamic program names its loader; the kernel's `file` is not needed to see that."""
    return b"/ld-" not in program.read_bytes()[:4096] and not subprocess.run([program, "true"], check=False).returncode


def _applets(busybox: bytes) -> list[str]:
    """The commands it can be called as."""
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder) / "busybox"
        program.write_bytes(busybox)
        program.chmod(0o755)
        return sorted(shell.run([program, "--list"]).split())


def root_layer(busybox: bytes, applets: list[str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for name in ("bin", "tmp", "etc"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            layer.addfile(folder)
        program = tarfile.TarInfo("bin/busybox")
        program.size, program.mode = len(busybox), 0o755
        layer.addfile(program, io.BytesIO(busybox))
        for name in applets:
            if name == "busybox":
                continue
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            layer.addfile(link)
    return buffer.getvalue()


def docker_archive(layer: bytes) -> bytes:
    config = json.dumps(
        {
            "architecture": _architecture(),
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sleep", "2147483647"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": name, "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as image:
        for path, content in ((name, config), ("layer.tar", layer), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o644
            image.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _architecture() -> str:
    machine = shell.run(["uname", "-m"]).strip()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
