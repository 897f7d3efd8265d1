"""``metadata.managedFields``: who wrote which field last.

The tree format is FieldsV1 (``f:`` a field, ``k:`` a list item by its key, an empty object a leaf). An Update takes the
fields whose value it changed away from every other manager, as the real server does; server-side apply is not here.
"""

from __future__ import annotations

import json
from typing import Any

from deploy.sandbox.kube.errors import Json

_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "conditions": "type",
    "volumeMounts": "mountPath",
    "ownerReferences": "uid",
}
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
        "generateName",
        "selfLink",
    )
)


def owned(before: Json, after: Json, *, manager: str, subresource: str, api_version: str, time: str) -> list[Json]:
    """The managedFields of ``after``, a write by ``manager`` on top of ``before`` ({} for a create)."""
    old, new = _content(before, subresource), _content(after, subresource)
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


def _content(obj: Json, subresource: str) -> Json:
    """What can be owned: a status only by who writes the status."""
    skipped = ("apiVersion", "kind", "metadata", *(() if subresource == "status" else ("status",)))
    content = {key: value for key, value in obj.items() if key not in skipped}
    metadata = {key: value for key, value in obj.get("metadata", {}).items() if key not in _HOUSEKEEPING}
    return {**content, "metadata": metadata} if metadata else content


def _members(name: str, value: Any) -> dict[str, tuple[str, Any]] | None:
    """The parts of a value by their FieldsV1 step, or None for a leaf."""
    if isinstance(value, dict) and value:
        return {f"f:{key}": (key, part) for key, part in value.items()}
    key = _KEYS.get(name)
    if key and isinstance(value, list) and value and all(isinstance(one, dict) and key in one for one in value):
        return {"k:" + json.dumps({key: one[key]}, separators=(",", ":")): ("", one) for one in value}
    return None


def _changed(before: Any, after: Any, name: str = "") -> Json:
    """The tree of the leaves of ``after`` that ``before`` lacks or holds with another value."""
    tree: Json = {}
    old = _members(name, before) or {}
    for step, (child, value) in (_members(name, after) or {}).items():
        previous = old[step][1] if step in old else None
        if step in old and previous == value:
            continue
        below = _members(child, value)
        if below is None:
            tree[step] = {}
        elif deeper := _changed(previous, value, child):
            tree[step] = deeper
    return tree


def _plus(tree: Json, more: Json) -> Json:
    result = dict(tree)
    for step, below in more.items():
        result[step] = _plus(result.get(step, {}), below)
    return result


def _minus(tree: Json, less: Json) -> Json:
    result: Json = {}
    for step, below in tree.items():
        if step not in less:
            result[step] = below
        elif below and less[step]:
            left = _minus(below, less[step])
            if left:
                result[step] = left
    return result
