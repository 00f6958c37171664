"""What every pass sees to: pods, what is left over, the entry, the registry's tags; and when it looks again."""

import datetime

import pytest
from penstock.api.v1alpha1.modeldeployment_status import ModelDeploymentStatus, Outcome, Phase, Retired, Split
from penstock.rollout import decide, world
from penstock.rollout.world import (
    EnsureEntry,
    EnsureRevision,
    PodFailure,
    RemoveRevision,
    ScaleRevision,
    TagModelVersion,
    Workload,
)

from tests.unit.rollout.cases import (
    LOOK_AGAIN,
    NOW,
    V1,
    V2,
    V3,
    Case,
    ago,
    canary,
    candidate,
    entry,
    made,
    seen,
    serving,
    spec,
    to,
)

ONLY_V1 = {V1: Workload(2, 2)}
STABLE = serving().stable
assert STABLE is not None

SCALING = {
    "scaling scales, and makes no revision": Case(
        serving(),
        seen(V1, workloads=ONLY_V1),
        spec(server={"replicas": 5}),
        changes={"stable": STABLE.model_copy(update={"replicas": 5})},
        actions=(ScaleRevision(V1, 5),),
        wake=LOOK_AGAIN,
    ),
    "scaling scales the candidate alike, and does not disturb its step": Case(
        canary(),
        seen(applied=to(10)),
        spec(server={"replicas": 3}),
        changes={
            "stable": STABLE.model_copy(update={"replicas": 3}),
            "candidate": candidate(replicas=3),
        },
        actions=(ScaleRevision(V1, 3), ScaleRevision(V2, 3)),
        wake=5,
    ),
    "somebody else's scaling is put right": Case(
        serving(),
        seen(V1, workloads={V1: Workload(1, 1)}),
        changes={"stable": STABLE.model_copy(update={"ready_replicas": 1})},
        actions=(ScaleRevision(V1, 2),),
        wake=LOOK_AGAIN,
    ),
    "a Deployment that is gone is made again": Case(
        serving(),
        seen(V1, workloads={}),
        changes={
            "phase": Phase.DEGRADED,
            "message": f"version 1 is stable, but none of its pods is ready; look at the pods of Deployment fraud-{V1}",
            "stable": STABLE.model_copy(update={"ready_replicas": 0}),
        },
        actions=(EnsureRevision(V1, 2, made(V1)),),
        wake=LOOK_AGAIN,
    ),
    "one that the cluster refused is tried again": Case(
        serving(),
        seen(V1, workloads={V1: Workload(0, 0, PodFailure("PodsRefused", "quota exceeded"), exists=False)}),
        changes={
            "phase": Phase.DEGRADED,
            "message": "version 1 is stable, but none of its pods is ready: quota exceeded; "
            f"look at the pods of Deployment fraud-{V1}",
            "stable": STABLE.model_copy(update={"ready_replicas": 0}),
        },
        actions=(EnsureRevision(V1, 2, made(V1)),),
        wake=LOOK_AGAIN,
    ),
    "stable with too few pods is looked at again": Case(
        serving(stable=STABLE.model_copy(update={"ready_replicas": 1})),
        seen(V1, workloads={V1: Workload(2, 1)}),
        wake=LOOK_AGAIN,
    ),
}

LEFT = {V1: Workload(2, 2), V2: Workload(2, 2)}

LEFTOVERS = {
    "a retired revision stays until its time": Case(
        serving(retired=[Retired(name=V2, remove_at=ago(-7))]), seen(V1, workloads=LEFT), wake=7
    ),
    "a retired revision goes when its time has come": Case(
        serving(retired=[Retired(name=V2, remove_at=NOW)]),
        seen(V1, workloads=LEFT),
        actions=(RemoveRevision(V2),),
        wake=LOOK_AGAIN,
    ),
    "a retired revision does not go before the data plane has confirmed": Case(
        serving(retired=[Retired(name=V2, remove_at=NOW)]), seen(V1, workloads=LEFT, applied=None), wake=LOOK_AGAIN
    ),
    "a retired revision that is gone is forgotten": Case(
        serving(retired=[Retired(name=V2, remove_at=NOW)]), seen(V1, workloads=ONLY_V1), changes={"retired": []}
    ),
    "a retired revision that is the candidate again is not retired any more": Case(
        canary(retired=[Retired(name=V2, remove_at=NOW)]), seen(applied=to(10)), changes={"retired": []}, wake=5
    ),
    "pods that nobody speaks for are removed": Case(
        serving(),
        seen(V1, workloads={**LEFT, V3: Workload(2, 0)}),
        changes={"retired": [Retired(name=V2, remove_at=NOW), Retired(name=V3, remove_at=NOW)]},
        actions=(RemoveRevision(V2), RemoveRevision(V3)),
        wake=LOOK_AGAIN,
    ),
    "pods of a revision in the split are spoken for": Case(
        serving(split=Split(stable=V2)), seen(V1, workloads=LEFT, applied=Split(stable=V2))
    ),
}

PROMOTED = entry(Outcome.PROMOTED, "Promoted", "every step passed", name=V1)
FAILED = entry(Outcome.REJECTED, "SmokeTestFailed", "it answered 500", ended_at=ago(99))

TOLD = {
    "the entry is made when it is missing": Case(
        serving(), seen(V1, workloads=ONLY_V1, entry_exists=False), actions=(EnsureEntry(),), wake=LOOK_AGAIN
    ),
    "the registry is told what it has not heard, the oldest first": Case(
        serving(history=[PROMOTED, FAILED]),
        seen(V1, workloads=ONLY_V1),
        actions=(TagModelVersion(FAILED), TagModelVersion(PROMOTED)),
        wake=LOOK_AGAIN,
    ),
    "what the registry has heard is remembered": Case(
        serving(history=[PROMOTED, FAILED]),
        seen(V1, workloads=ONLY_V1, tagged=frozenset({(V1, NOW), (V2, ago(99))})),
        changes={
            "history": [
                PROMOTED.model_copy(update={"tagged": True}),
                FAILED.model_copy(update={"tagged": True}),
            ]
        },
    ),
}

CASES = {**SCALING, **LEFTOVERS, **TOLD}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_every_pass_sees_to(case: Case) -> None:
    assert case.answer() == case.expected()


@pytest.mark.parametrize("status", [serving(), canary(), ModelDeploymentStatus()], ids=["at rest", "rolling", "new"])
def test_an_object_that_is_being_deleted_is_left_alone(status: ModelDeploymentStatus) -> None:
    mdep = Case(status, seen()).mdep()
    deleted = mdep.model_copy(update={"metadata": mdep.metadata.model_copy(update={"deletion_timestamp": NOW})})
    assert decide.decide(deleted, seen(V3, workloads={}), NOW) == world.Decision(status=status)


def test_a_decision_reads_no_clock() -> None:
    """The same pass a year later says the same, a year later."""
    year = datetime.timedelta(days=365)
    mdep = Case(ModelDeploymentStatus(), seen()).mdep()
    now, later = (decide.decide(mdep, seen(workloads={}), at) for at in (NOW, NOW + year))
    assert now.status.candidate is not None
    assert later.status.candidate is not None
    assert later.status.candidate.started_at - now.status.candidate.started_at == year
    assert (now.actions, now.events) == (later.actions, later.events)
