"""The data plane in the operator's metrics: read when they are asked for, kept nowhere."""

from collections.abc import Iterator

from prometheus_client import core, registry

from penstock.adapters import envoy_discovery


class Collector(registry.Collector):
    """Figures of an `Envoy`; to be registered once."""

    def __init__(self, envoy: envoy_discovery.Envoy) -> None:
        self._envoy = envoy

    def describe(self) -> Iterator[core.Metric]:
        """The families without samples, so that registering asks nobody."""
        yield from self._families().values()

    def collect(self) -> Iterator[core.Metric]:
        families = self._families()
        families["deployments"].add_metric([], self._envoy.size)
        families["refused_hostnames"].add_metric([], sum(map(len, self._envoy.conflicts().values())))
        for node in self._envoy.stats():
            families["poll_age"].add_metric([node.node], node.poll_age_seconds)
            families["serving"].add_metric([node.node], float(node.live and node.serving))
            families["current"].add_metric([node.node], float(node.current))
            families["refusals"].add_metric([node.node], node.refusals)
        yield from families.values()

    def _families(self) -> dict[str, core.GaugeMetricFamily]:
        def family(name: str, text: str, *labels: str) -> core.GaugeMetricFamily:
            return core.GaugeMetricFamily(f"penstock_data_plane_{name}", text, labels=labels)

        return {
            "deployments": family("deployments", "ModelDeployments in the data plane."),
            "refused_hostnames": family("refused_hostnames", "Hostnames asked for in vain: taken, or no host names."),
            "poll_age": family("poll_age_seconds", "Seconds since the last poll of an Envoy.", "envoy"),
            "serving": family("serving", "1 if an Envoy polls and has routes.", "envoy"),
            "current": family("current", "1 if an Envoy has confirmed all that is wanted.", "envoy"),
            "refusals": family(
                "refusals", "How often in a row an Envoy did not take what it was told; its log says why.", "envoy"
            ),
        }
