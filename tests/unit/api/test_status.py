"""The status survives the way to the API server and back."""

import datetime

from penstock.api.v1alpha1 import modeldeployment_status as api

AT = datetime.datetime(2025, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)

FULL_STATUS = api.ModelDeploymentStatus(
    observed_generation=3,
    phase=api.Phase.ROLLING_BACK,
    message="version 8 failed: 7 % of its answers are errors, at most 5 % are allowed",
    stable=api.RevisionRef(name="7f3a9c21d0", model_version=7, replicas=2, ready_replicas=2),
    candidate=api.Candidate(name="1b2c3d4e5f", model_version=8, replicas=2, ready_replicas=1, started_at=AT),
    step=api.StepStatus(index=2, kind="canary", started_at=AT),
    split=api.Split(stable="7f3a9c21d0", candidate="1b2c3d4e5f", weight=10, mirror=0),
    verdicts=[
        api.MetricStatus(
            name="errors",
            verdict=api.Verdict.FAIL,
            message="0.07 of 120 requests, above 0.05",
            value=0.07,
            samples=120,
            measured_at=AT,
            failures=1,
        )
    ],
    failure=api.Failure(reason="MetricFailed", message="errors failed", outcome=api.Outcome.ROLLED_BACK, at=AT),
    rejected=api.Rejected(revision="1b2c3d4e5f", fingerprint="abc", reason="MetricFailed", message="errors failed"),
    retired=[api.Retired(name="0a0b0c0d0e", remove_at=AT)],
    history=[
        api.HistoryEntry(
            revision="7f3a9c21d0",
            model_version=7,
            outcome=api.Outcome.PROMOTED,
            reason="StepsPassed",
            message="all steps passed",
            started_at=AT,
            ended_at=AT,
            tagged=True,
        )
    ],
    handled={"penstock.dev/promote": "7f3a9c21d0"},
    conditions=[
        api.Condition(
            type="Ready",
            status="True",
            reason="Serving",
            message="2 of 2 pods are ready",
            last_transition_time=AT,
            observed_generation=3,
        )
    ],
)


def test_a_status_reads_back_as_it_was_written() -> None:
    assert api.ModelDeploymentStatus.model_validate(FULL_STATUS.to_wire()) == FULL_STATUS


def test_every_field_of_the_status_is_written_somewhere_in_the_full_one() -> None:
    assert set(FULL_STATUS.to_wire()) == {
        field.alias for field in api.ModelDeploymentStatus.model_fields.values() if field.alias
    }
