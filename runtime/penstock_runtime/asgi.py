"""What the two ports share: how a request comes in, and how an answer goes out."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final, TypeVar

from penstock_runtime import answers
from penstock_runtime.answers import Answer, Outcome

Headers = Iterable[tuple[bytes, bytes]]
Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
T = TypeVar("T")

_LARGE: Final = 64 * 1024


async def send(answer: Answer, scope: Scope, send: Send, *, closing: bool) -> None:
    """The whole answer, with the request's id; `closing` asks the client to connect elsewhere."""
    headers = [(b"content-type", answer.content_type), (b"content-length", b"%d" % len(answer.body))]
    headers += answer.headers
    headers += [(name, value) for name, value in scope["headers"] if name == b"x-request-id"]
    if closing:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def aside(size: int, function: Callable[..., T], *arguments: Any) -> T:
    """The function's result; large texts are read in a thread, so that they do not hold the loop."""
    return function(*arguments) if size < _LARGE else await asyncio.to_thread(function, *arguments)


def plain(status: int, content: Mapping[str, Any], *headers: tuple[bytes, bytes]) -> Answer:
    outcome = Outcome.SUCCESS if status == 200 else Outcome.BAD_REQUEST
    return Answer(status, json.dumps(content).encode(), outcome, headers=headers)


def not_found() -> Answer:
    return plain(404, {"detail": "Not Found"})


def not_allowed(methods: Iterable[str]) -> Answer:
    return plain(405, {"detail": "Method Not Allowed"}, (b"allow", ", ".join(methods).encode()))


def unavailable(message: str) -> Answer:
    return answers.error(503, "TEMPORARILY_UNAVAILABLE", message, Outcome.REJECTED)
