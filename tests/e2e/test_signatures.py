"""A version's signature against stable's: what does not fit is refused before a pod of it runs, and callers see nothing."""

from collections.abc import Sequence

from penstock.api.v1alpha1.modeldeployment_status import ModelDeploymentStatus, Outcome, Phase

from tests.e2e import seen, specs
from tests.e2e import stage as stages
from tests.e2e.catalogue import Kind
from tests.e2e.kube import Json
from tests.e2e.stage import Stage
from tests.e2e.theatre import scenario

CAREFUL: Sequence[Json] = (specs.SMOKE, {"pause": {}})
"""No caller's request reaches the version."""


def following(stage: Stage, policy: str) -> Json:
    """A model with this policy."""
    return {"alias": stage.alias, "signaturePolicy": policy}


def checked(status: ModelDeploymentStatus) -> tuple[str, str]:
    """What is said of the signatures."""
    return seen.condition(status, "SignatureChecked")[:2]


async def refused(stage: Stage, kind: Kind) -> ModelDeploymentStatus:
    """Wait until a version of this kind is refused."""
    return await stage.until(lambda status: seen.ended(status, stage.version(kind)), f"{kind} is refused")


@scenario()
async def test_a_version_that_does_not_fit_is_refused_without_a_pod(stage: Stage) -> None:
    first = await stage.serve(specs.spec(stage, steps=CAREFUL))
    assert first.stable is not None
    before = await stage.owned()
    async with stage.callers() as traffic:
        await stage.point(Kind.MISFIT)
        status = await refused(stage, Kind.MISFIT)
        entry = status.history[0]
        assert (entry.outcome, entry.reason) == (Outcome.REJECTED, "SignatureIncompatible")
        assert (status.phase, status.stable, checked(status)) == (
            Phase.DEGRADED,
            first.stable,
            ("False", "SignatureIncompatible"),
        )
        for said in ("input 'x' changed from double to string", "required input 'country' is new", "signaturePolicy"):
            assert said in status.message
        await stage.never(lambda status: status.candidate is not None, "it comes back by itself", seconds=4)
        assert await stage.owned() == before
        await stage.until(lambda status: status.history[0].tagged, "the registry is told")
        assert (await stage.tags(Kind.MISFIT))[f"penstock.{stage.namespace}.{stages.NAME}.reason"] == entry.reason
        assert [reason for reason, _ in await stage.events()].count("SignatureIncompatible") == 1
        await stage.patch({"model": {"signaturePolicy": "Ignore"}})
        status = await stage.until(lambda status: seen.in_step(status, "pause"), "it is rolled out after all")
        assert checked(status) == ("", "")
        await stage.point(Kind.GOOD)
        await stage.until(
            lambda status: seen.serves(status, stage.version(Kind.GOOD)), "the good version is wanted again"
        )
    seen.unharmed(traffic.summary())


@scenario()
async def test_a_version_that_takes_more_fits(stage: Stage) -> None:
    await stage.serve(specs.spec(stage))
    async with stage.callers() as traffic:
        await stage.point(Kind.ROOMY)
        status = await stage.until(
            lambda status: seen.serves(status, stage.version(Kind.ROOMY)), "the roomy version serves"
        )
        assert (status.history[0].outcome, checked(status)) == (Outcome.PROMOTED, ("True", "SignatureFits"))
        await stage.patch({"model": {"signaturePolicy": "Exact"}})
        await stage.point(Kind.BETTER)
        status = await refused(stage, Kind.BETTER)
        assert "is not the same as" in status.message
        assert "input 'note' is gone" in status.message
    seen.unharmed(traffic.summary())


@scenario()
async def test_a_version_without_a_signature_is_rolled_out_with_a_warning_and_not_where_exact_is_asked_for(
    stage: Stage,
) -> None:
    await stage.serve(specs.spec(stage, model=following(stage, "Exact"), steps=CAREFUL[:1]))
    async with stage.callers() as traffic:
        await stage.point(Kind.UNSIGNED)
        status = await refused(stage, Kind.UNSIGNED)
        assert (status.history[0].reason, checked(status)) == ("SignatureMissing", ("False", "SignatureMissing"))
        assert "infer_signature" in status.message
        # the same spec without the smoke test, for which the version has no example
        await stage.apply(specs.spec(stage, model=following(stage, "Compatible"), steps=[specs.canary(20)]))
        status = await stage.until(
            lambda status: seen.serves(status, stage.version(Kind.UNSIGNED)), "the unsigned version serves"
        )
        assert checked(status) == ("False", "SignatureMissing")
        assert "SignatureMissing" in [reason for reason, _ in await stage.events()]
    seen.unharmed(traffic.summary())
