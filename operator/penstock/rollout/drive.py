"""The pass of a ModelDeployment that has a candidate: stop it, hold it, or take it one step further."""

import datetime

from penstock.analysis import verdict
from penstock.api.v1alpha1 import modeldeployment, modeldeployment_status
from penstock.api.v1alpha1.modeldeployment_status import Split
from penstock.rollout import commands, draft, end, measuring, plan, stops, world


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
    """Keep since when the candidate's pods are not ready; the progress deadline counts from there."""
    candidate = pass_.candidate
    ready = pass_.workload(candidate.name).ready
    since = candidate.waiting_since
    if ready >= pass_.spec.server.replicas:
        since = None
    elif ready == 0 and since is None:
        since = pass_.now
    if since is not None:
        pass_ = pass_.wake(since + datetime.timedelta(seconds=pass_.spec.rollout.progress_deadline_seconds))
    if since == candidate.waiting_since:
        return pass_
    return pass_.update(candidate=candidate.model_copy(update={"waiting_since": since}))


def _obey(pass_: draft.Draft) -> draft.Draft:
    """Act on promote, skip-step and retry; abort is one of the stops."""
    name = pass_.candidate.name
    promote = commands.given(pass_, commands.Verb.PROMOTE, name)
    if promote is not None and promote.argument is None:
        return _promote_fully(pass_, promote)
    retry = commands.given(pass_, commands.Verb.RETRY, name)
    failure = pass_.status.failure
    if retry is not None and failure is not None and failure.held:
        again = pass_.candidate.model_copy(update={"started_at": pass_.now})
        pass_ = commands.handled(pass_, retry).update(failure=None, step=None, verdicts=[], candidate=again)
        return pass_.tell("Retry", f"revision {name} starts over at the first step")
    skip = commands.given(pass_, commands.Verb.SKIP_STEP, name)
    for command in (promote, skip):
        step = pass_.status.step
        if command is not None and step is not None and command.index == step.index and failure is None:
            steps = plan.steps_of(pass_.spec, has_stable=pass_.status.stable is not None)
            if step.index < len(steps):
                return enter(commands.handled(pass_, command), steps, step.index + 1)
    return pass_


def _promote_fully(pass_: draft.Draft, command: commands.Command) -> draft.Draft:
    failure = pass_.status.failure
    if failure is not None and not failure.held:
        return pass_
    steps = plan.steps_of(pass_.spec, has_stable=pass_.status.stable is not None)
    fast = pass_.candidate.model_copy(update={"fast": True})
    pass_ = commands.handled(pass_, command).update(candidate=fast, failure=None)
    return enter(pass_, steps, len(steps))


def enter(pass_: draft.Draft, steps: tuple[modeldeployment.Step, ...], index: int) -> draft.Draft:
    """Go to a step; its clock starts once its split is confirmed."""
    step = modeldeployment_status.StepStatus(index=index, kind=plan.kind_at(steps, index), plan=plan.fingerprint(steps))
    text = f"version {pass_.candidate.model_version}: {plan.describe(steps, index)}"
    return pass_.update(step=step, verdicts=[]).tell("StepStarted", text).wake(pass_.now)


def _go_on(pass_: draft.Draft) -> draft.Draft:
    steps = plan.steps_of(pass_.spec, has_stable=pass_.status.stable is not None)
    step = pass_.status.step
    if step is None or step.plan != plan.fingerprint(steps):
        return enter(pass_, steps, 0)
    if pass_.spec.route.pin is modeldeployment.Pin.STABLE and pass_.status.stable is not None:
        pass_ = end.route(pass_, Split(stable=pass_.stable_name))
        return pass_.held("Pinned", "route.pin sends everything to stable; remove it to go on")
    if not _ready(pass_):
        return _wait_for_pods(pass_)
    pass_ = end.route(pass_, plan.split_at(steps, step.index, pass_.stable_name, pass_.candidate.name))
    if pass_.seen.applied != pass_.status.split:
        where = plan.describe(steps, step.index)
        return pass_.waiting_for(f"{where}: waiting for the data plane to confirm the split")
    if step.index >= len(steps):
        return end.promote(pass_)
    return _in_step(pass_, steps)


def _ready(pass_: draft.Draft) -> bool:
    """All pods for a step that has not begun; any pod to keep one going that has."""
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
        return _smoke(pass_, steps, step.index, current.smoke_test)
    pass_ = measuring.ask(pass_, stops.checks_of(pass_))
    if pass_.spec.rollout.paused:
        return pass_.held("Paused", "rollout.paused holds the rollout; set it to false to go on")
    seconds = plan.hold_seconds(current)
    if seconds is None:
        go_on = f"penstock.dev/promote={pass_.candidate.name}"
        return pass_.held(
            "WaitingForPromotion",
            f"{plan.describe(steps, step.index)}: to go on, kubectl annotate mdep {pass_.meta.name} --overwrite "
            f"{go_on}/{step.index} (the next step) or {go_on} (all the way)",
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
    index = pass_.status.step.index if pass_.status.step else 0
    return enter(pass_, steps, index + 1)


def _smoke(
    pass_: draft.Draft, steps: tuple[modeldeployment.Step, ...], index: int, test: modeldeployment.SmokeTestStep
) -> draft.Draft:
    if pass_.spec.rollout.paused:
        return pass_.held("Paused", "rollout.paused holds the rollout; set it to false to go on")
    result, step = pass_.seen.smoke, stops.smoke_id(pass_, index)
    if result is not None and result.step == step and result.passed:
        return enter(pass_.tell("SmokeTestPassed", result.message), steps, index + 1)
    return pass_.act(world.RunSmokeTest(step, test))
