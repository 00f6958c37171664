"""The pass of a ModelDeployment that has no candidate: does a rollout start, and if not, why not?"""

from collections.abc import Callable, Sequence

from penstock.api.v1alpha1 import modeldeployment, modeldeployment_status
from penstock.rollout import commands, draft, revision, signatures, world

Guard = Callable[[draft.Draft, revision.Revision], draft.Hold | None]


def _rejected(pass_: draft.Draft, wanted: revision.Revision) -> draft.Hold | None:
    rejected = pass_.status.rejected
    if rejected is None or rejected.revision != wanted.name:
        return None
    return draft.Hold(rejected.reason, rejected.message)


def _paused(pass_: draft.Draft, wanted: revision.Revision) -> draft.Hold | None:
    if not pass_.spec.rollout.paused:
        return None
    return draft.Hold("Paused", f"version {wanted.version} waits: set rollout.paused to false to roll it out")


def _pinned(pass_: draft.Draft, wanted: revision.Revision) -> draft.Hold | None:
    if pass_.spec.route.pin is not modeldeployment.Pin.STABLE or pass_.status.stable is None:
        return None
    return draft.Hold("Pinned", f"version {wanted.version} waits: remove route.pin to roll it out")


GUARDS: Sequence[Guard] = (_rejected, _paused, _pinned)
"""What keeps a wanted revision from being rolled out; the first answer counts."""


def start_or_rest(pass_: draft.Draft) -> draft.Draft:
    """Start the rollout of the wanted revision, or say why there is none."""
    wanted = pass_.seen.wanted
    if not isinstance(wanted, revision.Revision):
        return _hold_on(pass_) if wanted == world.RESOLVING else pass_
    pass_ = forgive(pass_, wanted)
    if wanted.name == pass_.stable_name:
        return pass_
    hold = next((hold for guard in GUARDS if (hold := guard(pass_, wanted)) is not None), None)
    if hold is not None:
        return pass_.held(hold.reason, hold.message)
    broken = pass_.workload(wanted.name).failure
    if broken is not None and broken.fatal:
        return _clear_away(pass_, wanted)
    pass_, fits = signatures.check(pass_, wanted)
    return start(pass_, wanted) if fits else pass_


def _clear_away(pass_: draft.Draft, wanted: revision.Revision) -> draft.Draft:
    """Pods that an earlier try left behind, beyond hope, go at once: they would fail this try too."""
    others = [retired for retired in pass_.status.retired if retired.name != wanted.name]
    return pass_.update(retired=[*others, modeldeployment_status.Retired(name=wanted.name, remove_at=pass_.now)])


def _hold_on(pass_: draft.Draft) -> draft.Draft:
    """Keep what was said before the operator started: a question on its way is no news."""
    ready = next((known for known in pass_.status.conditions if known.type == "Ready"), None)
    if pass_.status.phase is not modeldeployment_status.Phase.PAUSED or ready is None:
        return pass_
    return pass_.held(ready.reason, pass_.status.message)


def forgive(pass_: draft.Draft, wanted: revision.Revision) -> draft.Draft:
    """Drop the memory of a rejected revision once another is wanted, the spec changed or a person asks for it."""
    rejected = pass_.status.rejected
    if rejected is None:
        return pass_
    command = commands.given(pass_, commands.Verb.RETRY, rejected.revision)
    if command is not None:
        return (
            commands.handled(pass_, command)
            .update(rejected=None)
            .tell("Retry", f"revision {rejected.revision} may try again")
        )
    if wanted.name != rejected.revision or revision.fingerprint(pass_.spec) != rejected.fingerprint:
        return pass_.update(rejected=None)
    return pass_


def start(pass_: draft.Draft, wanted: revision.Revision) -> draft.Draft:
    """Make the wanted revision the candidate."""
    candidate = modeldeployment_status.Candidate(
        name=wanted.name,
        model_version=wanted.version,
        replicas=pass_.spec.server.replicas,
        ready_replicas=pass_.workload(wanted.name).ready,
        started_at=pass_.now,
        waiting_since=pass_.now,
    )
    pass_ = commands.forget(pass_, wanted.name, (commands.Verb.PROMOTE, commands.Verb.SKIP_STEP, commands.Verb.ABORT))
    instead = f" instead of version {pass_.status.stable.model_version}" if pass_.status.stable else ""
    return (
        pass_.update(candidate=candidate, step=None, verdicts=[], failure=None)
        .tell(
            "RolloutStarted",
            f"rolling out version {wanted.version} of {wanted.model} (revision {wanted.name}){instead}",
        )
        .waiting_for(f"starting {candidate.replicas} pods of version {wanted.version}")
    )
