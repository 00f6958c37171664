"""Rollouts that leave out looks end as those that take every look: the same step, second and number of failures."""

import random
from typing import Any

import pytest
from penstock.api.v1alpha1 import modeldeployment as api
from penstock.api.v1alpha1.modeldeployment_status import Verdict
from penstock.cli import looks, rollouts, stay, traffic

ERRORS = {"name": "errors", "type": "ErrorRate"}
STABLE = traffic.version(0.002, 0.05)


class Always:
    """Never leaves out a look."""

    def found(self, elapsed: float) -> Verdict | None:
        del elapsed
        return None


def always(metric: api.Metric, seen: stay.Stay) -> looks.Look:
    del metric, seen
    return Always()


def prepared(metrics: list[dict[str, Any]], **rollout: Any) -> rollouts.Case:
    steps = [
        {"smokeTest": {}},
        {"shadow": {"percent": 50, "holdSeconds": 45}},
        {"canary": {"weight": 10, "minSamples": 100}},
        {"pause": {"holdSeconds": 33}},
        {"canary": {"weight": 50, "holdSeconds": 0}},
    ]
    spec = {
        "model": {"name": "m", "alias": "a"},
        "rollout": {"steps": steps, "analysis": {"metrics": metrics}, **rollout},
    }
    return rollouts.prepare(api.ModelDeploymentSpec.model_validate(spec), 1800.0)[0]


@pytest.mark.parametrize("error_rate", [pytest.param(0.002, id="as good"), pytest.param(0.03, id="worse")])
@pytest.mark.parametrize(
    ("metrics", "rollout"),
    [
        pytest.param([{**ERRORS, "maxIncrease": 0.02}], {}, id="comparison"),
        pytest.param([{**ERRORS, "maxIncrease": 0.02}], {"watchSeconds": 120}, id="comparison and watch"),
        pytest.param([{**ERRORS, "max": 0.04, "minSamples": 20}], {"watchSeconds": 120}, id="limit"),
        pytest.param([{**ERRORS, "max": 0.04, "minSamples": 9, "failureLimit": 2}], {}, id="limit, some tolerated"),
        pytest.param(
            [{**ERRORS, "max": 0.04, "minSamples": 20, "onNoData": "Inconclusive"}], {}, id="limit, no data counts"
        ),
        pytest.param(
            [{**ERRORS, "maxIncrease": 0.02, "max": 0.04}, {"name": "slow", "type": "Latency", "max": 0.25}],
            {},
            id="comparison and limits",
        ),
        pytest.param([{**ERRORS, "maxIncrease": 0.02}], {"onFailure": "Pause"}, id="held"),
    ],
)
def test_looks_that_are_left_out_change_nothing(
    metrics: list[dict[str, Any]], rollout: dict[str, Any], error_rate: float
) -> None:
    case = prepared(metrics, **rollout)
    stream = traffic.Stream(20.0, traffic.version(error_rate, 0.05), STABLE)
    for seed in range(4):
        some = rollouts.fold(case, stream, random.Random(seed))
        all_of_them = rollouts.fold(case, stream, random.Random(seed), always)
        assert some == all_of_them


def test_a_rollout_of_a_worse_version_whole() -> None:
    case = prepared([{**ERRORS, "max": 0.9}])
    stream = traffic.Stream(20.0, traffic.version(1.0, 0.05), STABLE)
    assert rollouts.fold(case, stream, random.Random(1)) == rollouts.Ending(
        undone=True,
        promoted=False,
        seconds=11.0,
        step="step 2 of 5, shadow 50 %",
        metrics=("errors",),
        failed_requests=0,
    )
