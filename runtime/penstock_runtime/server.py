"""The process: listen first, load the model beside it, drain on SIGTERM, leave with 0.

/ping answers from the first moment, so that a slow model is not taken for a dead server. On SIGTERM the endpoints
that lead here are withdrawn while requests still come in: the server says so at /health, goes on answering for a
while, and then stops.
"""

import asyncio
import contextlib
import functools
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

import uvicorn
import uvloop

from penstock_runtime import app, batching, errors, ledger, pages
from penstock_runtime.settings import Settings

if TYPE_CHECKING:
    from penstock_runtime import engine, model

T = TypeVar("T")

_log = logging.getLogger("penstock")

# Longer than a proxy keeps idle connections (Envoy: one hour): the side that reuses a connection should close it.
_KEEP_ALIVE = 2 * 3600


class _Server(uvicorn.Server):
    """uvicorn, with a drain before its shutdown. The signal is not raised again: the exit code is 0."""

    def __init__(self, config: uvicorn.Config, application: app.App, drain: float) -> None:
        super().__init__(config)
        self._application = application
        self._drain = drain
        self._leaving = False
        self.loop: asyncio.AbstractEventLoop | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by the signal: the first one drains, another one, or Ctrl-C, stops at once."""
        del frame
        at_once = self._leaving or sig != signal.SIGTERM or not self._application.ready
        self._leaving = True
        self._application.drain()
        if at_once or self.loop is None:
            self.should_exit = True
        else:
            self.loop.call_soon_threadsafe(self.loop.call_later, self._drain, self._stop)

    def _stop(self) -> None:
        self.should_exit = True


def run(settings: Settings) -> int:
    """Serve until a signal; returns the exit code. Raises Failure when the model can not be served."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        ended = runner.run(_serve(settings))
    if not ended:
        # a thread that hangs in the model's native code may crash the interpreter's orderly end
        sys.stderr.flush()
        os._exit(0)
    return 0


async def _serve(settings: Settings) -> bool:
    limits = settings.limits
    kept = ledger.Ledger(limits.answers_kept, limits.answers_percent) if settings.answers_port else None
    application = app.App(settings.identity, limits, kept)
    config = uvicorn.Config(
        application if kept is None else pages.Ports(application, pages.Pages(kept), settings.answers_port),
        interface="asgi3",
        host=settings.host,
        port=settings.port,
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level=logging.WARNING,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=math.ceil(limits.request_timeout) + 1,
    )
    workers = [batching.Worker(f"predict-{number}") for number in range(limits.threads)]
    server = _Server(config, application, limits.drain)
    loading = asyncio.create_task(_load(settings, application, workers, server))
    with contextlib.ExitStack() as listening:
        listeners = [listening.enter_context(_listen(settings.host, *chosen)) for chosen in _ports(settings)]
        _log.info("listening on port %s", " and ".join(str(listener.getsockname()[1]) for listener in listeners))
        await server.serve(sockets=listeners)
    if loading.done():
        loading.result()
    else:
        loading.cancel()
        return False
    stopped = [worker.stop(1.0) for worker in workers]
    return all(stopped)


def _ports(settings: Settings) -> list[tuple[int, str]]:
    ports = [(settings.port, "PENSTOCK_PORT")]
    return [*ports, (settings.answers_port, "PENSTOCK_ANSWERS_PORT")] if settings.answers_port else ports


def _listen(host: str, port: int, variable: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else "there is no such port"
        raise errors.Failure(
            f"the server can not listen on {host} port {port}: {reason}; "
            f"set {variable} to a port that is free and above 1023"
        ) from error


async def _load(settings: Settings, application: app.App, workers: list[batching.Worker], server: _Server) -> None:
    """Load in the first prediction thread, because some libraries want to be used where they were loaded."""
    server.loop = asyncio.get_running_loop()
    title = settings.identity.title
    try:
        served, predictor = await _in(workers[0], functools.partial(_read, settings), title)
        if served.example is not None:
            await _rehearse(settings, workers[0], predictor, served.example)
    except BaseException:
        server.should_exit = True
        raise
    application.serve(served, batching.Batcher(predictor, workers, settings.limits, application.worked))
    _log.info("%s is ready", title)


def _read(settings: Settings) -> "tuple[model.Model, engine.Engine]":
    # MLflow takes seconds to import; the server listens meanwhile
    from penstock_runtime import engine, model

    served = model.load(settings.model_directory, settings.identity.title)
    return served, engine.Engine(served, join=settings.limits.batch_size > 1)


async def _rehearse(settings: Settings, worker: batching.Worker, predictor: "engine.Engine", example: bytes) -> None:
    """Readiness is a prediction that worked, where the model brings an input example."""
    title = settings.identity.title
    try:
        async with asyncio.timeout(settings.limits.hang):
            answer = await _in(worker, lambda: predictor.rehearse(example), title)
    except TimeoutError:
        raise errors.Failure(
            f"{title} did not answer its own input example within {settings.limits.hang:g} s; correct the model, "
            "give it more CPU, or raise PENSTOCK_HANG_SECONDS",
            passing=True,
        ) from None
    if answer.status != 200:
        said = " ".join(answer.body.decode().split())
        raise errors.Failure(
            f"{title} cannot predict its own input example: {said}; log it again with an example that it accepts, "
            "or serve it with the library versions that it was logged with"
        )


async def _in(worker: batching.Worker, action: Callable[[], T], title: str) -> T:
    """The result of an action in the worker's thread; whatever ends it otherwise is a Failure."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def carry(deliver: Callable[[], None]) -> None:
        if not future.done():
            deliver()

    def task() -> None:
        try:
            result = action()
        except errors.Failure as failure:
            loop.call_soon_threadsafe(carry, functools.partial(future.set_exception, failure))
        except BaseException as error:  # noqa: BLE001  # sys.exit in a model's module must not end the thread in silence
            sentence = f"{title} cannot be loaded: {error!r}; correct the model's code"
            loop.call_soon_threadsafe(carry, functools.partial(future.set_exception, errors.Failure(sentence)))
        else:
            loop.call_soon_threadsafe(carry, functools.partial(future.set_result, result))

    worker.run(task)
    return await future
