"""The server's routes as one ASGI application, and the three states a server goes through: loading, ready, draining.

Bare ASGI, because a framework's routing and response objects cost as much as the rest of a small request together.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING

from penstock_runtime import answers, asgi, batching, bodies, feedback, ledger, metrics, openinference
from penstock_runtime.answers import Answer, Outcome
from penstock_runtime.asgi import Headers, Receive, Scope, Send
from penstock_runtime.settings import Identity, Limits
from penstock_runtime.work import Request, Work

if TYPE_CHECKING:
    from penstock_runtime.model import Model

Handler = Callable[["App", Scope, Receive], Awaitable[Answer]]


class App:
    """The server on its first port. With a ledger it keeps the model's answers, and callers' truths about them."""

    def __init__(self, identity: Identity, limits: Limits, kept: ledger.Ledger | None = None) -> None:
        self._identity = identity
        self._limits = limits
        self._feedback_limits = replace(limits, body_bytes=min(limits.body_bytes, feedback.BODY_BYTES))
        self._kept = kept
        self._model: Model | None = None
        self._batcher: batching.Batcher | None = None
        self._draining = False
        self._in_flight = 0
        self._held = 0
        self._metrics = metrics.Metrics(identity)
        gauge = self._metrics.gauge
        gauge("penstock_requests_in_flight", "Requests being answered.", lambda: self._in_flight)
        gauge("penstock_queue_length", "Requests that wait for the model.", self._queue_length)
        gauge("penstock_model_loaded", "1 when the model is loaded.", lambda: 0 if self._batcher is None else 1)
        if kept is not None:
            self._metrics.keeps(kept)

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
        methods = _ROUTES.get(scope["path"]) or self._open_inference(scope["path"])
        if methods is None:
            answer = asgi.not_found()
        elif (handler := methods.get(scope["method"])) is None:
            answer = asgi.not_allowed(methods)
        else:
            answer = await handler(self, scope, receive)
        await asgi.send(answer, scope, send, closing=self._draining)

    def _open_inference(self, path: str) -> "Mapping[str, Handler] | None":
        """The routes under this model's name, with or without its version."""
        prefix = f"/v2/models/{self._identity.model}"
        versioned = f"{prefix}/versions/{self._identity.model_version}"
        for stem in (versioned, prefix):
            if path == stem or path.startswith(stem + "/"):
                return _MODEL_ROUTES.get(path[len(stem) :])
        return None

    async def invocations(self, scope: Scope, receive: Receive) -> Answer:
        """POST /invocations: MLflow's scoring protocol."""
        return await self._counted(self._invoke(scope, receive))

    async def infer(self, scope: Scope, receive: Receive) -> Answer:
        """POST /v2/models/{name}/infer: the Open Inference Protocol."""
        return await self._counted(self._infer(scope, receive))

    async def _counted(self, answering: Awaitable[Answer]) -> Answer:
        started = time.perf_counter()
        self._in_flight += 1
        try:
            answer = await answering
        finally:
            self._in_flight -= 1
        self._metrics.answered(answer, time.perf_counter() - started)
        return answer

    async def _invoke(self, scope: Scope, receive: Receive) -> Answer:
        headers = scope["headers"]
        content_type = _content_type(headers)
        return await self._with_body(
            scope, receive, self._limits, lambda body: self._predict(body, content_type, headers)
        )

    async def _infer(self, scope: Scope, receive: Receive) -> Answer:
        async def predict(body: bytes) -> Answer:
            signature = self._model.signature if self._model else None
            asked = await asgi.aside(len(body), openinference.question, body, signature)
            if isinstance(asked, Answer):
                return asked
            translated, identifier = asked
            answer = await self._predict(translated, "application/json", scope["headers"])
            names = (self._identity.model, self._identity.model_version)
            return await asgi.aside(len(answer.body), openinference.response, answer, *names, identifier)

        answer = await self._with_body(scope, receive, self._limits, predict)
        return answer if answer.status == 200 else openinference.failed(answer)

    async def _with_body(
        self, scope: Scope, receive: Receive, limits: Limits, use: Callable[[bytes], Awaitable[Answer]]
    ) -> Answer:
        """Read the body, within what all bodies together may hold, and use it."""
        if self._batcher is None:
            return answers.not_loaded()
        length = bodies.length(scope["headers"], limits)
        if length > limits.body_bytes:
            return answers.too_large(limits.body_bytes)
        if self._held and self._held + length > limits.held_bytes:
            return answers.overloaded(max(0, self._in_flight - 1))
        self._held += length
        try:
            body = await bodies.read(receive, limits)
            return body if isinstance(body, Answer) else await use(body)
        finally:
            self._held -= length

    async def _predict(self, body: bytes, content_type: str | None, headers: Headers) -> Answer:
        if self._batcher is None:
            return answers.not_loaded()
        try:
            future = self._batcher.submit(Request(body, content_type))
        except batching.Overloaded:
            return answers.overloaded(self._batcher.queue_length)
        timeout = asyncio.get_running_loop().call_later(self._limits.request_timeout, self._give_up, future)
        try:
            answer = await future
        finally:
            timeout.cancel()
        if self._kept is not None:
            self._kept.keep(headers, answer)
        return answer

    def _give_up(self, future: asyncio.Future[Answer]) -> None:
        if not future.done():
            future.set_result(answers.too_slow(self._limits.request_timeout))

    async def feedback(self, scope: Scope, receive: Receive) -> Answer:
        """POST /feedback: what the answer to a request should have been."""
        answer = await self._learn(scope, receive)
        self._metrics.fed_back(answer)
        return answer

    async def _learn(self, scope: Scope, receive: Receive) -> Answer:
        kept = self._kept
        if kept is None:
            return feedback.switched_off()

        async def learn(body: bytes) -> Answer:
            truths = await asgi.aside(len(body), feedback.read, body)
            if isinstance(truths, Answer):
                return truths
            kept.learn(truths)
            return feedback.accepted(len(truths))

        answer = await self._with_body(scope, receive, self._feedback_limits, learn)
        return feedback.too_large(self._feedback_limits.body_bytes) if answer.status == 413 else answer

    async def ping(self, _scope: Scope, _receive: Receive) -> Answer:
        """GET /ping: alive, until the model hangs for good."""
        if self._batcher is not None and self._batcher.hangs():
            return asgi.unavailable(f"The model has not answered for {self._limits.hang:g} s. Restart the container.")
        return _OK

    async def health(self, _scope: Scope, _receive: Receive) -> Answer:
        """GET /health: ready for requests."""
        if self._batcher is None:
            return asgi.unavailable("The model is still being loaded.")
        if self._draining:
            return asgi.unavailable("The server is shutting down.")
        if self._batcher.hangs():
            return asgi.unavailable(f"The model has not answered for {self._limits.hang:g} s.")
        return _OK

    async def version(self, _scope: Scope, _receive: Receive) -> Answer:
        """GET /version: what runs here."""
        loaded = self._model
        return asgi.plain(
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

    async def liveness(self, scope: Scope, receive: Receive) -> Answer:
        """GET /v2/health/live: as /ping, in JSON."""
        answer = await self.ping(scope, receive)
        return asgi.plain(answer.status, {"live": answer.status == 200})

    async def readiness(self, scope: Scope, receive: Receive) -> Answer:
        """GET /v2/health/ready and /v2/models/{name}/ready: as /health, in JSON."""
        answer = await self.health(scope, receive)
        return asgi.plain(answer.status, {"ready": answer.status == 200})

    async def server(self, _scope: Scope, _receive: Receive) -> Answer:
        """GET /v2: what this server is."""
        return asgi.plain(200, {"name": "penstock", "version": metadata.version("penstock"), "extensions": []})

    async def described(self, _scope: Scope, _receive: Receive) -> Answer:
        """GET /v2/models/{name}: the model's tensors."""
        if self._model is None:
            return answers.not_loaded()
        return openinference.metadata(self._identity.model, self._identity.model_version, self._model.signature)

    def _queue_length(self) -> float:
        return 0 if self._batcher is None else self._batcher.queue_length


def _mlflow_version() -> str:
    for distribution in ("mlflow-skinny", "mlflow"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(distribution)
    return ""


def _content_type(headers: Headers) -> str | None:
    for name, value in headers:
        if name == b"content-type":
            return value.decode("latin-1")
    return None


_OK = Answer(200, b"\n", Outcome.SUCCESS)

_ROUTES: Mapping[str, Mapping[str, Handler]] = {
    "/invocations": {"POST": App.invocations},
    "/feedback": {"POST": App.feedback},
    "/ping": {"GET": App.ping},
    "/health": {"GET": App.health},
    "/version": {"GET": App.version},
    "/example": {"GET": App.example},
    "/metrics": {"GET": App.exposition},
    "/v2": {"GET": App.server},
    "/v2/health/live": {"GET": App.liveness},
    "/v2/health/ready": {"GET": App.readiness},
}
_MODEL_ROUTES: Mapping[str, Mapping[str, Handler]] = {
    "": {"GET": App.described},
    "/ready": {"GET": App.readiness},
    "/infer": {"POST": App.infer},
}
