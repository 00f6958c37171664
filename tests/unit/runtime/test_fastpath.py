"""The short cuts end where MLflow's long way ends, value for value and type for type, or are not taken."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from penstock_runtime import engine, fastpath, model, protocol, work

from tests.unit.runtime import models

PLANNED = ("doubles", "one", "mixed", "optional", "tensor", "tensor-32", "tensor-integers", "bare", "iris")


@pytest.fixture(scope="module")
def loaded() -> dict[str, model.Model]:
    return {name: model.load(models.saved(name), name) for name in PLANNED}


def short(served: model.Model, body: bytes) -> Any:
    """What the model would be given by the short cut; None when it is not taken."""
    decoded = fastpath.decode(body)
    plan = fastpath.plan(served)
    if type(decoded) is not dict or len(decoded) != 1 or plan is None:
        return None
    data = plan.read(decoded)
    return plan.assemble([data]) if isinstance(plan, fastpath.Frame) and isinstance(data, fastpath.Table) else data


def long(served: model.Model, body: bytes) -> Any:
    """What the model would be given by MLflow; an Answer is its refusal."""
    question = protocol.read(body, "application/json", served)
    return served.check(question.data, question.params)[0] if isinstance(question, protocol.Question) else question


def assert_same(short_cut: Any, expected: Any) -> None:
    assert isinstance(short_cut, type(expected))
    if isinstance(expected, np.ndarray):
        assert (short_cut.dtype, short_cut.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(short_cut, expected)
        return
    pd.testing.assert_frame_equal(short_cut, expected, check_index_type=False)
    assert list(short_cut.dtypes) == list(expected.dtypes)
    # the linear algebra of a model depends on the order in memory, to the last digit
    ours, theirs = short_cut.to_numpy(), expected.to_numpy()
    assert (ours.flags.c_contiguous, ours.flags.f_contiguous) == (theirs.flags.c_contiguous, theirs.flags.f_contiguous)
    for name in expected.select_dtypes("object").columns:
        assert [type(value) for value in short_cut[name]] == [type(value) for value in expected[name]]


ROW = {"double": 1.5, "long": 2**40, "integer": 7, "float": 0.25, "boolean": True, "string": "ä"}
TAKEN: dict[str, tuple[str, Any]] = {
    "split": ("doubles", {"dataframe_split": {"columns": ["x", "y"], "data": [[1.0, 2], [3, None]]}}),
    "split, other order": ("doubles", {"dataframe_split": {"columns": ["y", "x"], "data": [[1.0, 2], [3.5, 4]]}}),
    "split, counted index": (
        "iris",
        {"dataframe_split": {"columns": ["a", "b", "c", "d"], "index": [0, 1], "data": [[1, 2, 3, 4]] * 2}},
    ),
    "records": ("doubles", {"dataframe_records": [{"x": 1, "y": 2.5}, {"y": -0.0, "x": 1e300}]}),
    "instances of names": ("doubles", {"instances": [{"x": 1, "y": 2.5}, {"x": None, "y": 3}]}),
    "inputs of names": ("doubles", {"inputs": [{"x": 1, "y": 2.5}]}),
    "optional column, given": ("optional", {"dataframe_records": [{"x": 1.0, "y": 2.0}]}),
    "mixed split": ("mixed", {"dataframe_split": {"columns": list(ROW), "data": [list(ROW.values())] * 3}}),
    "mixed records": ("mixed", {"dataframe_records": [ROW, {**ROW, "double": None}]}),
    "tensor": ("tensor", {"instances": [[1, 2, 3], [4.5, 5, 6]]}),
    "tensor as inputs": ("tensor", {"inputs": [[1.0, 2.0, 3.0]]}),
    "tensor of 32 bits": ("tensor-32", {"inputs": [[0.1, 2.0]]}),
    "tensor of integers": ("tensor-integers", {"inputs": [[1, 2]]}),
    "no signature": ("bare", {"instances": [[1.0, 2], [3, 4]]}),
}


@pytest.mark.parametrize(("name", "body"), TAKEN.values(), ids=TAKEN.keys())
def test_plain_bodies_take_the_short_cut_to_the_same_input(
    loaded: dict[str, model.Model], name: str, body: Any
) -> None:
    text = json.dumps(body).encode()
    assert_same(short(loaded[name], text), long(loaded[name], text))


NOT_TAKEN: dict[str, tuple[str, str]] = {
    "not JSON": ("doubles", '{"dataframe_split"'),
    "NaN, which is no JSON": ("doubles", '{"dataframe_records": [{"x": NaN, "y": 1}]}'),
    "an integer of more than 64 bits": ("doubles", '{"dataframe_records": [{"x": 123456789012345678901, "y": 1}]}'),
    "parameters": ("doubles", '{"dataframe_records": [{"x": 1, "y": 1}], "params": {"a": 1}}'),
    "a model with parameters": ("params", '{"dataframe_records": [{"x": 1}]}'),
    "a missing column": ("doubles", '{"dataframe_records": [{"x": 1}]}'),
    "a column too many": ("doubles", '{"dataframe_records": [{"x": 1, "y": 1, "z": 1}]}'),
    "an optional column, missing": ("optional", '{"dataframe_records": [{"x": 1}]}'),
    "no rows": ("doubles", '{"dataframe_split": {"columns": ["x", "y"], "data": []}}'),
    "an index of names": (
        "iris",
        '{"dataframe_split": {"columns": ["a","b","c","d"], "index": [7], "data": [[1,2,3,4]]}}',
    ),
    "an index for a model that may look": (
        "doubles",
        '{"dataframe_split": {"columns": ["x", "y"], "index": [0], "data": [[1, 2]]}}',
    ),
    "a boolean among doubles": ("doubles", '{"dataframe_records": [{"x": true, "y": 1}]}'),
    "text among doubles": ("doubles", '{"dataframe_records": [{"x": "1.5", "y": 1}]}'),
    "a list among doubles": ("doubles", '{"dataframe_records": [{"x": [1], "y": 1}]}'),
    "rows of different lengths": ("doubles", '{"dataframe_split": {"columns": ["x", "y"], "data": [[1, 2], [3]]}}'),
    "the same column twice": ("doubles", '{"dataframe_split": {"columns": ["x", "x"], "data": [[1, 2]]}}'),
    "a double for an integer": ("mixed", json.dumps({"dataframe_records": [{**ROW, "integer": 7.0}]})),
    "an integer too large": ("mixed", json.dumps({"dataframe_records": [{**ROW, "integer": 2**31}]})),
    "integers only, for 32 bit floats": ("mixed", json.dumps({"dataframe_records": [{**ROW, "float": 16777217}]})),
    "null for a string": ("mixed", json.dumps({"dataframe_records": [{**ROW, "string": None}]})),
    "32 bits through inputs": ("integers", '{"inputs": [{"integer": 7}]}'),
    "text through inputs": ("mixed", json.dumps({"inputs": [ROW]})),
    "a tensor of another width": ("tensor", '{"inputs": [[1, 2]]}'),
    "a tensor with null": ("tensor", '{"inputs": [[1, 2, null]]}'),
    "doubles for an integer tensor": ("tensor-integers", '{"inputs": [[1.5, 2]]}'),
    "ragged rows": ("bare", '{"inputs": [[1.5, 2], [3]]}'),
    "texts without a signature": ("bare", '{"inputs": ["a", "b"]}'),
    "a language model's form": ("bare", '{"messages": [[1.0]]}'),
}


@pytest.mark.parametrize(("name", "text"), NOT_TAKEN.values(), ids=NOT_TAKEN.keys())
def test_unusual_bodies_take_the_long_way(name: str, text: str) -> None:
    assert short(model.load(models.saved(name), name), text.encode()) is None


NUMBER = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.integers(-3, 3)
VALUE = (
    NUMBER | st.none() | st.booleans() | st.sampled_from(["", "1.5", "a", " 2", "nan"]) | st.lists(NUMBER, max_size=2)
)
NAMES = st.sampled_from(["x", "y", *models.MIXED])


WANTED: dict[str, st.SearchStrategy[Any]] = {
    "long": st.integers(-(2**63), 2**63 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "float": st.floats(allow_nan=False, width=32),
    "boolean": st.booleans(),
    "string": st.text(max_size=3),
}


def rows(columns: tuple[str, ...]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Rows that fit, rows of which some values do not, and rows that are anything."""
    fitting = st.fixed_dictionaries({name: WANTED.get(name, NUMBER) for name in columns})
    nearly = st.fixed_dictionaries({name: WANTED.get(name, NUMBER) | VALUE for name in columns})
    anything = st.dictionaries(NAMES, VALUE, max_size=3)
    return st.lists(fitting, min_size=1, max_size=3) | st.lists(nearly | anything, max_size=3)


