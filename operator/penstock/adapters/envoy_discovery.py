"""The Envoys' side door: REST discovery with long polls, and the `DataPlane` of the operator in front of it.

Rules: nothing is answered before `open`, so that a process that has not read all objects yet takes nothing away. Only
the process that leads judges by what the Envoys say; the others carry their polls to it.
"""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

import aiohttp
import orjson
from aiohttp import web

from penstock.adapters import envoy_domains, envoy_fleet, envoy_nodes, envoy_peers, envoy_snapshot
from penstock.api.v1alpha1.modeldeployment_status import Split
from penstock.ports import Key, Routed

_log = logging.getLogger(__name__)

HOLD_SECONDS = 5.0
"""How long a poll without news is held; Envoy's own time-out in the bootstrap is twice as long."""
_NODE_CLUSTER = "penstock"
_MAX_NODES = 1000
_MAX_POLL_BYTES = 1 << 20
_SWEEP_SECONDS = 1.0
_RETRY_SECONDS = 0.2
_REFUSED = 2
"""Answers of one version that a node did not take until that is called a refusal; one may have been lost."""
_TYPES = {
    envoy_fleet.Kind.CLUSTERS: envoy_snapshot.CLUSTER_TYPE,
    envoy_fleet.Kind.ROUTES: envoy_snapshot.ROUTE_TYPE,
}


class Envoy:
    """The embedded data plane; implements `ports.DataPlane`.

    Publish everything that is known at start, then `open` it, and serve `application`. All methods belong to the
    event loop's thread.
    """

    def __init__(
        self,
        settings: envoy_snapshot.Settings | None = None,
        *,
        standing: envoy_peers.Standing | None = None,
        session: aiohttp.ClientSession | None = None,
        settle_seconds: float = 2.0,
        hold_seconds: float = HOLD_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._standing = standing or envoy_peers.Alone()
        self._peers = envoy_peers.Peers(session, self._standing)
        self._fleet = envoy_fleet.Fleet(settings or envoy_snapshot.Settings(), settle_seconds)
        self._hold_seconds = hold_seconds
        self._clock = clock
        self._listeners: list[Callable[[Key], None]] = []
        self._news = asyncio.Event()
        self._closing = False
        self._wake_scheduled = False

    def publish(self, routed: Routed) -> None:
        """Make this the wanted state of one ModelDeployment; publishing the same again is free.

        Raises Misconfigured for what Envoy would refuse; what was published before then stays.
        """
        if self._fleet.put(routed):
            self._wake_soon()

    def withdraw(self, key: Key) -> None:
        """Forget a ModelDeployment."""
        if self._fleet.drop(key):
            self._wake_soon()

    def open(self) -> None:
        """Begin to answer: all objects that existed at start have been published."""
        self._fleet.open(self._clock())
        self._wake_soon()

    def begin_anew(self, expected: Collection[str] = ()) -> None:
        """Another process leads than before, maybe this one: find out anew what the Envoys have.

        `expected` are those that the last leader heard of: nothing counts as applied before they have shown up here, or
        have been silent for long.
        """
        self._fleet.begin_anew(self._clock(), expected)
        self._peers.forget()
        self._wake_soon()

    def heard_of(self) -> Sequence[str]:
        """The Envoys that a successor has to wait for."""
        return self._fleet.heard_of(self._clock())

    def applied(self, key: Key) -> Split | None:
        """The published split if every live Envoy that serves has confirmed it, else None."""
        return self._fleet.applied(key, self._clock())

    def on_applied(self, listener: Callable[[Key], None]) -> None:
        """Call `listener` whenever `applied` of a key may have changed."""
        self._listeners.append(listener)

    def unrouted(self, key: Key) -> tuple[str, ...]:
        """Why host names that were asked for are not given, a sentence each."""
        return tuple(refusal.message for refusal in self.refusals(key))

    def refusals(self, key: Key) -> Sequence[envoy_domains.Refusal]:
        """The hostnames that a ModelDeployment asked for and does not get, and why."""
        return self._fleet.domains.refused.get(key, ())

    def conflicts(self) -> Mapping[Key, Sequence[envoy_domains.Refusal]]:
        """All hostnames that were asked for and not given."""
        return self._fleet.domains.refused

    @property
    def size(self) -> int:
        """ModelDeployments in the data plane."""
        return self._fleet.size

    def stats(self) -> Sequence[envoy_fleet.NodeStats]:
        """One line a node: age of its last poll, versions, refused configurations."""
        return self._fleet.stats(self._clock())

    def application(self) -> web.Application:
        """The application that serves the Envoys."""
        application = web.Application(client_max_size=_MAX_POLL_BYTES)
        for kind in envoy_fleet.Kind:
            application.router.add_post(f"/v3/discovery:{kind.value}", functools.partial(self._handle, kind))
        application.cleanup_ctx.append(self._sweeping)
        application.on_shutdown.append(self._release)
        return application

    async def _handle(self, kind: envoy_fleet.Kind, request: web.Request) -> web.Response:
        began, body = self._clock(), await request.read()
        node_id, version = _read(body)
        if envoy_peers.FORWARDED not in request.headers:
            answer = await self._peers.ask(request.path, body)
            if answer is not None:
                return answer
        elif not self._standing.leading():
            raise web.HTTPMisdirectedRequest(text="this operator does not lead: answer the poll yourself")
        if not self._fleet.knows(node_id) and self._fleet.nodes >= _MAX_NODES:
            raise web.HTTPServiceUnavailable(text=f"more than {_MAX_NODES} nodes: is every pod name new?")
        poll, news = self._fleet.hear(node_id, kind, version, self._clock())
        _report_refusal(node_id, poll)
        if news:
            self._wake()
        self._announce()
        if version and not self._standing.informed():
            return _go_elsewhere()
        return await self._answer(poll, began)

    async def _answer(self, poll: envoy_fleet.Poll, began: float) -> web.Response:
        """Answer as soon as there is something new for the node, or with 304 when the poll has been held for long."""
        while True:
            news, waited = self._news, self._clock() - began
            answer = self._fleet.reply(poll, waited)
            self._announce()
            if answer is not None:
                return _response(poll.kind, answer)
            if waited >= self._hold_seconds or self._closing or poll.superseded:
                return web.Response(status=304)
            patience = _RETRY_SECONDS if poll.channel.refusals else self._hold_seconds
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), min(self._hold_seconds - waited, patience))

    def _wake_soon(self) -> None:
        """Let the polls look again, once for all that happens in this turn of the event loop."""
        if not self._wake_scheduled:
            self._wake_scheduled = True
            asyncio.get_running_loop().call_soon(self._wake)

    def _wake(self) -> None:
        self._wake_scheduled = False
        news, self._news = self._news, asyncio.Event()
        news.set()
        self._announce()

    def _announce(self) -> None:
        for key in self._fleet.changes(self._clock()):
            for listener in self._listeners:
                listener(key)

    async def _sweeping(self, _: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._sweep(), name="sweep the Envoys")
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self._fleet.sweep(self._clock())
            self._announce()

    async def _release(self, _: web.Application) -> None:
        self._closing = True
        self._wake()


