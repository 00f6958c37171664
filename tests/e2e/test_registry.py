"""The registry is missing, refuses, or does not know: a condition says so with a cure, and stable goes on serving."""

import pytest
from penstock.api.v1alpha1.modeldeployment_status import ModelDeploymentStatus, Outcome, Phase

from tests.e2e import gate, seen, specs
from tests.e2e import stage as stages
from tests.e2e.catalogue import Kind
from tests.e2e.kube import Json
from tests.e2e.stage import Stage
from tests.e2e.theatre import scenario

SECRET = "registry-login"


async def build_gate(stage: Stage, *, login: bool = False, replicas: int = 1) -> None:
    """Put a registry that can be broken into the scenario's namespace."""
    for path, body in gate.objects(stage.namespace, stage.world.registry, login=login, replicas=replicas):
        await stage.kube.apply(path, body)


async def gate_is(stage: Stage, *, up: bool) -> None:
    """Start or stop it, and wait until it is so."""
    await stage.kube.scale(stage.namespace, gate.NAME, 1 if up else 0)

    async def so() -> bool:
        slices = await stage.kube.items(
            f"/apis/discovery.k8s.io/v1/namespaces/{stage.namespace}/endpointslices",
            query={"labelSelector": f"kubernetes.io/service-name={gate.NAME}"},
        )
        return any(end["conditions"].get("ready") for one in slices for end in one.get("endpoints") or []) is up

    await stage.eventually(so, "the registry is " + ("up" if up else "down"))


async def secret(stage: Stage, password: str) -> None:
    """Write the login."""
    path = f"/api/v1/namespaces/{stage.namespace}/secrets/{SECRET}"
    data = {"MLFLOW_TRACKING_USERNAME": gate.USERNAME, "MLFLOW_TRACKING_PASSWORD": password}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "stringData": data}
    await stage.kube.apply(path, body)


def through_gate(stage: Stage, *, login: bool = False) -> Json:
    """A model whose registry is the gate."""
    registry: Json = {"trackingURI": gate.address(stage.namespace)}
    if login:
        registry["secretRef"] = {"name": SECRET}
    return {"alias": stage.alias, "registry": registry}


def unresolved(reason: str) -> stages.Check:
    """Whether the version is not resolved for this reason."""
    return lambda status: seen.condition(status, "ModelResolved")[1] == reason


@scenario()
async def test_a_rollout_waits_for_a_registry_that_is_down(stage: Stage) -> None:
    await build_gate(stage, replicas=0)
    await stage.point(Kind.GOOD)
    await stage.apply(specs.spec(stage, model=through_gate(stage)))
    status = await stage.until(unresolved("RegistryUnavailable"), "the registry is said to be missing")
    assert status.phase is Phase.PENDING
    assert gate.address(stage.namespace) in seen.condition(status, "ModelResolved")[2]
    await gate_is(stage, up=True)
    first = await stage.until(lambda status: seen.serves(status, stage.version(Kind.GOOD)), "it serves")
    async with stage.callers() as traffic:
        await gate_is(stage, up=False)
        await stage.point(Kind.BETTER)
        status = await stage.until(unresolved("RegistryUnavailable"), "the registry is said to be missing")
        assert seen.condition(status, "ModelResolved")[0] == "Unknown"
        assert seen.condition(status, "Serving")[0] == "True"
        await stage.never(lambda status: status.stable != first.stable, "what serves changes", seconds=5)
        await gate_is(stage, up=True)
        status = await stage.until(
            lambda status: seen.serves(status, stage.version(Kind.BETTER)), "the better version serves"
        )
    seen.unharmed(traffic.summary())
    assert status.history[0].outcome is Outcome.PROMOTED


@scenario()
async def test_a_registry_that_goes_down_in_a_canary_changes_nothing(stage: Stage) -> None:
    await build_gate(stage)
    await gate_is(stage, up=True)
    await stage.serve(specs.spec(stage, model=through_gate(stage), steps=[specs.canary(40, 8)]))
    async with stage.callers() as traffic:
        await stage.point(Kind.BETTER)
        await stage.until(lambda status: seen.in_step(status, "canary"), "the canary begins")
        await gate_is(stage, up=False)
        status = await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "it is promoted")
        assert not status.history[0].tagged
        await gate_is(stage, up=True)
        await stage.until(lambda status: status.history[0].tagged, "the registry is told")
    seen.unharmed(traffic.summary())


