"""Single moments of the conversation with Envoys, one sentence each; the whole of it is in test_envoy_fleet."""

import json

import pytest
from penstock import errors
from penstock.adapters import envoy_domains, envoy_fleet, envoy_snapshot
from penstock.adapters.envoy_fleet import Fleet, Kind
from penstock.api.v1alpha1.modeldeployment_status import Split
from penstock.ports import Backend, Endpoint, Key, Routed

KEY, OTHER = Key("a", "one"), Key("b", "two")
ONE, TWO = Split(stable="r1"), Split(stable="r1", candidate="r2", weight=10)
R1, R2 = (Backend(name, 1, (Endpoint("10.0.0.1", 8080),)) for name in ("r1", "r2"))


def want(split: Split, *backends: Backend, key: Key = KEY, hostnames: tuple[str, ...] = ()) -> Routed:
    return Routed(key, hostnames, split, {backend.revision: backend for backend in backends})


class Conversation:
    """A fleet, and what its Envoys would have if they took every answer."""

    def __init__(self, *wanted: Routed, settle_seconds: float = 0.0) -> None:
        self.fleet = Fleet(envoy_snapshot.Settings(), settle_seconds)
        for each in wanted:
            self.fleet.put(each)
        self.fleet.open(0.0)
        self.versions: dict[tuple[str, Kind], str] = {}
        self.now = 0.0

    def told(self, kind: Kind, name: str = "envoy-0") -> str | None:
        """Poll, take the answer, and tell what it said; None if there was none."""
        poll, _ = self.fleet.hear(name, kind, self.versions.get((name, kind), ""), self.now)
        answer = self.fleet.reply(poll)
        if answer is None:
            return None
        self.versions[name, kind] = answer.version
        return answer.resources.decode()

    def settle(self, *names: str) -> None:
        for _ in range(4):
            for name in names or ("envoy-0",):
                self.told(Kind.CLUSTERS, name)
                self.told(Kind.ROUTES, name)


def hosts(text: str | None) -> dict[str, list[str]]:
    assert text is not None
    return {host["name"]: host["domains"] for host in json.loads(text)["virtual_hosts"]}


def test_a_route_waits_until_its_cluster_is_acknowledged() -> None:
    envoys = Conversation(want(ONE, R1))
    envoys.settle()
    envoys.fleet.put(want(TWO, R1, R2))

    assert envoys.told(Kind.ROUTES) is None
    assert '"a/one/r2"' in (envoys.told(Kind.CLUSTERS) or "")
    assert envoys.told(Kind.ROUTES) is None
    assert envoys.told(Kind.CLUSTERS) is None
    assert '"a/one/r2"' in (envoys.told(Kind.ROUTES) or "")


def test_one_that_waits_for_a_cluster_does_not_hold_up_another() -> None:
    envoys = Conversation(want(ONE, R1), want(ONE, R1, key=OTHER))
    envoys.settle()
    envoys.fleet.put(want(TWO, R1, R2))
    envoys.fleet.put(want(Split(), R1, key=OTHER))

    told = envoys.told(Kind.ROUTES)

    assert told is not None
    assert '"a/one/r1"' in told
    assert '"a/one/r2"' not in told
    assert "ModelDeployment b/two has no ready revision" in told


def test_a_cluster_stays_until_the_routes_do_without_it() -> None:
    envoys = Conversation(want(TWO, R1, R2))
    envoys.settle()
    envoys.fleet.put(want(ONE, R1))

    assert envoys.told(Kind.CLUSTERS) is None
    assert '"a/one/r2"' not in (envoys.told(Kind.ROUTES) or "")
    assert envoys.told(Kind.CLUSTERS) is None
    assert envoys.told(Kind.ROUTES) is None
    assert '"a/one/r2"' not in (envoys.told(Kind.CLUSTERS) or '"a/one/r2"')


