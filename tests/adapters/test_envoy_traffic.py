"""What callers and models see of a real Envoy that carries out a split."""

import asyncio
import collections
import pathlib
from collections.abc import AsyncIterator

import pytest
from penstock.adapters import envoy_snapshot
from penstock.api.v1alpha1.modeldeployment_status import Split
from penstock.ports import Backend, Endpoint, Key

from tests.adapters import envoy_harness
from tests.adapters.envoy_harness import KEY, Model, Plane, backend, until

pytestmark = pytest.mark.adapters


@pytest.fixture
async def plane(tmp_path: pathlib.Path) -> AsyncIterator[Plane]:
    async with envoy_harness.plane(tmp_path, envoy_snapshot.Settings(request_timeout_seconds=2)) as running:
        yield running


@pytest.fixture
async def stable() -> AsyncIterator[Model]:
    async with Model("aaa").serving() as model:
        yield model


@pytest.fixture
async def candidate() -> AsyncIterator[Model]:
    async with Model("bbb").serving() as model:
        yield model


async def test_weights_are_the_shares_of_requests(plane: Plane, stable: Model, candidate: Model) -> None:
    plane.publish(Split(stable="aaa", candidate="bbb", weight=20), backend(stable, 1), backend(candidate, 2))
    await plane.applied()

    answers = [await plane.ask() for _ in range(2000)]

    counts = collections.Counter(answer.headers["x-penstock-revision"] for answer in answers)
    # 2000 draws at 20 %: six standard deviations are 107.
    assert 293 <= counts["bbb"] <= 507
    assert counts["aaa"] + counts["bbb"] == 2000
    assert len(candidate.seen) == counts["bbb"]


async def test_every_answer_names_its_variant_whatever_the_model_says(
    plane: Plane, stable: Model, candidate: Model
) -> None:
    stable.headers["x-penstock-revision"] = "forged"
    stable.headers["x-penstock-model-version"] = "99"
    plane.publish(Split(stable="aaa", candidate="bbb"), backend(stable, 7), backend(candidate, 8))
    await plane.applied()

    answer = await plane.ask(x_penstock_role="forged")

    assert answer.headers["x-penstock-revision"] == "aaa"
    assert answer.headers["x-penstock-model-version"] == "7"
    assert stable.seen[0]["x-penstock-role"] == "stable"

    plane.publish(Split(stable="aaa", candidate="bbb", weight=100), backend(stable, 7), backend(candidate, 8))
    await plane.applied()
    answer = await plane.ask()

    assert answer.headers["x-penstock-revision"] == "bbb"
    assert answer.headers["x-penstock-model-version"] == "8"
    assert candidate.seen[0]["x-penstock-role"] == "canary"


async def test_a_mirror_gets_each_request_once_with_its_id_and_body(
    plane: Plane, stable: Model, candidate: Model
) -> None:
    plane.publish(Split(stable="aaa", candidate="bbb", mirror=100), backend(stable, 1), backend(candidate, 2))
    await plane.applied()
    body = b"x" * 5_000_000

    answers = [await plane.ask(body=body, x_request_id=f"request-{number}") for number in range(5)]

    await until(lambda: len(candidate.seen) == 5)
    assert {answer.headers["x-penstock-revision"] for answer in answers} == {"aaa"}
    assert [seen["x-request-id"] for seen in stable.seen] == [f"request-{number}" for number in range(5)]
    assert sorted(seen["x-request-id"] for seen in candidate.seen) == [f"request-{number}" for number in range(5)]
    assert {seen["x-penstock-role"] for seen in candidate.seen} == {"shadow"}
    assert {seen["host"] for seen in candidate.seen} == {"fraud.ml"}
    assert stable.bodies == candidate.bodies == [body] * 5


async def test_a_mirror_gets_its_percentage(plane: Plane, stable: Model, candidate: Model) -> None:
    plane.publish(Split(stable="aaa", candidate="bbb", mirror=30), backend(stable, 1), backend(candidate, 2))
    await plane.applied()

    for _ in range(1000):
        await plane.ask()

    # 1000 draws at 30 %: six standard deviations are 87.
    await until(lambda: len(candidate.seen) >= 213)
    assert len(candidate.seen) <= 387
    assert len(stable.seen) == 1000


