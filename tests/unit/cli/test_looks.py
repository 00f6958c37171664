"""Looks that are left out would have found nothing else: what a look says is what the operator's verdict would be."""

import datetime
import random

import pytest
from penstock.analysis import verdict
from penstock.api.v1alpha1 import modeldeployment as api
from penstock.api.v1alpha1.modeldeployment_status import Split
from penstock.cli import looks, stay, traffic

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def stayed(rates: tuple[float, float], split: Split, *, factor: float = 1.0) -> stay.Stay:
    return stay.Stay(
        stream=traffic.Stream(40.0, traffic.version(rates[0], 0.05 * factor), traffic.version(rates[1], 0.05)),
        source=random.Random(7),
        started_at=NOW,
        split=split,
        stable_share=lambda _: 1 - split.weight / 100,
        timed=True,
        compared=True,
        fine=True,
    )


def metric(**fields: object) -> api.Metric:
    return api.Metric.model_validate({"name": "errors", "type": "ErrorRate", **fields})


CANARY, SHADOW = Split(stable="a", candidate="b", weight=10), Split(stable="a", candidate="b", mirror=50)


@pytest.mark.parametrize("split", [pytest.param(CANARY, id="canary"), pytest.param(SHADOW, id="shadow")])
@pytest.mark.parametrize(
    "rates",
    [
        pytest.param((0.002, 0.002), id="as good"),
        pytest.param((0.05, 0.002), id="worse"),
        pytest.param((0.5, 0.5), id="both bad"),
    ],
)
@pytest.mark.parametrize(
    "limits",
    [
        pytest.param({"maxIncrease": 0.02}, id="difference"),
        pytest.param({"maxIncrease": 0.02, "minSamples": 300}, id="difference, many samples"),
        pytest.param({"maxIncrease": 0.0, "confidence": 0.8}, id="at all"),
        pytest.param({"max": 0.03, "minSamples": 50}, id="limit"),
        pytest.param({"maxIncrease": 0.02, "max": 0.03}, id="difference and limit"),
        pytest.param({"type": "Latency", "maxRelativeIncrease": 1.5}, id="latency"),
        pytest.param({"type": "Latency", "max": 0.2}, id="latency limit"),
    ],
)
def test_a_look_finds_what_the_operator_would(
    limits: dict[str, object], rates: tuple[float, float], split: Split
) -> None:
    seen, watched = stayed(rates, split), metric(**limits)
    look = looks.watching(watched, seen)
    said, expected = [], []
    for elapsed in range(10, 510, 10):
        seen.advance(elapsed)
        said.append(look.found(elapsed))
        window = min(watched.window_seconds, elapsed)
        expected.append(verdict.assess(watched, seen.answer(watched, window), None, NOW).verdict)
    assert said == expected


@pytest.mark.parametrize("rates", [pytest.param((0.002, 0.002), id="as good"), pytest.param((0.05, 0.002), id="worse")])
def test_a_look_at_a_ratio_is_at_most_a_little_early(rates: tuple[float, float]) -> None:
    """The bounds of a ratio are found to half a percent, so the operator's own verdict may come a look or two later."""
    seen, watched = stayed(rates, CANARY), metric(maxRelativeIncrease=3.0)
    look = looks.watching(watched, seen)
    said, told = None, None
    for elapsed in range(10, 20_000, 10):
        seen.advance(elapsed)
        if said is None and look.found(elapsed) != "Inconclusive":
            said = elapsed, look.found(elapsed)
        if said is not None:
            status = verdict.assess(watched, seen.answer(watched, 60), None, NOW)
            if status.verdict != "Inconclusive":
                told = elapsed, status.verdict
                break
    assert said is not None
    assert told is not None
    assert (told[1], 0 <= told[0] - said[0] <= 200) == (said[1], True)


def test_only_the_operator_tells_what_counts_as_inconclusive() -> None:
    seen = stayed((0.0, 0.0), CANARY)
    look = looks.watching(metric(max=0.1, minSamples=10**6, onNoData="Inconclusive"), seen)
    seen.advance(60)
    assert look.found(60) is None
