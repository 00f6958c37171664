"""Asks a candidate's pod before anybody else does: straight to the pod, past the data plane."""

import asyncio

import aiohttp

from penstock import ports
from penstock.api.v1alpha1 import modeldeployment

TRIES = 3
EXCERPT = 200
LARGEST = 16 << 20
"""Bytes of an example that are sent back; the runtime takes no more by itself."""


class Smoke:
    """Runs smoke tests with a client session of its own."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def run(self, endpoint: ports.Endpoint, test: modeldeployment.SmokeTestStep) -> ports.SmokeAnswer:
        """Send the requests of the test, or the model's own input example; the first wrong answer ends it."""
        address = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
        base = f"http://{address}:{endpoint.port}"
        limit = aiohttp.ClientTimeout(total=test.timeout_seconds)
        requests = list(test.requests)
        try:
            if not requests:
                example = await self._example(base, limit)
                if example is None:
                    return ports.SmokeAnswer(
                        True, "the model has no input example, so readiness is all that was tested"
                    )
                # not checked like a person's: an example may be longer than what fits into a spec
                requests = [modeldeployment.SmokeRequest.model_construct(body=example)]
            for number, request in enumerate(requests, start=1):
                problem = await self._ask(base, limit, request)
                if problem is not None:
                    return ports.SmokeAnswer(False, f"request {number} of {len(requests)} {problem}")
        except TimeoutError:
            return ports.SmokeAnswer(
                False, f"no answer within {test.timeout_seconds} s; raise timeoutSeconds if the model is slow"
            )
        except aiohttp.ClientError as error:
            return ports.SmokeAnswer(False, f"the pod does not answer: {error}")
        what = "request was" if len(requests) == 1 else "requests were"
        return ports.SmokeAnswer(True, f"{len(requests)} smoke {what} answered as expected")

    async def _example(self, base: str, limit: aiohttp.ClientTimeout) -> str | None:
        # never elsewhere: a pod is foreign, and a redirect would be followed from the place of the operator
        async with self._session.get(f"{base}/example", timeout=limit, allow_redirects=False) as response:
            if response.status == 404:
                return None
            if response.status != 200:
                raise aiohttp.ClientPayloadError(f"GET /example is answered {response.status} instead of 200 or 404")
            example = await response.content.read(LARGEST + 1)
            while not response.content.at_eof() and len(example) <= LARGEST:
                example += await response.content.read(LARGEST + 1 - len(example))
            if len(example) > LARGEST:
                raise aiohttp.ClientPayloadError(
                    f"its example is larger than {LARGEST >> 20} MiB: set requests instead"
                )
            return example.decode(errors="replace")

    async def _ask(self, base: str, limit: aiohttp.ClientTimeout, request: modeldeployment.SmokeRequest) -> str | None:
        for attempt in range(1, TRIES + 1):
            try:
                async with self._session.post(
                    f"{base}/invocations",
                    data=request.body.encode(),
                    headers={"content-type": request.content_type},
                    timeout=limit,
                    allow_redirects=False,
                ) as response:
                    text = (await response.content.read(4 * EXCERPT)).decode(errors="replace")[:EXCERPT]
                    if response.status == request.expect_status:
                        return None
                    return f"was answered {response.status} instead of {request.expect_status}: {text}"
            except aiohttp.ClientConnectionError:
                if attempt == TRIES:
                    raise
                await asyncio.sleep(attempt)
        return None
