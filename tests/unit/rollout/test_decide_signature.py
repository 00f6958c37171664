"""The gate before a rollout: what a version's signature makes of it, in decisions and in words."""

import datetime
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from penstock import ports
from penstock.analysis.signature import Column, Scalar, Signature
from penstock.api.v1alpha1 import modeldeployment as api
from penstock.api.v1alpha1.modeldeployment_status import (
    Condition,
    HistoryEntry,
    ModelDeploymentStatus,
    Outcome,
    Phase,
    Rejected,
    Split,
)
from penstock.rollout import decide, revision, world
from penstock.rollout.world import EnsureRevision, PruneRecords, ReadSignatures, TagModelVersion, Unread, Workload

from tests.unit.rollout.cases import (
    LOOK_AGAIN,
    NOW,
    SAME,
    V1,
    V2,
    V3,
    Case,
    ago,
    canary,
    candidate,
    entry,
    made,
    normal,
    seen,
    serving,
    spec,
    to,
    warning,
)

ONLY_V1 = {V1: Workload(2, 2)}
OTHER = Signature(
    inputs=(Column("amount", Scalar("string")), Column("country", Scalar("string"))),
    outputs=(Column("label", Scalar("string")),),
)
WIDER = Signature(inputs=(*(SAME.inputs or ()), Column("note", Scalar("string"), required=False)), outputs=SAME.outputs)
DOWN = Unread("the registry at http://mlflow:5000 cannot be used: connection refused")
DENIED = Unread("the registry at http://mlflow:5000 wants credentials", retryable=False)


def policy(name: api.SignaturePolicy) -> api.ModelDeploymentSpec:
    return spec().model_copy(update={"model": spec().model.model_copy(update={"signature_policy": name})})


EXACT, IGNORE = policy(api.SignaturePolicy.EXACT), policy(api.SignaturePolicy.IGNORE)


def read(of_stable: Any = SAME, of_wanted: Any = SAME, seconds_ago: float = 1, **changes: Any) -> world.Signatures:
    return world.Signatures(V1, V2, of_stable, of_wanted, at=ago(seconds_ago), **changes)


def knowing(signatures: world.Signatures | None, **changes: Any) -> world.Seen:
    return seen(workloads=ONLY_V1, signatures=signatures, **changes)


TOLD = normal("RolloutStarted", f"rolling out version 2 of fraud (revision {V2}) instead of version 1")
STARTED: dict[str, Any] = {
    "phase": Phase.PROGRESSING,
    "message": "starting 2 pods of version 2",
    "candidate": candidate(started_at=NOW, waiting_since=NOW, ready_replicas=0),
}
START: dict[str, Any] = {
    "changes": STARTED,
    "actions": (EnsureRevision(V2, 2, made(V2)),),
    "events": (TOLD,),
    "wake": LOOK_AGAIN,
}
ABOUT_TO = {"phase": Phase.PROGRESSING, "message": "version 2 is about to be rolled out"}
ASK: dict[str, Any] = {"changes": ABOUT_TO, "actions": (ReadSignatures(V1, made(V2)),), "wake": LOOK_AGAIN}

DOES_NOT_FIT = (
    "version 2's signature does not fit version 1's callers: input 'amount' changed from double to string; "
    "required input 'country' is new; output 'score' is gone. Set model.signaturePolicy to Ignore to roll it out anyway"
)
IS_NOT_THE_SAME = (
    "version 2's signature is not the same as version 1's: input 'note' is new. Set model.signaturePolicy to Ignore, "
    "or to Compatible if that is enough, to roll it out anyway"
)
WITHOUT = (
    "version 2 has no signature, so version 2 is rolled out uncompared: log models with a signature, for example with "
    "mlflow.models.infer_signature"
)
NOT_EXACTLY = (
    "version 1, which is stable, has no signature, so nothing can be compared: log models with a signature, for example "
    "with mlflow.models.infer_signature, or set model.signaturePolicy to Compatible or Ignore"
)
CANNOT = f"the signatures of version 2 and of stable cannot be compared: {DOWN.message}"
WAITS = f"version 2 waits: {CANNOT}. Set model.signaturePolicy to Compatible or Ignore to roll it out without"


