"""What a decision sees and what it says: values only.

`Seen` is gathered before a pass, `Decision` is what the shell carries out after it. The actions are a closed union of
desired states: doing one twice is the same as doing it once.
"""

import datetime
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock import ports
from penstock.analysis import measurement
from penstock.analysis.signature import Signature
from penstock.api.v1alpha1 import modeldeployment, modeldeployment_status
from penstock.rollout import revision


@dataclass(frozen=True)
class Unresolved:
    """The registry did not say which version is wanted."""

    reason: str
    message: str
    retryable: bool = True


RESOLVING = Unresolved("Resolving", "asking the registry which version is wanted")
"""The answer is on its way: nothing is known, and nothing has changed."""


@dataclass(frozen=True)
class PodFailure:
    """What keeps the pods of a revision from serving; fatal if waiting cannot help."""

    reason: str
    message: str
    fatal: bool = False


@dataclass(frozen=True)
class Workload:
    """The pods of a revision as the cluster reports them."""

    replicas: int
    ready: int
    failure: PodFailure | None = None
    exists: bool = True
    """False where the cluster refused to make it (then `failure` says why)."""


@dataclass(frozen=True)
class StepId:
    """Names one stay in one step of one candidate, so that a late answer is not counted for another."""

    candidate: str
    index: int
    started_at: datetime.datetime | None


@dataclass(frozen=True)
class Measured:
    """A measurement that came in since the last pass."""

    step: StepId
    metric: str
    answer: measurement.Measurement
    at: datetime.datetime


@dataclass(frozen=True)
class SmokeResult:
    """How a candidate answered its smoke test."""

    step: StepId
    passed: bool
    message: str


@dataclass(frozen=True)
class Unread:
    """Why a signature is not known."""

    message: str
    retryable: bool = True


@dataclass(frozen=True)
class Signatures:
    """What stable and a wanted revision take and give: a signature, None where a version has none, or why not known."""

    stable: str
    wanted: str
    of_stable: Signature | Unread | None
    of_wanted: Signature | Unread | None
    at: datetime.datetime
    tries: int = 1
    """How many times in a row it was tried to read them."""
    same_model: bool = True
    """Whether they are versions of one registered model."""

    @property
    def unread(self) -> Unread | None:
        """Why one of them is not known; what may be known later comes last."""
        found = [one for one in (self.of_stable, self.of_wanted) if isinstance(one, Unread)]
        return min(found, key=lambda one: one.retryable, default=None)


@dataclass(frozen=True)
class Seen:
    """The world outside the object itself, gathered once a pass."""

    wanted: revision.Revision | Unresolved
    workloads: Mapping[str, Workload] = field(default_factory=dict)
    entry_exists: bool = True
    applied: modeldeployment_status.Split | None = None
    unrouted: tuple[str, ...] = ()
    """Why host names that the spec asks for are not given, a sentence each."""
    measured: tuple[Measured, ...] = ()
    last_measured: Mapping[str, datetime.datetime] = field(default_factory=dict)
    smoke: SmokeResult | None = None
    tagged: frozenset[tuple[str, datetime.datetime]] = frozenset()
    signatures: Signatures | None = None
    """The last ones that were read."""


@dataclass(frozen=True)
class EnsureRevision:
    """The revision is recorded, and its Deployment and Service exist with this many pods.

    `new` is set when the revision may not have been recorded yet; a recorded one is never changed.
    """

    name: str
    replicas: int
    new: revision.Revision | None = None


@dataclass(frozen=True)
class ScaleRevision:
    """The Deployment of the revision wants this many pods."""

    name: str
    replicas: int


@dataclass(frozen=True)
class RemoveRevision:
    """The revision's Deployment and Service are gone; its record stays."""

    name: str


@dataclass(frozen=True)
class EnsureEntry:
    """The Service through which callers in the cluster reach the model exists."""


@dataclass(frozen=True)
class PruneRecords:
    """Only these revisions are still recorded."""

    keep: frozenset[str]


@dataclass(frozen=True)
class RunSmokeTest:
    """The candidate is being asked; the answer comes with a later pass."""

    step: StepId
    test: modeldeployment.SmokeTestStep


@dataclass(frozen=True)
class Measure:
    """The metric is being measured; the answer comes with a later pass."""

    step: StepId
    metric: modeldeployment.Metric
    subject: ports.Subject
    window_seconds: int


@dataclass(frozen=True)
class ReadSignatures:
    """The signatures of stable and of the wanted revision are being read; the answer comes with a later pass."""

    stable: str
    wanted: revision.Revision


@dataclass(frozen=True)
class TagModelVersion:
    """The registry knows how the rollout of this version ended."""

    entry: modeldeployment_status.HistoryEntry


Action = (
    EnsureRevision
    | ScaleRevision
    | RemoveRevision
    | EnsureEntry
    | PruneRecords
    | RunSmokeTest
    | Measure
    | ReadSignatures
    | TagModelVersion
)


class EventType(enum.StrEnum):
    """The two types of events that Kubernetes knows."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True)
class Event:
    """Something a person may want to read."""

    type: EventType
    reason: str
    message: str


@dataclass(frozen=True)
class Decision:
    """What one pass says: the next status, what must be so, what to tell, when to look again."""

    status: modeldeployment_status.ModelDeploymentStatus
    actions: tuple[Action, ...] = ()
    events: tuple[Event, ...] = ()
    wake_at: datetime.datetime | None = None
