"""Who leads: single moments as tables, and many contenders in a world where everything comes late or not at all."""

import dataclasses
import itertools
import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from penstock import errors
from penstock.kube import lease

TIMINGS = lease.Timings(lease_seconds=4, renew_seconds=1.0, retry_seconds=0.5)
MINE = lease.Record(version="7", holder="me", seconds=4.0)
OTHERS = lease.Record(version="7", holder="other", seconds=4.0)
FREE = lease.Record(version="7", holder="", seconds=1.0)
NEVER = -math.inf


def knowing(record: lease.Record | None, *, since: float = 10.0, at: float = 10.0, until: float = NEVER) -> lease.State:
    return lease.State("me", TIMINGS, lease.Sighting(record, since, at), until=until)


@pytest.mark.parametrize(
    ("state", "now", "expected"),
    [
        pytest.param(lease.State("me", TIMINGS), 10.0, lease.Look(), id="nothing is known: look"),
        pytest.param(knowing(None), 10.0, lease.Write(None), id="no lease: make it"),
        pytest.param(knowing(FREE), 10.0, lease.Write(FREE), id="given up: take it at once"),
        pytest.param(knowing(OTHERS), 10.2, lease.Rest(10.5), id="another's: wait for the next look"),
        pytest.param(knowing(OTHERS), 10.5, lease.Look(), id="another's: look again"),
        pytest.param(knowing(OTHERS, at=13.8), 13.9, lease.Rest(14.0), id="another's that is running out: not past it"),
        pytest.param(knowing(OTHERS, at=13.9), 14.0, lease.Write(OTHERS), id="run out: take it"),
        pytest.param(
            knowing(dataclasses.replace(OTHERS, seconds=9.0), at=17.0),
            17.1,
            lease.Rest(17.5),
            id="its holder's promise",
        ),
        pytest.param(
            knowing(dataclasses.replace(OTHERS, seconds=0.0), at=13.8),
            13.9,
            lease.Rest(14.0),
            id="a promise of nothing",
        ),
        pytest.param(knowing(MINE, until=13.0), 10.9, lease.Rest(11.0), id="mine: rest"),
        pytest.param(knowing(MINE, until=13.0), 11.0, lease.Write(MINE), id="mine: renew"),
        pytest.param(knowing(MINE), 99.0, lease.Write(MINE), id="mine, slept through: renew before anything else"),
        pytest.param(lease.conflicted(knowing(MINE, until=13.0)), 11.0, lease.Look(), id="somebody wrote first"),
        pytest.param(lease.failed(knowing(MINE, until=13.0), 11.0), 11.1, lease.Rest(11.5), id="no answer: wait"),
        pytest.param(lease.failed(knowing(MINE, until=13.0), 12.8), 12.9, lease.Rest(13.0), id="but notice the end"),
        pytest.param(lease.failed(knowing(MINE, until=13.0), 11.0), 11.5, lease.Look(), id="no answer: then look"),
    ],
)
def test_what_to_do_now(state: lease.State, now: float, expected: lease.Move) -> None:
    assert lease.move(state, now) == expected


def test_a_write_counts_from_before_it_was_asked_for() -> None:
    state = lease.wrote(knowing(FREE), MINE, asked=10.0, now=11.4)

    assert state == knowing(MINE, since=11.4, at=11.4, until=13.0)
    assert [lease.leads(state, now) for now in (11.4, 12.99, 13.0)] == [True, True, False]


def test_who_makes_the_lease_begins_when_a_holder_of_one_that_was_deleted_has_ended() -> None:
    state = lease.wrote(lease.asking(knowing(None), lease.Write(None), 10.0), MINE, asked=10.0, now=10.4)
    renewed = lease.wrote(lease.asking(state, lease.Write(MINE), 14.0), MINE, asked=14.0, now=14.1)

    assert [lease.leads(state, now) for now in (10.4, 12.9)] == [False, False]
    assert [lease.leads(renewed, now) for now in (14.3, 14.4)] == [False, True]


def test_who_finds_the_lease_it_asked_for_begins_a_lease_later() -> None:
    unknown = lease.failed(lease.asking(knowing(None), lease.Write(None), 10.0), 11.0)
    state = lease.looked(unknown, MINE, 12.0)
    state = lease.wrote(lease.asking(state, lease.Write(MINE), 15.0), MINE, asked=15.0, now=15.1)

    assert [lease.leads(state, now) for now in (15.9, 16.0)] == [False, True]


def test_a_leader_whose_lease_is_deleted_makes_it_again_and_goes_on() -> None:
    state = lease.looked(knowing(MINE, until=13.0), None, 11.0)
    state = lease.wrote(lease.asking(state, lease.Write(None), 11.0), MINE, asked=11.0, now=11.1)

    assert state == knowing(MINE, since=11.1, at=11.1, until=14.0)


def test_another_holder_ends_it_at_once() -> None:
    state = lease.looked(knowing(MINE, until=13.0), dataclasses.replace(OTHERS, version="8"), 11.0)

    assert state == knowing(dataclasses.replace(OTHERS, version="8"), since=11.0, at=11.0)
    assert not lease.leads(state, 11.0)


def test_finding_ones_own_name_in_it_is_no_right_to_act() -> None:
    state = lease.looked(knowing(OTHERS), dataclasses.replace(MINE, version="8"), 12.0)

    assert not lease.leads(state, 12.0)
    assert lease.move(state, 12.0) == lease.Write(dataclasses.replace(MINE, version="8"))


def test_a_lease_that_stays_the_same_runs_out_from_when_it_was_first_seen() -> None:
    state = lease.looked(knowing(OTHERS), OTHERS, 12.0)

    assert state == knowing(OTHERS, since=10.0, at=12.0)


@pytest.mark.parametrize(
    ("state", "now", "leader", "informed"),
    [
        pytest.param(lease.State("me", TIMINGS), 10.0, None, False, id="nothing is known"),
        pytest.param(knowing(OTHERS), 11.0, OTHERS, True, id="another leads"),
        pytest.param(knowing(OTHERS, at=13.9), 14.0, None, True, id="another's has run out"),
        pytest.param(knowing(OTHERS), 14.0, None, False, id="not looked for long"),
        pytest.param(knowing(FREE), 11.0, None, True, id="nobody leads"),
        pytest.param(knowing(MINE, until=13.0), 11.0, None, True, id="this one leads"),
    ],
)
def test_who_else_leads(state: lease.State, now: float, leader: lease.Record | None, informed: bool) -> None:
    assert (lease.leader(state, now), lease.informed(state, now)) == (leader, informed)


@pytest.mark.parametrize(
    "timings",
    [
        pytest.param((4, 2.0, 0.5), id="one failed renewal would lose it"),
        pytest.param((4, 0.0, 0.5), id="renewed without pause"),
        pytest.param((4, 1.0, 0.0), id="looked at without pause"),
    ],
)
def test_timings_that_cannot_work_are_refused(timings: tuple[int, float, float]) -> None:
    with pytest.raises(errors.Misconfigured, match=r"cannot be held: renew it every 1\.5 s or more often"):
        lease.Timings(*timings)


STAMP = "2026-11-23T10:00:00.000000Z"
NAME = {"namespace": "penstock-system", "name": "penstock-operator"}


def test_a_lease_keeps_what_others_wrote_on_it() -> None:
    stored = {
        "metadata": NAME
        | {"resourceVersion": "7", "labels": {"a": "b"}, "annotations": {"note": "x"}, "managedFields": []},
        "spec": {"holderIdentity": "other", "acquireTime": "long ago", "preferredHolder": "p"},
    }
    record = lease.Record("", "me", 4.0, 3, "http://10.0.0.9:8081", ("envoy-b", "envoy-a"))

    made = lease.write(stored, NAME, record, STAMP)

    assert made == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": NAME
        | {
            "resourceVersion": "7",
            "labels": {"a": "b"},
            "annotations": {"note": "x", lease.ADDRESS: "http://10.0.0.9:8081", lease.ENVOYS: "envoy-a,envoy-b"},
        },
        "spec": {
            "holderIdentity": "me",
            "acquireTime": STAMP,
            "preferredHolder": "p",
            "leaseDurationSeconds": 4,
            "leaseTransitions": 3,
            "renewTime": STAMP,
        },
    }
    assert lease.read(made) == dataclasses.replace(record, version="7", envoys=("envoy-a", "envoy-b"))


