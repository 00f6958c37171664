"""The pass of a ModelDeployment that has a candidate: stop it, hold it, or take it one step further."""

import datetime
from typing import Any

from penstock.analysis import verdict
from penstock.api.v1alpha1 import modeldeployment, modeldeployment_status
from penstock.api.v1alpha1.modeldeployment_status import Split
from penstock.rollout import commands, draft, end, measuring, plan, revision, stops, world


def drive(pass_: draft.Draft) -> draft.Draft:
    """One pass of a rollout."""
    pass_ = _watch_readiness(pass_)
    pass_ = _obey(pass_)
    failure = pass_.status.failure
    if failure is None or failure.held:
        stop = stops.first(pass_)
        if stop is not None and (failure is None or stop.command is not None or stop.reason == "Superseded"):
            pass_ = end.begin_undo(pass_, stop)
    if pass_.status.failure is not None:
        return end.undo(pass_)
    return _go_on(pass_)


def _watch_readiness(pass_: draft.Draft) -> draft.Draft:
    """Keep since when the candidate's pods are not ready; the progress deadline counts from there.

    A step begins with all pods ready; one that has begun goes on with any.
    """
    candidate, step = pass_.candidate, pass_.status.step
    ready = pass_.workload(candidate.name).ready
    begun = step is not None and step.started_at is not None
    since = candidate.waiting_since
    if ready >= pass_.spec.server.replicas:
        since = None
    elif since is None and (ready == 0 or not begun):
        since = pass_.now
    if since is not None and pass_.status.failure is None:
        pass_ = pass_.wake(since + datetime.timedelta(seconds=pass_.spec.rollout.progress_deadline_seconds))
    if since == candidate.waiting_since:
        return pass_
    return pass_.update(candidate=candidate.model_copy(update={"waiting_since": since}))


def _obey(pass_: draft.Draft) -> draft.Draft:
    """Act on promote, skip-step and retry; abort is one of the stops."""
    name, failure = pass_.candidate.name, pass_.status.failure
    promote = commands.given(pass_, commands.Verb.PROMOTE, name)
    if promote is not None and promote.to_the_end:
        return _promote_fully(pass_, promote)
    retry = commands.given(pass_, commands.Verb.RETRY, name)
    if retry is not None and failure is not None and failure.held:
        return _start_over(pass_, retry)
    steps = plan.steps_of(pass_.spec, has_stable=pass_.status.stable is not None)
    step = pass_.status.step
    if step is None or failure is not None or step.plan != plan.fingerprint(steps):
        return pass_
    for command in (promote, commands.given(pass_, commands.Verb.SKIP_STEP, name)):
        if command is not None and command.index == step.index < len(steps):
            return enter(commands.handled(pass_, command), steps, step.index + 1)
    return pass_


def _promote_fully(pass_: draft.Draft, command: commands.Command) -> draft.Draft:
    failure = pass_.status.failure
    if failure is not None and not failure.held:
        return pass_
    steps = plan.steps_of(pass_.spec, has_stable=pass_.status.stable is not None)
    pass_ = _with_new_deadline(commands.handled(pass_, command).update(failure=None), fast=True)
    return enter(pass_, steps, len(steps))


def _start_over(pass_: draft.Draft, command: commands.Command) -> draft.Draft:
    """Take a held candidate to its first step again, with new pods if the ones it has are beyond hope."""
    name, broken = pass_.candidate.name, pass_.workload(pass_.candidate.name).failure
    if broken is not None and broken.fatal:
        return pass_.act(world.RemoveRevision(name))
    pass_ = commands.forget(commands.handled(pass_, command), name, commands.Verb)
    pass_ = _with_new_deadline(pass_, fast=False, started_at=pass_.now).update(failure=None, step=None, verdicts=[])
    return pass_.tell("Retry", f"revision {name} starts over at the first step")


