"""Inputs of several requests as one: what may be joined, and how many rows came back."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd


def key(data: Any) -> Hashable:
    """What must be equal for inputs to be joined; None for input that can not be."""
    if isinstance(data, pd.DataFrame):
        if not len(data) or not isinstance(data.index, pd.RangeIndex) or not data.columns.is_unique:
            return None
        return ("frame", tuple(data.columns), tuple(data.dtypes))
    if isinstance(data, np.ndarray) and data.ndim and len(data):
        return ("array", data.dtype.str, data.shape[1:]) if data.dtype.kind in "fiub" else None
    return None


def join(inputs: Sequence[Any]) -> Any:
    """Inputs of one key, one below the other."""
    if isinstance(inputs[0], pd.DataFrame):
        return pd.concat(inputs, ignore_index=True)
    return np.concatenate(inputs)


def count(predictions: Any) -> int | None:
    """How many rows the model answered, or None when its answer has no rows."""
    if isinstance(predictions, (list, pd.DataFrame, pd.Series)):
        return len(predictions)
    if isinstance(predictions, np.ndarray) and predictions.ndim:
        return len(predictions)
    return None
