"""One request and what became of it, told apart by whose doing it is.

Rule: a model failed a request only if the answer names the revision and carries an error that a model server gives for
its model. Everything else that is no success was lost on the way, and a rollout must never lose anything.
"""

import enum
from dataclasses import dataclass

MODEL_ERRORS = frozenset({"BAD_REQUEST", "INTERNAL_ERROR", "INVALID_PARAMETER_VALUE", "DEADLINE_EXCEEDED"})
"""Values of `error_code` with which a model server says that the model, or its caller, is to blame."""


class Outcome(enum.StrEnum):
    """Whose doing it is."""

    ANSWERED = "answered"
    FAILED = "failed"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer. Times are in seconds since the traffic began."""

    request_id: str
    sent_at: float
    ended_at: float
    status: int | None
    """None when no complete answer came back."""
    revision: str | None = None
    version: int | None = None
    error: str = ""
    """`error_code` of an answer that has one, the class of a transport error, or nothing."""

    @property
    def outcome(self) -> Outcome:
        """Whether it was answered, failed by the model, or lost."""
        if self.status == 200:
            return Outcome.ANSWERED
        if self.status is not None and self.revision is not None and self.error in MODEL_ERRORS:
            return Outcome.FAILED
        return Outcome.LOST

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended_at - self.sent_at

    def __str__(self) -> str:
        who = f" from version {self.version} (revision {self.revision})" if self.revision else ""
        what = f"status {self.status}{who}" if self.status is not None else "no answer"
        why = f": {self.error}" if self.error else ""
        return f"{self.request_id}, sent at {self.sent_at:.2f} s: {what} after {self.seconds:.3f} s{why}"