def test_a_route_does_not_come_back_to_a_cluster_that_may_just_be_going() -> None:
    envoys = Conversation(want(ONE, R1, R2))
    envoys.settle()
    envoys.fleet.put(want(ONE, R1))
    assert '"a/one/r2"' not in (envoys.told(Kind.CLUSTERS) or '"a/one/r2"')
    envoys.fleet.put(want(TWO, R1, R2))

    assert envoys.told(Kind.ROUTES) is None


def test_a_hostname_moves_without_a_gap() -> None:
    envoys = Conversation(want(ONE, R1, hostnames=("x.example.com",)))
    envoys.settle()
    envoys.fleet.put(want(ONE, R1))
    envoys.fleet.put(want(ONE, R1, key=OTHER, hostnames=("x.example.com",)))

    assert envoys.told(Kind.ROUTES) is None
    envoys.told(Kind.CLUSTERS)
    envoys.told(Kind.CLUSTERS)
    moved = hosts(envoys.told(Kind.ROUTES))

    own = {str(key): list(envoy_domains.own_names(key, "cluster.local")) for key in (KEY, OTHER)}
    assert moved == {"a/one": own["a/one"], "b/two": [*own["b/two"], "x.example.com"], "unknown": ["*"]}


def test_nothing_is_answered_before_all_that_exists_is_known() -> None:
    fleet = Fleet(envoy_snapshot.Settings())
    fleet.put(want(ONE, R1))
    poll, _ = fleet.hear("envoy-0", Kind.CLUSTERS, "", 0.0)

    assert fleet.reply(poll) is None
    fleet.open(0.0)
    assert fleet.reply(poll) is not None


def test_an_envoy_of_an_earlier_process_gets_no_routes_that_lack_some() -> None:
    envoys = Conversation(want(ONE, R1), want(ONE, R1, key=OTHER))
    envoys.versions = {("envoy-0", kind): "given by an earlier process" for kind in Kind}
    envoys.told(Kind.CLUSTERS)

    assert envoys.told(Kind.ROUTES) is None
    envoys.told(Kind.CLUSTERS)
    envoys.fleet.put(want(TWO, R1, R2))
    assert envoys.told(Kind.ROUTES) is None
    envoys.told(Kind.CLUSTERS)
    envoys.told(Kind.CLUSTERS)
    assert set(hosts(envoys.told(Kind.ROUTES))) == {"a/one", "b/two", "unknown"}


def test_a_deletion_right_after_a_restart_takes_no_cluster_from_routes_in_use() -> None:
    envoys = Conversation(want(ONE, R1), want(ONE, R1, key=OTHER))
    envoys.versions = {("envoy-0", kind): "given by an earlier process" for kind in Kind}
    envoys.fleet.drop(KEY)

    assert '"a/one/r1"' in (envoys.told(Kind.CLUSTERS) or "")
    envoys.told(Kind.CLUSTERS)
    assert set(hosts(envoys.told(Kind.ROUTES))) == {"b/two", "unknown"}
    envoys.told(Kind.ROUTES)
    assert '"a/one/r1"' not in (envoys.told(Kind.CLUSTERS) or '"a/one/r1"')


def test_an_envoy_that_restarts_is_told_all_and_its_former_self_nothing() -> None:
    envoys = Conversation(want(ONE, R1))
    envoys.settle()
    waiting, _ = envoys.fleet.hear("envoy-0", Kind.ROUTES, envoys.versions["envoy-0", Kind.ROUTES], 0.0)
    envoys.versions.clear()

    assert envoys.told(Kind.CLUSTERS) is not None
    envoys.fleet.put(want(Split(), R1))
    assert waiting.superseded
    assert envoys.fleet.reply(waiting) is None


def test_nothing_is_applied_without_an_envoy_that_serves() -> None:
    envoys = Conversation(want(ONE, R1))
    assert envoys.fleet.applied(KEY, 0.0) is None

    envoys.told(Kind.CLUSTERS)
    assert envoys.fleet.applied(KEY, 0.0) is None

    envoys.settle()
    assert envoys.fleet.applied(KEY, 0.0) == ONE