@scenario()
async def test_a_login_that_is_missing_or_wrong_is_named(stage: Stage) -> None:
    await build_gate(stage, login=True)
    await gate_is(stage, up=True)
    await stage.point(Kind.GOOD)
    await stage.apply(specs.spec(stage, model=through_gate(stage, login=True)))
    status = await stage.until(unresolved("CredentialsMissing"), "the Secret is said to be missing")
    assert SECRET in seen.condition(status, "ModelResolved")[2]
    assert seen.condition(status, "Stalled")[0] == "True"
    await secret(stage, "battery staple")
    status = await stage.until(unresolved("RegistryDenied"), "the login is said to be wrong")
    assert "battery staple" not in status.model_dump_json()
    await secret(stage, gate.PASSWORD)
    await stage.until(lambda status: seen.serves(status, stage.version(Kind.GOOD)), "it serves")
    async with stage.callers() as traffic:
        await secret(stage, "battery staple")
        await stage.point(Kind.BETTER)
        status = await stage.until(unresolved("RegistryDenied"), "the login is said to be wrong")
        assert seen.serves(status, stage.version(Kind.GOOD))
        await secret(stage, gate.PASSWORD)
        await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "it goes on")
    seen.unharmed(traffic.summary())
    said = f"{await stage.events()} {(await stage.status()).model_dump_json()} {await stage.operator_log()}"
    assert gate.PASSWORD not in said
    assert "battery staple" not in said


@scenario()
@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        pytest.param("http://127.0.0.1:9", "Misconfigured", id="the operator itself, which it does not call"),
        pytest.param("http://no-such-host.invalid:5000", "RegistryUnavailable", id="no such host"),
        pytest.param("http://10.255.255.1:5000", "RegistryUnavailable", id="nobody answers"),
    ],
)
async def test_a_registry_that_cannot_be_reached_leaves_stable_alone(stage: Stage, uri: str, reason: str) -> None:
    first = await stage.serve(specs.spec(stage))
    async with stage.callers() as traffic:
        await stage.patch({"model": {"registry": {"trackingURI": uri}}})
        status = await stage.until(unresolved(reason), "the registry is said to be out of reach")
        assert uri in seen.condition(status, "ModelResolved")[2]
        assert status.stable == first.stable
        await stage.never(lambda status: status.stable != first.stable, "what serves changes", seconds=4)
    seen.unharmed(traffic.summary())


def _changed(stable: ModelDeploymentStatus) -> stages.Check:
    return lambda status: status.stable != stable.stable


@scenario()
async def test_an_alias_that_is_missing_is_named_and_its_return_is_noticed(stage: Stage) -> None:
    await stage.apply(specs.spec(stage))
    status = await stage.until(unresolved("AliasNotFound"), "the alias is said to be missing")
    assert stage.alias in seen.condition(status, "ModelResolved")[2]
    assert seen.condition(status, "Stalled")[0] == "True"
    await stage.point(Kind.GOOD)
    first = await stage.until(lambda status: seen.serves(status, stage.version(Kind.GOOD)), "it serves")
    async with stage.callers() as traffic:
        await stage.unpoint()
        await stage.until(unresolved("AliasNotFound"), "the alias is said to be missing")
        await stage.never(_changed(first), "what serves changes", seconds=4)
        await stage.point(Kind.BETTER)
        await stage.until(lambda status: seen.serves(status, stage.version(Kind.BETTER)), "it is rolled out")
    seen.unharmed(traffic.summary())


@scenario()
@pytest.mark.parametrize(
    ("model", "reason"),
    [
        pytest.param({"name": "nobody-registered-this", "alias": "champion"}, "ModelNotFound", id="model"),
        pytest.param({"version": 987654}, "VersionNotFound", id="version"),
    ],
)
async def test_what_the_registry_does_not_know_is_named(stage: Stage, model: Json, reason: str) -> None:
    await stage.apply(specs.spec(stage, model=model))
    status = await stage.until(unresolved(reason), "it is said to be unknown")
    assert (status.phase, seen.condition(status, "Stalled")[0]) == (Phase.PENDING, "True")
    assert str(model.get("version", model.get("name"))) in status.message