def _with_new_deadline(pass_: draft.Draft, **changes: Any) -> draft.Draft:
    """The candidate changed, and its pods given the whole time to become ready."""
    waiting_since = None if pass_.candidate.waiting_since is None else pass_.now
    return pass_.update(candidate=pass_.candidate.model_copy(update={"waiting_since": waiting_since, **changes}))


def enter(pass_: draft.Draft, steps: tuple[modeldeployment.Step, ...], index: int) -> draft.Draft:
    """Go to a step; its clock starts once its split is confirmed."""
    watch = plan.watch_seconds(pass_.spec, pass_.candidate, has_stable=pass_.status.stable is not None)
    kind = plan.kind_at(steps, index, watched=watch > 0)
    step = modeldeployment_status.StepStatus(index=index, kind=kind, plan=plan.fingerprint(steps))
    name = plan.describe(steps, index)
    pass_ = pass_.update(step=step, verdicts=[]).waiting_for(name).wake(pass_.now)
    return pass_.tell("StepStarted", f"version {pass_.candidate.model_version}: {name}")


def _go_on(pass_: draft.Draft) -> draft.Draft:
    steps = plan.steps_of(pass_.spec, has_stable=pass_.status.stable is not None)
    step = pass_.status.step
    if step is None:
        return enter(pass_, steps, 0)
    if step.plan != plan.fingerprint(steps):
        return _change_plan(pass_, steps)
    if pass_.spec.route.pin is modeldeployment.Pin.STABLE and pass_.status.stable is not None:
        pass_ = end.route(pass_, Split(stable=pass_.stable_name))
        return pass_.held("Pinned", "route.pin sends everything to stable; remove it to go on")
    if not _ready(pass_):
        return _wait_for_pods(pass_)
    pass_ = end.route(pass_, plan.split_at(steps, step.index, pass_.stable_name, pass_.candidate.name))
    if pass_.seen.applied != pass_.status.split:
        where = plan.describe(steps, step.index)
        return pass_.waiting_for(f"{where}: waiting for the data plane to confirm the split")
    if step.index < len(steps):
        return _in_step(pass_, steps)
    watch = plan.watch_seconds(pass_.spec, pass_.candidate, has_stable=pass_.status.stable is not None)
    return _watched(pass_, step, watch) if watch and step.kind == plan.WATCH else end.promote(pass_)


def _watched(pass_: draft.Draft, step: modeldeployment_status.StepStatus, seconds: int) -> draft.Draft:
    """It takes all traffic: what was stable is kept, and the metrics go on, for a while.

    Every step has passed, so at the end only a failure speaks against it; that is one of the stops. It ends on what is
    so now: after a time in which the operator was down, everything is measured first.
    """
    started_at = step.started_at or pass_.now
    if step.started_at is None:
        pass_ = pass_.update(step=step.model_copy(update={"started_at": started_at}))
    wanted, paused = pass_.seen.wanted, pass_.spec.rollout.paused
    is_next = isinstance(wanted, revision.Revision) and wanted.name not in {pass_.candidate.name, pass_.stable_name}
    if isinstance(wanted, revision.Revision) and is_next and not paused:
        return end.promote(
            pass_, f"every step passed; the watch was cut short because version {wanted.version} is next"
        )
    until = started_at + datetime.timedelta(seconds=seconds)
    is_over = pass_.now >= until
    if is_over and not paused and measuring.answered(pass_):
        return end.promote(pass_, f"every step passed, and nothing failed in {seconds} s at 100 %")
    pass_ = measuring.ask(pass_, stops.checks_of(pass_))
    if is_over and paused:
        return pass_.held("Paused", "rollout.paused holds the rollout; set it to false to go on")
    if is_over:
        return pass_.waiting_for(f"the watch of version {pass_.candidate.model_version} ends with the next measurement")
    note = f"watching version {pass_.candidate.model_version} at 100 % until {until:%H:%M:%S} UTC"
    return pass_.wake(until).waiting_for(note)


