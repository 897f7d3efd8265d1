"""What one reflector knows: raw objects by name, uid, owner and namespace; and how much of an object is worth keeping.

A cluster of 5,000 pods costs 85 MB raw; what is never asked is dropped while it is decoded. The store is plain and
synchronous: it changes only between two awaits, so every reader sees a whole state.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from handlers.revisions import FIELD_MANAGER, template_of

Obj = dict[str, Any]
Key = tuple[str, str]
"""Namespace (empty for what has none) and name."""

Projection = Callable[[Obj], Obj]

TEMPLATE_FIELDS = ("f:spec", "f:template")
"""Path in fieldsV1 whose owners are those who wrote a pod template: when a rollout started and who did it."""

SELECTOR_FIELDS = ("f:spec", "f:selector")
"""Path in fieldsV1 whose owners wrote a Service's selector: when it was switched and by whom."""

DATA_FIELDS = ("f:data",)
"""Path in fieldsV1 whose owners wrote a ConfigMap's data: when it last changed."""

_IDENTITY: tuple[str, ...] = ("apiVersion", "kind", "metadata")
_OWNER_FIELDS = ("manager", "operation", "time", "subresource")


class Change(Enum):
    """What happened to an object."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"


OnChange = Callable[[Change, Obj | None, Obj | None], None]
"""Called as (change, old, new) after the store changed. ADDED: old is None. DELETED: old is the last state, new None.

