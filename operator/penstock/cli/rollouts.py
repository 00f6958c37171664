"""A rollout folded through the operator's own `decide`, in a world without faults: pods and routes are ready at once.

Nothing is judged here. The clock jumps from one moment that matters to the next (`looks`): the end of a hold, and looks
at which a verdict changes. What people or other systems would do is done at once: the smoke test passes, a pause that
waits for a person is ended.
"""

import datetime
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from penstock import ports
from penstock.api.v1alpha1 import modeldeployment, modeldeployment_status
from penstock.api.v1alpha1.modeldeployment_status import Split, Verdict
from penstock.cli import given, looks, stay, traffic
from penstock.rollout import decide, measuring, plan, revision, world

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
SIMULATED = frozenset({modeldeployment.MetricType.ERROR_RATE, modeldeployment.MetricType.LATENCY})
_DEFAULTS = revision.Defaults("http://registry.invalid", None, "runtime")


Watching = Callable[[modeldeployment.Metric, stay.Stay], looks.Look]
"""What tells the looks that matter from those that do not."""


@dataclass(frozen=True)
class Case:
    """A spec as it is simulated, and the two revisions."""

    spec: modeldeployment.ModelDeploymentSpec
    stable: revision.Revision
    candidate: revision.Revision
    horizon_seconds: float


@dataclass(frozen=True)
class Ending:
    """How a rollout ended (neither undone nor promoted: it was waiting at the horizon), and what users saw of it."""

    undone: bool
    promoted: bool
    seconds: float
    step: str
    metrics: tuple[str, ...]
    """Those that undid it, or that it waits for."""
    failed_requests: int


def prepare(spec: modeldeployment.ModelDeploymentSpec, horizon_seconds: float) -> tuple[Case, tuple[str, ...]]:
    """The spec without what cannot be simulated, and a sentence for each thing left out. Raises BadInputError."""
    notes, metrics = [], []
    for metric in spec.rollout.analysis.metrics:
        if metric.dry_run:
            notes.append(f"metric {metric.name} is left out: it is a dry run")
        elif metric.type not in SIMULATED:
            notes.append(f"metric {metric.name} is left out, as if it always passed: {metric.type} is not simulated")
        else:
            metrics.append(metric)
    exposed = any(step.shadow or step.canary for step in spec.rollout.steps)
    if not exposed and not spec.rollout.watch_seconds:
        raise given.BadInputError("spec.rollout.steps: no step has traffic to look at; add a shadow or a canary step")
    if not metrics:
        raise given.BadInputError(
            "spec.rollout.analysis.metrics: none of them is simulated; add one of type ErrorRate or Latency"
        )
    steps = []
    for index, step in enumerate(spec.rollout.steps):
        if step.pause is not None and step.pause.hold_seconds is None:
            notes.append(f"{plan.describe(spec.rollout.steps, index)}: taken to be ended by a person at once")
            step = modeldeployment.Step(pause=modeldeployment.PauseStep(hold_seconds=0))  # noqa: PLW2901
        steps.append(step)
    if spec.rollout.paused or spec.route.pin is not None:
        notes.append("rollout.paused and route.pin are taken to be off")
    analysis = spec.rollout.analysis.model_copy(update={"metrics": metrics})
    rollout = spec.rollout.model_copy(update={"analysis": analysis, "steps": steps, "paused": False})
    model = spec.model.model_copy(update={"signature_policy": modeldeployment.SignaturePolicy.IGNORE})
    spec = spec.model_copy(
        update={"rollout": rollout, "model": model, "route": spec.route.model_copy(update={"pin": None})}
    )
    stable, candidate = (
        revision.render(spec, ports.ModelVersion(spec.model.name, number), _DEFAULTS, "http://registry.invalid")
        for number in (1, 2)
    )
    return Case(spec, stable, candidate, horizon_seconds), tuple(notes)


