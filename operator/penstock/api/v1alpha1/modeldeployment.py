"""ModelDeployment (mdep): which model version serves, how it is served, and how a new one takes over.

The user's half (`spec`). What the operator reports stands in `modeldeployment_status`.
"""

import enum
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from penstock.api.v1alpha1 import base

KIND = "ModelDeployment"
PLURAL = "modeldeployments"
SINGULAR = "modeldeployment"
SHORT_NAMES = ("mdep",)


class SecretRef(base.Model):
    """A Secret in the namespace of the ModelDeployment."""

    name: base.ObjectName = Field(description="Name of the Secret.")


class Registry(base.Model):
    """An MLflow tracking server that holds the registered model."""

    tracking_uri: Annotated[
        str,
        Field(
            alias="trackingURI",
            min_length=1,
            max_length=2048,
            json_schema_extra=base.matching(
                r"^https?://[^\s@]+$",
                "trackingURI begins with http:// or https:// and holds no credentials: put those into a Secret and "
                "name it in secretRef",
            ),
        ),
    ] = Field(
        description="Address of the MLflow server, http or https, without credentials (those belong into secretRef).",
    )
    secret_ref: SecretRef | None = Field(
        default=None,
        description="Secret with MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.",
    )


class SignaturePolicy(enum.StrEnum):
    """How a version's MLflow signature must fit that of the stable version before its pods are started."""

    COMPATIBLE = "Compatible"
    EXACT = "Exact"
    IGNORE = "Ignore"


class ModelRef(base.Model):
    """The registered model and which of its versions is wanted."""

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.rules(
            (
                "has(self.alias) != has(self.version)",
                "set exactly one of model.alias (follow an alias) and model.version (pin one version)",
            ),
        )
    )

    name: Annotated[str, Field(min_length=1, max_length=250)] = Field(description="Name of the registered model.")
    alias: Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[A-Za-z0-9_-]+$")] | None = Field(
        default=None, description="Alias to follow; when it moves to another version, a rollout starts."
    )
    version: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Version to pin; editing it starts a rollout."
    )
    registry: Registry | None = Field(default=None, description="The registry; the operator's default if absent.")
    poll_seconds: Annotated[int, Field(ge=1, le=86400)] = Field(
        default=15, description="How often the alias is looked up; deployments of one registry share look-ups."
    )
    signature_policy: SignaturePolicy = Field(
        default=SignaturePolicy.COMPATIBLE,
        description=(
            "How a version's signature must fit stable's before its pods are started. Compatible: requests that fit "
            "stable fit it too, and it answers with the same columns; a version without a signature is let through "
            "with a warning. Exact: the two are the same. Ignore: not compared."
        ),
    )


class EnvVar(base.Model):
    """An environment variable, as in a container."""

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.rules(
            ("!has(self.value) || !has(self.valueFrom)", "an env entry has value or valueFrom: remove one of them")
        )
    )

    name: Annotated[str, Field(min_length=1, max_length=253)] = Field(description="Name of the variable.")
    value: Annotated[str, Field(max_length=65536)] | None = Field(default=None, description="Its value.")
    value_from: base.Opaque | None = Field(
        default=None, description="Source of the value (configMapKeyRef, secretKeyRef, fieldRef), as in a container."
    )


class Server(base.Model):
    """How the model is served: the pods of a revision."""

    replicas: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1,
        description="Pods of a revision, stable and candidate alike. Changing it scales, it starts no rollout.",
    )
    image: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        default=None, description="Image of the model server; the release's runtime image if absent."
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        default=None, description="When the image is pulled; the operator's default if absent."
    )
    resources: base.Opaque = Field(
        default_factory=dict, description="Resource requests and limits of the server container, as in a container."
    )
    env: Annotated[list[EnvVar], Field(max_length=200, json_schema_extra=base.keyed_by("name"))] = Field(
        default_factory=list, description="Environment of the containers that download and serve the model."
    )
    env_from: Annotated[list[base.Opaque], Field(max_length=50)] = Field(
        default_factory=list, description="ConfigMaps and Secrets whose keys become environment of both."
    )
    template: base.Opaque = Field(
        default_factory=dict,
        description="Partial pod template ({metadata, spec}) merged over the generated one: nodeSelector, …",
    )


class Router(enum.StrEnum):
    """What splits the traffic."""

    ENVOY = "Envoy"


