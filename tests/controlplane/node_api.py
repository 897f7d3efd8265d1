"""How a simulated node speaks to the API server: raw JSON, and patient while the server is away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

Json = dict[str, Any]

STRATEGIC_PATCH = "application/strategic-merge-patch+json"

COME_AGAIN = {401, 403, 429}
"""Too busy; or, for a moment after its start, an API server that has not read yet who may do what."""

PAUSE_MIN_SECONDS, PAUSE_MAX_SECONDS = 0.1, 1.0
"""Between two tries of a request that got no answer, or an answer that asks to come again."""

REQUEST_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Api:
    """Requests to one API server; the session carries the credentials."""

    session: aiohttp.ClientSession
    url: str

    async def ask(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json", **query: str
    ) -> tuple[int, Json]:
        """One request, as (HTTP status, body)."""
        data = None if body is None else msgspec.json.encode(body)
        async with self.session.request(
            method, self.url + path, data=data, headers={"Content-Type": kind}, params=query,
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
        ) as response:  # fmt: skip
            return response.status, msgspec.json.decode(await response.read())  # a ValueError is an answer cut short

    async def insist(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json"
    ) -> tuple[int, Json]:
        """One request, again and again until there is an answer that is meant."""
        pause = PAUSE_MIN_SECONDS
        while True:
            try:
                status, answer = await self.ask(method, path, body, kind=kind)
                if status not in COME_AGAIN and status < 500:
                    return status, answer
            except (aiohttp.ClientError, TimeoutError, ValueError, ConnectionError):
                pass  # the server is being restarted
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(PAUSE_MAX_SECONDS, pause * 2)

    async def patch(self, path: str, body: Json) -> tuple[int, Json]:
        """A strategic merge patch, as a kubelet sends it."""
        return await self.insist("PATCH", path, body, kind=STRATEGIC_PATCH)

    async def watch(self, path: str, **query: str) -> AsyncIterator[Json]:
        """The events of one watch, until the server ends it; ValueError when it is refused."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_SECONDS)
        async with self.session.get(self.url + path, params=query, timeout=timeout) as response:
            if response.status != 200:
                raise ValueError(f"the watch is refused: {response.status}")
            async for line in response.content:
                yield msgspec.json.decode(line)