def _read(body: bytes) -> tuple[str, str]:
    """Who polls, and which version it has."""
    try:
        message = orjson.loads(body)
        node, version = message["node"], message.get("version_info", "")
        node_id, cluster = node["id"], node["cluster"]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise web.HTTPBadRequest(text="not a DiscoveryRequest with node.id and node.cluster as JSON") from error
    if cluster != _NODE_CLUSTER:
        raise web.HTTPForbidden(text=f"node.cluster must be {_NODE_CLUSTER!r}")
    if not isinstance(node_id, str) or not 1 <= len(node_id) <= 253 or not isinstance(version, str):
        raise web.HTTPBadRequest(text="node.id must be a pod name, version_info a string")
    return node_id, version


def _response(kind: envoy_fleet.Kind, answer: envoy_nodes.Clusters | envoy_nodes.Routes) -> web.Response:
    head = orjson.dumps({"version_info": answer.version, "type_url": _TYPES[kind]})
    body = head[:-1] + b',"resources":[' + answer.resources + b"]}"
    return web.Response(body=body, content_type="application/json")


def _go_elsewhere() -> web.Response:
    """For an Envoy that has something already: there may be a leader by now that this process cannot know of.

    It would wait in vain for an Envoy that keeps asking here. The connection ends, so that the next leads elsewhere.
    """
    response = web.Response(status=503, text="the Kubernetes API does not answer, so this operator may be out of date")
    response.force_close()
    return response


def _report_refusal(node_id: str, poll: envoy_fleet.Poll) -> None:
    channel = poll.channel
    if channel.refusals == _REFUSED:
        _log.error(
            "Envoy %s does not take version %s of the %s and goes on with %s: its log says why (rejected)",
            node_id,
            channel.refused,
            poll.kind.value,
            channel.version or "nothing",
        )
