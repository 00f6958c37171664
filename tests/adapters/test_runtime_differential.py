"""Our server and MLflow's own, the same model, the same requests: same status, same content type, same JSON.

The known differences are in `assert_same`, and nowhere else: MLflow's server falls over with a bare `Internal Server Error` where
a request has no content type (ours says 415) or where an answer is no JSON (ours says why, in JSON), a traceback is another
program's, and sets in its messages have no order.
"""

import asyncio
import contextlib
import io
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import pyfunc
from mlflow.pyfunc import scoring_server

from tests.unit.runtime import models, serving

pytestmark = pytest.mark.adapters

JSON = "application/json"


async def theirs(application: Any, body: bytes, content_type: str | None) -> serving.Response:
    headers = {} if content_type is None else {"content-type": content_type}
    try:
        return await serving.call(application, "POST", "/invocations", body, headers)
    except Exception:  # noqa: BLE001  # what uvicorn turns into this answer
        return serving.Response(500, {"content-type": "text/plain; charset=utf-8"}, b"Internal Server Error")


def same_words(text: str) -> list[str]:
    """A message but for the order of sets and the addresses of objects."""
    return sorted(re.sub(r"0x[0-9a-f]+", "0x", text).split())


def assert_same(ours: serving.Response, mlflow: serving.Response) -> None:
    if mlflow.status == 500 and mlflow.body == b"Internal Server Error":
        assert ours.status in {415, 500}
        assert ours.status == 415 or ours.json.keys() == {"error_code", "message"}
        return
    assert (ours.status, ours.headers["content-type"]) == (mlflow.status, mlflow.headers["content-type"]), (
        ours.body,
        mlflow.body,
    )
    if mlflow.headers["content-type"] != JSON:
        assert same_words(ours.body.decode()) == same_words(mlflow.body.decode())
        return
    if mlflow.status == 200:
        assert json.dumps(ours.json) == json.dumps(mlflow.json)  # NaN equals NaN here, and 1 is not 1.0
        return
    mine, other = dict(ours.json), dict(mlflow.json)
    assert mine.keys() == other.keys()
    assert bool(mine.pop("stack_trace", "")) == bool(other.pop("stack_trace", ""))
    assert same_words(mine.pop("message")) == same_words(other.pop("message"))
    assert mine == other


@contextlib.asynccontextmanager
async def both(name: str) -> AsyncIterator[tuple[serving.Server, Any]]:
    async with serving.server(models.saved(name)) as ours:
        yield ours, scoring_server.init(pyfunc.load_model(str(models.saved(name)), suppress_warnings=True))


async def compare(name: str, requests: list[tuple[bytes, str | None]]) -> None:
    async with both(name) as (ours, mlflow):
        for body, content_type in requests:
            assert_same(await ours.ask(body, content_type), await theirs(mlflow, body, content_type))


def parquet(frame: pd.DataFrame) -> bytes:
    written = io.BytesIO()
    frame.to_parquet(written)
    return written.getvalue()


NEVER_FITS: list[tuple[bytes, str | None]] = [
    (b"", JSON),
    (b"{", JSON),
    (b"[]", JSON),
    (b"[1, 2]", JSON),
    (b"null", JSON),
    (b"3", JSON),
    (b"{}", JSON),
    (b"\xff\xfe", JSON),
    ('{"inputs": [1]}'.encode("utf-16"), JSON),
    (b"\xef\xbb\xbf{}", JSON),
    (b'{"unknown": 1}', JSON),
    (b'{"inputs": [1], "instances": [1]}', JSON),
    (b'{"inputs": [1], "signature_name": "a"}', JSON),
    (b'{"dataframe_split": [1]}', JSON),
    (b'{"dataframe_split": 3}', JSON),
    (b'{"dataframe_split": {}}', JSON),
    (b'{"dataframe_split": {"columns": ["a"]}}', JSON),
    (b'{"dataframe_split": {"data": [[1]], "other": 1}}', JSON),
    (b'{"dataframe_split": {"columns": ["a", "b"], "data": [[1]]}}', JSON),
    (b'{"dataframe_records": {"a": 1}}', JSON),
    (b'{"dataframe_records": 3}', JSON),
    (b'{"dataframe_records": [1, 2]}', JSON),
    (b'{"instances": {"a": [1, 2], "b": [1]}}', JSON),
    (b'{"instances": []}', JSON),
    (b'{"inputs": {}}', JSON),
    (b'{"inputs": null}', JSON),
    (b'{"inputs": "text"}', JSON),
    (b'{"dataframe_records": []}', JSON),
    (b'{"dataframe_split": {"columns": ["a", "b", "c", "d"], "data": []}}', JSON),
    (b"a,b\n1,2,3\n", "text/csv"),
    (b"", "text/csv"),
    (b"\xff,\xfe\n", "text/csv"),
    (b"not parquet", "application/vnd.apache.parquet"),
    (b"{}", "text/plain"),
    (b"{}", "application/octet-stream"),
    (b"{}", ""),
    (b"{}", None),
    (b"{}", "application/json; charset=latin-1"),
    (b"{}", "application/json; charset=UTF-8"),
    (b"{}", "application/json; format=pandas-split"),
    (b"{}", "application/json; charset=utf-8; a=b; c"),
    (b"{}", "APPLICATION/JSON"),
]


