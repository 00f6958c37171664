"""What a template may not talk the operator into: every attempt by name, and all templates by chance."""

import json
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from penstock import errors
from penstock.api.v1alpha1 import modeldeployment_status as told
from penstock.api.v1alpha1.modeldeployment_status import Outcome, Phase
from penstock.rollout import manifests, podpolicy, revision

from tests.unit.rollout import stage as stages

OWNER = told.Metadata(name="fraud", namespace="ml", uid="5e2b")
Json = dict[str, Any]
SAFE = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
AT = "spec.server.template"
DEFAULT = podpolicy.Policy()


def made(**server: Any) -> revision.Revision:
    return revision.Revision("7f3a9c21d0", "fraud", 3, "http://mlflow:5000", None, "runtime:1", "IfNotPresent", server)


def pod(template: Json) -> Json:
    return manifests.pod_template(OWNER, made(template=template))


def judged(template: Json, policy: podpolicy.Policy = DEFAULT) -> list[str]:
    own = manifests.pod_metadata(OWNER, made())
    return [violation.path for violation in policy.violations(pod(template), own)]


def spec(**fields: Any) -> Json:
    return {"spec": fields}


def server(**fields: Any) -> Json:
    return spec(containers=[{"name": "server", **fields}])


def context(**fields: Any) -> Json:
    return server(securityContext=fields)


def volume(**source: Any) -> Json:
    return spec(volumes=[{"name": "v", **source}])


ALLOWED: dict[str, Json] = {
    "nothing": {},
    "labels and annotations of their own": {
        "metadata": {"labels": {"team": "risk"}, "annotations": {"sidecar.istio.io/inject": "false"}}
    },
    "where to run": spec(
        nodeSelector={"gpu": "true"},
        tolerations=[{"operator": "Exists"}],
        affinity={"nodeAffinity": {}},
        priorityClassName="high",
        runtimeClassName="gvisor",
        schedulerName="volcano",
    ),
    "another command": server(command=["sh", "-c"], args=["penstock-serve serve"]),
    "a sidecar that is restricted too": spec(containers=[{"name": "proxy", "image": "p", "securityContext": SAFE}]),
    "another user": spec(securityContext={"runAsUser": 1000, "runAsGroup": 0, "fsGroup": 2000}),
    "a user that the image chooses": spec(securityContext={"runAsUser": None}),
    "its own account, said aloud": spec(serviceAccountName="default", serviceAccount="default"),
    "a low port": context(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}),
    "a profile of the node": context(seccompProfile={"type": "Localhost", "localhostProfile": "p.json"}),
    "a harmless sysctl": spec(
        securityContext={"sysctls": [{"name": "net.ipv4.ip_local_port_range", "value": "1024 65000"}]}
    ),
    "a claim": volume(persistentVolumeClaim={"claimName": "features"}),
    "a Secret of the namespace": volume(secret={"secretName": "s"}),
    "projected settings": volume(projected={"sources": [{"configMap": {"name": "a"}}]}),
    "a probe of its own": server(readinessProbe={"httpGet": {"path": "/ready", "port": 9000}}),
}


@pytest.mark.parametrize("template", ALLOWED.values(), ids=ALLOWED.keys())
def test_what_keeps_to_the_restricted_standard_passes(template: Json) -> None:
    assert judged(template) == []


