"""What every pass sees to, whatever the rollout does: stable keeps running, the retired go, the registry is told."""

from penstock.api.v1alpha1 import modeldeployment_status
from penstock.rollout import draft, revision, world


def observe(pass_: draft.Draft) -> draft.Draft:
    """Take over what the cluster reports of the pods, and which endings the registry has been told."""
    replicas = pass_.spec.server.replicas
    stable, candidate = pass_.status.stable, pass_.status.candidate
    if stable is not None:
        ready = pass_.workload(stable.name).ready
        pass_ = pass_.update(stable=stable.model_copy(update={"replicas": replicas, "ready_replicas": ready}))
    if candidate is not None:
        ready = pass_.workload(candidate.name).ready
        pass_ = pass_.update(candidate=candidate.model_copy(update={"replicas": replicas, "ready_replicas": ready}))
    if pass_.seen.tagged:
        pass_ = pass_.update(
            history=[
                entry.model_copy(update={"tagged": True})
                if (entry.revision, entry.ended_at) in pass_.seen.tagged
                else entry
                for entry in pass_.status.history
            ]
        )
    return pass_


def keep(pass_: draft.Draft) -> draft.Draft:
    """Ensure the pods that are wanted, remove those that are not, tell the registry what it has not heard."""
    if not pass_.seen.entry_exists:
        pass_ = pass_.act(world.EnsureEntry())
    for name in (pass_.stable_name, pass_.status.candidate.name if pass_.status.candidate else None):
        if name is not None:
            pass_ = _ensure(pass_, name)
    pass_ = _remove_retired(_adopt_orphans(pass_))
    untold = [entry for entry in pass_.status.history if not entry.tagged]
    return pass_.act(*(world.TagModelVersion(entry) for entry in reversed(untold)))


def _ensure(pass_: draft.Draft, name: str) -> draft.Draft:
    replicas = pass_.spec.server.replicas
    workload = pass_.seen.workloads.get(name)
    if workload is None or not workload.exists:
        wanted = pass_.seen.wanted
        new = wanted if isinstance(wanted, revision.Revision) and wanted.name == name else None
        return pass_.act(world.EnsureRevision(name, replicas, new))
    if workload.replicas != replicas:
        return pass_.act(world.ScaleRevision(name, replicas))
    return pass_


def _in_use(pass_: draft.Draft) -> frozenset[str]:
    status = pass_.status
    names = {pass_.stable_name, status.split.stable, status.split.candidate}
    names.add(status.candidate.name if status.candidate else None)
    return frozenset(name for name in names if name is not None)


def _adopt_orphans(pass_: draft.Draft) -> draft.Draft:
    """Pods that nobody speaks for (a crash between making and recording them) are retired like any other."""
    spoken_for = _in_use(pass_) | {retired.name for retired in pass_.status.retired}
    orphans = sorted(name for name in pass_.seen.workloads if name not in spoken_for)
    if not orphans:
        return pass_
    new = [modeldeployment_status.Retired(name=name, remove_at=pass_.now) for name in orphans]
    return pass_.update(retired=[*pass_.status.retired, *new])


def _remove_retired(pass_: draft.Draft) -> draft.Draft:
    """A retired revision goes when its time has come and the data plane has confirmed that nothing is sent to it."""
    in_use, left = _in_use(pass_), []
    for retired in pass_.status.retired:
        gone = retired.name not in pass_.seen.workloads and retired.remove_at <= pass_.now
        if retired.name in in_use or gone:
            continue
        left.append(retired)
        if pass_.now < retired.remove_at:
            pass_ = pass_.wake(retired.remove_at)
        elif pass_.seen.applied == pass_.status.split:
            pass_ = pass_.act(world.RemoveRevision(retired.name))
    return pass_ if left == pass_.status.retired else pass_.update(retired=left)
