"""The process: listen first, load the model beside it, drain on SIGTERM, leave with 0.

/ping answers from the first moment, so that a slow model is not taken for a dead server. On SIGTERM the endpoints
that lead here are withdrawn while requests still come in: the server says so at /health, goes on answering for a
while, and then stops.
"""

import asyncio
import logging
import math
import os
import signal
import socket
import sys
from types import FrameType

import uvicorn
import uvloop

from penstock_runtime import app, batching, engine, errors, model
from penstock_runtime.settings import Settings

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
    application = app.App(settings.identity, settings.limits)
    config = uvicorn.Config(
        application,
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
        timeout_graceful_shutdown=math.ceil(settings.limits.request_timeout) + 1,
    )
    workers = [batching.Worker(f"predict-{number}") for number in range(settings.limits.threads)]
    server = _Server(config, application, settings.limits.drain)
    loading = asyncio.create_task(_load(settings, application, workers, server))
    with _listen(settings) as listener:
        _log.info("listening on port %d", listener.getsockname()[1])
        await server.serve(sockets=[listener])
    if loading.done():
        loading.result()
    else:
        loading.cancel()
        return False
    stopped = [worker.stop(1.0) for worker in workers]
    return all(stopped)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        raise errors.Failure(
            f"the server can not listen on {settings.host} port {settings.port}: {error.strerror}; "
            "set PENSTOCK_PORT to a port that is free and above 1023"
        ) from error


async def _load(settings: Settings, application: app.App, workers: list[batching.Worker], server: _Server) -> None:
    loop = server.loop = asyncio.get_running_loop()
    loaded: asyncio.Future[tuple[model.Model, engine.Engine]] = loop.create_future()

    def load() -> None:
        """In the prediction thread, because some libraries want to be used where they were loaded."""
        try:
            result = _ready(settings)
        except errors.Failure as failure:
            loop.call_soon_threadsafe(loaded.set_exception, failure)
        except BaseException as error:  # noqa: BLE001  # sys.exit in a model's module must not end the thread in silence
            sentence = f"{settings.identity.title} cannot be loaded: {error!r}; correct the model's code"
            loop.call_soon_threadsafe(loaded.set_exception, errors.Failure(sentence))
        else:
            loop.call_soon_threadsafe(loaded.set_result, result)

    workers[0].run(load)
    try:
        served, predictor = await loaded
    except BaseException:
        server.should_exit = True
        raise
    application.serve(served, batching.Batcher(predictor, workers, settings.limits, application.worked))
    _log.info("%s is ready on port %d", settings.identity.title, settings.port)


def _ready(settings: Settings) -> tuple[model.Model, engine.Engine]:
    """Load the model and let it predict its input example once."""
    title = settings.identity.title
    served = model.load(settings.model_directory, title)
    predictor = engine.Engine(served, join=settings.limits.batch_size > 1)
    if served.example is not None:
        answer = predictor.rehearse(served.example)
        if answer.status != 200:
            said = errors.one_line(errors.Failure(answer.body.decode()))
            raise errors.Failure(
                f"{title} cannot predict its own input example: {said}; log it again with an example that it accepts, "
                "or with the library versions of the image"
            )
    return served, predictor
