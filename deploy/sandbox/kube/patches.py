"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386) on plain JSON values; strategic merge is in ``strategic``.

Where the API server's library (``evanphx/json-patch`` v4) reads RFC 6902 in its own way, so does this.

The documents given are never changed; the patched copy is returned.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from deploy.sandbox.kube.errors import ApiError, bad_request, patch_refused

OPERATIONS_MAX = 10_000
"""Operations in one JSON Patch, the real server's limit (``maxJSONPatchOperations``)."""

_NUMBER = re.compile(r"[+-]?[0-9]+", re.ASCII)


def json_patch(document: Any, operations: Any) -> Any:
    """Applies RFC 6902 operations in order; one that fails (a ``test`` too) refuses the whole patch with 422."""
    if not isinstance(operations, list) or not all(isinstance(one, dict) for one in operations):
        raise bad_request("error decoding patch: a JSON Patch is an array of objects with op and path")
    if len(operations) > OPERATIONS_MAX:
        raise ApiError(
            413,
            "RequestEntityTooLarge",
            "Request entity too large: The allowed maximum operations in a JSON patch is "
            f"{OPERATIONS_MAX}, got {len(operations)}",
        )
    result = copy.deepcopy(document)
    for one in operations:
        result = _operate(result, one)
    return result


def _operate(document: Any, operation: dict[str, Any]) -> Any:
    path = _pointer(operation.get("path"))
    match operation.get("op"):
        case "add":
            return _add(document, path, copy.deepcopy(operation.get("value")))
        case "remove":
            return _remove(document, path)
        case "replace":
            return _replace(document, path, copy.deepcopy(operation.get("value")))
        case "move":
            source = _pointer(operation.get("from"))
            if path[: len(source)] == source and path != source:
                raise patch_refused()
            moved = _get(document, source)
            return _add(_remove(document, source), path, moved)
        case "copy":
            return _add(document, path, copy.deepcopy(_member(document, _pointer(operation.get("from")))))
        case "test":
            if not same(_member(document, path), operation.get("value")):
                raise patch_refused()
            return document
    raise patch_refused()


def same(left: Any, right: Any) -> bool:
    """Equality letter by letter: true is not 1, and (other than RFC 6902 wants) 2 is not 2.0; members in any order."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and bool(left == right)


def _pointer(text: Any) -> list[str]:
    if not isinstance(text, str) or not text.startswith("/"):
        raise patch_refused()  # the whole document ("") can be named in the RFC, and not here
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


def _index(step: str, length: int) -> int:
    """As Go reads a number; a negative one counts from the end (1.36; an API server of 1.20 crashes on it)."""
    if not _NUMBER.fullmatch(step) or not -length <= int(step) < length:
        raise patch_refused()
    return int(step) % length


def _get(document: Any, path: list[str]) -> Any:
    for step in path:
        if isinstance(document, list):
            document = document[_index(step, len(document))]
        elif isinstance(document, dict) and step in document:
            document = document[step]
        else:
            raise patch_refused()
    return document


def _member(document: Any, path: list[str]) -> Any:
    """What stands at the path; null where only the last step is missing from an object: so a `test` can ask for absence."""
    parent = _get(document, path[:-1])
    return parent.get(path[-1]) if isinstance(parent, dict) else _get(parent, path[-1:])


def _add(document: Any, path: list[str], value: Any) -> Any:
    parent, step = _get(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        parent.insert(len(parent) if step == "-" else _index(step, len(parent) + 1), value)
    elif isinstance(parent, dict):
        parent[step] = value
    else:
        raise patch_refused()
    return document


def _remove(document: Any, path: list[str]) -> Any:
    _get(document, path)
    parent, step = _get(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        del parent[_index(step, len(parent))]
    else:
        del parent[step]
    return document


def _replace(document: Any, path: list[str], value: Any) -> Any:
    """Replaces; what is missing from an object that is there is added (the RFC would refuse it)."""
    parent, step = _get(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        parent[_index(step, len(parent))] = value
        return document
    return _add(document, path, value)


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
