"""The registry of models in MLflow: shared, limited look-ups, and errors that say what to do.

Deployments that follow the same alias of the same registry with the same credentials share one request a poll, and one
registry that hangs cannot keep threads from the others.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mlflow.entities import model_registry
from mlflow.exceptions import RestException

from penstock import errors, ports
from penstock.adapters import mlflow_peers, mlflow_signature, mlflow_store, sharing, transport
from penstock.analysis.signature import Signature
from penstock.api.v1alpha1 import modeldeployment

T = TypeVar("T")

_MISSING = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"})
_INVALID = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What the adapter may use: an exchange each, seconds a call, threads in all and a registry, answers kept."""

    exchange: mlflow_store.Limits = field(default_factory=mlflow_store.Limits)
    total_seconds: float = 10
    threads: int = 16
    threads_per_registry: int = 4
    entries: int = 20_000
    signatures: int = 1_000
    error_seconds: float = 5
    signature_seconds: float = 60
    """How long a signature is kept: a version never changes, but `mlflow.models.set_signature` may mend its files."""


@dataclass(frozen=True, slots=True)
class _Question:
    registry: ports.RegistryAddress
    name: str
    alias: str | None
    version: int | None


@dataclass(frozen=True, slots=True)
class _Refusal:
    kind: type[errors.PenstockError]
    message: str


class Mlflow:
    """Implements `ports.ModelRegistry`."""

    def __init__(
        self,
        limits: Limits = Limits(),
        clock: Callable[[], float] = time.monotonic,
        peers: mlflow_peers.Peers = mlflow_peers.STRANGERS,
    ) -> None:
        self._limits = limits
        self._session = mlflow_peers.session(peers)
        self._threads = transport.Threads("mlflow", limits.threads, limits.threads_per_registry)
        self._answers: sharing.Shared[_Question, ports.ModelVersion | _Refusal] = sharing.Shared(clock, limits.entries)
        self._signatures: sharing.Shared[_Question, Signature | _Refusal | None] = sharing.Shared(
            clock, limits.signatures
        )

    def close(self) -> None:
        """Ask nothing more."""
        self._threads.close()
        self._session.close()

    async def resolve(self, registry: ports.RegistryAddress, model: modeldeployment.ModelRef) -> ports.ModelVersion:
        """The version that `model` names, at most `model.poll_seconds` old (errors: a few seconds)."""
        question = _Question(registry, model.name, model.alias, model.version)

        def fresh(answer: ports.ModelVersion | _Refusal, age: float) -> bool:
            # a little less, so that who asks every poll_seconds gets a new answer every time
            longest = model.poll_seconds - min(1.0, model.poll_seconds / 10)
            return age < (min(longest, self._limits.error_seconds) if isinstance(answer, _Refusal) else longest)

        answer = await self._answers.get(question, lambda: self._answer(question), fresh)
        if isinstance(answer, _Refusal):
            raise answer.kind(answer.message)
        return answer

    async def signature(self, registry: ports.RegistryAddress, version: ports.ModelVersion) -> Signature | None:
        """The signature of a version, at most a minute old (errors: a few seconds), or None if it has none."""
        question = _Question(registry, version.name, None, version.version)

        def fresh(answer: Signature | _Refusal | None, age: float) -> bool:
            longest = self._limits.error_seconds if isinstance(answer, _Refusal) else self._limits.signature_seconds
            return age < longest

        answer = await self._signatures.get(question, lambda: self._answer_signature(question, version), fresh)
        if isinstance(answer, _Refusal):
            raise answer.kind(answer.message)
        return answer

    async def tag(self, registry: ports.RegistryAddress, version: ports.ModelVersion, tags: Mapping[str, str]) -> None:
        """Set tags on a model version; doing so twice is the same as once."""
        if tags:
            await self._run(registry, lambda: self._tag(registry, version, tags))

    async def _answer(self, question: _Question) -> ports.ModelVersion | _Refusal:
        try:
            return await self._run(question.registry, lambda: self._resolve(question))
        except errors.PenstockError as error:
            return _Refusal(type(error), error.message)

    async def _answer_signature(self, question: _Question, version: ports.ModelVersion) -> Signature | _Refusal | None:
        try:
            return await self._run(question.registry, lambda: self._signature(question, version))
        except errors.PenstockError as error:
            return _Refusal(type(error), error.message)

    async def _run(self, registry: ports.RegistryAddress, call: Callable[[], T]) -> T:
        where = transport.address(registry.tracking_uri)
        try:
            return await self._threads.run(where.uri, self._limits.total_seconds, call)
        except TimeoutError as error:
            raise errors.RegistryUnavailable(
                f"the registry at {where} cannot be used: no answer within {self._limits.total_seconds:g} s"
            ) from error

    def _store(self, registry: ports.RegistryAddress) -> mlflow_store.Store:
        return mlflow_store.Store(registry, self._limits.exchange, self._session)

    def _resolve(self, question: _Question) -> ports.ModelVersion:
        store = self._store(question.registry)
        where = transport.address(question.registry.tracking_uri).uri
        try:
            if question.alias is not None:
                found = store.get_model_version_by_alias(question.name, question.alias)
            else:
                found = store.get_model_version(question.name, str(question.version))
        except RestException as error:
            raise _not_found(store, where, question, error) from error
        return _model_version(where, question.name, found)

    def _signature(self, question: _Question, version: ports.ModelVersion) -> Signature | None:
        store = self._store(question.registry)
        try:
            return mlflow_signature.read(store, version)
        except RestException as error:
            where = transport.address(question.registry.tracking_uri).uri
            raise _not_found(store, where, question, error) from error

    def _tag(self, registry: ports.RegistryAddress, version: ports.ModelVersion, tags: Mapping[str, str]) -> None:
        store = self._store(registry)
        where = transport.address(registry.tracking_uri).uri
        for key, value in tags.items():
            try:
                store.set_model_version_tag(
                    version.name, str(version.version), model_registry.ModelVersionTag(key, value)
                )
            except RestException as error:
                question = _Question(registry, version.name, None, version.version)
                if error.error_code in _INVALID:
                    message = f"{where} refuses the tag {key!r}: {transport.clipped(_said(error))}"
                    raise errors.Misconfigured(message) from error
                raise _not_found(store, where, question, error) from error


