"""How much worse than stable a candidate may be."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Absolute:
    """A difference, in the unit of what is compared; of error rates 0.005 is half a percentage point.

    Raises ValueError unless it is finite and not negative.
    """

    value: float = 0.0

    def __post_init__(self) -> None:
        _check(self.value)


@dataclass(frozen=True, slots=True)
class Relative:
    """A share of stable's own value: 0.5 is half as much again. Raises ValueError unless finite and not negative."""

    value: float = 0.0

    def __post_init__(self) -> None:
        _check(self.value)


Margin = Absolute | Relative


def threshold(confidence: float) -> float:
    """The natural logarithm of the evidence that is enough: log(1 / (1 - confidence)), by Ville's inequality.

    Raises ValueError unless 0.5 <= confidence < 1.
    """
    if not 0.5 <= confidence < 1:
        raise ValueError(f"confidence is {confidence}: choose at least 0.5 and less than 1, such as 0.95")
    return -math.log1p(-confidence)


def _check(value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"the margin is {value}: choose a finite number that is not negative")
