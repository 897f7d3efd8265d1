"""JSON Patch (RFC 6902), as far as the API server is sent it: `test`, `add` and `replace`."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

Obj = dict[str, Any]


class TestFailedError(Exception):
    """A `test` that does not hold, or a path that leads nowhere: nothing was changed."""

    __test__ = False


def patched(document: Obj, ops: Sequence[Obj]) -> Obj:
    """A changed copy. Raises TestFailedError."""
    result = copy.deepcopy(document)
    for op in ops:
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in op["path"].split("/")[1:]]
        place: Any = result
        for part in parents:
            place = _at(place, part)
        if op["op"] == "test":
            if _at(place, last) != op["value"]:
                raise TestFailedError(op["path"])
        elif isinstance(place, list):
            _at(place, last)
            place[int(last)] = copy.deepcopy(op["value"])
        elif op["op"] == "add" or last in place:
            place[last] = copy.deepcopy(op["value"])
        else:
            raise TestFailedError(op["path"])
    return result


def _at(place: Any, part: str) -> Any:
    try:
        return place[int(part)] if isinstance(place, list) else place[part]
    except (KeyError, IndexError, ValueError, TypeError):
        raise TestFailedError(part) from None
