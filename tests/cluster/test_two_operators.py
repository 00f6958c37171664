"""Two whole operators as processes: one acts, both answer, and the other goes on when the first one dies."""

import json
import logging
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.adapters import servers
from tests.cluster.conftest import DEPLOYMENTS, ROOT, Api, eventually

pytestmark = pytest.mark.cluster

logger = logging.getLogger(__name__)

CODE = "import sys; from penstock import main; sys.exit(main.main(['run']))"


@dataclass
class Operator:
    """One operator on ports of its own."""

    discovery: str
    metrics: str
    popen: subprocess.Popen[bytes]
    log: pathlib.Path

    def number(self, metric: str) -> float | None:
        lines = ask(f"{self.metrics}/metrics")[1].splitlines()
        found = [float(line.split()[1]) for line in lines if line.startswith(f"{metric} ")]
        return found[0] if found else None

    def poll(self, node: str) -> tuple[int, str]:
        """Poll as an Envoy that has nothing."""
        message = {"node": {"id": node, "cluster": "penstock"}, "version_info": ""}
        return ask(f"{self.discovery}/v3/discovery:clusters", json.dumps(message).encode())


def ask(url: str, data: bytes | None = None) -> tuple[int, str]:
    """Status and text; (0, …) if nobody answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=12) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (urllib.error.URLError, OSError) as error:
        return 0, str(error)


@pytest.fixture
def pair(namespace: str, tmp_path: pathlib.Path) -> Iterator[list[Operator]]:
    """Two operators of one namespace; the first one leads."""
    operators: list[Operator] = []
    try:
        for number in range(2):
            operators.append(start(namespace, tmp_path / f"{number}.log"))
            eventually(lambda: operators[-1].poll("probe")[0] == 200, "it answers Envoys", seconds=60)
            eventually(lambda: operators[0].number("penstock_leader") == 1, "the first one leads", seconds=60)
        yield operators
    finally:
        for operator in operators:
            operator.popen.kill()
            operator.popen.wait()
            logger.info("%s", operator.log.read_text()[-3000:])


def start(namespace: str, log: pathlib.Path) -> Operator:
    discovery, metrics, probe = (servers.free_port() for _ in range(3))
    environment = {
        "PENSTOCK_OPERATOR_NAMESPACE": namespace,
        "PENSTOCK_WATCH_NAMESPACES": namespace,
        "PENSTOCK_RUNTIME_IMAGE": "localhost/none:1",
        "PENSTOCK_PROMETHEUS_URL": "http://127.0.0.1:9",
        "PENSTOCK_TRACKING_URI": "http://127.0.0.1:9",
        "PENSTOCK_POD_IP": "127.0.0.1",
        "PENSTOCK_DISCOVERY_PORT": str(discovery),
        "PENSTOCK_METRICS_PORT": str(metrics),
        "PENSTOCK_PROBE_PORT": str(probe),
        "PENSTOCK_LOG_FORMAT": "text",
        "PYTHONPATH": "operator:runtime:.",
    }
    with log.open("wb") as output:
        popen = subprocess.Popen(
            [sys.executable, "-c", CODE], cwd=ROOT, env={**os.environ, **environment}, stderr=output
        )
    return Operator(f"http://127.0.0.1:{discovery}", f"http://127.0.0.1:{metrics}", popen, log)


def apply(api: Api, namespace: str, replicas: int) -> None:
    body = {
        "apiVersion": "penstock.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "fraud"},
        "spec": {"model": {"name": "fraud", "version": 1}, "server": {"replicas": replicas}},
    }
    answer = api.apply(f"{DEPLOYMENTS.format(namespace=namespace)}/fraud", body)
    assert answer.status in {200, 201}, answer.message


def seen(api: Api, namespace: str) -> dict[str, Any]:
    """Whether the operator's status is about the object as it is now."""
    body = api.call("GET", f"{DEPLOYMENTS.format(namespace=namespace)}/fraud").body
    return body if body.get("status", {}).get("observedGeneration") == body["metadata"]["generation"] else {}


@pytest.mark.parametrize(
    ("number", "seconds"),
    [
        pytest.param(signal.SIGKILL, 5.0, id="killed"),
        pytest.param(signal.SIGSTOP, 5.0, id="paused"),
        pytest.param(signal.SIGTERM, 2.0, id="stopped"),
    ],
)
def test_invariant_11_one_acts_and_the_other_goes_on(
    number: signal.Signals, seconds: float, pair: list[Operator], api: Api, namespace: str
) -> None:
    first, second = pair
    apply(api, namespace, 1)
    eventually(lambda: bool(seen(api, namespace)), "the first one acts")
    assert (first.number("penstock_leader"), second.number("penstock_leader")) == (1, 0)
    assert second.number('penstock_operator_status_writes_total{result="written"}') is None
    assert [ask(f"{one.metrics}/targets") for one in pair] == [(200, "[]")] * 2

    second.poll("envoy-0")
    assert 'envoy="envoy-0"' in ask(f"{first.metrics}/metrics")[1]
    assert 'envoy="envoy-0"' not in ask(f"{second.metrics}/metrics")[1]

    ended_at = time.monotonic()
    first.popen.send_signal(number)
    apply(api, namespace, 2)
    assert second.poll("envoy-0")[0] == 200
    answered_after = time.monotonic() - ended_at
    eventually(lambda: bool(seen(api, namespace)), "the second one acts", seconds=20)
    acts_after = time.monotonic() - ended_at
    logger.info("%s: acts again after %.2f s, answers after %.2f s", number.name, acts_after, answered_after)

    assert acts_after < seconds
    assert second.number("penstock_leader") == 1
    if number is signal.SIGSTOP:
        first.popen.send_signal(signal.SIGCONT)
        eventually(lambda: first.number("penstock_leader_transitions_total") == 2, "the first one stands by")
        apply(api, namespace, 3)
        eventually(lambda: bool(seen(api, namespace)), "the second one goes on")
        assert (first.number("penstock_leader"), second.number("penstock_leader")) == (0, 1)
