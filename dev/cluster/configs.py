"""The configuration files of the node's daemons, as text.

Rule: pure functions of the settings. JSON is written where YAML is read: every JSON document is a YAML one.
"""

import json
import pathlib

from dev.cluster import cgroups, pause, settings


def containerd(cluster: settings.Settings, plugins: pathlib.Path) -> str:
    state, volatile = cluster.state, cluster.volatile
    # restrict_oom_score_adj: a machine without CAP_SYS_RESOURCE may not lower a process's score, and runc then fails
    # with "can't get final child's PID from pipe: EOF".
    # Root, netns_mounts_under_state_dir: nothing of ours among the files of another containerd on this machine.
    return f"""\
version = 2
root = "{state}/containerd"
state = "{volatile}/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
  address = "{cluster.containerd_socket}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{state}/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause.IMAGE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{cluster.config}/cni"

  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "{volatile}/runc"
      SystemdCgroup = false
"""


def cni(cluster: settings.Settings) -> str:
    """Point-to-point links: all traffic is routed by the node, so that Services work without br_netfilter."""
    return _document(
        {
            "cniVersion": "0.4.0",
            "name": cluster.cni_network,
            "plugins": [
                {
                    "type": "ptp",
                    "ipMasq": False,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": str(cluster.volatile / "addresses"),
                        "ranges": [[{"subnet": settings.POD_CIDR}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        }
    )


def kubelet(cluster: settings.Settings) -> str:
    eviction = {"memory.available": "100Mi", "nodefs.available": "0%", "nodefs.inodesFree": "0%"}
    return _document(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(cluster.pki / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(cluster.pki / "kubelet.crt"),
            "tlsPrivateKeyFile": str(cluster.pki / "kubelet.key"),
            "containerRuntimeEndpoint": f"unix://{cluster.containerd_socket}",
            "podLogsDir": str(cluster.logs / "pods"),
            "volumePluginDir": str(cluster.state / "kubelet" / "volume-plugins"),
            "clusterDNS": [settings.DNS_ADDRESS],
            "clusterDomain": settings.CLUSTER_DOMAIN,
            "resolvConf": str(cluster.config / "resolv.conf"),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{cluster.cgroup}",
            **({} if cgroups.version_2() else {"failCgroupV1": False}),
            "failSwapOn": False,
            "localStorageCapacityIsolation": False,
            # A developer's machine is often nearly full; never delete its images or pods for that.
            "evictionHard": {**eviction, "imagefs.available": "0%", "imagefs.inodesFree": "0%"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "maxPods": 250,
            "kubeAPIQPS": 100,
            "kubeAPIBurst": 200,
            "serializeImagePulls": False,
            "healthzBindAddress": "127.0.0.1",
            "shutdownGracePeriod": "0s",
        }
    )


def corefile(cluster: settings.Settings) -> str:
    # The last plugin answers what is not in the cluster with "no such name" at once: pods have no way to the outside,
    # and a refused query would make resolvers wait and try again.
    return f"""\
.:53 {{
    bind {settings.NODE_ADDRESS}
    errors
    health 127.0.0.1:8080
    ready 127.0.0.1:8181
    kubernetes {settings.CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {cluster.pki}/coredns.kubeconfig
        pods insecure
        ttl 5
        fallthrough in-addr.arpa ip6.arpa
    }}
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
"""


def resolv_conf() -> str:
    return f"nameserver {settings.DNS_ADDRESS}\noptions ndots:5\n"


def _document(content: dict[str, object]) -> str:
    return json.dumps(content, indent=2) + "\n"
