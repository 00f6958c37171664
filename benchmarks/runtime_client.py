"""A closed-loop HTTP client that is cheaper than any Python server: raw protocols, one request in flight a connection.

Run as a process of its own, pinned to another core than the server; prints one JSON object.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import cast

import uvloop


class Connection(asyncio.Protocol):
    """Sends the same request again as soon as its answer is complete; keeps the latencies."""

    def __init__(self, request: bytes, until: float, latencies: list[float], errors: list[str]) -> None:
        self._request = request
        self._until = until
        self._latencies = latencies
        self._errors = errors
        self._buffer = b""
        self._sent = 0.0
        self._missing = -1
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's own type
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            self._buffer += data
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            if not head.startswith(b"http/1.1 200"):
                self._errors.append(self._buffer.decode("utf-8", "replace")[:300])
            start = head.index(b"content-length:") + 15
            length = int(head[start:].split(b"\r\n", 1)[0])
            self._missing = length - (len(self._buffer) - end - 4)
        else:
            self._missing -= len(data)
        if self._missing <= 0:
            now = time.perf_counter()
            self._latencies.append(now - self._sent)
            self._buffer, self._missing = b"", -1
            if now < self._until:
                self._send()
            else:
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._errors.append(repr(exc))
        if not self.closed.done():
            self.closed.set_result(None)


async def measure(port: int, body: bytes, connections: int, seconds: float) -> dict[str, float | int | str]:
    """Throughput in requests a second and latencies in seconds, of one run."""
    head = (
        f"POST /invocations HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    latencies: list[float] = []
    errors: list[str] = []
    loop = asyncio.get_running_loop()
    started, cpu = time.perf_counter(), time.process_time()
    opened = [
        await loop.create_connection(
            lambda: Connection(request, started + seconds, latencies, errors), "127.0.0.1", port
        )
        for _ in range(connections)
    ]
    async with asyncio.timeout(seconds + 60):
        await asyncio.gather(*(connection.closed for _, connection in opened))
    took = time.perf_counter() - started
    latencies.sort()
    return {
        "connections": connections,
        "requests": len(latencies),
        "errors": len(errors),
        "error": errors[0] if errors else "",
        "throughput": len(latencies) / took,
        "p50": latencies[len(latencies) // 2],
        "p99": latencies[int(len(latencies) * 0.99)],
        "client_cpu": (time.process_time() - cpu) / took,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("body", type=Path)
    parser.add_argument("connections", type=int)
    parser.add_argument("seconds", type=float)
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(measure(given.port, given.body.read_bytes(), given.connections, given.seconds))))


if __name__ == "__main__":
    main()
