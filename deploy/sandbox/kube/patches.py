"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386) on plain JSON values; strategic merge is in ``strategic``.

The documents given are never changed; the patched copy is returned.
"""

from __future__ import annotations

import copy
from typing import Any

from deploy.sandbox.kube.errors import ApiError, bad_request, patch_refused

OPERATIONS_MAX = 10_000
"""Operations in one JSON Patch, the real server's limit (``maxJSONPatchOperations``)."""


def json_patch(document: Any, operations: Any) -> Any:
    """Applies RFC 6902 operations in order; one that fails (a ``test`` too) refuses the whole patch with 422."""
    if not isinstance(operations, list) or not all(isinstance(one, dict) and "op" in one for one in operations):
        raise bad_request("error decoding patch: a JSON Patch is an array of objects with op and path")
    if len(operations) > OPERATIONS_MAX:
        raise ApiError(
            413, "RequestEntityTooLarge", f"The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}"
        )
    result = copy.deepcopy(document)
    for one in operations:
        result = _operate(result, one)
    return result


def _operate(document: Any, operation: dict[str, Any]) -> Any:
    path = _pointer(operation.get("path"))
    match operation["op"]:
        case "add":
            return _add(document, path, copy.deepcopy(_value(operation)))
        case "remove":
            return _remove(document, path)
        case "replace":
            return _replace(document, path, copy.deepcopy(_value(operation)))
        case "move":
            source = _pointer(operation.get("from"))
            if path[: len(source)] == source and path != source:
                raise patch_refused()
            moved = _get(document, source)
            return _add(_remove(document, source), path, moved)
        case "copy":
            return _add(document, path, copy.deepcopy(_get(document, _pointer(operation.get("from")))))
        case "test":
            if not same(_get(document, path), _value(operation)):
                raise patch_refused()
            return document
    raise patch_refused()


def same(left: Any, right: Any) -> bool:
    """Equality as RFC 6902 section 4.6 means it: true is not 1, 1 is 1.0, the order of members does not count."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def _value(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        raise patch_refused()
    return operation["value"]


def _pointer(text: Any) -> list[str]:
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise patch_refused()
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


def _index(step: str, length: int) -> int:
    if not step.isdigit() or (len(step) > 1 and step[0] == "0") or int(step) >= length:
        raise patch_refused()
    return int(step)


def _get(document: Any, path: list[str]) -> Any:
    for step in path:
        if isinstance(document, list):
            document = document[_index(step, len(document))]
        elif isinstance(document, dict) and step in document:
            document = document[step]
        else:
            raise patch_refused()
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent, step = _get(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        parent.insert(len(parent) if step == "-" else _index(step, len(parent) + 1), value)
    elif isinstance(parent, dict):
        parent[step] = value
    else:
        raise patch_refused()
    return document


def _remove(document: Any, path: list[str]) -> Any:
    if not path:
        return None
    _get(document, path)
    parent, step = _get(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        del parent[int(step)]
    else:
        del parent[step]
    return document


def _replace(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    _get(document, path)
    parent, step = _get(document, path[:-1]), path[-1]
    parent[int(step) if isinstance(parent, list) else step] = value
    return document


def merge_patch(document: Any, patch: Any) -> Any:
    """Applies RFC 7386: objects merge, null deletes, everything else (lists too) replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = copy.deepcopy(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result
