"""A pass without a candidate: what starts a rollout, and what keeps one from starting."""

from typing import Any

import pytest
from penstock.api.v1alpha1.modeldeployment_status import ModelDeploymentStatus, Phase, Retired, Split
from penstock.rollout import world
from penstock.rollout.world import EnsureRevision, PodFailure, RemoveRevision, Workload

from tests.unit.rollout.cases import (
    LOOK_AGAIN,
    NOW,
    V1,
    V2,
    V3,
    Case,
    candidate,
    made,
    normal,
    rejected,
    seen,
    serving,
    spec,
    warning,
)

ONLY_V1 = {V1: Workload(2, 2)}
DOWN = world.Unresolved("RegistryUnavailable", "the registry does not answer: connection refused")
NO_ALIAS = world.Unresolved("AliasNotFound", "model fraud has no alias champion: set it", retryable=False)
BROKEN = PodFailure("ModelNotLoadable", "the model needs torch", fatal=True)

STARTED: dict[str, Any] = {
    "phase": Phase.PROGRESSING,
    "message": "starting 2 pods of version 2",
    "candidate": candidate(started_at=NOW, waiting_since=NOW, ready_replicas=0),
}
TOLD = normal("RolloutStarted", f"rolling out version 2 of fraud (revision {V2}) instead of version 1")
START: dict[str, Any] = {
    "changes": STARTED,
    "actions": (EnsureRevision(V2, 2, made(V2)),),
    "events": (TOLD,),
    "wake": LOOK_AGAIN,
}

