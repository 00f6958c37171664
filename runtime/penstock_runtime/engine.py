"""From bodies to answers: read, check, predict, write. Runs in the prediction threads and never raises.

Every request has the answer that it would have alone. Checks are made a request at a time, so what is joined is
valid; when a joined call fails, or its answer has not one row a row, each request is predicted by itself.
"""

import json
import logging
import math
import time
import traceback
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow import exceptions

from penstock_runtime import fastpath, protocol, rows
from penstock_runtime.answers import Answer, Outcome
from penstock_runtime.model import Model
from penstock_runtime.protocol import Question
from penstock_runtime.work import Call, Request, Work

_log = logging.getLogger("penstock")

_SILENCE = 10.0  # seconds between two complaints


@dataclass(frozen=True, slots=True)
class _Ready:
    """Checked input. Equal keys may be joined; without a key it is predicted alone. A question came the long way."""

    request: Request
    data: Any
    key: Hashable
    length: int
    params: Any = None
    question: Question | None = None


class Engine:
    def __init__(self, model: Model, *, join: bool = True) -> None:
        self._model = model
        self._plan = fastpath.plan(model)
        self._joins = join and model.staged
        self._silent_until = 0.0

    @property
    def joins(self) -> bool:
        """Whether requests can be predicted together; else they are better handed over one by one."""
        return self._joins

    def rehearse(self, body: bytes) -> Answer:
        """Predict the input example; joining ends here for a model that answers it differently in company."""
        request = Request(body, "application/json")
        (alone,) = self.answer([request]).answers
        ready = self._prepare(request)
        if alone.status == 200 and self._joins and isinstance(ready, _Ready) and ready.key is not None:
            together = self._together([ready, ready], [])
            if together is None or not all(close(json.loads(alone.body), json.loads(one.body)) for one in together):
                self._separate("it answers its input example differently when that is given twice")
        return alone

    def answer(self, requests: Sequence[Request]) -> Work:
        """One answer a request, in order."""
        work = Work([], [])
        if len(requests) == 1:
            work.answers.append(self._one(self._prepare(requests[0]), work.calls))
            return work
        prepared = [self._prepare(request) for request in requests]
        groups: dict[Hashable, list[int]] = {}
        for position, ready in enumerate(prepared):
            if isinstance(ready, _Ready) and ready.key is not None:
                groups.setdefault(ready.key, []).append(position)
        answers: list[Answer | None] = [None] * len(prepared)
        for positions in groups.values():
            if len(positions) > 1 and self._joins:
                group = [ready for position in positions if isinstance(ready := prepared[position], _Ready)]
                for position, answer in zip(positions, self._together(group, work.calls) or (), strict=False):
                    answers[position] = answer
        work.answers.extend(
            self._one(ready, work.calls) if answer is None else answer
            for ready, answer in zip(prepared, answers, strict=True)
        )
        return work

    def _prepare(self, request: Request) -> _Ready | Answer:
        decoded = fastpath.decode(request.body) if request.content_type in _JSON else None
        if self._plan is not None and type(decoded) is dict and len(decoded) == 1:
            data = self._plan.read(decoded)
            if isinstance(data, fastpath.Table):
                return _Ready(request, data, "table", data.length)
            if data is not None:
                return _Ready(request, data, rows.key(data), len(data))
        return self._prepare_long(request, decoded)

    def _prepare_long(self, request: Request, decoded: Any = None) -> _Ready | Answer:
        """The way of MLflow's own functions."""
        body = decoded if type(decoded) is dict else request.body
        question = protocol.read(body, request.content_type, self._model)
        if isinstance(question, Answer):
            return question
        if not self._model.staged:
            return _Ready(request, question.data, None, 1, question.params, question)
        try:
            data, params = self._model.check(question.data, question.params)
        except exceptions.MlflowException as error:
            return protocol.unfit(error, question.data)
        except Exception as error:  # noqa: BLE001  # MLflow answers any other error of its checks like a model's
            return protocol.raised(error, question.data, Outcome.BAD_REQUEST)
        key = rows.key(data) if question.params is None and not question.unwrapped else None
        return _Ready(request, data, key, 1 if key is None else len(data), params, question)

    def _one(self, ready: _Ready | Answer, calls: list[Call]) -> Answer:
        if isinstance(ready, Answer):
            return ready
        try:
            if self._model.staged:
                predictions = self._model.predict_checked(self._assemble([ready]), ready.params)
            else:
                predictions = self._model.predict(ready.data, ready.params)
        except BaseException as error:  # noqa: BLE001  # sys.exit in a model is an error of the model
            if ready.question is None:  # the error's text quotes the input as the long way reads it
                return self._one(self._prepare_long(ready.request), calls)
            self._complain(error)
            return protocol.raised(error, ready.question.data)
        unwrapped = ready.question is not None and ready.question.unwrapped
        answer = protocol.write(predictions, unwrapped=unwrapped)
        if answer.status == 200:
            calls.append(Call(1, protocol.numbers(predictions)))
        return answer

    def _complain(self, error: BaseException) -> None:
        """Log where the model raised, now and then; not what it said, which may quote a request."""
        if time.monotonic() < self._silent_until:
            return
        self._silent_until = time.monotonic() + _SILENCE
        last = traceback.extract_tb(error.__traceback__)[-1]
        _log.warning("the model raised %s at %s:%s", type(error).__name__, last.filename, last.lineno)

    def _together(self, group: Sequence[_Ready], calls: list[Call]) -> list[Answer] | None:
        """The answers of one call for all, or None when each must be predicted alone."""
        try:
            predictions = self._model.predict_checked(self._assemble(group), group[0].params)
        except BaseException:  # noqa: BLE001  # whose fault it is shows when each is predicted alone
            return None
        lengths = [ready.length for ready in group]
        if rows.count(predictions) != sum(lengths):
            self._separate("its answer has not one row for each row of its input")
            return None
        calls.append(Call(len(group), protocol.numbers(predictions)))
        return protocol.write_shares(predictions, lengths)

    def _assemble(self, group: Sequence[_Ready]) -> Any:
        if isinstance(self._plan, fastpath.Frame) and isinstance(group[0].data, fastpath.Table):
            return self._plan.assemble([ready.data for ready in group])
        return group[0].data if len(group) == 1 else rows.join([ready.data for ready in group])

    def _separate(self, reason: str) -> None:
        if self._joins:
            self._joins = False
            _log.warning("requests are predicted one by one from now on: %s", reason)


def close(one: Any, other: Any, digits: int = 6) -> bool:
    """Equal JSON but for the last digits, which depend on the number of rows in the linear algebra libraries."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[name], other[name], digits) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(close(*pair, digits) for pair in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=10.0**-digits, abs_tol=1e-9) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)


_JSON = frozenset({"application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"})
