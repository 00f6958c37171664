"""MLflow's scoring protocol: bodies to model input, predictions to bodies, exceptions to error answers.

Every rule here is that of `mlflow.pyfunc.scoring_server`, whose own functions do the parsing. Where MLflow's server
falls over (no content type, an answer that is no JSON) this one answers with an error in JSON; the differential test
names those places.
"""

import io
import json
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import mlflow
import numpy as np
import orjson
import pandas as pd
from mlflow import exceptions
from mlflow.protos import databricks_pb2
from mlflow.pyfunc import scoring_server
from mlflow.utils import proto_json_utils

from penstock_runtime import answers
from penstock_runtime.answers import Answer, Outcome
from penstock_runtime.model import Model

_MLFLOW: Final = str(Path(mlflow.__file__).parent)
_FLOATS: Final = (np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.float16))
_MODEL_RAISED: Final = (
    "Encountered an unexpected error while evaluating the model. Verify"
    " that the serialized input Dataframe is compatible with the model for"
    " inference."
)


@dataclass(frozen=True, slots=True)
class Question:
    """A body, read: model input, inference parameters, and whether the answer goes out unwrapped (LLM form)."""

    data: Any
    params: Mapping[str, Any] | None = None
    unwrapped: bool = False


def read(body: bytes | dict[str, Any], content_type: str | None, model: Model) -> Question | Answer:
    """Read a body, or what JSON it is, as MLflow does; an Answer is the refusal."""
    try:
        return _read(body, content_type, model)
    except exceptions.MlflowException as error:
        return refuse(error, Outcome.BAD_REQUEST)
    except Exception as error:  # noqa: BLE001  # MLflow's server falls over here, with a 500
        return crashed(f"The input can not be read: {error!r}", Outcome.BAD_REQUEST)


def _read(body: Any, content_type: str | None, model: Model) -> Question | Answer:
    refusal = _unsupported(content_type)
    if refusal is not None:
        return refusal
    mime_type = (content_type or "").partition(";")[0].strip()
    if mime_type == scoring_server.CONTENT_TYPE_JSON:
        parsed = scoring_server._parse_json_data(body, model.wrapper.metadata, model.schema)  # noqa: SLF001
        return Question(parsed.data, parsed.params, parsed.is_unified_llm_input)
    if mime_type == scoring_server.CONTENT_TYPE_PARQUET:
        return Question(scoring_server.parse_parquet_input(io.BytesIO(body)))
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise proto_json_utils.MlflowInvalidInputException(
            f"Ensure that input is a valid UTF-8 encoded string. Error: '{error!r}'"
        ) from error
    return Question(scoring_server.parse_csv_input(io.StringIO(text), schema=model.schema))


def _unsupported(content_type: str | None) -> Answer | None:
    mime_type, *pairs = [part.strip() for part in (content_type or "").split(";")]
    parameters = {key: value for pair in pairs for key, _, value in [pair.partition("=")]}
    unexpected = set(parameters).difference({"charset"})
    if parameters.get("charset", "utf-8").lower() != "utf-8":
        text = "The scoring server only supports UTF-8"
    elif unexpected:
        text = (
            f"Unrecognized content type parameters: {', '.join(unexpected)}. "
            f"{scoring_server.SCORING_PROTOCOL_CHANGE_INFO}"
        )
    elif mime_type not in scoring_server.CONTENT_TYPES:
        text = (
            "This predictor only supports the following content types:"
            f" Types: {scoring_server.CONTENT_TYPES}."
            f" Got '{content_type}'."
        )
    else:
        return None
    return Answer(415, text.encode(), Outcome.BAD_REQUEST, content_type=answers.TEXT)


def refuse(error: exceptions.MlflowException, outcome: Outcome) -> Answer:
    """An MlflowException as MLflow's server answers it."""
    violation = outcome is Outcome.BAD_REQUEST and (
        isinstance(error, proto_json_utils.MlflowFailedTypeConversion)
        or getattr(error, "error_class", None) == "SCHEMA_ENFORCEMENT_FAILED"
    )
    return Answer(error.get_http_status_code(), error.serialize_as_json().encode(), outcome, violation=violation)