def refused(
    reason: str, message: str, of: api.ModelDeploymentSpec, earlier: tuple[HistoryEntry, ...] = ()
) -> dict[str, Any]:
    ended = entry(Outcome.REJECTED, reason, message, started_at=NOW)
    told = Rejected(revision=V2, fingerprint=revision.fingerprint(of), reason=reason, message=message)
    kept = frozenset({V1, V2, *(known.revision for known in earlier)})
    return {
        "changes": {
            "phase": Phase.DEGRADED,
            "message": message,
            "history": [ended, *earlier],
            "rejected": told,
        },
        "actions": (PruneRecords(kept), TagModelVersion(ended)),
        "events": (warning(reason, message),),
        "wake": LOOK_AGAIN,
    }


BOUNDED = spec(rollout={"history_limit": 1})
EARLIER = entry(Outcome.PROMOTED, "Promoted", "every step passed", V3, tagged=True)
REFUSED = refused("SignatureIncompatible", DOES_NOT_FIT, spec())["changes"]
TAGGED = serving(**{**REFUSED, "history": [REFUSED["history"][0].model_copy(update={"tagged": True})]})

CASES = {
    "signatures that nobody has read are asked for": Case(serving(), knowing(None), **ASK),
    "those of other revisions are no answer": Case(
        serving(), knowing(replace(read(), wanted=V3, of_wanted=OTHER)), **ASK
    ),
    "those of another stable revision are no answer": Case(serving(), knowing(replace(read(), stable=V3)), **ASK),
    "old ones are read again": Case(serving(), knowing(read(of_wanted=OTHER, seconds_ago=60)), **ASK),
    "a signature that fits starts the rollout": Case(serving(), knowing(read(of_wanted=WIDER)), **START),
    "one that does not is refused, and has no pods": Case(
        serving(), knowing(read(of_wanted=OTHER)), **refused("SignatureIncompatible", DOES_NOT_FIT, spec())
    ),
    "a refusal keeps the history and its records": Case(
        serving(history=[EARLIER]),
        knowing(read(of_wanted=OTHER)),
        **refused("SignatureIncompatible", DOES_NOT_FIT, spec(), (EARLIER,)),
    ),
    "a refusal bounds the history": Case(
        serving(history=[EARLIER]),
        knowing(read(of_wanted=OTHER)),
        BOUNDED,
        **refused("SignatureIncompatible", DOES_NOT_FIT, BOUNDED),
    ),
    "Exact refuses what is not the same": Case(
        serving(), knowing(read(of_wanted=WIDER)), EXACT, **refused("SignatureIncompatible", IS_NOT_THE_SAME, EXACT)
    ),
    "Exact takes what is the same": Case(serving(), knowing(read()), EXACT, **START),
    "Ignore asks nobody": Case(serving(), knowing(None), IGNORE, **START),
    "Ignore takes everything": Case(serving(), knowing(read(of_wanted=OTHER)), IGNORE, **START),
    "a version without a signature is rolled out with a warning": Case(
        serving(),
        knowing(read(of_wanted=None)),
        **{**START, "events": (warning("SignatureMissing", WITHOUT), TOLD)},
    ),
    "Exact wants a signature": Case(
        serving(), knowing(read(of_stable=None)), EXACT, **refused("SignatureMissing", NOT_EXACTLY, EXACT)
    ),
    "versions of another model are not compared": Case(
        serving(), knowing(read(of_stable=None, of_wanted=None, same_model=False)), **START
    ),
    "what cannot be read for the moment is waited for": Case(
        serving(), knowing(read(DOWN, DOWN)), changes=ABOUT_TO, wake=4
    ),
    "and tried again": Case(serving(), knowing(read(DOWN, seconds_ago=5)), **ASK),
    "and later every time": Case(serving(), knowing(read(DOWN, seconds_ago=5, tries=3)), changes=ABOUT_TO, wake=15),
    "and the fourth time it is done without": Case(
        serving(),
        knowing(read(DOWN, tries=4)),
        **{**START, "events": (warning("SignatureUnreadable", f"{CANNOT}. Version 2 is rolled out without"), TOLD)},
    ),
    "what needs a person is not waited for": Case(
        serving(),
        knowing(read(SAME, DENIED)),
        **{
            **START,
            "events": (
                warning(
                    "SignatureUnreadable",
                    "the signatures of version 2 and of stable cannot be compared: the registry at http://mlflow:5000 "
                    "wants credentials. Version 2 is rolled out without",
                ),
                TOLD,
            ),
        },
    ),
    "Exact waits for what cannot be read": Case(
        serving(),
        knowing(read(DOWN, tries=9)),
        EXACT,
        changes={"phase": Phase.PAUSED, "message": WAITS},
        wake=29,
    ),
    "and goes on trying": Case(
        serving(),
        knowing(read(DOWN, seconds_ago=30, tries=9)),
        EXACT,
        changes={"phase": Phase.PAUSED, "message": WAITS},
        actions=(ReadSignatures(V1, made(V2)),),
        wake=LOOK_AGAIN,
    ),
    "the first version has nobody to fit": Case(
        ModelDeploymentStatus(observed_generation=1),
        seen(workloads={}, applied=Split(), signatures=None),
        changes={
            "phase": Phase.INITIALIZING,
            "message": "starting 2 pods of version 2",
            "candidate": candidate(started_at=NOW, waiting_since=NOW, ready_replicas=0),
        },
        actions=(EnsureRevision(V2, 2, made(V2)),),
        events=(normal("RolloutStarted", f"rolling out version 2 of fraud (revision {V2})"),),
        wake=LOOK_AGAIN,
    ),
    "another template of the same version fits": Case(
        serving(),
        replace(knowing(None), wanted=replace(made(V2), version=1)),
        changes={
            "phase": Phase.PROGRESSING,
            "message": "starting 2 pods of version 1",
            "candidate": candidate(model_version=1, started_at=NOW, waiting_since=NOW, ready_replicas=0),
        },
        actions=(EnsureRevision(V2, 2, replace(made(V2), version=1)),),
        events=(normal("RolloutStarted", f"rolling out version 1 of fraud (revision {V2}) instead of version 1"),),
        wake=LOOK_AGAIN,
    ),
    "a paused rollout asks nobody": Case(
        serving(),
        knowing(None),
        spec(rollout={"paused": True}),
        changes={"phase": Phase.PAUSED, "message": "version 2 waits: set rollout.paused to false to roll it out"},
    ),
    "a rollout that has started is not asked about": Case(canary(), seen(applied=to(10), signatures=None), wake=5),
    "a refused version does not come back by itself": Case(
        TAGGED,
        knowing(read(of_wanted=OTHER)),
    ),
    "nor with a poll interval of another length": Case(
        TAGGED,
        knowing(read(of_wanted=OTHER)),
        spec().model_copy(update={"model": spec().model.model_copy(update={"poll_seconds": 60})}),
    ),
    "a refused version gets another chance when the policy is edited": Case(
        TAGGED,
        knowing(read(of_wanted=OTHER)),
        IGNORE,
        **{**START, "changes": {**STARTED, "rejected": None}},
    ),
    "and is compared again when a person retries it": Case(
        TAGGED,
        knowing(None),
        annotations={"retry": V2},
        changes={**ABOUT_TO, "rejected": None, "handled": {"retry": V2}},
        actions=(ReadSignatures(V1, made(V2)),),
        events=(normal("Retry", f"revision {V2} may try again"),),
        wake=LOOK_AGAIN,
    ),
    "and is forgotten when the alias moves back": Case(
        TAGGED,
        seen(V1, workloads=ONLY_V1),
        changes={"rejected": None, "phase": Phase.HEALTHY, "message": "version 1 serves"},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_version_at_the_gate(case: Case) -> None:
    assert case.answer() == case.expected()


def test_the_policy_is_no_part_of_what_a_revision_is() -> None:
    names = set()
    for wanted in (spec(), EXACT, IGNORE):
        rendered = revision.render(
            wanted, ports.ModelVersion("fraud", 2), revision.Defaults("http://mlflow:5000", None, "r"), "http://m"
        )
        names.add(rendered.name)
    assert len(names) == 1
    assert len({revision.fingerprint(wanted) for wanted in (spec(), EXACT, IGNORE)}) == 3


# --- the condition

FITS = "the signature of version 2 fits the callers of version 1"
NEITHER = (
    "neither version 2 nor version 1, which is stable, has a signature, so version 2 is rolled out uncompared: log models "
    "with a signature, for example with mlflow.models.infer_signature"
)
CONDITIONS: Mapping[str, tuple[Case, tuple[str, str, str] | None]] = {
    "while it is asked for": (Case(serving(), knowing(None)), None),
    "when it fits": (Case(serving(), knowing(read())), ("True", "SignatureFits", FITS)),
    "when it is the same": (
        Case(serving(), knowing(read()), EXACT),
        ("True", "SignatureFits", "the signature of version 2 is the same as version 1"),
    ),
    "when it does not": (
        Case(serving(), knowing(read(of_wanted=OTHER))),
        ("False", "SignatureIncompatible", DOES_NOT_FIT),
    ),
    "when there is none": (Case(serving(), knowing(read(of_wanted=None))), ("False", "SignatureMissing", WITHOUT)),
    "when neither version has one": (
        Case(serving(), knowing(read(None, None))),
        (
            "False",
            "SignatureMissing",
            NEITHER,
        ),
    ),
    "while it cannot be read": (Case(serving(), knowing(read(DOWN))), ("Unknown", "SignatureUnreadable", CANNOT)),
    "when it could not be read": (
        Case(serving(), knowing(read(DOWN, tries=4))),
        ("Unknown", "SignatureUnreadable", f"{CANNOT}. Version 2 is rolled out without"),
    ),
    "when the model is another": (
        Case(serving(), knowing(read(None, None, same_model=False))),
        (
            "Unknown",
            "OtherModel",
            "version 2 is of another model than stable, so their signatures are not compared",
        ),
    ),
    "when nobody wants to know": (Case(serving(), knowing(read()), IGNORE), None),
}


def condition(decided: world.Decision) -> Condition | None:
    return next((known for known in decided.status.conditions if known.type == "SignatureChecked"), None)


@pytest.mark.parametrize(("case", "expected"), CONDITIONS.values(), ids=CONDITIONS)
def test_the_condition(case: Case, expected: tuple[str, str, str] | None) -> None:
    found = condition(decide.decide(case.mdep(), case.seen, NOW))
    assert (found and (found.status, found.reason, found.message)) == expected
    assert found is None or (found.last_transition_time, found.observed_generation) == (NOW, 1)


KNOWN = Condition(
    type="SignatureChecked", status="True", reason="SignatureFits", message=FITS, last_transition_time=ago(9)
)
WAS_PROMOTED = entry(Outcome.PROMOTED, "Promoted", "every step passed", V1, tagged=True)

LATER = {
    "in the rollout": (Case(canary(), seen(applied=to(10))), True),
    "when the version is stable": (Case(serving(history=[WAS_PROMOTED]), seen(V1, workloads=ONLY_V1)), True),
    "when the registry does not answer": (
        Case(serving(history=[WAS_PROMOTED]), seen(world.Unresolved("RegistryUnavailable", "down"), workloads=ONLY_V1)),
        True,
    ),
    "when the version was refused": (
        Case(serving(**REFUSED), knowing(read(of_wanted=OTHER))),
        True,
    ),
    "when the alias went back": (
        Case(serving(history=REFUSED["history"]), seen(V1, workloads=ONLY_V1)),
        False,
    ),
    "when nobody wants to know any more": (
        Case(serving(history=[WAS_PROMOTED]), seen(V1, workloads=ONLY_V1), IGNORE),
        False,
    ),
    "while the next version is asked about": (Case(serving(history=[WAS_PROMOTED]), knowing(None)), True),
}


@pytest.mark.parametrize(("case", "stays"), LATER.values(), ids=LATER)
def test_the_condition_stays_as_long_as_it_matters(case: Case, stays: bool) -> None:
    case = replace(case, status=case.status.model_copy(update={"conditions": [KNOWN]}))
    found = condition(decide.decide(case.mdep(), case.seen, NOW))
    assert found == (KNOWN.model_copy(update={"observed_generation": 1}) if stays else None)


def test_a_condition_that_stays_true_keeps_its_time() -> None:
    case = Case(serving(conditions=[KNOWN]), knowing(read()))
    found = condition(decide.decide(case.mdep(), case.seen, NOW + datetime.timedelta(seconds=1)))
    assert found is not None
    assert found.last_transition_time == ago(9)
