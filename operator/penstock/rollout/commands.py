"""What people ask for by annotation. Every value names the revision it means, so that a stale one does nothing.

    penstock.dev/promote:   REVISION           all the way to 100 %, past the remaining steps
                            REVISION/INDEX     on from the step with this index (spec.rollout.steps, from 0)
    penstock.dev/skip-step: REVISION/INDEX     the same, for a step that is not a pause
    penstock.dev/abort:     REVISION           undo this candidate
    penstock.dev/retry:     REVISION[/WORD]    try a rolled-back revision again; another WORD for another time

A value acts once: the status remembers the last one of each verb that did.
"""

import enum
from dataclasses import dataclass

from penstock.rollout import draft

PREFIX = "penstock.dev/"


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
    argument: str | None

    @property
    def index(self) -> int | None:
        """The step it names, if it names one."""
        return int(self.argument) if self.argument is not None and self.argument.isdecimal() else None


def given(pass_: draft.Draft, verb: Verb, revision: str) -> Command | None:
    """The command of this kind for this revision, unless there is none or it was acted upon already."""
    value = pass_.meta.annotations.get(PREFIX + verb, "").strip()
    if not value or pass_.status.handled.get(verb) == value:
        return None
    named, _, argument = value.partition("/")
    if named != revision:
        return None
    return Command(verb, value, named, argument or None)


def handled(pass_: draft.Draft, command: Command) -> draft.Draft:
    """Remember that the command was acted upon."""
    return pass_.update(handled={**pass_.status.handled, command.verb: command.value})
