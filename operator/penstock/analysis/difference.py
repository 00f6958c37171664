"""How far two JSON predictions are apart. Pure.

They are walked together, so that every entry meets its counterpart: rows by position, fields by name. Where there is no
counterpart, or one of another type, the answers differ in kind, and no number says by how much: the difference is
infinite. true is no 1, and 1 is 1.0; a NaN is like another NaN, and an infinity like the same infinity.
"""

import math
import sys
from dataclasses import dataclass
from typing import Any, TypeGuard


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Numbers agree within absolute + relative * |stable's|, give or take the last bits of a floating-point number.

    Raises ValueError unless both are finite and not negative.
    """

    absolute: float = 0.0
    relative: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("absolute", self.absolute), ("relative", self.relative)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"the {name} tolerance is {value}: choose a finite number that is not negative")

    def allows(self, stable: float, distance: float) -> bool:
        """Whether numbers that far apart agree; all three finite."""
        allowed = self.absolute + self.relative * abs(stable)
        if allowed == 0:
            return distance == 0
        return distance <= allowed + 4 * sys.float_info.epsilon * (abs(stable) + distance)


@dataclass(frozen=True, slots=True)
class Difference:
    """Whether two answers agree, and the means over their numbers of |candidate - stable| and of the same / |stable|.

    `largest` is the largest of the absolute ones. Means are infinite if not every entry can be subtracted (or divided:
    a relative difference from 0 is infinite), and 0 for equal answers without numbers.
    """

    agrees: bool
    absolute: float = 0.0
    relative: float = 0.0
    largest: float = 0.0


OF_KIND = Difference(False, math.inf, math.inf, math.inf)
"""Nothing to subtract."""


def difference(stable: object, candidate: object, tolerance: Tolerance = Tolerance()) -> Difference:
    """Of two JSON values, of any depth."""
    agrees, numbers, absolute, relative, largest = True, 0, 0.0, 0.0, 0.0
    waiting: list[tuple[Any, Any]] = [(stable, candidate)]
    while waiting:
        its, mine = waiting.pop()
        if _is_number(its) and _is_number(mine):
            distance = _distance(its, mine)
            if math.isinf(distance):
                return OF_KIND
            numbers += 1
            absolute += distance
            relative += _ratio(distance, its)
            largest = max(largest, distance)
            agrees = agrees and (distance == 0 or tolerance.allows(float(its), distance))
        elif isinstance(its, list) and isinstance(mine, list) and len(its) == len(mine):
            waiting += zip(its, mine, strict=True)
        elif isinstance(its, dict) and isinstance(mine, dict) and its.keys() == mine.keys():
            waiting += ((its[name], mine[name]) for name in its)
        elif type(its) is not type(mine) or isinstance(its, list | dict) or its != mine:
            return OF_KIND
    share = max(numbers, 1)
    return Difference(agrees, absolute / share, relative / share, largest)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _distance(stable: float, candidate: float) -> float:
    """Infinite if it is not a finite number, and 0 for equal ones, NaN and infinities among them."""
    if stable == candidate or (stable != stable and candidate != candidate):  # noqa: PLR0124  # NaN, without overflow
        return 0.0
    try:
        distance = abs(float(candidate) - float(stable))
    except OverflowError:  # a whole number beyond all floating-point numbers
        return math.inf
    return distance if math.isfinite(distance) else math.inf


def _ratio(distance: float, stable: float) -> float:
    if distance == 0:
        return 0.0
    size = abs(float(stable))
    try:
        return distance / size
    except (ZeroDivisionError, OverflowError):
        return math.inf
