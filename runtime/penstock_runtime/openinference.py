"""The Open Inference Protocol v2 as a translation: its tensors to a body of MLflow's protocol, and answers back.

So both protocols share the checks, the short cuts and the batches. Named columns take one tensor each, of shape [n]
or [n, 1]; a single matrix as wide as the signature stands for all of them. Errors are `{"error": ...}` here.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from penstock_runtime import answers
from penstock_runtime.answers import Answer, Outcome

_PLATFORM: Final = "mlflow"
_SIGNATURE_TYPES: Final = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
    "binary": "BYTES",
    "datetime": "BYTES",
}
_TENSOR_TYPES: Final = {"bool": "BOOL", "str": "BYTES", "object": "BYTES", "float": "FP", "int": "INT", "uint": "UINT"}


def refusal(status: int, message: str, outcome: Outcome = Outcome.BAD_REQUEST) -> Answer:
    return Answer(status, json.dumps({"error": message}).encode(), outcome)


def metadata(name: str, version: str, signature: Mapping[str, Any] | None) -> Answer:
    """The model's description, tensors as its signature has them."""
    described = {
        "name": name,
        "versions": [version] if version else [],
        "platform": _PLATFORM,
        "inputs": _tensors((signature or {}).get("inputs")),
        "outputs": _tensors((signature or {}).get("outputs")),
    }
    return Answer(200, json.dumps(described).encode(), Outcome.SUCCESS)


def _tensors(part: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    return [
        {"name": str(spec.get("name", f"tensor-{number}")), **_described(spec)}
        for number, spec in enumerate(part or ())
    ]


def _described(spec: Mapping[str, Any]) -> dict[str, Any]:
    tensor = spec.get("tensor-spec")
    if tensor is None:
        return {"datatype": _SIGNATURE_TYPES.get(str(spec.get("type")), "BYTES"), "shape": [-1]}
    kind = str(tensor["dtype"]).rstrip("0123456789")
    bits = str(tensor["dtype"])[len(kind) :] if kind in {"float", "int", "uint"} else ""
    return {"datatype": _TENSOR_TYPES.get(kind, "BYTES") + bits, "shape": list(tensor["shape"])}


def question(body: bytes, signature: Mapping[str, Any] | None) -> tuple[bytes, Any] | Answer:
    """The body for /invocations and the request's id, or the refusal."""
    try:
        request = json.loads(body)
        tensors = _named(request["inputs"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        what = f"{error!r}" if isinstance(error, KeyError) else f"{error}"
        return refusal(400, f"The request is not of the Open Inference Protocol: {what}")
    content = _content(tensors, list((signature or {}).get("inputs") or ()))
    if request.get("parameters") and (signature or {}).get("params"):
        content["params"] = request["parameters"]
    return json.dumps(content).encode(), request.get("id")


def _named(tensors: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    named = {str(tensor["name"]): _nested(tensor) for tensor in tensors}
    if not named or len(named) != len(tensors):
        raise ValueError("`inputs` needs tensors, each with a name of its own")
    return named


def _nested(tensor: Mapping[str, Any]) -> Any:
    """The data in its shape; it may come flat, in row-major order, or nested already."""
    flat, shape = _flat(tensor["data"]), [int(size) for size in tensor["shape"]]
    if not shape or math.prod(shape) != len(flat) or min(shape) < 0:
        raise ValueError(f"tensor {tensor['name']} has {len(flat)} values, which is not its shape {shape}")
    for size in reversed(shape[1:]):
        flat = [flat[start : start + size] for start in range(0, len(flat), size)] if size else []
    return flat


def _flat(data: Any) -> list[Any]:
    if not isinstance(data, list):
        return [data]
    return [value for item in data for value in _flat(item)] if any(isinstance(item, list) for item in data) else data


def _content(tensors: Mapping[str, Any], inputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = next(iter(tensors.values()))
    if inputs and "tensor-spec" in inputs[0]:
        return {"inputs": dict(tensors) if "name" in inputs[0] else first}
    names = [str(spec["name"]) for spec in inputs if "name" in spec]
    matrix = len(tensors) == 1 and isinstance(first[0] if first else None, list)
    if matrix and names and names != list(tensors) and len(first[0]) == len(names):
        return {"dataframe_split": {"columns": names, "data": first}}
    if matrix and not names:
        return {"inputs": first}
    columns = [_column(values) for values in tensors.values()]
    if len({len(column) for column in columns}) != 1:
        return {"inputs": dict(zip(tensors, columns, strict=True))}  # refused by MLflow, in its words
    return {"dataframe_split": {"columns": list(tensors), "data": [list(row) for row in zip(*columns, strict=True)]}}


def _column(values: Sequence[Any]) -> Sequence[Any]:
    return (
        [value[0] for value in values]
        if all(isinstance(value, list) and len(value) == 1 for value in values)
        else values
    )


def response(answer: Answer, name: str, version: str, identifier: Any) -> Answer:
    """MLflow's answer as tensors."""
    if answer.status != 200:
        return failed(answer)
    content = json.loads(answer.body)
    described = {
        "model_name": name,
        "model_version": version,
        **({} if identifier is None else {"id": identifier}),
        "outputs": _outputs(content["predictions"]),
    }
    return Answer(200, json.dumps(described).encode(), answer.outcome)


def failed(answer: Answer) -> Answer:
    """A refusal in MLflow's form, in the form of this protocol."""
    content = json.loads(answer.body) if answer.content_type == answers.JSON else {"message": answer.body.decode()}
    return replace(answer, body=json.dumps({"error": content.get("message", content.get("error"))}).encode())


def _outputs(predictions: Any) -> list[dict[str, Any]]:
    if isinstance(predictions, list) and predictions and all(isinstance(row, dict) for row in predictions):
        names = list(predictions[0])
        if all(list(row) == names for row in predictions):
            return [_output(str(name), [row[name] for row in predictions]) for name in names]
    return [_output("predict", predictions if isinstance(predictions, list) else [predictions])]


def _output(name: str, rows: Sequence[Any]) -> dict[str, Any]:
    shape, flat = [len(rows)], list(rows)
    while flat and all(isinstance(item, list) for item in flat) and len({len(item) for item in flat}) == 1:
        shape.append(len(flat[0]))
        flat = [value for item in flat for value in item]
    kinds = {type(value) for value in flat}
    for accepted, datatype in (({bool}, "BOOL"), ({int}, "INT64"), ({int, float}, "FP64"), ({str}, "BYTES")):
        if kinds <= accepted:
            return {"name": name, "shape": shape, "datatype": datatype, "data": flat}
    return {"name": name, "shape": [len(rows)], "datatype": "BYTES", "data": [json.dumps(row) for row in rows]}
