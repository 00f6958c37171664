"""Steps, what routing each means, and the table of transitions."""

import itertools

import pytest
from penstock.api.v1alpha1 import modeldeployment as api
from penstock.api.v1alpha1.modeldeployment_status import Phase, Split
from penstock.rollout import plan, transitions

from tests.unit.rollout.cases import BREATH, CANARY, HALF, PAUSE, SHADOW, SMOKE, spec, to

V1, V2 = "1111111111", "2222222222"
STEPS = (SMOKE, SHADOW, PAUSE, CANARY, SMOKE, HALF, BREATH)

DESCRIBED = {
    0: ("step 1 of 7, smoke test", "smokeTest", Split(stable=V1), 0),
    1: ("step 2 of 7, shadow 100 %", "shadow", to(mirror=100), 60),
    2: ("step 3 of 7, pause", "pause", to(mirror=100), None),
    3: ("step 4 of 7, canary 10 %", "canary", to(10), 60),
    4: ("step 5 of 7, smoke test", "smokeTest", to(10), 0),
    5: ("step 6 of 7, canary 50 %", "canary", to(50), 60),
    6: ("step 7 of 7, pause", "pause", to(50), 60),
}


@pytest.mark.parametrize(("index", "expected"), DESCRIBED.items())
def test_a_step(index: int, expected: tuple[str, str, Split, int | None]) -> None:
    assert (
        plan.describe(STEPS, index),
        plan.kind_at(STEPS, index),
        plan.split_at(STEPS, index, V1, V2),
        plan.hold_seconds(STEPS[index]),
    ) == expected


def test_after_the_last_step_the_candidate_takes_all_traffic() -> None:
    assert (plan.describe(STEPS, 7), plan.kind_at(STEPS, 7), plan.split_at(STEPS, 7, V1, V2)) == (
        "taking all traffic",
        "promote",
        to(100),
    )
    assert plan.split_at((), 0, None, V2) == Split(candidate=V2, weight=100)


def test_without_stable_there_are_smoke_tests_only() -> None:
    assert plan.steps_of(spec(*STEPS), has_stable=True) == STEPS
    assert plan.steps_of(spec(*STEPS), has_stable=False) == (SMOKE, SMOKE)


def test_a_plan_is_told_from_any_other() -> None:
    plans = [steps for length in range(4) for steps in itertools.permutations((SMOKE, SHADOW, CANARY, PAUSE), length)]
    assert len({plan.fingerprint(steps) for steps in plans}) == len(plans)


ERRORS = api.Metric(name="errors", type=api.MetricType.ERROR_RATE, max=0.05)
ROLLOUT = api.Rollout(analysis=api.Analysis(metrics=[ERRORS]))
COUNTED = {
    "a canary": (api.Step(canary=api.CanaryStep(weight=5, min_samples=500)), 500),
    "a shadow": (api.Step(shadow=api.ShadowStep(min_samples=7)), 7),
    "a canary without": (CANARY, None),
    "a pause": (PAUSE, None),
    "a smoke test": (SMOKE, None),
}


@pytest.mark.parametrize(("step", "samples"), COUNTED.values(), ids=COUNTED)
def test_min_samples_of_a_step_is_a_metric_that_only_waits(step: api.Step, samples: int | None) -> None:
    count = api.Metric(
        name="min-samples", type=api.MetricType.ERROR_RATE, max=1.0, window_seconds=86400, min_samples=samples or 0
    )
    assert plan.metrics_of((step,), 0, ROLLOUT) == ((ERRORS,) if samples is None else (ERRORS, count))


AGAINST = api.Metric(name="against", type=api.MetricType.ERROR_RATE, max_increase=0.01, confidence=0.9)
ANSWERS = api.Metric(name="answers", type=api.MetricType.SHADOW_DISAGREEMENT, max=0.02)
DRIFT = api.Metric(name="drift", type=api.MetricType.PREDICTION_DRIFT, max=0.1)
JUDGED = {
    "a shadow": (1, ["against", "answers", "drift"]),
    "a pause in a shadow": (2, ["against", "answers", "drift"]),
    "a canary": (3, ["against", "drift"]),
    "the watch": (4, ["against"]),
}


@pytest.mark.parametrize(("index", "names"), JUDGED.values(), ids=JUDGED)
def test_a_step_is_judged_by_what_its_traffic_can_tell(index: int, names: list[str]) -> None:
    """The chance of a false alarm, 10 %, is shared out: shadow, pause, canary and watch."""
    steps = (SMOKE, SHADOW, PAUSE, CANARY)
    rollout = api.Rollout(analysis=api.Analysis(metrics=[AGAINST, ANSWERS, DRIFT]), watch_seconds=60)
    judged = plan.metrics_of(steps, index, rollout)
    assert [metric.name for metric in judged] == names
    assert judged[0].confidence == pytest.approx(0.975)


def test_drift_is_not_asked_for_where_stable_answers_nobody() -> None:
    """It would wait for stable's predictions for ever."""
    steps = (CANARY, api.Step(canary=api.CanaryStep(weight=100)), PAUSE)
    rollout = api.Rollout(analysis=api.Analysis(metrics=[ERRORS, DRIFT]))
    judged = [[metric.name for metric in plan.metrics_of(steps, index, rollout)] for index in range(3)]
    assert judged == [["errors", "drift"], ["errors"], ["errors"]]


def test_a_lone_step_has_all_the_confidence() -> None:
    rollout = api.Rollout(analysis=api.Analysis(metrics=[AGAINST]))
    assert plan.metrics_of((SMOKE, CANARY), 1, rollout) == (AGAINST,)


def test_every_phase_can_be_left_and_reached() -> None:
    assert set(transitions.ALLOWED) == set(Phase)
    reached = {Phase.PENDING}
    for _ in Phase:
        reached |= {after for before in reached for after in transitions.ALLOWED[before]}
    assert reached == set(Phase) - {Phase.INVALID}
    assert all(transitions.ALLOWED.values())


MOVES = {
    (Phase.PENDING, Phase.PENDING): True,
    (Phase.PENDING, Phase.INITIALIZING): True,
    (Phase.PENDING, Phase.HEALTHY): False,
    (Phase.HEALTHY, Phase.PROGRESSING): True,
    (Phase.HEALTHY, Phase.ROLLING_BACK): False,
    (Phase.HEALTHY, Phase.INVALID): True,
    (Phase.INVALID, Phase.HEALTHY): True,
    (Phase.DEGRADED, Phase.ROLLING_BACK): False,
}


@pytest.mark.parametrize(("move", "allowed"), MOVES.items())
def test_a_move_between_phases(move: tuple[Phase, Phase], allowed: bool) -> None:
    assert transitions.allowed(*move) is allowed


def test_the_diagram_shows_every_allowed_move_once() -> None:
    lines = transitions.mermaid().splitlines()
    moves = {
        f"    {before} --> {after}"
        for before, afters in transitions.ALLOWED.items()
        if before is not Phase.INVALID
        for after in afters
    }
    assert lines[:2] == ["stateDiagram-v2", "    [*] --> Pending"]
    assert sorted(lines[2:]) == sorted(moves)