def framed(columns: dict[str, list[Any]]) -> list[tuple[bytes, str | None]]:
    """One frame in every form that can carry it."""
    frame = pd.DataFrame(columns)
    records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    split = {"columns": list(columns), "data": [list(row.values()) for row in records]}
    bodies: list[Any] = [
        {"dataframe_split": split},
        {"dataframe_split": {**split, "index": list(range(len(records)))}},
        {"dataframe_split": {**split, "index": [f"row {number}" for number in range(len(records))]}},
        {"dataframe_split": {"data": split["data"]}},
        {"dataframe_records": records},
        {"dataframe_records": [dict(reversed(record.items())) for record in records]},
        {"instances": records},
        {"instances": columns},
        {"instances": split["data"]},
        {"inputs": records},
        {"inputs": columns},
        {"inputs": records[0]},
        {"inputs": split["data"]},
        {"dataframe_records": records, "params": {}},
        {"dataframe_records": records, "params": {"heat": 1}},
        {"dataframe_records": [{**record, "extra": 1} for record in records]},
        {"dataframe_records": [dict(list(record.items())[1:]) for record in records]},
    ]
    as_json = [json.dumps(body).encode() for body in bodies]
    return [
        *((body, JSON) for body in as_json),
        (as_json[0], "application/json; charset=utf-8"),
        (frame.to_csv(index=False).encode(), "text/csv"),
        (frame.to_csv().encode(), "text/csv; charset=utf-8"),
        (parquet(frame), "application/vnd.apache.parquet"),
    ]


IRIS = {"a": [5.1, 4.0], "b": [3.5, 3], "c": [1.4, 1], "d": [0.2, 0]}
MIXED: dict[str, list[Any]] = {
    "double": [1.5, 2.0],
    "long": [2**40, -1],
    "integer": [7, -8],
    "float": [0.25, 0.5],
    "boolean": [True, False],
    "string": ["ä", ""],
}


def odd(columns: dict[str, list[Any]]) -> list[tuple[bytes, str | None]]:
    """The frame with one value of every column replaced by each odd one."""
    values = (None, True, 1, 1.5, 2**31, 2**63, 2**70, "1", "x", "", [1], {"a": 1}, float("nan"), float("inf"))
    return [
        (json.dumps({form: [{**{key: column[0] for key, column in columns.items()}, name: value}]}).encode(), JSON)
        for form in ("dataframe_records", "instances", "inputs")
        for name in columns
        for value in values
    ]


def moods(*words: str) -> tuple[bytes, str | None]:
    return json.dumps({"dataframe_records": [{"mood": word} for word in words]}).encode(), JSON


def bodies(*contents: Any) -> list[tuple[bytes, str | None]]:
    return [(json.dumps(content).encode(), JSON) for content in contents]


