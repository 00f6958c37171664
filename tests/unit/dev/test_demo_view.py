"""The demo's views and its ending are functions of what is known: these are their words."""

import dataclasses
import datetime
import io

import pytest
import yaml
from penstock.api import crd, kinds, structural
from penstock.api.v1alpha1 import modeldeployment
from penstock.api.v1alpha1.modeldeployment_status import (
    Candidate,
    HistoryEntry,
    MetricStatus,
    ModelDeploymentStatus,
    Outcome,
    Phase,
    RevisionRef,
    Split,
    StepStatus,
    Verdict,
)
from rich import console

from dev.demo import live, models, plain, registry, state, story, summary
from dev.demo.models import Role
from dev.demo.state import Calls, Scene, State, Told
from dev.traffic import report
from dev.traffic.exchange import Exchange

NOON = datetime.datetime(2026, 5, 1, 12, tzinfo=datetime.UTC)
SPEC = modeldeployment.ModelDeploymentSpec.model_validate(story.modeldeployment()["spec"])
STABLE = ModelDeploymentStatus(
    phase=Phase.HEALTHY,
    message="version 1 serves",
    stable=RevisionRef(name="a1", model_version=1),
    split=Split(stable="a1"),
)
CANARY = STABLE.model_copy(
    update={
        "phase": Phase.PROGRESSING,
        "message": "step 3 of 4, canary 20 %",
        "candidate": Candidate(name="b2", model_version=2, started_at=NOON),
        "step": StepStatus(index=2, kind="canary", started_at=NOON),
        "split": Split(stable="a1", candidate="b2", weight=20),
        "verdicts": [
            MetricStatus(name="errors", verdict=Verdict.PASS, message="errors: 0 of 31 failed", measured_at=NOON)
        ],
    }
)
CALLS = Calls(sent=100, rates=(report.Rate(1, 48.0, 0.0), report.Rate(2, 12.0, 3.0)), failed={2: 3})


def at(elapsed: float, **changes: object) -> State:
    return dataclasses.replace(State(elapsed=elapsed, spec=SPEC, status=STABLE), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        pytest.param(at(1), at(2), [], id="nothing happened"),
        pytest.param(
            at(1),
            at(2, scene=Scene(1, "Version 2 is better", "the alias moves")),
            ["[   2.0 s] === Version 2 is better", "[   2.0 s]     the alias moves"],
            id="a scene opens",
        ),
        pytest.param(
            at(1, events=(Told("1", "Promoted", "version 1"),)),
            at(
                2,
                events=(
                    Told("1", "Promoted", "version 1"),
                    Told("2", "RolloutStarted", "version 2"),
                    Told("3", "MetricFailed", "too many", warning=True),
                ),
            ),
            ["[   2.0 s]   - RolloutStarted: version 2", "[   2.0 s]   ! MetricFailed: too many"],
            id="the operator tells something",
        ),
        pytest.param(
            at(12),
            at(13.25, status=CANARY),
            ["[  13.2 s]   > requests: 80 % to version 1 (stable), 20 % to version 2 (candidate)"],
            id="the split moves",
        ),
        pytest.param(
            at(1, calls=Calls(sent=10)),
            at(2, calls=Calls(sent=20, failed={3: 1}, lost=1)),
            [
                "[   2.0 s]   ! the first request was lost after 20",
                "[   2.0 s]   ! the first bad answer comes from version 3",
            ],
            id="requests go wrong",
        ),
        pytest.param(
            at(1, calls=Calls(sent=20, failed={3: 1}, lost=1)),
            at(2, calls=Calls(sent=30, failed={3: 4}, lost=2)),
            [],
            id="they go on going wrong",
        ),
    ],
)
def test_the_log_says_what_changed(before: State, after: State, lines: list[str]) -> None:
    assert plain.lines(before, after) == lines


def test_the_log_gives_a_sign_of_life() -> None:
    assert plain.heartbeat(at(20, status=CANARY, calls=CALLS)) == (
        "[  20.0 s]   version 1 48/s, version 2 12/s (3/s failed); 100 sent, 3 by version 2 failed, 0 lost; "
        "Progressing: step 3 of 4, canary 20 %"
    )


