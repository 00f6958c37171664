"""Scenarios on a real cluster with the release installed. KUBECONFIG says which; `make e2e` runs them."""

import os
import pathlib
from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.e2e.stage", "tests.e2e.seen")

from tests.e2e import theatre  # noqa: E402

HERE = pathlib.Path(__file__).parent
PLAYED = pytest.StashKey[list[theatre.Performance]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that run together first. Without a cluster they say so and do nothing; with one they run, come what may."""
    ours = [item for item in items if item.path.is_relative_to(HERE)]
    for item in ours:
        item.add_marker(pytest.mark.e2e)
        item.add_marker(pytest.mark.timeout(1800))
        if not os.environ.get("KUBECONFIG"):
            item.add_marker(pytest.mark.skip(reason="needs a cluster: KUBECONFIG is not set (make e2e)"))

    def alone(item: pytest.Item) -> bool:
        scenario = theatre.of(item)
        return scenario is not None and scenario.alone

    items.sort(key=alone)


@pytest.fixture(scope="session", name="theatre")
def _theatre(request: pytest.FixtureRequest) -> Iterator[theatre.Theatre]:
    playing = theatre.Theatre(request.session.items)
    request.config.stash[PLAYED] = playing.performances
    yield playing
    playing.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What each scenario took, and what its callers saw."""
    performances = config.stash.get(PLAYED, [])
    if performances:
        terminalreporter.section("scenarios")
    for one in performances:
        terminalreporter.write_line(
            f"{one.seconds:6.1f} s  {one.sent:5d} requests, {one.failed:4d} failed by a model, {one.lost:3d} lost  {one.title}"
        )
