"""From what the operator wants to what Envoy is told: pure, and never anything that Envoy would refuse.

Rule: every name that reaches Envoy has been checked here, because Envoy refuses a whole configuration for one bad part.
The resources are Envoy's v3 API as JSON.
"""

import ipaddress
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from penstock import errors
from penstock.adapters import envoy_domains
from penstock.api.v1alpha1.modeldeployment_status import Split
from penstock.ports import Backend, Endpoint, Key, Routed

ROUTE_CONFIGURATION = "penstock"
CLUSTER_TYPE = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ROUTE_TYPE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"

RETRIED_BODY_BYTES = 16 << 20
"""What Envoy keeps of a body until a pod has answered: as much as the model server accepts by default."""
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_PREVIOUS_HOSTS = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"


@dataclass(frozen=True, slots=True)
class Settings:
    """How the data plane treats requests; the same for every model."""

    cluster_domain: str = "cluster.local"
    request_timeout_seconds: int = 60
    connect_timeout_seconds: float = 1.0
    idle_timeout_seconds: float = 4.0
    """Below the 5 s after which common Python servers close an idle connection, so that Envoy never writes to one."""
    max_requests: int = 10_000
    """Bound on requests in flight to one revision, of one Envoy."""
    mirror_max_requests: int = 128
    """Bound on copies in flight to one revision, of one Envoy; what exceeds it is not copied."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What can be carried out of a split: percents; stable and candidate sum to 100, or to 0 if nobody is ready."""

    stable: int
    candidate: int
    mirror: int


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """The routes of one virtual host, as JSON, and what they rest on. Compared by identity."""

    split: Split
    clusters: frozenset[str]
    routes: bytes


@dataclass(frozen=True, slots=True)
class Compiled:
    """One ModelDeployment as Envoy sees it; the clusters and the body as JSON."""

    key: Key
    hostnames: tuple[str, ...]
    clusters: Mapping[str, bytes]
    body: Body


def effective(split: Split, ready: Collection[str]) -> Weights:
    """What of `split` can be carried out when only the revisions in `ready` have endpoints.

    Stable takes over for a candidate that cannot answer. A candidate takes over for a stable that cannot answer only
    when it already answers some users: one that is still being tested, or was found bad, has weight 0 and keeps it.
    """
    candidate_ready = split.candidate is not None and split.candidate in ready
    stable_ready = split.stable is not None and split.stable in ready
    if stable_ready:
        weight = split.weight if candidate_ready else 0
        mirror = split.mirror if candidate_ready and weight < 100 else 0
        return Weights(stable=100 - weight, candidate=weight, mirror=mirror)
    return Weights(stable=0, candidate=100 if candidate_ready and split.weight > 0 else 0, mirror=0)


def compile_routed(routed: Routed, settings: Settings) -> Compiled:
    """The clusters and routes of one ModelDeployment.

    A revision has a cluster exactly while it has endpoints, so that a route that names only known clusters never
    leads nowhere. Revisions outside of the split have theirs too: a coming split then needs no new cluster.

    Raises Misconfigured for a name, an address or a port that Envoy would refuse.
    """
    _check(routed)
    ready = {name: backend for name, backend in routed.backends.items() if backend.endpoints}
    weights = effective(routed.split, ready)
    clusters = {
        cluster_name(routed.key, name): orjson.dumps(
            cluster(cluster_name(routed.key, name), backend.endpoints, settings)
        )
        for name, backend in sorted(ready.items())
    }
    named = _named(routed, weights)
    mirror = mirror_name(routed.key, routed.split.candidate or "")
    if mirror in named:
        endpoints = ready[routed.split.candidate or ""].endpoints
        clusters[mirror] = orjson.dumps(mirror_cluster(mirror, endpoints, settings))
    return Compiled(
        key=routed.key,
        hostnames=tuple(routed.hostnames),
        clusters=clusters,
        body=Body(
            split=routed.split,
            clusters=named,
            routes=orjson.dumps(routes(routed, weights, settings)),
        ),
    )


def cluster_name(key: Key, revision: str) -> str:
    """The cluster of a revision; without dots, so that Envoy's metrics carry it whole."""
    return f"{key.namespace}/{key.name}/{revision}"


def mirror_name(key: Key, revision: str) -> str:
    """The cluster that gets the copies meant for a revision."""
    return f"{cluster_name(key, revision)}/shadow"


