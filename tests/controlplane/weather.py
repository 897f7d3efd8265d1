"""Bad weather between a client and the API server: a proxy on loopback that cuts, delays, refuses, and counts.

It speaks plain HTTP, so that it can answer by itself (429, 403), and passes everything else on as it came, token included.
What an API server does only now and then is done on order here; what it says in a watch is its own.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import aiohttp
from aiohttp import web

from tests.controlplane.plane import ControlPlane

LIST, PAGE, WATCH = "list", "page", "watch"
"""A list from its beginning; a further page of one; a watch."""

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}
_ERROR_BYTES = 40  # of an ERROR event: its type comes first

PEEK_SECONDS = 1.0
"""How long the API server may take to say 410 where that shall become a status; it says so at once."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request; `at` in monotonic seconds."""

    at: float
    collection: str
    what: str


class Weather:
    """Fair at first; set what it should be like. `url` is where clients go."""

    def __init__(self, plane: ControlPlane, http: aiohttp.ClientSession) -> None:
        self.url = ""
        self.asked: list[Asked] = []
        self.gone = 0
        """Watches that the API server answered with 410, whichever way it was passed on."""
        self.away = False
        """Connections are closed without an answer."""
        self.delay_seconds = 0.0
        """Before each answer."""
        self.refuse: tuple[int, dict[str, str]] | None = None
        """The status and the headers of every answer."""
        self.hush = False
        """Watches are accepted and say nothing; those that are open are not concerned."""
        self.gone_as_status = False
        """An ERROR event 410 at the beginning of a watch becomes the status of the answer, as some servers tell it."""
        self._plane = plane
        self._http = http
        self._open: dict[asyncio.Task[None], web.Request] = {}

    # -- what was asked ----------------------------------------------------------------------------------------

    def mark(self) -> int:
        """From here on; for the next three."""
        return len(self.asked)

    def counted(self, what: str, since: int = 0) -> Counter[str]:
        """How many such requests there were for each collection."""
        return Counter(each.collection for each in self.asked[since:] if each.what == what)

    def times(self, collection: str, since: int = 0) -> list[float]:
        """When a collection was asked for, in whatever way."""
        return [each.at for each in self.asked[since:] if each.collection == collection]

    def gaps(self, since: int = 0) -> dict[str, list[float]]:
        """Seconds between the requests for each collection."""
        times = {each.collection: self.times(each.collection, since) for each in self.asked[since:]}
        return {name: [b - a for a, b in pairwise(at)] for name, at in times.items()}

    # -- what it does ------------------------------------------------------------------------------------------

    @property
    def watches(self) -> int:
        """How many watches are open."""
        return len(self._open)

    def cut(self, *, abrupt: bool) -> int:
        """End all open watches, in order or with a reset in the middle of whatever they were saying; how many."""
        for task, request in list(self._open.items()):
            if abrupt and request.transport is not None:
                request.transport.abort()
            task.cancel()
        return len(self._open)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Note the request; answer it by ourselves or pass it on."""
        query = request.query
        what = WATCH if "watch" in query else PAGE if "continue" in query else LIST
        self.asked.append(Asked(time.monotonic(), request.path, what))
        await asyncio.sleep(self.delay_seconds)
        if self.away:
            return _closed(request)
        if self.refuse is not None:
            status, headers = self.refuse
            return web.json_response(_status(status), status=status, headers=headers)
        if what == WATCH and self.hush:
            response = await _begun(request, 200, {"Content-Type": "application/json"})
            await self._follow(request, asyncio.sleep(3600))
            return response
        try:
            return await self._pass_on(request, what)
        except (aiohttp.ClientError, ConnectionError):
            return _closed(request)

    async def _pass_on(self, request: web.Request, what: str) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        url = self._plane.url + request.path_qs
        async with self._http.request(request.method, url, headers=headers, data=await request.read()) as answer:
            told = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
            if what != WATCH or answer.status != 200:
                return web.Response(status=answer.status, headers=told, body=await answer.read())
            first = await _first(answer, PEEK_SECONDS if self.gone_as_status else 0.0)
            if (gone := _as_gone(first)) is not None:
                self.gone += 1
                return web.json_response(gone, status=410)
            response = await _begun(request, answer.status, told)
            await self._follow(request, self._relay(answer, response, first))
            return response

    async def _relay(self, answer: aiohttp.ClientResponse, response: web.StreamResponse, first: bytes) -> None:
        if first:
            await response.write(first)
        async for chunk in answer.content.iter_any():
            self.gone += _as_gone(chunk) is not None
            await response.write(chunk)

    async def _follow(self, request: web.Request, work: Any) -> None:
        """Until the watch ends or is cut."""
        task = asyncio.ensure_future(work)
        self._open[task] = request
        try:
            await asyncio.wait([task])
            if not task.cancelled() and task.exception() is not None:
                _closed(request)
        finally:
            task.cancel()
            del self._open[task]


async def _first(answer: aiohttp.ClientResponse, seconds: float) -> bytes:
    """What a watch begins with, if it comes in that time: a quiet one says nothing for a minute."""
    try:
        return await asyncio.wait_for(answer.content.readany(), seconds) if seconds else b""
    except TimeoutError:
        return b""


async def _begun(request: web.Request, status: int, headers: dict[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers)
    await response.prepare(request)
    return response


def _closed(request: web.Request) -> web.Response:
    """No answer at all: the connection is reset."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


def _as_gone(first: bytes) -> dict[str, Any] | None:
    """The Status of an ERROR event 410, if that is what this is: the server sends it alone."""
    with suppress(ValueError):
        event = json.loads(first) if b'"ERROR"' in first[:_ERROR_BYTES] else {}
        if event.get("type") == "ERROR" and event["object"].get("code") == 410:
            status: dict[str, Any] = event["object"]
            return status
    return None


def _status(code: int) -> dict[str, Any]:
    reasons = {403: "Forbidden", 429: "TooManyRequests", 503: "ServiceUnavailable"}
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reasons[code]}


@asynccontextmanager
async def weather_over(plane: ControlPlane) -> AsyncIterator[Weather]:
    """The proxy, on a free port of loopback."""
    connector = aiohttp.TCPConnector(ssl=plane.ssl_context(), limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as http:
        weather = Weather(plane, http)
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{tail:.*}", weather.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.01, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        weather.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield weather
        finally:
            weather.cut(abrupt=True)
            await runner.cleanup()


def spread(seconds: Sequence[float]) -> float:
    """The longest of some times in shortest ones: 1 where all are alike."""
    return max(seconds) / min(seconds)
