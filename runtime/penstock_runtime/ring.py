"""The latest items of an endless series, numbered from 1, within so many entries and so many bytes.

Made for one writer that must not wait: appending is O(1), whatever is overwritten; there is no lock, because one event
loop owns it. A reader brings the number it has come to, so the ring knows no readers, and a reader that was away too
long is told how much it lost.
"""

import array
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")

# What an item takes beside its texts (the item, its time, the heads of two byte strings), and what its place takes.
OVERHEAD: Final = 240
PLACE: Final = 16


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Items with their numbers, oldest first; `lost` were overwritten before. Go on after `next`."""

    items: list[tuple[int, T]]
    next: int
    lost: int


class Ring(Generic[T]):
    """At most `entries` items in at most `size` bytes of memory."""

    def __init__(self, entries: int, size: int) -> None:
        self._places = max(1, min(entries, size // (OVERHEAD + PLACE)))
        self._items: list[T | None] = [None] * self._places
        self._sizes = array.array("Q", [0]) * self._places
        self._size = size - PLACE * self._places
        self._held = 0
        self._first = 1
        self._accounted = 0
        self.last = 0
        self.lost = 0

    def append(self, item: T, size: int) -> None:
        """Keep the item, which has texts of `size` bytes, in the place of the oldest ones."""
        size += OVERHEAD
        self.last += 1
        if self.last - self._first >= self._places:
            self._drop()
        place = self.last % self._places
        self._items[place] = item
        self._sizes[place] = size
        self._held += size
        while self._held > self._size:
            self._drop()

    def _drop(self) -> None:
        place = self._first % self._places
        self._items[place] = None
        self._held -= self._sizes[place]
        self._first += 1

    def read(self, after: int, limit: int) -> Page[T]:
        """The oldest items above `after`. Somebody who asks for the first time, with 0, has lost nothing."""
        start = max(after + 1, self._first)
        end = min(start + limit - 1, self.last)
        items = [(n, item) for n in range(start, end + 1) if (item := self._items[n % self._places]) is not None]
        lost = max(0, self._first - 1 - after) if after else 0
        if after:  # what several readers have lost is counted once
            self.lost += max(0, self._first - 1 - max(self._accounted, after))
        self._accounted = max(self._accounted, end, self._first - 1)
        return Page(items, items[-1][0] if items else self.last, lost)
