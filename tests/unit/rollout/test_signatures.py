"""Signatures through the whole operator: who is asked, how often, and what becomes of the version."""

import datetime
from typing import Any

import pytest
from penstock import errors, ports
from penstock.analysis.signature import Column, Scalar, Signature
from penstock.api.v1alpha1.modeldeployment_status import ModelDeploymentStatus, Outcome, Phase
from penstock.rollout import mailbox, resolver, revision, world

from tests.unit.rollout import stage as stages
from tests.unit.rollout.cases import NOW, SAME, V1, V2, V3, ago, made

OTHER = Signature(inputs=(Column("amount", Scalar("string")),), outputs=SAME.outputs)
DOWN = errors.RegistryUnavailable("the file MLmodel cannot be read: no answer in time")


def spec(**model: Any) -> stages.Json:
    return {
        "model": {"name": "fraud", "alias": "champion", "pollSeconds": 5, **model},
        "rollout": {"steps": [{"smokeTest": {}}], "scaleDownDelaySeconds": 0},
    }


async def version_2(
    signature: Signature | errors.PenstockError | None, until: Phase, **model: Any
) -> tuple[stages.Stage, ModelDeploymentStatus]:
    """Version 1 serves; version 2, with this signature, comes."""
    stage = stages.Stage()
    stage.create(spec(**model))
    await stages.play(stage, lambda: stage.mdep().status.phase is Phase.HEALTHY)
    stage.registry.signatures[2] = signature
    stage.registry.aliases["champion"] = 2

    def there() -> bool:
        status = stage.mdep().status
        return status.phase is until and (until is Phase.PAUSED or len(status.history) == 2)

    await stages.play(stage, there)
    return stage, stage.mdep().status


def checked(status: ModelDeploymentStatus) -> tuple[str, str]:
    return next((known.status, known.reason) for known in status.conditions if known.type == "SignatureChecked")


async def test_a_version_that_does_not_fit_is_refused_without_a_pod_and_the_registry_is_told() -> None:
    stage, status = await version_2(OTHER, Phase.DEGRADED)
    await stages.play(stage, lambda: stage.mdep().status.history[0].tagged)
    assert [(one.model_version, one.outcome, one.reason) for one in status.history] == [
        (2, Outcome.REJECTED, "SignatureIncompatible"),
        (1, Outcome.PROMOTED, "Promoted"),
    ]
    assert status.message == (
        "version 2's signature does not fit version 1's callers: input 'amount' changed from double to string. "
        "Set model.signaturePolicy to Ignore to roll it out anyway"
    )
    assert checked(status) == ("False", "SignatureIncompatible")
    assert [(split.split.stable is not None, split.split.candidate) for split in stage.data_plane.seen[-1:]] == [
        (True, None)
    ]
    assert [len(stage.of_kind(kind)) for kind in ("Deployment", "ControllerRevision")] == [1, 1]
    assert stage.registry.tags[2]["penstock.ml.fraud.reason"] == "SignatureIncompatible"
    assert [reason for reason, _ in stage.events].count("SignatureIncompatible") == 1


async def test_a_refused_version_is_rolled_out_once_the_policy_says_so() -> None:
    stage, _ = await version_2(OTHER, Phase.DEGRADED)
    stage.edit(lambda body: body["spec"]["model"].update(signaturePolicy="Ignore"))
    await stages.play(stage, lambda: stage.mdep().status.phase is Phase.HEALTHY)
    status = stage.mdep().status
    assert (status.stable and status.stable.model_version, status.history[0].outcome) == (2, Outcome.PROMOTED)


async def test_a_refused_version_that_was_mended_is_rolled_out_when_a_person_retries_it() -> None:
    stage, status = await version_2(OTHER, Phase.DEGRADED)
    assert status.rejected is not None
    name = status.rejected.revision
    del stage.registry.signatures[2]
    stage.edit(lambda body: body["metadata"].update(annotations={"penstock.dev/retry": name}))
    stage.now += datetime.timedelta(seconds=60)
    await stages.play(stage, lambda: stage.mdep().status.phase is Phase.HEALTHY)
    assert checked(stage.mdep().status) == ("True", "SignatureFits")


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        pytest.param(SAME, ("True", "SignatureFits"), id="it fits"),
        pytest.param(None, ("False", "SignatureMissing"), id="it has none"),
        pytest.param(DOWN, ("Unknown", "SignatureUnreadable"), id="it cannot be read for a while"),
        pytest.param(errors.Misconfigured("no file MLmodel"), ("Unknown", "SignatureUnreadable"), id="or at all"),
    ],
)
async def test_a_version_that_nothing_speaks_against_is_rolled_out(
    signature: Signature | errors.PenstockError | None, said: tuple[str, str]
) -> None:
    _, status = await version_2(signature, Phase.HEALTHY)
    assert (status.history[0].outcome, checked(status)) == (Outcome.PROMOTED, said)


async def test_exact_waits_until_the_signature_can_be_read() -> None:
    stage, status = await version_2(DOWN, Phase.PAUSED, signaturePolicy="Exact")
    assert status.message.startswith("version 2 waits: the signatures of version 2 and of stable cannot be compared")
    later = stage.now + datetime.timedelta(seconds=300)
    await stages.play(stage, lambda: stage.now > later)
    assert stage.mdep().status.phase is Phase.PAUSED
    del stage.registry.signatures[2]
    await stages.play(stage, lambda: stage.mdep().status.phase is Phase.HEALTHY)
    assert checked(stage.mdep().status) == ("True", "SignatureFits")