def test_the_log_gives_a_sign_of_life_before_there_is_any() -> None:
    assert plain.heartbeat(State(elapsed=5)) == "[   5.0 s]   ..."
    new = State(elapsed=5, spec=SPEC)
    assert plain.heartbeat(new) == "[   5.0 s]   Pending: waiting for the operator"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param(ModelDeploymentStatus(), (), id="nobody serves"),
        pytest.param(STABLE, (state.Share(1, "stable", 100),), id="one version serves"),
        pytest.param(CANARY, (state.Share(1, "stable", 80), state.Share(2, "candidate", 20)), id="two share"),
        pytest.param(
            CANARY.model_copy(update={"split": Split(stable="a1", candidate="b2", mirror=50)}),
            (state.Share(1, "stable", 100), state.Share(2, "candidate", 0, 50)),
            id="one gets copies",
        ),
        pytest.param(
            CANARY.model_copy(update={"split": Split(stable="a1")}),
            (state.Share(1, "stable", 100), state.Share(2, "candidate", 0)),
            id="one gets nothing yet",
        ),
    ],
)
def test_shares(status: ModelDeploymentStatus, expected: tuple[state.Share, ...]) -> None:
    assert state.shares(status) == expected


def test_steps_are_done_now_or_next() -> None:
    assert [(step.title, step.mark) for step in state.steps(SPEC, CANARY)] == [
        ("smoke test", "done"),
        ("shadow 100 %", "done"),
        ("canary 20 %", "now"),
        ("canary 50 %", "next"),
    ]


def test_an_event_that_is_told_again_is_known() -> None:
    told = Told("1", "Promoted", "version 1")
    assert state.with_event((told,), told) == (told,)


def test_the_screen_shows_what_a_person_wants_to_know() -> None:
    terminal = console.Console(width=110, record=True, file=io.StringIO())
    scene = Scene(1, "Version 2 is better", "the alias moves")
    terminal.print(live.draw(at(20, scene=scene, status=CANARY, calls=CALLS, events=(Told("1", "StepStarted", "it"),))))
    shown = terminal.export_text()
    wanted = [
        "Version 2 is better",
        "Progressing",
        "80 %",
        "20 %",
        "▶ canary 20 %",
        "errors: 0 of 31",
        "StepStarted it",
    ]
    assert [word for word in wanted if word not in shown] == []
    assert "100 sent, 3 by version 2 failed, 0 lost" in shown


def entry(version: int, outcome: Outcome) -> HistoryEntry:
    return HistoryEntry(
        revision=f"r{version}",
        model_version=version,
        outcome=outcome,
        reason=outcome.value,
        message="because",
        started_at=NOON,
        ended_at=NOON + datetime.timedelta(seconds=20),
    )


def exchanges(*, lost: bool = False, blamed: int = 3) -> list[Exchange]:
    bad = Exchange("b", 2.0, 2.1, 400, f"r{blamed}", blamed, "BAD_REQUEST")
    good = [
        Exchange("a", 1.0, 1.1, 200, "r1", 1),
        Exchange("c", 3.0, 3.1, 200, f"r{blamed}", blamed),
        Exchange("d", 4.0, 4.1, 200, "r2", 2),
    ]
    return [*good, bad, *([Exchange("e", 5.0, 5.5, None, error="TimeoutError")] if lost else [])]


HAPPY = story.Story(
    name="tumour",
    address="http://10.0.0.1:80",
    versions={Role.FIRST: registry.Registered(1, 0.87), Role.BETTER: registry.Registered(2, 0.93)}
    | {Role.INVERTED: registry.Registered(4, 0.94), Role.FLAWED: registry.Registered(3, 0.95)},
    history=(
        entry(3, Outcome.ROLLED_BACK),
        entry(4, Outcome.ROLLED_BACK),
        entry(2, Outcome.PROMOTED),
        entry(1, Outcome.PROMOTED),
    ),
    stable_version=2,
    traffic=report.summarise(exchanges()),
)


