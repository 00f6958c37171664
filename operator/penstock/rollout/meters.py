"""What the operator measures of itself, for Prometheus."""

import prometheus_client

from penstock import ports
from penstock.api.v1alpha1.modeldeployment_status import ModelDeploymentStatus, Phase
from penstock.rollout import world


class Meters:
    """The operator's own metrics about ModelDeployments, in a registry that the process serves."""

    def __init__(self, registry: prometheus_client.CollectorRegistry) -> None:
        def labelled(kind: type[prometheus_client.Gauge], name: str, text: str, *more: str) -> prometheus_client.Gauge:
            return kind(name, text, ["namespace", "name", *more], registry=registry)

        self.passes = prometheus_client.Counter(
            "penstock_operator_passes", "Passes over objects, by result.", ["result"], registry=registry
        )
        self.pass_seconds = prometheus_client.Histogram(
            "penstock_operator_pass_seconds",
            "Duration of a pass.",
            buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10),
            registry=registry,
        )
        self.status_writes = prometheus_client.Counter(
            "penstock_operator_status_writes", "Status writes, by result.", ["result"], registry=registry
        )
        self.outcomes = prometheus_client.Counter(
            "penstock_rollouts", "Ended rollouts, by outcome.", ["namespace", "name", "outcome"], registry=registry
        )
        self._phase = labelled(prometheus_client.Gauge, "penstock_rollout_phase", "1 for the phase it is in.", "phase")
        self._weight = labelled(prometheus_client.Gauge, "penstock_rollout_weight", "Percent sent to the candidate.")
        self._shown: dict[ports.Key, Phase] = {}

    def show(self, key: ports.Key, status: ModelDeploymentStatus) -> None:
        """Show the phase and the weight of an object."""
        before = self._shown.get(key)
        if before is not None and before is not status.phase:
            self._phase.remove(key.namespace, key.name, before.value)
        self._shown[key] = status.phase
        self._phase.labels(key.namespace, key.name, status.phase.value).set(1)
        self._weight.labels(key.namespace, key.name).set(status.split.weight)

    def count_outcomes(self, key: ports.Key, decision: world.Decision, before: ModelDeploymentStatus) -> None:
        """Count the rollouts that ended with this decision."""
        known = {(entry.revision, entry.ended_at) for entry in before.history}
        for entry in decision.status.history:
            if (entry.revision, entry.ended_at) not in known:
                self.outcomes.labels(key.namespace, key.name, entry.outcome.value).inc()

    def forget(self, key: ports.Key) -> None:
        """Show nothing more of an object that is gone."""
        phase = self._shown.pop(key, None)
        if phase is not None:
            self._phase.remove(key.namespace, key.name, phase.value)
            self._weight.remove(key.namespace, key.name)
