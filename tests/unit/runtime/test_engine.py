"""Requests that are predicted together have the answers that each would have alone."""

import json
import pathlib
from typing import Any

import pytest
from penstock_runtime import engine, errors, model, work
from penstock_runtime.answers import Outcome

from tests.unit.runtime import models


def request(body: Any) -> work.Request:
    return work.Request(body if isinstance(body, bytes) else json.dumps(body).encode(), "application/json")


def moods(*words: str) -> work.Request:
    return request({"dataframe_records": [{"mood": word} for word in words]})


def iris(*numbers: float) -> work.Request:
    return request({"dataframe_records": [{"a": number, "b": 3.0, "c": 1.4, "d": 0.2} for number in numbers]})


def make(name: str, *, join: bool = True) -> engine.Engine:
    return engine.Engine(model.load(models.saved(name), name), join=join)


def joins(served: engine.Engine) -> bool:
    return served.joins


TOGETHER: dict[str, tuple[str, list[work.Request], list[int]]] = {
    "rows of scikit-learn": ("iris", [iris(5.1), iris(4.0, 7.0), iris(1.0)], [3]),
    "probabilities": ("iris-probabilities", [iris(5.1), iris(4.0, 7.0)], [2]),
    "the long way": ("iris", [request({"inputs": {c: [n] for c in "abcd"}}) for n in (1.0, 9.0)], [2]),
    "short cut and long way": (
        "iris",
        [iris(5.1), request({"inputs": {c: [1.0] for c in "abcd"}}), iris(7.0)],
        [2, 1],
    ),
    "arrays": ("bare", [request({"inputs": [[1.5, 2.0]]}), request({"inputs": [[3.5, 4.0], [5.0, 6.5]]})], [2]),
    "arrays of two widths": ("bare", [request({"inputs": [[1.5]]}), request({"inputs": [[3.5, 4.0]]})], [1, 1]),
    "arrays of two types": ("bare", [request({"inputs": [[1.5]]}), request({"inputs": [[3]]})], [1, 1]),
    "every column type": (
        "mixed",
        [
            request({"dataframe_records": [dict(zip(models.MIXED, row, strict=True))]})
            for row in ((1.5, 2, 3, 0.5, True, "a"), (2, 2**62, -3, 1.25, False, "ä"))
        ],
        [2],
    ),
    "frames without a signature": ("bare", [request({"dataframe_records": [{"x": n}]}) for n in (1, 2)], [2]),
    "frames of two types": ("bare", [request({"dataframe_records": [{"x": n}]}) for n in (1, 1.5)], [1, 1]),
    "frames with an index of their own": (
        "bare",
        [request({"dataframe_split": {"index": [7], "columns": ["x"], "data": [[n]]}}) for n in (1, 2)],
        [1, 1],
    ),
    "given parameters": (
        "params",
        [request({"dataframe_records": [{"x": 1}], "params": {"heat": heat}}) for heat in (1.0, 2.0)],
        [1, 1],
    ),
    "default parameters": ("params", [request({"dataframe_records": [{"x": n}]}) for n in (1, 2)], [2]),
    "an answer with NaN": ("moody", [moods("nan"), moods("glad")], [2]),
    "a series": ("moody", [moods("series"), moods("series", "a")], [2]),
    "frames as answers": ("moody", [moods("frame"), moods("frame", "nan")], [2]),
    "one that raises": ("moody", [moods("glad"), moods("boom"), moods("sad")], [1, 1]),
    "one that can not be written": ("moody", [moods("object"), moods("object", "glad")], [2]),
    "one that can not be read": ("moody", [moods("glad"), request(b"{"), moods("sad")], [2]),
    "one that does not fit": ("moody", [moods("glad"), request({"inputs": [{"mode": "a"}]}), moods("sad")], [2]),
    "empty ones": ("iris", [request({"dataframe_split": {"columns": list("abcd"), "data": []}}), iris(1.0)], [1]),
    "checks inside the call": ("typed", [request({"inputs": ["a"]}), request({"inputs": ["b", "c"]})], [1, 1]),
    "language models": ("chat", [request({"prompt": "a"}), request({"prompt": "b"})], [1, 1]),
}


