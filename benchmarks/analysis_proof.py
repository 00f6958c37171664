"""How often the sequential comparisons are wrong, and how long they take to be right, beside simpler ways to judge.

Run from the root of the checkout: `nice python -m benchmarks.analysis_proof` (a few minutes on one core). Every number
comes from simulated rollouts with a fixed seed. Writes benchmarks/results/analysis_proof.json.

*repeated test*: a one-sided two-proportion z-test at 5 %, read at every look. *threshold*: the candidate's error rate
over the last 6 looks (if they have 20 requests), alarm above a limit; in the table of power the limit is in the middle
between the two rates, better than anyone could have set it. *planned test*: requests that the z-test needs if its only
look was planned before, for 80 % power.
"""

import argparse
import json
import math
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from penstock.analysis.sequential import counts, errorrate, margin, mean
from penstock.analysis.sequential.errorrate import Line

from benchmarks import analysis_shipped
from benchmarks import analysis_simulation as simulation
from benchmarks.analysis_simulation import Real, Traffic

RESULTS = pathlib.Path(__file__).parent / "results" / "analysis_proof.json"
SPLITS = (0.01, 0.1, 0.5)
BATCH = 500
NEEDED = margin.threshold(0.95)
Row = dict[str, Any]


def alarms(found: Real) -> float:
    return float(np.isfinite(found).mean())


def split(share: float) -> str:
    return f"{share * 100:g}/{100 - share * 100:g}"


def batches(rollouts: int, make: Callable[[np.random.Generator], list[Real]]) -> list[Real]:
    """Column by column what `make` finds, in batches that fit into memory."""
    found = [make(np.random.default_rng(seed)) for seed in range(math.ceil(rollouts / BATCH))]
    return [np.concatenate(column) for column in zip(*found, strict=True)]


def judged(name: str, rollouts: int, rate: float, make: Callable[[np.random.Generator], Traffic]) -> Row:
    """False alarms of three ways to judge the same rollouts."""

    def judge(random: np.random.Generator) -> list[Real]:
        seen = make(random)
        return [
            simulation.worse(seen, Line()),
            simulation.repeated_test(seen),
            simulation.threshold(seen, 2 * rate, 6),
        ]

    ours, repeated, limit = batches(rollouts, judge)
    return {
        "case": name,
        "sequential": alarms(ours),
        "repeated test": alarms(repeated),
        "threshold at twice the rate": alarms(limit),
    }


def false_alarms(rollouts: int, looks: int) -> list[Row]:
    rows = []
    for share in SPLITS:
        for rate in (0.001, 0.01, 0.1):
            name = f"{split(share)}, {rate * 100:g} % fail"
            rows.append(
                judged(
                    name,
                    rollouts,
                    rate,
                    lambda random, share=share, rate=rate: simulation.steady(  # type: ignore[misc]
                        random, BATCH, looks, 50, share, (rate, rate)
                    ),
                )
            )
    rows.append(judged("an outage of both at a higher weight", rollouts, 0.001, lambda random: outage(random, looks)))
    rows.append(judged("weights 1, 5, 25, 50 %, rates that vary", rollouts, 0.01, lambda random: varied(random, looks)))
    return rows


def outage(random: np.random.Generator, looks: int) -> Traffic:
    at = np.arange(looks) / looks
    share = np.where((at >= 0.35) & (at < 0.65), 0.5, 0.1)
    rate = np.where((at >= 0.4) & (at < 0.6), 0.1, 0.001)
    return simulation.traffic(random, BATCH, np.full(looks, 50), share, rate, rate)


