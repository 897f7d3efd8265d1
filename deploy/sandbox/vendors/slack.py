"""A stand-in for Slack: the Web API's methods for messages, one incoming webhook, and people who press buttons.

Errors come as Slack sends them, `{"ok": false, "error": …}` with HTTP 200; only the rate limit is a 429 with
`Retry-After`.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from deploy.sandbox.services import serve_loopback
from deploy.sandbox.vendors.faults import Faults
from deploy.sandbox.vendors.slack_interactions import Interactions, Pressed
from deploy.sandbox.vendors.slack_schema import SlackError, check_message, parsed

BURST = 4
"""Messages a channel takes at once before the limit of one per second holds ("short bursts ok")."""

PAGE_MAX = 999
"""Messages per page of history or replies."""

BOT = {"bot_id": "B0SANDBOX", "app_id": "A0SANDBOX", "user": "U0SANDBOX", "team": "T0SANDBOX"}

WEBHOOK_PATH = "/services/T0SANDBOX/B0SANDBOX/secret"


@dataclass(kw_only=True, slots=True, eq=False)
class SlackMessage:
    """One message as it is now; `versions` are its texts, the first as posted, one more per update."""

    channel: str
    ts: str
    thread_ts: str | None
    text: str
    blocks: list[Any]
    metadata: dict[str, Any] | None
    versions: list[str] = field(default_factory=list)
    by_webhook: bool = False

    def shown(self, *, metadata: bool) -> dict[str, Any]:
        """The message object of Slack's answers."""
        body: dict[str, Any] = {"type": "message", "text": self.text, "ts": self.ts, **BOT}
        if self.blocks:
            body["blocks"] = self.blocks
        if self.thread_ts is not None:
            body["thread_ts"] = self.thread_ts
        if len(self.versions) > 1:
            body["edited"] = {"user": BOT["user"], "ts": self.ts}
        if metadata and self.metadata is not None:
            body["metadata"] = self.metadata
        return body


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One request that was answered or carried out: method (or `webhook`), arguments, status and `ok`."""

    method: str
    arguments: dict[str, Any]
    status: int
    answer: Any


class SlackStandIn:
    """`async with SlackStandIn() as slack:` serves on loopback.

    `slack.url` takes the place of `https://slack.com` (methods are under `/api/`), `slack.webhook_url` is the
    incoming webhook; it posts to the first channel. `channels` maps ids to names, both may be given as `channel`.
    `rate_limit` may be switched at any time. `press` presses a button of a message; where the press goes and what the
    app answers is in `interactions`.
    """

    def __init__(
        self,
        *,
        token: str = "xoxb-sandbox",
        channels: dict[str, str] | None = None,
        rate_limit: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.url = ""
        self.webhook_url = ""
        self.token = token
        self.channels = channels or {"C0INCIDENT": "incidents"}
        self.rate_limit = rate_limit
        self.archived: set[str] = set()
        self.faults = Faults()
        self.messages: list[SlackMessage] = []
        self.calls: list[Call] = []
        self.interactions = Interactions(home=lambda: self.url)
        self._clock = clock
        self._last_us = 0
        self._tokens: dict[str, tuple[float, float]] = {}
        self._servers = AsyncExitStack()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_route("*", "/api/{method}", self._serve_method)
        app.router.add_post("/services/{path:.+}", self._serve_webhook)
        app.add_routes(self.interactions.routes())
        self.url = await self._servers.enter_async_context(serve_loopback(app))
        self.webhook_url = self.url + WEBHOOK_PATH
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._servers.aclose()

    def parents(self) -> list[SlackMessage]:
        """Messages that are no replies, oldest first."""
        return [message for message in self.messages if message.thread_ts is None]

    def replies(self, ts: str) -> list[SlackMessage]:
        """The replies to one message, oldest first."""
        return [message for message in self.messages if message.thread_ts == ts]

    def button(self, text: str, message: SlackMessage | None = None) -> tuple[SlackMessage, dict[str, Any]] | None:
        """The newest message with a button that reads so (or this message), and the button; None where there is none."""
        for each in [message] if message is not None else reversed(self.messages):
            for block in each.blocks:
                for element in block.get("elements", []) if block.get("type") == "actions" else ():
                    if element.get("type") == "button" and element["text"]["text"] == text:
                        return each, {**element, "block_id": block.get("block_id", "b0")}
        return None

    async def press(self, text: str, *, user: str = "U0ANNA", message: SlackMessage | None = None) -> Pressed:
        """A person presses the button that reads so; how the app answered Slack.

        `message` may be a copy that was taken earlier: somebody whose screen shows the past. Raises LookupError where no
        message has such a button.
        """
        found = self.button(text, message)
        if found is None:
            raise LookupError(f"no message has a button {text!r}")
        where, action = found
        payload = self.interactions.payload(action, where.shown(metadata=False), channel=where.channel, user=user)
        return await self.interactions.deliver(payload)

    # The wire ---------------------------------------------------------------------------------------------------------

    async def _serve_method(self, request: web.Request) -> web.StreamResponse:
        return await self.faults.through(request, self._answer_method)

    async def _serve_webhook(self, request: web.Request) -> web.StreamResponse:
        return await self.faults.through(request, self._answer_webhook)

    async def _answer_method(self, request: web.Request) -> web.Response:
        method, arguments, wait = request.match_info["method"], {}, 0.0
        try:
            arguments = await _arguments(request)
            if method == "apps.connections.open":
                return web.json_response(self.interactions.open_connection(request.headers.get("Authorization", "")))
            self._authenticate(request)
            if method == "chat.postMessage":
                wait = self._wait(self._channel(arguments))
            answer = _limited() if wait else {"ok": True, **self._call(method, arguments)}
        except SlackError as error:
            answer = {"ok": False, "error": error.code}
            if error.details:
                answer["response_metadata"] = {"messages": list(error.details)}
        status, headers = (429, {"Retry-After": str(math.ceil(wait))}) if wait else (200, {})
        self.calls.append(Call(method=method, arguments=arguments, status=status, answer=answer))
        return web.json_response(answer, status=status, headers=headers)

    async def _answer_webhook(self, request: web.Request) -> web.Response:
        channel = next(iter(self.channels))
        arguments: dict[str, Any] = {}
        status, text, headers = 200, "ok", {}
        try:
            arguments = await _webhook_arguments(request)
            self._check_webhook(request, channel)
            if wait := self._wait(channel):
                status, text, headers = 429, "rate_limited", {"Retry-After": str(math.ceil(wait))}
            else:
                check_message(arguments)
                self._add(channel, arguments, by_webhook=True)
        except SlackError as error:
            status = {"no_service": 404, "channel_is_archived": 410, "invalid_token": 403}.get(error.code, 400)
            text = error.code
        self.calls.append(Call(method="webhook", arguments=arguments, status=status, answer=text))
        return web.Response(status=status, text=text, headers=headers)

    def _check_webhook(self, request: web.Request, channel: str) -> None:
        if request.path != WEBHOOK_PATH:
            raise SlackError("no_service")
        if channel in self.archived:
            raise SlackError("channel_is_archived")

    def _authenticate(self, request: web.Request) -> None:
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if not given:
            raise SlackError("not_authed")
        if kind != "Bearer" or given != self.token:
            raise SlackError("invalid_auth")

    def _wait(self, channel: str) -> float:
        """Seconds until the channel takes another message; 0 takes one now."""
        if not self.rate_limit:
            return 0.0
        now = (self._clock or asyncio.get_running_loop().time)()
        tokens, since = self._tokens.get(channel, (float(BURST), now))
        tokens = min(float(BURST), tokens + now - since)
        if tokens < 1:
            self._tokens[channel] = (tokens, now)
            return 1 - tokens
        self._tokens[channel] = (tokens - 1, now)
        return 0.0

    # Methods ----------------------------------------------------------------------------------------------------------

    def _call(self, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        methods: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "auth.test": lambda _: {"url": self.url + "/", "team": "sandbox", "team_id": BOT["team"], **BOT},
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
        }
        if method not in methods:
            raise SlackError("unknown_method")
        return methods[method](arguments)

    def _channel(self, arguments: dict[str, Any]) -> str:
        given = str(arguments.get("channel", "")).removeprefix("#")
        for channel, name in self.channels.items():
            if given in (channel, name):
                return channel
        raise SlackError("channel_not_found")

    def _find(self, channel: str, ts: Any) -> SlackMessage | None:
        return next((each for each in self.messages if (each.channel, each.ts) == (channel, ts)), None)

    def _add(self, channel: str, arguments: dict[str, Any], *, by_webhook: bool = False) -> SlackMessage:
        thread = arguments.get("thread_ts")
        parent = self._find(channel, thread) if thread else None
        if thread and parent is None:
            raise SlackError("thread_not_found")
        text = str(arguments.get("text") or "")
        message = SlackMessage(
            channel=channel,
            ts=self._next_ts(),
            thread_ts=None if parent is None else parent.thread_ts or parent.ts,
            text=text,
            blocks=parsed(arguments.get("blocks") or [], "invalid_blocks_format"),
            metadata=parsed(arguments.get("metadata"), "invalid_metadata_format"),
            versions=[text],
            by_webhook=by_webhook,
        )
        self.messages.append(message)
        return message

    def _next_ts(self) -> str:
        """The present moment, as Slack dates messages (a look back by `oldest` needs it), and no moment twice."""
        now = max(time.time_ns() // 1000, self._last_us + 1)
        self._last_us = now
        return f"{now // 1_000_000}.{now % 1_000_000:06d}"

    def _post(self, arguments: dict[str, Any]) -> dict[str, Any]:
        channel = self._channel(arguments)
        if channel in self.archived:
            raise SlackError("is_archived")
        check_message(arguments)
        message = self._add(channel, arguments)
        return {"channel": channel, "ts": message.ts, "message": message.shown(metadata=True)}

    def _update(self, arguments: dict[str, Any]) -> dict[str, Any]:
        channel = self._channel(arguments)
        message = self._find(channel, arguments.get("ts"))
        if message is None:
            raise SlackError("message_not_found")
        if message.by_webhook:
            raise SlackError("cant_update_message")
        check_message(arguments)
        message.text = str(arguments.get("text") or "")
        message.blocks = parsed(arguments.get("blocks") or [], "invalid_blocks_format")
        message.versions.append(message.text)
        if "metadata" in arguments:
            message.metadata = parsed(arguments["metadata"], "invalid_metadata_format")
        return {"channel": channel, "ts": message.ts, "text": message.text, "message": message.shown(metadata=True)}

    def _history(self, arguments: dict[str, Any]) -> dict[str, Any]:
        channel = self._channel(arguments)
        found = [each for each in self.parents() if each.channel == channel]
        return _page(list(reversed(found)), arguments)

    def _replies(self, arguments: dict[str, Any]) -> dict[str, Any]:
        channel = self._channel(arguments)
        parent = self._find(channel, arguments.get("ts"))
        if parent is None:
            raise SlackError("thread_not_found")
        return _page([parent, *self.replies(parent.ts)], arguments)


def _limited() -> dict[str, Any]:
    return {"ok": False, "error": "ratelimited"}


def _page(messages: list[SlackMessage], arguments: dict[str, Any]) -> dict[str, Any]:
    """One page; `oldest` and `latest` are exclusive unless `inclusive`, as with Slack."""
    try:
        limit, start = int(arguments.get("limit") or 100), int(arguments.get("cursor") or 0)
        oldest, latest = float(arguments.get("oldest") or 0), float(arguments.get("latest") or math.inf)
    except ValueError as error:
        raise SlackError("invalid_arguments") from error
    if not 0 < limit <= PAGE_MAX:
        raise SlackError("invalid_limit")
    inclusive, metadata = _flag(arguments, "inclusive"), _flag(arguments, "include_all_metadata")
    wanted = [
        each
        for each in messages
        if oldest < float(each.ts) < latest or (inclusive and float(each.ts) in (oldest, latest))
    ]
    shown, more = wanted[start : start + limit], len(wanted) > start + limit
    cursor = str(start + limit) if more else ""
    return {
        "messages": [each.shown(metadata=metadata) for each in shown],
        "has_more": more,
        "response_metadata": {"next_cursor": cursor},
    }


def _flag(arguments: dict[str, Any], name: str) -> bool:
    return arguments.get(name) in (True, "true", "1", 1)


async def _arguments(request: web.Request) -> dict[str, Any]:
    """From the URL, a form, or JSON."""
    arguments: dict[str, Any] = dict(request.query)
    if request.method == "GET":
        return arguments
    if request.content_type == "application/json":
        try:
            body = json.loads(await request.read() or b"{}")
        except ValueError as error:
            raise SlackError("invalid_json") from error
        if not isinstance(body, dict):
            raise SlackError("json_not_object")
        return {**arguments, **body}
    return {**arguments, **(await request.post())}


async def _webhook_arguments(request: web.Request) -> dict[str, Any]:
    raw: Any = await request.text()
    if request.content_type == "application/x-www-form-urlencoded":
        raw = (await request.post()).get("payload", "")
    body = parsed(str(raw), "invalid_payload")
    if not isinstance(body, dict):
        raise SlackError("invalid_payload")
    return body