async def test_what_the_candidate_answers_is_not_copied_to_it(plane: Plane, stable: Model, candidate: Model) -> None:
    split = Split(stable="aaa", candidate="bbb", weight=40, mirror=100)
    plane.publish(split, backend(stable, 1), backend(candidate, 2))
    await plane.applied()

    answers = [await plane.ask() for _ in range(300)]

    counts = collections.Counter(answer.headers["x-penstock-revision"] for answer in answers)
    await until(lambda: len(candidate.seen) == 300)
    roles = collections.Counter(seen["x-penstock-role"] for seen in candidate.seen)
    assert roles == {"canary": counts["bbb"], "shadow": counts["aaa"]}
    # 300 draws at 40 %: six standard deviations are 51.
    assert 69 <= counts["bbb"] <= 171


@pytest.mark.parametrize("hung", [pytest.param(True, id="a mirror that never answers"), pytest.param(False, id="dead")])
async def test_a_bad_mirror_costs_users_nothing(plane: Plane, stable: Model, candidate: Model, *, hung: bool) -> None:
    shadow = backend(candidate, 2)
    if hung:
        candidate.gate.clear()
    else:
        shadow = Backend("bbb", 2, (Endpoint("127.0.0.1", envoy_harness.free_port()),))
    plane.publish(Split(stable="aaa", candidate="bbb", mirror=100), backend(stable, 1), shadow)
    await plane.applied()

    answers = [await plane.ask() for _ in range(300)]

    assert {answer.status for answer in answers} == {200}
    assert max(answer.seconds for answer in answers) < 0.5
    if hung:
        assert len(candidate.seen) == envoy_snapshot.Settings().mirror_max_requests


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("fraud.ml", id="short"),
        pytest.param("fraud.ml.svc", id="with svc"),
        pytest.param("fraud.ml.svc.cluster.local", id="full"),
        pytest.param("fraud.ml.svc.cluster.local.", id="full with the last dot"),
        pytest.param("fraud.ml:8080", id="with a port"),
        pytest.param("FRAUD.ML", id="upper case"),
        pytest.param("fraud.example.com", id="own hostname"),
        pytest.param("anything.models.example.com", id="wildcard"),
    ],
)
async def test_host_names_lead_to_the_model(plane: Plane, stable: Model, host: str) -> None:
    hostnames = ("Fraud.example.com", "*.models.example.com")
    plane.publish(Split(stable="aaa"), backend(stable), hostnames=hostnames)
    await plane.applied()

    answer = await plane.ask(host=host)

    assert (answer.status, answer.body) == (200, {"from": "aaa"})


async def test_an_unknown_host_is_told_so_as_json(plane: Plane) -> None:
    answer = await plane.ask(host="nobody.ml")

    assert (answer.status, answer.headers["content-type"]) == (404, "application/json")
    assert answer.body == {
        "error_code": "RESOURCE_DOES_NOT_EXIST",
        "message": "No ModelDeployment answers to this host name: ask for http://<name>.<namespace>/, "
        "or list the name in its spec.route.hostnames.",
    }


async def test_a_model_without_a_ready_revision_says_so_as_json(plane: Plane) -> None:
    plane.publish(Split(stable="aaa"), Backend("aaa", 1))
    await plane.applied()

    answer = await plane.ask()

    assert (answer.status, answer.headers["content-type"]) == (503, "application/json")
    assert answer.headers["retry-after"] == "1"
    assert answer.body == {
        "error_code": "TEMPORARILY_UNAVAILABLE",
        "message": "ModelDeployment ml/fraud has no ready revision; its status says why.",
    }


async def test_a_model_that_cannot_be_reached_is_told_as_json(plane: Plane) -> None:
    dead = Backend("aaa", 1, (Endpoint("127.0.0.1", envoy_harness.free_port()),))
    plane.publish(Split(stable="aaa"), dead)
    await plane.applied()

    answer = await plane.ask()

    assert (answer.status, answer.headers["content-type"]) == (503, "application/json")
    assert answer.body["error_code"] == "TEMPORARILY_UNAVAILABLE"
    assert answer.body["message"].startswith("The model did not answer: ")


