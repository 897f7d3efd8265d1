"""Answers to whoever pressed a button: a message that only they see, through the `response_url` of their press.

A press says where its answer goes. Only Slack's own address is ever called (or the configured one's, for stand-ins):
an address from elsewhere would make us a tool for requests into networks that its writer cannot reach.
"""

from __future__ import annotations

import asyncio
import json
from urllib.parse import SplitResult, urlsplit

import aiohttp
import structlog

from handlers.faults import Permanent, Transient, client_faults, from_status
from handlers.plain import cut, utf16_units

HOOKS_HOST = "hooks.slack.com"
"""Where Slack's response_urls lead."""

REPLY_SECONDS_MAX = 5.0
"""Longest wait for one attempt."""

ATTEMPTS = 3
"""Most attempts: Slack takes five uses of a response_url within 30 minutes (protocols.md §5.2)."""

ATTEMPT_SECONDS = 1.0
"""Pause between two attempts; a person waits, and what was decided stands in the thread anyway."""

TEXT_MAX = 2_000
"""Longest answer, in characters; ours have a few hundred."""

_PORTS = {"https": 443, "http": 80}

log = structlog.get_logger(__name__)


class SlackReplies:
    """Sends answers. `base_url` is the Web API's address as configured; its host's addresses are trusted as well."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self._session = session
        base = urlsplit(base_url)
        self._origins = {("https", HOOKS_HOST, 443), _origin(base), ("https", f"hooks.{base.hostname}", 443)}

    def leads_to_slack(self, url: str) -> bool:
        """Whether an answer may be sent there."""
        try:
            parts = urlsplit(url)
            origin = _origin(parts)
        except ValueError:
            return False
        plain = url.isascii() and url.isprintable() and "\\" not in url and " " not in url
        return plain and parts.username is None and parts.password is None and origin in self._origins

    async def send(self, url: str | None, text: str) -> bool:
        """Show the text (Slack's mrkdwn) to who pressed; False where that was not possible. Raises nothing."""
        if url is None or not self.leads_to_slack(url):
            log.warning("slack_answer_not_sent", reason="the press names no response_url of Slack's")
            return False
        fields = {
            "response_type": "ephemeral",
            "replace_original": False,
            "text": cut(text, TEXT_MAX, utf16_units),
        }
        body = json.dumps(fields).encode()  # ASCII: a half character must not make the answer fail
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._post(url, body)
                return True
            except (Transient, Permanent) as fault:
                if isinstance(fault, Permanent) or attempt == ATTEMPTS:
                    log.warning("slack_answer_not_sent", reason=fault.reason, attempts=attempt)
                    return False
            await asyncio.sleep(ATTEMPT_SECONDS)
        return False

    async def _post(self, url: str, body: bytes) -> None:
        with client_faults("Slack"):
            async with self._session.post(
                url,
                data=body,
                headers={"Content-Type": "application/json; charset=utf-8"},
                timeout=aiohttp.ClientTimeout(total=REPLY_SECONDS_MAX),
                allow_redirects=False,
            ) as response:
                if response.status >= 300:
                    raise from_status(response.status, response.headers, peer="Slack")


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    """Scheme, host and port. Raises ValueError for a port that is none."""
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