def unfit(error: exceptions.MlflowException, data: Any, outcome: Outcome = Outcome.BAD_REQUEST) -> Answer:
    """An MlflowException out of `predict`; MLflow puts the data in front of it."""
    error.message = f"Failed to predict data '{data}'. \nError: {error.message}"
    return refuse(error, outcome)


def raised(error: BaseException, data: Any, outcome: Outcome = Outcome.MODEL_ERROR) -> Answer:
    """What `predict` raised, as MLflow's server answers it."""
    if isinstance(error, exceptions.MlflowException):
        return unfit(error, data, Outcome.BAD_REQUEST if checking(error.__traceback__) else outcome)
    stack = "".join(traceback.format_exception(error))
    wrapped = exceptions.MlflowException(
        message=_MODEL_RAISED, error_code=databricks_pb2.BAD_REQUEST, stack_trace=stack
    )
    return refuse(wrapped, outcome)


def checking(trace: TracebackType | None) -> bool:
    """Whether an error came out of MLflow's checks of the input: no frame between us and its end is the model's."""
    inside = False
    while trace is not None:
        inside = trace.tb_frame.f_code.co_filename.startswith(_MLFLOW)
        if not inside and trace.tb_frame.f_globals.get("__package__") != __package__:
            return False
        trace = trace.tb_next
    return inside


def crashed(message: str, outcome: Outcome) -> Answer:
    """Where MLflow's server answers a bare `Internal Server Error`."""
    return answers.error(500, "INTERNAL_ERROR", message, outcome)


def write(predictions: Any, *, unwrapped: bool) -> Answer:
    """The predictions as MLflow writes them, NaN and Infinity as bare words included."""
    try:
        values = proto_json_utils._get_jsonable_obj(predictions, pandas_orient="records")  # noqa: SLF001
    except Exception as error:  # noqa: BLE001  # any type may come out of a model, and fail in any way
        return _unwritable(error)
    return _dump(values if unwrapped else {"predictions": values}, plain=_plain(predictions))


def write_shares(predictions: Any, lengths: Sequence[int]) -> list[Answer]:
    """One answer for each so many rows of the predictions, each as if it had been predicted alone."""
    try:
        values = proto_json_utils._get_jsonable_obj(predictions, pandas_orient="records")  # noqa: SLF001
    except Exception as error:  # noqa: BLE001
        return [_unwritable(error)] * len(lengths)
    plain, start, answered = _plain(predictions), 0, []
    for length in lengths:
        answered.append(_dump({"predictions": values[start : start + length]}, plain=plain))
        start += length
    return answered


def _plain(predictions: Any) -> bool:
    """Whether orjson writes them as Python's encoder does: numbers, all of them finite."""
    if not isinstance(predictions, np.ndarray):
        return False
    if predictions.dtype in _FLOATS:
        return bool(np.isfinite(predictions).all())
    return predictions.dtype.kind in "iub"


def _dump(value: Any, *, plain: bool) -> Answer:
    try:
        # dumps, where MLflow has dump: the same text, by the encoder that is written in C
        body = orjson.dumps(value) if plain else json.dumps(value, cls=proto_json_utils.NumpyEncoder).encode()
    except Exception as error:  # noqa: BLE001
        return _unwritable(error)
    return Answer(200, body, Outcome.SUCCESS)


def _unwritable(error: Exception) -> Answer:
    return crashed(f"The model's answer can not be written as JSON: {error!r}", Outcome.MODEL_ERROR)


def numbers(predictions: Any) -> np.ndarray | None:
    """The numeric values of predictions, or None when there are none."""
    if isinstance(predictions, (pd.DataFrame, pd.Series)):
        frame = pd.DataFrame(predictions).select_dtypes(["number", "bool"])
        predictions = frame.to_numpy(dtype=np.float64)
    elif isinstance(predictions, list):
        try:
            predictions = np.asarray(predictions)
        except ValueError:
            return None
    if isinstance(predictions, np.ndarray) and predictions.dtype.kind in "fiub" and predictions.size:
        return predictions.astype(np.float64, copy=False)
    return None
