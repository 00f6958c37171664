"""How the runtime ends: one sentence that says what is wrong and what to do, free of secrets.

The kubelet shows the termination log in the pod's status; the operator quotes it from there.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s'\"]+@")
_QUERY = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]*")
_LONGEST = 1500
_FINAL = 65
_TRY_AGAIN = 75


class Failure(Exception):
    """The process can not go on; its text is the sentence for the termination log.

    `code` is its exit code, after sysexits.h: 65, waiting will not help; 75, something outside is down and trying
    again may help. The operator reads it: the first undoes a rollout at once, the second has until its deadline.
    """

    def __init__(self, sentence: str, *, passing: bool = False) -> None:
        super().__init__(sentence)
        self.code = _TRY_AGAIN if passing else _FINAL


def redact(text: str, secrets: Sequence[str]) -> str:
    """Take credentials out of a text: those inside URIs, signed queries, and the given values."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return _QUERY.sub(r"\1?***", _CREDENTIALS.sub("***@", text))


def one_line(error: BaseException) -> str:
    """The error's text on one line, or its type when it has none."""
    text = " ".join(str(error).split())
    return text or type(error).__name__


def report(sentence: str, termination_log: Path, secrets: Sequence[str]) -> None:
    """Write the sentence to stderr and to the termination log, where there is one."""
    clean = redact(sentence, secrets)
    if len(clean) > _LONGEST:
        clean = clean[: _LONGEST - 1] + "…"
    sys.stderr.write(clean + "\n")
    try:
        termination_log.write_text(clean + "\n", encoding="utf-8")
    except OSError as error:
        sys.stderr.write(f"the termination log {termination_log} can not be written: {error.strerror}\n")
