"""Polls of Envoys that reach an operator which does not lead are carried to the one that does, for it alone decides.

An Envoy's next poll says what it has, and whether a rollout goes on depends on that: so the leader must hear them all.
Without a leader, or one that answers, a poll is answered here: the same objects give the same answers.
"""

import asyncio
from typing import Protocol

import aiohttp
from aiohttp import web

FORWARDED = "x-penstock-forwarded"
"""Header of a poll that was carried on once already, and is not to be carried on again."""

_CONNECT_SECONDS = 0.5
_ANSWER_SECONDS = 7.0
"""The leader holds a poll for 5 s; Envoy waits for 10."""


class Standing(Protocol):
    """Who leads, as far as this process knows at this moment."""

    def leading(self) -> bool:
        """Whether this process does."""
        ...

    def leader(self) -> str | None:
        """The address of another process that does."""
        ...

    def informed(self) -> bool:
        """Whether this process would know of a new leader."""
        ...


class Alone:
    """A process without others leads."""

    def leading(self) -> bool:
        return True

    def leader(self) -> str | None:
        return None

    def informed(self) -> bool:
        return True


class Peers:
    """The way to the leader."""

    def __init__(self, session: aiohttp.ClientSession | None, standing: Standing) -> None:
        self._session = session
        self._standing = standing
        self._asked: set[asyncio.Task[web.Response | None]] = set()

    async def ask(self, path: str, body: bytes) -> web.Response | None:
        """What the leader answers, or None if there is none that does."""
        address = None if self._standing.leading() else self._standing.leader()
        if address is None or self._session is None:
            return None
        asking = asyncio.create_task(self._post(self._session, address + path, body))
        self._asked.add(asking)
        try:
            await asyncio.wait({asking})
        finally:
            self._asked.discard(asking)
            asking.cancel()
        return None if asking.cancelled() else asking.result()

    def forget(self) -> None:
        """Another one leads, or none: what was asked of the last one is not waited for any longer."""
        for asking in self._asked:
            asking.cancel()

    async def _post(self, session: aiohttp.ClientSession, url: str, body: bytes) -> web.Response | None:
        timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS, connect=_CONNECT_SECONDS)
        headers = {FORWARDED: "true", "content-type": "application/json"}
        try:
            async with session.post(url, data=body, headers=headers, timeout=timeout, allow_redirects=False) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
        if answer.status == 200:
            return web.Response(body=content, content_type="application/json")
        return web.Response(status=304) if answer.status == 304 else None