def fold(case: Case, stream: traffic.Stream, source: random.Random, watching: Watching = looks.watching) -> Ending:
    """One rollout of the candidate from its start to its end, or to the horizon."""
    rollout = _Rollout(case, stream, source, watching)
    horizon = START + datetime.timedelta(seconds=case.horizon_seconds)
    while rollout.now < horizon:
        ending = rollout.settle()
        if ending is not None:
            return ending
        rollout.now = min(rollout.next_moment(horizon), horizon)
    return rollout.ended(undone=False, promoted=False)


@dataclass
class _Rollout:
    """The world, the stored status, and what the operator remembers between passes."""

    case: Case
    stream: traffic.Stream
    source: random.Random
    watching: Watching
    now: datetime.datetime = START
    status: modeldeployment_status.ModelDeploymentStatus = field(init=False)
    measured: tuple[world.Measured, ...] = ()
    asked: dict[str, datetime.datetime] = field(default_factory=dict)
    smoke: world.SmokeResult | None = None
    here: stay.Stay | None = None
    step: world.StepId | None = None
    watched: dict[str, looks.Look] = field(default_factory=dict)
    shares: list[tuple[datetime.datetime, float]] = field(default_factory=list)
    failed_before: int = 0
    last_step: str = ""

    def __post_init__(self) -> None:
        replicas, name = self.case.spec.server.replicas, self.case.stable.name
        self.status = modeldeployment_status.ModelDeploymentStatus(
            stable=modeldeployment_status.RevisionRef(
                name=name, model_version=1, replicas=replicas, ready_replicas=replicas
            ),
            split=Split(stable=name),
        )

    def settle(self) -> Ending | None:
        """Passes until one changes nothing, or the end."""
        for _ in range(200):
            mdep = modeldeployment_status.ModelDeployment.model_construct(
                metadata=_METADATA, spec=self.case.spec, status=self.status
            )
            decision = decide.decide(mdep, self._seen(), self.now)
            changed, self.status = decision.status != self.status, decision.status
            self.measured = ()
            if self.status.failure is not None:
                return self.ended(undone=True, promoted=False)
            if self.status.history:
                return self.ended(undone=False, promoted=True)
            self._enter()
            heard = [self._carry_out(action) for action in decision.actions]
            if not changed and not any(heard):
                return None
        raise AssertionError(f"passes at one moment do not come to an end: {self.status.message}")

    def _seen(self) -> world.Seen:
        replicas, names = self.case.spec.server.replicas, [self.case.stable.name]
        if self.status.candidate is not None:
            names.append(self.status.candidate.name)
        return world.Seen(
            wanted=self.case.candidate,
            workloads={name: world.Workload(replicas, replicas) for name in names},
            applied=self.status.split,
            measured=self.measured,
            last_measured=dict(self.asked),
            smoke=self.smoke,
        )

    def _carry_out(self, action: world.Action) -> bool:
        """Whether there is news for the next pass."""
        match action:
            case world.RunSmokeTest() if action.step == self.step:
                self.smoke = world.SmokeResult(action.step, passed=True, message="it answered")
                return True
            case world.Measure() if action.step == self.step and self.here is not None:
                self.asked[action.metric.name] = self.now
                answer = self.here.answer(action.metric, action.window_seconds)
                self.measured += (world.Measured(action.step, action.metric.name, answer, self.now),)
                return True
            case _:
                return False

    def _enter(self) -> None:
        """Begin a stay when the operator has begun one."""
        step = self.status.step
        if step is None or self.status.candidate is None:
            return
        current = world.StepId(self.status.candidate.name, step.index, step.started_at)
        if step.started_at is None or current == self.step:
            return
        self._leave()
        spec, split = self.case.spec, self.status.split
        self.step, self.asked = current, {}
        watched = step.kind == plan.WATCH
        self.last_step = "watch at 100 %" if watched else plan.describe(spec.rollout.steps, step.index)
        self.shares.append((self.now, 1 - split.weight / 100))
        metrics = () if split.candidate is None else plan.metrics_of(spec.rollout.steps, step.index, spec.rollout)
        backwards = -1 if split.weight == 100 else 1  # then stable's past is the reference, the latest first
        self.here = stay.Stay(
            stream=self.stream,
            source=self.source,
            started_at=step.started_at,
            split=split,
            stable_share=lambda seconds: self._share_at(current.started_at, seconds * backwards),
            timed=any(metric.type is modeldeployment.MetricType.LATENCY for metric in metrics),
            compared=any(metric.is_compared for metric in metrics),
            fine=any(_is_recent(metric) for metric in metrics),
        )
        self.watched = {metric.name: self.watching(metric, self.here) for metric in metrics}

    def _leave(self) -> None:
        if self.here is not None:
            self.here.close((self.now - self.here.started_at).total_seconds())
            self.failed_before += self.here.failed_users
            self.here = None

    def _share_at(self, since: datetime.datetime | None, seconds: float) -> float:
        """Stable's share of the users' requests at a moment: all of them before the rollout."""
        moment = (since or START) + datetime.timedelta(seconds=seconds)
        return next((share for begun, share in reversed(self.shares) if begun <= moment), 1.0)

    def next_moment(self, horizon: datetime.datetime) -> datetime.datetime:
        """When the next pass can find anything new."""
        step, seen = self.status.step, self.here
        if seen is None or step is None:
            raise AssertionError(f"a rollout that does not begin: {self.status.message}")
        until = seen.started_at + datetime.timedelta(seconds=self._hold_seconds(step))
        if not self.watched:
            return until if until > self.now else horizon
        interval = self.case.spec.rollout.analysis.interval_seconds
        first = seen.started_at + datetime.timedelta(seconds=measuring.SHORTEST_WINDOW)
        at = max(self.asked.values()) + datetime.timedelta(seconds=interval) if self.asked else first
        known = {metric.name: metric.verdict for metric in self.status.verdicts}
        while at < horizon:
            if self.now < until <= at:
                seen.advance((until - seen.started_at).total_seconds())
                return until
            elapsed = (at - seen.started_at).total_seconds()
            seen.advance(elapsed)
            found = {name: look.found(elapsed) for name, look in self.watched.items()}
            pause = datetime.timedelta(seconds=max(interval, seen.block_seconds))
            is_last = self.now < until <= at + pause  # what it finds is what the step may end on
            if is_last or found != known or any(verdict is Verdict.FAIL for verdict in found.values()):
                return at
            at += pause
        seen.advance((horizon - seen.started_at).total_seconds())
        return horizon

    def _hold_seconds(self, step: modeldeployment_status.StepStatus) -> int:
        rollout = self.case.spec.rollout
        if step.index >= len(rollout.steps):
            return rollout.watch_seconds
        return plan.hold_seconds(rollout.steps[step.index]) or 0

    def ended(self, *, undone: bool, promoted: bool) -> Ending:
        """The rollout is over."""
        metrics: tuple[str, ...] = ()
        if undone:
            metrics = self._named_in(self.status.failure.message if self.status.failure else "")
        elif not promoted:
            metrics = tuple(known.name for known in self.status.verdicts if known.verdict is not Verdict.PASS)
        self._leave()
        seconds = (self.now - START).total_seconds()
        return Ending(undone, promoted, seconds, self.last_step, metrics, self.failed_before)

    def _named_in(self, message: str) -> tuple[str, ...]:
        """The metrics whose sentences a failure consists of."""
        sentences = message.removeprefix("in the watch at 100 %: ").split("; ")
        return tuple(name for name in self.watched if any(one.startswith(f"{name}: ") for one in sentences))


def _is_recent(metric: modeldeployment.Metric) -> bool:
    """Whether a limit depends on the latest few scrapes. A step's own minSamples does not: it counts all of them."""
    return (metric.min is not None or metric.max is not None) and metric.name != plan.SAMPLES_METRIC


_METADATA = modeldeployment_status.Metadata(name="simulated", namespace="simulated", uid="simulated", generation=1)