async def test_a_held_rollout_writes_its_status_once() -> None:
    stage, _ = await version_2(DOWN, Phase.PAUSED, signaturePolicy="Exact")
    writes, later = stage.status_writes, stage.now + datetime.timedelta(seconds=1000)
    await stages.play(stage, lambda: stage.now > later, seconds=2000)
    assert stage.status_writes == writes


# --- what the resolver reads


class Registry:
    """Remembers who was asked about what."""

    def __init__(self) -> None:
        self.asked: list[tuple[ports.RegistryAddress, str, int]] = []

    async def resolve(self, registry: ports.RegistryAddress, model: Any) -> ports.ModelVersion:
        raise AssertionError(f"nobody asks {registry} for {model}")

    async def signature(self, registry: ports.RegistryAddress, version: ports.ModelVersion) -> Signature | None:
        self.asked.append((registry, version.name, version.version))
        if version.version == 3:
            raise ZeroDivisionError("a defect")
        return SAME

    async def tag(self, registry: ports.RegistryAddress, version: ports.ModelVersion, tags: Any) -> None:
        raise AssertionError(f"nobody tags {version} of {registry} with {tags}")


async def read_secret(namespace: str, name: str) -> dict[str, str] | None:
    known = {"login": {"MLFLOW_TRACKING_TOKEN": "t"}, "empty": {"user": "ann"}}
    return known.get(name) if namespace == "ml" else None


async def read(stable: revision.Revision | None, wanted: revision.Revision) -> tuple[Registry, world.Signatures]:
    registry = Registry()
    asking = resolver.Resolver(registry, read_secret, revision.Defaults(None, None, "r"), lambda _: None)
    action = world.ReadSignatures(V1, wanted)
    return registry, await asking.signatures(ports.Key("ml", "fraud"), action, stable, NOW)


def recorded(name: str, **changes: Any) -> revision.Revision:
    return revision.Revision.from_data({**made(name).to_data(), **changes})


async def test_each_version_is_asked_for_where_it_was_found() -> None:
    old = recorded(V1, trackingURI="http://old:5000", credentialsSecret="login")
    registry, found = await read(old, recorded(V2, credentialsSecret="gone"))
    assert registry.asked == [
        (ports.RegistryAddress("http://old:5000", ports.Credentials(token="t")), "fraud", 1),
        (ports.RegistryAddress("http://mlflow:5000"), "fraud", 2),
    ]
    assert found == world.Signatures(V1, V2, SAME, SAME, at=NOW)


async def test_versions_of_another_model_are_not_asked_for() -> None:
    registry, found = await read(recorded(V1, model="churn"), made(V2))
    assert registry.asked == []
    assert found == world.Signatures(V1, V2, None, None, at=NOW, same_model=False)


UNREAD = {
    "a record that is gone": (None, made(V2), f"the record of revision {V1} is gone", False),
    "a Secret without a login": (
        recorded(V1, credentialsSecret="empty"),
        made(V2),
        (
            "Secret empty has none of the keys MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD and "
            "MLFLOW_TRACKING_TOKEN: add them"
        ),
        False,
    ),
    "a defect": (made(V1), made(V3), "the signature of version 3 could not be read: ZeroDivisionError", True),
}


@pytest.mark.parametrize(("stable", "wanted", "message", "retryable"), UNREAD.values(), ids=UNREAD)
async def test_why_it_is_not_known(
    stable: revision.Revision | None, wanted: revision.Revision, message: str, *, retryable: bool
) -> None:
    _, found = await read(stable, wanted)
    assert found.unread == world.Unread(message, retryable=retryable)


def test_what_needs_a_person_is_told_first() -> None:
    final = world.Unread("no login", retryable=False)
    assert world.Signatures(V1, V2, world.Unread("no answer"), final, at=NOW).unread == final


# --- counting tries


def tried(seconds_ago: float, wanted: str = V2, why: world.Unread | None = None) -> world.Signatures:
    return world.Signatures(V1, wanted, SAME, why or SAME, at=ago(seconds_ago))


NO_ANSWER = world.Unread("no answer in time")
TRIES = {
    "the first": ((), tried(0, why=NO_ANSWER), 1),
    "soon after one that failed": ((tried(5, why=NO_ANSWER),), tried(0, why=NO_ANSWER), 2),
    "after two": ((tried(15, why=NO_ANSWER), tried(5, why=NO_ANSWER)), tried(0), 3),
    "after one that worked": ((tried(5),), tried(0, why=NO_ANSWER), 1),
    "after one about another version": ((tried(5, V3, NO_ANSWER),), tried(0, why=NO_ANSWER), 1),
    "long after": ((tried(120, why=NO_ANSWER),), tried(0, why=NO_ANSWER), 1),
}


@pytest.mark.parametrize(("before", "answer", "tries"), TRIES.values(), ids=TRIES)
def test_tries_are_counted(before: tuple[world.Signatures, ...], answer: world.Signatures, tries: int) -> None:
    mail = mailbox.Mailbox()
    for one in (*before, answer):
        mail.heard(one)
    assert mail.signatures is not None
    assert mail.signatures.tries == tries