async def test_a_model_that_takes_too_long_is_told_as_json(plane: Plane, stable: Model) -> None:
    stable.gate.clear()
    plane.publish(Split(stable="aaa"), backend(stable))
    await plane.applied()

    answer = await plane.ask()

    assert (answer.status, answer.body["error_code"]) == (504, "DEADLINE_EXCEEDED")
    assert 1.9 < answer.seconds < 4
    assert len(stable.seen) == 1


async def test_a_dead_pod_is_not_noticed_by_who_sends_much(plane: Plane, stable: Model) -> None:
    dead = Endpoint("127.0.0.1", envoy_harness.free_port())
    plane.publish(Split(stable="aaa"), Backend("aaa", 1, (stable.endpoint, dead)))
    await plane.applied()
    body = b"x" * 10_000_000

    answers = [await plane.ask(body=body) for _ in range(10)]

    assert {answer.status for answer in answers} == {200}
    assert stable.bodies == [body] * 10


async def test_a_dead_pod_among_live_ones_is_not_noticed(plane: Plane, stable: Model) -> None:
    dead = Endpoint("127.0.0.1", envoy_harness.free_port())
    plane.publish(Split(stable="aaa"), Backend("aaa", 1, (stable.endpoint, dead)))
    await plane.applied()

    answers = [await plane.ask() for _ in range(300)]

    assert {answer.status for answer in answers} == {200}
    assert max(answer.seconds for answer in answers) < 0.5


async def test_a_model_that_fails_every_request_keeps_its_traffic(plane: Plane, stable: Model) -> None:
    stable.status = 500
    plane.publish(Split(stable="aaa"), backend(stable))
    await plane.applied()

    answers = [await plane.ask() for _ in range(100)]

    assert {answer.status for answer in answers} == {500}
    assert len(stable.seen) == 100


async def test_callers_cannot_steer_envoy_by_its_own_headers(plane: Plane, stable: Model) -> None:
    stable.status = 503
    plane.publish(Split(stable="aaa"), backend(stable))
    await plane.applied()

    answer = await plane.ask(
        x_envoy_retry_on="5xx",
        x_envoy_max_retries="5",
        x_envoy_upstream_rq_timeout_ms="1",
        x_envoy_upstream_alt_stat_name="forged",
        x_request_id="mine",
    )

    assert (answer.status, len(stable.seen)) == (503, 1)
    assert {name for name in stable.seen[0] if name.startswith("x-envoy")} <= {"x-envoy-external-address"}
    assert answer.headers["x-request-id"] == "mine"
    assert not [name for name in answer.headers if name.startswith("x-envoy")]


async def test_many_models_are_told_apart(plane: Plane, stable: Model) -> None:
    keys = [Key("ml", f"model-{number}") for number in range(300)]
    for number, key in enumerate(keys):
        revision = f"r{number}"
        plane.publish(Split(stable=revision), Backend(revision, number, (stable.endpoint,)), key=key)
    for key in keys:
        await plane.applied(key)

    answers = await asyncio.gather(*(plane.ask(host=f"{key.name}.ml") for key in keys))

    assert [answer.headers["x-penstock-revision"] for answer in answers] == [f"r{number}" for number in range(300)]


async def test_two_claims_to_one_hostname_do_not_stop_the_others(plane: Plane, stable: Model, candidate: Model) -> None:
    other = Key("ml", "zebra")
    plane.publish(Split(stable="bbb"), backend(candidate), key=other, hostnames=("shared.example.com", "fraud.ml"))
    plane.publish(Split(stable="aaa"), backend(stable), key=KEY, hostnames=("shared.example.com", "bad_name"))
    await plane.applied()

    answers = [await plane.ask(host=host) for host in ("shared.example.com", "fraud.ml", "zebra.ml")]

    assert [answer.body["from"] for answer in answers] == ["aaa", "aaa", "bbb"]
    assert {key: [refusal.hostname for refusal in refusals] for key, refusals in plane.envoy.conflicts().items()} == {
        KEY: ["bad_name"],
        other: ["shared.example.com", "fraud.ml"],
    }
