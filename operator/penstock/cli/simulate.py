"""`penstock simulate`: how often a spec undoes a good version, and how soon a bad one, before anyone risks traffic."""

import argparse
import math
import random
import sys
from collections.abc import Callable
from typing import TextIO

from penstock.cli import given, report, rollouts, summary, traffic

HORIZON_SECONDS = 86400.0
_DESCRIPTION = """\
Folds the operator's own decisions over many made-up rollouts of a ModelDeployment: of a version that is as good as
stable, and of one that fails as you say. Requests come at random, answer times are log-normal, pods and routes are
ready at once. Nothing is asked of a cluster. Metrics other than ErrorRate and Latency are left out.
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "simulate",
        help="how often a spec undoes a good version, and how soon a bad one",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option("-f", "--file", required=True, help="YAML with a ModelDeployment in it")
    option("--name", help="which ModelDeployment of the file; the first one if absent")
    option("--candidate-error-rate", type=_share, required=True, help="share of requests that the bad version fails")
    option("--stable-error-rate", type=_share, default=0.002, help="the same of stable (default: %(default)s)")
    option("--requests-per-second", type=_positive, default=20.0, help="requests of users (default: %(default)s)")
    option(
        "--candidate-latency-factor",
        type=_positive,
        default=1.0,
        help="how many times as long as stable the bad version takes (default: %(default)s)",
    )
    option(
        "--stable-latency-seconds",
        type=_positive,
        default=0.05,
        help="median answer time of stable; p99 is 3.2 times as much (default: %(default)s)",
    )
    option("--rollouts", type=_count, default=500, help="how many of each version (default: %(default)s)")
    option(
        "--horizon-seconds",
        type=_positive,
        default=HORIZON_SECONDS,
        help="simulated time after which a rollout counts as waiting (default: %(default)s)",
    )
    option("--seed", type=int, default=1, help="the same seed finds the same (default: %(default)s)")
    option("-o", "--output", choices=("text", "json"), default="text", help="how to print it (default: %(default)s)")
    parser.set_defaults(run=run)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a number") from None
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return number


def _share(text: str) -> float:
    number = _number(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share from 0 to 1: write 0.03 for 3 %")
    return number


def _positive(text: str) -> float:
    number = _number(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Simulate and print. Raises BadInputError."""
    deployment = given.read(arguments.file, arguments.name)
    case, notes = rollouts.prepare(deployment.spec, arguments.horizon_seconds)
    stable = traffic.version(arguments.stable_error_rate, arguments.stable_latency_seconds)
    slower = arguments.stable_latency_seconds * arguments.candidate_latency_factor
    bad = traffic.version(arguments.candidate_error_rate, slower)
    progress = Progress(sys.stderr, 2 * arguments.rollouts)
    found = [
        many(case, stream, arguments.rollouts, f"{arguments.seed}/{name}", progress.advance)
        for name, stream in {
            "good": traffic.Stream(arguments.requests_per_second, stable, stable),
            "bad": traffic.Stream(arguments.requests_per_second, bad, stable),
        }.items()
    ]
    progress.end()
    told = report.Report(
        deployment=deployment.name,
        rollouts=arguments.rollouts,
        seed=arguments.seed,
        horizon_seconds=arguments.horizon_seconds,
        requests_per_second=arguments.requests_per_second,
        stable_error_rate=arguments.stable_error_rate,
        candidate_error_rate=arguments.candidate_error_rate,
        stable_latency_seconds=arguments.stable_latency_seconds,
        candidate_latency_factor=arguments.candidate_latency_factor,
        notes=notes,
        good=found[0],
        bad=found[1],
    )
    print(report.as_json(told) if arguments.output == "json" else report.as_text(told))
    return 0


def many(
    case: rollouts.Case, stream: traffic.Stream, count: int, seed: str, ended: Callable[[], None]
) -> summary.Summary:
    """`count` rollouts, each with a random stream of its own, named by the seed and its number."""
    endings: list[rollouts.Ending] = []
    for number in range(count):
        source = random.Random(f"{seed}/{number}")  # noqa: S311 - a simulation that can be repeated
        endings.append(rollouts.fold(case, stream, source))
        ended()
    return summary.summarize(endings)


class Progress:
    """How many rollouts have ended, on one line of a terminal; nothing where nobody watches."""

    def __init__(self, out: TextIO, total: int) -> None:
        self._out, self._total, self._done = out, total, 0

    def advance(self) -> None:
        """One more has ended."""
        self._done += 1
        if self._out.isatty():
            print(f"\r{self._done} of {self._total} rollouts", end="", file=self._out, flush=True)

    def end(self) -> None:
        """Leave the line to others."""
        if self._out.isatty():
            print("\r\033[K", end="", file=self._out, flush=True)
