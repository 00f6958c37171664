"""The command as people use it: what it finds, what it prints, and what it says about bad input."""

import json
import pathlib
from typing import Any

import pytest
import yaml
from penstock.cli import main, report

HEAD = {"apiVersion": "penstock.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "fraud"}}
MODEL = {"name": "fraud", "alias": "champion"}
COMPARED = [{"name": "errors", "type": "ErrorRate", "maxIncrease": 0.01}]


def written(folder: pathlib.Path, *bodies: Any) -> str:
    path = folder / "deployment.yaml"
    path.write_text(yaml.safe_dump_all(bodies))
    return str(path)


def deployment(name: str = "fraud", **rollout: Any) -> dict[str, Any]:
    return {**HEAD, "metadata": {"name": name}, "spec": {"model": MODEL, "rollout": rollout}}


def compared(**rollout: Any) -> dict[str, Any]:
    steps = [{"shadow": {"percent": 100}}, {"canary": {"weight": 10}}, {"canary": {"weight": 50}}]
    return deployment(steps=steps, analysis={"metrics": COMPARED}, **rollout)


def simulated(capsys: pytest.CaptureFixture[str], path: str, *options: str) -> dict[str, Any]:
    assert main.main(["simulate", "-f", path, "-o", "json", *options]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_good_version_is_seldom_undone_and_a_bad_one_always(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, compared())
    found = simulated(capsys, path, "--candidate-error-rate", "0.05", "--rollouts", "40")
    assert found["good"]["undone"]["share"] <= 0.05
    assert found["good"]["waiting"]["count"] == 0
    assert found["bad"]["undone"]["count"] == 40
    assert found["bad"]["secondsToUndo"]["median"] <= 60


def test_a_limit_undoes_what_it_was_not_meant_for(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit in the middle between the rates, looked at with twenty requests: no comparison, so no promise."""
    metrics = [{"name": "errors", "type": "ErrorRate", "max": 0.02, "minSamples": 20}]
    path = written(
        tmp_path, deployment(steps=[{"canary": {"weight": 10, "holdSeconds": 600}}], analysis={"metrics": metrics})
    )
    found = simulated(
        capsys, path, "--candidate-error-rate", "0.04", "--stable-error-rate", "0.005", "--rollouts", "40"
    )
    assert found["good"]["undone"]["count"] > 10


def test_a_metric_that_nothing_decides_waits(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = [{"name": "errors", "type": "ErrorRate", "maxIncrease": 0.0}]
    path = written(tmp_path, deployment(steps=[{"canary": {"weight": 10}}], analysis={"metrics": metrics}))
    found = simulated(capsys, path, "--candidate-error-rate", "0.5", "--rollouts", "5", "--horizon-seconds", "7200")
    assert found["good"]["waiting"] == {"count": 5, "share": 1.0, "low": 0.565518, "high": 1.0}
    assert found["good"]["waitingIn"] == [{"step": "step 1 of 1, canary 10 %", "metrics": ["errors"], "count": 5}]


def test_a_version_that_fails_late_is_undone_in_the_watch(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No step has requests enough for the comparison to fail or pass; the limit passes until the watch."""
    metrics = [{"name": "errors", "type": "ErrorRate", "maxIncrease": 0.001, "max": 1.0, "minSamples": 1}]
    body = deployment(steps=[{"smokeTest": {}}], watchSeconds=600, analysis={"metrics": metrics})
    found = simulated(capsys, written(tmp_path, body), "--candidate-error-rate", "0.05", "--rollouts", "10")
    assert found["bad"]["undoneIn"] == [{"step": "watch at 100 %", "metrics": ["errors"], "count": 10}]
    assert (found["good"]["promoted"]["count"], found["good"]["secondsToPromotion"]["median"]) == (10, 600)


def test_what_is_not_simulated_is_said(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = [
        *COMPARED,
        {"name": "drift", "type": "PredictionDrift", "max": 0.1},
        {"name": "slow", "type": "Latency", "max": 0.1, "dryRun": True},
    ]
    body = deployment(steps=[{"canary": {"weight": 50}}, {"pause": {}}], analysis={"metrics": metrics}, paused=True)
    found = simulated(capsys, written(tmp_path, body), "--candidate-error-rate", "0.5", "--rollouts", "1")
    assert found["notes"] == [
        "metric drift is left out, as if it always passed: PredictionDrift is not simulated",
        "metric slow is left out: it is a dry run",
        "step 2 of 2, pause: taken to be ended by a person at once",
        "rollout.paused and route.pin are taken to be off",
    ]


def test_a_tiny_run_as_json(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, {"kind": "Secret"}, deployment("other"), compared(watchSeconds=30))
    found = simulated(
        capsys, path, "--name", "fraud", "--candidate-error-rate", "0.3", "--rollouts", "2", "--seed", "5"
    )
    none = {"median": None, "p90": None}
    all_of_two = {"count": 2, "share": 1.0, "low": 0.34238, "high": 1.0}
    none_of_two = {"count": 0, "share": 0.0, "low": 0.0, "high": 0.65762}
    assert found == {
        "deployment": "fraud",
        "rollouts": 2,
        "seed": 5,
        "horizonSeconds": 86400.0,
        "requestsPerSecond": 20.0,
        "stableErrorRate": 0.002,
        "candidateErrorRate": 0.3,
        "stableLatencySeconds": 0.05,
        "candidateLatencyFactor": 1.0,
        "notes": [],
        "good": {
            "undone": none_of_two,
            "promoted": all_of_two,
            "waiting": none_of_two,
            "secondsToUndo": none,
            "secondsToPromotion": {"median": 402.0, "p90": 523.0},
            "failedRequests": none,
            "undoneIn": [],
            "waitingIn": [],
        },
        "bad": {
            "undone": all_of_two,
            "promoted": none_of_two,
            "waiting": none_of_two,
            "secondsToUndo": {"median": 11, "p90": 11},
            "secondsToPromotion": none,
            "failedRequests": {"median": 0, "p90": 0},
            "undoneIn": [{"step": "step 1 of 3, shadow 100 %", "metrics": ["errors"], "count": 2}],
            "waitingIn": [],
        },
    }


def test_the_table_for_people(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--candidate-error-rate", "0.3", "--candidate-latency-factor", "2", "--rollouts", "2"]
    assert main.main(["simulate", "-f", written(tmp_path, compared()), *options]) == 0
    out = capsys.readouterr().out
    assert out.startswith("fraud: 2 rollouts of each version, 20 requests/s, seed 1\n")
    assert "the candidate (30 % fail, answers take 2 times as long)" in out
    assert "undone in" in out
    assert "step 1 of 3, shadow 100 % (errors): 100 %" in out


def test_the_table_without_rich() -> None:
    rows = [("undone", "0 %", "step 1: 90 %\nstep 2: 10 %"), ("waiting", "-", "")]
    assert report.plain_table(("", "good", "bad"), rows).splitlines() == [
        "         good  bad",
        "-------  ----  ------------",
        "undone   0 %   step 1: 90 %",
        "               step 2: 10 %",
        "waiting  -",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("a: [", "is not YAML: while parsing", id="not YAML"),
        pytest.param(
            "kind: Pod", "no document in it is a ModelDeployment: give the file that you apply", id="other kind"
        ),
        pytest.param("", "no document in it is a ModelDeployment: give the file that you apply", id="empty"),
        pytest.param(
            "kind: ModelDeployment\napiVersion: v2", "apiVersion is 'v2': write penstock.dev/v1alpha1", id="version"
        ),
        pytest.param(
            "kind: ModelDeployment\napiVersion: penstock.dev/v1alpha1", "spec is missing: write what", id="no spec"
        ),
    ],
)
def test_a_file_that_is_none(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], text: str, said: str) -> None:
    path = tmp_path / "given.yaml"
    path.write_text(text)
    assert main.main(["simulate", "-f", str(path), "--candidate-error-rate", "0.1"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rollout", "said"),
    [
        pytest.param({"stepz": []}, "spec.rollout.stepz: unknown field; correct the field", id="unknown field"),
        pytest.param(
            {"steps": [{"canary": {"weight": 10, "hold": 5}}]},
            "spec.rollout.steps[0].canary.hold: unknown field; correct the field",
            id="unknown field in a list",
        ),
        pytest.param(
            {"steps": [{"canary": {"weight": 0}}]},
            "spec.rollout.steps[0].canary.weight: Input should be greater than or equal to 1; correct the field",
            id="weight",
        ),
        pytest.param({"steps": []}, "spec.rollout.steps: no step has traffic to look at", id="no steps"),
        pytest.param({"steps": [{}]}, "spec.rollout.steps[0]: a step holds exactly one of", id="an empty step"),
        pytest.param(
            {"steps": [{"canary": {"weight": 50}}, {"canary": {"weight": 10}}]},
            "spec.rollout.steps: canary weights fall (50, 10): order them upwards",
            id="falling weights",
        ),
        pytest.param(
            {"analysis": {"metrics": []}}, "spec.rollout.analysis.metrics: shadow and canary steps are", id="no metrics"
        ),
        pytest.param(
            {"analysis": {"metrics": [{"name": "e", "type": "ErrorRate"}]}},
            "spec.rollout.analysis.metrics[0]: a metric needs a limit",
            id="no limit",
        ),
        pytest.param(
            {"analysis": {"metrics": [{"name": "e", "type": "ErrorRate", "max": 5}]}},
            "spec.rollout.analysis.metrics[0].max: of an ErrorRate it is a share from 0 to 1: write 0.05 for 5 %",
            id="a rate above 1",
        ),
        pytest.param(
            {"analysis": {"metrics": [{"name": "d", "type": "PredictionDrift", "max": 0.1}]}},
            "spec.rollout.analysis.metrics: none of them is simulated",
            id="nothing simulated",
        ),
    ],
)
def test_a_spec_that_cannot_be(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], rollout: dict[str, Any], said: str
) -> None:
    path = written(tmp_path, deployment(**rollout))
    assert main.main(["simulate", "-f", path, "--candidate-error-rate", "0.1"]) == 2
    assert said in capsys.readouterr().err


def test_a_file_that_is_missing_and_a_name_that_is(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "missing.yaml")
    assert main.main(["simulate", "-f", missing, "--candidate-error-rate", "0.1"]) == 2
    path = written(tmp_path, deployment("one"), deployment("two"))
    assert main.main(["simulate", "-f", path, "--name", "three", "--candidate-error-rate", "0.1"]) == 2
    assert capsys.readouterr().err == (
        f"penstock: {missing} cannot be read: No such file or directory; check the path\n"
        f"penstock: {path}: no ModelDeployment in it is called three: choose one of one, two\n"
    )


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--candidate-error-rate", "1.5", "1.5 is not a share from 0 to 1: write 0.03 for 3 %"),
        ("--stable-error-rate", "-0.1", "-0.1 is not a share from 0 to 1"),
        ("--stable-error-rate", "nan", "nan is not a finite number"),
        ("--requests-per-second", "0", "0 is not above 0"),
        ("--candidate-latency-factor", "x", "x is not a number"),
        ("--rollouts", "0", "0 is not a whole number above 0"),
    ],
)
def test_a_number_that_cannot_be(capsys: pytest.CaptureFixture[str], option: str, value: str, said: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["simulate", "-f", "x.yaml", "--candidate-error-rate", "0.1", f"{option}={value}"])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