CASES = {
    "a version that is stable already starts nothing": Case(serving(), seen(V1, workloads=ONLY_V1)),
    "another version becomes the candidate": Case(serving(), seen(workloads=ONLY_V1), **START),
    "a candidate whose pods still run from before keeps them": Case(
        serving(),
        seen(),
        changes={**STARTED, "candidate": candidate(started_at=NOW, waiting_since=NOW)},
        events=(TOLD,),
        wake=LOOK_AGAIN,
    ),
    "pods that an earlier try left broken go first": Case(
        serving(),
        seen(workloads={**ONLY_V1, V2: Workload(2, 0, BROKEN)}),
        changes={
            "phase": Phase.PROGRESSING,
            "message": "version 2 is about to be rolled out",
            "retired": [Retired(name=V2, remove_at=NOW)],
        },
        actions=(RemoveRevision(V2),),
        wake=LOOK_AGAIN,
    ),
    "the first version ever is initializing": Case(
        ModelDeploymentStatus(),
        seen(V1, workloads={}, applied=Split()),
        changes={
            "observed_generation": 1,
            "phase": Phase.INITIALIZING,
            "message": "starting 2 pods of version 1",
            "candidate": candidate(name=V1, model_version=1, started_at=NOW, waiting_since=NOW, ready_replicas=0),
        },
        actions=(EnsureRevision(V1, 2, made(V1)),),
        events=(normal("RolloutStarted", f"rolling out version 1 of fraud (revision {V1})"),),
        wake=LOOK_AGAIN,
    ),
    "with the registry down nothing starts, and a person is told": Case(
        ModelDeploymentStatus(),
        seen(DOWN, workloads={}, applied=Split()),
        changes={"observed_generation": 1, "message": DOWN.message},
        events=(warning("RegistryUnavailable", DOWN.message),),
    ),
    "with the registry down what serves goes on serving": Case(
        serving(), seen(DOWN, workloads=ONLY_V1), events=(warning("RegistryUnavailable", DOWN.message),)
    ),
    "with the alias gone what serves goes on serving": Case(
        serving(), seen(NO_ALIAS, workloads=ONLY_V1), events=(warning("AliasNotFound", NO_ALIAS.message),)
    ),
    "with the registry down pods of stable that are gone are made again from the record": Case(
        serving(),
        seen(DOWN, workloads={}),
        changes={
            "phase": Phase.DEGRADED,
            "message": "version 1 is stable, but none of its pods is ready; "
            "look at the pods of Deployment fraud-1111111111",
            "stable": serving().stable.model_copy(update={"ready_replicas": 0}),  # type: ignore[union-attr]
        },
        actions=(EnsureRevision(V1, 2),),
        events=(warning("RegistryUnavailable", DOWN.message),),
        wake=LOOK_AGAIN,
    ),
    "while the registry is being asked nothing is said": Case(serving(), seen(world.RESOLVING, workloads=ONLY_V1)),
    "a paused rollout does not start": Case(
        serving(),
        seen(workloads=ONLY_V1),
        spec(rollout={"paused": True}),
        changes={"phase": Phase.PAUSED, "message": "version 2 waits: set rollout.paused to false to roll it out"},
    ),
    "a pinned route does not start one": Case(
        serving(),
        seen(workloads=ONLY_V1),
        spec(route={"pin": "Stable"}),
        changes={"phase": Phase.PAUSED, "message": "version 2 waits: remove route.pin to roll it out"},
    ),
    "a pin without stable keeps nobody from starting": Case(
        ModelDeploymentStatus(observed_generation=1),
        seen(workloads={}, applied=Split()),
        spec(route={"pin": "Stable"}),
        changes={
            "phase": Phase.INITIALIZING,
            "message": "starting 2 pods of version 2",
            "candidate": candidate(started_at=NOW, waiting_since=NOW, ready_replicas=0),
        },
        actions=(EnsureRevision(V2, 2, made(V2)),),
        events=(normal("RolloutStarted", f"rolling out version 2 of fraud (revision {V2})"),),
        wake=LOOK_AGAIN,
    ),
    "a rejected version is not tried again": Case(
        serving(rejected=rejected(), phase=Phase.DEGRADED, message=rejected().message), seen(workloads=ONLY_V1)
    ),
    "a rejected version is not tried again because of pausing, scaling or another poll interval": Case(
        serving(rejected=rejected(), phase=Phase.DEGRADED, message=rejected().message),
        seen(workloads={V1: Workload(3, 3)}),
        spec(server={"replicas": 3}, rollout={"paused": True}).model_copy(
            update={"model": spec().model.model_copy(update={"poll_seconds": 60})}
        ),
        changes={"stable": serving().stable.model_copy(update={"replicas": 3, "ready_replicas": 3})},  # type: ignore[union-attr]
    ),
    "a rejected version is forgotten when the alias moves back to stable": Case(
        serving(rejected=rejected(), phase=Phase.DEGRADED, message=rejected().message),
        seen(V1, workloads=ONLY_V1),
        changes={"rejected": None, "phase": Phase.HEALTHY, "message": "version 1 serves"},
    ),
    "a rejected version stays rejected while the registry is down": Case(
        serving(rejected=rejected(), phase=Phase.DEGRADED, message=rejected().message),
        seen(DOWN, workloads=ONLY_V1),
        events=(warning("RegistryUnavailable", DOWN.message),),
    ),
    "a rejected version gives way to another": Case(
        serving(rejected=rejected()),
        seen(V3, workloads=ONLY_V1),
        changes={
            "rejected": None,
            "phase": Phase.PROGRESSING,
            "message": "starting 2 pods of version 3",
            "candidate": candidate(name=V3, model_version=3, started_at=NOW, waiting_since=NOW, ready_replicas=0),
        },
        actions=(EnsureRevision(V3, 2, made(V3)),),
        events=(normal("RolloutStarted", f"rolling out version 3 of fraud (revision {V3}) instead of version 1"),),
        wake=LOOK_AGAIN,
    ),
    "a rejected version gets another chance when the checks change": Case(
        serving(rejected=rejected()),
        seen(workloads=ONLY_V1),
        spec(rollout={"progress_deadline_seconds": 60, "analysis": {"intervalSeconds": 5}}),
        **{**START, "changes": {**STARTED, "rejected": None}},
    ),
    "a rejected version gets another chance when a person retries it": Case(
        serving(rejected=rejected()),
        seen(workloads=ONLY_V1),
        annotations={"retry": V2},
        changes={**STARTED, "rejected": None, "handled": {"retry": V2}},
        actions=(EnsureRevision(V2, 2, made(V2)),),
        events=(normal("Retry", f"revision {V2} may try again"), TOLD),
        wake=LOOK_AGAIN,
    ),
    "a retry acts once": Case(
        serving(rejected=rejected(), handled={"retry": V2}, phase=Phase.DEGRADED, message=rejected().message),
        seen(workloads=ONLY_V1),
        annotations={"retry": V2},
    ),
    "a retry of another revision does nothing": Case(
        serving(rejected=rejected(), phase=Phase.DEGRADED, message=rejected().message),
        seen(workloads=ONLY_V1),
        annotations={"retry": V3},
    ),
    "what was written about an earlier try of the version is spent when it starts again": Case(
        serving(),
        seen(workloads=ONLY_V1),
        annotations={"promote": f"{V2}/2", "abort": V2, "skip-step": f"{V3}/1"},
        **{**START, "changes": {**STARTED, "handled": {"promote": f"{V2}/2", "abort": V2}}},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_pass_without_a_candidate(case: Case) -> None:
    assert case.answer() == case.expected()
