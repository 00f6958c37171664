"""Short cuts from JSON to checked model input, taken only where MLflow's long way provably ends at the same place.

A plan is made from the signature once. Reading a body by it either gives what MLflow's parsing and schema enforcement
would give, value for value and type for type, or None: then the long way is taken, and finds the error or does the
rare conversion. No short cut ever refuses a request. tests/unit/runtime/test_fastpath.py holds both ways side by side
on generated bodies.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
import pandas as pd
from mlflow.types import schema as types

from penstock_runtime.model import Model

# Integers of more than 64 bits are the one thing that orjson reads differently: as floats.
_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")
_LONG: Final = b"0" * 19
_TOO_LONG: Final = (b"0" * 20, b"-" + b"0" * 19)

_FRAME_FORMS: Final = frozenset({"dataframe_split", "dataframe_records"})
_ROW_FORMS: Final = frozenset({"dataframe_records", "instances", "inputs"})
_NUMBERS: Final = frozenset({float, int, type(None)})


@dataclass(frozen=True, slots=True)
class Table:
    """Checked rows for a frame, not yet a frame: a matrix when every column is `double`, else a list a column."""

    length: int
    matrix: np.ndarray | None
    columns: Sequence[Sequence[Any]] = ()


def decode(body: bytes) -> Any:
    """The JSON value of a body, or None where Python's own parser might say something else."""
    shape = body.translate(_DIGITS)
    if _LONG in shape and any(number in shape for number in _TOO_LONG):
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


class Frame:
    """The plan for a signature of named columns of plain types."""

    def __init__(self, schema: Any, kinds: Sequence["_Kind"], *, ignores_index: bool) -> None:
        self._names: list[str] = schema.input_names()
        self._index = pd.Index(self._names)
        self._set = frozenset(self._names)
        self._kinds = kinds
        self._doubles = all(kind is _KINDS["double"] for kind in kinds)
        self._ignores_index = ignores_index
        self._forms = frozenset(
            form for form in (*_ROW_FORMS, "dataframe_split") if all(form in kind.forms for kind in kinds)
        )

    def read(self, content: Mapping[str, Any]) -> Table | None:
        """The rows of a decoded body that has nothing but one known form in it."""
        ((form, value),) = content.items()
        if form not in self._forms:
            return None
        rows = self._split(value) if form == "dataframe_split" else self._records(value)
        if not rows:
            return None
        return self._matrix(rows) if self._doubles else self._table(rows)

    def _split(self, value: Any) -> Sequence[Sequence[Any]] | None:
        if type(value) is not dict or not value.keys() <= {"columns", "data", "index"}:
            return None
        rows, names = value.get("data"), value.get("columns")
        if type(rows) is not list or type(names) is not list:
            return None
        if "index" in value and not (self._ignores_index and value["index"] == list(range(len(rows)))):
            return None
        width = len(self._names)
        if len(names) != width or not all(type(row) is list and len(row) == width for row in rows):
            return None
        if names == self._names:
            return rows
        if not all(type(name) is str for name in names) or set(names) != self._set:
            return None
        order = [names.index(name) for name in self._names]
        return [[row[position] for position in order] for row in rows]

    def _records(self, value: Any) -> Sequence[Sequence[Any]] | None:
        width = len(self._names)
        if type(value) is not list or not all(type(row) is dict and len(row) == width for row in value):
            return None
        try:
            return [[row[name] for name in self._names] for row in value]
        except KeyError:
            return None

    def _matrix(self, rows: Sequence[Sequence[Any]]) -> Table | None:
        if not _NUMBERS.issuperset(map(type, itertools.chain.from_iterable(rows))):
            return None
        return Table(len(rows), np.array(rows, dtype=np.float64))

    def _table(self, rows: Sequence[Sequence[Any]]) -> Table | None:
        columns = list(zip(*rows, strict=True))
        for kind, column in zip(self._kinds, columns, strict=True):
            if not kind.fits(column):
                return None
        return Table(len(rows), None, columns)

    def assemble(self, tables: Sequence[Table]) -> pd.DataFrame:
        """One frame of all rows, laid out in memory as MLflow's."""
        if self._doubles:
            matrices = [table.matrix for table in tables if table.matrix is not None]
            matrix = matrices[0] if len(matrices) == 1 else np.concatenate(matrices)
            return pd.DataFrame(np.asfortranarray(matrix), columns=self._index, copy=False)
        return pd.DataFrame(
            {
                name: kind.build(list(itertools.chain.from_iterable(table.columns[position] for table in tables)))
                for position, (name, kind) in enumerate(zip(self._names, self._kinds, strict=True))
            }
        )


