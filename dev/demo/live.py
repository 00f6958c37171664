"""The demo for a terminal: one screen drawn from the state. Pure."""

from rich import box, console, panel, progress_bar, table, text

from dev.demo import plain, state
from dev.demo.state import State

EVENTS_SHOWN = 7
MARKS = {"done": ("✔", "green"), "now": ("▶", "bold cyan"), "next": ("·", "dim")}
VERDICT_STYLES = {"Pass": "green", "Fail": "bold red", "Inconclusive": "yellow", "Error": "magenta"}
PHASE_STYLES = {"Healthy": "bold green", "Progressing": "bold cyan", "RollingBack": "bold red", "Degraded": "bold red"}


def draw(now: State) -> console.RenderableType:
    """The whole screen."""
    title = text.Text(now.scene.title, style="bold")
    parts: list[console.RenderableType] = [
        panel.Panel(text.Text(now.scene.text or " ", style="italic"), title=title, title_align="left", box=box.HEAVY),
        _phase(now),
        _versions(now),
        _steps(now),
        _verdicts(now),
        panel.Panel(
            _events(now),
            title="events",
            title_align="left",
            border_style="dim",
            box=box.ROUNDED,
            height=EVENTS_SHOWN + 2,
        ),
        _totals(now),
    ]
    return console.Group(*parts)


def _phase(now: State) -> text.Text:
    phase = now.status.phase.value
    line = text.Text(no_wrap=True, overflow="ellipsis").append(f"{now.elapsed:5.0f} s  ", style="dim")
    line.append(phase, style=PHASE_STYLES.get(phase, "bold yellow"))
    return line.append(f"  {now.status.message}")


def _versions(now: State) -> table.Table:
    grid = table.Table(box=box.SIMPLE_HEAD, expand=True)
    for heading in ("version", "", "share"):
        grid.add_column(heading, no_wrap=True)
    grid.add_column("", ratio=1)
    for heading in ("requests/s", "failed/s", "failed"):
        grid.add_column(heading, justify="right", no_wrap=True)
    rates = {rate.version: rate for rate in now.calls.rates} if now.calls else {}
    failed = now.calls.failed if now.calls else {}
    shares = state.shares(now.status)
    gone = sorted(set(failed) - {part.version for part in shares})
    for part in (*shares, *(state.Share(version, "gone", 0) for version in gone)):
        rate = rates.get(part.version)
        bad = failed.get(part.version, 0)
        grid.add_row(
            text.Text(str(part.version), style="bold"),
            part.part,
            f"{part.percent} %" + (f" + copies of {part.mirror} %" if part.mirror else ""),
            _bar(part),
            f"{rate.per_second:.0f}" if rate else "-",
            text.Text(f"{rate.failed_per_second:.0f}" if rate else "-", style="red" if rate and bad else ""),
            text.Text(str(bad), style="bold red" if bad else ""),
        )
    return grid


def _bar(part: state.Share) -> progress_bar.ProgressBar:
    colour = "green" if part.part == "stable" else "cyan"
    return progress_bar.ProgressBar(total=100, completed=part.percent, complete_style=colour, finished_style=colour)


def _steps(now: State) -> text.Text:
    line = text.Text(" ")
    if now.spec is None or now.status.candidate is None:
        return line
    for step in state.steps(now.spec, now.status):
        mark, style = MARKS[step.mark]
        line.append(f" {mark} {step.title}  ", style=style)
    return line


def _verdicts(now: State) -> text.Text:
    """One line each, and room for those to come, so that the screen does not jump."""
    block = text.Text(no_wrap=True, overflow="ellipsis")
    for verdict in now.status.verdicts:
        block.append(f"  {verdict.verdict.value:<13}", style=VERDICT_STYLES.get(verdict.verdict.value, ""))
        block.append(f"{verdict.message}\n")
    planned = len(now.spec.rollout.analysis.metrics) if now.spec is not None else 0
    return block.append("\n" * (planned - len(now.status.verdicts)))


def _events(now: State) -> text.Text:
    block = text.Text(no_wrap=True, overflow="ellipsis")
    for told in now.events[-EVENTS_SHOWN:]:
        block.append(f"{told.reason} ", style="bold red" if told.warning else "bold")
        block.append(f"{told.message}\n")
    block.rstrip()
    return block


def _totals(now: State) -> text.Text:
    if now.calls is None:
        return text.Text("  no requests yet", style="dim")
    style = "bold red" if now.calls.lost else "green"
    return text.Text("  ").append(plain.failures(now.calls), style=style)
