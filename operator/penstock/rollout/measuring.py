"""Measurements in a pass: take in what came back, and ask for what is due."""

import datetime
from collections.abc import Sequence

from penstock import ports
from penstock.analysis import verdict
from penstock.api.v1alpha1 import modeldeployment
from penstock.api.v1alpha1.modeldeployment_status import MetricStatus, Verdict
from penstock.rollout import draft, plan, stops, world

REFRESH = datetime.timedelta(seconds=30)
"""How old the numbers of an unchanged verdict may get in the status before they are worth a write."""

SHORTEST_WINDOW = 1
"""Seconds into a step before which nothing can have been measured."""


def step_id(pass_: draft.Draft) -> world.StepId | None:
    """Names this stay in this step; None before its clock started."""
    step = pass_.status.step
    if step is None or step.started_at is None:
        return None
    return world.StepId(pass_.candidate.name, step.index, step.started_at)


def absorb(pass_: draft.Draft) -> draft.Draft:
    """Turn the measurements of this step that came in into verdicts; those of any other step are dropped."""
    if pass_.status.candidate is None or pass_.status.failure is not None:
        return pass_
    current = step_id(pass_)
    metrics = {metric.name: metric for metric in stops.checks_of(pass_)}
    known = {known.name: known for known in pass_.status.verdicts if known.name in metrics}
    for measured in pass_.seen.measured:
        metric = metrics.get(measured.metric)
        if metric is None or measured.step != current:
            continue
        before = known.get(metric.name)
        after = verdict.assess(metric, measured.answer, before, measured.at)
        if before is None or _worth_writing(before, after) or _may_end_the_step(pass_, after):
            known[metric.name] = after
        if after.verdict != (before.verdict if before else None):
            pass_ = _tell(pass_, metric, after)
    verdicts = [known[name] for name in metrics if name in known]
    return pass_ if verdicts == pass_.status.verdicts else pass_.update(verdicts=verdicts)


def _worth_writing(before: MetricStatus, after: MetricStatus) -> bool:
    def counts(status: MetricStatus) -> tuple[object, ...]:
        return (status.verdict, status.failures, status.inconclusives, status.errors)

    return counts(before) != counts(after) or after.measured_at - before.measured_at >= REFRESH


def _may_end_the_step(pass_: draft.Draft, after: MetricStatus) -> bool:
    """Whether the step may end before the next measurement: then this one has to be known."""
    step = pass_.status.step
    steps = plan.steps_of(pass_.spec, has_stable=pass_.status.stable is not None)
    if step is None or step.started_at is None or pass_.spec.rollout.paused:
        return False
    if step.kind == plan.WATCH:  # whatever is known by then
        ends, hold = True, pass_.spec.rollout.watch_seconds
    elif step.index >= len(steps) or steps[step.index].pause is not None:
        return False
    else:
        ends, hold = after.verdict is Verdict.PASS, plan.hold_seconds(steps[step.index]) or 0
    interval = pass_.spec.rollout.analysis.interval_seconds
    return ends and after.measured_at + datetime.timedelta(seconds=interval - hold) >= step.started_at


def _tell(pass_: draft.Draft, metric: modeldeployment.Metric, status: MetricStatus) -> draft.Draft:
    dry = " (dry run: it decides nothing)" if metric.dry_run else ""
    match status.verdict:
        case "Fail" if metric.dry_run or status.failures <= metric.failure_limit:
            return pass_.warn("MetricFailed", f"{status.message}{dry}")  # one too many is told with the undo
        case "Error":
            return pass_.warn("MetricUnavailable", f"{status.message}{dry}")
        case "Pass":
            return pass_.tell("MetricPassed", f"{status.message}{dry}")
        case _:
            return pass_


def answered(pass_: draft.Draft) -> bool:
    """Whether every metric that decides has been asked since the operator started, and the last answer is known.

    A step ends on what is so now, not on what was so before the operator stopped.
    """
    known = {known.name: known.measured_at for known in pass_.status.verdicts}
    asked = pass_.seen.last_measured
    deciding = [metric.name for metric in stops.checks_of(pass_) if not metric.dry_run]
    return all(name in asked and name in known and known[name] >= asked[name] for name in deciding)


def ask(pass_: draft.Draft, metrics: Sequence[modeldeployment.Metric]) -> draft.Draft:
    """Ask for the measurements that are due, and wake when the next ones are."""
    current = step_id(pass_)
    if current is None or current.started_at is None:
        return pass_
    elapsed = int((pass_.now - current.started_at).total_seconds())
    if elapsed < SHORTEST_WINDOW:
        return pass_.wake(current.started_at + datetime.timedelta(seconds=SHORTEST_WINDOW)) if metrics else pass_
    subject = ports.Subject(
        namespace=pass_.meta.namespace,
        deployment=pass_.meta.name,
        candidate=pass_.candidate.name,
        stable=pass_.stable_name,
        since=current.started_at,
        stable_is_past=pass_.status.split.weight == 100,
    )
    interval = pass_.spec.rollout.analysis.interval_seconds
    for metric in metrics:
        last = pass_.seen.last_measured.get(metric.name)
        if verdict.is_due(interval, last, pass_.now):
            window = min(metric.window_seconds, elapsed)
            pass_ = pass_.act(world.Measure(current, metric, subject, window)).wake(pass_.after(interval))
        else:
            pass_ = pass_.wake(verdict.next_due(interval, last, pass_.now))
    return pass_
