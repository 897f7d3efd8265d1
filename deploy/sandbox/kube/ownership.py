"""``metadata.managedFields``: who wrote which field last.

The tree format is FieldsV1: ``f:`` a field, ``k:`` a list item by its key, ``.`` the part itself, an empty object a leaf.
An Update takes the fields whose value it changed away from every other manager, as the real server does; server-side
apply is not here.
"""

from __future__ import annotations

import json
from typing import Any

from deploy.sandbox.kube.errors import Json

_KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "containers": (("name",),),
    "initContainers": (("name",),),
    "ephemeralContainers": (("name",),),
    "volumes": (("name",),),
    "env": (("name",),),
    "imagePullSecrets": (("name",),),
    "conditions": (("type",),),
    "addresses": (("type",),),
    "volumeMounts": (("mountPath",),),
    "volumeDevices": (("devicePath",),),
    "ownerReferences": (("uid",),),
    "podIPs": (("ip",),),
    "ports": (("containerPort", "protocol"), ("port", "protocol")),
    "topologySpreadConstraints": (("topologyKey", "whenUnsatisfiable"),),
}
"""Lists whose items are owned one by one, and by what an item is known."""

_WHOLE = frozenset(
    ("selector", "nodeSelector", "labelSelector", "fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef")
) | {"ownerReferences[]"}
"""Objects that are owned as one (``x-kubernetes-map-type: atomic``)."""

_ALWAYS = frozenset(
    ("metadata", "spec", "status", "strategy", "updateStrategy", "template", "containers", "loadBalancer")
)
"""Parts that even an empty object has in Go: nobody owns them for having made them (a ``.`` in the tree)."""

_HOUSEKEEPING = frozenset(
    (
        "managedFields",
        "resourceVersion",
        "generation",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "name",
        "namespace",
        "selfLink",
    )
)


_ITSELF: Json = {".": {}}


def owned(before: Json, after: Json, *, manager: str, subresource: str, api_version: str, time: str) -> list[Json]:
    """The managedFields of ``after``, a write by ``manager`` on top of ``before`` ({} for a create)."""
    old, new = _content(before, subresource, api_version), _content(after, subresource, api_version)
    changed, gone = _changed(old, new), _changed(new, old)
    entries: list[Json] = [dict(entry) for entry in after["metadata"].get("managedFields") or [] if entry]
    if not changed and not gone:
        return entries
    result: list[Json] = []
    mine: Json = {}
    for entry in entries:
        fields: Json = entry.get("fieldsV1") or {}
        if (entry["manager"], entry.get("subresource", ""), entry["operation"]) == (manager, subresource, "Update"):
            mine = _minus(fields, gone)
            continue
        left = _minus(_minus(fields, changed), gone)
        if left:
            result.append({**entry, "fieldsV1": left})
    mine = _plus(mine, changed)
    if mine:
        result.append(_entry(manager, subresource, api_version, time, mine))
    return result


def _entry(manager: str, subresource: str, api_version: str, time: str, fields: Json) -> Json:
    entry: Json = {
        "manager": manager,
        "operation": "Update",
        "apiVersion": api_version,
        "time": time,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    return {**entry, "subresource": subresource} if subresource else entry


def _content(obj: Json, subresource: str, api_version: str) -> Json:
    """What can be owned: a status only by who writes the status. The data of a ControllerRevision are owned as one."""
    skipped = ("apiVersion", "kind", "metadata", *(() if subresource == "status" else ("status",)))
    content = {key: value for key, value in obj.items() if key not in skipped}
    if api_version == "apps/v1" and "data" in content:
        content["data"] = json.dumps(content["data"])
    metadata = {key: value for key, value in obj.get("metadata", {}).items() if key not in _HOUSEKEEPING}
    return {**content, "metadata": metadata} if metadata else content


def _members(name: str, value: Any) -> dict[str, tuple[str, Any]] | None:
    """The parts of a value by their FieldsV1 step, or None for a leaf."""
    if name in _WHOLE or not value:
        return None
    if isinstance(value, dict):
        return {f"f:{key}": (key, part) for key, part in value.items()}
    for keys in _KEYS.get(name, ()):
        if isinstance(value, list) and all(isinstance(one, dict) and one.keys() >= set(keys) for one in value):
            return {_step(one, keys): (f"{name}[]", one) for one in value}
    return None


def _step(item: Json, keys: tuple[str, ...]) -> str:
    return "k:" + json.dumps({key: item[key] for key in keys}, separators=(",", ":"))


def _changed(before: Any, after: Any, name: str = "") -> Json:
    """The tree of the leaves of ``after`` that ``before`` lacks or holds with another value; ``.`` is a part that is new."""
    tree: Json = {}
    old = _members(name, before) or {}
    for step, (child, value) in (_members(name, after) or {}).items():
        previous = old[step][1] if step in old else None
        if step in old and previous == value:
            continue
        if _members(child, value) is None:
            tree[step] = {}
            continue
        deeper = _changed(previous, value, child)
        if step not in old and child not in _ALWAYS:
            deeper = {".": {}, **deeper}
        if deeper:
            tree[step] = deeper
    return tree


def _plus(tree: Json, more: Json) -> Json:
    result = dict(tree)
    for step, below in more.items():
        known = _ITSELF if below and result.get(step) == {} else result.get(step, {})
        result[step] = _plus(known, below)
    return result


def _minus(tree: Json, less: Json) -> Json:
    result: Json = {}
    for step, below in tree.items():
        if step not in less:
            result[step] = below
        elif less[step]:
            left = _minus(below or _ITSELF, less[step])
            if left:
                result[step] = {} if left == _ITSELF else left  # alone, the part itself is written as a leaf
    return result
