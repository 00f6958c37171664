"""How the demo ended, and what to try next: pure text."""

from dev.demo import registry, story
from dev.demo.models import Role

IN_CLUSTER = "python3 dev/cluster/main.py exec"


def lines(told: story.Story) -> list[str]:
    """The figures of a story."""
    traffic, flawed, inverted = told.traffic, told.versions[Role.FLAWED].version, told.versions[Role.INVERTED].version
    figures = [("requests sent", str(traffic.sent)), ("lost", str(len(traffic.lost)))]
    figures += [
        (f"version {tally.version}", f"{tally.answered} answered, {tally.failed} failed")
        for tally in sorted(traffic.tallies.values(), key=lambda tally: tally.version or 0)
    ]
    figures += [
        (
            f"rollout of version {entry.model_version}",
            f"{entry.outcome.value} after {(entry.ended_at - entry.started_at).total_seconds():.1f} s",
        )
        for entry in reversed(told.history)
    ]
    seen = sum(tally.answered for tally in traffic.tallies.values() if tally.version == inverted)
    figures.append((f"wrong answers of version {inverted} that users saw", str(seen)))
    for revision, tally in traffic.tallies.items():
        exposure = traffic.exposure(revision)
        if tally.version == flawed and exposure is not None:
            figures.append(
                ("from the first bad answer to its last answer", f"{exposure:.1f} s, {tally.failed} requests failed")
            )
    width = max(len(name) for name, _ in figures)
    return [f"  {name:<{width}}  {value}" for name, value in figures]


def next_steps(told: story.Story, place: story.Place) -> list[str]:
    """Commands that work now."""
    name = told.name
    undone = told.history[0].revision if told.history else "REVISION"
    kubectl = f"{IN_CLUSTER} kubectl -n {place.namespace}"
    better = told.versions[Role.BETTER].version
    return [
        "What happened, as Kubernetes tells it:",
        f"  {kubectl} get mdep {name}",
        f"  {kubectl} describe mdep {name}",
        f"Give the undone version another chance (without callers it waits in its shadow step, and {registry.ALIAS!r}",
        f"still names it; version {better} goes on serving):",
        f"  {kubectl} annotate mdep {name} --overwrite penstock.dev/retry={undone}/again",
        "Ask the model:",
        f"  {IN_CLUSTER} curl -s {told.address}/invocations -H 'Host: {name}.{place.namespace}' \\",
        "    -H 'Content-Type: application/json' -d '" + _question() + "'",
        "Take it away:",
        f"  {kubectl} delete mdep {name}",
    ]


def _question() -> str:
    return (
        '{"dataframe_split": {"columns": ["mean radius", "mean texture", "mean smoothness", "mean concavity"], '
        '"data": [[14.1, 19.3, 0.096, 0.0]]}}'
    )
