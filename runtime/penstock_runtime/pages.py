"""The second port: answers and truths, a page at a time, for the operator and nobody else.

Callers reach the first port through Envoy; this one is left out of every route, because ids and predictions are not
for them. A page has at most 1000 entries of at most 4 KiB, and few pages are under way at once.
"""

import asyncio
import contextlib
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import orjson

from penstock_runtime import answers, asgi, ledger, ring
from penstock_runtime.answers import Answer, Outcome
from penstock_runtime.asgi import Application, Receive, Scope, Send

T = TypeVar("T")

MOST: Final = 1000
_AT_ONCE: Final = 4
_SMALL: Final = 32  # entries that are written faster than a thread takes over
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        local = scope["server"]
        chosen = self._pages if local is not None and local[1] == self._port else self._server
        await chosen(scope, receive, send)


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
        written: Callable[[int, T], list[Any]],
        oversized: int = 0,
    ) -> Answer:
        page = entries.read(after, limit)
        counts = {"lost": page.lost, "oversized": oversized, "sampled": entries.last}
        head = {"boot": self._kept.boot, "next": page.next, **counts}
        if len(page.items) <= _SMALL:
            return _write(head, name, page.items, written)
        return await asyncio.to_thread(_write, head, name, page.items, written)


def _write(
    head: Mapping[str, Any], name: str, items: Sequence[tuple[int, T]], written: Callable[[int, T], list[Any]]
) -> Answer:
    rows: list[list[Any]] = []
    for start in range(0, len(items), _SMALL):
        rows += [written(number, item) for number, item in items[start : start + _SMALL]]
        if start:
            time.sleep(0)  # in a thread: give the interpreter to the event loop now and then
    return Answer(200, orjson.dumps({**head, name: rows}), Outcome.SUCCESS)


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
