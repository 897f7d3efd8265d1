"""What Slack does when somebody presses a button: a signed request to the app's URL, or an envelope over Socket Mode.

Sources: Slack documentation, "Interaction payloads: block_actions", "Verifying requests from Slack", "Using Socket Mode",
"Handling user interaction" (response_url: five uses within 30 minutes).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import WSMsgType, web

ANSWER_SECONDS = 3.0
"""Within this the app must have answered, else the presser sees that it failed."""

USES_MAX = 5
URL_SECONDS = 30 * 60
"""What a response_url is good for."""

TEAM = {"id": "T0SANDBOX", "domain": "sandbox"}
APP_ID = "A0SANDBOX"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pressed:
    """How the app answered a press: the status (200 for an acknowledged envelope, None for none in time)."""

    status: int | None
    response_url: str
    seconds: float

    @property
    def failed(self) -> bool:
        """The presser sees a warning sign beside the button."""
        return self.status != 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the app said through a response_url: to whom, and whether only they see it."""

    user: str
    text: str
    ephemeral: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class SentRequest:
    """A signed request as it went out, so that a test can send it again or change it."""

    body: bytes
    headers: dict[str, str]


@dataclass(kw_only=True, slots=True)
class _ResponseUrl:
    user: str
    made: float
    uses: int = 0


def signed(secret: str, body: bytes, moment: int | None = None) -> dict[str, str]:
    """The headers of a request that Slack signed at `moment` (Unix seconds, now where None)."""
    stamp = str(int(time.time()) if moment is None else moment)
    digest = hmac.new(secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": f"v0={digest}",
    }