class Array:
    """The plan for one unnamed tensor, or, without a `dtype`, for a model without a signature."""

    def __init__(self, dtype: np.dtype[Any] | None, shape: tuple[int, ...] | None) -> None:
        self._dtype = dtype
        self._shape = shape

    def read(self, content: Mapping[str, Any]) -> np.ndarray | None:
        ((form, value),) = content.items()
        if form not in {"instances", "inputs"} or type(value) is not list or not value:
            return None
        try:
            array = np.array(value)
        except ValueError:
            return None
        if array.dtype not in _INFERRED:
            return None
        if self._shape is None or self._dtype is None:
            return array
        if len(self._shape) != array.ndim or any(
            wanted not in {-1, given} for wanted, given in zip(self._shape, array.shape, strict=True)
        ):
            return None
        if array.dtype == self._dtype:
            return array
        return np.array(value, dtype=self._dtype) if self._dtype.kind == "f" else None


def plan(model: Model) -> Frame | Array | None:
    """The short cut for a model, or None when there is none."""
    if not model.staged or model.params_schema is not None:
        return None
    if model.schema is None:
        return Array(None, None)
    inputs = list(model.schema.inputs)
    if model.schema.is_tensor_spec():
        if len(inputs) != 1 or inputs[0].name is not None or inputs[0].type not in _TENSORS:
            return None
        return Array(inputs[0].type, tuple(inputs[0].shape))
    kinds = [_KINDS.get(spec.type.name) if isinstance(spec.type, types.DataType) else None for spec in inputs]
    known = [kind for kind in kinds if kind is not None]
    if (
        not model.schema.has_input_names()
        or len(known) != len(kinds)
        or len(set(model.schema.input_names())) != len(kinds)
    ):
        return None
    return Frame(model.schema, known, ignores_index=model.loader == "mlflow.sklearn")


@dataclass(frozen=True, slots=True)
class _Kind:
    """One column type: which values it takes as they are, in which forms, and the array they become."""

    fits: Callable[[Sequence[Any]], bool]
    build: Callable[[list[Any]], Any]
    forms: frozenset[str]


def _only(*accepted: type) -> Callable[[Sequence[Any]], bool]:
    wanted = frozenset(accepted)
    return lambda column: wanted.issuperset(map(type, column))


def _small(bits: int) -> Callable[[Sequence[Any]], bool]:
    most = 2 ** (bits - 1)
    return lambda column: all(type(value) is int and -most <= value < most for value in column)


def _float32(column: Sequence[Any]) -> bool:
    # integers alone would be rounded once by MLflow, and twice here
    return set(map(type, column)) == {float}


def _array(dtype: type) -> Callable[[list[Any]], Any]:
    return lambda values: np.array(values, dtype=dtype)


_ALL: Final = _FRAME_FORMS | _ROW_FORMS
_KINDS: Final[Mapping[str, _Kind]] = {
    "double": _Kind(_only(float, int, type(None)), _array(np.float64), _ALL),
    "long": _Kind(_small(64), _array(np.int64), _ALL),
    "integer": _Kind(_small(32), _array(np.int32), _ALL - {"inputs"}),
    "float": _Kind(_float32, lambda values: np.array(values, dtype=np.float64).astype(np.float32), _FRAME_FORMS),
    "boolean": _Kind(_only(bool), _array(np.bool_), _ALL),
    "string": _Kind(_only(str), _array(object), _FRAME_FORMS),
}
_INFERRED: Final = (np.dtype(np.float64), np.dtype(np.int64))
_TENSORS: Final = (np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.int64))
