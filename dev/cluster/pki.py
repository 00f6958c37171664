"""Keys, certificates and kubeconfigs of one cluster, made with the openssl command.

Rule: one authority signs everything; a certificate is made once and kept, so that kubeconfigs handed out stay valid
until the cluster is taken down.
"""

import base64
import dataclasses
import json
import pathlib

from dev.cluster import settings, shell

_DAYS = "3650"


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What one certificate says; `alternatives` in openssl's words, such as `DNS:x` or `IP:1.2.3.4`."""

    name: str
    common_name: str
    organisation: str = ""
    alternatives: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Identity:
    """A user of the API server: its kubeconfig's file name, and the certificate that proves it."""

    kubeconfig: str
    certificate: Certificate


ADMIN = Identity("admin", Certificate("admin", "penstock-dev-admin", "system:masters"))

FRONT_PROXY = Certificate("front-proxy", "penstock-dev-front-proxy")


def api_url() -> str:
    return f"https://{settings.NODE_ADDRESS}:6443"


def server_certificates(node: str) -> tuple[Certificate, ...]:
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
    return (
        Certificate(
            "kube-apiserver",
            "kube-apiserver",
            alternatives=(
                "DNS:localhost",
                *(f"DNS:{name}" for name in names),
                f"DNS:kubernetes.default.svc.{settings.CLUSTER_DOMAIN}",
                f"IP:{settings.API_SERVICE_ADDRESS}",
                f"IP:{settings.NODE_ADDRESS}",
                "IP:127.0.0.1",
            ),
        ),
        Certificate("kubelet", f"system:node:{node}", alternatives=(f"DNS:{node}", f"IP:{settings.NODE_ADDRESS}")),
        FRONT_PROXY,
        # How the API server introduces itself to kubelet for logs, exec and port-forward.
        Certificate("apiserver-to-kubelet", "kube-apiserver-kubelet-client"),
    )


def identities(node: str) -> tuple[Identity, ...]:
    """The names are those that Kubernetes' built-in roles are bound to."""
    return (
        ADMIN,
        Identity("controller-manager", Certificate("controller-manager", "system:kube-controller-manager")),
        Identity("scheduler", Certificate("scheduler", "system:kube-scheduler")),
        Identity("kube-proxy", Certificate("kube-proxy", "system:kube-proxy")),
        Identity("kubelet", Certificate("kubelet-client", f"system:node:{node}", "system:nodes")),
        Identity("coredns", Certificate("coredns", "penstock-dev:coredns")),
    )


def ensure(cluster: settings.Settings) -> None:
    """Make what is missing of the cluster's keys, certificates and kubeconfigs."""
    folder = cluster.pki
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    _authority(folder)
    service_accounts = folder / "service-accounts.key"
    if not service_accounts.exists():
        partial = folder / ".service-accounts.partial"
        shell.run(["openssl", "genrsa", "-out", partial, "2048"])
        partial.replace(service_accounts)
    for certificate in server_certificates(cluster.name):
        _sign(folder, certificate)
    for identity in identities(cluster.name):
        _sign(folder, identity.certificate)
        target = cluster.admin_kubeconfig if identity is ADMIN else folder / f"{identity.kubeconfig}.kubeconfig"
        content = _kubeconfig(cluster, identity)
        if not target.exists() or target.read_text() != content:
            shell.write(target, content, mode=0o600)


def _authority(folder: pathlib.Path) -> None:
    if (folder / "ca.crt").exists():
        return
    key, partial = folder / "ca.key", folder / ".ca.partial"
    _new_key(key)
    shell.run(
        [
            "openssl",
            "req",
            "-x509",
            "-new",
            "-key",
            key,
            "-sha256",
            "-days",
            _DAYS,
            "-subj",
            "/CN=penstock-dev-ca",
            "-out",
            partial,
        ]
    )
    partial.replace(folder / "ca.crt")


def _sign(folder: pathlib.Path, certificate: Certificate) -> None:
    """Key first, certificate last: a certificate that exists has its key."""
    finished = folder / f"{certificate.name}.crt"
    if finished.exists():
        return
    key, request = folder / f"{certificate.name}.key", folder / f".{certificate.name}.csr"
    extensions, partial = folder / f".{certificate.name}.ext", folder / f".{certificate.name}.partial"
    _new_key(key)
    subject = f"/CN={certificate.common_name}"
    if certificate.organisation:
        subject = f"/O={certificate.organisation}{subject}"
    lines = [
        "basicConstraints=CA:FALSE",
        "keyUsage=critical,digitalSignature,keyEncipherment",
        "extendedKeyUsage=serverAuth,clientAuth",
    ]
    if certificate.alternatives:
        lines.append(f"subjectAltName={','.join(certificate.alternatives)}")
    extensions.write_text("\n".join(lines) + "\n")
    shell.run(["openssl", "req", "-new", "-key", key, "-subj", subject, "-out", request])
    shell.run(
        [
            "openssl",
            "x509",
            "-req",
            "-in",
            request,
            "-CA",
            folder / "ca.crt",
            "-CAkey",
            folder / "ca.key",
            "-CAcreateserial",
            "-sha256",
            "-days",
            _DAYS,
            "-extfile",
            extensions,
            "-out",
            partial,
        ]
    )
    request.unlink()
    extensions.unlink()
    partial.replace(finished)


def _new_key(path: pathlib.Path) -> None:
    shell.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path])
    path.chmod(0o600)


def _kubeconfig(cluster: settings.Settings, identity: Identity) -> str:
    """A kubeconfig that carries its certificates, so that the file alone is enough."""

    def encoded(name: str) -> str:
        return base64.b64encode((cluster.pki / name).read_bytes()).decode()

    name, user = cluster.name, identity.certificate.common_name
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": api_url(), "certificate-authority-data": encoded("ca.crt")}}],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": encoded(f"{identity.certificate.name}.crt"),
                    "client-key-data": encoded(f"{identity.certificate.name}.key"),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    }
    return json.dumps(document, indent=2) + "\n"
