"""Kubernetes' JSON off the wire without stopping the loop: bounded bodies, watch lines, and lists decoded item by item.

`json.loads` holds the interpreter for its whole run, so a thread would not help: 500 pods of 4.5 kB take 100 ms. Lists
are therefore walked by hand on the top level only, each item decoded by the C scanner, with turns for others between.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable
from typing import Any

from aiohttp import ClientResponse

from handlers.faults import FaultKind, Permanent, Transient

Obj = dict[str, Any]
"""A Kubernetes object as it came, raw."""

BODY_BYTES_MAX = 64 * 1024 * 1024
"""Largest answer that is read: a page of 500 objects at etcd's 1.5 MiB each is theory, this is beyond any real one."""

LINE_BYTES_MAX = 16 * 1024 * 1024
"""Longest watch event: ten times what etcd stores of one object, since JSON is longer than protobuf."""

_TURN_CHARS = 128 * 1024  # decoding this much takes 3 ms here; then others get a turn
_SPACE = re.compile(r"[ \t\n\r]*")
_SCAN = json.JSONDecoder().raw_decode


async def read_body(response: ClientResponse, limit: int = BODY_BYTES_MAX) -> bytes:
    """The whole body, at most `limit` bytes of it; raises Permanent above."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise Permanent(f"Kubernetes sent more than {limit} bytes in one answer", FaultKind.CLIENT)
    return bytes(body)


async def lines(response: ClientResponse, limit: int = LINE_BYTES_MAX) -> AsyncGenerator[bytes, None]:
    """The newline-delimited events of a watch, without blank lines.

    Raises Permanent for a line over `limit` bytes (reading on from the same version would meet it again), Transient for
    an end in the middle of a line.
    """
    parts: list[bytes] = []  # of the line that is not complete yet; joined once, so that 5 MiB do not cost 5 MiB²
    held = 0
    async for chunk in response.content.iter_any():
        *complete, rest = chunk.split(b"\n")
        for piece in complete:
            line = b"".join([*parts, piece])
            parts, held = [], 0
            _check_line(len(line), limit)
            if line.strip():
                yield line
        parts.append(rest)
        held += len(rest)
        _check_line(held, limit)
        await asyncio.sleep(0)
    if b"".join(parts).strip():
        raise Transient(None, "Kubernetes broke off in the middle of an event", FaultKind.NETWORK)


def _check_line(length: int, limit: int) -> None:
    if length > limit:
        raise Permanent(f"a watch event is longer than {limit} bytes", FaultKind.CLIENT)


def decode_object(body: bytes) -> Obj:
    """The one JSON object that the body is; raises Transient where it is none (a proxy's page with status 200)."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _no_json()
    return value


async def decode_list(body: bytes, each: Callable[[Obj], Obj] | None = None) -> tuple[Obj, list[Obj]]:
    """A List answer as its head (all but `items`) and its items, passed through `each` as they are decoded.

    Raises Transient where the body is no list. `items: null` is an empty list, as Go writes it.
    """
    try:
        return await _walk(body.decode(), each)
    except (ValueError, TypeError, IndexError, RecursionError):
        raise _no_json() from None


async def _walk(text: str, each: Callable[[Obj], Obj] | None) -> tuple[Obj, list[Obj]]:
    head: Obj = {}
    items: list[Obj] = []
    at = _skip(text, 0, "{")
    while text[at] != "}":
        key, at = _SCAN(text, at)
        at = _skip(text, _space(text, at), ":")
        if key == "items" and text[at] == "[":
            at = await _items(text, at, items, each)
            head["items"] = None
        else:
            head[key], at = _SCAN(text, at)
        at = _next(text, at, "}")
    if _space(text, at + 1) != len(text):
        raise ValueError("more after the end of the list")
    if head.get("items", ...) is not None or not str(head.get("kind", "")).endswith("List"):
        # Taken for an empty list, `{}` or a Status would delete everything we hold.
        raise ValueError("this is no list")
    if not isinstance(head.get("metadata"), dict):
        raise TypeError("metadata is no object")
    return head, items


async def _items(text: str, at: int, items: list[Obj], each: Callable[[Obj], Obj] | None) -> int:
    at = _skip(text, at, "[")
    turn = at
    while text[at] != "]":
        item, at = _SCAN(text, at)
        if not isinstance(item, dict):
            raise TypeError("an item is no object")
        items.append(each(item) if each else item)
        at = _next(text, at, "]")
        if at - turn > _TURN_CHARS:
            turn = at
            await asyncio.sleep(0)
    return at + 1


def _next(text: str, at: int, end: str) -> int:
    """The position of the next member, or of the closing bracket."""
    at = _space(text, at)
    return at if text[at] == end else _skip(text, at, ",")


def _skip(text: str, at: int, char: str) -> int:
    """The position of what follows `char`, which must be at `at` or after white space."""
    at = _space(text, at)
    if text[at] != char:
        raise ValueError(f"expected {char!r}")
    return _space(text, at + 1)


def _space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _no_json() -> Transient:
    return Transient(None, "Kubernetes sent something that is not the JSON expected", FaultKind.SERVER)