def test_an_envoy_that_joins_makes_nobody_wait() -> None:
    envoys = Conversation(want(ONE, R1))
    envoys.settle("envoy-0")

    applied = []
    for _ in range(4):
        for kind in Kind:
            envoys.told(kind, "envoy-1")
            applied.append(envoys.fleet.applied(KEY, 0.0))

    assert applied == [ONE] * 8


def test_an_envoy_on_its_way_to_an_earlier_split_counts() -> None:
    envoys = Conversation(want(ONE, R1, R2))
    envoys.settle()
    envoys.fleet.put(want(TWO, R1, R2))
    assert envoys.told(Kind.ROUTES) is not None
    envoys.fleet.put(want(ONE, R1, R2))

    assert envoys.fleet.applied(KEY, 0.0) is None


def test_other_pods_of_a_revision_leave_a_split_applied() -> None:
    envoys = Conversation(want(TWO, R1, R2))
    envoys.settle()

    envoys.fleet.put(want(TWO, R1, Backend("r2", 1, (Endpoint("10.0.0.9", 8080),))))

    assert envoys.fleet.applied(KEY, 0.0) == TWO


def test_a_split_whose_revision_became_ready_is_not_applied_before_requests_go_there() -> None:
    """Until then nobody answers, or somebody else: that was this split too, and is not any more."""
    envoys = Conversation(want(TWO, R1, Backend("r2", 1)))
    envoys.settle()
    assert (envoys.fleet.applied(KEY, 0.0), envoys.fleet.changes(0.0)) == (TWO, [KEY])

    envoys.fleet.put(want(TWO, R1, R2))
    assert envoys.fleet.applied(KEY, 0.0) is None
    envoys.settle()

    assert (envoys.fleet.applied(KEY, 0.0), envoys.fleet.changes(0.0)) == (TWO, [KEY])


def test_an_envoy_that_fell_silent_is_waited_for_for_a_while() -> None:
    envoys = Conversation(want(ONE, R1))
    envoys.settle("envoy-0", "envoy-1")
    envoys.fleet.changes(0.0)
    envoys.fleet.put(want(Split(), R1))
    envoys.now = 8.0
    envoys.settle("envoy-0")
    envoys.fleet.sweep(8.0)
    assert (envoys.fleet.applied(KEY, 12.0), envoys.fleet.changes(12.0)) == (None, [])

    envoys.fleet.sweep(12.5)

    assert (envoys.fleet.applied(KEY, 12.5), envoys.fleet.changes(12.5)) == (Split(), [KEY])


def test_a_new_process_lets_all_envoys_show_up_first() -> None:
    envoys = Conversation(want(ONE, R1), settle_seconds=2.0)
    envoys.settle("envoy-0")
    envoys.fleet.sweep(1.9)
    assert (envoys.fleet.applied(KEY, 1.9), envoys.fleet.changes(1.9)) == (None, [])

    envoys.fleet.sweep(2.0)

    assert (envoys.fleet.applied(KEY, 2.0), envoys.fleet.changes(2.0)) == (ONE, [KEY])


def test_a_refused_answer_is_repeated_ever_more_slowly_until_there_is_another() -> None:
    envoys = Conversation(want(ONE, R1))
    envoys.settle()
    envoys.fleet.put(want(Split(), R1))
    version = envoys.versions["envoy-0", Kind.ROUTES]

    waits = []
    for _ in range(8):
        poll, _ = envoys.fleet.hear("envoy-0", Kind.ROUTES, version, 0.0)
        waits.append(next(wait for wait in (0.0, 0.4, 0.8, 1.6, 3.2, 4.0) if envoys.fleet.reply(poll, wait)))

    assert waits == [0.0, 0.0, 0.4, 0.8, 1.6, 3.2, 4.0, 4.0]
    assert [node.refusals for node in envoys.fleet.stats(0.0)] == [7]
    envoys.fleet.put(want(TWO, R1, R2))
    envoys.settle()
    assert envoys.fleet.applied(KEY, 0.0) == TWO
    assert [node.refusals for node in envoys.fleet.stats(0.0)] == [0]


