"""`lastgood preflight`: POST /api/v1/preflight with `{"workload": "namespace/name", "alert": …}`. Reads only.

A POST because an alert may be too long for an address; nothing is changed and nothing is journalled.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from handlers import command_input
from handlers.alerts import object_of, parse_json
from handlers.answers import Actor, Refused, answered, the_workload
from handlers.overview import Document
from handlers.preflight import checks
from handlers.preflight.alert_file import BODY_BYTES_MAX, alerts_in
from handlers.preflight.subject import Sources, Subject
from handlers.server import BodyRefusedError, read_body

PATH = "/api/v1/preflight"

AT_ONCE_MAX = 2
"""Preflights at the same time: each asks some 60 questions of systems that are shared."""


class Preflight:
    """Answers the route."""

    def __init__(self, sources: Sources, actor: Actor, *, total_seconds: float = checks.TOTAL_SECONDS) -> None:
        self._sources = sources
        self._actor = actor
        self._total_seconds = total_seconds
        self._running = 0

    def routes(self) -> list[web.AbstractRouteDef]:
        """The one route."""
        return [web.post(PATH, self._asked)]

    async def _asked(self, request: web.Request) -> web.Response:
        return await answered(request, self._actor, lambda _who: self._one_of_few(request))

    async def _one_of_few(self, request: web.Request) -> Document:
        if self._running >= AT_ONCE_MAX:
            raise Refused(503, f"{AT_ONCE_MAX} preflights are running already", "try again in a moment")
        self._running += 1
        try:
            return await self._preflight(request)
        finally:
            self._running -= 1

    async def _preflight(self, request: web.Request) -> Document:
        body = await _body(request)
        command_input.only(body, "workload", "alert")
        name = command_input.text(body, "workload", command_input.ABOUT_MAX)
        now, state = self._sources.clock.now(), self._sources.reader.state
        alerts = alerts_in(body["alert"], now) if body.get("alert") is not None else ()
        try:
            tracked = the_workload(state, name)
        except Refused as refused:
            if refused.status != 404:
                raise  # several workloads of that name: which one must be said
            return await checks.of_unknown(self._sources, name, total_seconds=self._total_seconds)
        subject = Subject(tracked=tracked, state=state, policy=self._sources.policy(), now=now, alerts=alerts)
        return await checks.preflight(self._sources, subject, total_seconds=self._total_seconds)


async def _body(request: web.Request) -> Mapping[str, object]:
    length = request.content_length or 0
    raw = await read_body(request) if length <= BODY_BYTES_MAX else b""
    if max(length, len(raw)) > BODY_BYTES_MAX:
        raise BodyRefusedError(413, f"the body is larger than {BODY_BYTES_MAX} bytes")
    return object_of(parse_json(raw, "body"), "body")
