"""Specs with steps of a few seconds, looked at every second."""

from collections.abc import Sequence
from typing import Any

from tests.e2e.kube import Json
from tests.e2e.stage import Stage

SMOKE: Json = {"smokeTest": {}}
METRICS: Sequence[Json] = (
    {"name": "errors", "type": "ErrorRate", "max": 0.05, "windowSeconds": 15, "minSamples": 8},
    {"name": "latency", "type": "Latency", "quantile": 0.8, "max": 0.6, "windowSeconds": 15, "minSamples": 8},
)


def shadow(seconds: int = 2) -> Json:
    """A shadow step."""
    return {"shadow": {"percent": 100, "holdSeconds": seconds}}


def canary(weight: int, seconds: int = 2) -> Json:
    """A canary step."""
    return {"canary": {"weight": weight, "holdSeconds": seconds}}


STEPS: Sequence[Json] = (SMOKE, shadow(), canary(20), canary(50))


def spec(
    stage: Stage,
    *,
    steps: Sequence[Json] = STEPS,
    metrics: Sequence[Json] = METRICS,
    model: Json | None = None,
    server: Json | None = None,
    **rollout: Any,
) -> Json:
    """A spec with short steps that follows the scenario's alias."""
    return {
        "model": {"name": stage.world.catalogue.name, "pollSeconds": 1, **(model or {"alias": stage.alias})},
        "server": {"replicas": 1, **(server or {})},
        "rollout": {
            "steps": list(steps),
            "analysis": {"intervalSeconds": 1, "metrics": list(metrics)},
            "scaleDownDelaySeconds": 2,
            "progressDeadlineSeconds": 60,
            **rollout,
        },
    }
