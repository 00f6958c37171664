"""Keeps the cache up to date: kopf watches, and full lists find what the watches did not tell.

kopf lives in a thread and an event loop of its own. There it neither takes over the signals of the process, nor cancels
tasks that are not its own when it ends, nor takes its time to end at our cost; when a broken watch ends it, it is
started again. Only event handlers are registered, so it writes nothing: no finalizer, no annotation, no event.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import kopf

from penstock import errors
from penstock.kube import cache, client, compare, resources
from penstock.kube.resources import Resource

logger = logging.getLogger(__name__)

STOP_SECONDS = 3.0
"""How long kopf may take to end; it sometimes takes more, and does nothing that would have to be waited for."""

_WATCH_SECONDS = 20
_SILENCE_SECONDS = 25.0
_SETTLE_SECONDS = 2.0
"""A list tells one object after the other: how long it must have told none to be over."""
_LAST_RESTART_WAIT = 30.0

Feed = Callable[[Resource, str | None, Mapping[str, Any]], None]


async def run(
    cluster: client.Cluster,
    held: cache.Cache,
    stop: asyncio.Event,
    *,
    namespaces: Sequence[str] = (),
    probe_port: int | None = 8083,
    compare_seconds: float = 300,
    synced: asyncio.Event | None = None,
) -> None:
    """Fill `held` and keep it up to date until `stop`; `synced` is set as soon as it holds everything.

    Raises:
        errors.Denied: the service account may not list what is watched.
    """
    await _patiently(stop, lambda: compare.prime(cluster, held, namespaces), "the objects cannot be listed yet")
    if stop.is_set():
        return
    if synced is not None:
        synced.set()
    logging.getLogger("kopf._core.reactor.running").addFilter(_is_worth_a_line)
    watcher = _Watcher(cluster, held, namespaces, probe_port)
    try:
        await _supervise(watcher, cluster, held, stop, namespaces, compare_seconds)
    finally:
        await asyncio.shield(watcher.end())


async def _supervise(
    watcher: "_Watcher",
    cluster: client.Cluster,
    held: cache.Cache,
    stop: asyncio.Event,
    namespaces: Sequence[str],
    compare_seconds: float,
) -> None:
    """Compare from time to time, and whenever a watch had to list again; start kopf again when it has ended."""
    wait = 1.0
    watcher.start()
    while not stop.is_set():
        waiters = [asyncio.ensure_future(event.wait()) for event in (stop, watcher.ended, watcher.relisted)]
        await asyncio.wait(waiters, timeout=compare_seconds, return_when=asyncio.FIRST_COMPLETED)
        for waiter in waiters:
            waiter.cancel()
        if stop.is_set():
            return
        if watcher.ended.is_set():
            logger.error("watching has ended by itself, it starts again in %.0f s", wait, exc_info=watcher.failure)
            await _is_set_within(stop, wait)
            wait = min(2 * wait, _LAST_RESTART_WAIT)
            watcher.start()
        elif not watcher.relisted.is_set():
            wait = 1.0
        while watcher.relisted.is_set() and not stop.is_set():
            watcher.relisted.clear()
            await _is_set_within(stop, _SETTLE_SECONDS)
        await _compare(cluster, held, namespaces)


async def _compare(cluster: client.Cluster, held: cache.Cache, namespaces: Sequence[str]) -> None:
    try:
        found = await compare.correct(cluster, held, namespaces)
    except errors.PenstockError as error:
        logger.warning("the cache cannot be compared with the cluster: %s", error.message)
        return
    if found != compare.Found():
        logger.info("the watches had missed something", extra={"vanished": found.vanished, "missed": found.missed})


async def _patiently(stop: asyncio.Event, act: Callable[[], Any], problem: str) -> None:
    """Try until it works: the CRD may be installed a moment later, the API server may be starting."""
    wait = 0.5
    while not stop.is_set():
        try:
            await act()
        except (errors.Retryable, errors.Missing) as error:
            logger.warning("%s: %s; is the CRD installed?", problem, error.message)
            await _is_set_within(stop, wait)
            wait = min(2 * wait, 10.0)
        else:
            return


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return event.is_set()
    return True


class _Watcher:
    """kopf in its thread. `ended` and `relisted` belong to our loop."""

    def __init__(
        self, cluster: client.Cluster, held: cache.Cache, namespaces: Sequence[str], probe_port: int | None
    ) -> None:
        self.ended = asyncio.Event()
        self.relisted = asyncio.Event()
        self.failure: BaseException | None = None
        self._cluster = cluster
        self._held = held
        self._namespaces = namespaces
        self._probe_port = probe_port
        self._loop = asyncio.get_running_loop()
        self._stop: concurrent.futures.Future[None] = concurrent.futures.Future()

    def start(self) -> None:
        """Watch in a new thread."""
        self.ended.clear()
        self.relisted.set()  # what went between our own list and that of the watch is told by neither
        self.failure = None
        self._stop = concurrent.futures.Future()
        threading.Thread(target=self._in_thread, args=(self._stop,), name="watches", daemon=True).start()

    async def end(self) -> None:
        """End the watches; not waiting longer than is reasonable."""
        if not self._stop.done():
            self._stop.set_result(None)
        if not await _is_set_within(self.ended, STOP_SECONDS):
            logger.info("the watches have not ended within %.0f s and are left behind", STOP_SECONDS)

    def _in_thread(self, stop: "concurrent.futures.Future[None]") -> None:
        failure: BaseException | None = None
        try:
            asyncio.run(self._kopf(stop))
        except BaseException as error:  # noqa: BLE001  # whatever ends the thread is told in the other one
            failure = error
        _tell(self._loop, self._note_end, failure)

    def _note_end(self, failure: BaseException | None) -> None:
        self.failure = failure
        self.ended.set()

    async def _kopf(self, stop: "concurrent.futures.Future[None]") -> None:
        # a flag of another kind would be waited for in a worker thread, which outlives kopf and keeps ours from ending
        flag, loop = asyncio.Event(), asyncio.get_running_loop()
        stop.add_done_callback(lambda _: _tell(loop, flag.set))
        endpoint = f"http://0.0.0.0:{self._probe_port}/healthz" if self._probe_port is not None else None
        await kopf.operator(
            registry=_registry(self._hand_over, self._cluster, self._loop),
            settings=_settings(),
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=list(self._namespaces),
            liveness_endpoint=endpoint,
            stop_flag=flag,
        )

    def _hand_over(self, resource: Resource, kind: str | None, obj: Mapping[str, Any]) -> None:
        """From kopf's thread to our loop."""
        _tell(self._loop, self._take, resource, kind, obj)

    def _take(self, resource: Resource, kind: str | None, obj: Mapping[str, Any]) -> None:
        named = {**obj, "apiVersion": resource.api_version, "kind": resource.kind}
        if kind == "DELETED":
            self._held.lose(named)
            return
        self._held.learn(named)
        if kind is None:
            self.relisted.set()


