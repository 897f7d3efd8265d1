"""A gate between the daemon and one outside server: it holds requests or answers, cuts them, or is down altogether.

Everything else passes through unchanged, streams too. With it a test picks the exact moment of a crash: the request that
is held is the moment, and nothing has to be slept for.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "keep-alive", "content-length", "host"})

CATCH_SECONDS = 60.0
"""How long a test waits for the request it wants to hold."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One request as the gate saw it. `path` holds the query string."""

    method: str
    path: str
    body: bytes
    at: float = 0.0
    """The loop's time."""

    @property
    def dry_run(self) -> bool:
        """Whether the API server was asked to store nothing."""
        return "dryRun=All" in self.path


Wanted = Callable[[Seen], bool]


@dataclass(kw_only=True)
class Hold:
    """Holds the first request that is `wanted`: before it arrives, or (`after`) its answer once it was carried out.

    The network may still carry what it held when whoever sent it is long gone: `go_on`.
    """

    wanted: Wanted
    after: bool
    seen: Seen | None = None
    late: bool = False
    sent: asyncio.Event = field(default_factory=asyncio.Event)
    _caught: asyncio.Event = field(default_factory=asyncio.Event)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    async def caught(self, seconds: float = CATCH_SECONDS) -> Seen:
        """Wait until the request is held. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            await self._caught.wait()
        assert self.seen is not None, "set with the event"
        return self.seen

    def release(self) -> None:
        """Nobody waits for it any more: the connection is cut."""
        self._released.set()

    async def go_on(self) -> None:
        """What was held is sent on after all, late; return once it is on its way."""
        self.late = True
        self._released.set()
        async with asyncio.timeout(CATCH_SECONDS):
            await self.sent.wait()

    async def wait(self, seen: Seen) -> None:
        """Called by the gate."""
        self.seen = seen
        self._caught.set()
        await self._released.wait()


@dataclass(kw_only=True)
class Gate:
    """The gate of one server; its `url` stands in the daemon's configuration in the place of the server's."""

    upstream: str
    url: str = ""
    down: bool = False
    holds: list[Hold] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    refused: int = 0
    _session: aiohttp.ClientSession | None = None
    _streams: set[asyncio.Task[None]] = field(default_factory=set)

    def hold(self, wanted: Wanted, *, after: bool = False) -> Hold:
        """Hold the next request that is wanted."""
        hold = Hold(wanted=wanted, after=after)
        self.holds.append(hold)
        return hold

    def shut(self) -> None:
        """Be down: every new connection is cut, and so are streams that are open."""
        self.down = True
        for stream in self._streams:
            stream.cancel()

    def open(self) -> None:
        """Be up again; what was held is cut."""
        self.down = False
        self.forget()

    def forget(self) -> None:
        """Drop all holds."""
        for hold in self.holds:
            hold.release()
        self.holds.clear()

    def _hold_for(self, seen: Seen) -> Hold | None:
        return next((hold for hold in self.holds if hold.seen is None and hold.wanted(seen)), None)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass one request through, hold it, or cut it."""
        if self.down:
            self.refused += 1
            return _cut(request)
        body = await request.read()
        now = asyncio.get_running_loop().time()
        seen = Seen(method=request.method, path=request.path_qs, body=body, at=now)
        self.seen.append(seen)
        hold = self._hold_for(seen)
        if hold is not None and not hold.after:
            await hold.wait(seen)
            return await self._go_on(request, seen, hold) if hold.late else _cut(request)
        return await self._pass(request, seen, hold)

    async def _go_on(self, request: web.Request, seen: Seen, hold: Hold) -> web.StreamResponse:
        try:
            return await self._pass(request, seen, None)
        finally:
            hold.sent.set()

    async def _pass(self, request: web.Request, seen: Seen, hold: Hold | None) -> web.StreamResponse:
        assert self._session is not None, "the gate is open"
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        try:
            async with self._session.request(
                request.method, self.upstream + request.raw_path, data=seen.body or None, headers=headers
            ) as answer:
                if hold is not None:
                    body = await answer.read()
                    await hold.wait(seen)
                    return await _late(request, hold, answer.status, body) if hold.late else _cut(request)
                return await self._stream(request, answer)
        except aiohttp.ClientError:
            return _cut(request)

    async def _stream(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
        response = web.StreamResponse(status=answer.status, headers=kept)
        await response.prepare(request)

        async def copy() -> None:
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()

        task = asyncio.get_running_loop().create_task(copy())
        self._streams.add(task)
        try:
            await task
        except (asyncio.CancelledError, ConnectionError):
            _cut(request)
        finally:
            task.cancel()
            self._streams.discard(task)
        return response


async def _late(request: web.Request, hold: Hold, status: int, body: bytes) -> web.Response:
    response = web.Response(status=status, body=body)
    try:
        await response.prepare(request)
        await response.write_eof()
    finally:
        hold.sent.set()  # also where nobody is there any more to take it
    return response


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def asks(method: str, path: str, body: str = "") -> Wanted:
    """A request with this method, and a search pattern each for path (query string included) and body."""

    def wanted(seen: Seen) -> bool:
        return (
            seen.method == method
            and re.search(path, seen.path) is not None
            and re.search(body, seen.body.decode(errors="replace")) is not None
        )

    return wanted


@asynccontextmanager
async def gate(upstream: str, trust: ssl.SSLContext | None = None) -> AsyncIterator[Gate]:
    """Run a gate in front of a server on loopback; plain HTTP before, and behind it TLS where it is told whom to trust."""
    connector = aiohttp.TCPConnector(ssl=trust or True)
    no_limit = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(auto_decompress=False, timeout=no_limit, connector=connector) as session:
        made = Gate(upstream=upstream.rstrip("/"), _session=session)
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", made.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            made.url = f"http://{host}:{port}"
            yield made
        finally:
            made.forget()
            made.shut()
            await runner.cleanup()
