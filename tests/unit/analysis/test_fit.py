"""Whether a version's signature fits stable's callers: every kind of change, in the words that people read."""

import json
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.models.utils import _enforce_params_schema, _enforce_schema
from mlflow.pyfunc import scoring_server
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from penstock.analysis import fit
from penstock.analysis.signature import (
    Anything,
    Array,
    Column,
    Kind,
    Map,
    Object,
    Parameter,
    Scalar,
    Signature,
    Tensor,
)
from penstock.api.v1alpha1.modeldeployment import SignaturePolicy

COMPATIBLE, EXACT, IGNORE = SignaturePolicy.COMPATIBLE, SignaturePolicy.EXACT, SignaturePolicy.IGNORE
BOOLEAN, INTEGER, LONG = Scalar("boolean"), Scalar("integer"), Scalar("long")
FLOAT, DOUBLE, STRING = Scalar("float"), Scalar("double"), Scalar("string")


def takes(*columns: Column) -> Signature:
    return Signature(inputs=columns, outputs=(Column("score", DOUBLE),))


def gives(*columns: Column) -> Signature:
    return Signature(inputs=(Column("amount", DOUBLE),), outputs=columns)


def one(kind: Kind, *, required: bool = True) -> Signature:
    return takes(Column("x", kind, required))


def person(*properties: Column) -> Object:
    return Object(properties)


AGE, NAME = Column("age", LONG), Column("name", STRING)
MAYBE_NAME = Column("name", STRING, required=False)

