"""ModelDeployment, the operator's half: enough to resume after a crash, and to tell what happened."""

import datetime
import enum
from typing import Annotated, Literal, Self

import pydantic
from pydantic import Field

from penstock.api.v1alpha1 import base, modeldeployment

Time = Annotated[datetime.datetime, Field(json_schema_extra={"type": "string", "format": "date-time"})]


class Phase(enum.StrEnum):
    """Where a ModelDeployment is."""

    PENDING = "Pending"
    INITIALIZING = "Initializing"
    HEALTHY = "Healthy"
    PROGRESSING = "Progressing"
    PAUSED = "Paused"
    ROLLING_BACK = "RollingBack"
    DEGRADED = "Degraded"
    INVALID = "Invalid"


class Outcome(enum.StrEnum):
    """How a rollout ended."""

    PROMOTED = "Promoted"
    FAST_PROMOTED = "FastPromoted"
    ROLLED_BACK = "RolledBack"
    ABORTED = "Aborted"
    SUPERSEDED = "Superseded"
    REJECTED = "Rejected"


class Verdict(enum.StrEnum):
    """Fail = bad, Error = could not measure, Inconclusive = no answer yet."""

    PASS = "Pass"
    FAIL = "Fail"
    INCONCLUSIVE = "Inconclusive"
    ERROR = "Error"


class RevisionRef(base.Model):
    """A revision as the status names it."""

    name: str = Field(description="Hash that names the revision.")
    model_version: int = Field(description="Version of the registered model.")
    replicas: int = Field(default=0, description="Pods wanted.")
    ready_replicas: int = Field(default=0, description="Pods ready.")


class Candidate(RevisionRef):
    """The revision being rolled out."""

    started_at: Time = Field(description="When the rollout of this revision began.")
    waiting_since: Time | None = Field(
        default=None, description="Since when its pods are not ready; the progress deadline counts from here."
    )
    fast: bool = Field(default=False, description="A person promoted it past the remaining steps.")


class StepStatus(base.Model):
    """The step the rollout is in."""

    index: int = Field(description="Position in spec.rollout.steps, from 0; the number of steps while promoting.")
    kind: str = Field(description="Kind of the step, or promote.")
    plan: str = Field(default="", description="Hash of the steps that the index refers to; editing them starts over.")
    started_at: Time | None = Field(
        default=None, description="When the data plane had confirmed the step's split; absent until then."
    )


class Split(base.Model):
    """The whole routing state at one moment."""

    stable: str | None = Field(default=None, description="Revision that answers what the candidate does not.")
    candidate: str | None = Field(default=None, description="Revision that gets the weight and the copies.")
    weight: Annotated[int, Field(ge=0, le=100)] = Field(
        default=0, description="Percent of requests the candidate answers."
    )
    mirror: Annotated[int, Field(ge=0, le=100)] = Field(
        default=0, description="Percent of requests copied to the candidate."
    )

    @pydantic.model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.candidate is None and (self.weight or self.mirror):
            raise ValueError("a split without a candidate has neither weight nor mirror")
        if self.stable is not None and self.stable == self.candidate:
            raise ValueError("stable and candidate of a split are different revisions")
        if self.stable is None and self.candidate is not None and self.weight not in {0, 100}:
            raise ValueError("a split without stable sends its candidate all or nothing")
        return self


class Disagreement(base.Model):
    """One request that stable and its shadow answered differently."""

    request_id: str = Field(alias="requestID", description="The x-request-id of the request.")
    stable: str = Field(description="What stable answered, cut off after 200 characters.")
    candidate: str = Field(description="What the candidate answered.")


class MetricStatus(base.Model):
    """The last word on one metric in this step."""

    name: str = Field(description="Name of the metric.")
    verdict: Verdict = Field(description="Pass, Fail, Inconclusive or Error.")
    message: str = Field(description="The verdict in one sentence, with the numbers it rests on.")
    value: float | None = Field(default=None, description="The measured value.")
    samples: int | None = Field(default=None, description="Requests it rests on.")
    reference: float | None = Field(default=None, description="Stable's value, where the two are compared.")
    reference_samples: int | None = Field(default=None, description="Requests that stable's value rests on.")
    low: float | None = Field(default=None, description="The candidate's increase is at least this, if known.")
    high: float | None = Field(default=None, description="The candidate's increase is at most this, if known.")
    looks: int = Field(default=0, description="Intervals that the comparison rests on.")
    recent: list[float] = Field(
        default_factory=list, description="The latest values that were written, up to ten, the newest last."
    )
    worst: list[Disagreement] = Field(default_factory=list, description="The worst disagreements of a shadow.")
    measured_at: Time = Field(description="When it was measured.")
    failures: int = Field(default=0, description="Failed measurements in this step.")
    inconclusives: int = Field(default=0, description="Inconclusive measurements in a row.")
    errors: int = Field(default=0, description="Measurements in a row that could not be made.")