It must return at once and must not raise: put a key into an inbox and look at the store again from there.
"""


def key_of(obj: Obj) -> Key:
    """Namespace and name of an object."""
    metadata = obj["metadata"]
    return metadata.get("namespace") or "", metadata["name"]


def uid_of(obj: Obj) -> str:
    """The uid of an object; empty where a fake server gives none."""
    return str(obj["metadata"].get("uid") or "")


def version_of(obj: Obj) -> str:
    """The resourceVersion of an object: opaque, only equality means something."""
    return str(obj["metadata"].get("resourceVersion") or "")


class Store:
    """The objects of one collection. Readers get the very objects that are held: never write to them."""

    def __init__(self) -> None:
        self._by_key: dict[Key, Obj] = {}
        self._by_uid: dict[str, Obj] = {}
        # dicts as ordered sets: iteration order must not depend on hashes of strings
        self._by_owner: dict[str, dict[Key, None]] = {}
        self._by_namespace: dict[str, dict[Key, None]] = {}
        self._by_label: dict[str, dict[str, dict[Key, None]]] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Obj]:
        """All objects, of one moment: changes during the iteration do not show."""
        return iter(list(self._by_key.values()))

    def get(self, namespace: str, name: str) -> Obj | None:
        """The object of that name; the namespace is empty for what has none."""
        return self._by_key.get((namespace, name))

    def by_uid(self, uid: str) -> Obj | None:
        """The object with that uid."""
        return self._by_uid.get(uid)

    def owned_by(self, uid: str) -> Sequence[Obj]:
        """The objects with an ownerReference (controller or not) to that uid."""
        return [self._by_key[key] for key in self._by_owner.get(uid, ())]

    def in_namespace(self, namespace: str) -> Sequence[Obj]:
        """The objects of a namespace."""
        return [self._by_key[key] for key in self._by_namespace.get(namespace, ())]

    def named(self, name: str) -> Sequence[Obj]:
        """The objects of that name in all namespaces: a look per namespace, which are hundreds where objects are thousands."""
        keys = ((namespace, name) for namespace in self._by_namespace)
        return [self._by_key[key] for key in keys if key in self._by_key]

    def labelled(self, label: str, value: str) -> Sequence[Obj]:
        """The objects whose own or template's labels hold label=value.

        An index for the label is made when it is first asked for, and kept: ask for few labels, whose names no stranger chose.
        """
        if label not in self._by_label:
            index = self._by_label[label] = {}
            for key, obj in self._by_key.items():
                _enter(index, label, key, obj)
        return [self._by_key[key] for key in self._by_label[label].get(value, ())]

    def put(self, obj: Obj) -> Sequence[tuple[Change, Obj | None, Obj | None]]:
        """Take an object as it is now; what changed by that.

        Nothing where its version is known. Two changes where an object of the same name but another uid was replaced:
        that one is gone, even if nobody told us.
        """
        key = key_of(obj)
        old = self._by_key.get(key)
        if old is None:
            self._insert(key, obj)
            return [(Change.ADDED, None, obj)]
        if uid_of(old) == uid_of(obj) and version_of(old) == version_of(obj) != "":
            return []
        self._drop(key, old)
        self._insert(key, obj)
        if uid_of(old) != uid_of(obj):
            return [(Change.DELETED, old, None), (Change.ADDED, None, obj)]
        return [(Change.MODIFIED, old, obj)]

    def remove(self, obj: Obj) -> Sequence[tuple[Change, Obj | None, Obj | None]]:
        """Forget an object whose end was told; its last state is the one given. Nothing where it is unknown."""
        key = key_of(obj)
        old = self._by_key.get(key)
        if old is None or uid_of(old) != uid_of(obj):
            return []
        self._drop(key, old)
        return [(Change.DELETED, obj, None)]

    def prune(self, present: Iterable[Key]) -> Sequence[tuple[Change, Obj | None, Obj | None]]:
        """Forget all that a full list did not show: deletions that happened while nobody watched."""
        gone = self._by_key.keys() - set(present)
        changes: list[tuple[Change, Obj | None, Obj | None]] = []
        for key in sorted(gone):
            old = self._by_key[key]
            self._drop(key, old)
            changes.append((Change.DELETED, old, None))
        return changes

    def _insert(self, key: Key, obj: Obj) -> None:
        self._by_key[key] = obj
        self._by_uid[uid_of(obj)] = obj
        self._by_namespace.setdefault(key[0], {})[key] = None
        for owner in _owners(obj):
            self._by_owner.setdefault(owner, {})[key] = None
        for label, index in self._by_label.items():
            _enter(index, label, key, obj)

    def _drop(self, key: Key, obj: Obj) -> None:
        del self._by_key[key]
        self._by_uid.pop(uid_of(obj), None)
        _discard(self._by_namespace, key[0], key)
        for owner in _owners(obj):
            _discard(self._by_owner, owner, key)
        for label, index in self._by_label.items():
            for value in _held(obj, label):
                _discard(index, value, key)


def _owners(obj: Obj) -> Sequence[str]:
    return [str(ref["uid"]) for ref in obj["metadata"].get("ownerReferences") or () if ref.get("uid")]


def _held(obj: Obj, label: str) -> Sequence[str]:
    """The values of a label on an object and its template, each once."""
    holders = (obj["metadata"], template_of(obj).get("metadata") or {})
    values = ((holder.get("labels") or {}).get(label) for holder in holders)
    return list(dict.fromkeys(value for value in values if value is not None))


def _enter(index: dict[str, dict[Key, None]], label: str, key: Key, obj: Obj) -> None:
    for value in _held(obj, label):
        index.setdefault(value, {})[key] = None


def _discard(index: dict[str, dict[Key, None]], entry: str, key: Key) -> None:
    keys = index.get(entry, {})
    keys.pop(key, None)
    if not keys:
        index.pop(entry, None)


def field_owners(obj: Obj, path: Sequence[str]) -> list[Obj]:
    """The managedFields entries that own `path` or below, as manager, operation, time and subresource only; ours always.

    We write nothing but templates, and give the ownership up at once; what is left of our entry tells when that was.
    """
    entries = obj["metadata"].get("managedFields") or ()
    return [
        {k: entry[k] for k in _OWNER_FIELDS if k in entry}
        for entry in entries
        if entry.get("manager") == FIELD_MANAGER or _owns(entry.get("fieldsV1"), path)
    ]


def _owns(fields: object, path: Sequence[str]) -> bool:
    for part in path:
        if not isinstance(fields, Mapping) or part not in fields:
            return False
        fields = fields[part]
    return True


def whole(obj: Obj, *, keep: Sequence[str] | None = TEMPLATE_FIELDS) -> Obj:
    """All of the object but managedFields, of which the owners of `keep` stay (none where None)."""
    metadata = obj["metadata"]
    if metadata.get("managedFields") is not None:
        owners = field_owners(obj, keep) if keep is not None else []
        del metadata["managedFields"]
        if owners:
            metadata["managedFields"] = owners
    kept: Obj = shared(obj)
    return kept


def metadata_only(obj: Obj) -> Obj:
    """Nothing but type and metadata, whatever the server sent: a ConfigMap's data is no business of ours."""
    slim: Obj = {k: obj[k] for k in _IDENTITY if k in obj}
    return whole(slim, keep=DATA_FIELDS)


_POD_SPEC = ("nodeName", "serviceAccountName", "restartPolicy")
_POD_CONTAINER = ("name", "image", "resources", "restartPolicy")
_POD_STATUS = ("phase", "reason", "message", "startTime", "conditions", "containerStatuses", "initContainerStatuses")


def pod(obj: Obj) -> Obj:
    """Of a pod: metadata, where it runs, its containers' names, images and resources, and its whole state."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    slim: Obj = {k: obj[k] for k in _IDENTITY if k in obj}
    slim["spec"] = {k: spec[k] for k in _POD_SPEC if k in spec}
    for field in ("initContainers", "containers"):
        slim["spec"][field] = [{k: c[k] for k in _POD_CONTAINER if k in c} for c in spec.get(field) or ()]
    slim["status"] = {k: status[k] for k in _POD_STATUS if k in status}
    return whole(slim, keep=None)


def shared(value: Any) -> Any:
    """The same value, each key held once in memory: objects that are decoded alone bring copies of their own."""
    if isinstance(value, dict):
        return {sys.intern(k): shared(v) for k, v in value.items()}
    if isinstance(value, list):
        return [shared(v) for v in value]
    return value
