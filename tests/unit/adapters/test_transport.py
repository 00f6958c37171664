"""Addresses without secrets, failures in words, and threads that cannot be used up by one server."""

import asyncio
import threading

import pytest
import requests
from penstock import errors
from penstock.adapters import transport
from penstock.adapters.transport import Address

ADDRESSES = {
    "plain": ("http://mlflow:5000", Address("http://mlflow:5000")),
    "a trailing slash goes": ("https://example.org/mlflow/", Address("https://example.org/mlflow")),
    "credentials are taken out": (
        "https://ann:s%40crét@example.org:8443/x",
        Address("https://example.org:8443/x", "ann", "s@crét"),
    ),
    "a query, which may hold a token, goes": ("http://h/?token=x#y", Address("http://h")),
    "IPv6 keeps its brackets": ("http://[::1]:80", Address("http://[::1]:80")),
}


@pytest.mark.parametrize(("uri", "expected"), ADDRESSES.values(), ids=ADDRESSES.keys())
def test_address(uri: str, expected: Address) -> None:
    assert transport.address(uri) == expected


@pytest.mark.parametrize("uri", ["", "mlflow:5000", "sqlite:///x.db", "http://", "http://h:secret", "http://[::1"])
def test_what_is_no_address_is_refused_without_quoting_it(uri: str) -> None:
    with pytest.raises(errors.Misconfigured) as raised:
        transport.address(uri)
    assert raised.value.message == (
        "the address of a server is unusable: write it as http://host:port or https://host/path"
    )


def test_secrets_of_an_address_are_not_printed() -> None:
    assert "secret" not in f"{transport.address('http://secret:secret@h')!r} {transport.address('http://secret:s@h')}"


def test_foreign_text_is_clipped_to_one_line() -> None:
    assert transport.clipped("a\n  b" + "c" * 20, 10) == "a bcccccc…"


EXPLAINED = {
    "a refused connection": (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
    "no connection in time": (requests.exceptions.ConnectTimeout(), "no connection in time"),
    "no answer in time": (requests.exceptions.ReadTimeout(), "no answer in time"),
    "an unreachable network": (OSError(101, "Network is unreachable"), "network is unreachable"),
    "something else": (ValueError("secret"), "the exchange failed (ValueError)"),
}


@pytest.mark.parametrize(("error", "expected"), EXPLAINED.values(), ids=EXPLAINED.keys())
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_explain_finds_the_cause_however_deep(error: Exception, expected: str, depth: int) -> None:
    link = error
    for _ in range(depth):
        outer = RuntimeError("http://user:secret@host")
        outer.__cause__ = link
        link = outer
    assert transport.explain(link) == expected


async def test_a_call_that_takes_too_long_is_given_up() -> None:
    threads, end = transport.Threads("test", 2, 1), threading.Event()
    with pytest.raises(TimeoutError):
        await threads.run("a", 0.05, end.wait)
    end.set()
    threads.close()


async def test_a_server_that_hangs_keeps_no_threads_from_others() -> None:
    threads, end = transport.Threads("test", 3, 2), threading.Event()
    hung = [asyncio.create_task(threads.run("hangs", 0.05, end.wait)) for _ in range(6)]
    assert await threads.run("works", 5, lambda: 1) == 1
    assert [type(one) for one in await asyncio.gather(*hung, return_exceptions=True)] == [TimeoutError] * 6
    assert await threads.run("works", 5, lambda: 2) == 2
    with pytest.raises(TimeoutError):
        await threads.run("hangs", 0.05, lambda: 3)  # its two threads are still waiting
    end.set()
    assert await threads.run("hangs", 5, lambda: 4) == 4
    threads.close()


async def test_what_a_call_raises_reaches_its_caller() -> None:
    threads = transport.Threads("test", 1, 1)

    def broken() -> None:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        await threads.run("a", 5, broken)
    threads.close()


async def test_a_closed_pool_gives_up_at_once() -> None:
    threads = transport.Threads("test", 1, 1)
    threads.close()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await threads.run("a", 5, lambda: 1)
