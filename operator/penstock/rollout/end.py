"""How a rollout ends: promoted, or undone with the traffic back on stable before a single pod goes."""

import datetime

from penstock.api.v1alpha1 import modeldeployment, modeldeployment_status
from penstock.api.v1alpha1.modeldeployment_status import Outcome, Split
from penstock.rollout import commands, draft, revision, stops, world

REJECTING = frozenset({Outcome.ROLLED_BACK, Outcome.REJECTED, Outcome.ABORTED})
"""Outcomes after which the revision does not come back by itself."""


def route(pass_: draft.Draft, split: Split) -> draft.Draft:
    """Want this split. A change of it stops the step's clock until the data plane confirms."""
    if pass_.status.split == split:
        return pass_
    step = pass_.status.step
    if step is not None and step.started_at is not None:
        pass_ = pass_.update(step=step.model_copy(update={"started_at": None}), verdicts=[])
    return pass_.update(split=split)


def begin_undo(pass_: draft.Draft, stop: stops.Stop) -> draft.Draft:
    """Record why the rollout ends; from now on nothing but the undo happens to this candidate."""
    if stop.command is not None:
        pass_ = commands.handled(pass_, stop.command)
    pass_ = commands.forget(pass_, pass_.candidate.name, (commands.Verb.RETRY,))
    earlier = pass_.status.failure
    held = (
        stop.outcome in {Outcome.ROLLED_BACK, Outcome.REJECTED}
        and pass_.spec.rollout.on_failure is modeldeployment.OnFailure.PAUSE
        and pass_.status.stable is not None
    )
    failure = modeldeployment_status.Failure(
        reason=stop.reason, message=stop.message, outcome=stop.outcome, at=pass_.now, held=held
    )
    if earlier is not None:
        failure = earlier.model_copy(update={"held": False, "outcome": _sum(earlier.outcome, stop.outcome)})
    text = f"version {pass_.candidate.model_version} (revision {pass_.candidate.name}): {stop.message}"
    pass_ = pass_.update(failure=failure)
    if stop.outcome is Outcome.SUPERSEDED:
        return pass_.tell("Superseded", text)
    return pass_.warn(stop.reason, text)


def _sum(earlier: Outcome, later: Outcome) -> Outcome:
    return Outcome.ABORTED if later is Outcome.ABORTED else earlier


def undo(pass_: draft.Draft) -> draft.Draft:
    """Traffic to stable first; when the data plane confirms, the candidate is retired."""
    failure = pass_.status.failure
    if failure is None:
        raise AssertionError("undo without a failure")
    if _only_candidate_can_answer(pass_):
        return pass_.waiting_for(
            f"{failure.message}. Stable has no ready pod, so the candidate keeps its traffic until it has"
        )
    pass_ = route(pass_, _way_back(pass_))
    if pass_.status.split.weight:
        ready = f"{pass_.workload(pass_.stable_name or '').ready} of {pass_.spec.server.replicas} pods"
        return pass_.waiting_for(
            f"{failure.message}. Stable has {ready} ready, so the candidate keeps {pass_.status.split.weight} % until "
            f"there are more (rollout.abort is Gradual)"
        )
    if failure.held:
        verbs = (commands.Verb.RETRY, commands.Verb.PROMOTE, commands.Verb.ABORT)
        retry, promote, abort = (commands.suggestion(pass_, verb, pass_.candidate.name) for verb in verbs)
        return pass_.held(
            failure.reason,
            f"{failure.message}. The candidate is kept without traffic: annotate {retry}, {promote} or {abort}",
        )
    if pass_.seen.applied != pass_.status.split:
        return pass_.waiting_for(f"{failure.message}. Sending all traffic back to stable")
    return _ended(pass_, failure)


