"""The registry adapter against real MLflow servers, with and without authentication."""

import asyncio
import json
import pathlib
import urllib.request
import uuid
from collections.abc import AsyncIterator

import pytest
from penstock import errors, ports
from penstock.adapters import mlflow_peers, mlflow_registry, mlflow_store
from penstock.api.v1alpha1.modeldeployment import ModelRef

from tests.adapters import servers
from tests.adapters.conftest import ADMIN

pytestmark = pytest.mark.adapters

ANYWHERE = mlflow_peers.Peers(forbidden=())
"""The servers of these tests listen on the loopback."""

SECRET = "hunter2-never-print-this"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def registry(clock: Clock) -> AsyncIterator[mlflow_registry.Mlflow]:
    mlflow = mlflow_registry.Mlflow(clock=clock, peers=ANYWHERE)
    yield mlflow
    mlflow.close()


def admin(url: str) -> ports.RegistryAddress:
    return ports.RegistryAddress(url, ports.Credentials(*ADMIN))


def client(address: ports.RegistryAddress) -> mlflow_store.Store:
    return mlflow_store.Store(address, mlflow_store.Limits(read_seconds=30), mlflow_peers.session(ANYWHERE))


def registered(address: ports.RegistryAddress, name: str | None = None, versions: int = 1) -> str:
    """A new model with so many versions; alias champion is on the last."""
    name = name or f"fraud-{uuid.uuid4().hex[:8]}"
    store = client(address)
    store.create_registered_model(name)
    for _ in range(versions):
        store.create_model_version(name, "s3://models/fraud", run_id=None)
    if versions:
        store.set_registered_model_alias(name, "champion", str(versions))
    return name


@pytest.fixture
def address(mlflow_url: str) -> ports.RegistryAddress:
    return ports.RegistryAddress(mlflow_url)


async def test_an_alias_names_a_version(registry: mlflow_registry.Mlflow, address: ports.RegistryAddress) -> None:
    name = registered(address, versions=2)
    assert await registry.resolve(address, ModelRef(name=name, alias="champion")) == ports.ModelVersion(name, 2)


async def test_a_number_names_a_version(registry: mlflow_registry.Mlflow, address: ports.RegistryAddress) -> None:
    name = registered(address, versions=2)
    assert await registry.resolve(address, ModelRef(name=name, version=1)) == ports.ModelVersion(name, 1)


async def test_a_version_knows_its_run(registry: mlflow_registry.Mlflow, address: ports.RegistryAddress) -> None:
    name = registered(address, versions=0)
    client(address).create_model_version(name, "s3://models/fraud", run_id="a1b2c3")
    assert await registry.resolve(address, ModelRef(name=name, version=1)) == ports.ModelVersion(name, 1, "a1b2c3")


async def test_a_name_may_be_any_text(registry: mlflow_registry.Mlflow, address: ports.RegistryAddress) -> None:
    name = registered(address, f"Betrug & Äpfel?#% {uuid.uuid4().hex[:8]}")
    assert await registry.resolve(address, ModelRef(name=name, alias="champion")) == ports.ModelVersion(name, 1)


async def test_an_alias_that_moves_is_seen_after_the_poll_and_not_before(
    registry: mlflow_registry.Mlflow, clock: Clock, address: ports.RegistryAddress
) -> None:
    name = registered(address, versions=2)
    model = ModelRef(name=name, alias="champion", poll_seconds=15)
    seen = [await registry.resolve(address, model)]
    client(address).set_registered_model_alias(name, "champion", "1")
    for seconds in (10, 5):
        clock.now += seconds
        seen.append(await registry.resolve(address, model))
    assert [version.version for version in seen] == [2, 2, 1]


async def test_every_caller_gets_an_answer_as_young_as_it_asks_for(
    registry: mlflow_registry.Mlflow, clock: Clock, address: ports.RegistryAddress
) -> None:
    name = registered(address)
    async with servers.relaying(address.tracking_uri) as wire:
        through = ports.RegistryAddress(wire.url)
        counts = []
        for seconds, poll in ((0, 60), (20, 60), (0, 15), (10, 15), (0, 60)):
            clock.now += seconds
            await registry.resolve(through, ModelRef(name=name, alias="champion", poll_seconds=poll))
            counts.append(wire.requests)
    assert counts == [1, 1, 2, 2, 2]


async def test_a_hundred_at_once_are_one_request(
    registry: mlflow_registry.Mlflow, address: ports.RegistryAddress
) -> None:
    name = registered(address)
    async with servers.relaying(address.tracking_uri) as wire:
        through = ports.RegistryAddress(wire.url)
        model = ModelRef(name=name, alias="champion")
        found = await asyncio.gather(*(registry.resolve(through, model) for _ in range(100)))
        assert (found, wire.requests) == ([ports.ModelVersion(name, 1)] * 100, 1)


