"""A made-up world around `decide`: registry, pods, data plane, metrics and people, on a clock that only we move.

It carries out what a decision says the way the shell does (publish, gather, decide, act, save once), can be killed
between any two actions, and keeps a trace of every pass for the tests to look at.
"""

import datetime
import enum
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from penstock import ports
from penstock.adapters import envoy_snapshot
from penstock.analysis import measurement
from penstock.analysis.signature import Column, Scalar, Signature
from penstock.api.v1alpha1 import modeldeployment as api
from penstock.api.v1alpha1 import modeldeployment_status as told
from penstock.rollout import decide, revision, world

START = datetime.datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=datetime.UTC)
FOREVER = 10**9
DEFAULTS = revision.Defaults("http://mlflow:5000", None, "runtime:1")


class Health(enum.Enum):
    """What the pods of a model version are like."""

    GOOD = "ready after 3 s"
    SLOW = "ready after 40 s"
    STUCK = "never ready"
    BROKEN = "the model cannot be loaded"
    UNSMOKED = "ready, but the smoke test fails"
    MISFIT = "ready after 3 s, if it gets so far with a signature of its own"


class Metrics(enum.Enum):
    """What the metric source answers about a candidate."""

    GOOD = "good"
    BAD = "bad"
    NONE = "no data"
    NAN = "ambiguous"
    ERROR = "unavailable"


ANSWERS: dict[Metrics, measurement.Measurement] = {
    Metrics.GOOD: measurement.Value(0.001, 1000),
    Metrics.BAD: measurement.Value(0.5, 1000),
    Metrics.NONE: measurement.NoData("nothing yet"),
    Metrics.NAN: measurement.Ambiguous("NaN"),
    Metrics.ERROR: measurement.Unavailable("connection refused"),
}


class Registry(enum.Enum):
    """How the registry answers."""

    UP = "up"
    DOWN = "down"
    ALIAS_MISSING = "alias missing"


@dataclass
class Pods:
    """The pods of one revision."""

    version: int
    replicas: int
    born: datetime.datetime
    down: int = 0
    """How many of them are not ready at the moment, because something happened to them."""


@dataclass
class Plane:
    """A data plane that confirms a split some time after it was published, and meanwhile uses the one before."""

    delay: float = 0.0
    published: told.Split | None = None
    confirmed: told.Split | None = None
    since: datetime.datetime = START

    def publish(self, split: told.Split, now: datetime.datetime) -> None:
        self.applied(now)
        if split != self.published:
            self.published, self.since = split, now

    def applied(self, now: datetime.datetime) -> told.Split | None:
        if self.published is not None and now >= self.since + datetime.timedelta(seconds=self.delay):
            self.confirmed = self.published
            return self.published
        return None

    def forget(self, now: datetime.datetime) -> None:
        """An instance starts anew: nothing is confirmed until it has been told again."""
        self.since = now

    def in_use(self) -> frozenset[str]:
        """Revisions that some instance may be sending requests or copies to."""
        splits = [split for split in (self.published, self.confirmed) if split is not None]
        return frozenset(name for split in splits for name in (split.stable, split.candidate) if name is not None)


@dataclass(frozen=True, repr=False)
class Pass:
    """One pass as it happened."""

    at: datetime.datetime
    mdep: told.ModelDeployment
    seen: world.Seen
    decision: world.Decision
    done: tuple[world.Action, ...]
    """The actions that were carried out; fewer than were decided if the operator was killed."""
    saved: bool
    in_use: frozenset[str]
    """Revisions that the data plane may have been sending requests to when the actions were carried out."""

    @property
    def before(self) -> told.ModelDeploymentStatus:
        return self.mdep.status

    @property
    def after(self) -> told.ModelDeploymentStatus:
        return self.decision.status

    def __repr__(self) -> str:
        return f"<{self.at:%H:%M:%S} {self.before.phase} -> {self.after.phase}: {self.after.message}>"

    @property
    def idle(self) -> bool:
        return self.after == self.before and not self.decision.actions and not self.decision.events