# stable, candidate, what Compatible says, what Exact says
CHANGES: dict[str, tuple[Signature, Signature, tuple[str, ...], tuple[str, ...]]] = {
    "nothing": (one(DOUBLE), one(DOUBLE), (), ()),
    "all that may go wrong at once": (
        Signature((Column("amount", DOUBLE),), (Column("score", DOUBLE),)),
        Signature((Column("amount", STRING), Column("country", STRING)), (Column("label", STRING),)),
        (
            "input 'amount' changed from double to string",
            "required input 'country' is new",
            "output 'score' is gone",
        ),
        (
            "input 'amount' changed from double to string",
            "required input 'country' is new",
            "output 'score' is gone",
            "output 'label' is new",
        ),
    ),
    "a new optional input": (
        takes(AGE),
        takes(AGE, MAYBE_NAME),
        (),
        ("input 'name' is new",),
    ),
    "an input that is gone": (takes(AGE, NAME), takes(AGE), (), ("input 'name' is gone",)),
    "an input that is optional now": (takes(NAME), takes(MAYBE_NAME), (), ("input 'name' is optional now",)),
    "an input that is required now": (
        takes(MAYBE_NAME),
        takes(NAME),
        ("input 'name' is required now",),
        ("input 'name' is required now",),
    ),
    "inputs in another order": (takes(AGE, NAME), takes(NAME, AGE), (), ("the inputs are in another order",)),
    "inputs that lose their names": (
        takes(AGE),
        takes(Column(None, LONG)),
        ("the inputs have no names any more",),
        ("input 'age' is gone", "required input 1 is new"),
    ),
    "inputs that get names": (
        takes(Column(None, LONG)),
        takes(AGE),
        ("the inputs have names now",),
        ("input 1 is gone", "required input 'age' is new"),
    ),
    "one more input without a name": (
        takes(Column(None, LONG)),
        takes(Column(None, LONG), Column(None, LONG)),
        ("required input 2 is new",),
        ("required input 2 is new",),
    ),
    "an input without a name that changes": (
        takes(Column(None, LONG), Column(None, DOUBLE)),
        takes(Column(None, LONG), Column(None, STRING)),
        ("input 2 changed from double to string",),
        ("input 2 changed from double to string",),
    ),
    "inputs that nobody described": (
        Signature(outputs=(Column("score", DOUBLE),)),
        takes(AGE),
        (),
        ("the inputs are described now",),
    ),
    "inputs that nobody describes any more": (
        takes(AGE),
        Signature(outputs=(Column("score", DOUBLE),)),
        (),
        ("the inputs are not described any more",),
    ),
    "a property that is new": (
        one(person(AGE)),
        one(person(AGE, NAME)),
        ("required input 'x.name' is new",),
        ("input 'x' changed from object(age: long) to object(age: long, name: string)",),
    ),
    "a property that is new and optional": (
        one(person(AGE)),
        one(person(AGE, MAYBE_NAME)),
        (),
        ("input 'x' changed from object(age: long) to object(age: long, name?: string)",),
    ),
    "a property that is gone, which MLflow refuses": (
        one(person(AGE, MAYBE_NAME)),
        one(person(AGE)),
        ("input 'x.name' is gone",),
        ("input 'x' changed from object(age: long, name?: string) to object(age: long)",),
    ),
    "deep inside": (
        one(Array(person(Column("home", Map(person(AGE)))))),
        one(Array(person(Column("home", Map(person(Column("age", STRING))))))),
        ("input 'x[].home.*.age' changed from long to string",),
        (
            (
                "input 'x' changed from array of object(home: map of object(age: long)) to array of object(home: map "
                "of object(age: string))"
            ),
        ),
    ),
    "a value that becomes a list": (
        one(DOUBLE),
        one(Array(DOUBLE)),
        ("input 'x' changed from double to array of double",),
        ("input 'x' changed from double to array of double",),
    ),
    "anything instead of something": (
        one(DOUBLE),
        one(Anything()),
        (),
        ("input 'x' changed from double to any",),
    ),
    "something instead of anything": (
        one(Anything()),
        one(DOUBLE),
        ("input 'x' changed from any to double",),
        ("input 'x' changed from any to double",),
    ),
    "a tensor of any length": (
        one(Tensor("float32", (-1, 28))),
        one(Tensor("float64", (-1, -1))),
        (),
        ("input 'x' changed from tensor(float32, [-1, 28]) to tensor(float64, [-1, -1])",),
    ),
    "a tensor of one length": (
        one(Tensor("float32", (-1, -1))),
        one(Tensor("float32", (-1, 28))),
        ("input 'x' changed from tensor(float32, [-1, -1]) to tensor(float32, [-1, 28])",),
        ("input 'x' changed from tensor(float32, [-1, -1]) to tensor(float32, [-1, 28])",),
    ),
    "a tensor of more dimensions": (
        one(Tensor("float32", (-1, 28))),
        one(Tensor("float32", (-1, 28, 1))),
        ("input 'x' changed from tensor(float32, [-1, 28]) to tensor(float32, [-1, 28, 1])",),
        ("input 'x' changed from tensor(float32, [-1, 28]) to tensor(float32, [-1, 28, 1])",),
    ),
    "a column that becomes a tensor": (
        one(DOUBLE),
        one(Tensor("float64", (-1,))),
        ("input 'x' changed from double to tensor(float64, [-1])",),
        ("input 'x' changed from double to tensor(float64, [-1])",),
    ),
    "an output that is new": (
        gives(Column("score", DOUBLE)),
        gives(Column("score", DOUBLE), NAME),
        (),
        ("output 'name' is new",),
    ),
    "an output without a name that is new": (
        gives(Column(None, DOUBLE)),
        gives(Column(None, DOUBLE), Column(None, LONG)),
        ("output 2 is new",),
        ("output 2 is new",),
    ),
    "an output that may be missing": (
        gives(NAME),
        gives(MAYBE_NAME),
        ("output 'name' may be missing now",),
        ("output 'name' is optional now",),
    ),
    "an output that is always there now": (gives(MAYBE_NAME), gives(NAME), (), ("output 'name' is required now",)),
    "an output that is wider": (
        gives(Column("score", LONG)),
        gives(Column("score", DOUBLE)),
        ("output 'score' changed from long to double",),
        ("output 'score' changed from long to double",),
    ),
    "an output that is narrower": (
        gives(Column("score", DOUBLE)),
        gives(Column("score", LONG)),
        (),
        ("output 'score' changed from double to long",),
    ),
    "a property of an output that is gone": (
        gives(Column("who", person(AGE, NAME))),
        gives(Column("who", person(AGE))),
        ("output 'who.name' is gone",),
        ("output 'who' changed from object(age: long, name: string) to object(age: long)",),
    ),
    "parameters that come, go and have other defaults": (
        Signature(parameters=(Parameter("top", LONG, "5"), Parameter("old", LONG, "1"))),
        Signature(parameters=(Parameter("top", LONG, "7"), Parameter("new", LONG, "1"))),
        (),
        (
            "the default of parameter 'top' changed from 5 to 7",
            "parameter 'old' is gone",
            "parameter 'new' is new",
        ),
    ),
    "a parameter of another type": (
        Signature(parameters=(Parameter("top", DOUBLE, "5"),)),
        Signature(parameters=(Parameter("top", STRING, '"5"'),)),
        ("parameter 'top' changed from double to string",),
        ("parameter 'top' changed from double to string",),
    ),
    "a parameter that becomes a list": (
        Signature(parameters=(Parameter("top", LONG, "5"),)),
        Signature(parameters=(Parameter("top", LONG, "[5]", (-1,)),)),
        ("parameter 'top' changed from long to array of long",),
        ("parameter 'top' changed from long to array of long",),
    ),
}


