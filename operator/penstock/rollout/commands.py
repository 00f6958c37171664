"""What people ask for by annotation. Every value names the revision it means, so that a stale one does nothing.

    penstock.dev/promote:   REVISION[/all]           all the way to 100 %, past the remaining steps
                            REVISION/INDEX[/WORD]    on from the step with this index (spec.rollout.steps, from 0)
    penstock.dev/skip-step: REVISION/INDEX[/WORD]    the same, for a step that is not a pause
    penstock.dev/abort:     REVISION[/WORD]          undo this candidate
    penstock.dev/retry:     REVISION[/WORD]          try a rolled-back revision again

A value acts once: the status remembers the last one of each verb. Another WORD asks for the same another time.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from penstock.rollout import draft

PREFIX = "penstock.dev/"
ALL = "all"
AGAIN = "again"


class Verb(enum.StrEnum):
    """What can be asked for."""

    PROMOTE = "promote"
    SKIP_STEP = "skip-step"
    ABORT = "abort"
    RETRY = "retry"


@dataclass(frozen=True)
class Command:
    """One request of a person that has not been acted upon."""

    verb: Verb
    value: str
    revision: str
    arguments: tuple[str, ...] = ()

    @property
    def index(self) -> int | None:
        """The step it names, if it names one."""
        return int(self.arguments[0]) if self.arguments and self.arguments[0].isdecimal() else None

    @property
    def to_the_end(self) -> bool:
        """Whether it names no step but means all of them."""
        return not self.arguments or self.arguments[0] == ALL


def given(pass_: draft.Draft, verb: Verb, revision: str) -> Command | None:
    """The command of this kind for this revision, unless there is none or it was acted upon already."""
    value = pass_.meta.annotations.get(PREFIX + verb, "").strip()
    if not value or pass_.status.handled.get(verb) == value:
        return None
    named, *arguments = value.split("/")
    if named != revision:
        return None
    return Command(verb, value, named, tuple(arguments))


def handled(pass_: draft.Draft, command: Command) -> draft.Draft:
    """Remember that the command was acted upon."""
    return pass_.update(handled={**pass_.status.handled, command.verb: command.value})


def forget(pass_: draft.Draft, revision: str, verbs: Iterable[Verb]) -> draft.Draft:
    """Let what was written so far about this revision count as done: it was meant for what is over now."""
    for verb in verbs:
        command = given(pass_, verb, revision)
        if command is not None:
            pass_ = handled(pass_, command)
    return pass_


def suggestion(pass_: draft.Draft, verb: Verb, revision: str, index: int | None = None) -> str:
    """The annotation that a person is told to write: one that has not acted yet."""
    value = revision if index is None else f"{revision}/{index}"
    if pass_.status.handled.get(verb) == value:
        value = f"{value}/{ALL if verb is Verb.PROMOTE and index is None else AGAIN}"
    return f"{PREFIX}{verb}={value}"
