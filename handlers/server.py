"""The HTTP server: limits, health, metrics and the routes of the inbound handlers; and the operators' Unix socket.

Everything a sender can make large has a limit here, and every answer that is no success is one plain line, because
Alertmanager copies it into its log. What is our fault or may pass is a 5xx, which Alertmanager repeats; a 4xx it drops.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import stat
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http import HttpProcessingError

from daemon.ports import Reader
from handlers.door import PEOPLE, Connection, Connections, Door, DoorLimits

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

UNIX_PATH_BYTES_MAX = 107
"""Longest path of a Unix socket on Linux (unix(7): sun_path has 108 bytes, one of them the final zero)."""

PROBLEM_CHARS_MAX = 160
"""How much is logged of what was wrong with a request that is no HTTP; it repeats what the peer sent."""

BACKLOG = 512
"""Connections that may wait to be accepted. Who finds this queue full is not heard and comes again after a second, then three."""

ACCEPTS = 16
"""Connections accepted in one turn of the loop. uvloop's accepts one for each listener (libuv since 1.45), so that in a crowd
kubelet waited for seconds behind others who also wanted in: so many listeners share the socket."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What one sender may cost us.

    body_bytes_max: largest body, after decompression; a group of 10,000 alerts has about 10 MB.
    body_seconds_max: within this a body must have arrived, else a few slow senders hold all connections.
    bodies_bytes_max: all bodies that are held at one time, else many large ones exhaust the memory together.
    line_bytes_max: longest request line or header. headers_max: most headers.
    keepalive_seconds: how long an idle connection is kept; a new one costs a sender a millisecond.
    shutdown_seconds: how long requests in flight may take to finish on shutdown. door: how much is let in at one time.
    """

    body_bytes_max: int = 16 * 2**20
    body_seconds_max: float = 30.0
    bodies_bytes_max: int = 64 * 2**20
    line_bytes_max: int = 8190
    headers_max: int = 64
    keepalive_seconds: float = 75.0
    shutdown_seconds: float = 10.0
    door: DoorLimits = field(default_factory=DoorLimits)


class ServeError(Exception):
    """The server cannot listen where it was told to; the message says where, why and what to do."""


class BodyRefusedError(Exception):
    """The body was not taken: `status` is the answer, the message its one line."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


class _ConnectionLog(logging.LoggerAdapter[logging.Logger]):
    """aiohttp's log of connections. What a peer sends that is no HTTP, or no body, is one line: a port scan is no fault of
    ours, and a traceback for each of its connections would bury those that are.
    """

    def exception(self, msg: object, *args: object, exc_info: Any = True, **more: Any) -> None:
        """Log it; without a traceback where the peer is to blame."""
        if isinstance(exc_info, HttpProcessingError | web.RequestPayloadError):
            _log.warning("http_unreadable", problem=" ".join(str(exc_info).split())[:PROBLEM_CHARS_MAX])
        else:
            super().exception(msg, *args, exc_info=exc_info, **more)


class _Held:
    """How many bytes of bodies are in memory now, and how many may be."""

    def __init__(self, limits: ServerLimits) -> None:
        self.limits = limits
        self.bytes = 0


_HELD = web.AppKey("held", _Held)
_CONNECTIONS = web.AppKey("connections", Connections)
PEOPLE_DOOR = web.AppKey("people_door", Door)
"""Counts the requests of people and pipelines of one application (`handlers.answers`)."""
_HELD_BY_REQUEST = web.RequestKey("held_by_request", int)


def line(status: int, text: str) -> web.Response:
    """A plain answer of one line."""
    return web.Response(status=status, text=" ".join(text.split()) + "\n")