def test_publishing_the_same_again_is_free() -> None:
    fleet = Conversation(want(ONE, R1)).fleet

    assert fleet.put(want(ONE, R1)) is False
    assert fleet.put(want(TWO, R1)) is True
    assert fleet.drop(KEY) is True
    assert fleet.drop(KEY) is False


def test_what_is_refused_leaves_all_as_it_was() -> None:
    envoys = Conversation(want(ONE, R1))
    envoys.settle()

    with pytest.raises(errors.Misconfigured):
        envoys.fleet.put(want(TWO, R1, Backend("%", 1)))

    assert envoys.told(Kind.CLUSTERS) is None
    assert envoys.fleet.applied(KEY, 0.0) == ONE


def test_two_processes_give_the_same_answers() -> None:
    wanted = [want(TWO, R1, R2, hostnames=("x.example.com",)), want(ONE, R1, key=OTHER, hostnames=("x.example.com",))]
    first, second = Conversation(*wanted), Conversation(*reversed(wanted))
    first.settle()
    second.settle()

    assert first.versions == second.versions
    assert first.fleet.domains == second.fleet.domains


def test_the_figures_of_an_envoy() -> None:
    envoys = Conversation(want(ONE, R1))
    envoys.settle()

    assert envoys.fleet.stats(3.0) == [
        envoy_fleet.NodeStats(
            node="envoy-0",
            poll_age_seconds=3.0,
            live=True,
            serving=True,
            current=True,
            clusters_version=envoys.versions["envoy-0", Kind.CLUSTERS],
            routes_version=envoys.versions["envoy-0", Kind.ROUTES],
            refusals=0,
        )
    ]


def test_a_new_leader_trusts_only_what_it_is_told_itself() -> None:
    envoys = Conversation(want(ONE, R1))
    envoys.settle()
    assert envoys.fleet.applied(KEY, 0.0) == ONE

    envoys.fleet.begin_anew(100.0, expected=["envoy-0", "envoy-1"])
    envoys.now = 100.0
    assert envoys.fleet.applied(KEY, 100.0) is None
    envoys.settle("envoy-0")
    assert envoys.fleet.applied(KEY, 100.0) is None
    envoys.settle("envoy-1")
    assert envoys.fleet.applied(KEY, 100.0) == ONE


def test_an_envoy_that_a_new_leader_never_hears_of_is_waited_for_as_long_as_it_could_be_alive() -> None:
    envoys = Conversation(want(ONE, R1))
    envoys.fleet.begin_anew(100.0, expected=["envoy-0", "envoy-1"])
    envoys.now = 100.0 + envoy_fleet.LIVE_SECONDS - 0.1
    envoys.settle("envoy-0")

    assert envoys.fleet.heard_of(envoys.now) == ["envoy-0", "envoy-1"]
    assert envoys.fleet.applied(KEY, envoys.now) is None
    envoys.fleet.sweep(envoys.now)
    later = 100.0 + envoy_fleet.LIVE_SECONDS
    envoys.fleet.sweep(later)
    assert envoys.fleet.changes(later) == [KEY]
    assert envoys.fleet.applied(KEY, later) == ONE
    assert envoys.fleet.heard_of(later) == ["envoy-0"]


def test_a_cluster_that_went_before_a_change_of_leader_is_kept_for_routes_that_may_name_it() -> None:
    envoys = Conversation(want(TWO, R1, R2))
    envoys.settle()
    envoys.fleet.sweep(1000.0)
    envoys.fleet.put(want(ONE, R1))
    envoys.fleet.begin_anew(1001.0)
    envoys.now = 1001.0

    assert '"a/one/r2"' in (envoys.told(Kind.CLUSTERS) or '"a/one/r2"')
    envoys.fleet.sweep(1001.0 + envoy_fleet.FORGET_SECONDS)
    envoys.fleet.sweep(1002.0 + 2 * envoy_fleet.FORGET_SECONDS)
    envoys.fleet.begin_anew(2000.0)
    envoys.now = 2000.0
    assert '"a/one/r2"' not in (envoys.told(Kind.CLUSTERS) or "")
