"""The conversation with Envoys in any order, with lost and refused answers and restarts on both sides."""

import dataclasses
import json
from collections.abc import Mapping

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from penstock.adapters import envoy_domains, envoy_fleet, envoy_nodes, envoy_snapshot
from penstock.adapters.envoy_fleet import Fleet, Kind, Poll
from penstock.api.v1alpha1.modeldeployment_status import Split
from penstock.ports import Backend, Endpoint, Key, Routed

SETTINGS = envoy_snapshot.Settings()
KEYS = (Key("a", "one"), Key("b", "two"))
HOSTNAMES = ("x.example.com", "y.example.com", "one.a")
A, B = Split(stable="r1"), Split(stable="r1", candidate="r2", weight=10)


def ready(revision: str, *hosts: int) -> Backend:
    return Backend(revision, int(revision[1:]), tuple(Endpoint(f"10.0.0.{host}", 8080) for host in hosts))


def want(split: Split, *backends: Backend, key: Key = KEYS[0], hostnames: tuple[str, ...] = ()) -> Routed:
    return Routed(key, hostnames, split, {backend.revision: backend for backend in backends})


@st.composite
def wishes(draw: st.DrawFn) -> Routed:
    stable, candidate = draw(st.sampled_from([("r1", None), ("r1", "r2"), ("r2", "r1"), ("r2", None)]))
    split = Split(stable=stable)
    if candidate is not None:
        weight, mirror = draw(st.sampled_from([(0, 0), (0, 100), (10, 50), (100, 0)]))
        split = Split(stable=stable, candidate=candidate, weight=weight, mirror=mirror)
    pods = draw(st.fixed_dictionaries({name: st.sampled_from([(1,), (2,), (1, 2), ()]) for name in ("r1", "r2")}))
    hostnames = tuple(draw(st.sets(st.sampled_from(HOSTNAMES), max_size=2)))
    backends = [ready(name, *hosts) for name, hosts in pods.items() if name in {stable, candidate} or hosts == (1,)]
    return want(split, *backends, key=draw(st.sampled_from(KEYS)), hostnames=hostnames)


@dataclasses.dataclass
class Envoy:
    """What an Envoy does: it keeps what it has, and names its version when it asks for more."""

    name: str
    clusters: envoy_nodes.Clusters | None = None
    routes: envoy_nodes.Routes | None = None
    acknowledged: frozenset[str] = frozenset()
    polls: dict[Kind, Poll] = dataclasses.field(default_factory=dict)
    answers: dict[Kind, envoy_nodes.Clusters | envoy_nodes.Routes] = dataclasses.field(default_factory=dict)
    excused: frozenset[str] = frozenset()

    def ask(self, fleet: Fleet, kind: Kind, now: float) -> None:
        has = self.clusters if kind is Kind.CLUSTERS else self.routes
        poll, _ = fleet.hear(self.name, kind, "" if has is None else has.version, now)
        self.polls[kind] = poll
        self.answers.pop(kind, None)
        if kind is Kind.CLUSTERS and self.clusters is not None:
            self.acknowledged = frozenset(self.clusters.fragments)

    def get(self, fleet: Fleet, kind: Kind) -> bool:
        """Let an answer set out, if there is one."""
        if kind not in self.polls:
            return False
        content = fleet.reply(self.polls[kind])
        if content is None:
            return False
        del self.polls[kind]
        self.answers[kind] = content
        return True

    def take(self, kind: Kind) -> None:
        content = self.answers.pop(kind, None)
        if isinstance(content, envoy_nodes.Clusters):
            self.clusters = content
        elif isinstance(content, envoy_nodes.Routes):
            assert content.named <= self.acknowledged
            self.routes = content
            self.excused = frozenset()


