"""Continuous traffic: so many requests a second, whatever comes back, over connections that stay open.

The rate does not depend on the answers (a slow server gets no pity), but a client that was starved itself does not
make up for it with a burst.
"""

import asyncio
import contextlib
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp

from dev.traffic import report
from dev.traffic.exchange import Exchange

TIMEOUT_SECONDS = 20.0
STARVED_SECONDS = 0.5


@dataclass(frozen=True)
class Target:
    """Where requests go: an address, and the host name by which the data plane knows the model."""

    url: str
    host: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def all_headers(self) -> dict[str, str]:
        """The headers of every request."""
        host = {"Host": self.host} if self.host is not None else {}
        return {"Content-Type": "application/json", **host, **self.headers}


@dataclass(frozen=True)
class Load:
    """What is sent, and how fast."""

    bodies: Sequence[bytes]
    per_second: float = 20.0
    connections: int = 8


class Traffic:
    """Requests under way. Exchanges are kept in the order in which they ended."""

    def __init__(self, session: aiohttp.ClientSession, target: Target, load: Load) -> None:
        self._session = session
        self._target = target
        self._per_second = load.per_second
        self._bodies: Iterator[bytes] = itertools.cycle(load.bodies)
        self._begun = time.monotonic()
        self._marker = uuid.uuid4().hex[:8]
        self._flying: set[asyncio.Task[None]] = set()
        self.exchanges: list[Exchange] = []

    @property
    def now(self) -> float:
        """Seconds since the traffic began."""
        return time.monotonic() - self._begun

    def summary(self, *, since: float = 0.0) -> report.Report:
        """What became of the requests sent since a moment (in seconds since the traffic began)."""
        return report.summarise(exchange for exchange in self.exchanges if exchange.sent_at >= since)

    def rates(self, window: float = 1.0) -> tuple[report.Rate, ...]:
        """Answers per second and version of the last seconds."""
        return report.rates(self.exchanges, self.now, window)

    def send_instead(self, bodies: Sequence[bytes]) -> None:
        """From now on send these bodies."""
        self._bodies = itertools.cycle(bodies)

    async def run(self) -> None:
        """Send until cancelled, then wait for the answers that are under way."""
        try:
            await self._send_on_time()
        finally:
            if self._flying:
                await asyncio.wait(self._flying)

    async def _send_on_time(self) -> None:
        due = time.monotonic()
        for number in itertools.count():
            late = time.monotonic() - due
            if late > STARVED_SECONDS:
                due += late
            await asyncio.sleep(max(0.0, -late))
            due += 1 / self._per_second
            task = asyncio.create_task(self._send(f"{self._marker}-{number}", next(self._bodies)))
            self._flying.add(task)
            task.add_done_callback(self._flying.discard)

    async def _send(self, request_id: str, body: bytes) -> None:
        self.exchanges.append(await exchange(self._session, self._target, body, request_id, self._begun))


async def exchange(
    session: aiohttp.ClientSession, target: Target, body: bytes, request_id: str, begun: float
) -> Exchange:
    """Send one request and say what became of it; raises nothing but cancellation."""
    sent_at = time.monotonic() - begun
    headers = {**target.all_headers(), "x-request-id": request_id}
    try:
        async with session.post(f"{target.url}/invocations", data=body, headers=headers) as response:
            content = await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        return Exchange(request_id, sent_at, time.monotonic() - begun, None, error=f"{type(error).__name__} {error}")
    version = response.headers.get("x-penstock-model-version", "")
    return Exchange(
        request_id=request_id,
        sent_at=sent_at,
        ended_at=time.monotonic() - begun,
        status=response.status,
        revision=response.headers.get("x-penstock-revision"),
        version=int(version) if version.isdecimal() else None,
        error="" if response.status == 200 else error_code(content),
    )


def error_code(content: bytes) -> str:
    """The `error_code` of an answer in MLflow's error form; what the answer says otherwise."""
    try:
        parsed = json.loads(content)
    except ValueError:
        return content.decode(errors="replace")[:80]
    return str(parsed.get("error_code", "")) if isinstance(parsed, dict) else ""


@contextlib.asynccontextmanager
async def flowing(target: Target, load: Load) -> AsyncIterator[Traffic]:
    """Traffic while the block runs; at its end the last answers are waited for."""
    connector = aiohttp.TCPConnector(limit=load.connections, keepalive_timeout=60)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        traffic = Traffic(session, target, load)
        task = asyncio.create_task(traffic.run())
        try:
            yield traffic
        finally:
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.result()
