"""The end of a pass: which phase this is, in one sentence, and the conditions that tools wait for.

Conditions follow kstatus: Ready when what is wanted serves, Reconciling while the operator works on it, Stalled when a
person has to do something. Serving, ModelResolved, SignatureChecked and Routed are our own.
"""

import datetime
from dataclasses import dataclass
from typing import Literal

from penstock.api.v1alpha1.modeldeployment_status import Condition, Phase
from penstock.rollout import draft, manifests, revision, signatures, world


def conclude(pass_: draft.Draft) -> draft.Draft:
    """Set phase, message, conditions and the observed generation."""
    phase, message = _phase(pass_)
    resolving = pass_.seen.wanted == world.RESOLVING  # then what this generation wants is not known yet
    generation = pass_.status.observed_generation if resolving else pass_.meta.generation
    conditions = [_keep_time(pass_, condition, generation) for condition in _conditions(pass_, phase, message)]
    if resolving:
        conditions = _as_before(pass_, "ModelResolved", conditions)
    return pass_.update(phase=phase, message=message, conditions=conditions, observed_generation=generation)


def _phase(pass_: draft.Draft) -> tuple[Phase, str]:
    return _phase_of_rollout(pass_) if pass_.status.candidate is not None else _phase_at_rest(pass_)


def _phase_of_rollout(pass_: draft.Draft) -> tuple[Phase, str]:
    failure = pass_.status.failure
    if pass_.hold is not None:
        return Phase.PAUSED, pass_.hold.message
    if failure is not None:
        return Phase.ROLLING_BACK, pass_.note or failure.message
    phase = Phase.PROGRESSING if pass_.status.stable is not None else Phase.INITIALIZING
    return phase, pass_.note or pass_.status.message


def _phase_at_rest(pass_: draft.Draft) -> tuple[Phase, str]:
    stable, rejected, wanted = pass_.status.stable, pass_.status.rejected, pass_.seen.wanted
    if rejected is not None:
        return Phase.DEGRADED, rejected.message
    if stable is None:
        if pass_.hold is not None:
            return Phase.PAUSED, pass_.hold.message
        return Phase.PENDING, wanted.message if isinstance(wanted, world.Unresolved) else "about to start"
    if isinstance(wanted, revision.Revision) and wanted.name != stable.name and pass_.hold is None:
        return Phase.PROGRESSING, f"version {wanted.version} is about to be rolled out"
    if stable.ready_replicas == 0:
        failure = pass_.workload(stable.name).failure
        why = f": {failure.message}" if failure else ""
        text = f"version {stable.model_version} is stable, but none of its pods is ready{why}"
        look_at = f"the pods of Deployment {manifests.object_name(pass_.meta, stable.name)}"
        return Phase.DEGRADED, f"{text}; look at {look_at}"
    if pass_.hold is not None:
        return Phase.PAUSED, pass_.hold.message
    return Phase.HEALTHY, f"version {stable.model_version} serves"


def _as_before(pass_: draft.Draft, name: str, conditions: list[Condition]) -> list[Condition]:
    """The conditions with one as it was: a question on its way is no news."""
    before = {known.type: known for known in pass_.status.conditions if known.type == name}
    return [before.get(condition.type, condition) for condition in conditions]


@dataclass(frozen=True)
class _Said:
    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""


def _conditions(pass_: draft.Draft, phase: Phase, message: str) -> tuple[_Said, ...]:
    reason = _reason(pass_, phase)
    return (
        _Said("Ready", "True" if phase is Phase.HEALTHY else "False", reason, message),
        _reconciling(pass_, phase, reason, message),
        _stalled(pass_, phase, reason, message),
        _serving(pass_),
        _resolved(pass_),
        *_signature_checked(pass_),
        *_routed(pass_),
    )


def _reason(pass_: draft.Draft, phase: Phase) -> str:
    status, wanted = pass_.status, pass_.seen.wanted
    if phase is Phase.PAUSED and pass_.hold is not None:
        return pass_.hold.reason
    if phase is Phase.ROLLING_BACK and status.failure is not None:
        return status.failure.reason
    if phase is Phase.DEGRADED:
        return status.rejected.reason if status.rejected is not None else "NoReadyPods"
    if phase is Phase.PENDING and isinstance(wanted, world.Unresolved):
        return wanted.reason
    return phase.value


def _reconciling(pass_: draft.Draft, phase: Phase, reason: str, message: str) -> _Said:
    waiting = isinstance(pass_.seen.wanted, world.Unresolved) and not pass_.seen.wanted.retryable
    busy = phase in {Phase.INITIALIZING, Phase.PROGRESSING, Phase.ROLLING_BACK} or (
        phase is Phase.PENDING and not waiting
    )
    return _Said("Reconciling", "True" if busy else "False", reason, message if busy else "")


def _stalled(pass_: draft.Draft, phase: Phase, reason: str, message: str) -> _Said:
    wanted = pass_.seen.wanted
    final = phase is Phase.PENDING and isinstance(wanted, world.Unresolved) and not wanted.retryable
    stalled = phase in {Phase.DEGRADED, Phase.INVALID} or final
    return _Said("Stalled", "True" if stalled else "False", reason, message if stalled else "")


def _serving(pass_: draft.Draft) -> _Said:
    stable = pass_.status.stable
    if stable is None:
        return _Said("Serving", "False", "NoStableRevision", "no version has been promoted yet")
    if stable.ready_replicas == 0:
        return _Said("Serving", "False", "NoReadyPods", f"no pod of version {stable.model_version} is ready")
    return _Said("Serving", "True", "StableReady", f"version {stable.model_version} answers")


def _resolved(pass_: draft.Draft) -> _Said:
    wanted = pass_.seen.wanted
    if isinstance(wanted, revision.Revision):
        return _Said("ModelResolved", "True", "Resolved", f"version {wanted.version} of {wanted.model} is wanted")
    status: Literal["False", "Unknown"] = "Unknown" if wanted.retryable else "False"
    return _Said("ModelResolved", status, wanted.reason, wanted.message)


def _signature_checked(pass_: draft.Draft) -> tuple[_Said, ...]:
    """Only there once a version was compared with stable, and only as long as it matters."""
    known = signatures.last_word(pass_)
    return () if known is None else (_Said(known.type, known.status, known.reason, known.message),)


def _routed(pass_: draft.Draft) -> tuple[_Said, ...]:
    """Only there once a host name was refused: the names inside the cluster always work."""
    if pass_.seen.unrouted:
        return (_Said("Routed", "False", "HostnameRefused", "; ".join(pass_.seen.unrouted)),)
    if any(known.type == "Routed" for known in pass_.status.conditions):
        return (_Said("Routed", "True", "Routed", "every host name leads here"),)
    return ()


def _keep_time(pass_: draft.Draft, said: _Said, generation: int | None) -> Condition:
    before = next((known for known in pass_.status.conditions if known.type == said.type), None)
    since: datetime.datetime = pass_.now
    if before is not None and before.status == said.status:
        since = before.last_transition_time
    return Condition(
        type=said.type,
        status=said.status,
        reason=said.reason,
        message=said.message,
        last_transition_time=since,
        observed_generation=generation,
    )