class Conversation(RuleBasedStateMachine):
    """One fleet, two Envoys, and a world in which anything may be late, lost, refused or restarted."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.restarted_at = 100.0
        self.fleet = Fleet(SETTINGS, settle_seconds=0.0)
        self.fleet.open(self.now)
        self.wanted: dict[Key, Routed] = {}
        self.envoys = [Envoy(f"envoy-{number}") for number in range(2)]

    envoy = st.integers(0, 1)
    kind = st.sampled_from(Kind)

    @rule(wish=wishes())
    def publish(self, wish: Routed) -> None:
        assert self.fleet.put(wish) is (self.wanted.get(wish.key) != wish)
        self.wanted[wish.key] = wish

    @rule(key=st.sampled_from(KEYS))
    def withdraw(self, key: Key) -> None:
        assert self.fleet.drop(key) is (key in self.wanted)
        self.wanted.pop(key, None)

    @rule(number=envoy, kind=kind)
    def ask(self, number: int, kind: Kind) -> None:
        one = self.envoys[number]
        if kind is Kind.CLUSTERS or one.clusters is not None:
            one.ask(self.fleet, kind, self.now)

    @rule(number=envoy, kind=kind)
    def get(self, number: int, kind: Kind) -> None:
        self.envoys[number].get(self.fleet, kind)

    @rule(number=envoy, kind=kind)
    def take(self, number: int, kind: Kind) -> None:
        self.envoys[number].take(kind)

    @rule(number=envoy, kind=kind)
    def lose_or_refuse(self, number: int, kind: Kind) -> None:
        self.envoys[number].answers.pop(kind, None)

    @rule(number=envoy)
    def talk(self, number: int) -> None:
        """The usual course, twice: ask, get, take, for both kinds."""
        one = self.envoys[number]
        for kind in (*Kind, *Kind):
            self.ask(number, kind)
            one.get(self.fleet, kind)
            one.take(kind)
            self.every_route_leads_somewhere()

    @rule(number=envoy)
    def restart_envoy(self, number: int) -> None:
        self.envoys[number] = Envoy(f"envoy-{number}")

    @rule(seconds=st.sampled_from([0.1, 5.0, 20.0]))
    def wait(self, seconds: float) -> None:
        if self.now + seconds - self.restarted_at < envoy_fleet.FORGET_SECONDS:
            self.now += seconds
        self.fleet.sweep(self.now)

    @precondition(lambda self: self.wanted)
    @rule()
    def restart_operator(self) -> None:
        """The next process knows what is wanted, and nothing of the Envoys.

        It cannot keep a cluster that is no longer wanted for routes that it has never seen: the one thing that is
        excused. (A revision has a cluster as long as it has pods, so this needs pods that went at the same time.)
        """
        self.fleet = Fleet(SETTINGS, settle_seconds=0.0)
        for wish in self.wanted.values():
            self.fleet.put(wish)
        self.fleet.open(self.now)
        self.restarted_at = self.now
        names = {
            name for wish in self.wanted.values() for name in envoy_snapshot.compile_routed(wish, SETTINGS).clusters
        }
        for one in self.envoys:
            one.polls.clear()
            one.answers.clear()
            one.excused = (one.routes.named if one.routes else frozenset()) - names

    @invariant()
    def every_route_leads_somewhere(self) -> None:
        for one in self.envoys:
            if one.routes is not None:
                assert one.clusters is not None
                assert one.routes.named - one.excused <= one.clusters.fragments.keys()

    @invariant()
    def no_domain_is_given_twice(self) -> None:
        for one in self.envoys:
            if one.routes is not None:
                names = [name for names in one.routes.domains.values() for name in names]
                assert len(names) == len(set(names))

    @invariant()
    def applied_is_true_of_all_that_serve(self) -> None:
        for key, wish in self.wanted.items():
            split = self.fleet.applied(key, self.now)
            if split is None:
                continue
            assert split == wish.split
            live = {node.node for node in self.fleet.stats(self.now) if node.live}
            routes = [one.routes for one in self.envoys if one.routes is not None and one.name in live]
            for each in routes:
                assert self._does(each, wish)

    def _does(self, routes: envoy_nodes.Routes, wish: Routed) -> bool:
        body = routes.bodies.get(wish.key)
        return body is not None and body.routes == envoy_snapshot.compile_routed(wish, SETTINGS).body.routes

    def teardown(self) -> None:
        """Left alone, everybody arrives at what is wanted, and it is known."""
        for _ in range(6):
            for number in range(2):
                self.talk(number)
            self.now += 0.1
        clusters = {
            name: text
            for wish in self.wanted.values()
            for name, text in envoy_snapshot.compile_routed(wish, SETTINGS).clusters.items()
        }
        for one in self.envoys:
            assert one.clusters is not None
            assert dict(one.clusters.fragments) == clusters
            assert one.routes is not None
            assert self._hosts(one.routes) == self._expected_hosts()
        assert all(node.current for node in self.fleet.stats(self.now))
        for key, wish in self.wanted.items():
            assert self.fleet.applied(key, self.now) == wish.split

    def _hosts(self, routes: envoy_nodes.Routes) -> Mapping[str, tuple[list[str], object]]:
        configuration = json.loads(routes.resources)
        return {host["name"]: (host["domains"], host["routes"]) for host in configuration["virtual_hosts"]}

    def _expected_hosts(self) -> Mapping[str, tuple[list[str], object]]:
        domains = envoy_domains.assign({key: wish.hostnames for key, wish in self.wanted.items()}, "cluster.local")
        expected: dict[str, tuple[list[str], object]] = {
            str(key): (
                list(domains.owned[key]),
                json.loads(envoy_snapshot.compile_routed(wish, SETTINGS).body.routes),
            )
            for key, wish in self.wanted.items()
        }
        unknown = envoy_snapshot.unknown_host()
        return {**expected, "unknown": (unknown["domains"], unknown["routes"])}


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
