"""What stands in an MLmodel file as a signature, as values; and whatever else may stand there, as a sentence."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types import schema as mlflow_schema
from numpy import dtype
from penstock.analysis import signature
from penstock.analysis.signature import (
    Anything,
    Array,
    Column,
    Malformed,
    Map,
    Object,
    Parameter,
    Scalar,
    Signature,
    Tensor,
)

DOUBLE, LONG, STRING = Scalar("double"), Scalar("long"), Scalar("string")

READ = {
    "columns with names": (
        ModelSignature(
            Schema([ColSpec("double", "amount"), ColSpec("string", "country", required=False)]),
            Schema([ColSpec("double", "score")]),
        ),
        Signature(
            inputs=(Column("amount", DOUBLE), Column("country", STRING, required=False)),
            outputs=(Column("score", DOUBLE),),
        ),
    ),
    "columns without names": (
        ModelSignature(Schema([ColSpec("long"), ColSpec("double")])),
        Signature(inputs=(Column(None, LONG), Column(None, DOUBLE))),
    ),
    "arrays, objects, maps and anything": (
        ModelSignature(
            Schema(
                [
                    ColSpec(mlflow_schema.Array(mlflow_schema.Array(DataType.double)), "matrix"),
                    ColSpec(
                        mlflow_schema.Object(
                            [
                                mlflow_schema.Property("age", DataType.long),
                                mlflow_schema.Property("name", DataType.string, required=False),
                            ]
                        ),
                        "customer",
                    ),
                    ColSpec(mlflow_schema.Map(DataType.long), "counts"),
                    ColSpec(mlflow_schema.AnyType(), "rest", required=False),
                ]
            )
        ),
        Signature(
            inputs=(
                Column("matrix", Array(Array(DOUBLE))),
                Column("customer", Object((Column("age", LONG), Column("name", STRING, required=False)))),
                Column("counts", Map(LONG)),
                Column("rest", Anything(), required=False),
            )
        ),
    ),
    "tensors": (
        ModelSignature(
            Schema([TensorSpec(dtype("float32"), (-1, 28, 28), "image")]), Schema([TensorSpec(dtype("int64"), (-1,))])
        ),
        Signature(
            inputs=(Column("image", Tensor("float32", (-1, 28, 28))),), outputs=(Column(None, Tensor("int64", (-1,))),)
        ),
    ),
    "parameters": (
        ModelSignature(
            outputs=Schema([ColSpec("string")]),
            params=ParamSchema(
                [
                    ParamSpec("temperature", DataType.double, 0.5),
                    ParamSpec("stop", DataType.string, ["a"], shape=(-1,)),
                    ParamSpec("since", DataType.datetime, "2026-01-01T00:00:00"),
                ]
            ),
        ),
        Signature(
            outputs=(Column(None, STRING),),
            parameters=(
                Parameter("temperature", DOUBLE, "0.5"),
                Parameter("stop", STRING, '["a"]', (-1,)),
                Parameter("since", Scalar("datetime"), '"2026-01-01T00:00:00"'),
            ),
        ),
    ),
}


@pytest.mark.parametrize(("written", "read"), READ.values(), ids=READ)
def test_what_mlflow_writes_is_read(written: ModelSignature, read: Signature) -> None:
    assert signature.parse(written.to_dict()) == read


OLDER = {
    "without required, as MLflow 1 wrote": ([{"name": "x", "type": "double"}], Column("x", DOUBLE)),
    "with optional, as MLflow 2 wrote for a while": (
        [{"name": "x", "type": "double", "optional": True}],
        Column("x", DOUBLE, required=False),
    ),
    "a name that is a number": ([{"name": 3, "type": "double"}], Column("3", DOUBLE)),
    "a type that is new": ([{"name": "x", "type": "decimal"}], Column("x", Scalar("decimal"))),
}


@pytest.mark.parametrize(("columns", "read"), OLDER.values(), ids=OLDER)
def test_what_other_releases_of_mlflow_write_is_read(columns: Any, read: Column) -> None:
    assert signature.parse({"inputs": json.dumps(columns)}) == Signature(inputs=(read,))


@pytest.mark.parametrize("stored", [None, {}, {"inputs": None, "outputs": "", "params": "null"}])
def test_a_signature_that_says_nothing_is_none(stored: Any) -> None:
    assert signature.parse(stored) is None


NAMELESS = [{"type": "double"}, {"type": "double", "name": "x"}]
DEEP: Any = {"type": "double"}
for _ in range(60):
    DEEP = {"type": "array", "items": DEEP}

GARBAGE: dict[str, tuple[Any, str]] = {
    "a text": ("columns: x", "the signature is 'columns: x' and not a mapping"),
    "a list": ([1, 2], "the signature is a list and not a mapping"),
    "no JSON": ({"inputs": "{"}, "the signature's inputs are not JSON"),
    "JSON without end": ({"inputs": "[" * 100_000}, "the signature's inputs are not JSON"),
    "a number": ({"outputs": "5"}, "the signature's outputs are 5 and not a list"),
    "a list that is not JSON": (
        {"inputs": [{"type": "double"}]},
        "the signature's inputs are a list and not JSON in a string",
    ),
    "columns that are none": ({"inputs": "[7]"}, "the signature's inputs[0] is 7 and not a mapping"),
    "no type": ({"inputs": '[{"name": "x"}]'}, "the signature's inputs[0].type is missing and not the name of a type"),
    "a type that is none": (
        {"inputs": '[{"name": "x", "type": 5}]'},
        "the signature's inputs[0].type is 5 and not the name of a type",
    ),
    "an array of nothing": (
        {"inputs": '[{"name": "x", "type": "array"}]'},
        "the signature's inputs[0].items is missing and not a mapping",
    ),
    "an object of nothing": (
        {"inputs": '[{"name": "x", "type": "object", "properties": []}]'},
        "the signature's inputs[0].properties is a list and not a mapping",
    ),
    "a tensor without a shape": (
        {"inputs": '[{"type": "tensor", "tensor-spec": {"dtype": "float32"}}]'},
        "the signature's inputs[0] has no shape such as [-1, 4]",
    ),
    "a tensor of half a row": (
        {"inputs": '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 0.5]}}]'},
        "the signature's inputs[0] has no shape such as [-1, 4]",
    ),
    "required, perhaps": (
        {"inputs": '[{"name": "x", "type": "double", "required": "perhaps"}]'},
        "the signature's inputs[0].required is 'perhaps' and not true or false",
    ),
    "names here and there": (
        {"inputs": json.dumps(NAMELESS)},
        "some of the signature's inputs have names and some have not",
    ),
    "too deep": ({"inputs": json.dumps([DEEP])}, "the signature's inputs[0] is nested too deeply"),
    "a parameter without a name": ({"params": '[{"type": "double"}]'}, "the signature's params[0] has no name"),
}


@pytest.mark.parametrize(("stored", "said"), GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_signature_is_told_in_a_sentence(stored: Any, said: str) -> None:
    with pytest.raises(Malformed) as raised:
        signature.parse(stored)
    assert str(raised.value) == said


WORDS = st.sampled_from(
    ["name", "type", "items", "values", "properties", "required", "tensor-spec", "dtype", "shape", "default"]
) | st.sampled_from(["array", "object", "map", "any", "tensor", "double", "x", ""])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(WORDS, inside, max_size=5),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from(["inputs", "outputs", "params"]), JSON.map(json.dumps) | JSON))
def test_whatever_it_is_it_ends_in_a_value_or_a_sentence(stored: dict[str, Any]) -> None:
    try:
        read = signature.parse(stored)
    except Malformed as error:
        said = str(error)
    else:
        said = "read"
        assert signature.parse(stored) == read
        assert read is None or isinstance(hash(read), int)
    assert 0 < len(said) < 400
