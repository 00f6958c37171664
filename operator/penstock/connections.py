"""The connections of the process, and whether it may change anything through them: only while it leads."""

import contextlib
import dataclasses
import socket
import uuid
from collections.abc import AsyncIterator

import aiohttp
import prometheus_client

from penstock import ports, settings
from penstock.kube import client, leader, lease


@dataclasses.dataclass(frozen=True)
class Connections:
    """What the process talks to.

    cluster: the Kubernetes API, where nothing is written by a process that does not lead.
    session: pods. peers: the other operators.
    """

    cluster: client.Cluster
    session: aiohttp.ClientSession
    peers: aiohttp.ClientSession
    election: leader.Election


@contextlib.asynccontextmanager
async def made(config: settings.Settings, registry: prometheus_client.CollectorRegistry) -> AsyncIterator[Connections]:
    """Connect. The lease has connections of its own, so that no other request can keep them busy."""
    timings = lease.Timings(config.lease_seconds, config.lease_renew_seconds, config.lease_retry_seconds)
    calm = client.connect(timeout_seconds=timings.patience_seconds, connections=2, user_agent="penstock-lease")
    many = aiohttp.TCPConnector(limit=0)  # two polls of every Envoy are held at a time
    async with calm as electorate, aiohttp.ClientSession() as session, aiohttp.ClientSession(connector=many) as peers:
        where = ports.Key(config.operator_namespace, config.lease_name)
        election = leader.Election(electorate, where, _candidate(config), timings, leader.Metrics(registry))
        async with client.connect(fence=election.seconds_left) as cluster:
            yield Connections(cluster, session, peers, election)


def _candidate(config: settings.Settings) -> leader.Candidate:
    host = f"[{config.pod_ip}]" if ":" in config.pod_ip else config.pod_ip
    address = f"http://{host}:{config.discovery_port}" if host else ""
    return leader.Candidate(f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}", address)
