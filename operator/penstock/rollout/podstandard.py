"""The Pod Security Standards, levels baseline and restricted, over the pod that a template would make.

The operator makes pods with rights that whoever edits a ModelDeployment may not have, in namespaces that may enforce
nothing; so it judges by itself what the API server's own admission would say of a restricted namespace. All is judged
as if the pod ran on Linux: the standards ask less of other systems, and the model server runs on no other.
"""

from collections.abc import Iterator

from penstock.rollout import podfields
from penstock.rollout.podfields import Field

CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
"""What baseline lets a container add: no more than container runtimes give by themselves."""

SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_syncookies",
    }
)
"""Those that are the pod's own."""

VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)

PROFILES = frozenset({"RuntimeDefault", "Localhost"})
SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"


def containers(spec: Field) -> Iterator[Field]:
    """Every container of a pod, of any kind."""
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec[kind].items()


def baseline(metadata: Field, spec: Field) -> None:
    """What nobody needs who does not administer nodes."""
    spec["hostNetwork"].must_not_be_on("shares the node's network")
    spec["hostPID"].must_not_be_on("shares the node's processes")
    spec["hostIPC"].must_not_be_on("shares the node's memory segments")
    for sysctl in spec["securityContext"]["sysctls"].items():
        if not podfields.is_among(sysctl["name"].value, SYSCTLS):
            sysctl.refuse("reaches beyond the pod", "remove it")
    for volume in spec["volumes"].items():
        if volume["hostPath"].value is not None:
            volume["hostPath"].refuse("shows the node's files", "use a persistentVolumeClaim or an emptyDir")
    annotations = metadata["annotations"]
    for key, value in annotations.mapping().items():
        confined = isinstance(value, str) and (value == "runtime/default" or value.startswith("localhost/"))
        if key.startswith(APPARMOR_ANNOTATION) and not confined:
            annotations[key].refuse("takes AppArmor's profile away", "remove it")
    _baseline_context(spec["securityContext"])
    for container in containers(spec):
        _baseline_context(container["securityContext"])
        _baseline_container(container)


def _baseline_context(context: Field) -> None:
    if context["windowsOptions"].mapping():
        context["windowsOptions"].refuse("is for Windows, where no model server runs", "remove it")
    context["seccompProfile"]["type"].must_be_among(PROFILES, "set it to RuntimeDefault")
    context["appArmorProfile"]["type"].must_be_among(PROFILES, "set it to RuntimeDefault")
    selinux = context["seLinuxOptions"]
    selinux["type"].must_be_among(SELINUX_TYPES, "remove it")
    for name in ("user", "role"):
        if not selinux[name].is_one_of(None, ""):
            selinux[name].refuse("takes another part than a container's", "remove it")


def _baseline_container(container: Field) -> None:
    context = container["securityContext"]
    context["privileged"].must_not_be_on("gives the container the whole node")
    context["procMount"].must_be_among(frozenset({"", "Default"}), "remove it")
    for capability in context["capabilities"]["add"].items():
        if not podfields.is_among(capability.value, CAPABILITIES):
            capability.refuse(f"adds the capability {podfields.shown(capability.value)}", "remove it")
    for port in container["ports"].items():
        if not port["hostPort"].is_one_of(None, 0):
            port["hostPort"].refuse("takes a port of the node", "remove it")
    handlers = [container[name] for name in PROBES]
    handlers += [container["lifecycle"][name] for name in ("postStart", "preStop")]
    for handler in handlers:
        for name in ("httpGet", "tcpSocket"):
            if not handler[name]["host"].is_one_of(None, ""):
                handler[name]["host"].refuse("makes the node call another address than the pod's", "remove it")


def restricted(spec: Field) -> None:
    """What is left of baseline for pods that hold to the current practice of hardening."""
    for volume in spec["volumes"].items():
        kinds = {key for key, value in volume.mapping().items() if key != "name" and value is not None}
        for kind in sorted(kinds - VOLUMES - {"hostPath"}):
            volume[kind].refuse("is a kind of volume that reaches outside", f"use one of {', '.join(sorted(VOLUMES))}")
    pod = spec["securityContext"]
    _user(pod)
    for container in containers(spec):
        context = container["securityContext"]
        _user(context)
        if context["allowPrivilegeEscalation"].value is not False:
            context["allowPrivilegeEscalation"].refuse("is not false", "set it to false")
        if context["runAsNonRoot"].value is None and pod["runAsNonRoot"].value is not True:
            context["runAsNonRoot"].refuse("is not true", "set it to true")
        own = context["seccompProfile"]
        if own["type"].value is None and (own.value is not None or pod["seccompProfile"]["type"].value is None):
            own["type"].refuse("is not set", "set it to RuntimeDefault")
        _capabilities(context["capabilities"])


def _user(context: Field) -> None:
    if not context["runAsNonRoot"].is_one_of(None, True):
        context["runAsNonRoot"].refuse("is not true", "set it to true")
    user = context["runAsUser"]
    if user.value is not None and (type(user.value) is not int or user.value <= 0):
        user.refuse(f"is {podfields.shown(user.value)}", "set it to the number of a user who is not root, or remove it")


def _capabilities(capabilities: Field) -> None:
    if not any(entry.value == "ALL" for entry in capabilities["drop"].items()):
        capabilities["drop"].refuse("does not hold ALL", "set it to [ALL]")
    for capability in capabilities["add"].items():
        if podfields.is_among(capability.value, CAPABILITIES - {"NET_BIND_SERVICE"}):
            capability.refuse(f"adds the capability {podfields.shown(capability.value)}", "remove it")