BASELINE: dict[str, tuple[Json, str]] = {
    "the node's network": (spec(hostNetwork=True), f"{AT}.spec.hostNetwork"),
    "the node's processes": (spec(hostPID=True), f"{AT}.spec.hostPID"),
    "the node's memory segments": (spec(hostIPC=True), f"{AT}.spec.hostIPC"),
    "a switch that is on by another word": (spec(hostPID="yes"), f"{AT}.spec.hostPID"),
    "the node's files": (volume(hostPath={"path": "/"}), f"{AT}.spec.volumes[v].hostPath"),
    "the node's files in place of the model's": (
        spec(volumes=[{"name": "model", "hostPath": {"path": "/var/lib/kubelet"}}]),
        f"{AT}.spec.volumes[model].hostPath",
    ),
    "a port of the node": (
        server(ports=[{"containerPort": 8080, "hostPort": 80}]),
        f"{AT}.spec.containers[server].ports[http].hostPort",
    ),
    "the whole node": (context(privileged=True), f"{AT}.spec.containers[server].securityContext.privileged"),
    "the whole node, while it downloads": (
        spec(initContainers=[{"name": "download", "securityContext": {"privileged": True}}]),
        f"{AT}.spec.initContainers[download].securityContext.privileged",
    ),
    "a capability": (
        context(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
        f"{AT}.spec.containers[server].securityContext.capabilities.add[0]",
    ),
    "the unmasked /proc": (
        context(procMount="Unmasked"),
        f"{AT}.spec.containers[server].securityContext.procMount",
    ),
    "no seccomp for the pod": (
        spec(securityContext={"seccompProfile": {"type": "Unconfined"}}),
        f"{AT}.spec.securityContext.seccompProfile.type",
    ),
    "no seccomp for a container": (
        context(seccompProfile={"type": "Unconfined"}),
        f"{AT}.spec.containers[server].securityContext.seccompProfile.type",
    ),
    "no AppArmor": (
        context(appArmorProfile={"type": "Unconfined"}),
        f"{AT}.spec.containers[server].securityContext.appArmorProfile.type",
    ),
    "no AppArmor, the old way": (
        {"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/server": "unconfined"}}},
        f"{AT}.metadata.annotations.container.apparmor.security.beta.kubernetes.io/server",
    ),
    "a part of SELinux's": (
        context(seLinuxOptions={"type": "spc_t"}),
        f"{AT}.spec.containers[server].securityContext.seLinuxOptions.type",
    ),
    "a role of SELinux's": (
        spec(securityContext={"seLinuxOptions": {"role": "sysadm_r"}}),
        f"{AT}.spec.securityContext.seLinuxOptions.role",
    ),
    "the node, in Windows's words": (
        spec(securityContext={"windowsOptions": {"hostProcess": True}}),
        f"{AT}.spec.securityContext.windowsOptions",
    ),
    "a container that is a Windows process of the node": (
        context(windowsOptions={"hostProcess": True}),
        f"{AT}.spec.containers[server].securityContext.windowsOptions",
    ),
    "a sysctl of the node": (
        spec(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}),
        f"{AT}.spec.securityContext.sysctls[kernel.msgmax]",
    ),
    "a probe that calls somebody else": (
        server(livenessProbe={"httpGet": {"path": "/latest/meta-data", "port": 80, "host": "169.254.169.254"}}),
        f"{AT}.spec.containers[server].livenessProbe.httpGet.host",
    ),
    "a hook that calls somebody else": (
        server(lifecycle={"preStop": {"tcpSocket": {"port": 80, "host": "10.0.0.1"}}}),
        f"{AT}.spec.containers[server].lifecycle.preStop.tcpSocket.host",
    ),
}

RESTRICTED: dict[str, tuple[Json, str]] = {
    "a volume from elsewhere": (volume(nfs={"server": "s", "path": "/"}), f"{AT}.spec.volumes[v].nfs"),
    "a volume of an image": (volume(image={"reference": "x"}), f"{AT}.spec.volumes[v].image"),
    "a volume that nobody knows": (volume(tomorrow={}), f"{AT}.spec.volumes[v].tomorrow"),
    "a way up": (
        context(allowPrivilegeEscalation=True),
        f"{AT}.spec.containers[server].securityContext.allowPrivilegeEscalation",
    ),
    "a way up by silence": (
        context(allowPrivilegeEscalation=None),
        f"{AT}.spec.containers[server].securityContext.allowPrivilegeEscalation",
    ),
    "root": (spec(securityContext={"runAsUser": 0}), f"{AT}.spec.securityContext.runAsUser"),
    "root in one container": (context(runAsUser=0), f"{AT}.spec.containers[server].securityContext.runAsUser"),
    "maybe root": (context(runAsNonRoot=False), f"{AT}.spec.containers[server].securityContext.runAsNonRoot"),
    "maybe root, for the pod": (
        spec(securityContext={"runAsNonRoot": False}),
        f"{AT}.spec.securityContext.runAsNonRoot",
    ),
    "a small capability": (
        context(capabilities={"drop": ["ALL"], "add": ["CHOWN"]}),
        f"{AT}.spec.containers[server].securityContext.capabilities.add[0]",
    ),
    "capabilities kept": (
        context(capabilities={"drop": ["NET_RAW"]}),
        f"{AT}.spec.containers[server].securityContext.capabilities.drop",
    ),
}

