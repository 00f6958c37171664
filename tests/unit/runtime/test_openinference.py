"""The Open Inference Protocol: every way to give a model its tensors, and what comes back."""

import json
from typing import Any

import pytest

from tests.unit.runtime import models, serving

IRIS = [[5.1, 3.5, 1.4, 0.2], [6.5, 3.0, 5.5, 2.0]]


def tensor(name: str, datatype: str, shape: list[int], data: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def columns(shape: list[int]) -> list[dict[str, Any]]:
    return [tensor(name, "FP64", shape, [row[place] for row in IRIS]) for place, name in enumerate("abcd")]


async def infer(running: serving.Server, inputs: list[dict[str, Any]], **more: Any) -> serving.Response:
    body = json.dumps({"inputs": inputs, **more}).encode()
    return await serving.call(running.app, "POST", "/v2/models/fraud/infer", body)


CLASSES = [{"name": "predict", "shape": [2], "datatype": "INT64", "data": [0, 2]}]
ACCEPTED: dict[str, tuple[str, list[dict[str, Any]], list[dict[str, Any]]]] = {
    "a tensor a column": ("iris", columns([2]), CLASSES),
    "a tensor a column, upright": ("iris", columns([2, 1]), CLASSES),
    "one matrix for all columns": ("iris", [tensor("x", "FP64", [2, 4], IRIS)], CLASSES),
    "one matrix, flat": ("iris", [tensor("x", "FP64", [2, 4], [value for row in IRIS for value in row])], CLASSES),
    "without a signature": ("iris-bare", [tensor("x", "FP64", [2, 4], IRIS)], CLASSES),
    "a tensor signature": (
        "tensor",
        [tensor("x", "FP64", [1, 3], [1, 2, 3])],
        [tensor("predict", "BYTES", [1], ["float64 array([1., 2., 3.]) None"])],
    ),
    "texts": ("moody", [tensor("mood", "BYTES", [2], ["glad", "no"])], [tensor("predict", "FP64", [2], [4.0, 2.0])]),
    "a frame as answer": (
        "moody",
        [tensor("mood", "BYTES", [1, 1], ["frame"])],
        [tensor("length", "FP64", [1], [5.0]), tensor("word", "BYTES", [1], ["frame"])],
    ),
    "an answer that is no rows": (
        "moody",
        [tensor("mood", "BYTES", [1], ["scalar"])],
        [tensor("predict", "INT64", [1], [4])],
    ),
}


@pytest.mark.parametrize(("name", "inputs", "outputs"), ACCEPTED.values(), ids=ACCEPTED.keys())
async def test_tensors_become_predictions(
    name: str, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]
) -> None:
    async with serving.server(models.saved(name)) as running:
        answer = await infer(running, inputs, id="request-7")
        assert (answer.status, answer.json) == (
            200,
            {"model_name": "fraud", "model_version": "3", "id": "request-7", "outputs": outputs},
        )
        assert await running.metric("penstock_requests_total", outcome="success") == 1


async def test_probabilities_are_a_matrix() -> None:
    async with serving.server(models.saved("iris-probabilities")) as running:
        (output,) = (await infer(running, [tensor("x", "FP64", [2, 4], IRIS)])).json["outputs"]
        expected = await running.ask({"dataframe_split": {"columns": list("abcd"), "data": IRIS}})
    flat = [value for row in expected.json["predictions"] for value in row]
    assert output == tensor("predict", "FP64", [2, 3], flat)


