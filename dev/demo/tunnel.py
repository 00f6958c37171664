"""A local port that leads to a Service.

MLflow answers only to host names that it knows, so that no web page can be tricked into talking to it. The address of
its Service is none of them; localhost is.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib import parse

CHUNK = 65536


@contextlib.asynccontextmanager
async def open_to(url: str) -> AsyncIterator[str]:
    """Yields an address on localhost that leads to `url` (http, with a port) while the block runs."""
    target = parse.urlsplit(url)
    joined: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_join(reader, writer, target.hostname, target.port))
        joined.add(task)
        task.add_done_callback(joined.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in joined:
            task.cancel()
        await asyncio.gather(*joined, return_exceptions=True)


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str | None, port: int | None) -> None:
    try:
        far_reader, far_writer = await asyncio.open_connection(host, port)
    except OSError:
        writer.close()
        return
    try:
        await asyncio.gather(_pass_on(reader, far_writer), _pass_on(far_reader, writer))
    finally:
        writer.close()
        far_writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end, and close the other side with it."""
    with contextlib.suppress(OSError):
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    writer.close()