LENT: dict[str, tuple[Json, str]] = {
    "another's account": (spec(serviceAccountName="admin"), f"{AT}.spec.serviceAccountName"),
    "another's account by the old name": (spec(serviceAccount="admin"), f"{AT}.spec.serviceAccount"),
    "a token": (spec(automountServiceAccountToken=True), f"{AT}.spec.automountServiceAccountToken"),
    "a token by silence": (spec(automountServiceAccountToken=None), f"{AT}.spec.automountServiceAccountToken"),
    "a token for the account of all": (
        spec(serviceAccountName="default", automountServiceAccountToken=True),
        f"{AT}.spec.automountServiceAccountToken",
    ),
    "a token in a volume": (
        volume(projected={"sources": [{"serviceAccountToken": {"path": "t"}}]}),
        f"{AT}.spec.volumes[v].projected.sources[0].serviceAccountToken",
    ),
    "a certificate in a volume": (
        volume(projected={"sources": [{"podCertificate": {"signerName": "s"}}]}),
        f"{AT}.spec.volumes[v].projected.sources[0].podCertificate",
    ),
    "a node past the scheduler": (spec(nodeName="control-plane"), f"{AT}.spec.nodeName"),
    "the cluster's own priority": (
        spec(priorityClassName="system-node-critical"),
        f"{AT}.spec.priorityClassName",
    ),
    "ephemeral containers": (
        spec(ephemeralContainers=[{"name": "debug", "securityContext": SAFE}]),
        f"{AT}.spec.ephemeralContainers",
    ),
    "finalizers": ({"metadata": {"finalizers": ["example.com/never"]}}, f"{AT}.metadata.finalizers"),
    "a label that makes it another's": (
        {"metadata": {"labels": {"penstock.dev/deployment": "other"}}},
        f"{AT}.metadata.labels.penstock.dev/deployment",
    ),
    "a label that hides it": (
        {"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}},
        f"{AT}.metadata.labels.app.kubernetes.io/managed-by",
    ),
    "a label that is ours to invent": (
        {"metadata": {"labels": {"penstock.dev/blessed": "yes"}}},
        f"{AT}.metadata.labels.penstock.dev/blessed",
    ),
    "another model version": (
        {"metadata": {"annotations": {"penstock.dev/model-version": "9"}}},
        f"{AT}.metadata.annotations.penstock.dev/model-version",
    ),
}


@pytest.mark.parametrize(("template", "path"), LENT.values(), ids=LENT.keys())
@pytest.mark.parametrize("level", podpolicy.Level)
def test_rights_are_lent_at_no_level(template: Json, path: str, level: podpolicy.Level) -> None:
    assert judged(template, podpolicy.Policy(level)) == [path]


@pytest.mark.parametrize(("template", "path"), RESTRICTED.values(), ids=RESTRICTED.keys())
def test_what_the_restricted_standard_forbids_is_named_and_baseline_lets_it_pass(template: Json, path: str) -> None:
    assert judged(template) == [path]
    assert judged(template, podpolicy.Policy(podpolicy.Level.BASELINE)) == []


@pytest.mark.parametrize(("template", "path"), BASELINE.values(), ids=BASELINE.keys())
def test_what_baseline_forbids_is_named_and_privileged_lets_it_pass(template: Json, path: str) -> None:
    assert judged(template) == [path]
    assert judged(template, podpolicy.Policy(podpolicy.Level.BASELINE)) == [path]
    assert judged(template, podpolicy.Policy(podpolicy.Level.PRIVILEGED)) == []


def test_all_labels_taken_away_are_named_each() -> None:
    own = manifests.pod_metadata(OWNER, made())["labels"]
    assert judged({"metadata": {"labels": None}}) == [f"{AT}.metadata.labels.{key}" for key in sorted(own)]


def test_a_sidecar_is_asked_for_all_that_our_containers_have() -> None:
    at = f"{AT}.spec.containers[proxy].securityContext"
    assert judged(spec(containers=[{"name": "proxy", "image": "p"}])) == [
        f"{at}.allowPrivilegeEscalation",
        f"{at}.capabilities.drop",
    ]


def test_a_pod_without_its_own_security_context_is_asked_for_what_it_misses() -> None:
    at = f"{AT}.spec.containers[proxy].securityContext"
    bare = spec(securityContext=None, containers=[{"name": "proxy", "image": "p", "securityContext": SAFE}])
    assert judged(bare) == [
        f"{AT}.spec.initContainers[download].securityContext.seccompProfile.type",
        f"{AT}.spec.containers[server].securityContext.seccompProfile.type",
        f"{at}.runAsNonRoot",
        f"{at}.seccompProfile.type",
    ]


def test_a_listed_account_may_be_used_with_its_token_and_no_other_may() -> None:
    policy = podpolicy.Policy(service_accounts=frozenset({"trainer"}))
    token = {"automountServiceAccountToken": True}
    assert judged(spec(serviceAccountName="trainer", **token), policy) == []
    assert judged(spec(serviceAccountName="other", **token), policy) == [
        f"{AT}.spec.serviceAccountName",
        f"{AT}.spec.automountServiceAccountToken",
    ]
    assert judged(spec(**token), policy) == [f"{AT}.spec.automountServiceAccountToken"]


ODD: dict[str, Json] = {
    "metadata": {"metadata": "x"},
    "labels": {"metadata": {"labels": [1]}},
    "the pod": {"spec": 7},
    "containers": spec(containers="all"),
    "a container": spec(containers=["server"]),
    "a container called by a list": spec(containers=[{"name": ["server"]}]),
    "a security context": context(capabilities=True),
    "volumes": spec(volumes={"name": "v"}),
    "a probe": server(livenessProbe=["x"]),
    "an account": spec(serviceAccountName=["admin"]),
    "a true that is a number": context(runAsNonRoot=1),
    "a false that is a number": context(allowPrivilegeEscalation=0),
    "a user that is a word": context(runAsUser="0"),
    "a user that is a fraction": context(runAsUser=0.0),
}


@pytest.mark.parametrize("template", ODD.values(), ids=ODD.keys())
def test_a_value_of_another_kind_is_refused_and_breaks_nothing(template: Json) -> None:
    assert judged(template)


def test_the_error_names_fields_and_cures_and_stays_short() -> None:
    many = [{"name": f"v{number}", "hostPath": {"path": "/"}} for number in range(50)]
    with pytest.raises(errors.Invalid) as raised:
        DEFAULT.admit(pod(spec(hostNetwork=True, volumes=many)), manifests.pod_metadata(OWNER, made()))
    volumes = "".join(
        f"; {AT}.spec.volumes[v{number}].hostPath shows the node's files: use a persistentVolumeClaim or an emptyDir"
        for number in range(4)
    )
    assert raised.value.message == (
        f"the pod policy (level restricted) refuses the pods: {AT}.spec.hostNetwork shares the node's network: "
        f"remove it{volumes}; and 46 more"
    )


def test_foreign_text_in_the_error_is_one_short_line() -> None:
    text = "x\n" * 5000
    with pytest.raises(errors.Invalid) as raised:
        DEFAULT.admit(
            pod(spec(serviceAccountName=text, containers=[{"name": text}])), manifests.pod_metadata(OWNER, made())
        )
    assert "\n" not in raised.value.message
    assert len(raised.value.message) < 1000


# whatever is written, judged by a second reading of the standard

anything = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from(["", "ALL", "Unconfined", "RuntimeDefault", "x"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["name", "type", "add", "drop", "host", "hostPath", "emptyDir"]), inner, max_size=2
        )
    ),
    max_leaves=4,
)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """Some of these fields, or something else in place of one."""
    return st.fixed_dictionaries({}, optional={name: value | anything for name, value in fields.items()})


