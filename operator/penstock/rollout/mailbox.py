"""Answers that came in between passes, kept until a pass has taken them into the status.

Lost in a crash, and that does no harm: whatever is missing is asked for again.
"""

import datetime
from dataclasses import dataclass, field, replace

from penstock.rollout import world

TRIES_BELONG_TOGETHER = datetime.timedelta(seconds=120)


@dataclass
class Mailbox:
    """The answers for one object."""

    measured: list[world.Measured] = field(default_factory=list)
    asked_at: dict[tuple[world.StepId, str], datetime.datetime] = field(default_factory=dict)
    smoke: world.SmokeResult | None = None
    tagged: set[tuple[str, datetime.datetime]] = field(default_factory=set)
    refused: dict[str, world.PodFailure] = field(default_factory=dict)
    signatures: world.Signatures | None = None

    def last_measured(self, step: world.StepId | None) -> dict[str, datetime.datetime]:
        """When each metric was last asked for in this stay in this step."""
        return {metric: at for (asked, metric), at in self.asked_at.items() if asked == step}

    def heard(self, signatures: world.Signatures) -> None:
        """Keep what was read of two revisions' signatures, counting tries that end soon after one that failed."""
        before = self.signatures
        if before is not None and before.unread is not None:
            same = (before.stable, before.wanted) == (signatures.stable, signatures.wanted)
            if same and signatures.at - before.at < TRIES_BELONG_TOGETHER:
                signatures = replace(signatures, tries=before.tries + 1)
        self.signatures = signatures

    def take(self, seen: world.Seen) -> None:
        """Drop what the pass that saw `seen` has put into the status."""
        self.measured = [measured for measured in self.measured if measured not in seen.measured]
        self.tagged -= seen.tagged

    def start_step(self, step: world.StepId | None) -> None:
        """Forget what was asked in earlier steps."""
        self.asked_at = {key: at for key, at in self.asked_at.items() if key[0] == step}
