"""Whole rollouts, as shipped: through the operator's own decisions, with all steps sharing one allowance.

Three steps and a watch that share the 5 %, 20 requests/s, 0.2 % of stable's fail, looked at every 10 s for 4 h at most.
A part of `benchmarks.analysis_proof`; `penstock simulate` does the same for a spec of your own.
"""

import math
from typing import Any

from penstock.api.v1alpha1 import modeldeployment
from penstock.cli import rollouts, simulate, traffic

STEPS = (
    {"shadow": {"percent": 100, "holdSeconds": 300}},
    {"canary": {"weight": 10, "holdSeconds": 300}},
    {"canary": {"weight": 50, "holdSeconds": 300}},
)
SHIPPED = {
    "maxIncrease 0.01, as good": ({"maxIncrease": 0.01}, 0.002),
    "maxIncrease 0, as good": ({"maxIncrease": 0.0}, 0.002),
    "maxIncrease 0.01, worse by just that": ({"maxIncrease": 0.01}, 0.012),
    "maxRelativeIncrease 2, worse by just that": ({"maxRelativeIncrease": 2.0}, 0.006),
    "maxIncrease 0.01, 2 % fail": ({"maxIncrease": 0.01}, 0.02),
    "maxIncrease 0.01, 5 % fail": ({"maxIncrease": 0.01}, 0.05),
}


def measure(count: int) -> list[dict[str, Any]]:
    """How `count` rollouts of each case end."""
    rows = []
    for name, (limits, rate) in SHIPPED.items():
        metric = {"name": "errors", "type": "ErrorRate", **limits}
        rollout = {"steps": STEPS, "watchSeconds": 600, "analysis": {"metrics": [metric]}}
        spec = {"model": {"name": "fraud", "alias": "champion"}, "rollout": rollout}
        case, _ = rollouts.prepare(modeldeployment.ModelDeploymentSpec.model_validate(spec), 4 * 3600.0)
        stream = traffic.Stream(20.0, traffic.version(rate, 0.05), traffic.version(0.002, 0.05))
        found = simulate.many(case, stream, count, name, lambda: None)
        rows.append(
            {
                "case": name,
                "undone": found.undone.share,
                "at most": found.undone.high,
                "promoted": found.promoted.share,
                "seconds to undo": found.seconds_to_undo.median or math.inf,
                "seconds to promotion": found.seconds_to_promotion.median or math.inf,
            }
        )
    return rows
