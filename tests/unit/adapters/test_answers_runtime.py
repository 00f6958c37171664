"""The operator's reading of answers against the model server's own pages, over HTTP: both sides of one protocol."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import aiohttp
import uvicorn
from penstock import ports
from penstock.adapters import answers
from penstock.analysis import measurement, scores
from penstock.analysis.agreement import Agreement
from penstock.analysis.scores import Scores
from penstock.api.v1alpha1 import modeldeployment
from penstock_runtime import ledger, pages
from penstock_runtime.answers import Answer, Outcome

SUBJECT = ports.Subject("ml", "fraud", "127.0.0.251", "127.0.0.252")
SHADOW = modeldeployment.Metric.model_validate({"name": "answers", "type": "ShadowDisagreement", "max": 0.05})
SCORE = modeldeployment.Metric.model_validate(
    {"name": "score", "type": "Performance", "scorer": "Accuracy", "min": 0.9}
)


@contextlib.asynccontextmanager
async def served(kept: ledger.Ledger, address: str, port: int) -> AsyncIterator[None]:
    config = uvicorn.Config(pages.Pages(kept), host=address, port=port, lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done()
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        await task


def keep(kept: ledger.Ledger, request: str, body: bytes, outcome: Outcome = Outcome.SUCCESS) -> None:
    kept.keep([(b"x-request-id", request.encode())], Answer(200, body, outcome))


async def test_answers_and_truths_of_the_model_server_are_read_and_joined() -> None:
    with socket.socket() as probe:
        probe.bind((SUBJECT.candidate, 0))
        port = probe.getsockname()[1]
    new, old = ledger.Ledger(4096, 100), ledger.Ledger(600, 100)
    for number in range(1100):
        keep(new, f"r{number}", b'{"predictions": [%d]}' % number)
        keep(old, f"r{number}", b'{"predictions": [%d]}' % (number - number % 2))
    keep(new, "failed", b'{"error_code": "X"}', Outcome.MODEL_ERROR)
    keep(old, "failed", b'{"predictions": [1]}')
    keep(new, "nan", b'{"predictions": [NaN]}')
    keep(old, "nan", b'{"predictions": [NaN]}')
    keep(new, "large", b'{"predictions": [%s1]}' % (b"1," * 4000))
    keep(old, "large", b'{"predictions": [1]}')
    old.learn([(b"r700", b"700"), (b"r701", b"701"), (b"nobody", b"1")])

    def endpoints(namespace: str, deployment: str, revision: str) -> list[ports.Endpoint]:
        return [ports.Endpoint(revision, 8080)]

    async with (
        served(new, SUBJECT.candidate, port),
        served(old, str(SUBJECT.stable), port),
        aiohttp.ClientSession() as session,
    ):
        adapter = answers.Answers(session, endpoints, port=port)
        found = await adapter.measure(SHADOW, SUBJECT, 60)
        scored = await adapter.measure(SCORE, SUBJECT, 60)
        for number in range(700):
            keep(old, f"later-{number}", b'{"predictions": [1]}')
        later = await adapter.measure(SHADOW, SUBJECT, 60)
    assert isinstance(found, measurement.Compared)
    assert isinstance(found.evidence, Agreement)
    seen = found.evidence
    assert (seen.joined, seen.disagreed, seen.candidate_failed, seen.oversized, seen.lost) == (599, 300, 1, 1, 0)
    assert isinstance(later, measurement.Compared)
    assert isinstance(later.evidence, Agreement)
    assert later.evidence.lost == 100
    assert isinstance(scored, Scores)
    assert (scores.value(scored), scores.stable_value(scored)) == ((1.0, 2), (0.5, 2))