class Pin(enum.StrEnum):
    """Where all traffic goes, whatever the rollout says."""

    STABLE = "Stable"


class Route(base.Model):
    """How requests reach the model."""

    router: Router = Field(default=Router.ENVOY, description="What splits the traffic: Envoy, embedded in the release.")
    hostnames: Annotated[
        list[
            Annotated[
                str,
                Field(
                    min_length=1,
                    max_length=253,
                    json_schema_extra=base.matching(
                        r"^(\*\.)?[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$",
                        "a host name is a DNS name in lower case such as fraud.example.com, or *.example.com: remove "
                        "scheme, port and path",
                    ),
                ),
            ]
        ],
        Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(
        default_factory=list,
        description="Host names served besides <name>.<namespace>, which always works inside the cluster.",
    )
    pin: Pin | None = Field(
        default=None, description="Kill switch: Stable sends every request to stable and holds the rollout."
    )


class SmokeRequest(base.Model):
    """A request that a new revision must answer before it gets traffic."""

    body: Annotated[str, Field(min_length=1, max_length=65536)] = Field(description="Body to POST to /invocations.")
    content_type: Annotated[str, Field(max_length=128)] = Field(
        default="application/json", description="Content type of the body."
    )
    expect_status: Annotated[int, Field(ge=100, le=599)] = Field(
        default=200, description="Status the answer must have."
    )


class SmokeTestStep(base.Model):
    """Ask the candidate before anybody else does."""

    requests: Annotated[list[SmokeRequest], Field(max_length=32)] = Field(
        default_factory=list, description="Requests to send; the model's own input example if empty."
    )
    timeout_seconds: Annotated[int, Field(ge=1, le=600)] = Field(default=30, description="Time-out of each request.")


class ShadowStep(base.Model):
    """Copy live requests to the candidate; users see stable's answers only."""

    percent: Annotated[int, Field(ge=1, le=100)] = Field(default=100, description="Share of requests to copy.")
    min_samples: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Copied requests the candidate must have answered before the step ends."
    )
    hold_seconds: Annotated[int, Field(ge=0, le=604800)] = Field(
        default=60, description="How long the step lasts at least."
    )


class CanaryStep(base.Model):
    """Send a share of users to the candidate."""

    weight: Annotated[int, Field(ge=1, le=100)] = Field(description="Percent of requests that the candidate answers.")
    min_samples: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Requests the candidate must have answered in this step before it ends."
    )
    hold_seconds: Annotated[int, Field(ge=0, le=604800)] = Field(
        default=60, description="How long the step lasts at least."
    )


class PauseStep(base.Model):
    """Hold the rollout where it is; failing metrics still undo it."""

    hold_seconds: Annotated[int, Field(ge=0, le=604800)] | None = Field(
        default=None, description="How long to hold; until a person promotes it if absent."
    )


class StepKind(enum.StrEnum):
    """The kinds of steps, named as the field that holds them."""

    SMOKE_TEST = "smokeTest"
    SHADOW = "shadow"
    CANARY = "canary"
    PAUSE = "pause"


class Step(base.Model):
    """One step of a rollout: exactly one of its fields is set."""

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.rules(
            (
                "[has(self.smokeTest), has(self.shadow), has(self.canary), has(self.pause)].filter(x, x).size() == 1",
                "a step holds exactly one of smokeTest, shadow, canary, pause; write a list entry for each",
            ),
        )
    )

    smoke_test: SmokeTestStep | None = Field(default=None, description="Ask the candidate before anybody else does.")
    shadow: ShadowStep | None = Field(default=None, description="Copy live requests to the candidate.")
    canary: CanaryStep | None = Field(default=None, description="Send a share of users to the candidate.")
    pause: PauseStep | None = Field(default=None, description="Hold until promoted, or for a while.")

    @property
    def kind(self) -> StepKind:
        """Which of the fields is set."""
        if self.smoke_test is not None:
            return StepKind.SMOKE_TEST
        if self.shadow is not None:
            return StepKind.SHADOW
        if self.canary is not None:
            return StepKind.CANARY
        return StepKind.PAUSE


class MetricType(enum.StrEnum):
    """What a metric measures."""

    ERROR_RATE = "ErrorRate"
    LATENCY = "Latency"
    PROMETHEUS = "Prometheus"
    SHADOW_DISAGREEMENT = "ShadowDisagreement"
    PREDICTION_DRIFT = "PredictionDrift"
    PERFORMANCE = "Performance"