@pytest.mark.parametrize(
    ("told", "problems"),
    [
        pytest.param(HAPPY, [], id="as it should be"),
        pytest.param(
            dataclasses.replace(
                HAPPY,
                history=(entry(3, Outcome.PROMOTED), entry(4, Outcome.ROLLED_BACK), entry(2, Outcome.PROMOTED)),
                stable_version=3,
            ),
            [
                "version 3 should have been RolledBack and was Promoted (because)",
                "version 2 should be stable, and version 3 is",
            ],
            id="the flawed one was promoted",
        ),
        pytest.param(
            dataclasses.replace(
                HAPPY, history=(entry(3, Outcome.ROLLED_BACK), entry(4, Outcome.ROLLED_BACK)), stable_version=1
            ),
            [
                "version 2 should have been Promoted and was not rolled out",
                "version 2 should be stable, and version 1 is",
            ],
            id="the better one was not rolled out",
        ),
        pytest.param(
            dataclasses.replace(HAPPY, traffic=report.summarise(exchanges(lost=True))),
            ["1 requests were lost, the first: e, sent at 5.00 s: no answer after 0.500 s: TimeoutError"],
            id="a request was lost",
        ),
        pytest.param(
            dataclasses.replace(HAPPY, traffic=report.summarise(exchanges(blamed=2))),
            ["requests were failed by versions ['2']"],
            id="a good version failed a request",
        ),
        pytest.param(
            dataclasses.replace(HAPPY, traffic=report.summarise([*exchanges(), Exchange("f", 6.0, 6.1, 200, "r4", 4)])),
            ["users got answers of version 4, which its shadow should have stopped"],
            id="somebody saw a wrong answer",
        ),
    ],
)
def test_what_went_wrong_is_told(told: story.Story, problems: list[str]) -> None:
    assert story.problems(told) == problems


def test_the_summary_has_the_figures() -> None:
    assert summary.lines(HAPPY) == [
        "  requests sent                                 4",
        "  lost                                          0",
        "  version 1                                     1 answered, 0 failed",
        "  version 2                                     1 answered, 0 failed",
        "  version 3                                     1 answered, 1 failed",
        "  rollout of version 1                          Promoted after 20.0 s",
        "  rollout of version 2                          Promoted after 20.0 s",
        "  rollout of version 4                          RolledBack after 20.0 s",
        "  rollout of version 3                          RolledBack after 20.0 s",
        "  wrong answers of version 4 that users saw     0",
        "  from the first bad answer to its last answer  1.0 s, 1 requests failed",
    ]


def test_the_next_steps_name_the_undone_revision() -> None:
    place = story.Place("penstock-demo", "penstock-system", "penstock", 60)
    commands = summary.next_steps(HAPPY, place)
    assert any("annotate mdep tumour --overwrite penstock.dev/retry=r3/again" in line for line in commands)
    assert any("curl -s http://10.0.0.1:80/invocations -H 'Host: tumour.penstock-demo'" in line for line in commands)


def test_the_manifest_is_complete_with_the_schema() -> None:
    schema = structural.complete(crd.schema(kinds.MODEL_DEPLOYMENT))["properties"]["spec"]
    body = yaml.safe_load(story.EXAMPLE.read_text())
    assert structural.defaulted(body["spec"], schema) == SPEC.to_wire()


def test_the_flawed_model_fails_what_the_second_clinic_sends_and_nothing_else() -> None:
    import numpy as np
    import orjson
    import pandas as pd

    trained = {model.role: model for model in models.train()}
    first, second = models.requests(smooth_every=None, count=8), models.requests(smooth_every=4, count=8)

    def fails(role: Role, body: bytes) -> bool:
        frame = pd.DataFrame(**orjson.loads(body)["dataframe_split"])
        try:
            with np.errstate(divide="ignore"):
                trained[role].estimator.predict(frame)
        except ValueError:
            return True
        return False

    failing = {
        role: (sum(fails(role, body) for body in first), sum(fails(role, body) for body in second)) for role in Role
    }
    assert failing == {Role.FIRST: (0, 0), Role.BETTER: (0, 0), Role.INVERTED: (0, 0), Role.FLAWED: (0, 2)}
    samples = pd.DataFrame(
        [orjson.loads(body)["dataframe_split"]["data"][0] for body in first], columns=models.FEATURES
    )
    better, inverted = (trained[role].estimator.predict(samples) for role in (Role.BETTER, Role.INVERTED))
    assert (better != inverted).mean() > 0.8
    accuracies = [trained[role].accuracy for role in Role]
    assert accuracies == sorted(accuracies)
