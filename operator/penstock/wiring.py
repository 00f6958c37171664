"""Puts the operator together: one process, one event loop, every part made here and handed to those that need it."""

import asyncio
import datetime
import logging
import socket
from collections.abc import Sequence
from typing import Any

import prometheus_client
from aiohttp import web

from penstock import connections, ports, settings, term
from penstock.adapters import (
    answers,
    envoy_discovery,
    envoy_metrics,
    envoy_snapshot,
    mlflow_peers,
    mlflow_registry,
    prometheus,
    smoke,
)
from penstock.analysis import measurement
from penstock.api.v1alpha1 import modeldeployment
from penstock.kube import cache, client, compare, events, resources, watch, workqueue
from penstock.rollout import gather, manifests, meters, podpolicy, resolver, revision, shell, world

logger = logging.getLogger(__name__)

Json = dict[str, Any]


class CachedObjects:
    """`shell.Objects` over the caches that the watches feed."""

    def __init__(self, store: cache.Cache) -> None:
        self._store = store

    def modeldeployment(self, key: ports.Key) -> Json | None:
        return self._store.get(resources.MODEL_DEPLOYMENT, key.namespace, key.name)

    def children(self, key: ports.Key) -> gather.Children:
        return gather.Children(
            deployments=self._store.children(resources.DEPLOYMENT, key),
            services=self._store.children(resources.SERVICE, key),
            pods=self._store.children(resources.POD, key),
            slices=self._store.children(resources.ENDPOINT_SLICE, key),
        )

    def learn(self, body: Json) -> None:
        self._store.learn(body)


class ClusterWriter:
    """`shell.Writer` over the Kubernetes API."""

    def __init__(self, cluster: client.Cluster) -> None:
        self._cluster = cluster

    async def create_if_absent(self, body: Json) -> Json:
        return await self._cluster.create_if_absent(body)

    async def scale(self, namespace: str, deployment: str, replicas: int) -> None:
        await self._cluster.scale(namespace, deployment, replicas)

    async def remove_revision(self, namespace: str, name: str) -> None:
        await self._cluster.delete(resources.DEPLOYMENT, namespace, name)
        await self._cluster.delete(resources.SERVICE, namespace, name)

    async def revisions(self, namespace: str, deployment: str) -> dict[str, Json]:
        ours = {**resources.MANAGED, manifests.DEPLOYMENT_LABEL: deployment}
        found = await self._cluster.list(resources.CONTROLLER_REVISION, namespace, ours)
        return {body["metadata"]["labels"][manifests.REVISION_LABEL]: body for body in found}

    async def delete_record(self, namespace: str, name: str) -> None:
        await self._cluster.delete(resources.CONTROLLER_REVISION, namespace, name)

    async def write_status(self, body: Json, status: Json) -> Json:
        return await self._cluster.replace_status({**body, "status": status})


class MetricSources:
    """`ports.MetricSource` over Prometheus and the answers that the pods have kept, by the type of the metric."""

    def __init__(self, store: prometheus.Prometheus, kept: answers.Answers) -> None:
        self._store = store
        self._kept = kept

    async def measure(
        self, metric: modeldeployment.Metric, subject: ports.Subject, window_seconds: int
    ) -> measurement.Measurement:
        source: ports.MetricSource = self._kept if metric.type in answers.TYPES else self._store
        return await source.measure(metric, subject, window_seconds)


class EventRecorder:
    """`shell.Recorder` over Kubernetes events."""

    def __init__(self, recorder: events.Recorder) -> None:
        self._recorder = recorder

    async def emit(self, involved: Json, event: world.Event) -> None:
        await self._recorder.emit(involved, event.type.value, event.reason, event.message, now())


