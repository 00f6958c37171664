"""What may happen to a ModelDeployment: events that Hypothesis strings together, and what each does to the world."""

import datetime
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from penstock.api.v1alpha1 import modeldeployment as api
from penstock.rollout import revision

from tests.unit.rollout.simulation import Health, Metrics, Registry, Simulation

SMOKE = api.Step(smoke_test=api.SmokeTestStep())
SHADOW = api.Step(shadow=api.ShadowStep(hold_seconds=20))
CANARY_5 = api.Step(canary=api.CanaryStep(weight=5, hold_seconds=30))
CANARY_50 = api.Step(canary=api.CanaryStep(weight=50, hold_seconds=15, min_samples=10))
CANARY_100 = api.Step(canary=api.CanaryStep(weight=100, hold_seconds=0))
PAUSE = api.Step(pause=api.PauseStep())
BREATH = api.Step(pause=api.PauseStep(hold_seconds=10))

PLANS = (
    (SMOKE, SHADOW, CANARY_5, CANARY_50),
    (CANARY_5, PAUSE, CANARY_50),
    (SMOKE, CANARY_50, SMOKE, BREATH, CANARY_100),
    (SHADOW, PAUSE),
    (),
)
ERRORS = api.Metric(name="errors", type=api.MetricType.ERROR_RATE, max=0.05, min_samples=20)
P99 = api.Metric(name="p99", type=api.MetricType.LATENCY, max=0.9, consecutive_error_limit=1, failure_limit=1)
DRY = api.Metric(name="dry", type=api.MetricType.ERROR_RATE, max=0.0, dry_run=True)


def spec(steps: tuple[api.Step, ...] = PLANS[0], **rollout: Any) -> api.ModelDeploymentSpec:
    """A spec with short times."""
    fields = {"progress_deadline_seconds": 60, "history_limit": 3, **rollout}
    analysis = api.Analysis(interval_seconds=10, metrics=[ERRORS, P99, DRY])
    return api.ModelDeploymentSpec(
        model=api.ModelRef(name="fraud", alias="champion"),
        server=api.Server(replicas=2),
        rollout=api.Rollout(steps=list(steps), analysis=analysis, **fields),
    )


@dataclass(frozen=True)
class Event:
    """Something happens; the name is a method of `Happen`."""

    name: str
    value: Any = None

    def happen(self, sim: Simulation) -> None:
        getattr(Happen, self.name)(sim, self.value)


class Happen:
    """What events do."""

    @staticmethod
    def wait(sim: Simulation, seconds: float) -> None:
        sim.advance(seconds)

    @staticmethod
    def die(sim: Simulation, after: int) -> None:
        sim.reconcile(die_after=after)

    @staticmethod
    def operator_down(sim: Simulation, seconds: float) -> None:
        sim.restart()
        sim.now += datetime.timedelta(seconds=seconds)

    @staticmethod
    def conflict(sim: Simulation, _: None) -> None:
        sim.reconcile(conflict=True)

    @staticmethod
    def alias(sim: Simulation, version: int) -> None:
        sim.version = version

    @staticmethod
    def registry(sim: Simulation, how: Registry) -> None:
        sim.registry = how

    @staticmethod
    def metrics(sim: Simulation, how: Metrics) -> None:
        sim.metrics = how

    @staticmethod
    def health(sim: Simulation, what: tuple[int, Health]) -> None:
        sim.health[what[0]] = what[1]

    @staticmethod
    def plane(sim: Simulation, delay: float) -> None:
        sim.plane.applied(sim.now)
        sim.plane.delay = delay

    @staticmethod
    def plane_forgets(sim: Simulation, _: None) -> None:
        sim.plane.forget(sim.now)

    @staticmethod
    def pods_down(sim: Simulation, what: tuple[str, int]) -> None:
        name = _name(sim, what[0])
        if name in sim.pods:
            sim.pods[name].down = what[1]

    @staticmethod
    def pods_deleted(sim: Simulation, who: str) -> None:
        sim.pods.pop(_name(sim, who), None)

    @staticmethod
    def entry_deleted(sim: Simulation, _: None) -> None:
        sim.entry = False

    @staticmethod
    def annotate(sim: Simulation, what: tuple[str, str, str]) -> None:
        verb, who, argument = what
        sim.annotate(
            verb, _name(sim, who) + argument.replace("STEP", str(sim.status.step.index if sim.status.step else 0))
        )

    @staticmethod
    def edit(sim: Simulation, parts: dict[str, Any]) -> None:
        sim.change(**parts)

    @staticmethod
    def release(sim: Simulation, image: str) -> None:
        """Another release of the operator, with another default image, takes over."""
        sim.defaults = revision.Defaults("http://mlflow:5000", None, image)
        sim.restart()


def _name(sim: Simulation, who: str) -> str:
    status = sim.status
    named = {"stable": status.stable, "candidate": status.candidate}
    if who == "rejected":
        return status.rejected.revision if status.rejected else "0000000000"
    found = named[who]
    return found.name if found else "0000000000"


