"""The two pictures of docs/analysis.md: false alarms as looks add up, and how soon a worse candidate is found.

Run from the root of the checkout: `nice python -m benchmarks.analysis_plots` (about a minute on one core). The rollouts
are those of `benchmarks.analysis_proof` with 10 % of the traffic to the candidate, the ways to judge them the same.
Writes docs/img/*.svg; the same seeds draw the same files.
"""

import argparse
import math
import pathlib
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import axes, figure, ticker
from penstock.analysis.sequential.errorrate import Line

from benchmarks import analysis_proof as proof
from benchmarks import analysis_simulation as simulation
from benchmarks.analysis_simulation import Real

IMAGES = pathlib.Path(__file__).parent.parent / "docs" / "img"
SHARE, REQUESTS, RATE = 0.1, 50, 0.01
STYLES: dict[str, dict[str, Any]] = {
    "sequential comparison": {"color": "#0072b2", "linewidth": 2.2},
    "usual test at every look": {"color": "#d55e00", "linewidth": 1.4, "linestyle": "--"},
    "fixed limit": {"color": "#6b6b6b", "linewidth": 1.4, "linestyle": ":"},
}
CHANGES = {
    "0.1 % to 5 %": (0.001, 0.05, 60),
    "1 % to 3 % (tripled)": (0.01, 0.03, 400),
    "1 % to 2 % (doubled)": (0.01, 0.02, 1200),
}
"""Rates before and after, and looks to take."""


def judged(random: np.random.Generator, looks: int, rates: tuple[float, float], limit: float) -> list[Real]:
    """The look at which each way first says "worse", in the order of STYLES."""
    seen = simulation.steady(random, proof.BATCH, looks, REQUESTS, SHARE, rates)
    return [simulation.worse(seen, Line()), simulation.repeated_test(seen), simulation.threshold(seen, limit, 6)]


def share_by(found: Real, looks: Real) -> Real:
    """The share of rollouts with an alarm up to each look."""
    return np.asarray(np.searchsorted(np.sort(found), looks, side="right") / len(found))


def grid(last: int) -> Real:
    return np.unique(np.geomspace(1, last, 160).round())


def false_alarms(rollouts: int, looks: int) -> figure.Figure:
    """A candidate that is exactly as good as stable."""
    found = proof.batches(rollouts, lambda random: judged(random, looks, (RATE, RATE), 2 * RATE))
    drawn = figure.Figure(figsize=(7.2, 3.6), layout="constrained")
    plot = drawn.subplots()
    for (name, style), column in zip(STYLES.items(), found, strict=True):
        plot.step(grid(looks), share_by(column, grid(looks)) * 100, where="post", label=name, **style)
    plot.axhline(5, color="black", linewidth=0.8)
    plot.annotate("5 % are allowed", (1.1, 6.5), fontsize=8)
    plot.set(xscale="log", xlim=(1, looks), ylim=(0, 101), xlabel=f"looks, {REQUESTS} requests apart")
    plot.set_ylabel("undone by then, %")
    plot.set_title("A version exactly as good as stable (1 % fail, 10 % of traffic)", fontsize=10, loc="left")
    finish(plot)
    plot.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(0.0, 0.92))
    return drawn


def detection(rollouts: int) -> figure.Figure:
    """Candidates that are worse, and limits that somebody set in the middle because he knew both rates."""
    drawn = figure.Figure(figsize=(9.6, 3.6), layout="constrained")
    for plot, (name, (before, after, looks)) in zip(drawn.subplots(1, 3, sharey=True), CHANGES.items(), strict=True):
        found = proof.batches(
            rollouts,
            lambda random, looks=looks, before=before, after=after: judged(  # type: ignore[misc]
                random, looks, (after, before), (before + after) / 2
            ),
        )
        for (way, style), column in zip(STYLES.items(), found, strict=True):
            plot.step(grid(looks) * REQUESTS, share_by(column, grid(looks)) * 100, where="post", label=way, **style)
        planned = proof.planned_test(SHARE, before, after)
        plot.axvline(planned, color="black", linewidth=0.8)
        plot.annotate("planned\ntest", (planned * 1.06, 3), fontsize=7)
        plot.set(xscale="log", xlim=(100, looks * REQUESTS), ylim=(0, 101), xlabel="requests to both versions")
        plot.set_title(name, fontsize=10, loc="left")
        finish(plot)
    first = drawn.axes[0]
    first.set_ylabel("found by then, %")
    lines, names = first.get_legend_handles_labels()
    drawn.legend(lines, names, loc="outside upper left", ncols=3, frameon=False, fontsize=9)
    return drawn


def finish(plot: axes.Axes) -> None:
    plot.spines[["top", "right"]].set_visible(False)
    plot.grid(color="#e4e4e4", linewidth=0.6)
    plot.set_axisbelow(True)
    plot.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
    plot.tick_params(labelsize=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollouts", type=int, default=4000, help="simulated for each line")
    arguments = parser.parse_args()
    mpl.rcParams.update({"svg.hashsalt": "penstock", "svg.fonttype": "none", "font.family": "sans-serif"})
    IMAGES.mkdir(parents=True, exist_ok=True)
    save("analysis-false-alarms.svg", false_alarms(arguments.rollouts, 1000))
    save("analysis-detection.svg", detection(math.ceil(arguments.rollouts / 2)))


def save(name: str, drawn: figure.Figure) -> None:
    drawn.savefig(IMAGES / name, metadata={"Date": None, "Creator": None})
    print(IMAGES / name)


if __name__ == "__main__":
    main()
