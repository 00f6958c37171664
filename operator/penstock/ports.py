"""What the core needs from the outside world: nouns, each small enough to read at once.

The adapters implement them against the real systems, the tests in memory. Every method may raise the errors of
`penstock.errors` and nothing else.
"""

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from penstock.analysis import measurement
from penstock.analysis.signature import Signature
from penstock.api.v1alpha1 import modeldeployment
from penstock.api.v1alpha1.modeldeployment_status import Split


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Names one object of a kind."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to log in to a registry; never printed."""

    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RegistryAddress:
    """An MLflow tracking server and how to log in to it."""

    tracking_uri: str
    credentials: Credentials = Credentials()


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a registered model."""

    name: str
    version: int
    run_id: str | None = None


class ModelRegistry(Protocol):
    """The registry of models.

    Errors: RegistryUnavailable, RegistryDenied, ModelNotFound, VersionNotFound, AliasNotFound, Misconfigured.
    """

    async def resolve(self, registry: RegistryAddress, model: modeldeployment.ModelRef) -> ModelVersion:
        """The version that the alias, or the number, of `model` names; at most `model.poll_seconds` old."""
        ...

    async def signature(self, registry: RegistryAddress, version: ModelVersion) -> Signature | None:
        """What a version takes and gives, or None if it has no signature."""
        ...

    async def tag(self, registry: RegistryAddress, version: ModelVersion, tags: Mapping[str, str]) -> None:
        """Set tags on a model version; doing so twice is the same as once."""
        ...


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a metric speaks of, and since when the two can be compared.

    Where stable gets no requests since then, what it did before is the reference: the latest first.
    """

    namespace: str
    deployment: str
    candidate: str
    stable: str | None
    since: datetime.datetime | None = None
    stable_is_past: bool = False


class MetricSource(Protocol):
    """Where measurements come from. Answers with a value of the union and raises nothing."""

    async def measure(
        self, metric: modeldeployment.Metric, subject: Subject, window_seconds: int
    ) -> measurement.Measurement:
        """One measurement of the candidate over the last `window_seconds`."""
        ...


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """A ready pod of a revision."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class SmokeAnswer:
    """How a pod answered its smoke test."""

    passed: bool
    message: str


class SmokeTester(Protocol):
    """Asks a candidate's pod before anybody else does. Answers, and raises nothing."""

    async def run(self, endpoint: Endpoint, test: modeldeployment.SmokeTestStep) -> SmokeAnswer:
        """Send the requests of the test, or the model's own input example; the first wrong answer ends it."""
        ...


@dataclass(frozen=True, slots=True)
class Backend:
    """A revision as the data plane sees it: its ready endpoints."""

    revision: str
    model_version: int
    endpoints: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Routed:
    """All that the data plane needs to know of one ModelDeployment."""

    key: Key
    hostnames: tuple[str, ...]
    split: Split
    backends: Mapping[str, Backend]


class DataPlane(Protocol):
    """What applies splits to live traffic."""

    def publish(self, routed: Routed) -> None:
        """Make this the wanted state of one ModelDeployment; publishing the same again is free."""
        ...

    def withdraw(self, key: Key) -> None:
        """Forget a ModelDeployment."""
        ...

    def applied(self, key: Key) -> Split | None:
        """The published split if every data-plane instance has confirmed it (and whatever came with it), else None."""
        ...

    def unrouted(self, key: Key) -> tuple[str, ...]:
        """Why host names that were asked for are not given, a sentence each."""
        ...

    def on_applied(self, listener: Callable[[Key], None]) -> None:
        """Call `listener` whenever `applied` of a key may have changed."""
        ...
