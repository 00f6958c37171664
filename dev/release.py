"""Installs or upgrades the chart in the development cluster and waits until all of it is available.

Rule: what follows the script's name goes to helm, as in `python dev/release.py --set operator.replicas=0`; the
namespace enforces the restricted Pod Security Standard, so that a chart which does not fit it cannot be installed.
"""

import dataclasses
import json
import os
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any, Self

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Run as a file, Python looks for modules in this folder; the packages are named from the checkout's root.
sys.path[0] = str(ROOT)

from dev import images  # noqa: E402
from dev.cluster import settings, shell  # noqa: E402

RELEASE = "penstock"
NAMESPACE = "penstock-system"
_EXEC = (sys.executable, str(ROOT / "dev" / "cluster" / "main.py"), "exec")
_SELECTOR = f"app.kubernetes.io/instance={RELEASE}"
_NAMESPACE_OBJECT = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
}
# A cluster that is not ours pulls the chart's public images; kind is given our own; the local one can pull nothing.
_VALUES = {
    settings.Flavour.CURRENT: ("values.yaml",),
    settings.Flavour.KIND: ("values.yaml", "values-images.yaml"),
    settings.Flavour.LOCAL: ("values.yaml", "values-images.yaml", "values-stand-ins.yaml"),
}
_SECONDS = 300.0


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a Deployment is."""

    name: str
    wanted: int
    available: int
    done: bool

    @classmethod
    def of(cls, deployment: dict[str, Any]) -> Self:
        wanted = deployment["spec"]["replicas"]
        status = deployment.get("status", {})
        available = status.get("availableReplicas", 0)
        done = (
            status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
            and status.get("updatedReplicas", 0) == status.get("replicas", 0) == available == wanted
        )
        return cls(deployment["metadata"]["name"], wanted, available, done)

    def __str__(self) -> str:
        return f"{self.name} {self.available}/{self.wanted}{'' if self.done else ' ...'}"


def install(arguments: Sequence[str]) -> None:
    """Hand the chart to helm."""
    _kubectl("apply", "--server-side", "-f", "-", text=json.dumps(_NAMESPACE_OBJECT))
    _unlock()
    cluster = settings.Settings.from_environment(os.environ)
    values = [word for name in _VALUES[cluster.flavour] for word in ("--values", str(ROOT / "dev" / name))]
    if cluster.flavour is not settings.Flavour.CURRENT:
        values += _image_annotations(cluster)
    # The CRDs may be there already, applied by hand or by the cluster tests.
    options = ["--install", "--take-ownership", "--history-max", "3"]
    _helm("upgrade", RELEASE, ROOT / "charts" / "penstock", *options, *values, *arguments)


def _image_annotations(cluster: settings.Settings) -> list[str]:
    """A pod is replaced when its image changed, although the image's name stays."""
    where = {"operator": "operator", "envoy": "envoy", "mlflow": "mlflow.embedded", "prometheus": "prometheus.embedded"}
    record = images.Record(cluster)
    words: list[str] = []
    for image in images.wanted(cluster.flavour):
        if image.name in where:
            words += ["--set-string", f"{where[image.name]}.podAnnotations.image-inputs={record.get(image.tag)}"]
    return words


def _unlock() -> None:
    """A helm that was killed leaves the release locked; go back to what was there before it."""
    outcome = shell.attempt([*_EXEC, "helm", "status", RELEASE, "-n", NAMESPACE, "-o", "json"])
    state = json.loads(outcome.stdout)["info"]["status"] if outcome.returncode == 0 else ""
    if state == "pending-install":
        _helm("uninstall", RELEASE)
    elif state.startswith("pending-"):
        _helm("rollback", RELEASE)


def wait(seconds: float = _SECONDS) -> None:
    """Show how the Deployments come up; raises ClusterError with what kubectl knows when they do not."""
    deadline = time.monotonic() + seconds
    shown = ""
    while True:
        listed = json.loads(_kubectl("get", "deployments", "-l", _SELECTOR, "-o", "json"))["items"]
        progress = [Progress.of(deployment) for deployment in listed]
        now = "  ".join(str(one) for one in progress)
        if now != shown:
            shell.say(now)
            shown = now
        if all(one.done for one in progress):
            return
        if time.monotonic() > deadline:
            late = ", ".join(one.name for one in progress if not one.done)
            raise shell.ClusterError(f"{late} did not become available within {seconds:g} s.\n{_why()}")
        time.sleep(0.5)


def _why() -> str:
    """Pods, their last words and the last events."""
    parts = [_kubectl("get", "pods", "-o", "wide")]
    pods = json.loads(_kubectl("get", "pods", "-l", _SELECTOR, "-o", "json"))["items"]
    for pod in pods:
        if not all(container["ready"] for container in pod["status"].get("containerStatuses", [{"ready": False}])):
            parts += _last_words(pod["metadata"]["name"])
    parts.append("\n".join(_kubectl("get", "events", "--sort-by=.lastTimestamp").splitlines()[-15:]))
    return "\n".join(parts)


def _last_words(pod: str) -> list[str]:
    """What the pod's container wrote, and what the one before it wrote."""
    found = []
    for previous in ("true", "false"):
        logs = [*_EXEC, "kubectl", "-n", NAMESPACE, "logs", pod, "--tail=20", f"--previous={previous}"]
        outcome = shell.attempt(logs)
        if outcome.returncode == 0 and outcome.stdout:
            found.append(f"--- {pod} (previous={previous})\n{outcome.stdout}")
    return found


def _kubectl(*arguments: str, text: str | None = None) -> str:
    return shell.run([*_EXEC, "kubectl", "-n", NAMESPACE, *arguments], text=text)


def _helm(*arguments: str | pathlib.Path) -> None:
    shell.run([*_EXEC, "helm", "-n", NAMESPACE, *arguments])


def main(arguments: list[str]) -> int:
    started = time.monotonic()
    try:
        install(arguments)
        wait()
        shell.say(_kubectl("get", "deployments,services", "-l", _SELECTOR).rstrip())
        shell.say(f"penstock is there, after {time.monotonic() - started:.1f} s")
    except shell.ClusterError as error:
        shell.complain(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
