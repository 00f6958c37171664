"""`python -m dev.demo`: shows what Penstock does, live, on a cluster with the release installed.

Runs in the cluster's network (`make demo` takes care of it). Ends with 0 if the story went as it should, with 1 if not.
"""

import argparse
import asyncio
import sys

from kubernetes.aio import client
from rich import console, live

from dev.demo import cluster, plain, stage, story, summary
from dev.demo import live as screen
from dev.demo.state import State

REFRESH_SECONDS = 0.25


def main() -> int:
    """Show the demo and return the exit code."""
    place = _place()
    try:
        return asyncio.run(_run(place))
    except KeyboardInterrupt:
        print(f"\nStopped. The ModelDeployment stays in namespace {place.namespace}; the next demo begins anew.")
        return 130


def _place() -> story.Place:
    parser = argparse.ArgumentParser(prog="dev.demo", description="Show a good and a bad rollout under traffic.")
    parser.add_argument("--namespace", default="penstock-demo", help="where the model is deployed")
    parser.add_argument("--system-namespace", default="penstock-system", help="where the release is installed")
    parser.add_argument("--release", default="penstock", help="name of the release")
    parser.add_argument("--rate", type=float, default=60, help="requests per second")
    options = parser.parse_args()
    return story.Place(options.namespace, options.system_namespace, options.release, options.rate)


async def _run(place: story.Place) -> int:
    terminal, on = console.Console(), stage.Stage()
    view = _live(terminal, on) if terminal.is_terminal else _log(on)
    watching = asyncio.create_task(view)
    told, failure = None, None
    try:
        told = await story.play(place, on)
    except* (cluster.DemoError, client.ApiException, OSError, TimeoutError) as errors:
        failure = _first(errors)
    finally:
        await _end(watching)
    if told is None:
        print(f"\nThe demo stopped: {failure}", file=sys.stderr)
        return 1
    found = story.problems(told)
    print("\n".join(["", "Summary", *summary.lines(told), ""]))
    print("\n".join([f"NOT AS IT SHOULD BE: {problem}" for problem in found] or summary.next_steps(told, place)))
    return 1 if found else 0


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


async def _end(view: asyncio.Task[None]) -> None:
    if not view.done():
        view.cancel()
        await asyncio.wait([view])
    if not view.cancelled():
        view.result()


async def _live(terminal: console.Console, on: stage.Stage) -> None:
    with live.Live(screen.draw(on.state()), console=terminal, auto_refresh=False) as display:
        try:
            while True:
                await asyncio.sleep(REFRESH_SECONDS)
                display.update(screen.draw(on.state()), refresh=True)
        finally:
            display.update(screen.draw(on.state()), refresh=True)


async def _log(on: stage.Stage) -> None:
    before, spoken = State(), 0.0
    try:
        while True:
            before, spoken = _say(before, on.state(), spoken)
            await asyncio.sleep(REFRESH_SECONDS)
    finally:
        _say(before, on.state(), spoken)


def _say(before: State, now: State, spoken: float) -> tuple[State, float]:
    """Print what changed, or after a while of nothing a sign of life."""
    lines = plain.lines(before, now)
    if not lines and now.elapsed - spoken >= plain.HEARTBEAT_SECONDS:
        lines = [plain.heartbeat(now)]
    if lines:
        print("\n".join(lines), flush=True)
        spoken = now.elapsed
    return now, spoken


if __name__ == "__main__":
    sys.exit(main())