def _change_plan(pass_: draft.Draft, steps: tuple[modeldeployment.Step, ...]) -> draft.Draft:
    """The steps were edited: start over, unless a person has already sent the candidate past all of them."""
    by_index = (commands.Verb.PROMOTE, commands.Verb.SKIP_STEP)
    pass_ = commands.forget(pass_, pass_.candidate.name, by_index)
    return enter(pass_, steps, len(steps) if pass_.candidate.fast else 0)


def _ready(pass_: draft.Draft) -> bool:
    """Whether the wait for pods is over, and there is one to send requests to."""
    candidate = pass_.candidate
    return candidate.waiting_since is None and pass_.workload(candidate.name).ready > 0


def _wait_for_pods(pass_: draft.Draft) -> draft.Draft:
    workload = pass_.workload(pass_.candidate.name)
    why = f": {workload.failure.message}" if workload.failure else ""
    ready = f"{workload.ready} of {pass_.spec.server.replicas} pods"
    return pass_.waiting_for(f"{ready} of version {pass_.candidate.model_version} are ready{why}")


def _in_step(pass_: draft.Draft, steps: tuple[modeldeployment.Step, ...]) -> draft.Draft:
    """The step's split is confirmed: run its clock and its checks."""
    step = pass_.status.step
    if step is None:
        raise AssertionError("in a step that is none")
    if step.started_at is None:
        step = step.model_copy(update={"started_at": pass_.now})
        pass_ = pass_.update(step=step)
    current = steps[step.index]
    pass_ = pass_.waiting_for(plan.describe(steps, step.index))
    if current.smoke_test is not None:
        return _smoke(pass_, steps, world.StepId(pass_.candidate.name, step.index, step.started_at), current.smoke_test)
    pass_ = measuring.ask(pass_, stops.checks_of(pass_))
    if pass_.spec.rollout.paused:
        return pass_.held("Paused", "rollout.paused holds the rollout; set it to false to go on")
    seconds = plan.hold_seconds(current)
    if seconds is None:
        next_step = commands.suggestion(pass_, commands.Verb.PROMOTE, pass_.candidate.name, step.index)
        all_the_way = commands.suggestion(pass_, commands.Verb.PROMOTE, pass_.candidate.name)
        return pass_.held(
            "WaitingForPromotion",
            f"{plan.describe(steps, step.index)}: to go on, kubectl annotate mdep {pass_.meta.name} --overwrite "
            f"{next_step} (the next step) or {all_the_way} (all the way)",
        )
    return _finish(pass_, steps, current, (step.started_at or pass_.now) + datetime.timedelta(seconds=seconds))


def _finish(
    pass_: draft.Draft, steps: tuple[modeldeployment.Step, ...], current: modeldeployment.Step, until: datetime.datetime
) -> draft.Draft:
    """Leave the step when its time is over and, where the candidate gets requests, its metrics pass."""
    judgement = verdict.judge(stops.checks_of(pass_), pass_.status.verdicts)
    if isinstance(judgement, verdict.Held) and current.pause is None:
        return pass_.held(judgement.reason, judgement.message)
    if pass_.now < until:
        return pass_.wake(until).waiting_for(f"{pass_.note} until {until:%H:%M:%S} UTC")
    if isinstance(judgement, verdict.Waiting) and current.pause is None:
        return pass_.waiting_for(f"{pass_.note}: {judgement.message}")
    if current.pause is None and not measuring.answered(pass_):
        return pass_.waiting_for(f"{pass_.note}: waiting for the latest measurements")
    index = pass_.status.step.index if pass_.status.step else 0
    return enter(pass_, steps, index + 1)


def _smoke(
    pass_: draft.Draft, steps: tuple[modeldeployment.Step, ...], step: world.StepId, test: modeldeployment.SmokeTestStep
) -> draft.Draft:
    if pass_.spec.rollout.paused:
        return pass_.held("Paused", "rollout.paused holds the rollout; set it to false to go on")
    result = pass_.seen.smoke
    if result is not None and result.step == step and result.passed:
        return enter(pass_.tell("SmokeTestPassed", result.message), steps, step.index + 1)
    return pass_.act(world.RunSmokeTest(step, test))
