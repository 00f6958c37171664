"""What the event loop and the prediction threads give each other. Light: it is here before MLflow is imported."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from penstock_runtime.answers import Answer


@dataclass(frozen=True, slots=True)
class Request:
    """One body for the model, with its content type."""

    body: bytes
    content_type: str | None


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the model that went well: how many requests it answered, and its numeric predictions."""

    size: int
    numbers: np.ndarray | None


@dataclass(frozen=True, slots=True)
class Work:
    """One answer a request, in order, and the calls that it took."""

    answers: list[Answer]
    calls: list[Call]


class Predictor(Protocol):
    """What answers requests, in a prediction thread."""

    @property
    def joins(self) -> bool:
        """Whether requests can be predicted together; else they are better handed over one by one."""

    def answer(self, requests: Sequence[Request]) -> Work:
        """One answer a request, in order; never raises."""
