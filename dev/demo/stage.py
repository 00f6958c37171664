"""What happens during a demo, gathered in one place: the cluster's news, the callers' and the story's.

The only thing in the demo that changes. The story waits here for what it expects; the views ask for the state.
"""

import asyncio
import time
from collections.abc import Callable

from penstock.api.v1alpha1.modeldeployment_status import ModelDeployment, ModelDeploymentStatus

from dev.demo import cluster, state
from dev.demo.state import Scene, State
from dev.traffic import client, report


class Stage:
    """The state of a demo that is running."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._scene = Scene()
        self._mdep: ModelDeployment | None = None
        self._events: tuple[state.Told, ...] = ()
        self._traffic: client.Traffic | None = None
        self._changed = asyncio.Event()

    def scene(self, title: str, text: str = "") -> None:
        """Open the next scene."""
        self._scene = Scene(self._scene.number + 1, title, text)

    def callers(self, traffic: client.Traffic) -> None:
        """From now on requests are sent."""
        self._traffic = traffic

    def learn(self, item: cluster.Json) -> None:
        """The ModelDeployment is like this now."""
        self._mdep = state.read(item)
        self._changed.set()

    def learn_event(self, item: cluster.Json) -> None:
        """The operator wrote an event."""
        self._events = state.with_event(self._events, state.tell(item))

    def state(self) -> State:
        """Everything at this moment."""
        calls = None
        if self._traffic is not None:
            calls = state.calls(report.summarise(self._traffic.exchanges), self._traffic.rates(window=2.0))
        return State(
            elapsed=time.monotonic() - self._begun,
            scene=self._scene,
            spec=self._mdep.spec if self._mdep else None,
            status=self._mdep.status if self._mdep else ModelDeploymentStatus(),
            events=self._events,
            calls=calls,
        )

    async def until(
        self, check: Callable[[ModelDeploymentStatus], bool], what: str, seconds: float = 180
    ) -> ModelDeploymentStatus:
        """Wait until the status is as expected, and return it; raises DemoError with the last status otherwise."""
        try:
            async with asyncio.timeout(seconds):
                while self._mdep is None or not check(self._mdep.status):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            seen = self._mdep.status if self._mdep else ModelDeploymentStatus()
            raise cluster.DemoError(
                f"{what}: not within {seconds:.0f} s. The ModelDeployment is {seen.phase.value}: {seen.message or '-'}"
            ) from None
        return self._mdep.status