MISSING = {
    "a model, by alias": (
        ModelRef(name="nobody", alias="champion"),
        errors.ModelNotFound,
        "registered model 'nobody' does not exist in {url}: register it or correct spec.model.name",
    ),
    "a model, by version": (
        ModelRef(name="nobody", version=1),
        errors.ModelNotFound,
        "registered model 'nobody' does not exist in {url}: register it or correct spec.model.name",
    ),
    "an alias": (
        ModelRef(name="known", alias="challenger"),
        errors.AliasNotFound,
        (
            "alias 'challenger' of 'known' does not exist in {url}: set it, for example with "
            "MlflowClient().set_registered_model_alias('known', 'challenger', version), or correct spec.model.alias"
        ),
    ),
    "a version": (
        ModelRef(name="known", version=7),
        errors.VersionNotFound,
        "version 7 of 'known' does not exist in {url}: register it or correct spec.model.version",
    ),
    "the latest of no versions": (
        ModelRef(name="empty", alias="latest"),
        errors.AliasNotFound,
        (
            "alias 'latest' of 'empty' does not exist in {url}: set it, for example with "
            "MlflowClient().set_registered_model_alias('empty', 'latest', version), or correct spec.model.alias"
        ),
    ),
}


@pytest.fixture(scope="module")
def known(mlflow_url: str) -> ports.RegistryAddress:
    address = ports.RegistryAddress(mlflow_url)
    registered(address, "known")
    registered(address, "empty", versions=0)
    return address


@pytest.mark.parametrize(("model", "kind", "message"), MISSING.values(), ids=MISSING.keys())
async def test_what_is_missing_is_named(
    registry: mlflow_registry.Mlflow,
    known: ports.RegistryAddress,
    model: ModelRef,
    kind: type[errors.PenstockError],
    message: str,
) -> None:
    with pytest.raises(kind) as raised:
        await registry.resolve(known, model)
    assert raised.value.message == message.format(url=known.tracking_uri)


async def test_a_name_that_no_model_can_have_is_told_in_the_words_of_mlflow(
    registry: mlflow_registry.Mlflow, known: ports.RegistryAddress
) -> None:
    with pytest.raises(
        errors.ModelNotFound, match=r"no model in .* can be named 'a/b' \(.*\): correct spec.model.name"
    ):
        await registry.resolve(known, ModelRef(name="a/b", alias="champion"))


async def test_a_version_that_was_deleted_takes_its_alias_along(
    registry: mlflow_registry.Mlflow, address: ports.RegistryAddress
) -> None:
    name = registered(address)
    client(address).delete_model_version(name, "1")
    with pytest.raises(errors.AliasNotFound):
        await registry.resolve(address, ModelRef(name=name, alias="champion"))


async def test_an_error_is_asked_about_again_after_five_seconds(
    registry: mlflow_registry.Mlflow, clock: Clock, address: ports.RegistryAddress
) -> None:
    name = f"late-{uuid.uuid4().hex[:8]}"
    model = ModelRef(name=name, alias="champion", poll_seconds=600)
    with pytest.raises(errors.ModelNotFound):
        await registry.resolve(address, model)
    registered(address, name)
    clock.now += 4.9
    with pytest.raises(errors.ModelNotFound):
        await registry.resolve(address, model)
    clock.now += 0.1
    assert await registry.resolve(address, model) == ports.ModelVersion(name, 1)


async def test_tags_are_set_and_setting_them_again_changes_nothing(
    registry: mlflow_registry.Mlflow, address: ports.RegistryAddress
) -> None:
    name = registered(address)
    tags = {"penstock.dev/outcome": "RolledBack", "penstock.dev/reason": "errors: 7 of 212 requests failed (3.3 %)"}
    for _ in range(2):
        await registry.tag(address, ports.ModelVersion(name, 1), tags)
    assert client(address).get_model_version(name, "1").tags == tags


UNTAGGED = {
    "a missing version": (ports.ModelVersion("known", 9), {"a": "b"}, errors.VersionNotFound),
    "a missing model": (ports.ModelVersion("nobody", 1), {"a": "b"}, errors.ModelNotFound),
    "a tag that MLflow refuses": (ports.ModelVersion("known", 1), {"?" * 3: "b"}, errors.Misconfigured),
}


@pytest.mark.parametrize(("version", "tags", "kind"), UNTAGGED.values(), ids=UNTAGGED.keys())
async def test_what_cannot_be_tagged_says_why(
    registry: mlflow_registry.Mlflow,
    known: ports.RegistryAddress,
    version: ports.ModelVersion,
    tags: dict[str, str],
    kind: type[errors.PenstockError],
) -> None:
    with pytest.raises(kind):
        await registry.tag(known, version, tags)


