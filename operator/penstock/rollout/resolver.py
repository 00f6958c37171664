"""Which revision each ModelDeployment wants now: looked up beside the passes, so that a slow registry delays none.

A pass asks `current` and gets the last answer at once; an answer that is too old is renewed in the background, and
`on_change` is called when it turns out different.
"""

import asyncio
import datetime
import functools
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from penstock import errors, ports
from penstock.analysis import agreement
from penstock.analysis.signature import Signature
from penstock.api.v1alpha1 import modeldeployment, modeldeployment_status
from penstock.rollout import revision, world

logger = logging.getLogger(__name__)

ReadSecret = Callable[[str, str], Awaitable[dict[str, str] | None]]
"""Namespace and name -> the Secret's decoded data, or None if it does not exist."""

Wanted = revision.Revision | world.Unresolved


@dataclass(frozen=True)
class _Answer:
    asked: str
    wanted: Wanted
    at: datetime.datetime


class Resolver:
    """Keeps the last answer of the registry for every ModelDeployment."""

    def __init__(
        self,
        registry: ports.ModelRegistry,
        read_secret: ReadSecret,
        defaults: revision.Defaults,
        on_change: Callable[[ports.Key], None],
    ) -> None:
        self._registry = registry
        self._read_secret = read_secret
        self._defaults = defaults
        self._on_change = on_change
        self._answers: dict[ports.Key, _Answer] = {}
        self._running: dict[ports.Key, tuple[str, asyncio.Task[None]]] = {}

    def current(self, key: ports.Key, spec: modeldeployment.ModelDeploymentSpec, now: datetime.datetime) -> Wanted:
        """The wanted revision as far as it is known; `world.RESOLVING` while the first answer is on its way."""
        asked = revision.digest([spec.model.to_wire(), revision.server_template(spec.server)])
        answer = self._answers.get(key)
        known = answer is not None and answer.asked == asked
        stale = answer is None or now >= answer.at + datetime.timedelta(seconds=spec.model.poll_seconds)
        if stale or not known:
            self._refresh(key, spec, asked, now)
        return answer.wanted if answer is not None and known else world.RESOLVING

    def next_look(
        self, key: ports.Key, spec: modeldeployment.ModelDeploymentSpec, now: datetime.datetime
    ) -> datetime.datetime:
        """When the registry is to be asked again; one that is being asked will tell by itself."""
        answer = self._answers.get(key)
        since = answer.at if answer is not None and key not in self._running else now
        return since + datetime.timedelta(seconds=spec.model.poll_seconds)

    def address(self, spec: modeldeployment.ModelDeploymentSpec) -> tuple[str, str | None]:
        """The registry's address and the name of the Secret with its credentials.

        Raises:
            errors.Misconfigured: neither the spec nor the installation names a registry.
        """
        own = spec.model.registry
        if own is not None:
            return own.tracking_uri, own.secret_ref.name if own.secret_ref else None
        if self._defaults.tracking_uri is None:
            raise errors.Misconfigured(
                "no model registry is known: set spec.model.registry.trackingURI, or the chart's mlflow.url"
            )
        return self._defaults.tracking_uri, self._defaults.credentials_secret

    async def registry_of(self, key: ports.Key, spec: modeldeployment.ModelDeploymentSpec) -> ports.RegistryAddress:
        """The registry of a ModelDeployment with the credentials to use.

        Raises:
            errors.CredentialsMissing: the Secret does not exist or cannot be read.
        """
        uri, secret = self.address(spec)
        if secret is None:
            return ports.RegistryAddress(uri)
        data = await self._read_secret(key.namespace, secret)
        if data is None:
            if spec.model.registry is None:
                return ports.RegistryAddress(uri)
            raise errors.CredentialsMissing(
                f"Secret {secret} does not exist in namespace {key.namespace}: create it with MLFLOW_TRACKING_USERNAME "
                f"and MLFLOW_TRACKING_PASSWORD or MLFLOW_TRACKING_TOKEN, or correct spec.model.registry.secretRef"
            )
        return ports.RegistryAddress(uri, credentials(secret, data))

    async def signatures(
        self, key: ports.Key, action: world.ReadSignatures, stable: revision.Revision | None, now: datetime.datetime
    ) -> world.Signatures:
        """The signatures that `action` asks for; `stable` is the recorded revision, or None if its record is gone."""
        made = functools.partial(world.Signatures, action.stable, action.wanted.name, at=now)
        if stable is None:
            return made(world.Unread(f"the record of revision {action.stable} is gone", retryable=False), None)
        if stable.model != action.wanted.model:
            return made(None, None, same_model=False)
        return made(*await asyncio.gather(*(self._signature(key, one) for one in (stable, action.wanted))))

    async def _signature(self, key: ports.Key, made: revision.Revision) -> Signature | world.Unread | None:
        """Read with the login that its pods use, for it may be of another registry than the spec names now."""
        secret, login = made.credentials_secret, ports.Credentials()
        try:
            data = None if secret is None else await self._read_secret(key.namespace, secret)
            if secret is not None and data is not None:
                login = credentials(secret, data)
            registry = ports.RegistryAddress(made.tracking_uri, login)
            return await self._registry.signature(registry, ports.ModelVersion(made.model, made.version))
        except errors.PenstockError as error:
            return world.Unread(error.message, retryable=error.retryable)
        except Exception as error:
            logger.exception("a signature could not be read", extra={"key": str(key)})
            return world.Unread(f"the signature of version {made.version} could not be read: {type(error).__name__}")

    async def tag(
        self,
        key: ports.Key,
        spec: modeldeployment.ModelDeploymentSpec,
        entry: modeldeployment_status.HistoryEntry,
    ) -> None:
        """Tell the registry how the rollout of a version ended; answers of the model stay in the namespace."""
        prefix = f"penstock.{key.namespace}.{key.name}"
        tags = {
            f"{prefix}.outcome": entry.outcome.value,
            f"{prefix}.reason": entry.reason,
            f"{prefix}.message": agreement.without_answers(entry.message)[:5000],
            f"{prefix}.revision": entry.revision,
            f"{prefix}.endedAt": entry.ended_at.isoformat(),
        }
        version = ports.ModelVersion(spec.model.name, entry.model_version)
        await self._registry.tag(await self.registry_of(key, spec), version, tags)

    def forget(self, key: ports.Key) -> None:
        """Drop what is known of an object that is gone."""
        self._answers.pop(key, None)
        running = self._running.pop(key, None)
        if running is not None:
            running[1].cancel()

    def _refresh(
        self, key: ports.Key, spec: modeldeployment.ModelDeploymentSpec, asked: str, now: datetime.datetime
    ) -> None:
        running = self._running.get(key)
        if running is not None and running[0] == asked:
            return
        if running is not None:
            running[1].cancel()
        self._running[key] = (asked, asyncio.create_task(self._ask(key, spec, asked, now)))

    async def _ask(
        self, key: ports.Key, spec: modeldeployment.ModelDeploymentSpec, asked: str, now: datetime.datetime
    ) -> None:
        try:
            registry = await self.registry_of(key, spec)
            found = await self._registry.resolve(registry, spec.model)
            wanted: Wanted = revision.render(spec, found, self._defaults, registry.tracking_uri)
        except errors.PenstockError as error:
            wanted = world.Unresolved(error.reason, error.message, retryable=error.retryable)
        except Exception as error:
            logger.exception("the registry could not be asked", extra={"key": str(key)})
            wanted = world.Unresolved("RegistryUnavailable", f"the registry could not be asked: {type(error).__name__}")
        before = self._answers.get(key)
        self._answers[key] = _Answer(asked, wanted, now)
        self._running.pop(key, None)
        if before is None or before.wanted != wanted or before.asked != asked:
            self._on_change(key)


def credentials(secret: str, data: Mapping[str, str]) -> ports.Credentials:
    """The credentials in a Secret's decoded data.

    Raises:
        errors.CredentialsMissing: none of the known keys is there.
    """

    def value(key: str) -> str | None:
        return data[key].strip("\n") if key in data else None

    found = ports.Credentials(
        username=value("MLFLOW_TRACKING_USERNAME"),
        password=value("MLFLOW_TRACKING_PASSWORD"),
        token=value("MLFLOW_TRACKING_TOKEN"),
    )
    if found == ports.Credentials():
        raise errors.CredentialsMissing(
            f"Secret {secret} has none of the keys MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD and "
            f"MLFLOW_TRACKING_TOKEN: add them"
        )
    return found