@pytest.mark.parametrize(("stable", "candidate", "compatible", "exact"), CHANGES.values(), ids=CHANGES)
def test_a_change_in_words(
    stable: Signature, candidate: Signature, compatible: tuple[str, ...], exact: tuple[str, ...]
) -> None:
    said = {policy: tuple(map(str, fit.compare(stable, candidate, policy))) for policy in SignaturePolicy}
    assert said == {COMPATIBLE: compatible, EXACT: exact, IGNORE: ()}


def test_many_problems_are_not_all_told() -> None:
    problems = fit.compare(takes(AGE), takes(*(Column(f"c{number}", LONG) for number in range(9))), COMPATIBLE)
    assert fit.sentence(problems, most=2) == "required input 'c0' is new; required input 'c1' is new; and 7 more"


def test_a_problem_says_where_it_is() -> None:
    [problem] = fit.compare(one(person(AGE)), one(person(Column("age", STRING))), COMPATIBLE)
    assert (problem.part, problem.place) == ("input", ("x", "age"))


WIDER = {
    "integer": {"integer", "long", "double"},
    "long": {"long", "double"},
    "float": {"float", "double"},
    "double": {"double"},
    "boolean": {"boolean"},
    "string": {"string"},
    "binary": {"binary"},
    "datetime": {"datetime"},
}


@pytest.mark.parametrize("new", WIDER)
@pytest.mark.parametrize("old", WIDER)
def test_types_that_hold_all_values_of_another(old: str, new: str) -> None:
    assert (fit.compare(one(Scalar(old)), one(Scalar(new)), COMPATIBLE) == ()) is (new in WIDER[old])


DTYPES = {
    "int32": {"int32", "int64", "float64"},
    "int64": {"int64"},
    "uint8": {"uint8", "int32", "int64", "float16", "float32", "float64"},
    "float16": {"float16", "float32", "float64"},
    "float32": {"float32", "float64"},
    "float64": {"float64"},
    "bool": {"bool"},
    "str": {"str"},
    "object": {"object"},
}


@pytest.mark.parametrize("new", DTYPES)
@pytest.mark.parametrize("old", DTYPES)
def test_dtypes_that_hold_all_numbers_of_another(old: str, new: str) -> None:
    found = fit.compare(one(Tensor(old, (-1,))), one(Tensor(new, (-1,))), COMPATIBLE)
    assert (found == ()) is (new in DTYPES[old])


# --- what must hold of any signatures

SCALARS = st.sampled_from([Scalar(kind.name) for kind in DataType])
NAMES = st.sampled_from(["amount", "country", "age", "score"])
DIMENSIONS = st.lists(st.sampled_from([-1, 3, 4]), min_size=1, max_size=3).map(tuple)
TENSORS = st.builds(Tensor, st.sampled_from(sorted(DTYPES)), DIMENSIONS)


def columns(kinds: st.SearchStrategy[Kind]) -> st.SearchStrategy[tuple[Column, ...]]:
    named = st.lists(st.builds(Column, NAMES, kinds, st.booleans()), max_size=3, unique_by=lambda column: column.name)
    nameless = st.lists(st.builds(Column, st.none(), kinds, st.booleans()), max_size=3)
    return (named | nameless).map(tuple)


