"""Why pods do not serve, read from their own status: one sentence, and whether waiting can help."""

from typing import Any

import pytest
from penstock.rollout import podhealth
from penstock.rollout.world import PodFailure


def pod(*containers: dict[str, Any], init: tuple[dict[str, Any], ...] = (), **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p"},
        "status": {"containerStatuses": list(containers), "initContainerStatuses": list(init), **status},
    }


def waiting(reason: str, message: str | None = None, name: str = "server", **more: Any) -> dict[str, Any]:
    waits = {"reason": reason, **({"message": message} if message else {})}
    return {"name": name, "ready": False, "state": {"waiting": waits}, **more}


def ended(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "message": message, "reason": reason}}


def crashed(code: int, restarts: int = 1, message: str = "", reason: str = "Error", **more: Any) -> dict[str, Any]:
    return {
        "name": "server",
        "ready": False,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": ended(code, message, reason),
        "restartCount": restarts,
        **more,
    }


RUNS = {"name": "server", "ready": True, "state": {"running": {}}, "lastState": {}, "restartCount": 0}
UNSCHEDULABLE = pod(
    conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: 3 Insufficient cpu."}]
)
FINISHED = {"name": "download", "ready": True, "state": ended(0), "lastState": ended(75, "no answer")}

CASES: dict[str, tuple[list[dict[str, Any]], PodFailure | None]] = {
    "no pods": ([], None),
    "a pod that was just made": ([{"metadata": {"name": "p"}}], None),
    "a pod that runs": ([pod(RUNS, init=(FINISHED,))], None),
    "a pod that starts": ([pod(waiting("PodInitializing"))], None),
    "a pod that no node takes": (
        [UNSCHEDULABLE],
        PodFailure("Unschedulable", "no node takes the pod: 0/3 nodes are available: 3 Insufficient cpu."),
    ),
    "an image that is being pulled again": (
        [pod(waiting("ImagePullBackOff", 'Back-off pulling image "x"'))],
        PodFailure(
            "ImagePullBackOff",
            'container server: Back-off pulling image "x"; check spec.server.image and the pull secrets',
        ),
    ),
    "an image that failed once": ([pod(waiting("ErrImagePull", "timeout"))], None),
    "an image with an impossible name": (
        [pod(waiting("InvalidImageName"))],
        PodFailure("InvalidImageName", "container server: InvalidImageName; correct spec.server.image", fatal=True),
    ),
    "an image that may not be pulled": (
        [pod(waiting("ErrImageNeverPull", "absent"))],
        PodFailure(
            "ErrImageNeverPull",
            "container server: absent; load the image on the node, or change spec.server.imagePullPolicy",
            fatal=True,
        ),
    ),
    "a secret that is missing and may come": (
        [pod(waiting("CreateContainerConfigError", 'secret "s" not found'))],
        PodFailure(
            "CreateContainerConfigError",
            'container server: secret "s" not found; create what the container refers to, or correct env and envFrom',
        ),
    ),
    "a model that cannot be loaded says so itself": (
        [pod(crashed(65, message="the model needs torch: add it to its requirements\n"))],
        PodFailure("ModelNotLoadable", "the model needs torch: add it to its requirements", fatal=True),
    ),
    "a model that cannot be loaded and says nothing": (
        [pod(crashed(65))],
        PodFailure("ModelNotLoadable", "container server cannot load the model", fatal=True),
    ),
    "a download that failed for good, before its container is started again": (
        [pod(init=({"name": "download", "ready": False, "state": ended(65, "no version 9"), "restartCount": 0},))],
        PodFailure("ModelNotLoadable", "no version 9", fatal=True),
    ),
    "a download that may succeed": (
        [pod(init=(crashed(75, message="the registry does not answer", name="download"),))],
        PodFailure("DownloadFailing", "the registry does not answer"),
    ),
    "a download that may succeed and says nothing": (
        [pod(init=(crashed(75, name="download"),))],
        PodFailure("DownloadFailing", "container download cannot download the model yet"),
    ),
    "one crash": ([pod(crashed(1))], None),
    "two crashes": (
        [pod(crashed(1, 2))],
        PodFailure("CrashLoop", "container server crashed 2 times with exit code 1; see its logs"),
    ),
    "three crashes": (
        [pod(crashed(137, 3, reason="OOMKilled"))],
        PodFailure(
            "CrashLoop", "container server crashed 3 times with exit code 137 (OOMKilled); see its logs", fatal=True
        ),
    ),
    "crashes with last words": (
        [pod(crashed(1, 3, message="segmentation fault"))],
        PodFailure("CrashLoop", "container server crashed 3 times: segmentation fault; see its logs", fatal=True),
    ),
    "a container that ends without an error": ([pod({**RUNS, "ready": False, "lastState": ended(0)})], None),
    "a container that recovered and is ready": ([pod({**RUNS, "lastState": ended(65), "restartCount": 1})], None),
    "a container that is ready between crashes": (
        [pod({**RUNS, "lastState": ended(137, reason="OOMKilled"), "restartCount": 7})],
        PodFailure(
            "CrashLoop", "container server crashed 7 times with exit code 137 (OOMKilled); see its logs", fatal=True
        ),
    ),
    "the pod that is beyond hope speaks for all": (
        [UNSCHEDULABLE, pod(RUNS), pod(crashed(65, message="the model needs torch"))],
        PodFailure("ModelNotLoadable", "the model needs torch", fatal=True),
    ),
    "a pod that is being deleted says nothing": (
        [{**pod(crashed(65)), "metadata": {"deletionTimestamp": "2026-03-01T12:00:00Z"}}],
        None,
    ),
}


@pytest.mark.parametrize(("pods", "failure"), CASES.values(), ids=CASES)
def test_what_keeps_pods_from_serving(pods: list[dict[str, Any]], failure: PodFailure | None) -> None:
    assert podhealth.judge(pods) == failure


REFUSED = {"status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: q"}]}}
FINE = {"status": {"conditions": [{"type": "ReplicaFailure", "status": "False"}, {"type": "Available"}]}}


def test_a_cluster_that_refuses_the_pods_is_quoted() -> None:
    assert podhealth.judge([], REFUSED) == PodFailure("PodsRefused", "the cluster refuses the pods: exceeded quota: q")


def test_what_a_pod_says_goes_before_what_the_cluster_says() -> None:
    assert podhealth.judge([pod(crashed(65, message="no"))], REFUSED) == PodFailure(
        "ModelNotLoadable", "no", fatal=True
    )


def test_a_deployment_without_complaints_says_nothing() -> None:
    assert podhealth.judge([], FINE) is None
    assert podhealth.judge([], {}) is None