class Failure(base.Model):
    """Why a rollout is being undone."""

    reason: str = Field(description="CamelCase word for machines.")
    message: str = Field(description="What happened and what to do, for people.")
    outcome: Outcome = Field(description="How the rollout will be recorded.")
    at: Time = Field(description="When it was decided.")
    held: bool = Field(default=False, description="Kept for a person to look at, as onFailure: Pause asks.")


class HistoryEntry(base.Model):
    """One ended rollout."""

    revision: str = Field(description="Hash of the revision.")
    model_version: int = Field(description="Version of the registered model.")
    outcome: Outcome = Field(description="How it ended.")
    reason: str = Field(description="CamelCase word for machines.")
    message: str = Field(description="What happened and what to do, for people.")
    started_at: Time = Field(description="When the rollout began.")
    ended_at: Time = Field(description="When it ended.")
    tagged: bool = Field(default=False, description="Whether the registry has been told.")


class Retired(base.Model):
    """A revision without traffic that is still running."""

    name: str = Field(description="Hash of the revision.")
    remove_at: Time = Field(description="When its pods are removed.")


class Rejected(base.Model):
    """The revision that must not come back by itself."""

    revision: str = Field(description="Hash of the revision.")
    fingerprint: str = Field(description="Hash of the parts of the spec whose change gives it another chance.")
    reason: str = Field(description="CamelCase word for machines.")
    message: str = Field(description="Why, and what to do.")


class Condition(base.Model):
    """A condition in the convention of Kubernetes and kstatus."""

    type: str = Field(description="Type of the condition.")
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: str = Field(description="CamelCase word for machines.")
    message: str = Field(default="", description="For people, with the cure.")
    last_transition_time: Time = Field(description="When the status last changed.")
    observed_generation: int | None = Field(default=None, description="Generation of the spec it speaks of.")


class ModelDeploymentStatus(base.Model):
    """What serves, what is being rolled out, and how earlier rollouts ended."""

    observed_generation: int | None = Field(default=None, description="Generation of the spec this status speaks of.")
    phase: Phase = Field(default=Phase.PENDING, description="Where the ModelDeployment is.")
    message: str = Field(default="", description="The phase in one sentence.")
    stable: RevisionRef | None = Field(default=None, description="The revision that answers users.")
    candidate: Candidate | None = Field(default=None, description="The revision being rolled out.")
    step: StepStatus | None = Field(default=None, description="The step the rollout is in.")
    split: Split = Field(default_factory=Split, description="Where requests go.")
    verdicts: list[MetricStatus] = Field(default_factory=list, description="The metrics of this step.")
    failure: Failure | None = Field(default=None, description="Why the rollout is being undone, or held.")
    rejected: Rejected | None = Field(default=None, description="The revision that must not come back by itself.")
    retired: list[Retired] = Field(default_factory=list, description="Revisions without traffic that still run.")
    history: list[HistoryEntry] = Field(default_factory=list, description="Ended rollouts, the newest first.")
    handled: dict[str, str] = Field(
        default_factory=dict, description="Last value of each penstock.dev annotation that was acted upon."
    )
    conditions: list[Condition] = Field(
        default_factory=list, description="Ready, Reconciling, Stalled, Serving, ModelResolved, SignatureChecked."
    )


class Metadata(base.Model):
    """The parts of an object's metadata that decisions look at."""

    name: str
    namespace: str
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    annotations: dict[str, str] = Field(default_factory=dict)
    deletion_timestamp: datetime.datetime | None = None


class ModelDeployment(base.Model):
    """One ModelDeployment as stored."""

    metadata: Metadata
    spec: modeldeployment.ModelDeploymentSpec
    status: ModelDeploymentStatus = Field(default_factory=ModelDeploymentStatus)
