"""A process that stands for election and writes a line to a file whenever it acts; SIGTERM ends it in good order.

python -m tests.cluster.contender NAMESPACE NAME FILE [ADDRESS OF THE API SERVER]
"""

import asyncio
import logging
import os
import signal
import sys

import prometheus_client
from kubernetes.aio import client as official
from kubernetes.aio import config
from penstock import errors, ports
from penstock.kube import client, leader, lease

EVERY_SECONDS = 0.005
LEASE = "contended"


async def main(namespace: str, name: str, file: str, address: str = "") -> None:
    """Stand for election until SIGTERM."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=f"{name} %(created).3f %(message)s")
    configuration = official.Configuration()
    await config.load_kube_config(os.environ["KUBECONFIG"], client_configuration=configuration)
    if address:
        # a relay to the API server, which has no certificate for it
        configuration.host, configuration.verify_ssl = address, False
    stop, timings = asyncio.Event(), lease.Timings()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    record = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    async with client.connect(configuration, timeout_seconds=timings.patience_seconds, connections=2) as cluster:
        metrics = leader.Metrics(prometheus_client.CollectorRegistry())
        candidate = leader.Candidate(name, f"http://{name}")
        election = leader.Election(cluster, ports.Key(namespace, LEASE), candidate, timings, metrics)
        running = asyncio.create_task(election.run())
        while not stop.is_set():
            try:
                election.seconds_left()
                os.write(record, f"{leader.clock():.6f} {name}\n".encode())
            except errors.NotLeading:
                pass
            await asyncio.sleep(EVERY_SECONDS)
        election.resign()
        await running


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
