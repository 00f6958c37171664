"""A Kubernetes cluster for development: `python3 dev/cluster/main.py up`.

Rule: parses the command line, picks the flavour that CLUSTER names, prints errors; decides nothing else.
Needs only the standard library, so that it runs before anything of the project is installed.
"""

import argparse
import os
import pathlib
import shlex
import shutil
import sys

# Started as a file, Python would look for modules in this folder, where our names hide others'.
sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2])

from dev.cluster import buildah, current, flavours, kind, local, prerequisites, settings, shell  # noqa: E402

_USAGE = """\
  python3 dev/cluster/main.py exec kubectl get pods -A      run a command in the cluster's network
  python3 dev/cluster/main.py exec bash                     or a shell
  python3 dev/cluster/main.py build-image -t NAME DIR       build an image and load it
  python3 dev/cluster/main.py load IMAGE.tar                load an image archive
  python3 dev/cluster/main.py down                          remove everything"""


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    prerequisites.complete_path()
    try:
        cluster = _cluster(settings.Settings.from_environment(os.environ))
        return _run(cluster, options)
    except shell.ClusterError as error:
        shell.complain(f"error: {error}")
        return 1
    except BrokenPipeError:
        # Whoever read our output, such as `head`, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        shell.complain("interrupted; running the same command again continues")
        return 130


def _cluster(chosen: settings.Settings) -> flavours.Cluster:
    match chosen.flavour:
        case settings.Flavour.LOCAL:
            return local.Local(chosen)
        case settings.Flavour.KIND:
            return kind.Kind(chosen)
        case settings.Flavour.CURRENT:
            return current.Current()


def _run(cluster: flavours.Cluster, options: argparse.Namespace) -> int:
    match options.verb:
        case "up":
            cluster.up()
            shell.say(_USAGE)
        case "down":
            cluster.down()
        case "status":
            return 0 if cluster.status() else 1
        case "kubeconfig":
            shell.say(cluster.entry().kubeconfig)
        case "load":
            cluster.load(options.archives)
        case "image-exists":
            return 0 if cluster.has_image(options.name) else 1
        case "base-image":
            shell.say(cluster.base_image())
        case "build-image":
            cluster.build(_build(options))
        case "exec":
            return _exec(cluster.entry(), options.command)
        case _:
            raise AssertionError(options.verb)
    return 0


def _exec(entry: flavours.Entry, command: list[str]) -> int:
    """Become the command, so that signals and its exit status are its own."""
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        raise shell.ClusterError("exec needs a command, such as `exec kubectl get pods -A`.")
    environment = {**os.environ, "PATH": os.pathsep.join([*entry.path, os.environ.get("PATH", "")])}
    if entry.kubeconfig:
        environment["KUBECONFIG"] = entry.kubeconfig
    if not shutil.which(command[0], path=environment["PATH"]):
        raise shell.ClusterError(f"`{command[0]}` is not installed or not on PATH.")
    whole = [*entry.prefix, *command]
    sys.stdout.flush()
    os.execvpe(whole[0], whole, environment)


def _build(options: argparse.Namespace) -> buildah.Build:
    file = options.file or options.context / "Dockerfile"
    for path, what in ((options.context, "build context"), (file, "Dockerfile")):
        if not path.exists():
            raise shell.ClusterError(f"The {what} {path} does not exist.")
    return buildah.Build(
        context=options.context,
        file=file,
        tag=options.tag,
        target=options.target,
        arguments=tuple(options.build_arg),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dev/cluster/main.py",
        description="A Kubernetes cluster for development. CLUSTER=local (default), kind or current says which.",
        epilog="Troubleshooting: dev/cluster/README.md",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("up", help="make the cluster, or repair it; quick when it is healthy")
    verbs.add_parser("down", help="remove the cluster and check that nothing of it is left")
    verbs.add_parser("status", help="say how the cluster is; exit status 0 when healthy")
    verbs.add_parser("kubeconfig", help="print the path of the administrator's kubeconfig")
    run = verbs.add_parser("exec", help="run a command in the cluster's network, with KUBECONFIG, kubectl and helm")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="CMD...", help=shlex.join(["kubectl", "get", "pods"]))
    load = verbs.add_parser("load", help="give the cluster images from archives")
    load.add_argument("archives", nargs="+", type=pathlib.Path, metavar="IMAGE.tar")
    exists = verbs.add_parser("image-exists", help="exit status 0 when the cluster has the image")
    exists.add_argument("name", metavar="NAME")
    verbs.add_parser("base-image", help="make the image that Dockerfiles take as BASE, print its name")
    build = verbs.add_parser("build-image", help="build a Dockerfile and give the image to the cluster")
    build.add_argument("-f", "--file", type=pathlib.Path, help="the Dockerfile (CONTEXT/Dockerfile)")
    build.add_argument("-t", "--tag", required=True, metavar="NAME")
    build.add_argument("--target", help="the stage to build")
    build.add_argument("--build-arg", action="append", default=[], metavar="KEY=VALUE")
    build.add_argument("context", type=pathlib.Path, metavar="CONTEXT")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
