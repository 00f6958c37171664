"""From bodies to answers: read, check, predict, write. Runs in the prediction thread and never raises."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mlflow import exceptions

from penstock_runtime import protocol
from penstock_runtime.answers import Answer
from penstock_runtime.model import Model
from penstock_runtime.protocol import Question


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


class Engine:
    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def joins(self) -> bool:
        """Whether requests can be predicted together; else they are better handed over one by one."""
        return False

    def answer(self, requests: Sequence[Request]) -> Work:
        work = Work([], [])
        for request in requests:
            work.answers.append(self._alone(request, work.calls))
        return work

    def _alone(self, request: Request, calls: list[Call]) -> Answer:
        question = protocol.read(request.body, request.content_type, self._model)
        if isinstance(question, Answer):
            return question
        return self._predict(question, calls)

    def _predict(self, question: Question, calls: list[Call]) -> Answer:
        data, params = question.data, question.params
        try:
            if self._model.staged:
                data, params = self._model.check(data, params)
        except exceptions.MlflowException as error:
            return protocol.unfit(error, question.data)
        try:
            if self._model.staged:
                predictions = self._model.predict_checked(data, params)
            else:
                predictions = self._model.predict(data, params)
        except BaseException as error:  # noqa: BLE001  # sys.exit in a model is an error of the model
            return protocol.raised(error, question.data)
        answer = protocol.write(predictions, unwrapped=question.unwrapped)
        if answer.status == 200:
            calls.append(Call(1, protocol.numbers(predictions)))
        return answer