def _tell(loop: asyncio.AbstractEventLoop, what: Callable[..., None], *args: Any) -> None:
    """Have the loop of the other thread do something; either may have ended before the other."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(what, *args)


def _registry(feed: Feed, cluster: client.Cluster, loop: asyncio.AbstractEventLoop) -> kopf.OperatorRegistry:
    """Handlers of events and nothing else, so that kopf has no reason to write."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def log_in(**_: Any) -> kopf.ConnectionInfo:
        return await _login(cluster.configuration)

    @kopf.on.probe(registry=registry, id="loop", errors=kopf.ErrorsMode.PERMANENT)
    async def is_our_loop_alive(**_: Any) -> str:
        answer = asyncio.run_coroutine_threadsafe(_nothing(), loop)
        await asyncio.wait_for(asyncio.wrap_future(answer), 5)
        return "alive"

    for resource in resources.WATCHED:
        _register(registry, resource, feed)
    return registry


def _register(registry: kopf.OperatorRegistry, resource: Resource, feed: Feed) -> None:
    @kopf.on.event(
        group=resource.group, version=resource.version, plural=resource.plural, registry=registry, id=resource.plural
    )
    async def on_event(event: Any, **_: Any) -> None:
        feed(resource, event["type"], event["object"])


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.process.ultimate_exiting_timeout = None
    # a watch ends in good order before it could be taken for dead, with a bookmark to go on from
    settings.watching.server_timeout = _WATCH_SECONDS
    settings.watching.inactivity_timeout = _SILENCE_SECONDS
    settings.watching.connect_timeout = 5
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 60
    # a list that fails for two minutes ends kopf, and it is started again
    settings.networking.error_backoffs = (0.2, 0.5, 1, *(2,) * 60)
    settings.queueing.idle_timeout = 1
    settings.queueing.exit_timeout = 0.5
    for resource in resources.WATCHED:
        labels = ",".join(f"{key}={value}" for key, value in resources.selector(resource).items())
        if labels:
            settings.watching.label_selectors[resource.group, resource.version, resource.plural] = labels
    return settings


async def _login(configuration: Any) -> kopf.ConnectionInfo:
    """The login of the client, for kopf; asked for again whenever a token has expired."""
    header: str = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization") or ""
    scheme, _, token = header.rpartition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        ca_data=configuration.ca_cert_data,
        insecure=not configuration.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """In a thread of its own kopf leaves the signals alone, as it should, and warns of it."""
    return "OS signals" not in record.getMessage()


async def _nothing() -> None:
    """What a loop that is alive gets done."""