async def read_body(request: web.Request, *, bytes_max: int | None = None) -> bytes:
    """The whole body, decompressed, within the limits. Raises BodyRefusedError.

    With `bytes_max`, a small number, it is read in any case: large bodies of others do not keep a person from commanding.

    413: too large, by its Content-Length before a byte is read, else as soon as the count says so. 503: it came too
    slowly or too many are being read (a 4xx would be dropped by Alertmanager, and neither is the payload's fault).
    400: the transfer itself is broken.
    """
    held = request.config_dict[_HELD]
    limits = held.limits
    largest = limits.body_bytes_max if bytes_max is None else bytes_max
    if (request.content_length or 0) > largest:
        raise _too_large(largest)
    shared = bytes_max is None
    try:
        if request.content.is_eof():  # all of it is there: a timer would cost more than the reading
            return await _collect(request, held, largest, shared=shared)
        async with asyncio.timeout(limits.body_seconds_max):
            return await _collect(request, held, largest, shared=shared)
    except TimeoutError:
        raise BodyRefusedError(503, f"the body did not arrive within {limits.body_seconds_max:g} s") from None
    except web.RequestPayloadError:
        raise BodyRefusedError(400, "body: the transfer or content encoding is broken") from None


async def _collect(request: web.Request, held: _Held, largest: int, *, shared: bool) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        held.bytes += len(chunk)
        request[_HELD_BY_REQUEST] = len(body)
        if len(body) > largest:
            raise _too_large(largest)
        if shared and held.bytes > held.limits.bodies_bytes_max:
            raise BodyRefusedError(503, "too many large requests at one time")
    return bytes(body)


def _too_large(largest: int) -> BodyRefusedError:
    return BodyRefusedError(413, f"the body is larger than {largest} bytes")


@web.middleware
async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure becomes one plain line; a held body is given back; meanwhile the connection is not closed for others."""
    connections = request.config_dict[_CONNECTIONS]
    connections.works(request.protocol)
    try:
        return await handler(request)
    except web.HTTPException as exc:
        if exc.status < 400:
            raise
        answer = line(exc.status, exc.reason)
        if "Allow" in exc.headers:
            answer.headers["Allow"] = exc.headers["Allow"]
        return answer
    except ConnectionError:
        raise  # the peer is gone, there is nobody to answer
    except Exception:  # noqa: BLE001 - the last net: logged, and answered as our fault so that the sender tries again
        _log.exception("request_failed", method=request.method, path=request.path[:200])
        return line(500, "internal error, see the log of lastgood")
    finally:
        if held := request.get(_HELD_BY_REQUEST, 0):
            request.config_dict[_HELD].bytes -= held
        connections.answered(request.protocol)


async def _anonymous(_request: web.Request, response: web.StreamResponse) -> None:
    """No banner: the version of the server is nobody's business."""
    response.headers.popall("Server", None)


def build_app(
    *,
    routes: Iterable[web.AbstractRouteDef],
    limits: ServerLimits,
    reader: Reader | None = None,
    metrics: Handler | None = None,
    role: Callable[[], str] = lambda: "ready",
    crowded: Callable[[], None] = lambda: None,
) -> web.Application:
    """An application with these routes, the limits of this module and plain one-line failures.

    With `reader` it answers `/-/healthy` (200 while the loop turns) and `/-/ready` (503 and the reason while not
    ready, else `role`: what it is ready for); with `metrics`, a handler as of `prometheus_client.aiohttp`, it answers `/metrics`.
    `crowded` hears of each connection that is closed because there are too many.
    """
    app = web.Application(middlewares=[_guarded], client_max_size=limits.body_bytes_max)
    app[_HELD] = _Held(limits)
    app[_CONNECTIONS] = Connections(limits.door.connections_max, closed=crowded)
    app[PEOPLE_DOOR] = Door(PEOPLE)
    app.on_response_prepare.append(_anonymous)
    app.add_routes(routes)
    if metrics is not None:
        app.router.add_get("/metrics", metrics)
    if reader is not None:
        app.router.add_get("/-/healthy", _healthy)
        app.router.add_get("/-/ready", _ready_of(reader, role))
    return app


async def _healthy(_request: web.Request) -> web.Response:
    return line(200, "healthy")


def _ready_of(reader: Reader, role: Callable[[], str]) -> Handler:
    async def ready(_request: web.Request) -> web.StreamResponse:
        reason = reader.ready
        return line(200, role()) if reason is None else line(503, reason)

    return ready


