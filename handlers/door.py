"""Who gets in: how many connections are held at one time, and how many requests of senders are worked on.

Every connection that can be read from takes a turn of the loop before anything is decided, so their number is what bounds how
long a decision waits. A full house closes the connection that has been without a request for longest: an idle one of
Alertmanager's, which opens another, or one of a stranger who sends nothing. So kubelet's probes and people always get in.

Requests of senders are let in up to a number, before their body is read; the rest is told to try again. It is told so after a
moment, while there are few to hold: a sender that waits for its answer cannot use up the processor by asking again at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

RETRY_AFTER_SECONDS = 2
"""What a sender is told to wait. Alertmanager does not look at it and waits 0.5 s, then ever longer; others do look."""


SILENT_SECONDS = 1.0
"""Within this a sender has sent its first request, also from a busy machine; who has not goes before others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorLimits:
    """How much is let in at one time.

    connections_max: connections on one listener. Below 1,024 open files, the usual limit, there must be room for our own.
    requests_max: requests of senders that are being journalled; they share a transaction, more would only wait.
    slow_max: of them, those whose body was not all there with the headers; they hold a place for as long as it takes.
    waiting_max: refused requests that are answered only after waiting_seconds.
    """

    connections_max: int = 256
    requests_max: int = 64
    slow_max: int = 32
    waiting_max: int = 96
    waiting_seconds: float = 0.25


class BusyError(Exception):
    """Too much at one time; nothing was read. The message is the one line of the answer."""


PEOPLE = DoorLimits(requests_max=32, waiting_max=0)
"""For people and pipelines, who ask and command: a question may take a reading of the journal or of Prometheus."""


class Door:
    """Counts the requests that are worked on."""

    def __init__(self, limits: DoorLimits) -> None:
        self._limits = limits
        self.requests = self.slow = self.waiting = 0

    async def enter(self, request: web.Request) -> Callable[[], None]:
        """Let the request in; what to call when it is done. Raises BusyError, after a moment where there is room to wait."""
        slow = not request.content.is_eof()
        limits = self._limits
        if self.requests < limits.requests_max and (not slow or self.slow < limits.slow_max):
            self.requests += 1
            self.slow += slow
            return lambda: self._leave(slow=slow)
        if self.waiting < limits.waiting_max:
            self.waiting += 1
            try:
                await asyncio.sleep(limits.waiting_seconds)
            finally:
                self.waiting -= 1
        raise BusyError("too many requests at one time, try again")

    def _leave(self, *, slow: bool) -> None:
        self.requests -= 1
        self.slow -= slow


class Connections:
    """Makes room on one listener: closes the connection that is idle for longest when there would be too many."""

    def __init__(self, limit: int, *, closed: Callable[[], None]) -> None:
        self._limit = limit
        self._closed = closed
        self._open: set[Connection] = set()
        self._silent: dict[Connection, float] = {}  # without a request so far: since when, the oldest first
        self._idle: dict[Connection, float] = {}  # between requests, likewise

    def came(self, connection: Connection) -> None:
        """Count a new connection, and make room for it."""
        self._open.add(connection)
        if len(self._open) > self._limit:
            longest = self._dispensable(connection)
            self.left(longest)
            self._closed()
            longest.force_close()
        # What it has sent is read in the next turn of the loop: until then others of the same crowd do not push it out.
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self.rests, connection)

    def _dispensable(self, newest: Connection) -> Connection:
        """Who has had time to say something and did not; else who was answered; else the oldest; else who comes last."""
        silent, since = next(iter(self._silent.items()), (newest, 0.0))
        if silent is not newest and asyncio.get_running_loop().time() - since > SILENT_SECONDS:
            return silent
        return next(iter(self._idle), silent)

    def left(self, connection: Connection) -> None:
        """The connection is gone."""
        self._open.discard(connection)
        self._silent.pop(connection, None)
        self._idle.pop(connection, None)

    def works(self, connection: object) -> None:
        """A request has begun: the connection is not closed until it is answered."""
        if isinstance(connection, Connection):
            connection.works = connection.heard = True
            self._silent.pop(connection, None)
            self._idle.pop(connection, None)

    def answered(self, connection: object) -> None:
        """The request is over."""
        if isinstance(connection, Connection):
            connection.works = False
            self.rests(connection)

    def rests(self, connection: Connection) -> None:
        """From now on it may be closed, unless a request has begun or it is gone."""
        if connection in self._open and not connection.works:
            (self._idle if connection.heard else self._silent)[connection] = asyncio.get_running_loop().time()


class Connection(web.RequestHandler):
    """aiohttp's connection, which tells of its coming and going."""

    __slots__ = ("_connections", "heard", "works")

    def __init__(self, connections: Connections, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._connections = connections
        self.works = self.heard = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it."""
        super().connection_made(transport)
        self._connections.came(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Do not count it any more."""
        self._connections.left(self)
        super().connection_lost(exc)