TABLE: dict[str, tuple[str, list[tuple[bytes, str | None]]]] = {
    "scikit-learn": ("iris", [*NEVER_FITS, *framed(IRIS)]),
    "scikit-learn, odd values": ("iris", odd({"a": [5.1], "b": [3.5], "c": [1.4], "d": [0.2]})),
    "scikit-learn, probabilities": ("iris-probabilities", framed(IRIS)),
    "scikit-learn without a signature": (
        "iris-bare",
        [*NEVER_FITS, *framed(IRIS), *bodies({"inputs": [[1, 2, 3, 4], [1.5, 2, 3, 4]]}, {"instances": [[1, 2, 3]]})],
    ),
    "every column type": ("mixed", [*framed(MIXED), *odd(MIXED)]),
    "integers of 32 bits": ("integers", [*framed({"integer": [1, 2]}), *odd({"integer": [1]})]),
    "an optional column": ("optional", framed({"x": [1.0, 2.0], "y": [1.0, 2.0]})),
    "one column": (
        "one",
        [
            *framed({"x": [1.0, 2]}),
            *bodies({"inputs": [1, 2.5]}, {"inputs": 3}, {"instances": [1, 2]}, {"inputs": [[1]]}),
        ],
    ),
    "dates and bytes": (
        "dated",
        [
            *framed({"when": ["2026-01-02", "2026-01-02T03:04:05"], "raw": ["YWJj", "AA=="]}),
            *odd({"when": ["2026-01-02"], "raw": ["YWJj"]}),
        ],
    ),
    "inference parameters": (
        "params",
        bodies(
            *(
                {"dataframe_records": [{"x": 1}, {"x": 2}], "params": params}
                for params in (
                    None,
                    {},
                    {"heat": 2},
                    {"heat": "hot"},
                    {"loud": True},
                    {"loud": 1},
                    {"other": 1},
                    [1],
                    "a",
                )
            ),
            {"dataframe_records": [{"x": 1}]},
            {"inputs": [1.0], "params": {"heat": 0.1, "loud": True}},
        ),
    ),
    "a tensor": (
        "tensor",
        [
            *framed({"0": [1.0, 2.0], "1": [1, 2], "2": [3.5, 4]}),
            *bodies(
                {"inputs": [[1, 2, 3]]},
                {"instances": [[1, 2, 3], [4, 5.5, 6]]},
                {"inputs": [[1, 2]]},
                {"inputs": [1, 2, 3]},
                {"inputs": [[1, 2, None]]},
                {"inputs": [["1", "2", "3"]]},
                {"inputs": [["a", 2, 3]]},
                {"inputs": [[1, 2, 3], [1]]},
                {"inputs": {"a": [[1, 2, 3]]}},
            ),
        ],
    ),
    "no signature": (
        "bare",
        [
            *NEVER_FITS,
            *framed(MIXED),
            *bodies(
                {"inputs": [1, 2]}, {"inputs": [[1.5], [2]]}, {"inputs": ["a"]}, {"inputs": [True]}, {"inputs": [2**70]}
            ),
        ],
    ),
    "moods": (
        "moody",
        [
            *NEVER_FITS,
            moods("glad", "sad"),
            moods("nan", "sad"),
            moods("boom"),
            moods("mlflow"),
            moods("object"),
            moods("short", "answer"),
            moods("scalar"),
            moods("frame", "nan", "ä"),
            moods("series", "x"),
        ],
    ),
    "type hints": (
        "typed",
        bodies(
            {"inputs": ["a", "b"]},
            {"inputs": "a"},
            {"inputs": [1]},
            {"inputs": ["boom"]},
            {"dataframe_records": [{"a": "b"}]},
            {"instances": ["a"]},
        ),
    ),
    "language models": (
        "chat",
        bodies(
            {"messages": [{"role": "user", "content": "hello"}]},
            {"messages": "anything", "temperature": 0.5, "params": {"a": 1}},
            {"prompt": "hello"},
            {"input": ["hello"]},
            {"input": 2**70},
            {"inputs": {"messages": [{"role": "user", "content": "hello"}]}},
        ),
    ),
    "language models with parameters": ("params", bodies({"messages": [1], "heat": 2}, {"prompt": 1, "heat": "a"})),
}


@pytest.mark.parametrize(("name", "requests"), TABLE.values(), ids=TABLE.keys())
async def test_every_request_has_the_answer_of_mlflow(name: str, requests: list[tuple[bytes, str | None]]) -> None:
    await compare(name, requests)


VALUE = st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | st.text(max_size=3)
DEEP = st.recursive(
    VALUE, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner), max_leaves=5
)
RECORDS = st.lists(st.dictionaries(st.sampled_from(["x", "y", "z"]), VALUE | DEEP, max_size=3), max_size=3)
SPLIT = st.fixed_dictionaries(
    {"data": st.lists(st.lists(VALUE, min_size=2, max_size=2), max_size=3) | DEEP},
    optional={"columns": st.permutations(["x", "y"]) | DEEP, "index": st.lists(st.integers(), max_size=3)},
)
BODY = st.fixed_dictionaries(
    {},
    optional={
        "dataframe_records": RECORDS | DEEP,
        "dataframe_split": SPLIT | DEEP,
        "inputs": RECORDS | DEEP,
        "instances": RECORDS | DEEP,
        "params": DEEP,
    },
).filter(bool)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@pytest.mark.parametrize("name", ["doubles", "bare"])
def test_generated_requests_have_the_answer_of_mlflow(runner: asyncio.Runner, name: str) -> None:
    stack = contextlib.AsyncExitStack()
    ours, mlflow = runner.run(stack.enter_async_context(both(name)))

    async def once(body: bytes) -> None:
        assert_same(await ours.ask(body), await theirs(mlflow, body, JSON))

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(BODY)
    def try_one(body: Any) -> None:
        runner.run(once(json.dumps(body).encode()))

    try_one()
    runner.run(stack.aclose())
