"""The conversation with the Envoys as a state machine: what is wanted, what each node has, what it is told next. Pure.

Rule: a node is only told routes whose clusters it has acknowledged, and keeps a cluster until it has acknowledged
routes that do without it. A node acknowledges by naming the version it has in its next poll; nothing else is trusted.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from penstock.adapters import envoy_domains, envoy_snapshot
from penstock.ports import Key, Routed


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """A complete answer about clusters; the version is a hash of the content."""

    version: str
    resources: bytes
    fragments: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Routes:
    """A complete answer about routes; the version is a hash of the content."""

    version: str
    resources: bytes
    bodies: Mapping[Key, envoy_snapshot.Body]
    domains: Mapping[Key, tuple[str, ...]]
    named: frozenset[str]


def clusters_of(fragments: Mapping[str, bytes]) -> Clusters:
    """The answer that carries these clusters."""
    ordered = dict(sorted(fragments.items()))
    resources = b",".join(ordered.values())
    return Clusters(version=_version(resources), resources=resources, fragments=ordered)


def routes_of(bodies: Mapping[Key, envoy_snapshot.Body], domains: Mapping[Key, tuple[str, ...]]) -> Routes:
    """The answer that carries these virtual hosts and the one for unknown names."""
    ordered = dict(sorted(bodies.items()))
    hosts = [envoy_snapshot.virtual_host(key, domains[key], body.routes) for key, body in ordered.items()]
    resources = envoy_snapshot.route_configuration(hosts)
    named: frozenset[str] = frozenset().union(*(body.clusters for body in ordered.values()))
    return Routes(_version(resources), resources, ordered, {key: domains[key] for key in ordered}, named)


def _version(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=12).hexdigest()


class Wanted:
    """What the operator wants of the data plane; compiled when it changes, put together when it is asked for."""

    def __init__(self, settings: envoy_snapshot.Settings) -> None:
        self._settings = settings
        self._routed: dict[Key, Routed] = {}
        self._compiled: dict[Key, envoy_snapshot.Compiled] = {}
        self._domains: envoy_domains.Domains | None = None
        self._clusters: Clusters | None = None
        self._routes: Routes | None = None
        self.former: dict[str, bytes] = {}
        """The clusters that were wanted until lately: routes that another process gave may still name them."""
        self._aged: set[str] = set()

    def put(self, routed: Routed) -> bool:
        """Want this; whether that changes anything. Raises Misconfigured, and then changes nothing."""
        old = self._compiled.get(routed.key)
        if old is not None and self._routed[routed.key] == routed:
            return False
        new = envoy_snapshot.compile_routed(routed, self._settings)
        self._routed[routed.key] = routed
        if old is not None and old.body.routes == new.body.routes and old.body.split == new.body.split:
            new = envoy_snapshot.Compiled(new.key, new.hostnames, new.clusters, old.body)
        self._compiled[routed.key] = new
        if old is None or old.hostnames != new.hostnames:
            self._domains = None
        if old is None or old.clusters != new.clusters:
            self._clusters = None
            self._part({} if old is None else old.clusters, new.clusters)
        if self._domains is None or old is None or old.body is not new.body:
            self._routes = None
        return True

    def drop(self, key: Key) -> bool:
        """Want it no more; whether that changes anything."""
        self._routed.pop(key, None)
        old = self._compiled.pop(key, None)
        if old is None:
            return False
        self._part(old.clusters, {})
        self._domains = self._clusters = self._routes = None
        return True

    def _part(self, old: Mapping[str, bytes], new: Mapping[str, bytes]) -> None:
        for name in new:
            self.former.pop(name, None)
        parted = {name: text for name, text in old.items() if name not in new}
        self.former.update(parted)
        self._aged.difference_update(parted)

    def age_former(self) -> None:
        """Drop the former clusters that were there the last time already."""
        for name in self._aged:
            self.former.pop(name, None)
        self._aged = set(self.former)

    def body(self, key: Key) -> envoy_snapshot.Body | None:
        compiled = self._compiled.get(key)
        return None if compiled is None else compiled.body

    @property
    def keys(self) -> Collection[Key]:
        return self._compiled.keys()

    @property
    def domains(self) -> envoy_domains.Domains:
        if self._domains is None:
            hostnames = {key: compiled.hostnames for key, compiled in self._compiled.items()}
            self._domains = envoy_domains.assign(hostnames, self._settings.cluster_domain)
        return self._domains

    @property
    def clusters(self) -> Clusters:
        if self._clusters is None:
            self._clusters = clusters_of(
                {name: text for compiled in self._compiled.values() for name, text in compiled.clusters.items()}
            )
        return self._clusters

    @property
    def routes(self) -> Routes:
        if self._routes is None:
            bodies = {key: compiled.body for key, compiled in self._compiled.items()}
            self._routes = routes_of(bodies, self.domains.owned)
        return self._routes


Answer = TypeVar("Answer", Clusters, Routes)


@dataclass(slots=True)
class Channel(Generic[Answer]):
    """What one node has of one kind of resource.

    confirmed: what it has, None if nothing or something unknown (given by an earlier process).
    offered: what it was told last, until its next poll tells whether it took it.
    polls: how many polls there were; an answer to any but the last one goes to nobody.
    """

    version: str | None = None
    confirmed: Answer | None = None
    offered: Answer | None = None
    refused: str | None = None
    refusals: int = 0
    polls: int = 0

    def hear(self, version: str, wanted: Answer) -> bool:
        """Take note of the version a node polls with; whether that is news about what it has."""
        offered, self.offered = self.offered, None
        self.polls += 1
        if offered is not None and version == offered.version:
            self.version, self.confirmed, self.refused, self.refusals = version, offered, None, 0
            return True
        if version == self.version:
            if offered is not None:
                self.refusals = self.refusals + 1 if self.refused == offered.version else 1
                self.refused = offered.version
            return False
        self.version, self.refused, self.refusals = version, None, 0
        self.confirmed = wanted if version == wanted.version else None
        return True

    def due(self, answer: Answer, waited_seconds: float) -> bool:
        """Whether the node should be told `answer` now, or has it already, or would only refuse it again.

        A node that has it under its version has it: a split that changed without changing the routes, or what an
        earlier process told the node.
        """
        if answer.version == self.version:
            self.confirmed = answer
            return False
        again = self.refusals if self.refused == answer.version else 0
        return again < 2 or waited_seconds >= min(0.1 * 2**again, 4.0)

    @property
    def possible(self) -> list[Answer]:
        """What the node may have at this moment, as far as is known."""
        return [answer for answer in (self.confirmed, self.offered) if answer is not None]


@dataclass(slots=True)
class Node:
    """One Envoy. Fresh until it has acknowledged routes: it does not listen before it has some."""

    seen: float
    fresh: bool
    gone: bool = False
    clusters: Channel[Clusters] = field(default_factory=Channel[Clusters])
    routes: Channel[Routes] = field(default_factory=Channel[Routes])

    def has(self, key: Key, wanted: envoy_snapshot.Body) -> bool:
        """Whether it sends the requests for `key` as wanted, or none, whatever it did with the last answer.

        The split alone does not say so: with its revisions not ready yet it is an answer that nobody serves.
        """
        if self.routes.confirmed is None and not self.fresh:
            return False
        return all(
            (body := answer.bodies.get(key)) is not None and body.routes == wanted.routes
            for answer in self.routes.possible
        )


def next_clusters(node: Node, wanted: Wanted) -> Clusters:
    """What is wanted, and what the node's routes may still name: of routes given by an earlier process, anything."""
    fragments = wanted.clusters.fragments
    if node.routes.confirmed is None and not node.fresh:
        return clusters_of({**wanted.former, **fragments}) if wanted.former else wanted.clusters
    named = {name for routes in node.routes.possible for name in routes.named}
    kept = {
        name: clusters.fragments[name]
        for clusters in node.clusters.possible
        for name in named
        if name not in fragments and name in clusters.fragments
    }
    return clusters_of({**fragments, **kept}) if kept else wanted.clusters