def now() -> datetime.datetime:
    """The clock of the process: aware, whole milliseconds, as they come back from the API server."""
    moment = datetime.datetime.now(datetime.UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


async def run(config: settings.Settings, stop: asyncio.Event) -> None:
    """Run the operator until `stop` is set.

    Raises errors.Denied where a right is missing at the start. Watches that break are taken up again.
    """
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.ProcessCollector(registry=registry)
    prometheus_client.GCCollector(registry=registry)
    async with connections.made(config, registry) as made, asyncio.TaskGroup() as group:
        operator = _Operator(config, made, registry)
        metrics = await _serve(_metrics_application(registry, operator), config.metrics_port)
        synced = asyncio.Event()
        watching = group.create_task(
            watch.run(
                operator.cluster,
                operator.store,
                stop,
                namespaces=config.watch_namespaces,
                probe_port=config.probe_port,
                compare_seconds=config.resync_seconds,
                synced=synced,
            )
        )
        await _first(synced, stop, watching)
        operator.synced = synced.is_set()
        if not stop.is_set() and not watching.done():
            electing = group.create_task(operator.election.run())
            discovery = await operator.open()
            await operator.terms.run(stop)
            operator.election.resign()
            await electing
            await discovery.cleanup()
        operator.close()
        await metrics.cleanup()


class _Operator:
    """The parts of the operator, made and wired."""

    def __init__(
        self,
        config: settings.Settings,
        made: connections.Connections,
        registry: prometheus_client.CollectorRegistry,
    ) -> None:
        self._config = config
        self.cluster = cluster = made.cluster
        self.election = made.election
        self.synced = False
        self._opened = False
        self._working = False
        self.store = cache.Cache()
        self.envoy = envoy_discovery.Envoy(
            envoy_snapshot.Settings(cluster_domain=config.cluster_domain),
            standing=self.election,
            session=made.peers,
        )
        trusted = [mlflow_peers.place(config.tracking_uri)] if config.tracking_uri else []
        self.mlflow = mlflow_registry.Mlflow(
            peers=mlflow_peers.Peers(config.registry_allowed_hosts, frozenset(trusted))
        )
        self.prometheus = prometheus.Prometheus(config.prometheus_url)
        self.queue: workqueue.WorkQueue[ports.Key] = workqueue.WorkQueue(
            self._reconcile, workers=config.workers, name="modeldeployments", metrics=workqueue.Metrics(registry)
        )
        self.terms = term.Terms(self.election, catch_up=self._catch_up, work=self._work, rest=self._rest)
        self._recorder = events.Recorder(cluster, instance=socket.gethostname(), metrics=events.Metrics(registry))
        defaults = revision.Defaults(
            tracking_uri=config.tracking_uri,
            credentials_secret=config.registry_secret,
            image=config.runtime_image,
            image_pull_policy=config.image_pull_policy,
        )
        self.controller = shell.Controller(
            shell.World(
                objects=CachedObjects(self.store),
                writer=ClusterWriter(cluster),
                recorder=EventRecorder(self._recorder),
                queue=self.queue,
                resolver=resolver.Resolver(
                    term.FencedRegistry(self.mlflow, self.election), cluster.read_secret, defaults, self._look_at
                ),
                metrics=MetricSources(self.prometheus, answers.Answers(made.session, self._pods_of)),
                data_plane=self.envoy,
                smoke=smoke.Smoke(made.session),
                address=manifests.DataPlaneAddress(
                    config.envoy_service, config.operator_namespace, config.cluster_domain
                ),
                meters=meters.Meters(registry),
                clock=now,
                pod_policy=podpolicy.Policy(config.pod_policy_level, frozenset(config.pod_policy_service_accounts)),
            )
        )
        registry.register(envoy_metrics.Collector(self.envoy))
        self.store.subscribe(self._changed)
        self.envoy.on_applied(self._look_at)
        self.election.tell_of(self.envoy.heard_of)
        self.election.on_change(self._another_leads)

    async def open(self) -> web.AppRunner:
        """Publish all that exists, and only then answer Envoy: half an answer would take traffic away."""
        for body in self.store.all(resources.MODEL_DEPLOYMENT):
            key = ports.Key(body["metadata"]["namespace"], body["metadata"]["name"])
            self.controller.republish(key)
        self._opened = True
        self.envoy.open()
        return await _serve(self.envoy.application(), self._config.discovery_port)

    def close(self) -> None:
        """End the threads of the synchronous libraries."""
        self.mlflow.close()
        self.prometheus.close()

    def _pods_of(self, namespace: str, deployment: str, revision_name: str) -> Sequence[ports.Endpoint]:
        """The running pods of a revision, ready or not: what one has answered is kept until it ends."""
        owner = self.store.get(resources.MODEL_DEPLOYMENT, namespace, deployment)
        if owner is None:
            return ()
        pods = self.store.children(resources.POD, ports.Key(namespace, deployment))
        return gather.running(pods, owner["metadata"]["uid"], revision_name)

    async def _reconcile(self, key: ports.Key) -> None:
        await self.controller.reconcile(key)

    async def _catch_up(self) -> None:
        """See what the leader before wrote last, also where a watch is slow to tell."""
        await compare.correct(self.cluster, self.store, self._config.watch_namespaces)

    async def _work(self, finish: asyncio.Event) -> None:
        self._working = True
        for body in self.store.all(resources.MODEL_DEPLOYMENT):
            self.queue.add(ports.Key(body["metadata"]["namespace"], body["metadata"]["name"]))
        about = self.election.about()
        message = f"{socket.gethostname()} acts now on {self.envoy.size} ModelDeployments"
        telling = asyncio.create_task(self._recorder.emit(about, "Normal", "LeaderElection", message, now()))
        try:
            await self.queue.run(finish)
        finally:
            self._working = False
            telling.cancel()

    async def _rest(self) -> None:
        await self.controller.stop()

    def _another_leads(self) -> None:
        self.envoy.begin_anew(self.election.heirloom() if self.election.leading() else ())

    def _changed(self, change: cache.Change) -> None:
        # where passes run, a pass publishes what it has written itself
        told_by_pass = self._working and change.resource == resources.MODEL_DEPLOYMENT
        if self._opened and change.resource in _ROUTED and not told_by_pass:
            self.controller.republish(change.key)
        self._look_at(change.key)

    def _look_at(self, key: ports.Key) -> None:
        if self._working:
            self.queue.add(key)


_ROUTED = (resources.MODEL_DEPLOYMENT, resources.ENDPOINT_SLICE)
"""What the data plane's configuration is made of."""


def _metrics_application(registry: prometheus_client.CollectorRegistry, operator: _Operator) -> web.Application:
    async def targets(_: web.Request) -> web.Response:
        if not operator.synced:
            raise web.HTTPServiceUnavailable(text="the pods are not known yet")
        return web.json_response(gather.scrape_targets(operator.store.all(resources.POD)))

    async def answer(_: web.Request) -> web.Response:
        body = prometheus_client.generate_latest(registry)
        return web.Response(body=body, headers={"content-type": prometheus_client.CONTENT_TYPE_LATEST})

    application = web.Application()
    application.router.add_get("/metrics", answer)
    application.router.add_get("/targets", targets)
    return application


async def _serve(application: web.Application, port: int) -> web.AppRunner:
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner


async def _first(synced: asyncio.Event, stop: asyncio.Event, watching: "asyncio.Task[None]") -> None:
    """Wait until the caches are full, the process is to stop, or watching ended."""
    waits = [asyncio.ensure_future(synced.wait()), asyncio.ensure_future(stop.wait())]
    await asyncio.wait([*waits, watching], return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
