"""The cluster's programs, compiled from their Go modules into a cache outside the checkout.

Rule: a program is found by a key over everything that decides its bytes (module files, sources, Go, flags), so that
only the first machine-wide run pays, and an edited pin rebuilds its own module and nothing else.
"""

import dataclasses
import hashlib
import pathlib
import subprocess
import tempfile
import time

from dev.cluster import settings, shell, toolchain

_TOOLS = pathlib.Path(__file__).parent / "tools"
_VERSION = "k8s.io/component-base/version"
_MAJOR, _MINOR, _ = settings.KUBERNETES_VERSION.removeprefix("v").split(".")
_HEARTBEAT = 15.0


@dataclasses.dataclass(frozen=True)
class Module:
    """One go.mod under tools/, and the programs that come from it: name -> package."""

    name: str
    linker_flags: str
    programs: tuple[tuple[str, str], ...]

    @property
    def folder(self) -> pathlib.Path:
        return _TOOLS / self.name


KUBERNETES = Module(
    name="kubernetes",
    # Without a version the API server says v0.0.0-master, which helm and clients take for an ancient one.
    linker_flags=(
        f"-s -w -X {_VERSION}.gitVersion={settings.KUBERNETES_VERSION} -X {_VERSION}.gitMajor={_MAJOR}"
        f" -X {_VERSION}.gitMinor={_MINOR} -X {_VERSION}.gitTreeState=clean"
    ),
    programs=(
        # etcd's package is called `server`; -o gives it its name.
        ("etcd", "go.etcd.io/etcd/server/v3"),
        *(
            (name, f"k8s.io/kubernetes/cmd/{name}")
            for name in (
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kubelet",
                "kube-proxy",
                "kubectl",
            )
        ),
    ),
)
COREDNS = Module(name="coredns", linker_flags="-s -w", programs=(("coredns", "."),))
HELM = Module(
    name="helm",
    # Without a Kubernetes version `helm template` says that the cluster is a 1.20.
    linker_flags=(
        "-s -w -X helm.sh/helm/v3/internal/version.version=v3.22.0"
        " -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=35"
    ),
    programs=(("helm", "helm.sh/helm/v3/cmd/helm"),),
)
MODULES = (KUBERNETES, COREDNS, HELM)


@dataclasses.dataclass(frozen=True)
class Binaries:
    """Where every program is."""

    folders: tuple[pathlib.Path, ...]

    def __getitem__(self, name: str) -> pathlib.Path:
        for folder in self.folders:
            if (folder / name).exists():
                return folder / name
        raise shell.ClusterError(f"The program {name} is gone from the cache: `up` builds it again.")


def binaries(cluster: settings.Settings) -> Binaries:
    """Every program, built where it is missing."""
    with shell.locked(cluster.cache / "bin.lock", why="it builds the cluster's programs"):
        go = toolchain.Go(cluster.cache)
        folders = tuple(cluster.cache / "bin" / f"{module.name}-{_key(module, go)}" for module in MODULES)
        missing = [
            (module, folder, name, package)
            for module, folder in zip(MODULES, folders, strict=True)
            for name, package in module.programs
            if not (folder / name).exists()
        ]
        if missing:
            shell.say(f"building {len(missing)} programs into {cluster.cache / 'bin'} (minutes, once)")
        started = time.monotonic()
        for number, (module, folder, name, package) in enumerate(missing, 1):
            _build(go, module, folder, name, package, progress=f"{number}/{len(missing)}")
        if missing:
            shell.say(f"  all built in {time.monotonic() - started:.0f} s")
    return Binaries(folders)


def remember(cluster: settings.Settings, programs: Binaries) -> None:
    """Note which programs the cluster runs, so that using it never starts a build."""
    content = "\n".join(str(folder) for folder in programs.folders) + "\n"
    path = cluster.state / "programs"
    if not path.exists() or path.read_text() != content:
        shell.write(path, content)


def remembered(cluster: settings.Settings) -> Binaries:
    """The programs that the cluster was brought up with."""
    path = cluster.state / "programs"
    if not path.exists():
        raise shell.ClusterError(f"Cluster {cluster.name} was never brought up: run `up` first.")
    return Binaries(tuple(pathlib.Path(line) for line in path.read_text().splitlines()))


def _key(module: Module, go: toolchain.Go) -> str:
    digest = hashlib.sha256()
    digest.update(f"{go.version}\n{module.linker_flags}\n{module.programs}\n".encode())
    for path in sorted(module.folder.iterdir()):
        if path.name in {"go.mod", "go.sum"} or path.suffix == ".go":
            digest.update(f"{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _build(go: toolchain.Go, module: Module, folder: pathlib.Path, name: str, package: str, *, progress: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{name}.partial"
    command: list[str | pathlib.Path] = [
        go.command,
        "build",
        "-mod=readonly",
        "-trimpath",
        "-buildvcs=false",
        "-ldflags",
        module.linker_flags,
        "-o",
        partial,
        package,
    ]
    shell.say(f"  {progress} {name} ...")
    started = time.monotonic()
    with tempfile.TemporaryFile(mode="w+") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=module.folder,
            env=go.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        while True:
            try:
                status = process.wait(timeout=_HEARTBEAT)
                break
            except subprocess.TimeoutExpired:
                shell.say(f"  {progress} {name} ... {time.monotonic() - started:.0f} s")
            except BaseException:
                process.kill()
                raise
        if status:
            output.seek(0)
            raise shell.ClusterError(
                f"building {name} failed (`cd {module.folder} && {shell.shown(command)}`):\n"
                f"{output.read()[-4000:]}\n"
                "If modules could not be fetched, check that Go's module proxy answers (`go env GOPROXY`)."
            )
    partial.replace(folder / name)
    shell.say(f"  {progress} {name} built in {time.monotonic() - started:.0f} s")