def _of(name: str, values: Any) -> st.SearchStrategy[Event]:
    strategy = values if isinstance(values, st.SearchStrategy) else st.sampled_from(values)
    return st.builds(Event, st.just(name), strategy)


WAITS = _of("wait", (1, 5, 12, 35, 70, 200))
ALIAS = _of("alias", (1, 2, 3))
HEALTH = _of("health", st.tuples(st.sampled_from((2, 3)), st.sampled_from(Health)))
METRICS = _of("metrics", tuple(Metrics))
REGISTRY = _of("registry", tuple(Registry))
PLANE = st.one_of(_of("plane", (0.0, 4.0, 50.0)), st.just(Event("plane_forgets")))
PODS = st.one_of(
    _of("pods_down", st.tuples(st.sampled_from(("stable", "candidate")), st.sampled_from((0, 1, 2, 4)))),
    _of("pods_deleted", ("stable", "candidate")),
    st.just(Event("entry_deleted")),
)
DEATHS = st.one_of(_of("die", (0, 1, 2, 3)), st.just(Event("conflict")), _of("operator_down", (5, 45, 400)))
COMMANDS = _of(
    "annotate",
    st.sampled_from(
        (
            ("promote", "candidate", ""),
            ("promote", "candidate", "/STEP"),
            ("promote", "candidate", "/STEP/again"),
            ("skip-step", "candidate", "/STEP"),
            ("abort", "candidate", ""),
            ("abort", "candidate", "/again"),
            ("retry", "rejected", ""),
            ("retry", "candidate", ""),
            ("retry", "rejected", "/again"),
            ("promote", "stable", ""),
            ("abort", "stable", ""),
        )
    ),
)
EDITS = _of(
    "edit",
    (
        *({"rollout": {"steps": list(plan)}} for plan in PLANS),
        {"rollout": {"paused": True}},
        {"rollout": {"paused": False}},
        {"rollout": {"on_failure": api.OnFailure.PAUSE}},
        {"rollout": {"on_failure": api.OnFailure.ROLLBACK}},
        {"rollout": {"watch_seconds": 25}},
        {"rollout": {"watch_seconds": 0}},
        {"rollout": {"abort": api.Abort.GRADUAL}},
        {"route": {"pin": api.Pin.STABLE}},
        {"route": {"pin": None}},
        {"server": {"replicas": 1}},
        {"server": {"replicas": 4}},
        {"server": {"env": [api.EnvVar(name="A", value="1")]}},
        {"server": {"env": []}},
        {"model": {"signature_policy": api.SignaturePolicy.EXACT}},
        {"model": {"signature_policy": api.SignaturePolicy.IGNORE}},
    ),
)
RELEASES = _of("release", ("runtime:2", "runtime:3"))

ANY = st.one_of(WAITS, WAITS, ALIAS, HEALTH, METRICS, REGISTRY, PLANE, PODS, DEATHS, COMMANDS, EDITS, RELEASES)


TROUBLE = st.one_of(
    _of("wait", (1, 5, 12, 35)),
    _of("metrics", (Metrics.BAD, Metrics.BAD, Metrics.GOOD)),
    PODS,
    PODS,
    PLANE,
    ALIAS,
    _of("annotate", st.sampled_from((("abort", "candidate", ""), ("promote", "candidate", "")))),
)
"""What makes a rollout end, and what may be in its way."""


@dataclass(frozen=True)
class History:
    """All it takes to make a world: its beginning, and what happens."""

    plan: tuple[api.Step, ...]
    start: str
    """new: nothing was there; serving: version 1 serves and 2 is about to come; rolling: 2 has been for a while."""
    events_lost: bool
    events: tuple[Event, ...]
    watch_seconds: int = 0
    abort: api.Abort = api.Abort.IMMEDIATE

    def play(self) -> Simulation:
        """The world after it."""
        rollout = spec(self.plan, watch_seconds=self.watch_seconds, abort=self.abort)
        sim = Simulation(rollout, events_lost=self.events_lost)
        if self.events_lost:
            sim.change(model={"poll_seconds": 3600})
        if self.start != "new":
            sim.advance(30)
            sim.version = 2
        if self.start == "rolling":
            sim.advance(30)
        for event in self.events:
            event.happen(sim)
            sim.settle()
        return sim


def histories(events: st.SearchStrategy[Event] = ANY, longest: int = 30) -> st.SearchStrategy[History]:
    """Histories of these events."""
    return st.builds(
        History,
        plan=st.sampled_from(PLANS),
        start=st.sampled_from(("rolling", "rolling", "serving", "new")),
        events_lost=st.booleans(),
        events=st.lists(events, min_size=4, max_size=longest).map(tuple),
        watch_seconds=st.sampled_from((0, 0, 25)),
        abort=st.sampled_from(api.Abort),
    )