class OnNoData(enum.StrEnum):
    """What a measurement without data, or with too few samples, counts as."""

    WAIT = "Wait"
    INCONCLUSIVE = "Inconclusive"
    FAIL = "Fail"
    PASS = "Pass"


class Tolerance(base.Model):
    """How far two numbers may lie apart and still agree: absolute + relative times stable's."""

    absolute: Annotated[float, Field(ge=0)] = Field(default=0.0, description="In the unit of the predictions.")
    relative: Annotated[float, Field(ge=0)] = Field(default=0.0, description="Share of stable's own prediction.")


class Statistic(enum.StrEnum):
    """What a ShadowDisagreement sums up."""

    SHARE = "Share"
    MEAN_ABSOLUTE = "MeanAbsolute"
    MEAN_RELATIVE = "MeanRelative"


class Scorer(enum.StrEnum):
    """How a Performance scores answers against the truth."""

    ACCURACY = "Accuracy"
    MEAN_ABSOLUTE_ERROR = "MeanAbsoluteError"
    MEAN_SQUARED_ERROR = "MeanSquaredError"


class ValueRange(base.Model):
    """Between which bounds every single value of a mean lies."""

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.rules(
            ("double(self.low) < double(self.high)", "low of a range must be below its high: swap them")
        )
    )

    low: float = Field(default=0.0, description="No single value is below this.")
    high: float = Field(description="No single value is above this.")


_AGAINST_STABLE = "has(self.maxIncrease) || has(self.maxRelativeIncrease)"