def _named(routed: Routed, weights: Weights) -> frozenset[str]:
    split, names = routed.split, set()
    if weights.stable and split.stable is not None:
        names.add(cluster_name(routed.key, split.stable))
    if weights.candidate and split.candidate is not None:
        names.add(cluster_name(routed.key, split.candidate))
    if weights.mirror and split.candidate is not None:
        names.add(mirror_name(routed.key, split.candidate))
    return frozenset(names)


def _check(routed: Routed) -> None:
    for part in (routed.key.namespace, routed.key.name):
        if not envoy_domains.is_label(part):
            raise errors.Misconfigured(
                f"ModelDeployment {routed.key} cannot be routed to: {part!r} is no DNS label; use at most 63 of a-z, "
                "0-9 and -"
            )
    for name, backend in routed.backends.items():
        if name != backend.revision or not envoy_domains.is_label(name):
            raise errors.Misconfigured(f"ModelDeployment {routed.key} has a revision with an impossible name: {name!r}")
        for endpoint in backend.endpoints:
            _check_endpoint(routed.key, endpoint)


def _check_endpoint(key: Key, endpoint: Endpoint) -> None:
    if not _is_address(endpoint.address):
        raise errors.Misconfigured(
            f"ModelDeployment {key} has an endpoint whose address is no IP address: {endpoint.address!r}"
        )
    if not 1 <= endpoint.port <= 65535:
        raise errors.Misconfigured(f"ModelDeployment {key} has an endpoint with an impossible port: {endpoint.port}")


def _is_address(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return "%" not in address


def cluster(name: str, endpoints: Sequence[Endpoint], settings: Settings) -> dict[str, Any]:
    """The upstream cluster of a revision.

    Outlier detection looks at connections only: a pod that cannot be reached is left out for a while (its removal
    may not have come through when the operator is down), a model that answers 500 never is. When half of the
    pods are left out, Envoy uses all of them again.
    """
    thresholds = {
        "max_connections": settings.max_requests,
        "max_pending_requests": settings.max_requests,
        "max_requests": settings.max_requests,
        "max_retries": settings.max_requests,
    }
    return _cluster(name, endpoints, settings, thresholds, {"retry_policy": _retry_policy()}) | {
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 3,
            "enforcing_consecutive_local_origin_failure": 100,
            "enforcing_local_origin_success_rate": 0,
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "interval": "1s",
            "base_ejection_time": "5s",
            "max_ejection_time": "30s",
            "max_ejection_percent": 50,
        }
    }


def mirror_cluster(name: str, endpoints: Sequence[Endpoint], settings: Settings) -> dict[str, Any]:
    """The upstream cluster for copies: bounded, so that a slow or dead shadow costs users nothing."""
    thresholds = {
        "max_connections": settings.mirror_max_requests,
        "max_pending_requests": settings.mirror_max_requests,
        "max_requests": settings.mirror_max_requests,
        "max_retries": 0,
    }
    return _cluster(name, endpoints, settings, thresholds, {})


def _retry_policy() -> dict[str, Any]:
    """Retried is only what no model has seen: the connection failed, or broke before the request was written.

    It stands in the cluster rather than in the routes, which all go over the wire with every change of a split.
    """
    return {
        "retry_on": "connect-failure,refused-stream,reset-before-request",
        "num_retries": 3,
        "retry_back_off": {"base_interval": "0.010s", "max_interval": "0.100s"},
        "retry_host_predicate": [
            {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {"@type": _PREVIOUS_HOSTS}}
        ],
        "host_selection_retry_max_attempts": "5",
    }


def _cluster(
    name: str,
    endpoints: Sequence[Endpoint],
    settings: Settings,
    thresholds: Mapping[str, int],
    http_options: Mapping[str, Any],
) -> dict[str, Any]:
    addresses = [
        {"socket_address": {"address": endpoint.address, "port_value": endpoint.port}}
        for endpoint in sorted(set(endpoints))
    ]
    return {
        "@type": CLUSTER_TYPE,
        "name": name,
        "type": "STATIC",
        "connect_timeout": f"{settings.connect_timeout_seconds:g}s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}} for address in addresses]}],
        },
        "circuit_breakers": {"thresholds": [dict(thresholds)]},
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
                "common_http_protocol_options": {"idle_timeout": f"{settings.idle_timeout_seconds:g}s"},
                "explicit_http_config": {"http_protocol_options": {}},
                **http_options,
            }
        },
    }


