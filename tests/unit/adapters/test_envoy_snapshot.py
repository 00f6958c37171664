"""Splits become weights, names become domains, and what Envoy would refuse is refused here."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock import errors
from penstock.adapters import envoy_domains, envoy_snapshot
from penstock.adapters.envoy_domains import Refusal
from penstock.adapters.envoy_snapshot import Settings, Weights
from penstock.api.v1alpha1.modeldeployment_status import Split
from penstock.ports import Backend, Endpoint, Key, Routed

KEY = Key("ml", "fraud")
STABLE = Backend("aaa", 3, (Endpoint("10.0.0.1", 8080),))
CANDIDATE = Backend("bbb", 4, (Endpoint("10.0.0.9", 8080),))
BOTH = {"aaa", "bbb"}


def routed(split: Split, *backends: Backend, key: Key = KEY, hostnames: tuple[str, ...] = ()) -> Routed:
    return Routed(key, hostnames, split, {backend.revision: backend for backend in backends})


@pytest.mark.parametrize(
    ("split", "ready", "weights"),
    [
        pytest.param(Split(), BOTH, Weights(0, 0, 0), id="nothing serves"),
        pytest.param(Split(stable="aaa"), BOTH, Weights(100, 0, 0), id="stable alone"),
        pytest.param(Split(stable="aaa"), set(), Weights(0, 0, 0), id="stable alone, not ready"),
        pytest.param(Split(stable="aaa", candidate="bbb"), BOTH, Weights(100, 0, 0), id="candidate in waiting"),
        pytest.param(Split(stable="aaa", candidate="bbb", weight=5), BOTH, Weights(95, 5, 0), id="canary"),
        pytest.param(Split(stable="aaa", candidate="bbb", weight=100), BOTH, Weights(0, 100, 0), id="all to candidate"),
        pytest.param(Split(stable="aaa", candidate="bbb", mirror=30), BOTH, Weights(100, 0, 30), id="shadow"),
        pytest.param(Split(stable="aaa", candidate="bbb", weight=5, mirror=30), BOTH, Weights(95, 5, 30), id="both"),
        pytest.param(
            Split(stable="aaa", candidate="bbb", weight=100, mirror=30),
            BOTH,
            Weights(0, 100, 0),
            id="nothing left to copy",
        ),
        pytest.param(
            Split(stable="aaa", candidate="bbb", weight=60, mirror=30),
            {"aaa"},
            Weights(100, 0, 0),
            id="stable takes over from a canary",
        ),
        pytest.param(
            Split(stable="aaa", candidate="bbb", weight=100),
            {"aaa"},
            Weights(100, 0, 0),
            id="stable takes over from a candidate with everything",
        ),
        pytest.param(
            Split(stable="aaa", candidate="bbb", weight=5),
            {"bbb"},
            Weights(0, 100, 0),
            id="a canary takes over from stable",
        ),
        pytest.param(
            Split(stable="aaa", candidate="bbb", mirror=30),
            {"bbb"},
            Weights(0, 0, 0),
            id="a candidate that no user has seen takes nothing over",
        ),
        pytest.param(Split(candidate="bbb", weight=100), BOTH, Weights(0, 100, 0), id="first revision"),
        pytest.param(Split(candidate="bbb", weight=100), {"aaa"}, Weights(0, 0, 0), id="first revision, not ready"),
        pytest.param(Split(candidate="bbb"), BOTH, Weights(0, 0, 0), id="first revision, still being tested"),
    ],
)
def test_effective_weights(split: Split, ready: set[str], weights: Weights) -> None:
    assert envoy_snapshot.effective(split, ready) == weights


@st.composite
def splits(draw: st.DrawFn) -> Split:
    stable = draw(st.sampled_from([None, "aaa"]))
    candidate = draw(st.sampled_from([None, "bbb"]))
    if candidate is None:
        return Split(stable=stable)
    weight = draw(st.integers(0, 100) if stable else st.sampled_from([0, 100]))
    return Split(stable=stable, candidate=candidate, weight=weight, mirror=draw(st.integers(0, 100)))


@given(splits(), st.sets(st.sampled_from(["aaa", "bbb", "ccc"])))
def test_a_weight_is_never_above_0_on_a_revision_that_is_not_ready(split: Split, ready: set[str]) -> None:
    weights = envoy_snapshot.effective(split, ready)

    assert weights.stable == 0 or split.stable in ready
    assert (weights.candidate == weights.mirror == 0) or split.candidate in ready
    assert weights.stable + weights.candidate in {0, 100}
    assert min(weights.stable, weights.candidate, weights.mirror) >= 0
    assert weights.mirror in {0, split.mirror}
    if split.stable in ready:
        assert weights.stable + weights.candidate == 100
    if {split.stable, split.candidate} <= ready:
        assert weights.candidate == split.weight


@given(splits(), st.sets(st.sampled_from(["aaa", "bbb"])))
def test_routes_name_exactly_the_clusters_that_are_said_to_be_named(split: Split, ready: set[str]) -> None:
    backends = [
        backend if backend.revision in ready else dataclasses.replace(backend, endpoints=())
        for backend in (STABLE, CANDIDATE)
    ]
    compiled = envoy_snapshot.compile_routed(routed(split, *backends), Settings())

    assert _clusters_in(json.loads(compiled.body.routes)) == compiled.body.clusters
    assert compiled.body.clusters <= set(compiled.clusters)
    assert {name for name in compiled.clusters if not name.endswith("/shadow")} == {f"ml/fraud/{r}" for r in ready}


def _clusters_in(routes: list[dict[str, Any]]) -> set[str]:
    names = set()
    for route in routes:
        action = route.get("route", {})
        names |= {share["name"] for share in action.get("weighted_clusters", {}).get("clusters", [])}
        names |= {mirror["cluster"] for mirror in action.get("request_mirror_policies", [])}
    return names


def header(name: str, value: str) -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def share(revision: str, version: str, role: str, weight: int) -> dict[str, Any]:
    return {
        "name": f"ml/fraud/{revision}",
        "weight": weight,
        "request_headers_to_add": [header("x-penstock-role", role)],
        "response_headers_to_add": [
            header("x-penstock-revision", revision),
            header("x-penstock-model-version", version),
        ],
    }


def hundredths(numerator: int) -> dict[str, Any]:
    return {"default_value": {"numerator": numerator, "denominator": "HUNDRED"}}


MIRROR = {
    "cluster": "ml/fraud/bbb/shadow",
    "runtime_fraction": hundredths(30),
    "trace_sampled": False,
    "disable_shadow_host_suffix_append": True,
    "request_headers_mutations": [{"append": header("x-penstock-role", "shadow")}],
}
TIMES = {"timeout": "60s", "idle_timeout": "70s"}


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        pytest.param(
            Split(stable="aaa"),
            [
                {
                    "match": {"prefix": "/"},
                    "route": {"weighted_clusters": {"clusters": [share("aaa", "3", "stable", 100)]}, **TIMES},
                }
            ],
            id="stable alone",
        ),
        pytest.param(
            Split(stable="aaa", candidate="bbb", weight=5),
            [
                {
                    "match": {"prefix": "/"},
                    "route": {
                        "weighted_clusters": {
                            "clusters": [share("aaa", "3", "stable", 95), share("bbb", "4", "canary", 5)]
                        },
                        **TIMES,
                    },
                }
            ],
            id="canary",
        ),
        pytest.param(
            Split(stable="aaa", candidate="bbb", mirror=30),
            [
                {
                    "match": {"prefix": "/"},
                    "route": {
                        "weighted_clusters": {"clusters": [share("aaa", "3", "stable", 100)]},
                        **TIMES,
                        "request_mirror_policies": [MIRROR],
                    },
                }
            ],
            id="shadow",
        ),
        pytest.param(
            Split(stable="aaa", candidate="bbb", weight=5, mirror=30),
            [
                {
                    "match": {"prefix": "/", "runtime_fraction": hundredths(5)},
                    "route": {"weighted_clusters": {"clusters": [share("bbb", "4", "canary", 100)]}, **TIMES},
                },
                {
                    "match": {"prefix": "/"},
                    "route": {
                        "weighted_clusters": {"clusters": [share("aaa", "3", "stable", 100)]},
                        **TIMES,
                        "request_mirror_policies": [MIRROR],
                    },
                },
            ],
            id="canary and shadow",
        ),
        pytest.param(
            Split(),
            [
                {
                    "match": {"prefix": "/"},
                    "direct_response": {
                        "status": 503,
                        "body": {
                            "inline_string": '{"error_code":"TEMPORARILY_UNAVAILABLE","message":'
                            '"ModelDeployment ml/fraud has no ready revision; its status says why."}'
                        },
                    },
                    "response_headers_to_add": [
                        header("content-type", "application/json"),
                        header("retry-after", "1"),
                    ],
                }
            ],
            id="nothing serves",
        ),
    ],
)
def test_routes_of_a_split(split: Split, expected: list[dict[str, Any]]) -> None:
    compiled = envoy_snapshot.compile_routed(routed(split, STABLE, CANDIDATE), Settings())

    assert json.loads(compiled.body.routes) == expected


def test_clusters_of_a_shadow() -> None:
    split = Split(stable="aaa", candidate="bbb", mirror=30)
    two = Backend("aaa", 3, (Endpoint("fd00::2", 9000), Endpoint("10.0.0.1", 8080), Endpoint("10.0.0.1", 8080)))

    compiled = envoy_snapshot.compile_routed(routed(split, two, CANDIDATE), Settings(mirror_max_requests=7))

    found = {name: json.loads(text) for name, text in compiled.clusters.items()}
    assert list(found) == ["ml/fraud/aaa", "ml/fraud/bbb", "ml/fraud/bbb/shadow"]
    assert found["ml/fraud/aaa"]["load_assignment"] == {
        "cluster_name": "ml/fraud/aaa",
        "endpoints": [
            {
                "lb_endpoints": [
                    {"endpoint": {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 8080}}}},
                    {"endpoint": {"address": {"socket_address": {"address": "fd00::2", "port_value": 9000}}}},
                ]
            }
        ],
    }
    assert found["ml/fraud/bbb/shadow"] == {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": "ml/fraud/bbb/shadow",
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {
            "cluster_name": "ml/fraud/bbb/shadow",
            "endpoints": [
                {
                    "lb_endpoints": [
                        {"endpoint": {"address": {"socket_address": {"address": "10.0.0.9", "port_value": 8080}}}}
                    ]
                }
            ],
        },
        "circuit_breakers": {
            "thresholds": [
                {"max_connections": 7, "max_pending_requests": 7, "max_requests": 7, "max_retries": 0},
            ]
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "common_http_protocol_options": {"idle_timeout": "4s"},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }


def test_a_revision_outside_of_the_split_keeps_its_cluster_while_it_has_pods() -> None:
    gone = Backend("ccc", 5)

    compiled = envoy_snapshot.compile_routed(routed(Split(stable="aaa"), STABLE, CANDIDATE, gone), Settings())

    assert list(compiled.clusters) == ["ml/fraud/aaa", "ml/fraud/bbb"]
    assert compiled.body.clusters == {"ml/fraud/aaa"}


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        pytest.param(
            routed(Split(), key=Key("ml", "a.b")),
            "ModelDeployment ml/a.b cannot be routed to: 'a.b' is no DNS label; use at most 63 of a-z, 0-9 and -",
            id="name with a dot",
        ),
        pytest.param(
            routed(Split(), Backend("a%REQ(x)%", 1)),
            "ModelDeployment ml/fraud has a revision with an impossible name: 'a%REQ(x)%'",
            id="revision that is a format",
        ),
        pytest.param(
            Routed(KEY, (), Split(), {"aaa": CANDIDATE}),
            "ModelDeployment ml/fraud has a revision with an impossible name: 'aaa'",
            id="revision under another name",
        ),
        pytest.param(
            routed(Split(), Backend("aaa", 1, (Endpoint("pod.example.com", 80),))),
            "ModelDeployment ml/fraud has an endpoint whose address is no IP address: 'pod.example.com'",
            id="address that is a name",
        ),
        pytest.param(
            routed(Split(), Backend("aaa", 1, (Endpoint("fe80::1%eth0", 80),))),
            "ModelDeployment ml/fraud has an endpoint whose address is no IP address: 'fe80::1%eth0'",
            id="address with a zone",
        ),
        pytest.param(
            routed(Split(), Backend("aaa", 1, (Endpoint("10.0.0.1", 0),))),
            "ModelDeployment ml/fraud has an endpoint with an impossible port: 0",
            id="port 0",
        ),
    ],
)
def test_what_envoy_would_refuse_is_refused(wanted: Routed, message: str) -> None:
    with pytest.raises(errors.Misconfigured) as caught:
        envoy_snapshot.compile_routed(wanted, Settings())

    assert caught.value.message == message


@pytest.mark.parametrize(
    ("hostname", "good"),
    [
        ("fraud.example.com", True),
        ("localhost", True),
        ("10.0.0.1", True),
        ("*.example.com", True),
        ("a" * 63 + ".com", True),
        ("a" * 64 + ".com", False),
        (".".join(["a" * 60] * 5), False),
        ("*", False),
        ("*.", False),
        ("*.*.com", False),
        ("fraud.*", False),
        ("fraud..com", False),
        ("fraud.com.", False),
        ("-fraud.com", False),
        ("fraud-.com", False),
        ("fraud.com:80", False),
        ("fraud.com\n", False),
        ("fr_aud.com", False),
        ("", False),
    ],
)
def test_hostnames(hostname: str, *, good: bool) -> None:
    assert envoy_domains.is_hostname(hostname) is good


def test_a_hostname_belongs_to_one() -> None:
    first, second, third = Key("a", "zebra"), Key("b", "ant"), Key("b", "bee")
    domains = envoy_domains.assign(
        {
            third: ("shared.example.com",),
            first: ("Shared.example.com", "shared.example.com", "ant.b.svc.cluster.local", "zebra.a"),
            second: ("bad_name", "own.example.com"),
        },
        "cluster.local",
    )

    assert domains.owned == {
        first: ("zebra.a", "zebra.a.svc", "zebra.a.svc.cluster.local", "shared.example.com"),
        second: ("ant.b", "ant.b.svc", "ant.b.svc.cluster.local", "own.example.com"),
        third: ("bee.b", "bee.b.svc", "bee.b.svc.cluster.local"),
    }
    belongs = "already belongs to ModelDeployment"
    assert domains.refused == {
        first: (
            Refusal(
                "ant.b.svc.cluster.local", f"ant.b.svc.cluster.local {belongs} b/ant: remove it from one of the two"
            ),
        ),
        second: (Refusal("bad_name", "'bad_name' is not a host name: use labels of a-z, 0-9 and - joined by dots"),),
        third: (Refusal("shared.example.com", f"shared.example.com {belongs} a/zebra: remove it from one of the two"),),
    }


NAMES = st.sampled_from(["a.x", "b.x.svc", "one.example.com", "two.example.com", "*.example.com", "no good", "*"])


@given(st.dictionaries(st.builds(Key, st.sampled_from("xy"), st.sampled_from("abc")), st.lists(NAMES, max_size=4)))
def test_no_domain_has_two_owners_and_none_is_lost(wanted: dict[Key, list[str]]) -> None:
    domains = envoy_domains.assign(wanted, "cluster.local")

    everything = [name for names in domains.owned.values() for name in names]
    assert len(everything) == len(set(everything))
    for key, hostnames in wanted.items():
        assert set(envoy_domains.own_names(key, "cluster.local")) <= set(domains.owned[key])
        refused = {refusal.hostname for refusal in domains.refused.get(key, ())}
        assert {hostname for hostname in hostnames if hostname not in domains.owned[key]} == refused
