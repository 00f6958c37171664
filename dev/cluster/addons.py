"""What a cluster needs beyond its daemons: the DNS Service, and the few grants that have no built-in role.

Rule: applied whole, with server-side apply, and noted once all of it was taken: half of it is none of it.
"""

import hashlib
import json
import pathlib

from dev.cluster import build, components, settings, shell

_LABELS = {"app.kubernetes.io/part-of": "penstock-dev"}


def manifests() -> list[dict[str, object]]:
    return [*_dns_objects(), *_grants()]


def applied(cluster: settings.Settings) -> bool:
    """Whether the API server took all of these very manifests."""
    note = _note(cluster)
    return note.exists() and note.read_text() == _digest()


def apply(cluster: settings.Settings, programs: build.Binaries) -> None:
    document = {"apiVersion": "v1", "kind": "List", "items": manifests()}
    command = [*components.kubectl(cluster, programs), "apply", "--server-side", "--force-conflicts", "-f", "-"]
    shell.run([*command, "--field-manager=penstock-dev"], text=json.dumps(document))
    shell.write(_note(cluster), _digest())


def _note(cluster: settings.Settings) -> pathlib.Path:
    """Beside etcd's data, because it is true as long as those are there."""
    return cluster.state / "etcd" / "addons-applied"


def _digest() -> str:
    return hashlib.sha256(json.dumps(manifests(), sort_keys=True).encode()).hexdigest()


def _dns_objects() -> list[dict[str, object]]:
    """CoreDNS runs beside the other daemons; a Service without selector leads to it."""
    ports = (("dns", "UDP"), ("dns-tcp", "TCP"))
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "kube-dns",
                "namespace": "kube-system",
                "labels": {**_LABELS, "k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"},
            },
            "spec": {
                "clusterIP": settings.DNS_ADDRESS,
                "ports": [{"name": name, "protocol": protocol, "port": 53} for name, protocol in ports],
            },
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kube-dns-node",
                "namespace": "kube-system",
                "labels": {
                    **_LABELS,
                    "kubernetes.io/service-name": "kube-dns",
                    "endpointslice.kubernetes.io/managed-by": "penstock-dev",
                },
            },
            "addressType": "IPv4",
            "ports": [{"name": name, "protocol": protocol, "port": 53} for name, protocol in ports],
            "endpoints": [{"addresses": [settings.NODE_ADDRESS], "conditions": {"ready": True}}],
        },
    ]


def _grants() -> list[dict[str, object]]:
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "penstock-dev:coredns", "labels": _LABELS},
            "rules": [
                {
                    "apiGroups": [""],
                    "resources": ["endpoints", "services", "pods", "namespaces"],
                    "verbs": ["list", "watch"],
                },
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            ],
        },
        _binding("penstock-dev:coredns", role="penstock-dev:coredns", user="penstock-dev:coredns"),
        _binding(
            "penstock-dev:apiserver-to-kubelet",
            role="system:kubelet-api-admin",
            user="kube-apiserver-kubelet-client",
        ),
    ]


def _binding(name: str, *, role: str, user: str) -> dict[str, object]:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name, "labels": _LABELS},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }
