"""What waits: never more than there is room for, and the sum of sizes is the sum of sizes."""

from hypothesis import given
from hypothesis import strategies as st
from penstock.adapters.waiting import OVERHEAD, Ids, Kept, Room, Waiting

NAMES = st.sampled_from([f"r{n}" for n in range(12)])
STEPS = st.lists(
    st.tuples(st.just("put"), NAMES, st.integers(0, 300))
    | st.tuples(st.sampled_from(["pop", "settle", "keep", "halve"]), NAMES, st.just(0)),
    max_size=60,
)
ROOM = Room(entries=7, size=7 * OVERHEAD)


@given(STEPS)
def test_whatever_comes_and_goes(steps: list[tuple[str, str, int]]) -> None:
    waiting, model = Waiting(ROOM), dict[str, Kept]()
    for now, (step, name, length) in enumerate(steps):
        if step == "put":
            kept = Kept("x" * length, failed=False, since=now)
            left = [request for request, _ in waiting.put(name, kept)]
            model.pop(name, None)
            model[name] = kept
            assert left == list(model)[: len(left)], "the oldest leave"
            for request in left:
                del model[request]
        elif step == "pop":
            assert waiting.pop(name) == model.pop(name, None)
        elif step == "halve":
            for request, _ in waiting.halve():
                del model[request]
        elif name in model:
            waiting.settle(name, keep_text=step == "keep")
            before = model[name]
            model[name] = Kept(before.text if step == "keep" else None, failed=False, since=before.since, settled=True)
        assert waiting.size == sum(OVERHEAD + len(name) + len(kept.text or "") for name, kept in model.items())
        assert [waiting.get(f"r{n}") for n in range(12)] == [model.get(f"r{n}") for n in range(12)]
        assert (len(waiting) <= ROOM.entries, waiting.size <= ROOM.size) == (True, True)
        assert waiting.older(now) == [request for request, kept in model.items() if kept.since < now]


def test_ids_that_came_long_ago_are_forgotten() -> None:
    ids = Ids(3)
    for name in ("a", "b", "c", "d"):
        ids.add(name)
    assert [name in ids for name in ("a", "b", "c", "d")] == [False, True, True, True]
