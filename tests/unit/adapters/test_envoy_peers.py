"""Two operators answer Envoys: the one that stands by carries the polls to the leader, or answers them itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import orjson
import pytest
from aiohttp import web
from penstock.adapters import envoy_discovery, envoy_peers
from penstock.api.v1alpha1.modeldeployment_status import Split
from penstock.ports import Backend, Endpoint, Key, Routed

KEY = Key("ml", "fraud")
STABLE = Split(stable="r1")
NOWHERE = "http://127.0.0.1:9"


def want(split: Split = STABLE) -> Routed:
    return Routed(KEY, (), split, {"r1": Backend("r1", 1, (Endpoint("10.0.0.1", 8080),))})


@dataclass
class Told:
    """Who leads, as a test says."""

    leads: bool = False
    address: str | None = None
    knows: bool = True

    def leading(self) -> bool:
        return self.leads

    def leader(self) -> str | None:
        return self.address

    def informed(self) -> bool:
        return self.knows


@dataclass
class Operator:
    """One of the operators, and polls to it."""

    standing: Told
    envoy: envoy_discovery.Envoy
    url: str
    session: aiohttp.ClientSession

    async def poll(self, kind: str, version: str = "", *, forwarded: bool = False) -> tuple[int, str]:
        """Status and version of the answer."""
        message = {"node": {"id": "envoy-0", "cluster": "penstock"}, "version_info": version}
        headers = {envoy_peers.FORWARDED: "true"} if forwarded else {}
        url = f"{self.url}/v3/discovery:{kind}"
        async with self.session.post(url, data=orjson.dumps(message), headers=headers) as answer:
            body = await answer.read()
            return answer.status, orjson.loads(body)["version_info"] if answer.status == 200 else ""

    async def catch_up(self) -> None:
        """Be an Envoy that polls here until it has everything."""
        versions = {"clusters": "", "routes": ""}
        for kind in ("clusters", "clusters", "routes", "routes"):
            status, version = await self.poll(kind, versions[kind])
            versions[kind] = version if status == 200 else versions[kind]


@contextlib.asynccontextmanager
async def operating(standing: Told) -> AsyncIterator[Operator]:
    async with aiohttp.ClientSession() as session:
        envoy = envoy_discovery.Envoy(standing=standing, session=session, settle_seconds=0.0, hold_seconds=0.05)
        envoy.publish(want())
        envoy.open()
        runner = web.AppRunner(envoy.application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield Operator(standing, envoy, f"http://127.0.0.1:{runner.addresses[0][1]}", session)
        finally:
            await runner.cleanup()


async def test_what_an_envoy_says_to_the_one_that_stands_by_reaches_the_leader() -> None:
    async with operating(Told(leads=True)) as leader, operating(Told(address=leader.url)) as other:
        await other.catch_up()

        assert leader.envoy.applied(KEY) == STABLE
        assert [node.node for node in leader.envoy.stats()] == ["envoy-0"]
        assert other.envoy.stats() == []


@pytest.mark.parametrize(
    "address",
    [pytest.param(None, id="nobody leads"), pytest.param(NOWHERE, id="the leader cannot be reached")],
)
async def test_without_a_leader_that_answers_it_answers_itself_and_the_same(address: str | None) -> None:
    async with operating(Told(leads=True)) as leader, operating(Told(address=address)) as other:
        assert await other.poll("clusters") == await leader.poll("clusters")


async def test_a_poll_is_carried_on_once_at_most() -> None:
    async with operating(Told()) as first, operating(Told(address=first.url)) as second:
        first.standing.address = second.url

        assert (await second.poll("clusters"))[0] == 200
        assert await second.poll("clusters", forwarded=True) == (421, "")


async def test_a_leader_that_hangs_is_waited_for_until_another_leads() -> None:
    async def hang(_: web.Request) -> web.Response:
        reached.set_result(None)
        return await never

    never: asyncio.Future[web.Response] = asyncio.get_running_loop().create_future()
    reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    application = web.Application()
    application.router.add_post("/{path:.*}", hang)
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with operating(Told(address=url)) as other:
        polling = asyncio.create_task(other.poll("clusters"))
        await reached
        other.standing.leads = True
        other.envoy.begin_anew()

        assert (await asyncio.wait_for(polling, 5))[0] == 200
    await runner.cleanup()


async def test_who_cannot_know_of_a_new_leader_sends_an_envoy_that_has_something_elsewhere() -> None:
    async with operating(Told(knows=False)) as other:
        new, version = await other.poll("clusters")

        assert (new, await other.poll("clusters", version)) == (200, (503, ""))


async def test_a_new_leader_waits_for_the_envoys_that_the_last_one_heard_of() -> None:
    async with operating(Told(leads=True)) as leader:
        await leader.catch_up()
        assert leader.envoy.heard_of() == ["envoy-0"]

        leader.envoy.begin_anew(["envoy-0", "envoy-1"])

        assert leader.envoy.heard_of() == ["envoy-0", "envoy-1"]
        await leader.catch_up()
        assert leader.envoy.applied(KEY) is None