@pytest.mark.parametrize(("name", "requests", "calls"), TOGETHER.values(), ids=TOGETHER.keys())
def test_together_as_alone(name: str, requests: list[work.Request], calls: list[int]) -> None:
    served = make(name)
    alone = [served.answer([one]).answers[0] for one in requests]
    together = served.answer(requests)
    assert [(one.status, one.outcome) for one in together.answers] == [(one.status, one.outcome) for one in alone]
    for one, other in zip(together.answers, alone, strict=True):
        assert engine.close(without_trace(one.body), without_trace(other.body), digits=13)
    assert [call.size for call in together.calls] == calls


def without_trace(body: bytes) -> Any:
    return {name: value for name, value in json.loads(body).items() if name != "stack_trace"}


def test_a_model_that_answers_one_row_for_many_is_asked_one_by_one_ever_after() -> None:
    served = make("moody")
    assert joins(served)
    work = served.answer([moods("short"), moods("glad")])
    assert [json.loads(answer.body) for answer in work.answers] == [{"predictions": [1]}, {"predictions": [4.0]}]
    assert not joins(served)
    assert [call.size for call in served.answer([moods("glad"), moods("sad")]).calls] == [1, 1]


@pytest.mark.parametrize(
    ("name", "joins"),
    [("iris", True), ("iris-probabilities", True), ("moody", True), ("company", False), ("typed", False)],
)
def test_the_example_shows_whether_rows_keep_to_themselves(name: str, joins: bool) -> None:
    loaded = model.load(models.saved(name), name)
    served = engine.Engine(loaded)
    if loaded.example is not None:
        assert served.rehearse(loaded.example).outcome is Outcome.SUCCESS
    assert served.joins is joins


def test_a_model_that_raises_is_logged_now_and_then_without_the_request(caplog: pytest.LogCaptureFixture) -> None:
    served = make("moody")
    served.answer([moods("boom")])
    served.answer([moods("boom")])
    (record,) = [record.getMessage() for record in caplog.records if record.name == "penstock"]
    assert record.startswith("the model raised ValueError at ")
    assert "boom" not in record


def test_joining_can_be_switched_off() -> None:
    served = make("iris", join=False)
    assert not joins(served)
    assert [call.size for call in served.answer([iris(1.0), iris(2.0)]).calls] == [1, 1]


UNLOADABLE = {
    "a missing library": (
        "unloadable",
        (
            "fraud cannot be loaded: ModuleNotFoundError: No module named 'a_library_that_nobody_has'; "
            "add 'a_library_that_nobody_has' to the image that serves it"
        ),
    ),
    "no python_function": (
        "no-flavour",
        (
            'fraud cannot be loaded: MlflowException: Model does not have the "python_function" flavor; '
            "log it with a flavour that has python_function (mlflow.pyfunc.log_model does)"
        ),
    ),
    "no pickle": (
        "no-pickle",
        (
            "fraud cannot be loaded: UnpicklingError: could not find MARK; "
            "serve it with an image that has the library versions of the model's requirements.txt"
        ),
    ),
}


@pytest.mark.parametrize(("name", "sentence"), UNLOADABLE.values(), ids=UNLOADABLE.keys())
def test_a_model_that_can_not_be_loaded_is_explained(name: str, sentence: str) -> None:
    with pytest.raises(errors.Failure) as raised:
        model.load(models.saved(name), "fraud")
    assert str(raised.value) == sentence


def test_a_folder_without_a_model_is_explained(tmp_path: pathlib.Path) -> None:
    with pytest.raises(Exception, match=r"model fraud version 3 cannot be loaded: there is no MLmodel file in .*; run"):
        model.load(tmp_path, "model fraud version 3")
