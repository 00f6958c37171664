"""Comparing the cache with full lists: what a watch did not tell is found here.

A watch that was down lists again, but never tells which objects went meanwhile. So the names and versions are listed
from time to time: what the cache holds and the list does not is gone; what the list has newer is fetched.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from penstock import ports
from penstock.kube import cache, client, resources
from penstock.kube.resources import Obj, Resource


@dataclass(frozen=True, slots=True)
class Found:
    """What a comparison had to correct."""

    vanished: int = 0
    missed: int = 0

    def __add__(self, other: "Found") -> "Found":
        return Found(self.vanished + other.vanished, self.missed + other.missed)


async def prime(cluster: client.Cluster, held: cache.Cache, namespaces: Sequence[str] = ()) -> None:
    """Fill an empty cache, so that nobody decides on half a picture. Errors: those of `Cluster`."""
    for resource in resources.WATCHED:
        for namespace in namespaces or (None,):
            for obj in await cluster.list(resource, namespace, resources.selector(resource)):
                held.learn(obj)


async def correct(cluster: client.Cluster, held: cache.Cache, namespaces: Sequence[str] = ()) -> Found:
    """Bring the cache up to date with full lists. Errors: those of `Cluster`."""
    found = Found()
    for resource in resources.WATCHED:
        for namespace in namespaces or (None,):
            found += await _correct(cluster, held, resource, namespace)
    return found


async def _correct(cluster: client.Cluster, held: cache.Cache, resource: Resource, namespace: str | None) -> Found:
    # taken before the list: what comes up while the list is under way must not count as vanished
    before = held.known(resource, () if namespace is None else (namespace,))
    listed = await cluster.list_metadata(resource, namespace, resources.selector(resource))
    there = {_key(obj): str(obj["metadata"]["uid"]) for obj in listed}
    vanished = sum(_lose(held, resource, key, uid) for key, uid in before.items() if there.get(key) != uid)
    missed = 0
    for obj in _newer(held, resource, listed):
        # by now the watch may have told
        if _is_behind(held, resource, obj):
            fresh = await cluster.get(resource, obj["metadata"]["namespace"], obj["metadata"]["name"])
            missed += int(fresh is not None and held.learn(fresh))
    return Found(vanished, missed)


def _lose(held: cache.Cache, resource: Resource, key: ports.Key, uid: str) -> bool:
    obj = held.get(resource, key.namespace, key.name)
    return obj is not None and obj["metadata"]["uid"] == uid and held.lose(obj)


def _newer(held: cache.Cache, resource: Resource, listed: Iterable[Obj]) -> list[Obj]:
    return [obj for obj in listed if _is_behind(held, resource, obj)]


def _is_behind(held: cache.Cache, resource: Resource, listed: Obj) -> bool:
    obj = held.get(resource, listed["metadata"]["namespace"], listed["metadata"]["name"])
    return obj is None or cache.is_newer(listed, obj)


def _key(obj: Obj) -> ports.Key:
    return ports.Key(obj["metadata"]["namespace"], obj["metadata"]["name"])
