"""What ends a rollout: an ordered list of checks, each a question with at most one answer. The first answer counts."""

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from penstock.analysis import verdict
from penstock.api.v1alpha1 import modeldeployment
from penstock.api.v1alpha1.modeldeployment_status import Outcome
from penstock.rollout import commands, draft, plan, revision, world


@dataclass(frozen=True)
class Stop:
    """Why a rollout ends, and how it is recorded."""

    reason: str
    message: str
    outcome: Outcome
    command: commands.Command | None = None


Check = Callable[[draft.Draft], Stop | None]


def first(pass_: draft.Draft) -> Stop | None:
    """The first reason to end the rollout, if there is one."""
    return next((stop for check in CHECKS if (stop := check(pass_)) is not None), None)


def _aborted(pass_: draft.Draft) -> Stop | None:
    command = commands.given(pass_, commands.Verb.ABORT, pass_.candidate.name)
    if command is None:
        return None
    return Stop("Aborted", "aborted by annotation", Outcome.ABORTED, command)


def _superseded(pass_: draft.Draft) -> Stop | None:
    wanted = pass_.seen.wanted
    if not isinstance(wanted, revision.Revision) or wanted.name == pass_.candidate.name:
        return None
    if wanted.name == pass_.stable_name:
        message = f"version {wanted.version}, which is stable, is wanted again"
    elif is_watched(pass_):
        return None  # it takes all traffic, and passed every step: it is promoted before its successor begins
    else:
        message = f"version {wanted.version} (revision {wanted.name}) is wanted instead"
    return Stop("Superseded", message, Outcome.SUPERSEDED)


def _pods_broken(pass_: draft.Draft) -> Stop | None:
    failure = pass_.workload(pass_.candidate.name).failure
    if failure is None or not failure.fatal:
        return None
    return Stop(failure.reason, failure.message, failed_outcome(pass_))


def _too_late(pass_: draft.Draft) -> Stop | None:
    since = pass_.candidate.waiting_since
    limit = pass_.spec.rollout.progress_deadline_seconds
    if since is None or pass_.now < since + datetime.timedelta(seconds=limit):
        return None
    workload = pass_.workload(pass_.candidate.name)
    why = f": {workload.failure.message}" if workload.failure else ""
    return Stop(
        "ProgressDeadlineExceeded",
        f"{workload.ready} of {pass_.spec.server.replicas} pods are ready after {limit} s{why}; look at the pods "
        f"or raise rollout.progressDeadlineSeconds",
        failed_outcome(pass_),
    )


def _smoke_failed(pass_: draft.Draft) -> Stop | None:
    result = pass_.seen.smoke
    step = pass_.status.step
    if result is None or step is None or step.started_at is None or result.passed:
        return None
    if result.step != world.StepId(pass_.candidate.name, step.index, step.started_at):
        return None
    return Stop("SmokeTestFailed", f"the smoke test failed: {result.message}", failed_outcome(pass_))


def _metric_failed(pass_: draft.Draft) -> Stop | None:
    step = pass_.status.step
    if step is None or step.started_at is None:
        return None
    judgement = verdict.judge(checks_of(pass_), pass_.status.verdicts)
    if not isinstance(judgement, verdict.Failed):
        return None
    where = "in the watch at 100 %: " if is_watched(pass_) else ""
    return Stop("MetricFailed", f"{where}{judgement.message}", failed_outcome(pass_))


CHECKS: Sequence[Check] = (_aborted, _superseded, _pods_broken, _too_late, _smoke_failed, _metric_failed)


def checks_of(pass_: draft.Draft) -> tuple[modeldeployment.Metric, ...]:
    """The metrics that judge the step the pass is in; none where the candidate gets no requests."""
    steps = plan.steps_of(pass_.spec, has_stable=pass_.status.stable is not None)
    step = pass_.status.step
    if step is None or pass_.status.split.candidate is None:
        return ()
    if step.kind in {modeldeployment.StepKind.SMOKE_TEST.value, plan.PROMOTE}:
        return ()
    return plan.metrics_of(steps, step.index, pass_.spec.rollout)


def is_watched(pass_: draft.Draft) -> bool:
    """Whether the candidate takes all traffic and is watched."""
    step = pass_.status.step
    return step is not None and step.kind == plan.WATCH and step.started_at is not None


def failed_outcome(pass_: draft.Draft) -> Outcome:
    """Rejected if the candidate never saw a request of a user, RolledBack if it did."""
    step = pass_.status.step
    if step is None:
        return Outcome.REJECTED
    steps = plan.steps_of(pass_.spec, has_stable=pass_.status.stable is not None)
    before = plan.split_at(steps, step.index - 1, "stable", "candidate") if step.index else None
    saw_traffic = pass_.status.split.candidate is not None or (before is not None and before.candidate is not None)
    return Outcome.ROLLED_BACK if saw_traffic else Outcome.REJECTED
