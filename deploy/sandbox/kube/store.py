"""The objects, one counter of versions, a bounded history, and those who listen to it.

Stored objects are never changed in place: a write stores a new object, so that the history, a watch that lags behind
and a paged list may all keep their references. Writers copy first (``registry`` does).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from deploy.sandbox.kube.errors import Json, expired
from deploy.sandbox.kube.resources import Resource

HISTORY_MAX = 20_000
"""Changes kept for watches to resume from; older ones are answered with 410. About 60 MB of pods at the most."""

FIRST_VERSION = 1000
"""A fresh cluster's counter: not 0, since ``resourceVersion=0`` means "any" in a request."""

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One write. ``before`` is None for ADDED; for DELETED, ``obj`` is the last state with the deletion's version."""

    version: int
    type: ChangeType
    resource: Resource
    obj: Json
    before: Json | None


Listener = Callable[[Change], None]
Key = tuple[Resource, str, str]


class Store:
    """All objects of one cluster. Every method is synchronous, so that a caller sees one consistent state."""

    def __init__(self, *, history_max: int = HISTORY_MAX) -> None:
        self.version = FIRST_VERSION
        self._objects: dict[Key, Json] = {}
        self._history: deque[Change] = deque()
        self._history_max = history_max
        self._forgotten = FIRST_VERSION
        self._listeners: list[Listener] = []

    def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        """The stored object, to read only, or None."""
        return self._objects.get((resource, namespace, name))

    def objects(self, resource: Resource, namespace: str = "") -> list[Json]:
        """The objects of a kind, of one namespace or of all (""), sorted by namespace and name as etcd's keys are."""
        found = [
            (key[1:], obj)
            for key, obj in self._objects.items()
            if key[0] is resource and (not namespace or key[1] == namespace)
        ]
        return [obj for _, obj in sorted(found, key=lambda one: one[0])]

    def everything(self) -> list[tuple[Resource, Json]]:
        """Every object with its resource, in no promised order."""
        return [(key[0], obj) for key, obj in self._objects.items()]

    def put(self, resource: Resource, obj: Json) -> Json:
        """Stores ``obj`` (the caller gives it away) under the next version and tells the listeners."""
        key = _key(resource, obj)
        before = self._objects.get(key)
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self._objects[key] = obj
        self._tell(
            Change(
                version=self.version,
                type="MODIFIED" if before else "ADDED",
                resource=resource,
                obj=obj,
                before=before,
            )
        )
        return obj

    def remove(self, resource: Resource, namespace: str, name: str) -> Json:
        """Removes an object; its last state carries the version of the deletion, as on the wire."""
        before = self._objects.pop((resource, namespace, name))
        self.version += 1
        last = {**before, "metadata": {**before["metadata"], "resourceVersion": str(self.version)}}
        self._tell(Change(version=self.version, type="DELETED", resource=resource, obj=last, before=before))
        return last

    def since(self, version: int) -> list[Change]:
        """The changes after ``version``, oldest first; 410 when history no longer reaches back that far."""
        if version < self._forgotten:
            raise expired(f"too old resource version: {version} ({self._forgotten + 1})")
        return [change for change in self._history if change.version > version]

    @property
    def oldest(self) -> int:
        """The oldest version that is still known."""
        return self._forgotten

    def objects_at(self, version: int, resource: Resource, namespace: str = "") -> list[Json]:
        """What ``objects`` was at a version; 410 when history does not reach back that far."""
        present = self.objects(resource, namespace)
        if version == self.version:
            return present
        found = {_key(resource, obj): obj for obj in present}
        for change in reversed(self.since(version)):
            if change.resource is resource and namespace in ("", change.obj["metadata"].get("namespace", "")):
                key = _key(resource, change.obj)
                if change.before is None:
                    found.pop(key, None)
                else:
                    found[key] = change.before
        return [found[key] for key in sorted(found, key=lambda one: one[1:])]

    def compact(self) -> None:
        """Forgets all history: whoever is not up to date must list anew."""
        self._forgotten = self.version
        self._history.clear()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Calls ``listener`` at every change, before the write returns; the answer ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _tell(self, change: Change) -> None:
        self._history.append(change)
        if len(self._history) > self._history_max:
            self._forgotten = self._history.popleft().version
        for listener in tuple(self._listeners):
            listener(change)


def _key(resource: Resource, obj: Json) -> Key:
    metadata = obj["metadata"]
    return resource, metadata.get("namespace", ""), metadata["name"]
