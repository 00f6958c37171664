"""Small MLflow models, each saved once a session: one for every way in which a model can behave."""

# MLflow takes hints on these arguments for a request to check input by them.
# ruff: noqa: ANN001, ARG002
# mypy: disable-error-code="no-untyped-def"

import atexit
import functools
import json
import pathlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import mlflow
import numpy as np
import pandas as pd
from mlflow.types import schema as types
from sklearn import datasets, linear_model

MIXED = ("double", "long", "integer", "float", "boolean", "string")


class Echo(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Answers what it was given, types included: one string a row."""

    def predict(self, context: Any, model_input, params: Any = None) -> Any:
        if isinstance(model_input, pd.DataFrame):
            head = [f"{name}:{dtype}" for name, dtype in model_input.dtypes.items()]
            rows = model_input.itertuples(index=False, name=None)
            return [json.dumps([head, [f"{type(value).__name__} {value!r}" for value in row], params]) for row in rows]
        if isinstance(model_input, np.ndarray):
            return [f"{model_input.dtype} {row!r} {params}" for row in model_input]
        return [f"{type(model_input).__name__} {model_input!r} {params}"]


class Moody(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Does what the word in its column `mood` says; else its answer is the length of the word."""

    def predict(self, context: Any, model_input) -> Any:
        words = list(model_input["mood"])
        for word in words:
            _act(word)
        if "object" in words:
            return [object() if word == "object" else len(word) for word in words]
        if "short" in words:
            return [1]
        if "scalar" in words:
            return 4
        lengths = [float("nan") if word == "nan" else float(len(word)) for word in words]
        if "frame" in words:
            return pd.DataFrame({"length": lengths, "word": words})
        if "series" in words:
            return pd.Series(lengths, name="length")
        return np.array(lengths)


def _act(word: str) -> None:
    if word == "boom":
        raise ValueError("the model does not like boom")
    if word == "mlflow":
        raise mlflow.exceptions.MlflowException("the model complains", error_code=5)
    if word == "exit":
        sys.exit(3)
    if word.startswith("sleep "):
        time.sleep(float(word.removeprefix("sleep ")))


class Typed(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """MLflow checks its input by the type hint, inside the call."""

    def predict(self, model_input: list[str]) -> list[str]:
        if "boom" in model_input:
            raise ValueError("the model does not like boom")
        return [word.upper() for word in model_input]


class Chat(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Without a signature: answers what it got, for the forms of language models."""

    def predict(self, context: Any, model_input, params: Any = None) -> Any:
        return {"got": repr(model_input), "params": params}


class Company(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Not row by row: its answer depends on the other rows of the call."""

    def predict(self, context: Any, model_input) -> Any:
        return np.full(len(model_input), float(model_input["x"].sum()))


class Hanging(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Never answers."""

    def predict(self, context: Any, model_input) -> Any:
        time.sleep(3600)


class Late(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Takes its time to load."""

    def load_context(self, context: Any) -> None:
        time.sleep(3600)

    def predict(self, context: Any, model_input) -> Any:
        return model_input


class Unloadable(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Asks for a library that no image has."""

    def load_context(self, context: Any) -> None:
        __import__("a_library_that_nobody_has")

    def predict(self, context: Any, model_input) -> Any:
        return model_input


def _signature(columns: dict[str, str], *, optional: tuple[str, ...] = (), params: Any = None) -> Any:
    specs = [types.ColSpec(kind, name, required=name not in optional) for name, kind in columns.items()]
    return mlflow.models.ModelSignature(inputs=types.Schema(specs), params=params)


def _python(python_model: Any, signature: Any = None, example: Any = None) -> Callable[[pathlib.Path], None]:
    def save(path: pathlib.Path) -> None:
        mlflow.pyfunc.save_model(
            str(path), python_model=python_model, signature=signature, input_example=example, pip_requirements=[]
        )

    return save


def _iris(path: pathlib.Path, *, signature: bool, probabilities: bool = False) -> None:
    features, target = datasets.load_iris(return_X_y=True, as_frame=True)
    features.columns = ["a", "b", "c", "d"]
    model = linear_model.LogisticRegression(max_iter=500).fit(features if signature else features.to_numpy(), target)
    mlflow.sklearn.save_model(
        model,
        str(path),
        signature=mlflow.models.infer_signature(features, model.predict(features)) if signature else None,
        input_example=features.head(2) if signature else None,
        pip_requirements=[],
        pyfunc_predict_fn="predict_proba" if probabilities else "predict",
    )


def _with_example(path: pathlib.Path, example: bytes) -> None:
    """The moody model with another example, which no MLflow would have accepted."""
    shutil.copytree(saved("moody"), path)
    (path / "serving_input_example.json").write_bytes(example)


def _broken(path: pathlib.Path, name: str, content: bytes) -> None:
    shutil.copytree(saved("moody"), path)
    (path / name).write_bytes(content)


def _params() -> Any:
    return types.ParamSchema([types.ParamSpec("heat", "double", 0.5), types.ParamSpec("loud", "boolean", False)])


_BUILDERS: dict[str, Callable[[pathlib.Path], None]] = {
    "iris": lambda path: _iris(path, signature=True),
    "iris-probabilities": lambda path: _iris(path, signature=True, probabilities=True),
    "iris-bare": lambda path: _iris(path, signature=False),
    "mixed": _python(Echo(), _signature({kind: kind for kind in MIXED})),
    "doubles": _python(Echo(), _signature({"x": "double", "y": "double"})),
    "integers": _python(Echo(), _signature({"integer": "integer"})),
    "optional": _python(Echo(), _signature({"x": "double", "y": "double"}, optional=("y",))),
    "one": _python(Echo(), _signature({"x": "double"})),
    "dated": _python(Echo(), _signature({"when": "datetime", "raw": "binary"})),
    "params": _python(Echo(), _signature({"x": "double"}, params=_params())),
    "tensor": _python(
        Echo(),
        mlflow.models.ModelSignature(inputs=types.Schema([types.TensorSpec(np.dtype("float64"), (-1, 3))])),
    ),
    "tensor-32": _python(
        Echo(), mlflow.models.ModelSignature(inputs=types.Schema([types.TensorSpec(np.dtype("float32"), (-1, 2))]))
    ),
    "tensor-integers": _python(
        Echo(), mlflow.models.ModelSignature(inputs=types.Schema([types.TensorSpec(np.dtype("int64"), (-1, 2))]))
    ),
    "bare": _python(Echo()),
    "moody": _python(Moody(), _signature({"mood": "string"}), pd.DataFrame({"mood": ["glad"]})),
    "typed": _python(Typed()),
    "chat": _python(Chat()),
    "company": _python(Company(), _signature({"x": "double"}), pd.DataFrame({"x": [1.0, 2.0]})),
    "hanging-example": lambda path: _with_example(path, b'{"dataframe_records": [{"mood": "sleep 3600"}]}'),
    "failing-example": lambda path: _with_example(path, b'{"dataframe_records": [{"mood": "boom"}]}'),
    "no-flavour": lambda path: _broken(
        path, "MLmodel", b"flavors: {}\nmodel_uuid: a\nutc_time_created: '2026-01-01'\n"
    ),
    "no-pickle": lambda path: _broken(path, "python_model.pkl", b"this is no pickle"),
    "hanging": _python(Hanging(), _signature({"x": "double"})),
    "late": _python(Late()),
    "unloadable": _python(Unloadable()),
}


@functools.cache
def _folder() -> pathlib.Path:
    folder = pathlib.Path(tempfile.mkdtemp(prefix="penstock-models-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    return folder


@functools.cache
def saved(name: str) -> pathlib.Path:
    """The folder of the named model."""
    path = _folder() / name
    _BUILDERS[name](path)
    return path
