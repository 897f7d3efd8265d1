"""The HTTP session to one API server, whose connections do not outlive it.

aiohttp closes what it keeps for the next request, and forgets what it has begun to close: the connection of an answer that is
not read to its end, as of a watch that is cancelled. Over TLS such a connection says farewell and waits for the server's
(asyncio: up to 30 s; aiohttp's documentation, "Graceful Shutdown"). A server that is busy, paused or gone leaves it open that
long, beyond the session and the loop. So each connection that an answer came over is noted, and cut at the end.
"""

from __future__ import annotations

import asyncio
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address

import aiohttp
from yarl import URL


class KubeSession:
    """A session on someone's connector, which is theirs to close, and first; `base` is the server's address."""

    def __init__(self, connector: aiohttp.BaseConnector, base: str) -> None:
        self._open: set[asyncio.Transport] = set()
        self.http = aiohttp.ClientSession(
            connector=connector,
            connector_owner=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": user_agent()},
            # A proxy for the outer world is never meant for loopback; aiohttp would ask it even then.
            trust_env=not _is_loopback(base),
            response_class=_noting(self._open),
        )

    async def close(self) -> None:
        """End the session, and cut every connection that is still open. Nothing is waited for."""
        await self.http.close()
        for transport in tuple(self._open):
            transport.abort()
        await asyncio.sleep(0)  # a socket is closed in the loop's next round


def _noting(still_open: set[asyncio.Transport]) -> type[aiohttp.ClientResponse]:
    """The library's answer; whatever becomes of it, what it comes over is noted first, until that is closed.

    Held, not weakly referred to: uvloop's TLS transport takes no weak reference.
    """

    class Answer(aiohttp.ClientResponse):
        async def start(self, connection: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
            transport, protocol = connection.transport, connection.protocol
            if (
                transport is not None
                and protocol is not None
                and transport not in still_open
                and protocol.closed is not None
            ):
                still_open.add(transport)
                protocol.closed.add_done_callback(partial(_forget, still_open, transport))
            return await super().start(connection)

    return Answer


def _forget(still_open: set[asyncio.Transport], transport: asyncio.Transport, closed: asyncio.Future[None]) -> None:
    still_open.discard(transport)
    if not closed.cancelled():
        closed.exception()  # looked at: whose request it was has been told, and a future nobody asks complains


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
