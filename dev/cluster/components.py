"""The node as a list: every daemon, its command line, in the order in which they start.

Rule: no decisions and no effects here, apart from writing the files the daemons read.
"""

import pathlib

from dev.cluster import build, configs, daemons, network, pki, prerequisites, settings, shell

ETCD_URL = "http://127.0.0.1:2379"
CONTROL_PLANE = ("etcd", "kube-apiserver")


def write_configuration(cluster: settings.Settings) -> None:
    """Write what the daemons read; a file that says the same already is left alone."""
    wanted = {
        "containerd.toml": configs.containerd(cluster, prerequisites.cni_folder()),
        "cni/10-penstock.conflist": configs.cni(cluster),
        "kubelet.json": configs.kubelet(cluster),
        "Corefile": configs.corefile(cluster),
        "resolv.conf": configs.resolv_conf(),
    }
    for name, content in wanted.items():
        path = cluster.config / name
        if not path.exists() or path.read_text() != content:
            shell.write(path, content)


def all_daemons(cluster: settings.Settings, programs: build.Binaries) -> tuple[daemons.Daemon, ...]:
    """Every daemon, in the order in which they are started."""
    return (
        _containerd(cluster),
        _etcd(cluster, programs),
        _api_server(cluster, programs),
        _controller_manager(cluster, programs),
        _scheduler(cluster, programs),
        _coredns(cluster, programs),
        _kube_proxy(cluster, programs),
        _kubelet(cluster, programs),
    )


def _containerd(cluster: settings.Settings) -> daemons.Daemon:
    config = cluster.config / "containerd.toml"
    return daemons.Daemon("containerd", ("containerd", "--config", str(config)), (config,))


def _etcd(cluster: settings.Settings, programs: build.Binaries) -> daemons.Daemon:
    peers = "http://127.0.0.1:2380"
    return daemons.Daemon(
        "etcd",
        (
            str(programs["etcd"]),
            f"--name={cluster.name}",
            f"--data-dir={cluster.state / 'etcd'}",
            f"--listen-client-urls={ETCD_URL}",
            f"--advertise-client-urls={ETCD_URL}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster={cluster.name}={peers}",
            # Losing power may lose this throw-away cluster; in exchange no write waits for a developer's disk.
            "--unsafe-no-fsync",
            "--log-level=warn",
        ),
    )


def _api_server(cluster: settings.Settings, programs: build.Binaries) -> daemons.Daemon:
    keys = cluster.pki
    return daemons.Daemon(
        "kube-apiserver",
        (
            str(programs["kube-apiserver"]),
            f"--etcd-servers={ETCD_URL}",
            f"--advertise-address={settings.NODE_ADDRESS}",
            f"--service-cluster-ip-range={settings.SERVICE_CIDR}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--client-ca-file={keys / 'ca.crt'}",
            f"--tls-cert-file={keys / 'kube-apiserver.crt'}",
            f"--tls-private-key-file={keys / 'kube-apiserver.key'}",
            f"--kubelet-certificate-authority={keys / 'ca.crt'}",
            f"--kubelet-client-certificate={keys / 'apiserver-to-kubelet.crt'}",
            f"--kubelet-client-key={keys / 'apiserver-to-kubelet.key'}",
            "--kubelet-preferred-address-types=InternalIP",
            # How the API server introduces itself to API servers behind it, such as a metrics adapter.
            f"--requestheader-client-ca-file={keys / 'ca.crt'}",
            f"--requestheader-allowed-names={pki.FRONT_PROXY.common_name}",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={keys / 'front-proxy.crt'}",
            f"--proxy-client-key-file={keys / 'front-proxy.key'}",
            f"--service-account-issuer=https://kubernetes.default.svc.{settings.CLUSTER_DOMAIN}",
            f"--service-account-key-file={keys / 'service-accounts.key'}",
            f"--service-account-signing-key-file={keys / 'service-accounts.key'}",
            # A developer's `down` should not wait for open watches.
            "--shutdown-delay-duration=0s",
            "--profiling=false",
        ),
        (keys / "kube-apiserver.crt", keys / "service-accounts.key", keys / "apiserver-to-kubelet.crt"),
    )


def _controller_manager(cluster: settings.Settings, programs: build.Binaries) -> daemons.Daemon:
    config = cluster.pki / "controller-manager.kubeconfig"
    return daemons.Daemon(
        "kube-controller-manager",
        (
            str(programs["kube-controller-manager"]),
            f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            "--authentication-tolerate-lookup-failure",
            "--bind-address=127.0.0.1",
            # One instance: waiting for a lease would only slow the start down.
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={cluster.pki / 'service-accounts.key'}",
            f"--root-ca-file={cluster.pki / 'ca.crt'}",
            f"--cluster-signing-cert-file={cluster.pki / 'ca.crt'}",
            f"--cluster-signing-key-file={cluster.pki / 'ca.key'}",
            f"--flex-volume-plugin-dir={cluster.state / 'kubelet' / 'volume-plugins'}",
            "--kube-api-qps=100",
            "--kube-api-burst=200",
        ),
        (config, cluster.pki / "service-accounts.key"),
    )


def _scheduler(cluster: settings.Settings, programs: build.Binaries) -> daemons.Daemon:
    config = cluster.pki / "scheduler.kubeconfig"
    return daemons.Daemon(
        "kube-scheduler",
        (
            str(programs["kube-scheduler"]),
            f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            "--authentication-tolerate-lookup-failure",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
        ),
        (config,),
    )


def _coredns(cluster: settings.Settings, programs: build.Binaries) -> daemons.Daemon:
    config, user = cluster.config / "Corefile", cluster.pki / "coredns.kubeconfig"
    return daemons.Daemon("coredns", (str(programs["coredns"]), "-conf", str(config)), (config, user))


def _kube_proxy(cluster: settings.Settings, programs: build.Binaries) -> daemons.Daemon:
    config = cluster.pki / "kube-proxy.kubeconfig"
    return daemons.Daemon(
        "kube-proxy",
        (
            str(programs["kube-proxy"]),
            f"--kubeconfig={config}",
            f"--hostname-override={cluster.name}",
            f"--cluster-cidr={settings.POD_CIDR}",
            "--proxy-mode=nftables",
            # These are settings of the whole machine, which a namespace may not change.
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0s",
            "--conntrack-tcp-timeout-close-wait=0s",
        ),
        (config,),
    )


def _kubelet(cluster: settings.Settings, programs: build.Binaries) -> daemons.Daemon:
    config, user = cluster.config / "kubelet.json", cluster.pki / "kubelet.kubeconfig"
    return daemons.Daemon(
        "kubelet",
        (
            str(programs["kubelet"]),
            f"--config={config}",
            f"--kubeconfig={user}",
            f"--root-dir={cluster.state / 'kubelet'}",
            f"--hostname-override={cluster.name}",
            f"--node-ip={settings.NODE_ADDRESS}",
        ),
        (config, user, cluster.pki / "kubelet.crt"),
    )


def kubectl(cluster: settings.Settings, programs: build.Binaries) -> list[str | pathlib.Path]:
    """The kubectl command as the administrator, inside the cluster's network."""
    return [*network.inside(cluster), programs["kubectl"], f"--kubeconfig={cluster.admin_kubeconfig}"]