class Metric(base.Model):
    """One check on the candidate."""

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.rules(
            (
                f"has(self.min) || has(self.max) || {_AGAINST_STABLE}",
                "a metric needs a limit: set min, max, maxIncrease or maxRelativeIncrease",
            ),
            (
                "!has(self.maxIncrease) || !has(self.maxRelativeIncrease)",
                "maxIncrease is a difference and maxRelativeIncrease a share of stable's value: set one of them",
            ),
            (
                f"!({_AGAINST_STABLE}) || self.type in ['ErrorRate', 'Latency', 'Prometheus']",
                "maxIncrease and maxRelativeIncrease belong to ErrorRate, Latency and Prometheus: set max or min",
            ),
            (
                f"self.type != 'Prometheus' || ({_AGAINST_STABLE}) == has(self.totalQuery)",
                (
                    "a Prometheus metric is compared with stable by two counters: set totalQuery and maxIncrease, "
                    "or neither"
                ),
            ),
            (
                "self.type == 'Prometheus' || (!has(self.totalQuery) && !has(self.range))",
                "totalQuery and range belong to type Prometheus: remove them",
            ),
            (
                "!has(self.range) || (has(self.totalQuery) && !has(self.maxRelativeIncrease))",
                "range makes the mean of query by totalQuery: set totalQuery and maxIncrease with it",
            ),
            (
                "!has(self.totalQuery) || (!has(self.min) && !has(self.max))",
                "a metric with totalQuery is compared with stable only: write another metric for min and max",
            ),
            (
                "self.type == 'ShadowDisagreement' || (!has(self.tolerance) && !has(self.statistic))",
                "tolerance and statistic belong to type ShadowDisagreement: remove them",
            ),
            (
                "(self.type == 'Performance') == has(self.scorer)",
                "scorer belongs to type Performance and to no other: add it, or remove it",
            ),
            (
                "!(self.type in ['ShadowDisagreement', 'PredictionDrift']) || (has(self.max) && !has(self.min))",
                "ShadowDisagreement and PredictionDrift have one limit: set max, and remove min",
            ),
            (
                (
                    "self.type != 'PredictionDrift' || !has(self.max) "
                    "|| (double(self.max) > 0.0 && double(self.max) < 1.0)"
                ),
                "max of a PredictionDrift is a divergence above 0 and below 1: write 0.1",
            ),
            (
                "self.type != 'ErrorRate' || !has(self.maxIncrease) || double(self.maxIncrease) < 1.0",
                "maxIncrease of an ErrorRate is a share below 1: write 0.005 for half a percentage point",
            ),
            (
                "!has(self.min) || !has(self.max) || double(self.min) <= double(self.max)",
                "min must not be above max: swap them",
            ),
            (
                "self.name != 'min-samples'",
                "min-samples is the name of the check that a step's minSamples makes: choose another name",
            ),
            (
                "(self.type == 'Prometheus') == has(self.query)",
                "query belongs to type Prometheus and to no other: add it, or remove it",
            ),
            (
                "self.type == 'Latency' || !has(self.quantile)",
                "quantile belongs to type Latency: remove it",
            ),
            (
                "self.type != 'ErrorRate' || !has(self.max) || double(self.max) <= 1.0",
                "max of an ErrorRate is a share from 0 to 1: write 0.05 for 5 %",
            ),
        )
    )

    name: base.DnsLabel = Field(description="Name of the metric, unique in the list.")
    type: MetricType = Field(
        description=(
            "ErrorRate: share of answers that the model failed, 0 to 1. Latency: a quantile of the answer time, "
            "in seconds. Prometheus: the value of an own query. ShadowDisagreement: in shadow steps, how far the "
            "candidate's answers to the same requests differ from stable's. PredictionDrift: Jensen-Shannon divergence "
            "of the candidate's predictions from stable's, 0 to 1. Performance: a score of the candidate's answers "
            "against the truth that was sent to /feedback."
        )
    )
    quantile: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="Quantile of Latency, above 0 and below 1; 0.99 if absent."
    )
    query: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        default=None,
        description=(
            "PromQL that yields one number. {{candidate}} and {{stable}} are replaced by the revisions, {{name}} and "
            "{{namespace}} by the ModelDeployment's, {{window}} by the window such as 60s."
        ),
    )
    total_query: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        default=None,
        description=(
            "PromQL of a counter of how often something was tried, where query is the counter of what is compared: "
            "events (their ratio is compared), or with range a sum of values (their mean is). Both are asked for "
            "stable and for the candidate: write {{revision}}."
        ),
    )
    range: ValueRange | None = Field(
        default=None, description="Between which bounds every value lies of which query is the sum."
    )
    min: float | None = Field(default=None, description="The value must not be below this.")
    max: float | None = Field(default=None, description="The value must not be above this.")
    max_increase: Annotated[float, Field(ge=0)] | None = Field(
        default=None,
        description=(
            "How far the candidate may be above stable, in the unit of the metric; 0.005 of an ErrorRate is half a "
            "percentage point. Tested sequentially: it fails once more than this is established, and passes once less "
            "is."
        ),
    )
    max_relative_increase: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="The same as a share of stable's own value: 0.5 is half as much again."
    )
    confidence: Annotated[float, Field(ge=0.5, le=0.9999)] = Field(
        default=0.95,
        description=(
            "How sure a comparison must be. At 0.95 at most 1 rollout in 20 of a version that is not worse is undone "
            "by it, however often it is looked at."
        ),
    )
    tolerance: Tolerance | None = Field(
        default=None, description="How far numbers may lie apart that agree (ShadowDisagreement); not at all if absent."
    )
    statistic: Statistic | None = Field(
        default=None,
        description=(
            "Of a ShadowDisagreement: Share of requests whose answers differ (if absent), or the mean of the absolute "
            "or relative differences of numbers."
        ),
    )
    scorer: Scorer | None = Field(default=None, description="How Performance scores an answer against the truth.")
    window_seconds: Annotated[int, Field(ge=5, le=86400)] = Field(
        default=60, description="How far back a measurement looks, at most to the beginning of the step."
    )
    min_samples: Annotated[int, Field(ge=0)] = Field(
        default=1, description="Requests in the window below which a measurement counts as no data."
    )
    on_no_data: OnNoData = Field(default=OnNoData.WAIT, description="What a measurement without enough data counts as.")
    failure_limit: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Failed measurements in a step that are tolerated; one more undoes the rollout."
    )
    inconclusive_limit: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="Inconclusive measurements in a row that are tolerated; one more holds the rollout.",
    )
    consecutive_error_limit: Annotated[int, Field(ge=0)] = Field(
        default=4, description="Measurements in a row that could not be made; one more holds the rollout until one can."
    )
    dry_run: bool = Field(default=False, description="Report this metric, but let it decide nothing.")

    @property
    def is_compared(self) -> bool:
        """Whether the candidate is measured against stable."""
        return self.max_increase is not None or self.max_relative_increase is not None

    @property
    def is_tested(self) -> bool:
        """Whether its verdict is a statistical one, at `confidence`."""
        return self.is_compared or self.type in {MetricType.SHADOW_DISAGREEMENT, MetricType.PREDICTION_DRIFT}


