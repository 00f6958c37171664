"""The allowed moves between phases, as data: the simulation checks them and the docs' diagram is drawn from them."""

from collections.abc import Mapping

from penstock.api.v1alpha1.modeldeployment_status import Phase

ALLOWED: Mapping[Phase, frozenset[Phase]] = {
    Phase.PENDING: frozenset({Phase.INITIALIZING, Phase.PAUSED}),
    Phase.INITIALIZING: frozenset({Phase.HEALTHY, Phase.DEGRADED, Phase.ROLLING_BACK, Phase.PAUSED, Phase.PENDING}),
    Phase.HEALTHY: frozenset({Phase.PROGRESSING, Phase.DEGRADED, Phase.PAUSED}),
    Phase.PROGRESSING: frozenset({Phase.HEALTHY, Phase.PAUSED, Phase.ROLLING_BACK, Phase.DEGRADED}),
    Phase.PAUSED: frozenset(
        {
            Phase.PROGRESSING,
            Phase.ROLLING_BACK,
            Phase.HEALTHY,
            Phase.DEGRADED,
            Phase.INITIALIZING,
            Phase.PENDING,
        }
    ),
    Phase.ROLLING_BACK: frozenset(
        {Phase.DEGRADED, Phase.HEALTHY, Phase.PROGRESSING, Phase.INITIALIZING, Phase.PAUSED, Phase.PENDING}
    ),
    Phase.DEGRADED: frozenset({Phase.PROGRESSING, Phase.INITIALIZING, Phase.HEALTHY, Phase.PAUSED, Phase.PENDING}),
    Phase.INVALID: frozenset(Phase),
}
"""From each phase, the phases that one pass may lead to (staying is always allowed)."""


def allowed(before: Phase, after: Phase) -> bool:
    """Whether one pass may lead from `before` to `after`."""
    return after in {before, Phase.INVALID} or after in ALLOWED[before]


def mermaid() -> str:
    """The state diagram of the documentation."""
    lines = ["stateDiagram-v2", f"    [*] --> {Phase.PENDING}"]
    lines += [
        f"    {before} --> {after}"
        for before in Phase
        if before != Phase.INVALID
        for after in sorted(ALLOWED[before], key=list(Phase).index)
    ]
    return "\n".join(lines)
