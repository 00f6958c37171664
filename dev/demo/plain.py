"""The demo for a log: a line whenever something changes, and a sign of life in between. Pure."""

from dev.demo import state
from dev.demo.state import State
from dev.traffic import report

HEARTBEAT_SECONDS = 5.0


def lines(before: State, after: State) -> list[str]:
    """What to print now that `before` has become `after`."""
    told = [*_scene(before, after), *_events(before, after), *_split(before, after), *_calls(before, after)]
    return [f"[{after.elapsed:6.1f} s] {line}" for line in told]


def heartbeat(now: State) -> str:
    """A sign of life: who answers how much."""
    if now.spec is None:
        return f"[{now.elapsed:6.1f} s]   ..."
    where = now.status.message or "waiting for the operator"
    return f"[{now.elapsed:6.1f} s]   {_rates(now)}{now.status.phase.value}: {where}"


def _scene(before: State, after: State) -> list[str]:
    if after.scene == before.scene:
        return []
    return [f"=== {after.scene.title}", *([f"    {after.scene.text}"] if after.scene.text else [])]


def _events(before: State, after: State) -> list[str]:
    known = {told.uid for told in before.events}
    return [
        f"  {'!' if told.warning else '-'} {told.reason}: {told.message}"
        for told in after.events
        if told.uid not in known
    ]


def _split(before: State, after: State) -> list[str]:
    was, now = state.shares(before.status), state.shares(after.status)
    if was == now or not now:
        return []
    return ["  > requests: " + ", ".join(share(part) for part in now)]


def share(part: state.Share) -> str:
    """A share in words."""
    copies = f" and copies of {part.mirror} %" if part.mirror else ""
    return f"{part.percent} % to version {part.version} ({part.part}){copies}"


def _calls(before: State, after: State) -> list[str]:
    if after.calls is None:
        return []
    old = before.calls or state.Calls()
    lost = [f"  ! the first request was lost after {after.calls.sent}"] if after.calls.lost and not old.lost else []
    return lost + [
        f"  ! the first bad answer comes from version {version}"
        for version in sorted(set(after.calls.failed) - set(old.failed))
    ]


def _rates(now: State) -> str:
    if now.calls is None:
        return ""
    parts = [rate(one) for one in now.calls.rates] or ["no answers"]
    return f"{', '.join(parts)}; {failures(now.calls)}; "


def rate(one: report.Rate) -> str:
    """The rate of one version in words."""
    bad = f" ({one.failed_per_second:.0f}/s failed)" if one.failed_per_second else ""
    return f"version {one.version} {one.per_second:.0f}/s{bad}"


def failures(calls: state.Calls) -> str:
    """What went wrong so far in words."""
    by = ", ".join(f"{count} by version {version}" for version, count in sorted(calls.failed.items()))
    return f"{calls.sent} sent, {by or 'none'} failed, {calls.lost} lost"
