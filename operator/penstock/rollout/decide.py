"""One pass over a ModelDeployment, as a pure function: object and world in, next status and actions out.

Nothing here, nor in what it calls, reads a clock, talks to anything or remembers anything. The shell calls it
(`penstock.rollout.shell`), the simulation folds it over made-up worlds.
"""

import datetime

from penstock.api.v1alpha1 import modeldeployment_status
from penstock.rollout import begin, conclude, draft, drive, house, measuring, revision, world

LOOK_AGAIN_SECONDS = 15


def decide(mdep: modeldeployment_status.ModelDeployment, seen: world.Seen, now: datetime.datetime) -> world.Decision:
    """What to do about `mdep` now (an aware time), given what was `seen`."""
    if mdep.metadata.deletion_timestamp is not None:
        return world.Decision(status=mdep.status)
    pass_ = draft.Draft(mdep.metadata, mdep.spec, seen, now, mdep.status)
    pass_ = measuring.absorb(house.observe(pass_))
    pass_ = begin.start_or_rest(pass_) if pass_.status.candidate is None else drive.drive(pass_)
    pass_ = _tell_resolution(house.keep(pass_))
    pass_ = _look_again(conclude.conclude(pass_))
    return world.Decision(pass_.status, pass_.actions, pass_.events, min(pass_.wakes, default=None))


def _tell_resolution(pass_: draft.Draft) -> draft.Draft:
    """An event when the registry stops or starts answering, so that a person sees it beside the rollout."""
    wanted = pass_.seen.wanted
    before = next((known for known in pass_.status.conditions if known.type == "ModelResolved"), None)
    if (
        isinstance(wanted, world.Unresolved)
        and wanted != world.RESOLVING
        and (before is None or before.reason != wanted.reason)
    ):
        return pass_.warn(wanted.reason, wanted.message)
    if isinstance(wanted, revision.Revision) and before is not None and before.status == "False":
        return pass_.tell("Resolved", f"version {wanted.version} of {wanted.model} is wanted")
    return pass_


def _look_again(pass_: draft.Draft) -> draft.Draft:
    """Whatever is pending is looked at again, also when the event that should tell of it gets lost."""
    status = pass_.status
    moving = status.candidate is not None and pass_.hold is None
    due = any(retired.remove_at <= pass_.now for retired in status.retired)
    short = status.stable is not None and status.stable.ready_replicas < status.stable.replicas
    return pass_.wake(pass_.after(LOOK_AGAIN_SECONDS)) if moving or due or short or pass_.actions else pass_
