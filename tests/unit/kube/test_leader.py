"""Elections over HTTP, against a Lease in memory."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from penstock import errors
from penstock.kube import client, lease, resources

from tests.unit.kube.leases import ADDRESSES, TIMINGS, WHERE, LeaseServer, contending, until

Write = Callable[[client.Cluster], Awaitable[Any]]
SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "ml", "name": "fraud"}}


def released(server: LeaseServer, **annotations: str) -> None:
    metadata = {"name": WHERE.name, "namespace": WHERE.namespace, "annotations": annotations}
    server.store({"metadata": metadata, "spec": {"holderIdentity": "", "leaseTransitions": 3}})


async def test_a_lease_that_was_given_up_is_taken_at_once_and_kept() -> None:
    server = LeaseServer()
    released(server, **{lease.ENVOYS: "envoy-a,envoy-b"})
    heirlooms: list[tuple[str, ...]] = []

    async with contending(server, "one") as (one,):
        one.election.tell_of(lambda: ["envoy-c"])
        one.election.on_change(lambda: heirlooms.append(one.election.heirloom()))
        await one.leads()
        writes = server.writes
        await until(lambda: server.writes >= writes + 2)
        assert one.election.seconds_left() > TIMINGS.certain_seconds - 1
        assert one.metric("penstock_leader") == 1
        assert one.metric("penstock_leader_transitions_total") == 1

    assert server.stored is not None
    assert heirlooms[-1] == ("envoy-a", "envoy-b")
    assert lease.read(server.stored) == lease.Record(
        str(server.version), "one", 2.0, transitions=4, address=ADDRESSES["one"], envoys=("envoy-c",)
    )


async def test_the_other_stands_by_and_takes_over_when_the_first_resigns() -> None:
    server = LeaseServer()
    released(server)

    async with contending(server, "one", "two") as both:
        await until(lambda: all(each.election.leading() or each.election.leader() for each in both))
        first, second = sorted(both, key=lambda each: not each.election.leading())
        assert second.election.leader() == ADDRESSES[server.holder]
        assert (second.election.leading(), second.election.informed()) == (False, True)
        with pytest.raises(
            errors.NotLeading, match=r"does not hold Lease penstock-system/penstock-operator \(any more"
        ):
            second.election.seconds_left()

        await first.resign()
        await second.leads()

        assert not first.election.leading()
        assert [first.metric("penstock_leader"), second.metric("penstock_leader")] == [0, 1]
        assert second.metric("penstock_leader_transitions_total") == 2


async def test_a_leader_that_gets_no_answer_stops_before_its_lease_runs_out_and_goes_on_afterwards() -> None:
    server = LeaseServer()
    released(server)

    async with contending(server, "one") as (one,):
        await one.leads()
        server.answers.clear()
        asked = asyncio.get_running_loop().time()
        await one.leads(leading=False)
        stopped_after = asyncio.get_running_loop().time() - asked
        server.answers.set()
        await one.leads()

    assert stopped_after < TIMINGS.lease_seconds


async def test_a_lease_that_somebody_else_wrote_is_lost_at_once() -> None:
    server = LeaseServer()
    released(server)

    async with contending(server, "one") as (one,):
        await one.leads()
        assert server.stored is not None
        server.store(server.stored | {"spec": {"holderIdentity": "other", "leaseDurationSeconds": 60}})
        await one.leads(leading=False)

        assert server.holder == "other"
        with pytest.raises(errors.NotLeading):
            one.election.seconds_left()


async def test_a_right_that_is_missing_is_told_once_with_its_cure(caplog: pytest.LogCaptureFixture) -> None:
    server = LeaseServer()
    server.refuse_with = 403

    with caplog.at_level(logging.WARNING, "penstock"):
        async with contending(server, "one") as (one,):
            await until(lambda: bool(caplog.records))
            assert not one.election.informed()

    assert "|".join(record.getMessage() for record in caplog.records) == (
        "the lease cannot be kept: the Kubernetes API refuses, GET /apis/coordination.k8s.io/v1/namespaces/"
        "penstock-system/leases/penstock-operator: because; allow get, create and update of Lease "
        "penstock-system/penstock-operator"
    )


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda cluster: cluster.create(SERVICE), id="create"),
        pytest.param(lambda cluster: cluster.apply(SERVICE), id="apply"),
        pytest.param(lambda cluster: cluster.scale("ml", "fraud", 1), id="scale"),
        pytest.param(lambda cluster: cluster.delete(resources.SERVICE, "ml", "fraud"), id="delete"),
    ],
)
async def test_who_does_not_lead_reads_and_writes_nothing(write: Write) -> None:
    server = LeaseServer()
    released(server)

    def fence() -> float:
        raise errors.NotLeading("not now")

    async with server.served() as configuration, client.connect(configuration, fence=fence) as cluster:
        assert await cluster.get(resources.LEASE, WHERE.namespace, WHERE.name) is not None
        with pytest.raises(errors.NotLeading):
            await write(cluster)

    assert server.writes == 1


async def test_a_write_is_not_waited_for_longer_than_this_process_leads() -> None:
    server = LeaseServer()
    server.answers.clear()

    async with server.served() as configuration, client.connect(configuration, fence=lambda: 0.05) as cluster:
        with pytest.raises(errors.ClusterUnavailable):
            await asyncio.wait_for(cluster.create(SERVICE), 5)


@pytest.mark.parametrize(
    "address",
    ["", "http://somewhere.example:8081", "https://10.0.0.1:8081", "http://10.0.0.1", "http://10.0.0.1:8081/path"],
)
async def test_polls_are_carried_to_the_address_of_a_pod_and_nowhere_else(address: str) -> None:
    server = LeaseServer()
    metadata = {"name": WHERE.name, "namespace": WHERE.namespace, "annotations": {lease.ADDRESS: address}}
    server.store({"metadata": metadata, "spec": {"holderIdentity": "other", "leaseDurationSeconds": 60}})

    async with contending(server, "one") as (one,):
        await until(one.election.informed)

        assert one.election.leader() is None
