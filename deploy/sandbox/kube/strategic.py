"""Strategic merge patch: lists of objects merge by a key, ``$patch`` directives replace or delete.

The real server reads the keys from Go struct tags (``patchMergeKey``); here they are a table by field name, with the
two meanings of ``ports`` told apart by their items. Lists that are not in the table are replaced, as in Go.
"""

from __future__ import annotations

import copy
from typing import Any

from deploy.sandbox.kube.errors import ApiError, Json, bad_request

_MERGE_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "secrets": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "ports": ("containerPort", "port"),
    "conditions": ("type",),
    "ownerReferences": ("uid",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey",),
    "addresses": ("type",),
    "taints": ("key",),
}
_PRIMITIVE_SETS = ("finalizers",)
_DIRECTIVE = "$patch"
_ORDER = "$setElementOrder/"
_DROP = "$deleteFromPrimitiveList/"
_RETAIN = "$retainKeys"


def strategic_patch(document: Json, patch: Any) -> Json:
    """Applies a strategic merge patch and returns the result; 400 when the patch is no object, 500 (sic) when a directive or
    a merge key is not understood.
    """
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: a strategic merge patch is an object")
    merged = _object(document, patch)
    return merged if merged is not None else {}


def _object(current: Json, patch: Json) -> Json | None:
    match patch.get(_DIRECTIVE):
        case "replace":
            return {key: copy.deepcopy(value) for key, value in patch.items() if key != _DIRECTIVE}
        case "delete":
            return None
        case None | "merge":
            pass
        case other:
            raise ApiError(500, "", f"unknown patch type: {other} in map: {patch}")
    result = _retained(current, patch)
    for key, value in patch.items():
        if not key.startswith("$"):
            _member(result, key, value)
    _directives(result, patch)
    return result


def _retained(current: Json, patch: Json) -> Json:
    retain = patch.get(_RETAIN)
    return {key: copy.deepcopy(value) for key, value in current.items() if retain is None or key in retain}


def _member(result: Json, key: str, value: Any) -> None:
    current = result.get(key)
    if value is None:
        result.pop(key, None)
    elif isinstance(value, dict):
        merged = _object(current if isinstance(current, dict) else {}, value)
        if merged is None:
            result.pop(key, None)
        else:
            result[key] = merged
    elif isinstance(value, list):
        result[key] = _list(key, current if isinstance(current, list) else [], value)
    else:
        result[key] = value


def _directives(result: Json, patch: Json) -> None:
    for key, value in patch.items():
        if key.startswith(_DROP) and key[len(_DROP) :] in result:
            field = key[len(_DROP) :]
            result[field] = [one for one in result[field] if one not in value]
        elif key.startswith(_ORDER) and key[len(_ORDER) :] in result:
            field = key[len(_ORDER) :]
            result[field] = _ordered(field, result[field], value)


def _list(field: str, current: list[Any], patch: list[Any]) -> list[Any]:
    if field in _PRIMITIVE_SETS:
        return current + [one for one in patch if one not in current]
    key = _key_of(field, [*current, *patch])
    if key is None:
        return copy.deepcopy(patch)
    if any(one.get(_DIRECTIVE) == "replace" and key not in one for one in patch):
        return [copy.deepcopy(one) for one in patch if _DIRECTIVE not in one]
    result: list[Any] = copy.deepcopy(current)
    for item in patch:
        if key not in item:
            raise ApiError(500, "", f"map: {item} does not contain declared merge key: {key}")
        _merge_item(result, key, item)
    return result


def _merge_item(result: list[Any], key: str, item: Json) -> None:
    place = next((at for at, one in enumerate(result) if one.get(key) == item[key]), None)
    merged = _object(result[place] if place is not None else {}, item)
    if place is None:
        if merged is not None:
            result.append(merged)
    elif merged is None:
        del result[place]
    else:
        result[place] = merged


def _key_of(field: str, items: list[Any]) -> str | None:
    if not all(isinstance(one, dict) for one in items):
        return None
    candidates = _MERGE_KEYS.get(field, ())
    return next((key for key in candidates if any(key in one for one in items)), candidates[0] if candidates else None)


def _ordered(field: str, items: list[Any], order: list[Any]) -> list[Any]:
    """Items named by the patch in its order; others stay where they stood, before their old successors."""
    key = _key_of(field, items)
    identities = [one.get(key) if key and isinstance(one, dict) else one for one in items]
    wanted = [one.get(key) if key and isinstance(one, dict) else one for one in order]
    listed = iter(
        sorted((i for i in range(len(items)) if identities[i] in wanted), key=lambda i: wanted.index(identities[i]))
    )
    return [items[next(listed)] if identities[i] in wanted else items[i] for i in range(len(items))]