REFUSED: dict[str, tuple[bytes, int, str, str]] = {
    "no JSON": (b"{", 400, "The request is not of the Open Inference Protocol: ", "bad_request"),
    "no inputs": (b"{}", 400, "The request is not of the Open Inference Protocol: KeyError('inputs')", "bad_request"),
    "a list": (b"[]", 400, "The request is not of the Open Inference Protocol: ", "bad_request"),
    "empty inputs": (
        b'{"inputs": []}',
        400,
        "The request is not of the Open Inference Protocol: `inputs`",
        "bad_request",
    ),
    "another shape": (
        json.dumps({"inputs": [tensor("mood", "BYTES", [3], ["a"])]}).encode(),
        400,
        "The request is not of the Open Inference Protocol: tensor mood has 1 values, which is not its shape [3]",
        "bad_request",
    ),
    "two tensors of one name": (
        json.dumps({"inputs": [tensor("mood", "BYTES", [1], ["a"])] * 2}).encode(),
        400,
        "The request is not of the Open Inference Protocol: `inputs` needs tensors, each with a name",
        "bad_request",
    ),
    "another name": (
        json.dumps({"inputs": [tensor("mode", "BYTES", [1], ["a"])]}).encode(),
        400,
        "Failed to predict data",
        "bad_request",
    ),
    "the model raises": (
        json.dumps({"inputs": [tensor("mood", "BYTES", [1], ["boom"])]}).encode(),
        400,
        "Encountered an unexpected error while evaluating the model.",
        "model_error",
    ),
    "too large": (b" " * 2000, 413, "The request body is larger than 1000 bytes.", "bad_request"),
}


@pytest.mark.parametrize(("body", "status", "message", "outcome"), REFUSED.values(), ids=REFUSED.keys())
async def test_refusals_are_in_the_form_of_the_protocol(body: bytes, status: int, message: str, outcome: str) -> None:
    async with serving.server(models.saved("moody"), body_bytes=1000) as running:
        answer = await serving.call(running.app, "POST", "/v2/models/fraud/infer", body)
        assert answer.status == status
        assert answer.json.keys() == {"error"}
        assert answer.json["error"].startswith(message)
        assert await running.metric("penstock_requests_total", outcome=outcome) == 1


async def test_parameters_reach_a_model_that_has_them() -> None:
    async with serving.server(models.saved("params")) as running:
        answer = await infer(running, [tensor("x", "FP64", [1], [1.0])], parameters={"heat": 2.0})
    assert json.loads(answer.json["outputs"][0]["data"][0])[2] == {"heat": 2.0, "loud": False}


async def test_large_requests_are_the_same() -> None:
    async with serving.server(models.saved("iris")) as running:
        rows = 5000
        answer = await infer(running, [tensor("x", "FP64", [rows, 4], IRIS[0] * rows)])
    assert answer.json["outputs"] == [{"name": "predict", "shape": [rows], "datatype": "INT64", "data": [0] * rows}]


async def test_the_model_is_described() -> None:
    async with serving.server(models.saved("mixed")) as running:
        described = (await running.get("/v2/models/fraud")).json
        assert described == {
            "name": "fraud",
            "versions": ["3"],
            "platform": "mlflow",
            "inputs": [
                {"name": name, "datatype": datatype, "shape": [-1]}
                for name, datatype in zip(
                    models.MIXED, ("FP64", "INT64", "INT32", "FP32", "BOOL", "BYTES"), strict=True
                )
            ],
            "outputs": [],
        }


async def test_a_tensor_is_described() -> None:
    async with serving.server(models.saved("tensor-32")) as running:
        described = (await running.get("/v2/models/fraud")).json
    assert described["inputs"] == [{"name": "tensor-0", "datatype": "FP32", "shape": [-1, 2]}]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2", 200),
        ("/v2/health/live", 200),
        ("/v2/health/ready", 200),
        ("/v2/models/fraud", 200),
        ("/v2/models/fraud/ready", 200),
        ("/v2/models/fraud/versions/3", 200),
        ("/v2/models/fraud/versions/3/ready", 200),
        ("/v2/models/fraud/infer", 405),
        ("/v2/models/fraud/versions/4", 404),
        ("/v2/models/fraudulent", 404),
        ("/v2/models/other/ready", 404),
    ],
)
async def test_routes(path: str, status: int) -> None:
    async with serving.server(models.saved("moody")) as running:
        assert (await running.get(path)).status == status
        running.app.drain()
        assert (await running.get(path)).status == (503 if path.endswith("/ready") and status == 200 else status)