@st.composite
def bodies(draw: st.DrawFn, columns: tuple[str, ...]) -> dict[str, Any]:
    form = draw(st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs"]))
    content: Any = draw(rows(columns))
    if form == "dataframe_split":
        names = list(draw(st.permutations(columns)))
        content = {"columns": names, "data": [[row.get(name) for name in names] for row in content]}
        if draw(st.booleans()):
            content["index"] = draw(
                st.just(list(range(len(content["data"])))) | st.lists(st.integers(0, 3), max_size=3)
            )
    return {form: content}


@pytest.mark.parametrize(("name", "columns"), [("doubles", ("x", "y")), ("one", ("x",)), ("mixed", models.MIXED)])
def test_generated_frames_come_out_the_same(
    loaded: dict[str, model.Model], name: str, columns: tuple[str, ...]
) -> None:
    taken = 0

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(bodies(columns))
    def compare(body: dict[str, Any]) -> None:
        nonlocal taken
        text = json.dumps(body).encode()
        short_cut = short(loaded[name], text)
        if short_cut is not None:
            taken += 1
            assert_same(short_cut, long(loaded[name], text))

    compare()
    assert taken > 15


@pytest.mark.parametrize("name", ["tensor", "tensor-32", "tensor-integers", "bare"])
def test_generated_arrays_come_out_the_same(loaded: dict[str, model.Model], name: str) -> None:
    width = 3 if name == "tensor" else 2
    number = st.integers(-5, 2**64) if name == "tensor-integers" else NUMBER
    usual = st.lists(st.lists(number, min_size=width, max_size=width), max_size=3)
    nested = st.recursive(VALUE, lambda inner: st.lists(inner, max_size=3), max_leaves=6)
    taken = 0

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(st.sampled_from(["instances", "inputs"]), usual | usual | nested)
    def compare(form: str, content: Any) -> None:
        nonlocal taken
        text = json.dumps({form: content}).encode()
        short_cut = short(loaded[name], text)
        if short_cut is not None:
            taken += 1
            assert_same(short_cut, long(loaded[name], text))

    compare()
    assert taken > 15


def test_joined_rows_are_the_rows_one_below_the_other(loaded: dict[str, model.Model]) -> None:
    plan = fastpath.plan(loaded["mixed"])
    assert isinstance(plan, fastpath.Frame)
    tables = [plan.read({"dataframe_records": [{**ROW, "long": number}] * 2}) for number in range(3)]
    joined = plan.assemble([table for table in tables if table is not None])
    assert list(joined["long"]) == [0, 0, 1, 1, 2, 2]
    assert list(joined.dtypes.astype(str)) == ["float64", "int64", "int32", "float32", "bool", "object"]


def test_the_engine_takes_the_short_cut(loaded: dict[str, model.Model]) -> None:
    served = engine.Engine(loaded["doubles"])
    body = b'{"dataframe_records": [{"x": 1, "y": 2}]}'
    request = work.Request(body, "application/json")
    assert isinstance(served._prepare(request), engine._Ready)
    assert served._prepare(request).question is None  # type: ignore[union-attr]
