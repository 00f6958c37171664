"""Reads the rings in which model pods keep their latest answers, and the truths that callers sent: straight from a pod.

A ring numbers its entries, and a reader brings the number it has come to. A `boot` that is not the one it came from is
a new process, whose numbers start again. What a pod says is foreign: its length, its time and its shape are checked,
and an entry that makes no sense is left out. Whatever goes wrong is a sentence, and what was read before is kept.
"""

import asyncio
import json
import math
import weakref
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
import orjson

from penstock.adapters import transport

Name = Literal["answers", "truths"]

PAGE = 500
LONGEST_ID = 256
OLDER = "its runtime keeps no answers: use the release's image, and leave PENSTOCK_ANSWERS_PORT as it is"


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for all pages of one ring, bytes of a page, pages at a time, and readings of one pod at a time."""

    seconds: float = 2.0
    page_bytes: int = 8 << 20
    pages: int = 20
    at_once: int = 2


@dataclass(frozen=True, slots=True)
class Position:
    """How far a ring was read: entries up to `after` of the process `boot`."""

    boot: str = ""
    after: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer or a truth. `value` is the predictions (None if there are none or too many) or the truth."""

    request: str
    at: float
    failed: bool
    value: object


@dataclass(frozen=True, slots=True)
class Reading:
    """Entries in the order of the ring, how many were overwritten unread or made no sense, and what went wrong."""

    entries: tuple[Entry, ...]
    position: Position
    lost: int = 0
    garbled: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class _Page:
    boot: str
    next: int
    lost: int
    rows: list[Any]


class _Unreadable(Exception):
    """Its text is what is wrong with the pod's answer."""


class Rings:
    """Reads with a client session of somebody else."""

    def __init__(self, session: aiohttp.ClientSession, limits: Limits = Limits()) -> None:
        self._session = session
        self._limits = limits
        self._slots: weakref.WeakValueDictionary[str, asyncio.Semaphore] = weakref.WeakValueDictionary()

    async def read(self, address: str, port: int, name: Name, position: Position) -> Reading:
        """All that is new since `position`, as far as there is time; the rest is read next time."""
        base = f"http://[{address}]:{port}/{name}" if ":" in address else f"http://{address}:{port}/{name}"
        slot = self._slots.get(base)
        if slot is None:
            slot = self._slots[base] = asyncio.Semaphore(self._limits.at_once)
        pages: list[_Page] = []
        problem = None
        if self._session.closed:
            return Reading((), position, problem="the operator is stopping")
        try:
            async with asyncio.timeout(self._limits.seconds), slot:
                await self._pages(base, name, position, pages)
        except TimeoutError:
            problem = f"no answer within {self._limits.seconds:g} s"
        except _Unreadable as error:
            problem = str(error)
        except aiohttp.ClientResponseError:
            problem = "it does not speak HTTP"
        except aiohttp.ClientPayloadError:
            problem = "its answer ended too early"
        except (aiohttp.ClientError, OSError) as error:
            problem = transport.explain(error)
        return _reading(name, pages, position, problem)

    async def _pages(self, base: str, name: Name, position: Position, pages: list[_Page]) -> None:
        boot, after = position.boot, position.after
        for _ in range(self._limits.pages):
            page = await self._page(base, name, after)
            if page.boot != boot and after != 0:  # a new process: the numbers were another's
                boot, after = page.boot, 0
                continue
            if page.next < after:
                raise _Unreadable(f"its ring of {name} goes back from {after} to {page.next}")
            boot = page.boot
            pages.append(page)
            if len(page.rows) < PAGE or page.next == after:
                return
            after = page.next

    async def _page(self, base: str, name: Name, after: int) -> _Page:
        url = f"{base}?after={after}&limit={PAGE}"
        async with self._session.get(url, allow_redirects=False, headers={"accept-encoding": "identity"}) as response:
            if response.status == 404:
                raise _Unreadable(OLDER)
            if response.status != 200:
                raise _Unreadable(f"it answers {transport.status_line(response.status)}")
            body = bytearray()
            async for chunk in response.content.iter_chunked(1 << 16):
                body += chunk
                if len(body) > self._limits.page_bytes:
                    raise _Unreadable(f"its answer is longer than {self._limits.page_bytes} bytes")
        return _parsed(name, bytes(body))


def _parsed(name: Name, body: bytes) -> _Page:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            content = json.loads(body)  # knows NaN and Infinity, and half characters, which nobody can store
            content = json.loads(json.dumps(content, ensure_ascii=False).encode(errors="replace"))
        except (ValueError, RecursionError):
            raise _Unreadable(f"what it answers is no page of {name}") from None
    match content:
        case {"boot": str(boot), "next": int(after), "lost": int(lost)} if isinstance(rows := content.get(name), list):
            if 0 < len(boot) <= LONGEST_ID and after >= 0 and lost >= 0 and len(rows) <= PAGE:
                return _Page(boot, after, lost, rows)
    raise _Unreadable(f"what it answers is no page of {name}")


def _reading(name: Name, pages: list[_Page], position: Position, problem: str | None) -> Reading:
    rows = [row for page in pages for row in page.rows]
    entries = [entry for row in rows if (entry := _entry(name, row)) is not None]
    if rows and not entries and problem is None:
        problem = f"none of {len(rows)} entries in its page of {name} makes sense"
    if pages:
        position = Position(pages[-1].boot, pages[-1].next)
    lost = sum(page.lost for page in pages)
    return Reading(tuple(entries), position, lost, len(rows) - len(entries), problem)


def _entry(name: Name, row: object) -> Entry | None:
    match row:
        case [int(), str(request), float() | int() as at, value] if name == "truths":
            failed = False
        case [int(), str(request), float() | int() as at, "success" | "model_error" as outcome, value]:
            failed = outcome == "model_error"
        case _:
            return None
    if not 0 < len(request) <= LONGEST_ID or not math.isfinite(at):
        return None
    return Entry(request, float(at), failed, None if failed else value)