def routes(routed: Routed, weights: Weights, settings: Settings) -> list[dict[str, Any]]:
    """The routes of a virtual host, first match first.

    Only what stable answers is copied: a request that the candidate answers itself would be counted there twice.
    """
    if weights.stable + weights.candidate == 0:
        return [_unavailable(routed.key)]
    if not weights.mirror:
        return [_split_route(routed, weights, settings)]
    to_stable = Weights(stable=100, candidate=0, mirror=weights.mirror)
    mirrored = _split_route(routed, to_stable, settings)
    if not weights.candidate:
        return [mirrored]
    to_candidate = _split_route(routed, Weights(stable=0, candidate=100, mirror=0), settings)
    share = {"default_value": {"numerator": weights.candidate, "denominator": "HUNDRED"}}
    return [to_candidate | {"match": {"prefix": "/", "runtime_fraction": share}}, mirrored]


def _split_route(routed: Routed, weights: Weights, settings: Settings) -> dict[str, Any]:
    split = routed.split
    shares = [
        _share(routed.key, routed.backends[revision], role, weight)
        for revision, role, weight in (
            (split.stable, "stable", weights.stable),
            (split.candidate, "canary", weights.candidate),
        )
        if revision is not None and weight > 0
    ]
    route: dict[str, Any] = {
        "weighted_clusters": {"clusters": shares},
        "timeout": f"{settings.request_timeout_seconds}s",
        "idle_timeout": f"{settings.request_timeout_seconds + 10}s",
    }
    if weights.mirror and split.candidate is not None:
        route["request_mirror_policies"] = [
            {
                "cluster": mirror_name(routed.key, split.candidate),
                "runtime_fraction": {"default_value": {"numerator": weights.mirror, "denominator": "HUNDRED"}},
                "trace_sampled": False,
                "disable_shadow_host_suffix_append": True,
                "request_headers_mutations": [{"append": _header("x-penstock-role", "shadow")}],
            }
        ]
    return {"match": {"prefix": "/"}, "route": route}


def _share(key: Key, backend: Backend, role: str, weight: int) -> dict[str, Any]:
    return {
        "name": cluster_name(key, backend.revision),
        "weight": weight,
        "request_headers_to_add": [_header("x-penstock-role", role)],
        "response_headers_to_add": [
            _header("x-penstock-revision", backend.revision),
            _header("x-penstock-model-version", str(backend.model_version)),
        ],
    }


def virtual_host(key: Key, domains: Sequence[str], body: bytes) -> bytes:
    """A virtual host around the routes of a `Body`, as JSON."""
    host = {"name": str(key), "domains": list(domains), "request_body_buffer_limit": RETRIED_BODY_BYTES}
    return orjson.dumps(host)[:-1] + b',"routes":' + body + b"}"


def route_configuration(hosts: Sequence[bytes]) -> bytes:
    """The one route configuration around these virtual hosts and the one for unknown names, as JSON."""
    head = {"@type": ROUTE_TYPE, "name": ROUTE_CONFIGURATION, "ignore_port_in_host_matching": True}
    all_hosts = b",".join((*hosts, orjson.dumps(unknown_host())))
    return orjson.dumps(head)[:-1] + b',"virtual_hosts":[' + all_hosts + b"]}"


def unknown_host() -> dict[str, Any]:
    """The virtual host for every name that nobody has."""
    message = "No ModelDeployment answers to this host name: ask for http://<name>.<namespace>/, or list the name "
    return {
        "name": "unknown",
        "domains": ["*"],
        "routes": [_answer(404, "RESOURCE_DOES_NOT_EXIST", message + "in its spec.route.hostnames.")],
    }


def _unavailable(key: Key) -> dict[str, Any]:
    message = f"ModelDeployment {key} has no ready revision; its status says why."
    answer = _answer(503, "TEMPORARILY_UNAVAILABLE", message)
    answer["response_headers_to_add"].append(_header("retry-after", "1"))
    return answer


def _answer(status: int, code: str, message: str) -> dict[str, Any]:
    body = orjson.dumps({"error_code": code, "message": message}).decode()
    return {
        "match": {"prefix": "/"},
        "direct_response": {"status": status, "body": {"inline_string": body}},
        "response_headers_to_add": [_header("content-type", "application/json")],
    }


def _header(name: str, value: str) -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
