"""Thousands of objects in seconds: what an API server has stored of a few is copied in its etcd, under other names.

An API server on two cores creates some hundred objects a second, etcd takes some thousand. The bytes are the API server's
own; in a copy only words are exchanged for others of the same length (names, uids), so protobuf's lengths stay right. The API
server sees them come as it sees the writes of another API server.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import aiohttp

OPERATIONS = 128
"""Of one transaction: etcd's own limit (`--max-txn-ops`)."""

Words = Mapping[str, str]
"""What is exchanged for what; each pair of one length."""


async def stored(http: aiohttp.ClientSession, etcd_url: str, keys: Sequence[str]) -> dict[str, bytes]:
    """The values of these keys (`/registry/pods/NAMESPACE/NAME`); KeyError for one that is not there."""
    found: dict[str, bytes] = {}
    for key in keys:
        answer = await _ask(http, f"{etcd_url}/v3/kv/range", {"key": _coded(key.encode())})
        if not answer.get("kvs"):
            raise KeyError(key)
        found[key] = base64.b64decode(answer["kvs"][0]["value"])
    return found


async def copy(http: aiohttp.ClientSession, etcd_url: str, mould: Mapping[str, bytes], copies: Iterable[Words]) -> None:
    """One copy of everything in the mould, keys included, for each set of words."""
    puts = (_put(key, value, words) for words in copies for key, value in mould.items())
    while some := list(islice(puts, OPERATIONS)):
        await _ask(http, f"{etcd_url}/v3/kv/txn", {"success": some})


def _put(key: str, value: bytes, words: Words) -> dict[str, Any]:
    at = key.encode()
    for old, new in words.items():
        assert len(old) == len(new), f"{old} and {new} are not of one length"
        at, value = at.replace(old.encode(), new.encode()), value.replace(old.encode(), new.encode())
    return {"requestPut": {"key": _coded(at), "value": _coded(value)}}


async def _ask(http: aiohttp.ClientSession, url: str, body: object) -> dict[str, Any]:
    async with http.post(url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}) as response:
        answer: dict[str, Any] = json.loads(await response.read())
        assert response.status == 200, f"etcd: {response.status} {answer}"
        return answer


def _coded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def numbered(words: Iterable[str], number: int) -> Iterator[tuple[str, str]]:
    """Each uid with one of its own for the copy of that number: its last eight digits are replaced."""
    return ((word, f"{word[:-8]}{number:08x}") for word in words)