def objects(kinds: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    named = st.lists(st.builds(Column, NAMES, kinds, st.booleans()), max_size=3, unique_by=lambda column: column.name)
    return named.map(lambda properties: Object(tuple(properties)))


KINDS: st.SearchStrategy[Kind] = st.recursive(
    SCALARS | TENSORS | st.just(Anything()),
    lambda inside: inside.map(Array) | inside.map(Map) | objects(inside),
    max_leaves=5,
)
PARAMETERS = st.lists(
    st.builds(Parameter, NAMES, SCALARS, st.sampled_from(["1", "2"]), st.sampled_from([None, (-1,)])),
    max_size=2,
    unique_by=lambda parameter: parameter.name,
).map(tuple)
SIGNATURES = st.builds(Signature, st.none() | columns(KINDS), st.none() | columns(KINDS), st.none() | PARAMETERS)


@given(SIGNATURES)
def test_a_signature_fits_itself(same: Signature) -> None:
    assert [fit.compare(same, same, policy) for policy in SignaturePolicy] == [(), (), ()]


@given(SIGNATURES, SIGNATURES)
def test_what_fits_exactly_is_the_same_and_is_compatible(stable: Signature, candidate: Signature) -> None:
    exact = fit.compare(stable, candidate, EXACT)
    assert (exact == ()) is (stable == candidate)
    assert exact or not fit.compare(stable, candidate, COMPATIBLE)
    assert len({str(problem) for problem in exact}) == len(exact)


@given(KINDS, KINDS, KINDS)
def test_a_type_that_fits_what_fits_fits(first: Kind, second: Kind, third: Kind) -> None:
    if not fit.compare(one(first), one(second), COMPATIBLE) and not fit.compare(one(second), one(third), COMPATIBLE):
        assert not fit.compare(one(first), one(third), COMPATIBLE)


# --- MLflow itself agrees: a request that stable takes is taken by what fits it, and no number of it changes

VALUES: dict[str, Any] = {"integer": 7, "long": 2**40, "float": 1.5, "double": 0.1, "boolean": True, "string": "abc"}
PLAIN = st.sampled_from(sorted(VALUES))
SCHEMAS = st.dictionaries(NAMES, st.tuples(PLAIN, st.booleans()), min_size=1, max_size=3)


def of_mlflow(columns: dict[str, tuple[str, bool]]) -> Schema:
    return Schema([ColSpec(kind, name, required=required) for name, (kind, required) in columns.items()])


def ours(columns: dict[str, tuple[str, bool]]) -> Signature:
    return Signature(inputs=tuple(Column(name, Scalar(kind), need) for name, (kind, need) in columns.items()))


def answered(body: dict[str, Any], schema: Schema) -> dict[str, Any]:
    """The row that a model with this schema is given."""
    frame = _enforce_schema(scoring_server.infer_and_parse_data(json.loads(json.dumps(body)), schema), schema)
    row: dict[str, Any] = frame.iloc[0].to_dict() if len(frame.columns) else {}
    return row


@settings(deadline=None, max_examples=300)
@given(SCHEMAS, SCHEMAS, st.data())
def test_mlflow_takes_what_is_said_to_fit(
    stable: dict[str, tuple[str, bool]], candidate: dict[str, tuple[str, bool]], data: st.DataObject
) -> None:
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    if fit.compare(ours(stable), ours(candidate), COMPATIBLE):
        return
    sent = {
        name: VALUES[kind] for name, (kind, required) in stable.items() if required or data.draw(st.booleans(), name)
    }
    body = {"dataframe_split": {"columns": list(sent), "data": [list(sent.values())]}}
    answered(body, of_mlflow(stable))
    taken = answered(body, of_mlflow(candidate))
    assert taken == {name: sent[name] for name in taken}
    assert set(taken) == set(sent) & set(candidate)


@pytest.mark.parametrize("new", ["integer", "long", "float", "double"])
@pytest.mark.parametrize("old", ["integer", "long", "float", "double"])
def test_mlflow_takes_parameters_as_said(old: str, new: str) -> None:
    default: Any = 1 if new in {"integer", "long"} else 1.0
    schema = ParamSchema([ParamSpec("top", DataType[new], default)])
    value = {"integer": 7, "long": 7, "float": 1.5, "double": 1.5}[old]
    try:
        taken = _enforce_params_schema({"top": value}, schema) == {"top": value}
    except MlflowException:
        taken = False
    stable, candidate = (Signature(parameters=(Parameter("top", Scalar(kind), "1"),)) for kind in (old, new))
    if not fit.compare(stable, candidate, COMPATIBLE):
        assert taken
