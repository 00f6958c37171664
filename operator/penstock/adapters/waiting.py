"""What waits for its counterpart: by id, within so many entries and bytes, the oldest leaving first."""

from collections.abc import Iterator
from dataclasses import dataclass

OVERHEAD = 400
"""Bytes that an entry takes beside its texts."""


@dataclass(frozen=True, slots=True)
class Room:
    """For how much may wait of each version, and how long."""

    entries: int = 20_000
    size: int = 8 << 20
    patience: float = 60.0


@dataclass(frozen=True, slots=True)
class Kept:
    """Of one answer or truth; the text is None if there is none, or none any more."""

    text: str | None
    failed: bool
    since: float
    settled: bool = False


class Waiting:
    """Entries by id, the oldest first, within a `Room`."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._kept: dict[str, Kept] = {}
        self.size = 0

    def __contains__(self, request: str) -> bool:
        return request in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, request: str) -> Kept | None:
        return self._kept.get(request)

    def put(self, request: str, kept: Kept) -> list[tuple[str, Kept]]:
        """Keep it, in the place of one with the same id. Those that had to leave for it."""
        self.pop(request)
        self._kept[request] = kept
        self.size += _size(request, kept)
        return list(self._leave(self._room.entries, self._room.size))

    def settle(self, request: str, *, keep_text: bool = False) -> None:
        """Remember the id, and that it is dealt with."""
        kept = self._kept[request]
        settled = Kept(kept.text if keep_text else None, kept.failed, kept.since, settled=True)
        self.size += _size(request, settled) - _size(request, kept)
        self._kept[request] = settled

    def pop(self, request: str) -> Kept | None:
        kept = self._kept.pop(request, None)
        if kept is not None:
            self.size -= _size(request, kept)
        return kept

    def older(self, than: float) -> list[str]:
        """Ids of those that wait since before `than`."""
        found = []
        for request, kept in self._kept.items():
            if kept.since >= than:
                break
            found.append(request)
        return found

    def halve(self) -> list[tuple[str, Kept]]:
        """The older half leaves."""
        return list(self._leave(len(self._kept) // 2, self._room.size))

    def _leave(self, entries: int, size: int) -> Iterator[tuple[str, Kept]]:
        while len(self._kept) > entries or self.size > size:
            request = next(iter(self._kept))
            kept = self.pop(request)
            if kept is not None:
                yield request, kept


class Ids:
    """The latest ids, as numbers: what was seen, when it is not kept."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._known: dict[int, None] = {}

    def __contains__(self, request: str) -> bool:
        return hash(request) in self._known

    def add(self, request: str) -> None:
        self._known[hash(request)] = None
        if len(self._known) > self._entries:
            del self._known[next(iter(self._known))]

    def size(self) -> int:
        return 100 * len(self._known)


def _size(request: str, kept: Kept) -> int:
    return OVERHEAD + len(request) + len(kept.text or "")
