"""What was found, for people (a table) and for machines (JSON). Rich draws the table where it is installed."""

import dataclasses
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penstock.cli import chance, summary


@dataclass(frozen=True)
class Report:
    """All of it: what was assumed, what was left out, how each version fared."""

    deployment: str
    rollouts: int
    seed: int
    horizon_seconds: float
    requests_per_second: float
    stable_error_rate: float
    candidate_error_rate: float
    stable_latency_seconds: float
    candidate_latency_factor: float
    notes: tuple[str, ...]
    good: summary.Summary
    bad: summary.Summary


_MOST_PLACES = 6


def as_json(report: Report) -> str:
    """One object; keys in camelCase, seconds and shares as plain numbers, null where there is nothing to speak of."""
    return json.dumps(_plain(report), indent=2)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {_camel(part.name): _plain(getattr(value, part.name)) for part in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


def as_text(report: Report) -> str:
    """A table with a column for each version, and sentences on what it rests on."""
    good, bad = report.good, report.bad
    rows = [
        ("undone", _share(good.undone), _share(bad.undone)),
        ("promoted", _share(good.promoted), _share(bad.promoted)),
        (f"waiting after {duration(report.horizon_seconds)}", _share(good.waiting), _share(bad.waiting)),
        ("until undone", _times(good.seconds_to_undo), _times(bad.seconds_to_undo)),
        ("until promoted", _times(good.seconds_to_promotion), _times(bad.seconds_to_promotion)),
        ("failed requests of users", _counts(good.failed_requests), _counts(bad.failed_requests)),
        ("undone in", _places(good.undone_in, report.rollouts), _places(bad.undone_in, report.rollouts)),
        ("waiting in", _places(good.waiting_in, report.rollouts), _places(bad.waiting_in, report.rollouts)),
    ]
    head = ("", f"as good as stable ({_percent(report.stable_error_rate)} fail)", _bad(report))
    lead = (
        f"{report.deployment}: {report.rollouts} rollouts of each version, {report.requests_per_second:g} requests/s, "
        f"seed {report.seed}"
    )
    legend = (
        "Shares of rollouts with 95 % intervals; times and requests are the median / what 90 % do not exceed.\n"
        "Failed requests are those of users, up to the moment at which the version was undone."
    )
    return "\n".join([lead, *(f"- {note}" for note in report.notes), "", table(head, rows), "", legend])


def _bad(report: Report) -> str:
    slower = (
        ""
        if report.candidate_latency_factor == 1
        else f", answers take {report.candidate_latency_factor:g} times as long"
    )
    return f"the candidate ({_percent(report.candidate_error_rate)} fail{slower})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of equal columns, cells of many lines allowed."""
    return plain_table(head, rows) if importlib.util.find_spec("rich") is None else _rich(head, rows)


def plain_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table without Rich."""
    lines = [list(map(str.splitlines, row)) for row in (head, *rows)]
    widths = [max(len(line) for row in lines for line in row[column]) for column in range(len(head))]
    drawn = []
    for number, row in enumerate(lines):
        for line in range(max(map(len, row))):
            cells = [cell[line] if line < len(cell) else "" for cell in row]
            drawn.append("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
        if number == 0:
            drawn.append("  ".join("-" * width for width in widths))
    return "\n".join(drawn)


def _rich(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    import rich.box
    import rich.console
    import rich.table

    drawn = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for name in head:
        drawn.add_column(name)
    for row in rows:
        drawn.add_row(*row)
    console = rich.console.Console(width=120, color_system=None)
    with console.capture() as captured:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in captured.get().splitlines() if line.strip())


def duration(seconds: float) -> str:
    """90 s, 12 min, 3.5 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def _share(found: chance.Share) -> str:
    return f"{_percent(found.share)} ({_percent(found.low)} to {_percent(found.high)})"


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %" if share < 0.1 else f"{share * 100:.1f} %".replace(".0 %", " %")


def _times(found: summary.Spread) -> str:
    if found.median is None or found.p90 is None:
        return "-"
    return f"{duration(found.median)} / {duration(found.p90)}"


def _counts(found: summary.Spread) -> str:
    return "-" if found.median is None or found.p90 is None else f"{found.median:,.0f} / {found.p90:,.0f}"


def _places(found: Sequence[summary.Place], rollouts: int) -> str:
    lines = [f"{one.step} ({', '.join(one.metrics)}): {_percent(one.count / rollouts)}" for one in found[:_MOST_PLACES]]
    rest = sum(one.count for one in found[_MOST_PLACES:])
    return "\n".join([*lines, *([f"elsewhere: {_percent(rest / rollouts)}"] if rest else [])]) or "-"
