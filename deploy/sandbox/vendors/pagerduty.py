"""A stand-in for PagerDuty's Events API v2 that keeps incidents as PagerDuty does.

A trigger for an open `dedup_key` is appended to its incident, after a resolve it opens a new one; acknowledge and
resolve without an open incident are accepted and dropped. Keys count per `routing_key`.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from deploy.sandbox.services import serve_loopback
from deploy.sandbox.vendors.faults import Faults
from deploy.sandbox.vendors.pagerduty_schema import EVENT_BYTES_MAX, check_change, check_event

THROTTLED = {
    "status": "throttle exceeded",
    "message": "Requests for this service are arriving too quickly.  Please retry later.",
}
"""PagerDuty's body of a 429: `pd.faults.fail_next(status=429, body=THROTTLED)`."""


@dataclass(kw_only=True, slots=True, eq=False)
class PagerDutyIncident:
    """One incident; `status` is triggered, acknowledged or resolved, `events` are the bodies that made it, in order."""

    routing_key: str
    dedup_key: str
    status: str = "triggered"
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def payload(self) -> dict[str, Any]:
        """The payload of the newest trigger: what a person sees."""
        return next(dict(each["payload"]) for each in reversed(self.events) if each["event_action"] == "trigger")

    @property
    def severity(self) -> str:
        """The severity of the newest trigger."""
        return str(self.payload["severity"])

    @property
    def open(self) -> bool:
        """Whether it is not resolved."""
        return self.status != "resolved"


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """One request as it came: path, body (None where it is no JSON), and the status it was answered with."""

    path: str
    body: Any
    status: int


class PagerDutyStandIn:
    """`async with PagerDutyStandIn() as pd:` serves on loopback; `pd.url` takes the place of the vendor's base URL.

    `routing_keys` None takes every well-formed key; else unknown keys are answered with 400.
    """

    def __init__(self, *, routing_keys: frozenset[str] | None = None) -> None:
        self.url = ""
        self.faults = Faults()
        self.incidents: list[PagerDutyIncident] = []
        self.events: list[dict[str, Any]] = []
        """Bodies accepted by `/v2/enqueue`, in order, the dropped ones too."""
        self.changes: list[dict[str, Any]] = []
        """Bodies accepted by `/v2/change/enqueue`, in order."""
        self.dropped: list[dict[str, Any]] = []
        """Accepted acknowledges and resolves that met no open incident."""
        self.log: list[Received] = []
        """Every request that was answered or carried out."""
        self._routing_keys = routing_keys
        self._servers = AsyncExitStack()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=4 * EVENT_BYTES_MAX)
        app.router.add_post("/v2/enqueue", self._serve)
        app.router.add_post("/v2/change/enqueue", self._serve)
        self.url = await self._servers.enter_async_context(serve_loopback(app))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._servers.aclose()

    def opened(self) -> Counter[str]:
        """How many incidents each `dedup_key` has opened."""
        return Counter(incident.dedup_key for incident in self.incidents)

    def open_incidents(self) -> list[PagerDutyIncident]:
        """Those that are not resolved."""
        return [incident for incident in self.incidents if incident.open]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        return await self.faults.through(request, self._answer)

    async def _answer(self, request: web.Request) -> web.Response:
        raw = await request.read()
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        status, answer = self._take(request.path, body, len(raw))
        self.log.append(Received(path=request.path, body=body, status=status))
        return web.json_response(answer, status=status)

    def _take(self, path: str, body: Any, size: int) -> tuple[int, dict[str, Any]]:
        if size > EVENT_BYTES_MAX:
            return 413, _refusal(f"Event is larger than {EVENT_BYTES_MAX} bytes")
        if not isinstance(body, dict):
            return 400, _refusal("Event is not a JSON object")
        change = path == "/v2/change/enqueue"
        errors = check_change(body) if change else check_event(body)
        if not errors and self._routing_keys is not None and body["routing_key"] not in self._routing_keys:
            errors = ["'routing_key' is invalid"]
        if errors:
            return 400, _refusal(*errors)
        if change:
            self.changes.append(body)
            return 202, {"status": "success", "message": "Change event processed"}
        self.events.append(body)
        return 202, {"status": "success", "message": "Event processed", "dedup_key": self._apply(body)}

    def _apply(self, body: dict[str, Any]) -> str:
        key = str(body.get("dedup_key") or uuid.uuid4().hex)
        found = (
            each
            for each in self.incidents
            if each.open and (each.routing_key, each.dedup_key) == (body["routing_key"], key)
        )
        incident = next(found, None)
        if body["event_action"] == "trigger":
            if incident is None:
                incident = PagerDutyIncident(routing_key=body["routing_key"], dedup_key=key)
                self.incidents.append(incident)
        elif incident is None:
            self.dropped.append(body)
            return key
        elif body["event_action"] == "resolve":
            incident.status = "resolved"
        else:
            incident.status = "acknowledged"
        incident.events.append(body)
        return key


def _refusal(*errors: str) -> dict[str, Any]:
    return {"status": "invalid event", "message": "Event object is invalid", "errors": list(errors)}
