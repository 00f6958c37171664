"""The gate before a rollout: does the wanted version serve stable's callers, by its signature? No pod runs yet.

A pass that needs the signatures asks for them and waits; a later one sees what was read and lets the rollout start,
refuses it or holds it. What cannot be read for the moment is tried `TRIES` times within a minute; then a Compatible
rollout goes on without, and its other checks judge it, while an Exact one is held until the signatures can be read.
"""

import datetime
from typing import Literal

from penstock.analysis import fit
from penstock.analysis.signature import Signature
from penstock.api.v1alpha1 import modeldeployment_status
from penstock.api.v1alpha1.modeldeployment import SignaturePolicy
from penstock.rollout import commands, draft, revision, world

CONDITION = "SignatureChecked"
TRIES = 4
RETRY_SECONDS = 5
"""After the first try that failed; twice as long after each further one."""
LONGEST_RETRY_SECONDS = 30
FRESH_SECONDS = 60
"""How old a signature may be when a rollout starts: a version's files do not change, but people may mend them."""

Status = Literal["True", "False", "Unknown"]


def check(pass_: draft.Draft, wanted: revision.Revision) -> tuple[draft.Draft, bool]:
    """Whether the rollout of `wanted` may start, and the pass with what there is to say about it."""
    stable, policy = pass_.status.stable, pass_.spec.model.signature_policy
    if policy is SignaturePolicy.IGNORE or stable is None or stable.model_version == wanted.version:
        return _say_nothing(pass_), True
    read = pass_.seen.signatures
    if read is None or (read.stable, read.wanted) != (stable.name, wanted.name) or _is_old(pass_, read):
        return _ask(pass_, stable.name, wanted), False
    if read.unread is not None:
        return _without(pass_, wanted, read, read.unread)
    if not read.same_model:
        message = f"version {wanted.version} is of another model than stable, so their signatures are not compared"
        return _say(pass_, "Unknown", "OtherModel", message), True
    if not isinstance(read.of_stable, Signature) or not isinstance(read.of_wanted, Signature):
        return _missing(pass_, wanted, read)
    return _compare(pass_, wanted, read.of_stable, read.of_wanted)


def last_word(pass_: draft.Draft) -> modeldeployment_status.Condition | None:
    """The condition, unless what it speaks of is over: a version that is neither wanted, nor rejected, nor stable."""
    known = next((known for known in pass_.status.conditions if known.type == CONDITION), None)
    status, wanted = pass_.status, pass_.seen.wanted
    if known is None or pass_.spec.model.signature_policy is SignaturePolicy.IGNORE:
        return None
    going_on = status.candidate is not None or status.rejected is not None
    if going_on or not isinstance(wanted, revision.Revision) or wanted.name != pass_.stable_name:
        return known
    return known if status.history and status.history[0].revision == pass_.stable_name else None


def _is_old(pass_: draft.Draft, read: world.Signatures) -> bool:
    return pass_.now >= read.at + datetime.timedelta(seconds=FRESH_SECONDS)


def _ask(pass_: draft.Draft, stable: str, wanted: revision.Revision) -> draft.Draft:
    """Have them read. A rollout that waits for that already goes on saying so: a question on its way is no news."""
    status = pass_.status
    ready = next((known for known in status.conditions if known.type == "Ready"), None)
    exact = pass_.spec.model.signature_policy is SignaturePolicy.EXACT
    if exact and pass_.hold is None and ready is not None and ready.reason == "SignatureUnreadable":
        pass_ = pass_.held(ready.reason, status.message)
    return pass_.act(world.ReadSignatures(stable, wanted))


def _without(
    pass_: draft.Draft, wanted: revision.Revision, read: world.Signatures, unread: world.Unread
) -> tuple[draft.Draft, bool]:
    """One signature at least could not be read."""
    exact = pass_.spec.model.signature_policy is SignaturePolicy.EXACT
    why = f"the signatures of version {wanted.version} and of stable cannot be compared: {unread.message}"
    if not exact and (not unread.retryable or read.tries >= TRIES):
        message = f"{why}. Version {wanted.version} is rolled out without"
        return _say(pass_.warn("SignatureUnreadable", message), "Unknown", "SignatureUnreadable", message), True
    pass_ = _say(pass_, "Unknown", "SignatureUnreadable", why)
    if exact:
        cure = "Set model.signaturePolicy to Compatible or Ignore to roll it out without"
        pass_ = pass_.held("SignatureUnreadable", f"version {wanted.version} waits: {why}. {cure}")
    seconds = min(RETRY_SECONDS * 2 ** min(read.tries - 1, 10), LONGEST_RETRY_SECONDS)
    again = read.at + datetime.timedelta(seconds=seconds)
    return (_ask(pass_, read.stable, wanted) if pass_.now >= again else pass_.wake(again)), False