caps = st.lists(st.sampled_from(["ALL", "CHOWN", "NET_BIND_SERVICE", "SYS_ADMIN", "NET_RAW"]), max_size=2)
security = some(
    runAsNonRoot=st.booleans(),
    runAsUser=st.integers(0, 2),
    privileged=st.booleans(),
    allowPrivilegeEscalation=st.booleans(),
    procMount=st.sampled_from(["Default", "Unmasked"]),
    seccompProfile=some(type=st.sampled_from(["Unconfined", "RuntimeDefault", "Localhost"])),
    capabilities=some(add=caps, drop=caps),
    windowsOptions=some(hostProcess=st.booleans()),
    seLinuxOptions=some(type=st.sampled_from(["spc_t", "container_t"]), user=st.just("u"), role=st.just("r")),
    sysctls=st.lists(some(name=st.sampled_from(["kernel.msgmax", "net.ipv4.tcp_syncookies"])), max_size=1),
)
a_container = some(
    name=st.sampled_from(["server", "download", "other"]),
    securityContext=security,
    ports=st.lists(some(containerPort=st.just(8080), hostPort=st.integers(0, 1)), max_size=1),
    livenessProbe=some(httpGet=some(host=st.sampled_from(["", "h"]))),
)
a_template = some(
    metadata=some(
        labels=st.dictionaries(st.sampled_from(["penstock.dev/deployment", "team"]), st.text(max_size=3), max_size=2)
    ),
    spec=some(
        hostNetwork=st.booleans(),
        hostPID=st.booleans(),
        hostIPC=st.booleans(),
        securityContext=security,
        initContainers=st.lists(a_container, max_size=2),
        containers=st.lists(a_container, max_size=2),
        volumes=st.lists(
            some(
                name=st.sampled_from(["model", "v"]),
                hostPath=some(path=st.just("/")),
                nfs=some(),
                emptyDir=st.just({}),
                projected=some(sources=st.lists(some(serviceAccountToken=some()), max_size=1)),
            ),
            max_size=2,
        ),
        serviceAccountName=st.sampled_from(["", "default", "admin"]),
        automountServiceAccountToken=st.booleans(),
        nodeName=st.sampled_from(["", "n"]),
        priorityClassName=st.sampled_from(["high", "system-node-critical"]),
    ),
)


