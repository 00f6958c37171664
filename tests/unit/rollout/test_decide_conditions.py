"""Phase and conditions in every situation: what kstatus, kubectl wait and Argo CD make of them."""

import datetime
from dataclasses import replace
from typing import Any

import pytest
from penstock.analysis import measurement
from penstock.api.v1alpha1.modeldeployment_status import Condition, ModelDeploymentStatus, Phase, Split
from penstock.rollout import decide, world
from penstock.rollout.world import Workload

from tests.unit.rollout.cases import (
    FAILED,
    NOW,
    V1,
    V2,
    Case,
    ago,
    canary,
    measured,
    normal,
    rejected,
    rolling,
    seen,
    serving,
    spec,
    step,
    to,
    undoing,
    warning,
)

ONLY_V1 = {V1: Workload(2, 2)}
DOWN = world.Unresolved("RegistryUnavailable", "the registry does not answer")
NO_ALIAS = world.Unresolved("AliasNotFound", "model fraud has no alias champion: set it", retryable=False)

SERVES = ("True", "StableReady")
RESOLVED = ("True", "Resolved")
NOBODY_SERVES = ("False", "NoStableRevision")

SITUATIONS: dict[str, tuple[Case, Phase, dict[str, tuple[str, str]]]] = {
    "new, the registry being asked": (
        Case(ModelDeploymentStatus(), seen(world.RESOLVING, workloads={}, applied=Split())),
        Phase.PENDING,
        {
            "Ready": ("False", "Resolving"),
            "Reconciling": ("True", "Resolving"),
            "Stalled": ("False", "Resolving"),
            "Serving": NOBODY_SERVES,
            "ModelResolved": ("Unknown", "Resolving"),
        },
    ),
    "new, the registry down": (
        Case(ModelDeploymentStatus(), seen(DOWN, workloads={}, applied=Split())),
        Phase.PENDING,
        {
            "Ready": ("False", "RegistryUnavailable"),
            "Reconciling": ("True", "RegistryUnavailable"),
            "Stalled": ("False", "RegistryUnavailable"),
            "Serving": NOBODY_SERVES,
            "ModelResolved": ("Unknown", "RegistryUnavailable"),
        },
    ),
    "new, no such alias": (
        Case(ModelDeploymentStatus(), seen(NO_ALIAS, workloads={}, applied=Split())),
        Phase.PENDING,
        {
            "Ready": ("False", "AliasNotFound"),
            "Reconciling": ("False", "AliasNotFound"),
            "Stalled": ("True", "AliasNotFound"),
            "Serving": NOBODY_SERVES,
            "ModelResolved": ("False", "AliasNotFound"),
        },
    ),
    "new, started": (
        Case(ModelDeploymentStatus(), seen(V1, workloads={}, applied=Split())),
        Phase.INITIALIZING,
        {
            "Ready": ("False", "Initializing"),
            "Reconciling": ("True", "Initializing"),
            "Stalled": ("False", "Initializing"),
            "Serving": NOBODY_SERVES,
            "ModelResolved": RESOLVED,
        },
    ),
    "at rest": (
        Case(serving(), seen(V1, workloads=ONLY_V1)),
        Phase.HEALTHY,
        {
            "Ready": ("True", "Healthy"),
            "Reconciling": ("False", "Healthy"),
            "Stalled": ("False", "Healthy"),
            "Serving": SERVES,
            "ModelResolved": RESOLVED,
        },
    ),
    "at rest, the registry down": (
        Case(serving(), seen(DOWN, workloads=ONLY_V1)),
        Phase.HEALTHY,
        {
            "Ready": ("True", "Healthy"),
            "Reconciling": ("False", "Healthy"),
            "Stalled": ("False", "Healthy"),
            "Serving": SERVES,
            "ModelResolved": ("Unknown", "RegistryUnavailable"),
        },
    ),
    "at rest without a ready pod": (
        Case(serving(), seen(V1, workloads={V1: Workload(2, 0)})),
        Phase.DEGRADED,
        {
            "Ready": ("False", "NoReadyPods"),
            "Reconciling": ("False", "NoReadyPods"),
            "Stalled": ("True", "NoReadyPods"),
            "Serving": ("False", "NoReadyPods"),
            "ModelResolved": RESOLVED,
        },
    ),
    "held back by rollout.paused": (
        Case(serving(), seen(workloads=ONLY_V1), spec(rollout={"paused": True})),
        Phase.PAUSED,
        {
            "Ready": ("False", "Paused"),
            "Reconciling": ("False", "Paused"),
            "Stalled": ("False", "Paused"),
            "Serving": SERVES,
            "ModelResolved": RESOLVED,
        },
    ),
    "in a canary": (
        Case(canary(), seen(applied=to(10))),
        Phase.PROGRESSING,
        {
            "Ready": ("False", "Progressing"),
            "Reconciling": ("True", "Progressing"),
            "Stalled": ("False", "Progressing"),
            "Serving": SERVES,
            "ModelResolved": RESOLVED,
        },
    ),
    "failing": (
        Case(canary(), seen(applied=to(10), measured=(measured(measurement.Value(0.2, 100)),))),
        Phase.ROLLING_BACK,
        {
            "Ready": ("False", "MetricFailed"),
            "Reconciling": ("True", "MetricFailed"),
            "Stalled": ("False", "MetricFailed"),
            "Serving": SERVES,
            "ModelResolved": RESOLVED,
        },
    ),
    "failed": (
        Case(serving(rejected=rejected()), seen(workloads=ONLY_V1)),
        Phase.DEGRADED,
        {
            "Ready": ("False", "MetricFailed"),
            "Reconciling": ("False", "MetricFailed"),
            "Stalled": ("True", "MetricFailed"),
            "Serving": SERVES,
            "ModelResolved": RESOLVED,
        },
    ),
    "failed and held": (
        Case(rolling(step(2), failure=undoing(held=True)), seen()),
        Phase.PAUSED,
        {
            "Ready": ("False", "MetricFailed"),
            "Reconciling": ("False", "MetricFailed"),
            "Stalled": ("False", "MetricFailed"),
            "Serving": SERVES,
            "ModelResolved": RESOLVED,
        },
    ),
    "promoted": (
        Case(rolling(step(4), split=to(100)), seen(applied=to(100))),
        Phase.HEALTHY,
        {
            "Ready": ("True", "Healthy"),
            "Reconciling": ("False", "Healthy"),
            "Stalled": ("False", "Healthy"),
            "Serving": SERVES,
            "ModelResolved": RESOLVED,
        },
    ),
}