def default_metrics() -> list[Metric]:
    """What guards a rollout whose author named no metrics: a model that fails one request in twenty does not go on.

    The window is long enough for 20 requests also where a tenth of one request a second is the candidate's.
    """
    return [Metric(name="errors", type=MetricType.ERROR_RATE, max=0.05, min_samples=20, window_seconds=600)]


class Analysis(base.Model):
    """Which metrics are judged, and how often."""

    interval_seconds: Annotated[int, Field(ge=1, le=3600)] = Field(
        default=10, description="Time between two measurements."
    )
    metrics: Annotated[
        list[Metric],
        Field(max_length=32, json_schema_extra=base.keyed_by("name")),
    ] = Field(default_factory=default_metrics, description="The checks; each must pass before a step ends.")


class OnFailure(enum.StrEnum):
    """What a failed check does."""

    ROLLBACK = "Rollback"
    PAUSE = "Pause"


class Abort(enum.StrEnum):
    """How traffic goes back to stable."""

    IMMEDIATE = "Immediate"
    GRADUAL = "Gradual"


def default_steps() -> list[Step]:
    """A careful rollout for people who did not say how: ask, copy, a tenth, a half."""
    return [
        Step(smoke_test=SmokeTestStep()),
        Step(shadow=ShadowStep()),
        Step(canary=CanaryStep(weight=10)),
        Step(canary=CanaryStep(weight=50)),
    ]


class Rollout(base.Model):
    """How a candidate becomes stable."""

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.rules(
            (
                "self.steps.filter(s, has(s.canary)).map(s, s.canary.weight).isSorted()",
                "canary weights must not fall from one step to the next: order them upwards",
            ),
            (
                "self.analysis.metrics.size() > 0 || !self.steps.exists(s, has(s.shadow) || has(s.canary))",
                (
                    "shadow and canary steps are judged by metrics: add one to rollout.analysis.metrics, such as "
                    "{name: errors, type: ErrorRate, max: 0.01}"
                ),
            ),
        )
    )

    paused: bool = Field(
        default=False, description="Hold: no rollout starts, no step ends. Failing metrics still undo."
    )
    steps: Annotated[list[Step], Field(max_length=32)] = Field(
        default_factory=default_steps,
        description="The way from nothing to all traffic; after the last one it is promoted.",
    )
    analysis: Analysis = Field(default_factory=Analysis, description="The metrics that judge the candidate.")
    on_failure: OnFailure = Field(
        default=OnFailure.ROLLBACK,
        description="Rollback removes a failed candidate; Pause takes its traffic away and keeps it for a person.",
    )
    abort: Abort = Field(
        default=Abort.IMMEDIATE,
        description=(
            "Immediate sends all traffic back to stable at once; Gradual only as much as its ready pods can carry, the "
            "rest as more become ready."
        ),
    )
    watch_seconds: Annotated[int, Field(ge=0, le=604800)] = Field(
        default=0,
        description=(
            "How long a version that takes all traffic is watched before it is promoted, with the pods of the former "
            "one kept warm: a failed metric still undoes it. Comparisons take what stable did before as reference."
        ),
    )
    progress_deadline_seconds: Annotated[int, Field(ge=1, le=86400)] = Field(
        default=600, description="Time in which the candidate's pods must become ready."
    )
    scale_down_delay_seconds: Annotated[int, Field(ge=0, le=86400)] = Field(
        default=30, description="How long a revision without traffic is kept running."
    )
    history_limit: Annotated[int, Field(ge=1, le=100)] = Field(
        default=10, description="Ended rollouts kept in the status."
    )


class ModelDeploymentSpec(base.Model):
    """Which model version serves, how it is served, and how a new one takes over."""

    model: ModelRef = Field(description="The registered model and which of its versions is wanted.")
    server: Server = Field(default_factory=Server, description="How the model is served.")
    route: Route = Field(default_factory=Route, description="How requests reach the model.")
    rollout: Rollout = Field(default_factory=Rollout, description="How a new version takes over.")
