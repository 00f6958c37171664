"""Smoke tests against pods that are not what they should be."""

from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import test_utils, web
from penstock import ports
from penstock.adapters import smoke
from penstock.api.v1alpha1.modeldeployment import SmokeRequest, SmokeTestStep

Handler = Callable[[web.Request], Awaitable[web.Response]]
ELSEWHERE = web.AppKey("elsewhere", str)


@pytest.fixture(name="asked")
async def _asked() -> AsyncIterator[tuple[Callable[..., Awaitable[ports.SmokeAnswer]], list[str]]]:
    """Runs a test against a pod that answers as its handlers do; and what somebody else was asked meanwhile."""
    others: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        others.append(f"{request.method} {request.path}")
        return web.Response(text="the secret of somebody else")

    other = test_utils.TestServer(web.Application())
    other.app.router.add_route("*", "/{anything:.*}", elsewhere)
    await other.start_server()

    async def run(example: Handler, answer: Handler, test: SmokeTestStep | None = None) -> ports.SmokeAnswer:
        application = web.Application()
        application[ELSEWHERE] = str(other.make_url("/metadata"))
        application.router.add_get("/example", example)
        application.router.add_post("/invocations", answer)
        async with test_utils.TestServer(application) as pod, aiohttp.ClientSession() as session:
            return await smoke.Smoke(session).run(
                ports.Endpoint("127.0.0.1", pod.port or 0), test or SmokeTestStep(timeout_seconds=5)
            )

    yield run, others
    await other.close()


async def example(_: web.Request) -> web.Response:
    return web.Response(text='{"inputs": [1]}')


async def echo(request: web.Request) -> web.Response:
    return web.Response(text=await request.text())


async def nothing(_: web.Request) -> web.Response:
    return web.Response(status=404)


async def broken(_: web.Request) -> web.Response:
    return web.Response(status=500, text="x" * 100_000)


async def redirect(request: web.Request) -> web.Response:
    raise web.HTTPTemporaryRedirect(request.app[ELSEWHERE])


async def endless(_: web.Request) -> web.Response:
    return web.Response(body=b"1" * (smoke.LARGEST + 1))


async def large(_: web.Request) -> web.Response:
    return web.Response(text='{"inputs": [' + "1," * 100_000 + "1]}")


CASES = {
    "its example is answered": (example, echo, True, "1 smoke request was answered as expected"),
    "an example too large for a spec": (large, echo, True, "1 smoke request was answered as expected"),
    "no example": (nothing, echo, True, "no input example"),
    "an error is quoted, cut off": (example, broken, False, "was answered 500 instead of 200"),
    "an example that lies elsewhere": (redirect, echo, False, "GET /example is answered 307 instead of 200 or 404"),
    "an answer that lies elsewhere": (example, redirect, False, "was answered 307 instead of 200"),
    "an example without end": (endless, echo, False, "larger than 16 MiB: set requests instead"),
}


@pytest.mark.parametrize(("given", "answer", "passed", "text"), CASES.values(), ids=CASES)
async def test_a_pod_is_asked_and_nobody_else(
    asked: tuple[Callable[..., Awaitable[ports.SmokeAnswer]], list[str]],
    given: Handler,
    answer: Handler,
    passed: bool,
    text: str,
) -> None:
    run, others = asked
    found = await run(given, answer)
    assert (found.passed, text in found.message) == (passed, True), found.message
    assert len(found.message) < 400
    assert others == []


async def test_a_person_may_expect_a_redirect(
    asked: tuple[Callable[..., Awaitable[ports.SmokeAnswer]], list[str]],
) -> None:
    run, others = asked
    test = SmokeTestStep(requests=[SmokeRequest(body="{}", expect_status=307)], timeout_seconds=5)
    assert (await run(nothing, redirect, test)).passed
    assert others == []