@dataclass(kw_only=True, eq=False)
class Interactions:
    """The half of the stand-in that presses buttons. `home` is the stand-in's address, known once it runs.

    `request_url` is the app's interactivity URL; while a Socket Mode connection stands, presses go there instead.
    `hooks_url` takes the place of https://hooks.slack.com (the stand-in's own address unless set).
    """

    home: Callable[[], str]
    signing_secret: str = "0123456789abcdef0123456789abcdef"
    app_token: str = "xapp-1-A0SANDBOX-sandbox"
    request_url: str = ""
    hooks_url: str = ""
    answers: list[Answer] = field(default_factory=list)
    sent: list[SentRequest] = field(default_factory=list)
    refused_answers: list[str] = field(default_factory=list)
    connections: list[web.WebSocketResponse] = field(default_factory=list)
    opened: int = 0
    """How many Socket Mode connections there have been."""
    pings: int = 0
    """How many pings the app has sent over them."""
    tickets_refused: str | None = None
    """The error word with which apps.connections.open answers now."""
    _tickets: set[str] = field(default_factory=set)
    _urls: dict[str, _ResponseUrl] = field(default_factory=dict)
    _waiting: dict[str, asyncio.Future[None]] = field(default_factory=dict)

    def routes(self) -> list[web.RouteDef]:
        """What the stand-in serves for this."""
        return [web.post("/actions/{key}", self._answered), web.get("/link", self._connected)]

    # Pressing ---------------------------------------------------------------------------------------------------------

    def payload(self, action: dict[str, Any], message: dict[str, Any], *, channel: str, user: str) -> dict[str, Any]:
        """The interaction payload of one press."""
        key, moment = secrets.token_hex(12), f"{time.time():.6f}"
        self._urls[key] = _ResponseUrl(user=user, made=time.monotonic())
        return {
            "type": "block_actions",
            "user": {"id": user, "username": user.lower(), "name": user.lower(), "team_id": TEAM["id"]},
            "api_app_id": APP_ID,
            "token": "deprecated",
            "container": {
                "type": "message",
                "message_ts": message["ts"],
                "channel_id": channel,
                "is_ephemeral": False,
            },
            "trigger_id": f"{time.monotonic_ns()}.{key}",
            "team": TEAM,
            "enterprise": None,
            "is_enterprise_install": False,
            "channel": {"id": channel, "name": "incidents"},
            "message": message,
            "state": {"values": {}},
            "response_url": f"{self.hooks_url or self.home()}/actions/{key}",
            "actions": [{**action, "action_ts": moment}],
        }

    async def deliver(self, payload: dict[str, Any]) -> Pressed:
        """Send a press to the app, over Socket Mode where a connection stands, and see how it answers."""
        began = time.monotonic()
        open_now = [each for each in self.connections if not each.closed]
        send = self._by_socket(open_now[-1], payload) if open_now else self._by_request(payload)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                status: int | None = await send
        except (TimeoutError, aiohttp.ClientError):
            status = None
        return Pressed(status=status, response_url=payload["response_url"], seconds=time.monotonic() - began)

    async def _by_request(self, payload: dict[str, Any]) -> int:
        assert self.request_url, "no Socket Mode connection, and no request_url set"
        body = urlencode({"payload": json.dumps(payload)}).encode()
        request = SentRequest(body=body, headers=signed(self.signing_secret, body))
        self.sent.append(request)
        return await self.send(request)

    async def send(self, request: SentRequest) -> int:
        """Send a request as it is; the status of the answer."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.request_url, data=request.body, headers=request.headers, allow_redirects=False) as answer,
        ):
            await answer.read()
            return answer.status

    async def _by_socket(self, connection: web.WebSocketResponse, payload: dict[str, Any]) -> int:
        envelope = secrets.token_hex(16)
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[envelope] = acknowledged
        try:
            await connection.send_json(
                {"envelope_id": envelope, "type": "interactive", "accepts_response_payload": False, "payload": payload}
            )
            await acknowledged
        finally:
            del self._waiting[envelope]
        return 200

    # Answers ----------------------------------------------------------------------------------------------------------

    async def _answered(self, request: web.Request) -> web.Response:
        url = self._urls.get(request.match_info["key"])
        if url is None or url.uses >= USES_MAX or time.monotonic() - url.made > URL_SECONDS:
            self.refused_answers.append("used_url")
            return web.json_response({"ok": False, "error": "used_url"}, status=404)
        try:
            body = await request.json()
        except ValueError:
            body = None
        if not isinstance(body, dict) or not isinstance(body.get("text"), str) or not body["text"]:
            self.refused_answers.append("no_text")
            return web.json_response({"ok": False, "error": "no_text"}, status=400)
        url.uses += 1
        ephemeral = body.get("response_type", "ephemeral") == "ephemeral" and not body.get("replace_original")
        self.answers.append(Answer(user=url.user, text=body["text"], ephemeral=ephemeral))
        return web.json_response({"ok": True})

    # Socket Mode ------------------------------------------------------------------------------------------------------

    def open_connection(self, authorization: str) -> dict[str, Any]:
        """The answer of `apps.connections.open`: an address that is good for one connection."""
        if self.tickets_refused is not None or authorization != f"Bearer {self.app_token}":
            return {"ok": False, "error": self.tickets_refused or "invalid_auth"}
        ticket = secrets.token_hex(16)
        self._tickets.add(ticket)
        return {"ok": True, "url": f"{self.home().replace('http', 'ws', 1)}/link?ticket={ticket}&app_id={APP_ID}"}

    async def _connected(self, request: web.Request) -> web.StreamResponse:
        ticket = request.query.get("ticket", "")
        if ticket not in self._tickets:
            return web.Response(status=408)
        self._tickets.remove(ticket)
        connection = web.WebSocketResponse(autoping=False)
        await connection.prepare(request)
        await connection.send_json({"type": "hello", "num_connections": 1, "connection_info": {"app_id": APP_ID}})
        self.connections.append(connection)
        self.opened += 1
        try:
            async for message in connection:
                if message.type is WSMsgType.TEXT:
                    self._acknowledged(message.data)
                elif message.type is WSMsgType.PING:
                    self.pings += 1
                    await connection.pong(message.data)
        finally:
            self.connections.remove(connection)
        return connection

    def _acknowledged(self, text: str) -> None:
        found = json.loads(text)
        waiting = self._waiting.get(found.get("envelope_id", ""))
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    async def ask_to_move(self) -> None:
        """Tell every connection that it will be closed: the app opens another one and closes this one."""
        for connection in list(self.connections):
            message = {"type": "disconnect", "reason": "refresh_requested", "debug_info": {"host": "sandbox"}}
            await connection.send_json(message)

    async def drop(self) -> None:
        """Close every connection without a word before."""
        for connection in list(self.connections):
            await connection.close()
