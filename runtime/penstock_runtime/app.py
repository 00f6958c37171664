"""The server's routes as one ASGI application, and the three states a server goes through: loading, ready, draining.

Bare ASGI, because a framework's routing and response objects cost as much as the rest of a small request together.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

from penstock_runtime import answers, batching, metrics
from penstock_runtime.answers import Answer, Outcome
from penstock_runtime.settings import Identity, Limits
from penstock_runtime.work import Request, Work

if TYPE_CHECKING:
    from penstock_runtime.model import Model

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Handler = Callable[["App", Scope, Receive], Awaitable[Answer]]


class App:
    def __init__(self, identity: Identity, limits: Limits) -> None:
        self._identity = identity
        self._limits = limits
        self._model: Model | None = None
        self._batcher: batching.Batcher | None = None
        self._draining = False
        self._in_flight = 0
        self._metrics = metrics.Metrics(identity)
        gauge = self._metrics.gauge
        gauge("penstock_requests_in_flight", "Requests being answered.", lambda: self._in_flight)
        gauge("penstock_queue_length", "Requests that wait for the model.", self._queue_length)
        gauge("penstock_model_loaded", "1 when the model is loaded.", lambda: 0 if self._batcher is None else 1)

    @property
    def ready(self) -> bool:
        """Whether requests are answered by the model."""
        return self._batcher is not None

    def serve(self, loaded: "Model", batcher: batching.Batcher) -> None:
        """The model is loaded and has answered its example: take requests."""
        self._model, self._batcher = loaded, batcher

    def drain(self) -> None:
        """Ask to be left out of the endpoints, and answer what still comes."""
        self._draining = True

    def worked(self, work: Work) -> None:
        """Count the calls of the model."""
        for call in work.calls:
            self._metrics.called(call.size)
            if call.numbers is not None:
                self._metrics.predicted(call.numbers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        methods = _ROUTES.get(scope["path"])
        if methods is None:
            answer = _plain(404, {"detail": "Not Found"})
        elif (handler := methods.get(scope["method"])) is None:
            answer = _plain(405, {"detail": "Method Not Allowed"}, (b"allow", ", ".join(methods).encode()))
        else:
            answer = await handler(self, scope, receive)
        await self._send(answer, scope, send)

    async def _send(self, answer: Answer, scope: Scope, send: Send) -> None:
        headers = [(b"content-type", answer.content_type), (b"content-length", b"%d" % len(answer.body))]
        headers += answer.headers
        headers += [(name, value) for name, value in scope["headers"] if name == b"x-request-id"]
        if self._draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def invocations(self, scope: Scope, receive: Receive) -> Answer:
        """POST /invocations: MLflow's scoring protocol."""
        started = time.perf_counter()
        self._in_flight += 1
        try:
            answer = await self._invoke(scope, receive)
        finally:
            self._in_flight -= 1
        self._metrics.answered(answer, time.perf_counter() - started)
        return answer

    async def _invoke(self, scope: Scope, receive: Receive) -> Answer:
        if self._batcher is None:
            return answers.not_loaded()
        body = await self._body(scope["headers"], receive)
        if isinstance(body, Answer):
            return body
        try:
            future = self._batcher.submit(Request(body, _content_type(scope["headers"])))
        except batching.Overloaded:
            return answers.overloaded(self._limits.queue_length)
        timeout = asyncio.get_running_loop().call_later(self._limits.request_timeout, self._give_up, future)
        try:
            return await future
        finally:
            timeout.cancel()

    def _give_up(self, future: asyncio.Future[Answer]) -> None:
        if not future.done():
            future.set_result(answers.too_slow(self._limits.request_timeout))

    async def _body(self, headers: Iterable[tuple[bytes, bytes]], receive: Receive) -> bytes | Answer:
        """The whole body, or the refusal of one that is too large or too slow.

        The connection stays open after a refusal: a client that is still sending would else meet a reset.
        """
        most = self._limits.body_bytes
        for name, value in headers:
            if name == b"content-length" and int(value) > most:
                return answers.too_large(most)
        message = await self._next(receive)
        if message is None:
            return answers.body_too_slow(self._limits.request_timeout)
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            return body if len(body) <= most else answers.too_large(most)
        parts, length = [body], len(body)
        while message.get("more_body", False):
            if length > most:
                return answers.too_large(most)
            message = await self._next(receive)
            if message is None:
                return answers.body_too_slow(self._limits.request_timeout)
            parts.append(message.get("body", b""))
            length += len(parts[-1])
        return b"".join(parts) if length <= most else answers.too_large(most)

    async def _next(self, receive: Receive) -> Mapping[str, Any] | None:
        try:
            async with asyncio.timeout(self._limits.request_timeout):
                return await receive()
        except TimeoutError:
            return None

    async def ping(self, _scope: Scope, _receive: Receive) -> Answer:
        """GET /ping: alive, until the model hangs for good."""
        if self._batcher is not None and self._batcher.hangs():
            return _unavailable(f"The model has not answered for {self._limits.hang:g} s. Restart the container.")
        return _OK

    async def health(self, _scope: Scope, _receive: Receive) -> Answer:
        """GET /health: ready for requests."""
        if self._batcher is None:
            return _unavailable("The model is still being loaded.")
        if self._draining:
            return _unavailable("The server is shutting down.")
        if self._batcher.hangs():
            return _unavailable(f"The model has not answered for {self._limits.hang:g} s.")
        return _OK

    async def version(self, _scope: Scope, _receive: Receive) -> Answer:
        """GET /version: what runs here."""
        loaded = self._model
        return _plain(
            200,
            {
                "namespace": self._identity.namespace,
                "deployment": self._identity.deployment,
                "revision": self._identity.revision,
                "model": self._identity.model,
                "modelVersion": self._identity.model_version,
                "runtimeVersion": metadata.version("penstock"),
                "mlflowVersion": _mlflow_version(),
                "signature": loaded.signature if loaded else None,
                "inputExample": loaded is not None and loaded.example is not None,
            },
        )

    async def example(self, _scope: Scope, _receive: Receive) -> Answer:
        """GET /example: the input example, ready to be sent to /invocations."""
        if self._model is None:
            return answers.not_loaded()
        if self._model.example is None:
            return answers.error(
                404,
                "RESOURCE_DOES_NOT_EXIST",
                "The model has no input example. Log it with input_example=.",
                Outcome.BAD_REQUEST,
            )
        return Answer(200, self._model.example, Outcome.SUCCESS)

    async def exposition(self, _scope: Scope, _receive: Receive) -> Answer:
        """GET /metrics: Prometheus text."""
        return Answer(
            200, self._metrics.exposition(), Outcome.SUCCESS, content_type=b"text/plain; version=0.0.4; charset=utf-8"
        )

    def _queue_length(self) -> float:
        return 0 if self._batcher is None else self._batcher.queue_length


def _mlflow_version() -> str:
    for distribution in ("mlflow-skinny", "mlflow"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(distribution)
    return ""


def _content_type(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    for name, value in headers:
        if name == b"content-type":
            return value.decode("latin-1")
    return None


def _plain(status: int, content: Mapping[str, Any], *headers: tuple[bytes, bytes]) -> Answer:
    outcome = Outcome.SUCCESS if status == 200 else Outcome.BAD_REQUEST
    return Answer(status, json.dumps(content).encode(), outcome, headers=headers)


def _unavailable(message: str) -> Answer:
    return answers.error(503, "TEMPORARILY_UNAVAILABLE", message, Outcome.REJECTED)


_OK = Answer(200, b"\n", Outcome.SUCCESS)

_ROUTES: Mapping[str, Mapping[str, Handler]] = {
    "/invocations": {"POST": App.invocations},
    "/ping": {"GET": App.ping},
    "/health": {"GET": App.health},
    "/version": {"GET": App.version},
    "/example": {"GET": App.example},
    "/metrics": {"GET": App.exposition},
}
