"""Which revision is wanted: what the registry, the Secret and the settings say, and what is told when they do not."""

# ports have more arguments than a stage needs
# ruff: noqa: ARG002

import asyncio
import datetime
from collections.abc import Mapping
from typing import Any

import pytest
from penstock import errors, ports
from penstock.analysis.signature import Column, Scalar, Signature
from penstock.api.v1alpha1.modeldeployment import ModelDeploymentSpec, ModelRef
from penstock.rollout import resolver, revision, world

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
KEY = ports.Key("ml", "fraud")
DEFAULTS = revision.Defaults("http://default:5000", "default-login", "runtime:1")
OWN = {"trackingURI": "http://own:5000", "secretRef": {"name": "login"}}
SECRETS = {
    ("ml", "login"): {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "secret\n"},
    ("ml", "empty"): {"user": "ann"},
    ("ml", "default-login"): {"MLFLOW_TRACKING_TOKEN": "t"},
}


class Registry:
    """Answers with version 3, or with what it is told to raise; remembers who asked."""

    def __init__(self) -> None:
        self.asked: list[ports.RegistryAddress] = []
        self.problem: Exception | None = None
        self.version = 3

    async def resolve(self, registry: ports.RegistryAddress, model: ModelRef) -> ports.ModelVersion:
        self.asked.append(registry)
        if self.problem is not None:
            raise self.problem
        return ports.ModelVersion(model.name, self.version)

    async def signature(self, registry: ports.RegistryAddress, version: ports.ModelVersion) -> Signature | None:
        self.asked.append(registry)
        if self.problem is not None:
            raise self.problem
        return Signature(inputs=(Column(f"{version.name} {version.version}", Scalar("double")),))

    async def tag(self, registry: ports.RegistryAddress, version: ports.ModelVersion, tags: Mapping[str, str]) -> None:
        self.asked.append(registry)


async def read_secret(namespace: str, name: str) -> dict[str, str] | None:
    return SECRETS.get((namespace, name))


def spec(**registry: Any) -> ModelDeploymentSpec:
    model: dict[str, Any] = {"name": "fraud", "alias": "champion", "pollSeconds": 15}
    return ModelDeploymentSpec.model_validate({"model": {**model, **({"registry": registry} if registry else {})}})


class Asking:
    """A resolver and what it told."""

    def __init__(self, defaults: revision.Defaults = DEFAULTS) -> None:
        self.registry = Registry()
        self.changed: list[ports.Key] = []
        self.resolver = resolver.Resolver(self.registry, read_secret, defaults, self.changed.append)

    async def answer(self, wanted: ModelDeploymentSpec, now: datetime.datetime = NOW) -> resolver.Wanted:
        """What is known once the question has been answered."""
        self.resolver.current(KEY, wanted, now)
        for _ in range(5):
            await asyncio.sleep(0)
        return self.resolver.current(KEY, wanted, now)


@pytest.mark.parametrize(
    ("registry", "address"),
    [
        pytest.param({}, ports.RegistryAddress("http://default:5000", ports.Credentials(token="t")), id="the default"),
        pytest.param(OWN, ports.RegistryAddress("http://own:5000", ports.Credentials("ann", "secret")), id="its own"),
        pytest.param(
            {"trackingURI": "http://own:5000"}, ports.RegistryAddress("http://own:5000"), id="its own, without login"
        ),
    ],
)
async def test_the_registry_and_its_login(registry: dict[str, Any], address: ports.RegistryAddress) -> None:
    asking = Asking()
    wanted = await asking.answer(spec(**registry))
    assert isinstance(wanted, revision.Revision)
    assert (wanted.version, wanted.tracking_uri) == (3, address.tracking_uri)
    assert asking.registry.asked == [address]
    assert asking.changed == [KEY]


async def test_a_default_login_that_a_namespace_does_not_have_is_not_used() -> None:
    asking = Asking(revision.Defaults("http://default:5000", "nobody-has-it", "runtime:1"))
    assert isinstance(await asking.answer(spec()), revision.Revision)
    assert asking.registry.asked == [ports.RegistryAddress("http://default:5000")]


@pytest.mark.parametrize(
    ("registry", "reason", "says"),
    [
        pytest.param(
            {**OWN, "secretRef": {"name": "gone"}}, "CredentialsMissing", "Secret gone does not exist", id="no Secret"
        ),
        pytest.param(
            {**OWN, "secretRef": {"name": "empty"}}, "CredentialsMissing", "has none of the keys", id="no key"
        ),
    ],
)
async def test_a_login_that_cannot_be_read_is_told(registry: dict[str, Any], reason: str, says: str) -> None:
    asking = Asking()
    wanted = await asking.answer(spec(**registry))
    assert isinstance(wanted, world.Unresolved)
    assert (wanted.reason, wanted.retryable) == (reason, False)
    assert says in wanted.message
    assert asking.registry.asked == []


async def test_without_any_registry_the_setting_is_named() -> None:
    wanted = await Asking(revision.Defaults(None, None, "runtime:1")).answer(spec())
    assert isinstance(wanted, world.Unresolved)
    assert (wanted.reason, "spec.model.registry.trackingURI" in wanted.message) == ("Misconfigured", True)


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (errors.RegistryUnavailable("no answer"), world.Unresolved("RegistryUnavailable", "no answer", retryable=True)),
        (errors.AliasNotFound("no alias"), world.Unresolved("AliasNotFound", "no alias", retryable=False)),
        (
            KeyError("secret"),
            world.Unresolved("RegistryUnavailable", "the registry could not be asked: KeyError", retryable=True),
        ),
    ],
    ids=["unavailable", "no alias", "a defect"],
)
async def test_what_a_registry_that_does_not_answer_means(problem: Exception, expected: world.Unresolved) -> None:
    asking = Asking()
    asking.registry.problem = problem
    assert await asking.answer(spec()) == expected


async def test_an_answer_is_kept_and_renewed_in_the_background() -> None:
    asking = Asking()
    first = await asking.answer(spec())
    asking.registry.version = 4
    assert asking.resolver.current(KEY, spec(), NOW + datetime.timedelta(seconds=14)) == first
    later = NOW + datetime.timedelta(seconds=15)
    assert asking.resolver.current(KEY, spec(), later) == first
    assert asking.resolver.next_look(KEY, spec(), later) == later + datetime.timedelta(seconds=15)
    second = await asking.answer(spec(), later)
    assert isinstance(second, revision.Revision)
    assert (second.version, len(asking.registry.asked), asking.changed) == (4, 2, [KEY, KEY])


async def test_another_question_is_not_answered_with_an_old_answer() -> None:
    asking = Asking()
    await asking.answer(spec())
    assert asking.resolver.current(KEY, spec(trackingURI="http://other:5000"), NOW) == world.RESOLVING


async def test_what_is_forgotten_is_asked_anew() -> None:
    asking = Asking()
    await asking.answer(spec())
    asking.resolver.forget(KEY)
    assert asking.resolver.current(KEY, spec(), NOW) == world.RESOLVING
    asking.resolver.forget(KEY)
