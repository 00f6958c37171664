"""What Envoy costs a request, and how fast a change of a split reaches callers; all in one run on one machine.

Run from the root of the checkout: `python -m benchmarks.router_latency`. Direct and routed requests take turns, so that
a busy machine slows both alike. Writes benchmarks/results/router_latency.json.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import pathlib
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from typing import Any

from penstock.api.v1alpha1.modeldeployment_status import Split
from penstock.ports import Backend, Endpoint, Key

from tests.adapters import envoy_harness

RESULTS = pathlib.Path(__file__).parent / "results" / "router_latency.json"
CONNECTIONS = (1, 8, 64)
BODY = b'{"predictions": [0.5]}'
REQUEST = b"POST /invocations HTTP/1.1\r\nHost: fraud.ml\r\nContent-Length: 24\r\n\r\n" + b'{"inputs": [[1, 2, 3]]} '
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


class Responder(asyncio.Protocol):
    """The cheapest model there is: answers every request with the same bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        _, found, body = self.buffer.partition(b"\r\n\r\n")
        if found and len(body) >= 24:
            self.buffer = b""
            self.transport.write(ANSWER)


def upstream(port: Connection) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Responder, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """One request; the head of the answer."""
    writer.write(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(len(BODY))
    return head


async def load(port: int, connections: int, seconds: float) -> list[float]:
    """Seconds of every request of so many connections in a closed loop."""
    until = time.perf_counter() + seconds
    taken: list[float] = []

    async def caller() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.perf_counter()) < until:
            await ask(reader, writer)
            taken.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(caller() for _ in range(connections)))
    return taken


def quantiles(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": cuts[49], "p99": cuts[98]}


async def latency(direct: int, routed: int, rounds: int, seconds: float) -> dict[str, Any]:
    """By connections: quantiles and throughput of each way, as the medians of the rounds."""
    results: dict[str, Any] = {}
    for connections in CONNECTIONS:
        measured: dict[str, list[dict[str, float]]] = {"direct": [], "envoy": []}
        for _ in range(rounds):
            for way, port in (("direct", direct), ("envoy", routed)):
                taken = await load(port, connections, seconds)
                measured[way].append({**quantiles(taken), "throughput": len(taken) / seconds})
        results[str(connections)] = {
            way: {name: statistics.median(each[name] for each in found) for name in found[0]}
            for way, found in measured.items()
        }
    return results


async def changes(plane: envoy_harness.Plane, endpoint: Endpoint, count: int, *, new: bool) -> dict[str, Any]:
    """Seconds from `publish` to the first answer that shows the change, and to `applied`.

    new: every change brings a revision that Envoy has not heard of, else traffic moves between two that it knows.
    """
    both = {name: Backend(name, 1, (endpoint,)) for name in ("aaa", "bbb")}
    reader, writer = await asyncio.open_connection("127.0.0.1", plane.instance.http_port)
    seen, applied = [], []
    for number in range(count):
        target = f"r{number}" if new else ("bbb" if number % 2 == 0 else "aaa")
        backends = [Backend(target, 1, (endpoint,))] if new else list(both.values())
        await envoy_harness.until(lambda: plane.envoy.stats()[0].current, 60)
        await asyncio.sleep(0.15)  # until Envoy's polls are held again: changes come out of the blue
        began = time.perf_counter()
        plane.publish(Split(stable=target), *backends)
        mark = f"x-penstock-revision: {target}\r\n".encode()
        while mark not in await ask(reader, writer):
            pass
        seen.append(time.perf_counter() - began)
        await plane.applied()
        applied.append(time.perf_counter() - began)
    writer.close()
    return {"changes": count, "seen": quantiles(seen), "applied": quantiles(applied)}


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=upstream, args=(theirs,), daemon=True)
    process.start()
    port = ours.recv()
    endpoint = Endpoint("127.0.0.1", port)
    with tempfile.TemporaryDirectory() as folder:
        async with envoy_harness.plane(pathlib.Path(folder)) as plane:
            plane.publish(Split(stable="aaa"), Backend("aaa", 1, (endpoint,)))
            await plane.applied()
            result: dict[str, Any] = {
                "conditions": {"cores": os.cpu_count(), "load_average": os.getloadavg()[0], **vars(arguments)},
                "latency": await latency(port, plane.instance.http_port, arguments.rounds, arguments.seconds),
                "change": {},
            }
            for others in (0, arguments.others):
                for number in range(others):
                    name = f"model-{number}"
                    plane.publish(Split(stable="aaa"), Backend("aaa", 1, (endpoint,)), key=Key("others", name))
                await envoy_harness.until(lambda: plane.envoy.stats()[0].current, 60)
                result["change"][str(others)] = {
                    "split": await changes(plane, endpoint, arguments.changes, new=False),
                    "new revision": await changes(plane, endpoint, arguments.changes, new=True),
                }
    process.terminate()
    return result


def show(result: dict[str, Any]) -> None:
    print(f"{'connections':>12} {'':8} {'p50 ms':>8} {'p99 ms':>8} {'req/s':>8}")
    for connections, ways in result["latency"].items():
        for way, found in ways.items():
            figures = f"{found['p50'] * 1e3:8.2f} {found['p99'] * 1e3:8.2f} {found['throughput']:8.0f}"
            print(f"{connections:>12} {way:8} {figures}")
    print()
    print(f"{'others':>12} {'change':14} {'seen p50':>9} {'p99 ms':>8} {'applied p50':>12} {'p99 ms':>8}")
    for others, kinds in result["change"].items():
        for kind, found in kinds.items():
            seen, applied = found["seen"], found["applied"]
            figures = f"{seen['p50'] * 1e3:9.1f} {seen['p99'] * 1e3:8.1f}"
            figures += f" {applied['p50'] * 1e3:12.1f} {applied['p99'] * 1e3:8.1f}"
            print(f"{others:>12} {kind:14} {figures}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one round")
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--others", type=int, default=1000, help="other ModelDeployments in the data plane")
    result = asyncio.run(run(parser.parse_args()))
    show(result)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
