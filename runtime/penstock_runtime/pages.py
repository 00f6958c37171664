"""The second port: answers and truths, a page at a time, for the operator and nobody else.

Callers reach the first port through Envoy; this one is left out of every route, because ids and predictions are not
for them. A page has at most 1000 entries of at most 4 KiB, and few pages are under way at once.
"""

import asyncio
import contextlib
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import orjson

from penstock_runtime import answers, asgi, ledger, ring
from penstock_runtime.answers import Answer, Outcome
from penstock_runtime.asgi import Application, Receive, Scope, Send

T = TypeVar("T")

MOST: Final = 1000
_AT_ONCE: Final = 4
_SLICE: Final = 0.0005  # seconds of writing at a time
_DIGITS: Final = 15
_PATIENCE: Final = 30.0  # seconds for a reader to take a page


class _Refused(ValueError):
    """Its text says which parameter is wrong, and what it must be."""


class Ports:
    """One application on two ports: what came in at `port` goes to the pages, all else to the server."""

    def __init__(self, server: Application, pages: Application, port: int) -> None:
        self._server = server
        self._pages = pages
        self._port = port

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        local = scope["server"]
        chosen = self._pages if local is not None and local[1] == self._port else self._server
        return chosen(scope, receive, send)


class Pages:
    def __init__(self, kept: ledger.Ledger) -> None:
        self._kept = kept
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        del receive
        if self._under_way >= _AT_ONCE:
            busy = answers.error(
                429, "REQUEST_LIMIT_EXCEEDED", "Ask for one page at a time.", Outcome.REJECTED, answers.RETRY
            )
            await self._deliver(busy, send)
            return
        self._under_way += 1
        try:
            await self._deliver(await self._answer(scope), send)
        finally:
            self._under_way -= 1

    async def _deliver(self, answer: Answer, send: Send) -> None:
        """Send the page and wait until it has left: pages for readers that do not read must not pile up."""
        headers = [(b"content-type", answer.content_type), (b"content-length", b"%d" % len(answer.body))]
        await send({"type": "http.response.start", "status": answer.status, "headers": [*headers, *answer.headers]})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await send({"type": "http.response.body", "body": answer.body, "more_body": True})
                await send({"type": "http.response.body", "body": b""})

    async def _answer(self, scope: Scope) -> Answer:
        if scope["path"] not in {"/answers", "/truths"}:
            return asgi.not_found()
        if scope["method"] != "GET":
            return asgi.not_allowed(["GET"])
        try:
            after, limit = _asked(scope.get("query_string", b""))
        except _Refused as refused:
            return answers.error(400, "INVALID_PARAMETER_VALUE", str(refused), Outcome.BAD_REQUEST)
        kept = self._kept
        if scope["path"] == "/truths":
            return await self._page(kept.truths, after, limit, "truths", ledger.learnt)
        return await self._page(kept.answers, after, limit, "answers", ledger.answered, kept.oversized)

    async def _page(
        self,
        entries: ring.Ring[T],
        after: int,
        limit: int,
        name: str,
        written: Callable[[int, T], bytes],
        oversized: int = 0,
    ) -> Answer:
        page = entries.read(after, limit)
        counts = {"lost": page.lost, "oversized": oversized, "sampled": entries.last}
        head = {"boot": self._kept.boot, "next": page.next, **counts}
        return Answer(200, await _write(head, name, page.items, written), Outcome.SUCCESS)


async def _write(
    head: Mapping[str, Any], name: str, items: Sequence[tuple[int, T]], written: Callable[[int, T], bytes]
) -> bytes:
    """The page, written in slices with the loop's other work between them.

    Not in a thread: each time the loop had let go of the interpreter it would wait 5 ms to get it back.
    """
    rows: list[bytes] = []
    until = time.perf_counter() + _SLICE
    for number, item in items:
        rows.append(written(number, item))
        if time.perf_counter() > until:
            await asyncio.sleep(0)
            until = time.perf_counter() + _SLICE
    return b'%b,"%b":[%b]}' % (orjson.dumps(head)[:-1], name.encode(), b",".join(rows))


def _asked(query: bytes) -> tuple[int, int]:
    try:
        pairs = urllib.parse.parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=10)
    except ValueError:
        raise _Refused("There are too many parameters. Send after and limit.") from None
    parameters = dict(pairs)
    unknown = sorted(parameters.keys() - {"after", "limit"})
    if unknown or len(pairs) != len(parameters):
        raise _Refused("Send the parameters after and limit, each at most once, and no others.")
    return (
        _whole("after", parameters.get("after", "0"), 0, 10**_DIGITS - 1),
        _whole("limit", parameters.get("limit", str(MOST)), 1, MOST),
    )


def _whole(name: str, value: str, least: int, most: int) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) <= _DIGITS and least <= int(value) <= most):
        raise _Refused(f"{name} is {value[:50]!r}; it must be a whole number from {least} to {most}.")
    return int(value)