def _way_back(pass_: draft.Draft) -> Split:
    """All to stable; if it is to be gradual, no more than its ready pods can carry."""
    split = pass_.status.split
    gradual = pass_.spec.rollout.abort is modeldeployment.Abort.GRADUAL
    if not gradual or not split.weight or pass_.stable_name is None or not pass_.workload(pass_.candidate.name).ready:
        return Split(stable=pass_.stable_name)
    wanted = pass_.spec.server.replicas
    missing = max(0, wanted - pass_.workload(pass_.stable_name).ready)
    weight = min(split.weight, 100 * missing // wanted)
    return Split(stable=pass_.stable_name, candidate=split.candidate if weight else None, weight=weight)


def _only_candidate_can_answer(pass_: draft.Draft) -> bool:
    if pass_.stable_name is None or not pass_.status.split.weight:
        return False
    return pass_.workload(pass_.stable_name).ready == 0 and pass_.workload(pass_.candidate.name).ready > 0


def _ended(pass_: draft.Draft, failure: modeldeployment_status.Failure) -> draft.Draft:
    candidate = pass_.candidate
    message = failure.message
    rejected = pass_.status.rejected
    if failure.outcome in REJECTING:
        retry = commands.suggestion(pass_, commands.Verb.RETRY, candidate.name)
        message = f"{message}. To try it again, annotate {retry}, or move the alias away and back"
        rejected = modeldeployment_status.Rejected(
            revision=candidate.name,
            fingerprint=revision.fingerprint(pass_.spec),
            reason=failure.reason,
            message=f"version {candidate.model_version} was undone: {message}",
        )
    back = f"; version {pass_.status.stable.model_version} serves" if pass_.status.stable else "; no version serves"
    kind = world.EventType.NORMAL if failure.outcome is Outcome.SUPERSEDED else world.EventType.WARNING
    pass_ = pass_.tell(failure.outcome.value, f"version {candidate.model_version}: {failure.message}{back}", kind)
    pass_ = _record(pass_, failure.outcome, failure.reason, message)
    return (
        _retire(pass_, candidate.name)
        .update(candidate=None, step=None, verdicts=[], failure=None, rejected=rejected)
        .wake(pass_.now)
    )


def promote(pass_: draft.Draft, why: str = "every step passed") -> draft.Draft:
    """All traffic is on the candidate: it is stable now, and what was stable is retired."""
    candidate, before = pass_.candidate, pass_.stable_name
    outcome = Outcome.FAST_PROMOTED if candidate.fast else Outcome.PROMOTED
    message = "promoted by a person past the remaining steps" if candidate.fast else why
    pass_ = _record(pass_, outcome, outcome.value, message)
    if before is not None:
        pass_ = _retire(pass_, before)
    stable = modeldeployment_status.RevisionRef(
        name=candidate.name,
        model_version=candidate.model_version,
        replicas=candidate.replicas,
        ready_replicas=candidate.ready_replicas,
    )
    pass_ = pass_.tell(
        outcome.value, f"version {candidate.model_version} (revision {candidate.name}) is stable: {message}"
    )
    return pass_.update(
        stable=stable,
        candidate=None,
        step=None,
        verdicts=[],
        failure=None,
        rejected=None,
        split=Split(stable=candidate.name),
    ).wake(pass_.now)


def _retire(pass_: draft.Draft, name: str) -> draft.Draft:
    remove_at = pass_.now + datetime.timedelta(seconds=pass_.spec.rollout.scale_down_delay_seconds)
    others = [retired for retired in pass_.status.retired if retired.name != name]
    return pass_.update(retired=[*others, modeldeployment_status.Retired(name=name, remove_at=remove_at)])


def _record(pass_: draft.Draft, outcome: Outcome, reason: str, message: str) -> draft.Draft:
    candidate = pass_.candidate
    entry = modeldeployment_status.HistoryEntry(
        revision=candidate.name,
        model_version=candidate.model_version,
        outcome=outcome,
        reason=reason,
        message=message,
        started_at=candidate.started_at,
        ended_at=pass_.now,
    )
    history = [entry, *pass_.status.history][: pass_.spec.rollout.history_limit]
    keep = {entry.revision for entry in history} | {candidate.name} | {pass_.stable_name or candidate.name}
    keep |= {retired.name for retired in pass_.status.retired}
    return pass_.update(history=history).act(world.PruneRecords(frozenset(keep)))
