"""Alertmanager's HTTP API, as far as the sandbox answers it (`/api/v2/alerts`, `/api/v2/silences`, health).

Source: Alertmanager 0.25 api/v2/openapi.yaml. Errors are plain JSON strings, as there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from aiohttp import web

from deploy.sandbox.monitoring.alerts import Alert, AlertBook, BadRequestError, Silence
from deploy.sandbox.monitoring.groups import Dispatcher
from deploy.sandbox.monitoring.labels import BadMatcherError, all_match, parse_filter
from deploy.sandbox.monitoring.wire import format_time_ms

RESOLVED_KEPT_SECONDS = 1800.0
"""How long a resolved alert stays in memory (`--alerts.gc-interval`); it is never listed."""


class AlertmanagerApi:
    """Handlers over one `AlertBook`."""

    def __init__(self, *, book: AlertBook, dispatcher: Dispatcher, receiver: str, clock: Callable[[], float]) -> None:
        self._book = book
        self._dispatcher = dispatcher
        self._receiver = receiver
        self._clock = clock

    def app(self) -> web.Application:
        """The application to serve."""
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_get("/-/ready", _ok)
        app.router.add_get("/-/healthy", _ok)
        app.router.add_get("/api/v2/alerts", self._get_alerts)
        app.router.add_post("/api/v2/alerts", self._post_alerts)
        app.router.add_get("/api/v2/silences", self._get_silences)
        app.router.add_post("/api/v2/silences", self._post_silence)
        app.router.add_get("/api/v2/silence/{id}", self._get_silence)
        app.router.add_delete("/api/v2/silence/{id}", self._delete_silence)
        return app

    def take(self, posted: Any) -> None:
        """Take alerts in the shape of the posted body. Raises BadRequestError."""
        now = self._clock()
        self._book.forget(now - RESOLVED_KEPT_SECONDS)
        self._dispatcher.dispatch(self._book.take(posted, now))

    async def _post_alerts(self, request: web.Request) -> web.Response:
        try:
            self.take(await _body(request))
        except BadRequestError as error:
            return web.json_response(str(error), status=400)
        return web.Response()

    async def _get_alerts(self, request: web.Request) -> web.Response:
        now = self._clock()
        try:
            matchers = [parse_filter(text) for text in request.query.getall("filter", [])]
            wanted = {name: _flag(request, name) for name in ("active", "silenced", "inhibited")}
            receiver = re.compile(request.query.get("receiver", ""))
        except (BadMatcherError, BadRequestError, re.error) as error:
            return web.json_response(str(error), status=400)
        if receiver.pattern and not receiver.fullmatch(self._receiver):
            return web.json_response([])
        shown = []
        for alert in self._book.alerts():
            if alert.resolved(now) or not all_match(matchers, dict(alert.labels)):
                continue
            described = self._described(alert, now)
            status = described["status"]
            if (
                (status["state"] == "active" and not wanted["active"])
                or (status["silencedBy"] and not wanted["silenced"])
                or (status["inhibitedBy"] and not wanted["inhibited"])
            ):
                continue
            shown.append(described)
        return web.json_response(sorted(shown, key=lambda each: str(each["fingerprint"])))

    def _described(self, alert: Alert, now: float) -> dict[str, Any]:
        silenced, inhibited = self._book.silenced_by(alert.labels, now), self._book.inhibited_by(alert.labels, now)
        return {
            "annotations": dict(alert.annotations),
            "endsAt": format_time_ms(alert.ends),
            "fingerprint": alert.fingerprint,
            "receivers": [{"name": self._receiver}],
            "startsAt": format_time_ms(alert.starts),
            "status": {
                "inhibitedBy": inhibited,
                "silencedBy": silenced,
                "state": "suppressed" if silenced or inhibited else "active",
            },
            "updatedAt": format_time_ms(alert.updated),
            "generatorURL": alert.generator_url,
            "labels": dict(alert.labels),
        }

    async def _post_silence(self, request: web.Request) -> web.Response:
        try:
            silence = self._book.silence(await _body(request), self._clock())
        except BadRequestError as error:
            return web.json_response(str(error), status=400)
        except LookupError as error:
            return web.json_response(f"silence {error} not found", status=404)
        return web.json_response({"silenceID": silence.id})

    async def _get_silences(self, request: web.Request) -> web.Response:
        try:
            matchers = [parse_filter(text) for text in request.query.getall("filter", [])]
        except BadMatcherError as error:
            return web.json_response(str(error), status=400)
        now = self._clock()
        shown = []
        for silence in self._book.silences():
            values = {matcher.name: matcher.value for matcher in silence.matchers}
            if all_match(matchers, values):
                shown.append(_silence(silence, now))
        return web.json_response(shown)

    async def _get_silence(self, request: web.Request) -> web.Response:
        for silence in self._book.silences():
            if silence.id == request.match_info["id"]:
                return web.json_response(_silence(silence, self._clock()))
        return web.Response(status=404)

    async def _delete_silence(self, request: web.Request) -> web.Response:
        try:
            self._book.expire(request.match_info["id"], self._clock())
        except LookupError:
            return web.Response(status=404)
        except BadRequestError as error:
            return web.json_response(str(error), status=500)  # Alertmanager answers 500 here, too
        return web.Response()


def _silence(silence: Silence, now: float) -> dict[str, Any]:
    return {
        "id": silence.id,
        "status": {"state": silence.state(now)},
        "updatedAt": format_time_ms(silence.updated),
        "comment": silence.comment,
        "createdBy": silence.created_by,
        "startsAt": format_time_ms(silence.starts),
        "endsAt": format_time_ms(silence.ends),
        "matchers": [
            {
                "name": matcher.name,
                "value": matcher.value,
                "isRegex": matcher.op.endswith("~"),
                "isEqual": matcher.op.startswith("="),
            }
            for matcher in silence.matchers
        ],
    }


async def _ok(_: web.Request) -> web.Response:
    return web.Response(text="OK")


async def _body(request: web.Request) -> Any:
    try:
        return json.loads(await request.read())
    except ValueError as error:
        raise BadRequestError(f"parsing body failed: {error}") from error


def _flag(request: web.Request, name: str) -> bool:
    text = request.query.get(name, "true").lower()
    if text not in ("true", "false", "1", "0", "t", "f"):
        raise BadRequestError(f"{name} in query must be of type boolean: {text!r}")
    return text in ("true", "1", "t")