def next_routes(node: Node, wanted: Wanted) -> Routes | None:
    """What is wanted as far as the node has the clusters for it; None if it is too early to tell it anything."""
    if node.clusters.confirmed is None:
        return None
    available = frozenset.intersection(*(frozenset(clusters.fragments) for clusters in node.clusters.possible))
    if wanted.routes.named <= available:
        return wanted.routes
    if node.routes.confirmed is None and not node.fresh:
        return None
    last = node.routes.offered or node.routes.confirmed
    bodies = {}
    for key, body in wanted.routes.bodies.items():
        former = last.bodies.get(key) if last is not None else None
        if body.clusters <= available:
            bodies[key] = body
        elif former is not None:
            bodies[key] = former
    return routes_of(bodies, _domains(bodies, wanted.domains.owned, {} if last is None else last.domains))


def _domains(
    bodies: Iterable[Key], owned: Mapping[Key, tuple[str, ...]], former: Mapping[Key, tuple[str, ...]]
) -> dict[Key, tuple[str, ...]]:
    """The domains of the virtual hosts a node can have by now.

    A name that belongs to one that is still to come stays where it was until then.
    """
    domains = {key: owned[key] for key in bodies}
    waiting = {name for key, names in owned.items() if key not in domains for name in names}
    for key, names in former.items():
        if key in domains and (kept := waiting.intersection(names)):
            domains[key] = (*domains[key], *sorted(kept))
    return domains