def is_restricted(body: Json) -> bool:
    """The standard's text, read a second time: https://kubernetes.io/docs/concepts/security/pod-security-standards."""
    spec_, own = body["spec"], body["spec"].get("securityContext") or {}
    every = [*(spec_.get("initContainers") or []), *(spec_.get("containers") or [])]
    contexts = [entry.get("securityContext") or {} for entry in every]
    kinds = {kind for entry in spec_.get("volumes") or [] for kind, value in entry.items() if value is not None}

    def effective(one: Json, name: str) -> Any:
        return own.get(name) if one.get(name) is None else one[name]

    profiles = [(effective(one, "seccompProfile") or {}).get("type") for one in contexts]
    return (
        not any(spec_.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
        and kinds
        <= {
            *("name", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
            *("persistentVolumeClaim", "projected", "secret"),
        }
        and all(one.get("allowPrivilegeEscalation") is False for one in contexts)
        and all(effective(one, "runAsNonRoot") is True for one in contexts)
        and all(effective(one, "runAsUser") != 0 for one in contexts)
        and all("ALL" in one["capabilities"]["drop"] for one in contexts)
        and all(set(one["capabilities"].get("add") or []) <= {"NET_BIND_SERVICE"} for one in contexts)
        and not any(one.get("privileged") for one in contexts)
        and all(one.get("procMount") in {None, "", "Default"} for one in contexts)
        and all(profile in {"RuntimeDefault", "Localhost"} for profile in profiles)
        and not any((one.get("windowsOptions") or {}).get("hostProcess") for one in (own, *contexts))
        and all((one.get("seLinuxOptions") or {}).get("type") != "spc_t" for one in (own, *contexts))
        and all(entry["name"] == "net.ipv4.tcp_syncookies" for entry in own.get("sysctls") or [])
        and not any(port.get("hostPort") for entry in every for port in entry.get("ports") or [])
        and not any(((entry.get("livenessProbe") or {}).get("httpGet") or {}).get("host") for entry in every)
    )


def borrows_nothing(body: Json) -> bool:
    spec_ = body["spec"]
    projected = [
        source for entry in spec_.get("volumes") or [] for source in (entry.get("projected") or {}).get("sources") or []
    ]
    return (
        spec_.get("serviceAccountName") in {None, "", "default"}
        and spec_["automountServiceAccountToken"] is False
        and not any(source.get("serviceAccountToken") is not None for source in projected)
        and not spec_.get("nodeName")
        and not (spec_.get("priorityClassName") or "").startswith("system-")
        and manifests.pod_metadata(OWNER, made())["labels"].items() <= body["metadata"]["labels"].items()
    )


@hypothesis.settings(max_examples=400, deadline=None)
@hypothesis.given(a_template)
def test_whatever_the_template_a_pod_that_passes_is_restricted_and_borrows_nothing(template: Json) -> None:
    body = pod(template)
    if DEFAULT.violations(body, manifests.pod_metadata(OWNER, made())):
        hypothesis.event("refused")
        return
    hypothesis.event("passed")
    assert is_restricted(body), json.dumps(body, indent=1)
    assert borrows_nothing(body), json.dumps(body, indent=1)


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(
    security.map(lambda fields: context(**fields)) | a_container.map(lambda one: server(**{**one, "name": "server"}))
)
def test_whatever_our_own_container_is_made_to_be_one_that_passes_is_restricted(template: Json) -> None:
    body = pod(template)
    if not DEFAULT.violations(body, manifests.pod_metadata(OWNER, made())):
        assert is_restricted(body), json.dumps(body, indent=1)


# in the shell: nothing is written

SPEC: Json = {"model": {"name": "fraud", "alias": "champion"}, "rollout": {"steps": []}}


def kinds(stage: stages.Stage) -> list[str]:
    return sorted(kind for kind, _ in stage.objects)


async def test_a_first_version_that_is_refused_leaves_nothing_but_its_reason() -> None:
    stage = stages.Stage()
    stage.create({**SPEC, "server": {"template": {"spec": {"hostNetwork": True}}}})
    await stages.play(stage, lambda: bool(stage.mdep().status.history), seconds=60)
    entry = stage.mdep().status.history[0]
    assert (entry.outcome, entry.reason) == (Outcome.REJECTED, "PodsRefused")
    assert entry.message.startswith(
        "the pod policy (level restricted) refuses the pods: spec.server.template.spec.hostNetwork shares the node's "
        "network: remove it; correct spec.server"
    )
    assert kinds(stage) == ["ModelDeployment", "Service"]  # the Service is the entry for callers


async def test_a_next_revision_that_is_refused_leaves_stable_alone() -> None:
    stage = stages.Stage()
    stage.create(SPEC)
    await stages.play(stage, lambda: stage.mdep().status.phase is Phase.HEALTHY)
    before = {name: body for name, body in stage.objects.items() if name[0] != "ModelDeployment"}
    stage.edit(lambda body: body["spec"].update(server={"template": {"spec": {"serviceAccountName": "admin"}}}))
    await stages.play(stage, lambda: len(stage.mdep().status.history) == 2, seconds=60)
    entry = stage.mdep().status.history[0]
    assert (entry.outcome, entry.reason) == (Outcome.REJECTED, "PodsRefused")
    assert {name: body for name, body in stage.objects.items() if name[0] != "ModelDeployment"} == before


async def test_a_recorded_revision_is_judged_before_its_pods_are_made_again() -> None:
    """Recorded by an operator that judged less; then its pods are deleted."""
    stage = stages.Stage()
    stage.create(SPEC)
    await stages.play(stage, lambda: stage.mdep().status.phase is Phase.HEALTHY)
    (record,) = stage.of_kind("ControllerRevision")
    record["data"]["server"]["template"] = {"spec": {"hostPID": True}}
    stage.put(record)
    for kind in ("Deployment", "Service"):
        stage.objects.pop((kind, record["metadata"]["name"]))
    passes, started = 0, stage.now

    def later() -> bool:
        nonlocal passes
        passes += 1
        return (stage.now - started).total_seconds() > 300

    await stages.play(stage, later, seconds=400)
    assert kinds(stage) == ["ControllerRevision", "ModelDeployment", "Service"]
    assert "hostPID shares the node's processes: remove it" in stage.mdep().status.message
    assert passes < 100, "what is known to be refused is not tried without end"
