"""The tunnel hands on bytes both ways, and says so when there is nobody."""

import aiohttp
import pytest
from aiohttp import test_utils, web

from dev.demo import tunnel


async def test_a_tunnel_leads_to_its_service() -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.headers['Host'].partition(':')[0]} {len(await request.read())}")

    application = web.Application()
    application.router.add_post("/", echo)
    async with (
        test_utils.TestServer(application) as server,
        tunnel.open_to(str(server.make_url("/"))) as url,
        aiohttp.ClientSession() as session,
    ):
        answers = [await (await session.post(url, data=b"x" * size)).text() for size in (0, 3, 300_000)]
    assert answers == ["127.0.0.1 0", "127.0.0.1 3", "127.0.0.1 300000"]


async def test_a_tunnel_to_nobody_is_closed() -> None:
    async with tunnel.open_to("http://127.0.0.1:9") as url, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(url)
