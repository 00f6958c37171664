"""Real servers as processes, and the worst that can stand at the other end of a connection."""

import asyncio
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Process:
    """A server in a process group of its own, its output in a file."""

    url: str
    popen: subprocess.Popen[bytes]
    log: pathlib.Path

    def wait_until_healthy(self, path: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not _answers(self.url + path):
            if self.popen.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.url} is not up: {self.log.read_text()[-3000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def start(url: str, command: Sequence[str], log: pathlib.Path, environment: Mapping[str, str] | None = None) -> Process:
    """Start a server; whoever starts it kills it."""
    with log.open("ab") as output:
        popen = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Process(url, popen, log)


@contextlib.contextmanager
def killed_at_the_end(process: Process) -> Iterator[Process]:
    try:
        yield process
    finally:
        process.kill()


@dataclass
class Peer:
    """One end of TCP connections, in this process: what came in, and how many requests."""

    port: int
    received: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> int:
        """Requests received, told by their first bytes."""
        return sum(data.startswith((b"GET ", b"POST ", b"PATCH ")) for data in self.received)


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter, Peer], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(handler: Handler, port: int = 0) -> AsyncIterator[Peer]:
    """A TCP server for the length of a test; at its end every connection is cut."""
    peer = Peer(port)
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await handler(reader, writer, peer)
        except asyncio.CancelledError:
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tuple(tasks), return_exceptions=True)


def answering(*answers: bytes) -> contextlib.AbstractAsyncContextManager[Peer]:
    """A server that reads a request, says these bytes (the last ones for ever after) and closes."""
    waiting = list(answers)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer) -> None:
        peer.received.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(waiting.pop(0) if len(waiting) > 1 else waiting[0])
        await writer.drain()

    return listening(handler)


def silent() -> contextlib.AbstractAsyncContextManager[Peer]:
    """A server that accepts and never says a word."""

    async def handler(reader: asyncio.StreamReader, _: asyncio.StreamWriter, peer: Peer) -> None:
        while data := await reader.read(65536):
            peer.received.append(data)
        await asyncio.Event().wait()

    return listening(handler)


def relaying(target: str, port: int = 0) -> contextlib.AbstractAsyncContextManager[Peer]:
    """A wire to a real server, which counts the requests and is cut at the end of its context."""
    host, _, target_port = target.removeprefix("http://").partition(":")

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(host, int(target_port))

        async def forth() -> None:
            while data := await reader.read(65536):
                peer.received.append(data)
                upstream_writer.write(data)
                await upstream_writer.drain()

        async def back() -> None:
            while data := await upstream_reader.read(65536):
                writer.write(data)
                await writer.drain()

        both = asyncio.gather(forth(), back())
        try:
            await both
        finally:
            both.cancel()
            upstream_writer.close()

    return listening(handler, port)


def http_answer(status: str, body: bytes | str = b"", kind: str = "application/json", *headers: str) -> bytes:
    """The bytes of an HTTP answer."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(content)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + content


async def until(what: Callable[[], Awaitable[T | None]], seconds: float = 20) -> T:
    """Ask again and again until there is an answer."""
    deadline = time.monotonic() + seconds
    while True:
        if (answer := await what()) is not None:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {seconds} s")
        await asyncio.sleep(0.05)
