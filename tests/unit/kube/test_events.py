"""Events are told once and counted, and nothing that goes wrong with them stops a pass."""

import datetime
import json
from typing import Any

import prometheus_client
import pytest
from aiohttp import web
from penstock.kube import client, events

from tests.unit.kube.fakeapi import FakeApi, web_answer

NOW = datetime.datetime(2025, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
MDEP = {
    "apiVersion": "penstock.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"namespace": "ml", "name": "fraud", "uid": "u1", "resourceVersion": "7"},
}

Told = tuple[str, str, str, float]
"""kind, reason, message, seconds after NOW"""


async def recorded(*told: Told, answers: tuple[web.Response, ...] = ()) -> tuple[list[tuple[str, Any]], float]:
    """What is written, and how many failed."""
    api = FakeApi()
    api.answers = list(answers) or [web_answer(201) for _ in told]
    registry = prometheus_client.CollectorRegistry()
    async with api.served() as configuration, client.connect(configuration) as cluster:
        recorder = events.Recorder(cluster, instance="pod-1", metrics=events.Metrics(registry))
        for kind, reason, message, seconds in told:
            await recorder.emit(MDEP, kind, reason, message, NOW + datetime.timedelta(seconds=seconds))
    failed = registry.get_sample_value("penstock_events_failed_total")
    assert failed is not None
    return [(method, json.loads(body)) for method, _, _, body in api.requests], failed


PROMOTED = ("Normal", "Promoted", "version 8 is stable")


async def test_an_event_says_what_kubectl_describe_shows() -> None:
    written, _ = await recorded((*PROMOTED, 0))
    body = written[0][1]
    assert body.pop("metadata")["name"].startswith("fraud.")
    assert written == [
        (
            "POST",
            {
                "apiVersion": "v1",
                "kind": "Event",
                "involvedObject": {
                    "apiVersion": "penstock.dev/v1alpha1",
                    "kind": "ModelDeployment",
                    "namespace": "ml",
                    "name": "fraud",
                    "uid": "u1",
                    "resourceVersion": "7",
                },
                "type": "Normal",
                "reason": "Promoted",
                "message": "version 8 is stable",
                "count": 1,
                "firstTimestamp": "2025-01-02T03:04:05Z",
                "lastTimestamp": "2025-01-02T03:04:05Z",
                "source": {"component": "penstock"},
                "reportingComponent": "penstock.dev/operator",
                "reportingInstance": "pod-1",
            },
        )
    ]


@pytest.mark.parametrize(
    ("told", "written"),
    [
        pytest.param([(*PROMOTED, 0), (*PROMOTED, 1)], ["POST"], id="a repetition is counted"),
        pytest.param(
            [(*PROMOTED, 0), (*PROMOTED, 30), (*PROMOTED, 60)],
            ["POST", {"count": 3, "lastTimestamp": "2025-01-02T03:05:05Z"}],
            id="the count is written once a minute",
        ),
        pytest.param([(*PROMOTED, 0), (*PROMOTED, 601)], ["POST", "POST"], id="after a while it is a new event"),
        pytest.param(
            [(*PROMOTED, 0), ("Normal", "Promoted", "version 9 is stable", 1)],
            ["POST", "POST"],
            id="another message is another event",
        ),
        pytest.param(
            [(*PROMOTED, 0), ("Warning", *PROMOTED[1:], 1)], ["POST", "POST"], id="another kind is another event"
        ),
    ],
)
async def test_repetitions_are_merged(told: list[Told], written: list[Any]) -> None:
    requests, _ = await recorded(*told)
    assert [body if method == "PATCH" else method for method, body in requests] == written


async def test_an_event_that_has_expired_is_written_anew() -> None:
    told = ((*PROMOTED, 0), (*PROMOTED, 60))
    requests, failed = await recorded(*told, answers=(web_answer(201), web_answer(404), web_answer(201)))
    assert [method for method, _ in requests] == ["POST", "PATCH", "POST"]
    assert failed == 0


async def test_failures_are_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    told = [("Warning", "Bad", f"message {number}", number) for number in range(3)]
    _, failed = await recorded(*told, answers=tuple(web_answer(403, "not allowed") for _ in told))
    assert failed == 3
    assert caplog.text.count("not allowed") == 1


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param("short", "short", id="a short one stays"),
        pytest.param("x" * 1024, "x" * 1024, id="one of the full length stays"),
        pytest.param("x" * 1025, "x" * 1021 + "…", id="a longer one is cut"),
        pytest.param("ä" * 1000, "ä" * 510 + "…", id="between characters"),
    ],
)
def test_a_message_is_cut_to_what_the_api_server_takes(message: str, expected: str) -> None:
    assert events.cut(message) == expected
