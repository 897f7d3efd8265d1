"""The HTTP session to one API server, whose connections do not outlive it.

aiohttp closes what it keeps for the next request, and forgets what it has begun to close: the connection of an answer that is
not read to its end, as of a watch that is cancelled. Over TLS such a connection says farewell and waits for the server's
(asyncio: up to 30 s; aiohttp's documentation, "Graceful Shutdown"). A server that is busy, paused or gone leaves it open that
long, beyond the session and the loop. So each connection that an answer came over is noted, and cut at the end.
"""

from __future__ import annotations

import asyncio
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from weakref import WeakSet

import aiohttp
from yarl import URL


class KubeSession:
    """A session on someone's connector, which is theirs to close, and first; `base` is the server's address."""

    def __init__(self, connector: aiohttp.BaseConnector, base: str) -> None:
        self._transports: WeakSet[asyncio.Transport] = WeakSet()
        self.http = aiohttp.ClientSession(
            connector=connector,
            connector_owner=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": user_agent()},
            # A proxy for the outer world is never meant for loopback; aiohttp would ask it even then.
            trust_env=not _is_loopback(base),
            response_class=_noting(self._transports),
        )

    async def close(self) -> None:
        """End the session, and cut every connection that is still open. Nothing is waited for."""
        await self.http.close()
        for transport in list(self._transports):
            transport.abort()
        await asyncio.sleep(0)  # a socket is closed in the loop's next round


def _noting(transports: WeakSet[asyncio.Transport]) -> type[aiohttp.ClientResponse]:
    """The library's answer; whatever becomes of it, what it comes over is noted first."""

    class Answer(aiohttp.ClientResponse):
        async def start(self, connection: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
            if connection.transport is not None:
                transports.add(connection.transport)
            return await super().start(connection)

    return Answer


def user_agent() -> str:
    """`lastgood/VERSION`, for audit logs."""
    try:
        return f"lastgood/{version('lastgood')}"
    except PackageNotFoundError:
        return "lastgood/0"


def _is_loopback(base: str) -> bool:
    host = URL(base).host or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