@dataclass(repr=False)
class Simulation:
    """The world, and the operator in it."""

    spec: api.ModelDeploymentSpec
    now: datetime.datetime = START
    version: int = 1
    registry: Registry = Registry.UP
    metrics: Metrics = Metrics.GOOD
    health: dict[int, Health] = field(default_factory=dict)
    defaults: revision.Defaults = DEFAULTS
    events_lost: bool = False
    """Only wake-ups start passes, no event of the cluster does."""
    plane: Plane = field(default_factory=Plane)
    pods: dict[str, Pods] = field(default_factory=dict)
    records: dict[str, revision.Revision] = field(default_factory=dict)
    entry: bool = False
    generation: int = 1
    annotations: dict[str, str] = field(default_factory=dict)
    stored: str = "{}"
    tagged: set[tuple[str, datetime.datetime]] = field(default_factory=set)
    trace: list[Pass] = field(default_factory=list)
    # what the operator holds in memory
    resolving: bool = True
    measured: list[world.Measured] = field(default_factory=list)
    asked_at: dict[tuple[world.StepId, str], datetime.datetime] = field(default_factory=dict)
    smoke: world.SmokeResult | None = None
    signatures: world.Signatures | None = None

    @property
    def status(self) -> told.ModelDeploymentStatus:
        return told.ModelDeploymentStatus.model_validate(json.loads(self.stored))

    @property
    def mdep(self) -> told.ModelDeployment:
        metadata = told.Metadata(
            name="fraud", namespace="ml", uid="u", generation=self.generation, annotations=dict(self.annotations)
        )
        return told.ModelDeployment(metadata=metadata, spec=self.spec, status=self.status)

    # what the world answers

    def wanted(self) -> revision.Revision | world.Unresolved:
        if self.resolving:
            return world.RESOLVING
        if self.registry is Registry.DOWN:
            return world.Unresolved("RegistryUnavailable", "the registry does not answer; look at its pods")
        if self.registry is Registry.ALIAS_MISSING:
            return world.Unresolved("AliasNotFound", "fraud has no alias champion; set it", retryable=False)
        resolved = ports.ModelVersion("fraud", self.version)
        return revision.render(self.spec, resolved, self.defaults, "http://mlflow:5000")

    def age(self, name: str) -> float:
        return (self.now - self.pods[name].born).total_seconds()

    def ready(self, name: str) -> int:
        pods = self.pods.get(name)
        if pods is None:
            return 0
        delay = {Health.GOOD: 3, Health.UNSMOKED: 3, Health.MISFIT: 3, Health.SLOW: 40}.get(
            self.health_of(pods), FOREVER
        )
        return max(0, pods.replicas - pods.down) if self.age(name) >= delay else 0

    def health_of(self, pods: Pods) -> Health:
        return self.health.get(pods.version, Health.GOOD)

    def workload(self, name: str) -> world.Workload:
        pods = self.pods[name]
        failure = None
        if self.health_of(pods) is Health.BROKEN and self.age(name) >= 4:
            failure = world.PodFailure("ModelNotLoadable", "the model needs torch; add it", fatal=True)
        return world.Workload(pods.replicas, self.ready(name), failure)

    def effective(self, split: told.Split) -> envoy_snapshot.Weights:
        """What the data plane makes of a split with the pods that are ready now."""
        return envoy_snapshot.effective(split, {name for name in self.pods if self.ready(name)})

    # the operator

    def observe(self, status: told.ModelDeploymentStatus) -> world.Seen:
        step = None
        if status.candidate is not None and status.step is not None and status.step.started_at is not None:
            step = world.StepId(status.candidate.name, status.step.index, status.step.started_at)
        self.asked_at = {key: at for key, at in self.asked_at.items() if key[0] == step}
        return world.Seen(
            wanted=self.wanted(),
            workloads={name: self.workload(name) for name in self.pods},
            entry_exists=self.entry,
            applied=self.plane.applied(self.now),
            measured=tuple(self.measured),
            last_measured={metric: at for (_, metric), at in self.asked_at.items()},
            smoke=self.smoke,
            tagged=frozenset(self.tagged),
            signatures=self.signatures,
        )

    def reconcile(self, *, die_after: int | None = None, conflict: bool = False) -> Pass:
        """One pass. `die_after` kills the operator after that many actions, before anything is saved."""
        mdep = self.mdep
        self.plane.publish(mdep.status.split, self.now)
        seen = self.observe(mdep.status)
        decision = decide.decide(mdep, seen, self.now)
        in_use = self.plane.in_use()
        done = decision.actions if die_after is None else decision.actions[:die_after]
        for action in done:
            self.carry_out(action)
        saved = die_after is None and not conflict
        if saved:
            self.stored = json.dumps(decision.status.to_wire())
            self.plane.publish(self.status.split, self.now)
            self.measured = [known for known in self.measured if known not in seen.measured]
            self.tagged -= seen.tagged
        made = Pass(self.now, mdep, seen, decision, done, saved, in_use)
        self.trace.append(made)
        self.resolving = False
        if die_after is not None:
            self.restart()
        return made

    def restart(self) -> None:
        """The operator's memory is lost."""
        self.resolving, self.smoke, self.signatures = True, None, None
        self.measured, self.asked_at, self.tagged = [], {}, set()

    def carry_out(self, action: world.Action) -> None:
        match action:
            case world.EnsureRevision():
                if action.new is not None:
                    self.records.setdefault(action.name, action.new)
                made = self.records[action.name]
                self.pods.setdefault(action.name, Pods(made.version, action.replicas, self.now))
            case world.ScaleRevision():
                self.pods[action.name].replicas = action.replicas
            case world.RemoveRevision():
                self.pods.pop(action.name, None)
            case world.EnsureEntry():
                self.entry = True
            case world.PruneRecords():
                self.records = {name: made for name, made in self.records.items() if name in action.keep}
            case world.RunSmokeTest():
                self.run_smoke_test(action.step)
            case world.Measure():
                self.asked_at[action.step, action.metric.name] = self.now
                self.measured.append(
                    world.Measured(action.step, action.metric.name, ANSWERS[self.metrics], self.now),
                )
            case world.ReadSignatures():
                self.signatures = self.read_signatures(action)
            case world.TagModelVersion():
                if self.registry is Registry.UP:
                    self.tagged.add((action.entry.revision, action.entry.ended_at))

    def run_smoke_test(self, step: world.StepId) -> None:
        if self.ready(step.candidate):
            passed = self.health_of(self.pods[step.candidate]) is not Health.UNSMOKED
            self.smoke = world.SmokeResult(step, passed, "it answered" if passed else "it answered 500")

    def read_signatures(self, action: world.ReadSignatures) -> world.Signatures:
        def read(version: int) -> Signature | world.Unread:
            if self.registry is Registry.DOWN:
                return world.Unread("the registry does not answer; look at its pods")
            misfit = self.health.get(version) is Health.MISFIT
            return Signature(inputs=(Column(f"of {version}" if misfit else "amount", Scalar("double")),))

        of_stable, of_wanted = read(self.records[action.stable].version), read(action.wanted.version)
        tries = self.signatures.tries + 1 if self.signatures is not None and self.signatures.unread else 1
        return world.Signatures(action.stable, action.wanted.name, of_stable, of_wanted, at=self.now, tries=tries)

    def heard(self) -> tuple[object, ...]:
        """The answers that the operator has got so far."""
        return self.smoke, tuple(self.measured), frozenset(self.tagged), self.resolving, self.signatures

    def settle(self) -> Pass:
        """Passes until one changes nothing, as the events of its own writes and answers would cause them."""
        for _ in range(40):
            heard = self.heard()
            last = self.reconcile()
            quiet = heard == self.heard()
            if last.after == last.before and quiet:
                return last
        raise AssertionError(f"40 passes at one moment do not come to an end: {self.trace[-1].decision}")

    def advance(self, seconds: float) -> None:
        """Let time go by, with a pass at every wake-up, and at every change of the pods unless events get lost."""
        until = self.now + datetime.timedelta(seconds=seconds)
        for _ in range(100_000):
            last = self.settle()
            times = [until, *([last.decision.wake_at] if last.decision.wake_at else [])]
            times += [self.now + datetime.timedelta(seconds=self.spec.model.poll_seconds)]
            if not self.events_lost:
                moments = [
                    pods.born + datetime.timedelta(seconds=wait) for pods in self.pods.values() for wait in (3, 4, 40)
                ]
                moments.append(self.plane.since + datetime.timedelta(seconds=min(self.plane.delay, FOREVER)))
                times += [at for at in moments if at > self.now]
            at = min(times)
            assert at > self.now or at == until, f"a busy loop: wake-up at {at}, now is {self.now}"
            if at >= until:
                self.now = until
                return
            self.now = at
        raise AssertionError(f"too many passes in {seconds} s")

    def __repr__(self) -> str:
        return f"<{self.status.phase} after {len(self.trace)} passes: {self.status.message}>"

    # people

    def change(self, **parts: object) -> None:
        """Edit the spec: `change(rollout={...})` changes fields of spec.rollout, and so on."""
        for name, fields in parts.items():
            part = getattr(self.spec, name).model_copy(update=fields)
            self.spec = self.spec.model_copy(update={name: part})
        self.generation += 1

    def annotate(self, verb: str, value: str) -> None:
        self.annotations[f"penstock.dev/{verb}"] = value

    def calm(self) -> None:
        """Nothing disturbs from now on; what a model version is like stays."""
        self.registry, self.metrics = Registry.UP, Metrics.GOOD
        self.plane.delay = 0.0
        for pods in self.pods.values():
            pods.down = 0


def total_seconds(spec: api.ModelDeploymentSpec, steps: Sequence[api.Step]) -> float:
    """More than a rollout without disturbance can take."""
    holds = [getattr(part, "hold_seconds", 0) or 0 for step in steps for part in (step.shadow, step.canary, step.pause)]
    return sum(holds) + 30 * len(steps) + 2 * spec.rollout.progress_deadline_seconds + 100
