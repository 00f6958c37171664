"""The runtime's application and MLflow's own, called without a network, in a loop of the test's own."""

import asyncio
import contextlib
import json
import pathlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from penstock_runtime import app, batching, engine, ledger, model, pages
from penstock_runtime.settings import Identity, Limits

IDENTITY = Identity("ml", "fraud", "7f3a9c21d0", "fraud", "3")


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def call(
    application: Any,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] = b"",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """One request to an ASGI application; a body of several parts is a streamed one, without a length."""
    parts = [body] if isinstance(body, bytes) else list(body)
    sent = {name.lower(): value for name, value in (headers or {}).items()}
    if isinstance(body, bytes):
        sent["content-length"] = str(len(body))
    messages = [
        {"type": "http.request", "body": part, "more_body": number < len(parts) - 1}
        for number, part in enumerate(parts)
    ]
    started: dict[str, Any] = {}
    received: list[bytes] = []

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            started.update(message)
        elif message["type"] == "http.response.body":
            received.append(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path.partition("?")[0],
        "raw_path": path.encode(),
        "query_string": path.partition("?")[2].encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
        "server": ("127.0.0.1", 8080),
        "client": ("127.0.0.1", 1),
    }
    await application(scope, receive, send)
    answered = {name.decode(): value.decode() for name, value in started["headers"]}
    return Response(started["status"], answered, b"".join(received))


@dataclass(frozen=True)
class Server:
    """Our application, ready, with its model; `ask` posts to /invocations, `page` gets from the second port."""

    app: app.App
    batcher: batching.Batcher
    engine: engine.Engine
    pages: pages.Pages

    async def ask(
        self, body: Any, content_type: str | None = "application/json", headers: Mapping[str, str] | None = None
    ) -> Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        typed = {} if content_type is None else {"content-type": content_type}
        return await call(self.app, "POST", "/invocations", content, {**typed, **(headers or {})})

    async def get(self, path: str) -> Response:
        return await call(self.app, "GET", path)

    async def page(self, path: str) -> Response:
        return await call(self.pages, "GET", path)

    async def feedback(self, body: Any) -> Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await call(self.app, "POST", "/feedback", content)

    async def metric(self, name: str, **labels: str) -> float:
        """One sample of /metrics."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        for line in (await self.get("/metrics")).body.decode().splitlines():
            series, _, value = line.rpartition(" ")
            if series.partition("{")[0] == name and all(label in series for label in wanted):
                return float(value)
        raise AssertionError(f"no {name} {labels}")


@contextlib.asynccontextmanager
async def server(directory: pathlib.Path, **limits: Any) -> AsyncIterator[Server]:
    """Our server on a model, its example rehearsed as at start."""
    chosen = replace(Limits(), **limits)
    loaded = model.load(directory, "model fraud version 3")
    predictor = engine.Engine(loaded, join=chosen.batch_size > 1)
    if loaded.example is not None:
        assert predictor.rehearse(loaded.example).status == 200
    workers = [batching.Worker(f"test-{number}") for number in range(chosen.threads)]
    kept = ledger.Ledger(chosen.answers_kept, chosen.answers_percent)
    application = app.App(IDENTITY, chosen, kept)
    batcher = batching.Batcher(predictor, workers, chosen, application.worked)
    application.serve(loaded, batcher)
    try:
        yield Server(application, batcher, predictor, pages.Pages(kept))
    finally:
        for worker in workers:
            worker.stop(0)


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Let the loop turn until it is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {seconds} s")
        await asyncio.sleep(0.001)