def _missing(pass_: draft.Draft, wanted: revision.Revision, read: world.Signatures) -> tuple[draft.Draft, bool]:
    stable = _stable_version(pass_)
    if read.of_stable is None and read.of_wanted is None:
        who = f"neither version {wanted.version} nor version {stable}, which is stable, has a signature"
    elif read.of_wanted is None:
        who = f"version {wanted.version} has no signature"
    else:
        who = f"version {stable}, which is stable, has no signature"
    cure = "log models with a signature, for example with mlflow.models.infer_signature"
    if pass_.spec.model.signature_policy is SignaturePolicy.EXACT:
        message = f"{who}, so nothing can be compared: {cure}, or set model.signaturePolicy to Compatible or Ignore"
        return _refuse(pass_, wanted, "SignatureMissing", message), False
    message = f"{who}, so version {wanted.version} is rolled out uncompared: {cure}"
    return _say(pass_.warn("SignatureMissing", message), "False", "SignatureMissing", message), True


def _compare(
    pass_: draft.Draft, wanted: revision.Revision, of_stable: Signature, of_wanted: Signature
) -> tuple[draft.Draft, bool]:
    policy, stable = pass_.spec.model.signature_policy, _stable_version(pass_)
    problems = fit.compare(of_stable, of_wanted, policy)
    if not problems:
        same = "is the same as version" if policy is SignaturePolicy.EXACT else "fits the callers of version"
        message = f"the signature of version {wanted.version} {same} {stable}"
        return _say(pass_, "True", "SignatureFits", message), True
    if policy is SignaturePolicy.EXACT:
        lead = f"version {wanted.version}'s signature is not the same as version {stable}'s"
        cure = "Set model.signaturePolicy to Ignore, or to Compatible if that is enough, to roll it out anyway"
    else:
        lead = f"version {wanted.version}'s signature does not fit version {stable}'s callers"
        cure = "Set model.signaturePolicy to Ignore to roll it out anyway"
    message = f"{lead}: {fit.sentence(problems)}. {cure}"
    return _refuse(pass_, wanted, "SignatureIncompatible", message), False


def _refuse(pass_: draft.Draft, wanted: revision.Revision, reason: str, message: str) -> draft.Draft:
    """Record that the version was rejected; it has no pods, and nothing was recorded of it."""
    status = pass_.status
    entry = modeldeployment_status.HistoryEntry(
        revision=wanted.name,
        model_version=wanted.version,
        outcome=modeldeployment_status.Outcome.REJECTED,
        reason=reason,
        message=message,
        started_at=pass_.now,
        ended_at=pass_.now,
    )
    rejected = modeldeployment_status.Rejected(
        revision=wanted.name, fingerprint=revision.fingerprint(pass_.spec), reason=reason, message=message
    )
    history = [entry, *status.history][: pass_.spec.rollout.history_limit]
    keep = {known.revision for known in history} | {retired.name for retired in status.retired}
    keep |= {pass_.stable_name} if pass_.stable_name else set()
    pass_ = commands.forget(pass_, wanted.name, (commands.Verb.RETRY,))
    pass_ = pass_.update(history=history, rejected=rejected).act(world.PruneRecords(frozenset(keep)))
    return _say(pass_.warn(reason, message), "False", reason, message)


def _stable_version(pass_: draft.Draft) -> int:
    if pass_.status.stable is None:
        raise AssertionError("signatures compared without a stable revision")
    return pass_.status.stable.model_version


def _say(pass_: draft.Draft, status: Status, reason: str, message: str) -> draft.Draft:
    """Put the condition into the status; `conclude` keeps it."""
    before = next((known for known in pass_.status.conditions if known.type == CONDITION), None)
    since = before.last_transition_time if before is not None and before.status == status else pass_.now
    said = modeldeployment_status.Condition(
        type=CONDITION, status=status, reason=reason, message=message, last_transition_time=since
    )
    return _say_nothing(pass_).update(conditions=[*_say_nothing(pass_).status.conditions, said])


def _say_nothing(pass_: draft.Draft) -> draft.Draft:
    others = [known for known in pass_.status.conditions if known.type != CONDITION]
    return pass_ if len(others) == len(pass_.status.conditions) else pass_.update(conditions=others)