async def test_a_wire_that_is_cut_and_mended(
    registry: mlflow_registry.Mlflow, clock: Clock, known: ports.RegistryAddress
) -> None:
    model = ModelRef(name="known", alias="champion", poll_seconds=1)
    async with servers.relaying(known.tracking_uri) as wire:
        through = ports.RegistryAddress(wire.url)
        assert (await registry.resolve(through, model)).version == 1
    clock.now += 10
    with pytest.raises(errors.RegistryUnavailable, match="cannot be used: connection refused"):
        await registry.resolve(through, model)
    clock.now += 10
    async with servers.relaying(known.tracking_uri, wire.port):
        assert (await registry.resolve(through, model)).version == 1


# --- with authentication


def add_user(url: str, username: str, password: str) -> None:
    request = urllib.request.Request(  # MLflow's own client takes credentials from the environment only
        f"{url}/api/2.0/mlflow/users/create",
        json.dumps({"username": username, "password": password}).encode(),
        {"Content-Type": "application/json"},
    )
    manager = urllib.request.HTTPPasswordMgrWithPriorAuth()
    manager.add_password(None, url, *ADMIN, is_authenticated=True)
    urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(manager)).open(request, timeout=30)


@pytest.fixture(scope="module")
def guarded(mlflow_auth_url: str) -> str:
    registered(admin(mlflow_auth_url), "guarded")
    add_user(mlflow_auth_url, "reader", SECRET)
    return mlflow_auth_url


GUARDED = ModelRef(name="guarded", alias="champion")


async def test_credentials_open_the_registry(registry: mlflow_registry.Mlflow, guarded: str) -> None:
    reader = ports.RegistryAddress(guarded, ports.Credentials("reader", SECRET))
    assert await registry.resolve(reader, GUARDED) == ports.ModelVersion("guarded", 1)


async def test_credentials_may_stand_in_the_address(registry: mlflow_registry.Mlflow, guarded: str) -> None:
    uri = guarded.replace("://", f"://reader:{SECRET}@")
    assert await registry.resolve(ports.RegistryAddress(uri), GUARDED) == ports.ModelVersion("guarded", 1)


DENIED = {
    "nobody": (
        ports.Credentials(),
        (
            "the registry at {url} wants credentials (answers 401 Unauthorized): name a Secret with "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, in "
            "spec.model.registry.secretRef"
        ),
    ),
    "a wrong password": (
        ports.Credentials("reader", SECRET + "x"),
        (
            "the registry at {url} refuses the credentials (answers 401 Unauthorized): correct the Secret named in "
            "spec.model.registry.secretRef"
        ),
    ),
    "a wrong token": (
        ports.Credentials(token=SECRET),
        (
            "the registry at {url} refuses the credentials (answers 401 Unauthorized): correct the Secret named in "
            "spec.model.registry.secretRef"
        ),
    ),
}


@pytest.mark.parametrize(("credentials", "message"), DENIED.values(), ids=DENIED.keys())
async def test_who_is_not_let_in_is_told_what_to_do(
    registry: mlflow_registry.Mlflow, guarded: str, credentials: ports.Credentials, message: str
) -> None:
    with pytest.raises(errors.RegistryDenied) as raised:
        await registry.resolve(ports.RegistryAddress(guarded, credentials), GUARDED)
    assert raised.value.message == message.format(url=guarded)


async def test_who_may_read_may_not_tag(registry: mlflow_registry.Mlflow, guarded: str) -> None:
    reader = ports.RegistryAddress(guarded, ports.Credentials("reader", SECRET))
    with pytest.raises(errors.RegistryDenied, match=r"forbids this .* grant the user READ on the model, and EDIT"):
        await registry.tag(reader, ports.ModelVersion("guarded", 1), {"a": "b"})


async def test_registries_with_other_credentials_share_nothing(registry: mlflow_registry.Mlflow, guarded: str) -> None:
    wrong, right = (ports.RegistryAddress(guarded, ports.Credentials("reader", word)) for word in ("wrong", SECRET))
    found = await asyncio.gather(
        *(registry.resolve(address, GUARDED) for address in (right, wrong) * 5), return_exceptions=True
    )
    assert [type(one) for one in found] == [ports.ModelVersion, errors.RegistryDenied] * 5


async def test_credentials_of_the_process_open_nothing_for_others(
    registry: mlflow_registry.Mlflow, guarded: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "reader")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login reader password {SECRET}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(errors.RegistryDenied, match="wants credentials"):
        await registry.resolve(ports.RegistryAddress(guarded), GUARDED)
