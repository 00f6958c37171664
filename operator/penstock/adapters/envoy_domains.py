"""Who answers to which host name. Pure.

Rule: every name has one owner, and every operator replica finds the same one; Envoy refuses a configuration that names
a domain twice, or one that is none.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from penstock.ports import Key

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A hostname that a ModelDeployment asked for and does not get."""

    hostname: str
    message: str


@dataclass(frozen=True, slots=True)
class Domains:
    """Who answers to which host names."""

    owned: Mapping[Key, tuple[str, ...]]
    refused: Mapping[Key, tuple[Refusal, ...]]


def is_label(word: str) -> bool:
    """Whether `word` is a label of DNS, as Kubernetes wants names: at most 63 of a-z, 0-9 and -."""
    return _LABEL.fullmatch(word) is not None


def own_names(key: Key, cluster_domain: str) -> tuple[str, ...]:
    """The names a ModelDeployment always has inside the cluster."""
    short = f"{key.name}.{key.namespace}"
    return (short, f"{short}.svc", f"{short}.svc.{cluster_domain}")


def is_hostname(hostname: str) -> bool:
    """Whether `hostname`, lower case, is one, or `*.` and one."""
    plain = hostname.removeprefix("*.")
    return len(hostname) <= 253 and all(is_label(label) for label in plain.split("."))


def assign(wanted: Mapping[Key, Sequence[str]], cluster_domain: str) -> Domains:
    """Give every host name to one ModelDeployment.

    Nobody can take the in-cluster name of another; of two that ask for one hostname the first by namespace and name
    has it, so that every operator replica decides alike.
    """
    owners = {name: key for key in wanted for name in own_names(key, cluster_domain)}
    owned = {key: list(own_names(key, cluster_domain)) for key in sorted(wanted)}
    refused: dict[Key, list[Refusal]] = {}
    for key in sorted(wanted):
        for hostname in dict.fromkeys(hostname.lower() for hostname in wanted[key]):
            if not is_hostname(hostname):
                message = f"{hostname!r} is not a host name: use labels of a-z, 0-9 and - joined by dots"
                refused.setdefault(key, []).append(Refusal(hostname, message))
                continue
            owner = owners.setdefault(hostname, key)
            if owner != key:
                message = f"{hostname} already belongs to ModelDeployment {owner}: remove it from one of the two"
                refused.setdefault(key, []).append(Refusal(hostname, message))
            elif hostname not in owned[key]:
                owned[key].append(hostname)
    return Domains(
        owned={key: tuple(names) for key, names in owned.items()},
        refused={key: tuple(refusals) for key, refusals in refused.items()},
    )
