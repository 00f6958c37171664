"""What the cluster looked like when it last told us: the watched objects, in memory.

Fed from three sides, by watches, by the answers to our own writes and by comparing with full lists, in any order; so
the cache takes nothing that is older than what it holds, or than its end.
"""

import collections
import dataclasses
import enum
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from penstock import ports
from penstock.kube import resources
from penstock.kube.resources import Obj, Resource

logger = logging.getLogger(__name__)

OWNER_LABEL = "penstock.dev/deployment"

_GRAVES = 20_000


class ChangeType(enum.StrEnum):
    """What happened to an object."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One object that changed. `key` is the ModelDeployment it belongs to, or is."""

    resource: Resource
    type: ChangeType
    key: ports.Key
    obj: Obj


Listener = Callable[[Change], None]


class Cache:
    """The watched objects by resource, namespace and name. Belongs to one event loop."""

    def __init__(self) -> None:
        self._objects: dict[Resource, dict[ports.Key, Obj]] = collections.defaultdict(dict)
        self._children: dict[tuple[Resource, ports.Key], dict[ports.Key, Obj]] = {}
        self._graves: dict[str, str] = {}  # uid -> resourceVersion of the end, the oldest first
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` for every change, in the order in which they are taken over."""
        self._listeners.append(listener)

    def get(self, resource: Resource, namespace: str, name: str) -> Obj | None:
        """One object; not to be changed."""
        return self._objects[resource].get(ports.Key(namespace, name))

    def all(self, resource: Resource) -> Iterator[Obj]:
        """Every object of a resource, as it is now."""
        return iter(tuple(self._objects[resource].values()))

    def children(self, resource: Resource, key: ports.Key) -> tuple[Obj, ...]:
        """The objects that carry the label of one ModelDeployment, by name."""
        found = self._children.get((resource, key), {})
        return tuple(found[name] for name in sorted(found))

    def known(self, resource: Resource, namespaces: Iterable[str] = ()) -> dict[ports.Key, str]:
        """The uids of all objects of a resource, in some namespaces or in all: what a full list is compared with."""
        within = frozenset(namespaces)
        return {key: _uid(obj) for key, obj in self._objects[resource].items() if not within or key.namespace in within}

    def learn(self, obj: Mapping[str, Any]) -> bool:
        """Take over an object as the API server has just told it; whether it was news."""
        resource, key = resources.of(obj), _key(obj)
        held = self._objects[resource].get(key)
        end = self._graves.get(_uid(obj))
        if (end is not None and not _after(_version(obj), end)) or (held is not None and not is_newer(obj, held)):
            return False
        if held is not None and _uid(held) != _uid(obj):
            self._remove(resource, key, held)
            held = None
        slim = slimmed(resource, obj)
        if held is not None and owner_of(held) != owner_of(slim):
            self._unlink(resource, key, held)
        self._objects[resource][key] = slim
        self._children.setdefault((resource, owner_of(slim)), {})[key] = slim
        self._tell(Change(resource, ChangeType.ADDED if held is None else ChangeType.MODIFIED, owner_of(slim), slim))
        return True

    def lose(self, obj: Mapping[str, Any]) -> bool:
        """Forget an object that was deleted, or no longer carries our label; whether it was held.

        One of another uid is another object, and one that is held in a newer version has come back since.
        """
        resource, key = resources.of(obj), _key(obj)
        held = self._objects[resource].get(key)
        if held is not None and _uid(held) == _uid(obj) and _after(_version(held), _version(obj)):
            return False
        self._bury(obj)
        if held is None or _uid(held) != _uid(obj):
            return False
        self._remove(resource, key, held)
        return True

    def _remove(self, resource: Resource, key: ports.Key, held: Obj) -> None:
        if _uid(held) not in self._graves:
            self._bury(held)
        del self._objects[resource][key]
        self._unlink(resource, key, held)
        self._tell(Change(resource, ChangeType.DELETED, owner_of(held), held))

    def _unlink(self, resource: Resource, key: ports.Key, held: Obj) -> None:
        place = resource, owner_of(held)
        siblings = self._children[place]
        del siblings[key]
        if not siblings:
            del self._children[place]

    def _bury(self, obj: Mapping[str, Any]) -> None:
        self._graves[_uid(obj)] = _version(obj)
        if len(self._graves) > _GRAVES:
            del self._graves[next(iter(self._graves))]

    def _tell(self, change: Change) -> None:
        for listener in self._listeners:
            try:
                listener(change)
            except Exception:
                logger.exception("a listener failed", extra={"key": str(change.key)})


def owner_of(obj: Mapping[str, Any]) -> ports.Key:
    """The ModelDeployment an object belongs to, by its label; itself if it has none."""
    metadata = obj["metadata"]
    name = (metadata.get("labels") or {}).get(OWNER_LABEL)
    if obj["kind"] == resources.MODEL_DEPLOYMENT.kind or not name:
        name = metadata["name"]
    return ports.Key(metadata["namespace"], name)


def slimmed(resource: Resource, obj: Mapping[str, Any]) -> Obj:
    """What is worth keeping: no record of who wrote which field, and of a pod not what the Deployment says already."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    kept = dict(obj) | {"metadata": metadata}
    if resource == resources.POD:
        kept["spec"] = {key: value for key, value in obj.get("spec", {}).items() if key == "nodeName"}
    return kept


def _key(obj: Mapping[str, Any]) -> ports.Key:
    return ports.Key(obj["metadata"]["namespace"], obj["metadata"]["name"])


def _uid(obj: Mapping[str, Any]) -> str:
    return str(obj["metadata"]["uid"])


def _version(obj: Mapping[str, Any]) -> str:
    return str(obj["metadata"]["resourceVersion"])


def is_newer(obj: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
    """Whether `obj` was written after `held`, or if that cannot be told, differs (the last to come counts)."""
    ours, theirs = _version(obj), _version(held)
    return _after(ours, theirs) if ours.isdecimal() and theirs.isdecimal() else ours != theirs


def _after(version: str, other: str) -> bool:
    """Whether a version is later for sure: they are numbers that grow, unless the store is an unusual one."""
    return version.isdecimal() and other.isdecimal() and int(version) > int(other)