class HttpServer:
    """Serves applications until `close`, which stops accepting and lets requests in flight finish."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._runners: list[web.AppRunner] = []
        self._listeners: list[asyncio.Server] = []
        self._sockets: list[Path] = []

    async def serve_tcp(
        self, app: web.Application, *, host: str, port: int, tls: ssl.SSLContext | None = None
    ) -> tuple[str, int]:
        """Listen on host and port (0: any free one); the address that became of it. Raises ServeError."""
        connections = await self._connections(app)
        try:
            listener = await asyncio.get_running_loop().create_server(connections, host, port, ssl=tls, backlog=BACKLOG)
        except OSError as exc:
            # The loop leaves strerror as a sentence with the address in it.
            raise ServeError(f"cannot listen on {host}:{port}: {exc.strerror or exc}") from exc
        self._listeners.append(listener)
        address = listener.sockets[0].getsockname()
        for each in listener.sockets:
            await self._accept_more(connections, each.fileno(), tls)
        return str(address[0]), int(address[1])

    async def _accept_more(
        self, connections: Callable[[], Connection], number: int, tls: ssl.SSLContext | None
    ) -> None:
        """Let the loop accept ACCEPTS of those who wait in one turn, instead of one."""
        loop = asyncio.get_running_loop()
        for _ in range(ACCEPTS - 1):
            again = socket.socket(fileno=os.dup(number))
            self._listeners.append(await loop.create_server(connections, sock=again, ssl=tls, backlog=BACKLOG))

    async def serve_unix(self, app: web.Application, path: Path) -> None:
        """Listen on a Unix socket that only our own user may open. Raises ServeError.

        A socket file that a killed process left is replaced; one that answers is not, and nothing but a socket is.
        """
        listener = _unix_listener(path)
        self._sockets.append(path)
        connections = await self._connections(app)
        loop = asyncio.get_running_loop()
        self._listeners.append(await loop.create_unix_server(connections, sock=listener, backlog=BACKLOG))

    async def _connections(self, app: web.Application) -> Callable[[], Connection]:
        """What makes the connections of a listener: aiohttp's own sites make them without a limit."""
        limits = self._limits
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=limits.shutdown_seconds)
        await runner.setup()
        self._runners.append(runner)
        loop = asyncio.get_running_loop()

        def connection() -> Connection:
            return Connection(
                app[_CONNECTIONS],
                runner.server,
                loop=loop,
                access_log=None,
                logger=_ConnectionLog(logging.getLogger(__name__)),
                keepalive_timeout=limits.keepalive_seconds,
                max_line_size=limits.line_bytes_max,
                max_field_size=limits.line_bytes_max,
                max_headers=limits.headers_max,
                # After a refused body a little of the rest is read and dropped, so that the sender sees the answer.
                lingering_time=2.0,
            )

        return connection

    async def close(self) -> None:
        """Stop accepting, wait for requests in flight (shutdown_seconds at most), remove the socket file."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        runners, self._runners = self._runners, []
        await asyncio.gather(*(runner.cleanup() for runner in runners))
        for path in self._sockets:
            # A disk may have gone read-only; the next start replaces what is left.
            with contextlib.suppress(OSError):
                path.unlink()
        self._sockets.clear()


def _unix_listener(path: Path) -> socket.socket:
    length = len(os.fsencode(path))
    if length > UNIX_PATH_BYTES_MAX:
        raise ServeError(
            f"the socket path {path} has {length} bytes, at most {UNIX_PATH_BYTES_MAX} are possible:"
            " choose a shorter state folder"
        )
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Created with its final mode: a chmod afterwards would leave a moment in which anybody may connect.
    before = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
    except OSError as exc:
        listener.close()
        raise ServeError(f"cannot create the socket {path}: {exc.strerror}") from exc
    finally:
        os.umask(before)
    listener.setblocking(False)
    return listener


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return  # not there, or the bind tells why not
    if not stat.S_ISSOCK(mode):
        raise ServeError(f"{path} is there and is no socket: move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
        probe.settimeout(1.0)
        probe.connect(os.fspath(path))
        raise ServeError(f"another process listens on {path}: only one daemon may use a state folder")
    path.unlink(missing_ok=True)
