"""Announces through Slack's Web API: one parent message per incident, kept up to date, and a reply for every step.

What a crash may do. The parent's update comes first and may be repeated at will; the post (of a parent or a reply)
comes last and carries the action's id as message metadata. `probe` looks for that id before anything is posted again,
and so does `run` after an attempt whose end it did not see (time-out, broken connection, `internal_error`). Where
looking is impossible for good (no `channels:history`, a channel given by its name) the message is posted again: told
twice is better than not told.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import aiohttp
import structlog

from daemon.core.actions import Announce, Announced, Outcome, OutcomeKind
from handlers.faults import Fault, FaultKind, Permanent, Transient, client_faults
from handlers.outbound.slack.answers import LAYOUT_REFUSED, PEER, api_result, read_answer
from handlers.outbound.slack.layout import Block, message, reply
from handlers.outbound.slack.pace import MESSAGE_SECONDS, Pace
from handlers.plain import exact, utf8_bytes

EVENT_TYPE = "lastgood_action"
"""Metadata type by which our own posts are recognised."""

LOOK_BACK = timedelta(hours=25)
"""How long before its deadline a post is looked for: an announcement is tried for a day, and clocks may differ."""

PAGES_MAX = 10
"""Most pages of history that are read for one look: 500 messages, hours of a busy channel."""

PAGE_MESSAGES = 50
"""Messages per page: fifty of ours are about 2 MB of JSON. Slack may give less."""

IN_DOUBT_MAX = 256
"""Most attempts remembered as perhaps posted; beyond that many at once Slack has more trouble than a message twice."""

ID_MAX = 255
"""Longest id put into metadata as it is, in bytes: ours are shorter. A longer one is replaced by its hash."""

REQUEST_SECONDS_MAX = 15.0
"""Longest wait for one answer."""

log = structlog.get_logger(__name__)


class SlackAnnouncer:
    """Runner of Announce. `token` is a bot token with chat:write and channels:history (groups:history if private).

    `channel` is the channel's ID (`C…`): `chat.postMessage` takes a name too, but nobody can look for a post by it.
    `base_url` is https://slack.com/api. `message_seconds` is the time between two messages to one channel. `buttons`:
    presses can reach us (handlers.inbound.slack or slack_socket), so proposals have buttons.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        token: str,
        channel: str,
        *,
        message_seconds: float = MESSAGE_SECONDS,
        buttons: bool = False,
    ) -> None:
        self._session = session
        self._url = base_url.rstrip("/")
        self._token = token
        self._channel = channel
        self._channel_id = channel
        self._message_seconds = message_seconds
        self._buttons = buttons
        self._paces: dict[str, Pace] = {}
        self._in_doubt: dict[str, None] = {}

    async def run(self, action: Announce) -> Outcome:
        """Announce it. Raises Transient (Retry-After honoured) or Permanent with the remedy."""
        if action.id in self._in_doubt and (found := await self.probe(action)) is not None:
            del self._in_doubt[action.id]
            return found
        # Before the first byte: the dispatcher may cancel us at any moment, and then nothing below is run.
        self._doubt(action)
        try:
            announced = await self._announce(action)
        except Fault as fault:
            if isinstance(fault, Permanent) or fault.kind is FaultKind.RATE_LIMITED:
                self._in_doubt.pop(action.id, None)
            raise
        self._in_doubt.pop(action.id, None)
        return Outcome(kind=OutcomeKind.DONE, result=announced, message="announced in Slack")

    async def probe(self, action: Announce) -> Outcome | None:
        """Where the action's post stands; None where there is none, or where looking is impossible for good.

        Raises Transient where Slack cannot be asked now.
        """
        try:
            announced = await self._find(action)
        except Permanent as fault:
            log.warning("slack_cannot_look", code=fault.code, reason=fault.reason)
            return None
        if announced is None:
            return None
        return Outcome(kind=OutcomeKind.DONE, result=announced, message="found in Slack: it was announced before")

    async def _announce(self, action: Announce) -> Announced:
        if action.thread is None or action.channel is None:
            return await self._start(action)
        try:
            await self._update(action.channel, action.thread, action)
            return await self._reply(action.channel, action.thread, action)
        except Permanent as fault:
            # Deleted, too old to edit, or the configured channel is another one now: a new parent tells everything.
            log.info("slack_thread_lost", incident=action.incident, code=fault.code)
            return await self._start(action)

    async def _start(self, action: Announce) -> Announced:
        text, blocks = message(action.brief, buttons=self._buttons)
        announced = _place(await self._post(self._channel, text, blocks, action))
        self._channel_id = announced.channel or self._channel_id
        return announced

    async def _update(self, channel: str, thread: str, action: Announce) -> None:
        text, blocks = message(action.brief, buttons=self._buttons)
        await self._write("chat.update", {"channel": channel, "ts": thread, "text": text, "parse": "none"}, blocks)

    async def _reply(self, channel: str, thread: str, action: Announce) -> Announced:
        text, blocks = reply(action.brief, buttons=self._buttons)
        await self._post(channel, text, blocks, action, thread_ts=thread)
        return Announced(channel=channel, thread=thread)

    async def _post(
        self, channel: str, text: str, blocks: list[Block], action: Announce, **more: str
    ) -> dict[str, Any]:
        fields = {
            "channel": channel,
            "text": text,
            "mrkdwn": False,
            "parse": "none",
            "unfurl_links": False,
            "unfurl_media": False,
            "metadata": {
                "event_type": EVENT_TYPE,
                "event_payload": {"action": _mark(action.id), "incident": _mark(action.incident)},
            },
            **more,
        }
        return await self._write("chat.postMessage", fields, blocks)

    async def _write(self, method: str, fields: dict[str, Any], blocks: list[Block]) -> dict[str, Any]:
        """Send with blocks, and where Slack refuses the layout as plain text: a message must not fail by its looks."""
        try:
            return await self._paced(method, {**fields, "blocks": blocks})
        except Permanent as fault:
            if fault.code not in LAYOUT_REFUSED:
                raise
            log.warning("slack_layout_refused", method=method, code=fault.code)
        return await self._paced(method, fields)

    async def _paced(self, method: str, fields: dict[str, Any]) -> dict[str, Any]:
        # The configured channel may be a name, and its answers then hold an ID: a name has a pace of its own.
        pace = self._paces.setdefault(fields["channel"], Pace(self._message_seconds))
        await pace.turn()
        body = json.dumps(fields, ensure_ascii=False).encode()
        try:
            return await self._call(method, body, "application/json; charset=utf-8")
        except Transient as fault:
            if fault.kind is FaultKind.RATE_LIMITED and fault.retry_after is not None:
                pace.hold(fault.retry_after)
            raise

    async def _call(self, method: str, body: bytes, content_type: str) -> dict[str, Any]:
        with client_faults(PEER):
            async with self._session.post(
                f"{self._url}/{method}",
                data=body,
                headers={"Authorization": f"Bearer {self._token}", "Content-Type": content_type},
                timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX),
                # A redirect would carry the token to somebody else.
                allow_redirects=False,
            ) as response:
                return api_result(response, await read_answer(response))

    async def _find(self, action: Announce) -> Announced | None:
        """The reply in the thread, else a parent in the channel."""
        if action.thread is not None and action.channel is not None:
            try:
                where = {"channel": action.channel, "ts": action.thread}
                async for post in self._posts("conversations.replies", where, action):
                    if _carries(post, action):
                        return Announced(channel=action.channel, thread=action.thread)
            except Permanent as fault:
                # The thread may be deleted; its successor would stand in the channel.
                log.info("slack_thread_lost", incident=action.incident, code=fault.code)
        async for post in self._posts("conversations.history", {"channel": self._channel_id}, action):
            if _carries(post, action) and isinstance(post.get("ts"), str):
                return Announced(channel=self._channel_id, thread=post["ts"])
        return None

    async def _posts(self, method: str, where: dict[str, str], action: Announce) -> AsyncIterator[dict[str, Any]]:
        oldest = (action.deadline - LOOK_BACK).timestamp()
        query = {**where, "oldest": f"{oldest:.6f}", "limit": str(PAGE_MESSAGES), "include_all_metadata": "true"}
        for _ in range(PAGES_MAX):
            # The reading methods take no JSON.
            result = await self._call(method, urlencode(query).encode(), "application/x-www-form-urlencoded")
            messages = result.get("messages")
            for post in messages if isinstance(messages, list) else ():
                if isinstance(post, dict):
                    yield post
            cursor = (result.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                return
            query["cursor"] = str(cursor)

    def _doubt(self, action: Announce) -> None:
        """Remember that the action may be posted although its end is not seen."""
        self._in_doubt[action.id] = None
        while len(self._in_doubt) > IN_DOUBT_MAX:
            del self._in_doubt[next(iter(self._in_doubt))]


def _place(result: dict[str, Any]) -> Announced:
    channel, ts = result.get("channel"), result.get("ts")
    if not isinstance(channel, str) or not isinstance(ts, str):
        raise Transient(None, f"{PEER} accepted the message without telling where it stands", FaultKind.SERVER)
    return Announced(channel=channel, thread=ts)


def _mark(identifier: str) -> str:
    if exact(identifier, ID_MAX, utf8_bytes) is not None:
        return identifier
    return "sha256:" + hashlib.sha256(identifier.encode("utf-8", "surrogatepass")).hexdigest()


def _carries(post: dict[str, Any], action: Announce) -> bool:
    metadata = post.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("event_type") != EVENT_TYPE:
        return False
    payload = metadata.get("event_payload")
    return isinstance(payload, dict) and payload.get("action") == _mark(action.id)
