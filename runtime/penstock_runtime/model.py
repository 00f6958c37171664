"""A loaded MLflow model: what MLflow's `PyFuncModel.predict` does, cut at the seam between checking input and
predicting.

MLflow enforces the signature and calls the model in one function. Cut in two, the caller's mistakes are told from the
model's, and checked inputs of several requests can be predicted in one call. Models whose checks MLflow does inside
the call (type hints, wrappers of its own) stay whole: `staged` is false for them.
"""

import inspect
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import exceptions, pyfunc
from mlflow.models import utils as model_utils
from mlflow.pyfunc import context

from penstock_runtime import errors


@dataclass(frozen=True, slots=True)
class Model:
    """A model in memory. `example` is its input example as a body for /invocations, where it has one."""

    wrapper: Any
    staged: bool
    schema: Any
    params_schema: Any
    loader: str
    example: bytes | None
    signature: Mapping[str, Any] | None
    _predict: Callable[..., Any]
    _takes_params: bool
    _context: Mapping[str, Any]

    def check(self, data: Any, params: Mapping[str, Any] | None) -> tuple[Any, Any]:
        """Bring input and parameters to the signature's types; MlflowException says what does not fit."""
        checked: tuple[Any, Any] = pyfunc._validate_prediction_input(  # noqa: SLF001  # the seam
            data, params, self.schema, self.params_schema, self.loader
        )
        return checked

    def predict_checked(self, data: Any, params: Any = None) -> Any:
        """Predict input that went through `check`."""
        with context.set_prediction_context(context.Context(**self._context)):
            if self._takes_params:
                return self._predict(data, params=params)
            return self._predict(data)

    def predict(self, data: Any, params: Any) -> Any:
        """Check and predict in one, by MLflow itself."""
        return self.wrapper.predict(data, params=params)


def load(directory: Path, title: str) -> Model:
    """Load the model in `directory`; raises Failure with the cure when that can not be done."""
    if not (directory / "MLmodel").is_file():
        raise errors.Failure(
            f"{title} cannot be loaded: there is no MLmodel file in {directory}; run `penstock-serve download` first, "
            "or set PENSTOCK_MODEL_DIR to a folder that holds an MLflow model"
        )
    os.environ["_MLFLOW_IS_IN_SERVING_ENVIRONMENT"] = "true"
    try:
        wrapper = pyfunc.load_model(str(directory), suppress_warnings=True, model_config=_model_config())
    except Exception as error:
        raise errors.Failure(_cannot_load(title, error)) from error
    metadata = wrapper.metadata
    impl_parameters = inspect.signature(wrapper._predict_fn).parameters  # noqa: SLF001
    takes_params = impl_parameters.get("params")
    return Model(
        wrapper=wrapper,
        staged=type(wrapper) is pyfunc.PyFuncModel
        and not metadata._is_signature_from_type_hint()  # noqa: SLF001
        and not metadata._is_type_hint_from_example()  # noqa: SLF001
        and not (metadata.metadata and "dependencies_schemas" in metadata.metadata),
        schema=metadata.get_input_schema(),
        params_schema=metadata.get_params_schema(),
        loader=wrapper.loader_module,
        example=_example(wrapper, directory),
        signature=_signature(metadata.signature),
        _predict=wrapper._predict_fn,  # noqa: SLF001
        _takes_params=takes_params is not None and takes_params.kind is not inspect.Parameter.VAR_KEYWORD,
        _context={"model_id": wrapper.model_id} if wrapper.model_id else {},
    )


def _model_config() -> Mapping[str, Any] | None:
    """MLflow's own way to override a model's configuration at serving time."""
    text = os.environ.get("SERVING_MODEL_CONFIG")
    return json.loads(text) if text else None


def _example(wrapper: Any, directory: Path) -> bytes | None:
    information = wrapper.metadata.saved_input_example_info
    if not information:
        return None
    saved: Path = directory / information.get("serving_input_path", "serving_input_example.json")
    if saved.is_file():
        return saved.read_bytes()
    if wrapper.input_example is None:
        return None
    try:
        text: str | None = model_utils.convert_input_example_to_serving_input(wrapper.input_example)
    except exceptions.MlflowException:
        return None
    return text.encode() if text else None


def _signature(signature: Any) -> Mapping[str, Any] | None:
    if signature is None:
        return None
    return {part: json.loads(text) if text else None for part, text in signature.to_dict().items()}


def _cannot_load(title: str, error: Exception) -> str:
    said = errors.one_line(error)
    if isinstance(error, ModuleNotFoundError):
        cure = f"add {error.name!r} to the image that serves it"
    elif 'does not have the "python_function" flavor' in said:
        cure = "log it with a flavour that has python_function (mlflow.pyfunc.log_model does)"
    elif isinstance(error, exceptions.MlflowException):
        cure = "log the model again with the MLflow version of the image, or change the image"
    elif isinstance(error, MemoryError):
        cure = "give the container more memory"
    else:
        cure = "serve it with an image that has the library versions of the model's requirements.txt"
    return f"{title} cannot be loaded: {type(error).__name__ + ': ' if said else ''}{said}; {cure}"
