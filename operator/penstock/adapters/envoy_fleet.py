"""All the Envoys together: who polls, what each is answered, and whether all of them do what is wanted. Pure.

Rule: a split counts as applied when every node that is alive and serves has acknowledged it, and at least one does.
"""

import enum
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from penstock.adapters import envoy_domains, envoy_nodes, envoy_snapshot
from penstock.api.v1alpha1.modeldeployment_status import Split
from penstock.ports import Key, Routed

LIVE_SECONDS = 12.0
"""A node that has been silent for longer is not waited for; a healthy one polls every 5 s."""
FORGET_SECONDS = 300.0


class Kind(enum.StrEnum):
    """The two kinds of resources, as they stand in the path of a poll."""

    CLUSTERS = "clusters"
    ROUTES = "routes"


@dataclass(frozen=True, slots=True)
class Poll:
    """One question of one node: the answer to it is worth something until the node asks again."""

    node: envoy_nodes.Node
    kind: Kind
    number: int

    @property
    def channel(self) -> "envoy_nodes.Channel[envoy_nodes.Clusters] | envoy_nodes.Channel[envoy_nodes.Routes]":
        return self.node.clusters if self.kind is Kind.CLUSTERS else self.node.routes

    @property
    def superseded(self) -> bool:
        return self.node.gone or self.channel.polls != self.number


@dataclass(frozen=True, slots=True)
class NodeStats:
    """One Envoy as metrics show it. Current: it has everything that is wanted, and nothing else."""

    node: str
    poll_age_seconds: float
    live: bool
    serving: bool
    current: bool
    clusters_version: str
    routes_version: str
    refusals: int