@pytest.mark.parametrize(("case", "phase", "conditions"), SITUATIONS.values(), ids=SITUATIONS)
def test_phase_and_conditions(case: Case, phase: Phase, conditions: dict[str, tuple[str, str]]) -> None:
    status = decide.decide(case.mdep(), case.seen, NOW).status
    assert (status.phase, {known.type: (known.status, known.reason) for known in status.conditions}) == (
        phase,
        conditions,
    )


@pytest.mark.parametrize("case", [case for case, _, _ in SITUATIONS.values()], ids=SITUATIONS)
def test_the_message_of_the_phase_is_that_of_ready_and_of_the_condition_that_is_true(case: Case) -> None:
    status = decide.decide(case.mdep(), case.seen, NOW).status
    messages = {known.type: known.message for known in status.conditions}
    assert messages["Ready"] == status.message
    assert {messages["Reconciling"], messages["Stalled"]} <= {"", status.message}


def conditions_after(case: Case, at: datetime.datetime) -> dict[str, Condition]:
    return {known.type: known for known in decide.decide(case.mdep(), case.seen, at).status.conditions}


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    first = decide.decide(Case(serving(), seen(V1, workloads=ONLY_V1)).mdep(), seen(V1, workloads=ONLY_V1), ago(60))
    case = Case(first.status, seen(V1, workloads={V1: Workload(2, 0)}))
    after = conditions_after(case, NOW)
    assert {name: known.last_transition_time for name, known in after.items()} == {
        "Ready": NOW,
        "Reconciling": ago(60),
        "Stalled": NOW,
        "Serving": NOW,
        "ModelResolved": ago(60),
    }


def generation_3(case: Case) -> Any:
    mdep = case.mdep()
    return mdep.model_copy(update={"metadata": mdep.metadata.model_copy(update={"generation": 3})})


def test_a_new_generation_is_observed_when_it_is_known_what_it_wants() -> None:
    case = Case(serving(), seen(world.RESOLVING, workloads=ONLY_V1))
    asking = decide.decide(generation_3(case), case.seen, NOW).status
    known = decide.decide(generation_3(case), seen(V1, workloads=ONLY_V1), NOW).status
    assert (asking.observed_generation, known.observed_generation) == (1, 3)
    assert {known.observed_generation for known in asking.conditions} == {1}


def test_an_operator_that_starts_says_what_was_said_before() -> None:
    """Asking the registry anew is no news, also not about a rollout that a person holds back."""
    paused = Case(serving(), seen(workloads=ONLY_V1), spec(rollout={"paused": True}))
    before = decide.decide(paused.mdep(), paused.seen, ago(60)).status
    case = Case(before, seen(world.RESOLVING, workloads=ONLY_V1), spec(rollout={"paused": True}))
    assert decide.decide(case.mdep(), case.seen, NOW) == world.Decision(before)


def test_the_registry_is_told_of_when_it_goes_and_when_it_comes_back() -> None:
    status, told = serving(), []
    for wanted in (V1, DOWN, DOWN, NO_ALIAS, NO_ALIAS, V1, V1):
        case = Case(status, seen(wanted, workloads=ONLY_V1))
        decision = decide.decide(case.mdep(), case.seen, NOW)
        status = decision.status
        told.append(decision.events)
    assert told == [
        (),
        (warning("RegistryUnavailable", DOWN.message),),
        (),
        (warning("AliasNotFound", NO_ALIAS.message),),
        (),
        (normal("Resolved", "version 1 of fraud is wanted"),),
        (),
    ]


def test_the_failing_metric_is_named_to_whoever_waits_for_ready() -> None:
    case, _, _ = SITUATIONS["failing"]
    assert conditions_after(case, NOW)["Ready"].message == f"{FAILED}. Sending all traffic back to stable"
    assert V2 not in conditions_after(case, NOW)["Serving"].message


def test_a_host_name_that_is_not_given_is_told_until_it_is() -> None:
    taken = replace(seen(V1, workloads=ONLY_V1), unrouted=("shop.example belongs to ml/shop: choose another",))
    first = decide.decide(Case(serving(), taken).mdep(), taken, NOW).status
    free = Case(first, seen(V1, workloads=ONLY_V1))
    found = [
        {known.type: known for known in status.conditions}["Routed"]
        for status in (first, decide.decide(free.mdep(), free.seen, NOW).status)
    ]
    assert [(known.status, known.reason, known.message) for known in found] == [
        ("False", "HostnameRefused", "shop.example belongs to ml/shop: choose another"),
        ("True", "Routed", "every host name leads here"),
    ]
