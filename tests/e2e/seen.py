"""Questions to ask of a status, and of what callers saw."""

from collections.abc import Collection

from penstock.api.v1alpha1.modeldeployment_status import ModelDeploymentStatus

from dev.traffic import report


def serves(status: ModelDeploymentStatus, version: int) -> bool:
    """Whether this version serves and nothing is going on."""
    return status.candidate is None and status.stable is not None and status.stable.model_version == version


def in_step(status: ModelDeploymentStatus, kind: str, index: int | None = None) -> bool:
    """Whether the rollout is in a step of this kind, its split confirmed."""
    step = status.step
    return (
        status.candidate is not None
        and step is not None
        and step.kind == kind
        and step.started_at is not None
        and index in {None, step.index}
    )


def ended(status: ModelDeploymentStatus, version: int) -> bool:
    """Whether the newest rollout that ended is that of this version."""
    return status.candidate is None and bool(status.history) and status.history[0].model_version == version


def condition(status: ModelDeploymentStatus, name: str) -> tuple[str, str, str]:
    """Status, reason and message of a condition."""
    found = next((one for one in status.conditions if one.type == name), None)
    return (found.status, found.reason, found.message) if found else ("", "", "")


def unharmed(summed: report.Report, *, blamed: Collection[str] = (), at_least: int = 20) -> None:
    """Nothing was lost, and nobody failed a request but those who are expected to."""
    assert summed.sent >= at_least, report.describe(summed)
    assert summed.lost == (), report.describe(summed)
    assert set(summed.failures()) <= set(blamed), report.describe(summed)