class Fleet:
    """State of the data plane. Times are seconds of a monotonic clock."""

    def __init__(self, settings: envoy_snapshot.Settings, settle_seconds: float = 2.0) -> None:
        self._wanted = envoy_nodes.Wanted(settings)
        self._nodes: dict[str, envoy_nodes.Node] = {}
        self._settle_seconds = settle_seconds
        self._complete_at: float | None = None
        self._expected: frozenset[str] = frozenset()
        self._former_from: float = 0.0
        self._reported: dict[Key, Split | None] = {}
        self._doubtful: set[Key] = set()
        self._swept_at = 0.0

    def put(self, routed: Routed) -> bool:
        """Want this; whether that changes anything. Raises Misconfigured, and then changes nothing."""
        former = self._wanted.body(routed.key)
        if not self._wanted.put(routed):
            return False
        if former is not self._wanted.body(routed.key):
            self._reported[routed.key] = None
        self._doubtful.add(routed.key)
        return True

    def drop(self, key: Key) -> bool:
        """Want it no more; whether that changes anything."""
        self._reported.pop(key, None)
        self._doubtful.discard(key)
        return self._wanted.drop(key)

    def open(self, now: float) -> None:
        """All that was wanted before this process began has been put: from now on nodes are answered."""
        if self._complete_at is None:
            self._complete_at = now

    def begin_anew(self, now: float, expected: Collection[str] = ()) -> None:
        """Forget what the nodes have: from now on another process tells them what to do, or did until now.

        Those that are `expected` are waited for until they show up, or would no longer count as alive.
        """
        for node in self._nodes.values():
            node.gone = True
        self._nodes.clear()
        self._expected = frozenset(expected)
        if self._complete_at is not None:
            self._complete_at = now
        self._doubt_all()

    def heard_of(self, now: float) -> Sequence[str]:
        """The nodes that are alive, and those that are still waited for."""
        live = {name for name, node in self._nodes.items() if now - node.seen <= LIVE_SECONDS}
        return sorted(live if self._all_there(now) else live | self._expected)

    @property
    def is_open(self) -> bool:
        return self._complete_at is not None

    @property
    def domains(self) -> envoy_domains.Domains:
        return self._wanted.domains

    @property
    def size(self) -> int:
        """ModelDeployments in the data plane."""
        return len(self._wanted.keys)

    def knows(self, node_id: str) -> bool:
        return node_id in self._nodes

    @property
    def nodes(self) -> int:
        return len(self._nodes)

    def hear(self, node_id: str, kind: Kind, version: str, now: float) -> tuple[Poll, bool]:
        """Take note of a poll; whether it brings news by which other polls may have an answer."""
        node = self._nodes.get(node_id)
        first = kind is Kind.CLUSTERS and not version
        if node is None or first:
            if node is not None:
                node.gone = True
            node = self._nodes[node_id] = envoy_nodes.Node(seen=now, fresh=first)
            self._doubt_all()
        elif now - node.seen > LIVE_SECONDS:
            self._doubt_all()
        node.seen = now
        if kind is Kind.CLUSTERS:
            news = node.clusters.hear(version, self._wanted.clusters)
            return Poll(node, kind, node.clusters.polls), news
        before = node.routes.possible
        news = node.routes.hear(version, self._wanted.routes)
        if node.fresh and version:
            node.fresh = False
            self._doubt_all()
        self._doubt(before, node.routes.possible)
        return Poll(node, kind, node.routes.polls), news

    def reply(self, poll: Poll, waited_seconds: float = 0.0) -> envoy_nodes.Clusters | envoy_nodes.Routes | None:
        """What to answer now, which counts as answered; None while there is nothing new for the node.

        What a node did not take twice is repeated ever more slowly: it was refused rather than lost.
        """
        if not self.is_open or poll.superseded:
            return None
        node = poll.node
        if poll.kind is Kind.CLUSTERS:
            clusters = envoy_nodes.next_clusters(node, self._wanted)
            if not node.clusters.due(clusters, waited_seconds):
                return None
            node.clusters.offered = clusters
            return clusters
        routes = envoy_nodes.next_routes(node, self._wanted)
        if routes is None:
            return None
        before = node.routes.possible
        due = node.routes.due(routes, waited_seconds)
        if due:
            node.routes.offered = routes
        self._doubt(before, node.routes.possible)
        return routes if due else None

    def applied(self, key: Key, now: float) -> Split | None:
        """The wanted split of `key` if all nodes that serve have it, and at least one does; else None."""
        body = self._wanted.body(key)
        if body is None or not self._settled(now):
            return None
        live = [node for node in self._nodes.values() if now - node.seen <= LIVE_SECONDS]
        if all(node.fresh for node in live) or not all(node.has(key, body) for node in live):
            return None
        return body.split

    def changes(self, now: float) -> list[Key]:
        """The keys whose `applied` differs from what the last call saw; to be called after every event."""
        doubtful, self._doubtful = self._doubtful, set()
        changed = []
        for key in doubtful:
            applied = self.applied(key, now)
            if self._reported.get(key) != applied:
                self._reported[key] = applied
                changed.append(key)
        return sorted(changed)

    def sweep(self, now: float) -> None:
        """Notice what time alone does: nodes that fell silent, the end of settling. To be called every second or so."""
        before, self._swept_at = self._swept_at, now
        if self._settled(now) and not self._settled(before):
            self._doubt_all()
        if any(before - node.seen <= LIVE_SECONDS < now - node.seen for node in self._nodes.values()):
            self._doubt_all()
        if now - self._former_from > FORGET_SECONDS:
            self._former_from = now
            self._wanted.age_former()
        for node_id in [name for name, node in self._nodes.items() if now - node.seen > FORGET_SECONDS]:
            self._nodes.pop(node_id).gone = True

    def stats(self, now: float) -> Sequence[NodeStats]:
        """One line a node, by name."""
        return [
            NodeStats(
                node=name,
                poll_age_seconds=now - node.seen,
                live=now - node.seen <= LIVE_SECONDS,
                serving=not node.fresh,
                current=node.clusters.version == self._wanted.clusters.version
                and node.routes.version == self._wanted.routes.version,
                clusters_version=node.clusters.version or "",
                routes_version=node.routes.version or "",
                refusals=node.clusters.refusals + node.routes.refusals,
            )
            for name, node in sorted(self._nodes.items())
        ]

    def _settled(self, now: float) -> bool:
        """Whether the nodes that were there before this process led have had the time to show up."""
        return (
            self._complete_at is not None and now >= self._complete_at + self._settle_seconds and self._all_there(now)
        )

    def _all_there(self, now: float) -> bool:
        silent = self._complete_at is not None and now >= self._complete_at + LIVE_SECONDS
        return silent or self._expected <= self._nodes.keys()

    def _doubt_all(self) -> None:
        self._doubtful.update(self._wanted.keys)

    def _doubt(self, before: Sequence[envoy_nodes.Routes], after: Sequence[envoy_nodes.Routes]) -> None:
        """Look again at the keys that are not alike in all that a node may have had and may have."""
        if bool(before) != bool(after):
            self._doubt_all()
        for one, other in itertools.pairwise(dict.fromkeys((*before, *after))):
            self._doubtful.update(key for key, _ in one.bodies.items() ^ other.bodies.items())
