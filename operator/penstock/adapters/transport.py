"""What the clients of MLflow and Prometheus have in common: both are synchronous and both speak HTTP.

Addresses lose their secrets before anything else sees them, failures become words that a person understands, and a
call in a thread has an end: its caller waits for a limited time, and whoever does not answer can only block the few
threads that one server may use.
"""

import asyncio
import concurrent.futures
import contextlib
import http
import http.client
import socket
import ssl
import urllib.parse
import weakref
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import requests

from penstock import errors
from penstock.analysis import text

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, safe to print, and the credentials that stood in its URI, which are not."""

    uri: str
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.uri


# not quoted: a part of it may be secret
_UNUSABLE = "the address of a server is unusable: write it as http://host:port or https://host/path"


def address(uri: str) -> Address:
    """Take a URI of http or https apart; query and fragment are dropped. Raises Misconfigured."""
    try:
        parts = urllib.parse.urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise errors.Misconfigured(_UNUSABLE) from None
    if parts.scheme not in {"http", "https"} or not host:
        raise errors.Misconfigured(_UNUSABLE)
    bracketed = f"[{host}]" if ":" in host else host
    bare = f"{parts.scheme}://{bracketed}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"
    unquote = urllib.parse.unquote
    return Address(
        bare,
        None if parts.username is None else unquote(parts.username),
        None if parts.password is None else unquote(parts.password),
    )


def status_line(status: int) -> str:
    """The status as people know it: 503 Service Unavailable."""
    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def clipped(foreign: str, length: int = 300) -> str:
    """Foreign text on one line, short enough for a condition."""
    return text.one_line(foreign, length)


def explain(error: BaseException) -> str:
    """The first link in the chain of causes that a person can do something about, in words without addresses."""
    chain = list(_chain(error))
    for kind, words in _KNOWN:
        if any(isinstance(link, kind) for link in chain):
            return words
    for link in chain:
        if isinstance(link, ssl.SSLCertVerificationError):
            return f"its TLS certificate is not trusted ({link.verify_message.rstrip('.')})"
        if isinstance(link, ssl.SSLError):
            return f"TLS failed ({link.reason or 'no reason given'})"
    for link in reversed(chain):
        if isinstance(link, OSError) and link.errno is not None and link.strerror:
            return link.strerror.lower()
    return f"the exchange failed ({type(chain[-1]).__name__})"


_KNOWN: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (requests.exceptions.ConnectTimeout, "no connection in time"),
    ((requests.exceptions.ReadTimeout, TimeoutError), "no answer in time"),
    (socket.gaierror, "its host name cannot be resolved"),
    (ConnectionRefusedError, "connection refused"),
    (http.client.BadStatusLine, "it closed the connection or does not speak HTTP"),
    ((ConnectionResetError, BrokenPipeError), "it closed the connection"),
    ((http.client.IncompleteRead, requests.exceptions.ChunkedEncodingError), "its answer ended too early"),
    (http.client.HTTPException, "it does not speak HTTP"),
)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, outermost first; urllib3 hands some on as arguments instead of causes."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        link = waiting.pop(0)
        if isinstance(link, BaseException) and id(link) not in seen:
            seen.add(id(link))
            yield link
            waiting += [link.__cause__ or link.__context__, getattr(link, "reason", None), *link.args]


def body(response: requests.Response, limit: int) -> bytes:
    """The body of a streamed response. Raises TooLong beyond `limit` bytes, and what requests raises."""
    read = bytearray()
    with contextlib.closing(response):
        for chunk in response.iter_content(16384):
            read += chunk
            if len(read) > limit:
                raise TooLong(limit)
    return bytes(read)


class TooLong(Exception):
    """An answer longer than anything sensible."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"its answer is longer than {limit} bytes")


class Threads:
    """A bounded pool in which no key holds more than `per_key` threads, also those whose callers gave up."""

    def __init__(self, name: str, threads: int, per_key: int) -> None:
        self._executor = concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._per_key = per_key
        self._slots: weakref.WeakValueDictionary[Hashable, asyncio.Semaphore] = weakref.WeakValueDictionary()

    async def run(self, key: Hashable, seconds: float, call: Callable[[], T]) -> T:
        """What `call` returns or raises in a thread.

        Raises TimeoutError after so many seconds, waiting for a thread included, and at once if closed.
        """
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = asyncio.Semaphore(self._per_key)
        loop = asyncio.get_running_loop()

        def release(_: concurrent.futures.Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is gone, and the slot with it
                loop.call_soon_threadsafe(slot.release)

        async with asyncio.timeout(seconds):
            await slot.acquire()
            try:
                future = self._executor.submit(call)
            except RuntimeError as error:
                slot.release()
                raise TimeoutError("closed") from error
            future.add_done_callback(release)
            return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Start nothing more; running calls end by their own time-outs."""
        self._executor.shutdown(wait=False, cancel_futures=True)