@pytest.mark.parametrize(
    "spec",
    [pytest.param({}, id="empty"), pytest.param({"holderIdentity": None, "leaseDurationSeconds": None}, id="nulls")],
)
def test_a_lease_that_says_nothing_is_free(spec: dict[str, None]) -> None:
    assert lease.read({"metadata": {"resourceVersion": "7"}, "spec": spec}) == lease.Record("7", "", 0.0)


@dataclasses.dataclass(eq=False)
class Request:
    """A request somewhere between a contender and the API server. It arrives once, or never."""

    of: str
    instead_of: lease.Record | None
    is_write: bool
    asked: float
    outcome: str = ""
    found: lease.Record | None = None


@dataclasses.dataclass
class Contender:
    """One process with a clock of its own: its pace, and where it began."""

    state: lease.State
    pace: float
    offset: float
    waits_for: Request | None = None

    def clock(self, now: float) -> float:
        return self.offset + self.pace * now


NAMES = ("a", "b", "c")
CONTENDERS = st.sampled_from(NAMES)
# a quarter of the lease is left unused, so the paces may be as much as 3 to 4
PACES = st.sampled_from([0.87, 1.0, 1.15])


class Contention(RuleBasedStateMachine):
    """Contenders that pause whenever they like, and a network that delays, loses and reorders what it likes."""

    @initialize(paces=st.tuples(PACES, PACES, PACES), offsets=st.tuples(*[st.floats(-1e6, 1e6)] * 3))
    def begin(self, paces: tuple[float, ...], offsets: tuple[float, ...]) -> None:
        self.now = 0.0
        self.versions = itertools.count(1)
        self.stored: lease.Record | None = None
        self.network: list[Request] = []
        self.contenders = {
            name: Contender(lease.State(name, TIMINGS), pace, offset)
            for name, pace, offset in zip(NAMES, paces, offsets, strict=True)
        }

    @rule(seconds=st.one_of(st.floats(0, 1), st.floats(0, 6)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=CONTENDERS)
    def time_passes_until_one_is_due(self, name: str) -> None:
        one = self.contenders[name]
        move = lease.move(one.state, one.clock(self.now))
        if isinstance(move, lease.Rest):
            self.now = max(self.now, (move.until - one.offset) / one.pace + 1e-6)

    @rule(name=CONTENDERS, other=CONTENDERS, seconds=st.sampled_from([0.0, 0.0, 1.2, 2.9]))
    def reaches_the_server_at_once(self, name: str, other: str, seconds: float) -> None:
        """The answer may take its time, and another one looks meanwhile."""
        self.moves(name)
        self.hurry(name)
        if other != name:
            self.moves(other)
            self.hurry(other)
            self.is_answered(other)
        self.now += seconds
        self.is_answered(name)

    def hurry(self, name: str) -> None:
        request = self.contenders[name].waits_for
        if request is not None and request in self.network:
            self.network.remove(request)
            self.reaches_the_server(request)

    @rule(name=CONTENDERS)
    def moves(self, name: str) -> None:
        """A contender does what it is told, unless it waits for an answer."""
        one = self.contenders[name]
        if one.waits_for is not None:
            return
        clock = one.clock(self.now)
        match lease.move(one.state, clock):
            case lease.Look():
                one.waits_for = Request(name, None, is_write=False, asked=clock)
            case lease.Write(instead_of):
                one.waits_for = Request(name, instead_of, is_write=True, asked=clock)
                one.state = lease.asking(one.state, lease.Write(instead_of), clock)
            case lease.Rest():
                return
        assert one.waits_for is not None
        self.network.append(one.waits_for)

    @precondition(lambda self: self.network)
    @rule(pick=st.randoms(use_true_random=False))
    def arrives(self, pick: object) -> None:
        """Any request reaches the server, in any order, also long after its sender gave up on it."""
        self.reaches_the_server(self.network.pop(pick.randrange(len(self.network))))  # type: ignore[attr-defined]

    def reaches_the_server(self, request: Request) -> None:
        before = request.instead_of
        if not request.is_write:
            request.outcome, request.found = "found", self.stored
        elif (before.version if before else None) != (self.stored.version if self.stored else None):
            request.outcome = "conflict"
        else:
            self.stored = lease.Record(str(next(self.versions)), request.of, float(TIMINGS.lease_seconds))
            request.outcome, request.found = "written", self.stored

    @rule(name=CONTENDERS)
    def is_answered(self, name: str) -> None:
        one = self.contenders[name]
        request, clock = one.waits_for, one.clock(self.now)
        if request is None or not request.outcome:
            return
        one.waits_for = None
        if request.outcome == "found":
            one.state = lease.looked(one.state, request.found, clock)
        elif request.found is not None:
            one.state = lease.wrote(one.state, request.found, request.asked, clock)
        else:
            one.state = lease.conflicted(one.state)

    @rule(name=CONTENDERS)
    def gives_up(self, name: str) -> None:
        """The answer is lost, or comes too late; the request may still arrive."""
        one = self.contenders[name]
        if one.waits_for is not None:
            one.waits_for = None
            one.state = lease.failed(one.state, one.clock(self.now))

    @rule(name=CONTENDERS)
    def resigns(self, name: str) -> None:
        """A clean stop, and another process of another name in its place."""
        one = self.contenders[name]
        seen = one.state.seen.record if one.state.seen is not None else None
        begun = one.state.begins <= one.clock(self.now)
        if self.stored is not None and self.stored == seen and seen.holder == one.state.me and begun:
            self.stored = dataclasses.replace(self.stored, version=str(next(self.versions)), holder="")
        one.waits_for = None
        one.state = lease.State(f"{name}{next(self.versions)}", TIMINGS)

    @rule()
    def is_deleted(self) -> None:
        """A person deletes the Lease."""
        self.stored = None

    @invariant()
    def test_invariant_11_two_operators_never_act_at_once(self) -> None:
        leading = [name for name, one in self.contenders.items() if lease.leads(one.state, one.clock(self.now))]
        assert len(leading) <= 1


Contention.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
test_invariant_11_two_operators_never_act_at_once = Contention.TestCase


@pytest.mark.parametrize("paces", [(1.0, 1.0), (0.87, 1.15), (1.15, 0.87)], ids=["alike", "slow leader", "fast leader"])
def test_a_leader_that_is_killed_is_replaced_within_5_seconds(paces: tuple[float, float]) -> None:
    """A world without delays, in steps of 10 ms: what the timings alone come to."""
    first, second = (
        Contender(lease.State(name, TIMINGS), pace, offset)
        for name, pace, offset in zip("ab", paces, (0.0, 1e6), strict=True)
    )
    stored = lease.Record("0", "", 1.0)
    versions, killed_at = itertools.count(1), 2.96
    terms: list[tuple[str, float]] = []
    for step in range(1000):
        now = step / 100
        for one in (first, second):
            if one is first and now >= killed_at:
                continue
            clock = one.clock(now)
            match lease.move(one.state, clock):
                case lease.Look():
                    one.state = lease.looked(one.state, stored, clock)
                case lease.Write(before) if before != stored:
                    one.state = lease.conflicted(one.state)
                case lease.Write():
                    stored = lease.Record(str(next(versions)), one.state.me, 4.0)
                    one.state = lease.wrote(one.state, stored, clock, clock)
                    if not terms or terms[-1][0] != one.state.me:
                        terms.append((one.state.me, now))
    assert [name for name, _ in terms] == ["a", "b"]
    assert terms[1][1] - killed_at <= 5.0 / min(paces)