def varied(random: np.random.Generator, looks: int) -> Traffic:
    share = np.repeat([0.01, 0.05, 0.25, 0.5], -(-looks // 4))[:looks]
    rate = np.exp(random.uniform(np.log(0.001), np.log(0.05), looks))
    return simulation.traffic(random, BATCH, random.integers(5, 200, looks), share, rate, rate)


CHANGES = {
    "0.1 % doubles": (0.001, 0.002),
    "0.1 % triples": (0.001, 0.003),
    "1 % doubles": (0.01, 0.02),
    "1 % triples": (0.01, 0.03),
    "0 to 5 %": (0.0, 0.05),
    "0.1 to 5 %": (0.001, 0.05),
}


def power(rollouts: int) -> list[Row]:
    """Requests to both versions until the verdict, in the median rollout."""
    rows = []
    for share in SPLITS:
        for name, (before, after) in CHANGES.items():
            planned = planned_test(share, before, after)
            requests = max(math.ceil(planned / 50), math.ceil(2 / share))
            limit = (before + after) / 2

            def judge(
                random: np.random.Generator,
                *,
                requests: int = requests,
                share: float = share,
                rates: tuple[float, float] = (after, before),
                limit: float = limit,
            ) -> list[Real]:
                bad = simulation.steady(random, BATCH, 400, requests, share, rates)
                good = simulation.steady(random, BATCH, 400, requests, share, (rates[1], rates[1]))
                return [simulation.worse(bad, Line()), *(simulation.threshold(seen, limit, 6) for seen in (bad, good))]

            ours, noticed, mistaken = batches(rollouts, judge)
            rows.append(
                {
                    "case": f"{split(share)}, {name}",
                    "sequential": float(np.median(ours)) * requests,
                    "found at all": alarms(ours),
                    "planned test": planned,
                    "threshold": float(np.median(noticed)) * requests,
                    "its false alarms": alarms(mistaken),
                }
            )
    return rows


def planned_test(share: float, before: float, after: float) -> int:
    """Requests for a one-sided test of two proportions at 5 % with 80 % power."""
    normal = statistics.NormalDist()
    pooled = share * after + (1 - share) * before
    equal = math.sqrt(pooled * (1 - pooled) * (1 / share + 1 / (1 - share)))
    apart = math.sqrt(after * (1 - after) / share + before * (1 - before) / (1 - share))
    return math.ceil(((normal.inv_cdf(0.95) * equal + normal.inv_cdf(0.8) * apart) / (after - before)) ** 2)


MARGINS = {
    "same rates, 0.1 %": ((0.001, 0.001), 0.005),
    "same rates, 1 %": ((0.01, 0.01), 0.005),
    "1 point worse than 0.1 %": ((0.011, 0.001), 0.005),
}


def margins(rollouts: int) -> list[Row]:
    """Requests until the first verdict with maxIncrease 0.005, either one."""
    rows = []
    for share in SPLITS:
        for name, (rates, allowed) in MARGINS.items():
            requests = math.ceil(20 / share)

            def judge(
                random: np.random.Generator,
                *,
                requests: int = requests,
                share: float = share,
                rates: tuple[float, float] = rates,
                allowed: float = allowed,
            ) -> list[Real]:
                seen = simulation.steady(random, BATCH, 600, requests, share, rates)
                return [
                    simulation.worse(seen, Line(shift=allowed, anchor=allowed)),
                    simulation.worse(seen.swapped(), Line(shift=-allowed)),
                ]

            worse, fine = batches(rollouts, judge)
            rows.append(
                {
                    "case": f"{split(share)}, {name}",
                    "worse": alarms(np.where(worse < fine, worse, np.inf)),
                    "not worse": alarms(np.where(fine < worse, fine, np.inf)),
                    "requests": float(np.median(np.minimum(worse, fine))) * requests,
                    "of them to the candidate": float(np.median(np.minimum(worse, fine))) * requests * share,
                }
            )
    return rows


def others(rollouts: int) -> list[Row]:
    """Quantiles and means: false alarms, and values to both until a change is found."""
    rows = []
    same, slower = (0.5, 0.9, 0.985, 0.995), (0.5, 0.9, 0.97, 0.995)
    for name, mine in {"p99 in the same bucket": same, "p99 at the same bound": (0.5, 0.9, 0.99, 0.995)}.items():
        found = simulation.quantile_worse(np.random.default_rng(1), rollouts, 300, (1, 3), (mine, mine), 0.99)
        rows.append({"case": name, "false alarms": alarms(found)})
    for name, mine, its in (
        ("p99 one bucket higher (3 % instead of 0.5 % above)", slower, (0.5, 0.9, 0.995, 0.999)),
        ("p99 one bucket higher (20 % instead of 0.5 % above)", (0.4, 0.6, 0.8, 0.999), (0.5, 0.9, 0.995, 0.999)),
    ):
        found = simulation.quantile_worse(np.random.default_rng(2), 300, 400, (4, 36), (mine, its), 0.99)
        rows.append({"case": name, "values": float(np.median(found)) * 40, "found at all": alarms(found)})
    random = np.random.default_rng(3)
    for name, higher in (("mean of 0 .. 1, sd 0.29", 0.0), ("mean of 0 .. 1 higher by 0.1", 0.1)):
        found = simulation.mean_worse(
            lambda _, __, higher=higher: (np.minimum(random.random(5) + higher, 1.0), random.random(15)),  # type: ignore[misc]
            rollouts if higher == 0 else 300,
            200,
            mean.Range(),
            NEEDED,
        )
        rows.append(
            {"case": name, "values": float(np.median(found)) * 20, "found at all": alarms(found)}
            if higher
            else {"case": name, "false alarms": alarms(found)}
        )
    return rows


def cost() -> list[Row]:
    """Processor time of one comparison after an hour of looks every 10 s."""
    random, rows = np.random.default_rng(1), []
    for requests, share in ((50, 0.1), (1000, 0.01), (1000, 0.5)):
        seen, state = simulation.steady(random, 1, 360, requests, share, (0.01, 0.01)), counts.State()
        for look in range(360):
            mine, its = int(seen.candidate_errors[0, look]), int(seen.stable_errors[0, look])
            state = state.observed(
                counts.Counts(mine, int(seen.candidate[0, look]) - mine),
                counts.Counts(its, int(seen.stable[0, look]) - its),
            )
        started = time.process_time()
        for _ in range(20):
            errorrate.compare(state, margin.Absolute(0.005))
        milliseconds = (time.process_time() - started) * 50
        rows.append(
            {
                "case": f"{requests} requests a look, {split(share)}",
                "strata": len(state.strata),
                "milliseconds": round(milliseconds, 2),
            }
        )
    return rows


def show(title: str, rows: list[Row]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(_shown(column, row.get(column, '')) for column in columns)} |")


def _shown(column: str, value: object) -> str:
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if math.isinf(value):
        return "never"
    if column in {"sequential", "repeated test", "threshold at twice the rate"} and value <= 1:
        return f"{value * 100:.1f} %"
    if column in {"undone", "at most", "promoted"}:
        return f"{value * 100:.1f} %"
    if column in {"false alarms", "its false alarms", "found at all", "worse", "not worse"}:
        return f"{value * 100:.1f} %"
    return f"{value:,.2f}" if column == "milliseconds" else f"{value:,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollouts", type=int, default=4000, help="simulated for each case of false alarms")
    parser.add_argument("--looks", type=int, default=1000, help="in each of them")
    arguments = parser.parse_args()
    found: dict[str, list[Row]] = {}
    for title, measure in {
        "False alarms of a candidate that is as good": lambda: false_alarms(arguments.rollouts, arguments.looks),
        "Requests until a worse candidate is found": lambda: power(arguments.rollouts // 8),
        "Requests until a verdict with maxIncrease 0.005": lambda: margins(arguments.rollouts // 8),
        "Quantiles and means": lambda: others(arguments.rollouts),
        "Rollouts as shipped": lambda: analysis_shipped.measure(arguments.rollouts // 10),
        "Cost of a comparison": cost,
    }.items():
        found[title] = measure()
        show(title, found[title])
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"arguments": vars(arguments), "results": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
