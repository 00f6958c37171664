"""Findings in words: one sentence with the numbers it rests on. Bounds are rounded away from what was established.

"Worse by at least" is rounded down and "worse by at most" up, so that no sentence claims more than the evidence.
"""

import decimal
import math
from collections.abc import Callable

from penstock.analysis.sequential.counts import Counts, Pair
from penstock.analysis.sequential.margin import Absolute, Margin
from penstock.analysis.sequential.outcome import Interval, NotWorse, Undecided, Worse

Verdict = type[Worse] | type[NotWorse] | type[Undecided]
Render = Callable[[str], str]


def errors(
    name: str,
    total: Pair,
    interval: Interval,
    allowed: Margin,
    confidence: float,
    verdict: Verdict,
    looks: int,
    *,
    comparable: bool,
) -> str:
    """One sentence about error rates; `comparable` says whether any interval had requests to both versions."""
    lead = f"{name}: {_failed(total.candidate)} against {_failed(total.stable)}"
    if not comparable:
        return f"{lead}: nothing to compare yet, no interval had requests to both versions"
    if isinstance(allowed, Absolute):
        return f"{lead}: {finding(interval, allowed.value, confidence, verdict, looks, _points, scale=100)}"
    return f"{lead}: {finding(interval, allowed.value, confidence, verdict, looks, percent, scale=100)}"


def finding(
    interval: Interval,
    allowed: float,
    confidence: float,
    verdict: Verdict,
    looks: int,
    render: Render,
    *,
    scale: float = 1.0,
) -> str:
    """What was found about the increase, how surely, and after how many looks. `scale` turns it into what is shown."""
    low, high = interval.low * scale, interval.high * scale
    sure = f"at {plain(confidence * 100)} % after {looks:,} look{'' if looks == 1 else 's'}"
    limit = "" if high <= 0 else f", within the margin of {render(plain(allowed * scale))}"
    if verdict is Worse:
        return f"worse by at least {render(rounded(low, up=False))} {sure}"
    if verdict is NotWorse:
        return f"{_at_most(high, render)}{limit} {sure}"
    return f"between {_signed(low, render, up=False)} and {_signed(high, render, up=True)} {sure}: not decided yet"


def _at_most(high: float, render: Render) -> str:
    if high < 0:
        return f"better by at least {render(rounded(-high, up=False))}"
    return "not worse" if high == 0 else f"worse by at most {render(rounded(high, up=True))}"


def _signed(value: float, render: Render, *, up: bool) -> str:
    if math.isinf(value):
        return "any amount worse" if value > 0 else "any amount better"
    if value == 0:
        return "as good"
    if value < 0:
        return f"{render(rounded(-value, up=not up))} better"
    return f"{render(rounded(value, up=up))} worse"


def rounded(value: float, *, up: bool) -> str:
    """A number that is not negative with two significant digits, rounded in the direction that is asked for."""
    if value == 0 or math.isinf(value):
        return plain(value)
    exact = decimal.Decimal(f"{value:.9g}")  # 0.1 + 0.2 is 0.3 here
    step = decimal.Decimal(1).scaleb(exact.adjusted() - 1)
    rounding = decimal.ROUND_CEILING if up else decimal.ROUND_FLOOR
    return plain(float((exact / step).to_integral_value(rounding) * step))


def plain(value: float) -> str:
    """Up to four significant digits, whole numbers in full with thousands separated."""
    return f"{value:,.0f}" if abs(value) >= 1000 and math.isfinite(value) else f"{value:.4g}"


def _failed(counts: Counts) -> str:
    if counts.total == 0:
        return "no requests"
    return f"{counts.errors:,} of {counts.total:,} ({_rate(counts.errors * 100 / counts.total)} %)"


def _rate(percent: float) -> str:
    """One decimal, or one significant digit where that says more."""
    return f"{percent:.1f}" if percent >= 0.1 or percent == 0 else f"{percent:.1g}"


def _points(number: str) -> str:
    return f"{number} point{'' if number == '1' else 's'}"


def percent(number: str) -> str:
    """A share that is written in percent."""
    return f"{number} %"


def seconds(number: str) -> str:
    """A duration that is written in seconds."""
    return f"{number} s"


def bare(number: str) -> str:
    """A number without a unit."""
    return number