def _model_version(where: str, name: str, found: Any) -> ports.ModelVersion:
    """What MLflow answered, if it is a version whose files are there."""
    if not str(found.version).isascii() or not str(found.version).isdecimal():
        raise errors.RegistryUnavailable(
            f"the registry at {where} cannot be used: it answers no version number for {name!r}: check that the "
            "tracking URI leads to an MLflow server"
        )
    version = ports.ModelVersion(name, int(found.version), found.run_id or None)
    if found.status == "PENDING_REGISTRATION":
        raise errors.RegistryUnavailable(
            f"version {version.version} of {name!r} in {where} is still being registered: it is used once it is ready"
        )
    if found.status == "FAILED_REGISTRATION":
        raise errors.VersionNotFound(
            f"the registration of version {version.version} of {name!r} in {where} failed: register the model again"
        )
    return version


def _not_found(
    store: mlflow_store.Store, where: str, question: _Question, error: RestException
) -> errors.PenstockError:
    """Whether the model is missing, or only the alias or version of it.

    MLflow 3.17 answers a missing alias with INVALID_PARAMETER_VALUE and a missing model with RESOURCE_DOES_NOT_EXIST;
    other servers that speak its protocol differ, so the model itself is asked for.
    """
    if error.error_code not in _MISSING | _INVALID:
        said = transport.clipped(_said(error))
        return errors.RegistryUnavailable(f"the registry at {where} cannot be used: it answers {said}")
    name = question.name
    try:
        store.get_registered_model(name)
    except RestException as model_error:
        if model_error.error_code in _INVALID:
            said = transport.clipped(_said(model_error))
            return errors.ModelNotFound(f"no model in {where} can be named {name!r} ({said}): correct spec.model.name")
        return errors.ModelNotFound(
            f"registered model {name!r} does not exist in {where}: register it or correct spec.model.name"
        )
    if question.alias is not None:
        return errors.AliasNotFound(
            f"alias {question.alias!r} of {name!r} does not exist in {where}: set it, for example with "
            f"MlflowClient().set_registered_model_alias({name!r}, {question.alias!r}, version), or correct "
            "spec.model.alias"
        )
    return errors.VersionNotFound(
        f"version {question.version} of {name!r} does not exist in {where}: register it or correct spec.model.version"
    )


def _said(error: RestException) -> str:
    """MLflow's own words."""
    return str(error.json.get("message") or error.error_code)
