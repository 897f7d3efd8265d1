"""Announces through a Slack incoming webhook: the lesser choice, for who cannot have a bot token.

It posts to the one channel it was made for, and returns neither channel nor id: no thread, no update, no look at what
was posted. So each message tells the whole state, and after a crash or a time-out it may be told twice.
"""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from daemon.core.actions import Announce, Announced, Outcome, OutcomeKind
from handlers.faults import Fault, FaultKind, Permanent, Transient, client_faults, from_status
from handlers.outbound.slack.answers import LAYOUT_REFUSED, PEER, from_code, read_answer
from handlers.outbound.slack.layout import message
from handlers.outbound.slack.pace import Pace

REQUEST_SECONDS_MAX = 15.0
"""Longest wait for one answer."""


class SlackWebhook:
    """Runner of Announce. `url` is the whole webhook address; it is a secret and appears in no message of ours."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._pace = Pace()

    async def run(self, action: Announce) -> Outcome:
        """Post the whole state. Raises Transient (Retry-After honoured) or Permanent with the remedy."""
        text, blocks = message(action.brief)
        # No metadata: a webhook's posts cannot be looked for, and the vendor does not document it there.
        fields: dict[str, Any] = {"text": text, "mrkdwn": False}
        try:
            await self._send({**fields, "blocks": blocks})
        except Permanent as fault:
            if fault.code not in LAYOUT_REFUSED:
                raise
            await self._send(fields)
        announced = Announced(channel=None, thread=None)
        return Outcome(kind=OutcomeKind.DONE, result=announced, message="announced in Slack by its webhook")

    async def probe(self, action: Announce) -> Outcome | None:
        """None, always: nobody can look, and told twice is better than not told."""
        return None

    async def _send(self, fields: dict[str, Any]) -> None:
        await self._pace.turn()
        with client_faults(PEER):
            async with self._session.post(
                self._url,
                data=json.dumps(fields, ensure_ascii=False).encode(),
                headers={"Content-Type": "application/json; charset=utf-8"},
                timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX),
                allow_redirects=False,
            ) as response:
                answer = (await read_answer(response)).decode("utf-8", "replace").strip()
                fault = _fault(response, answer)
        if fault is None:
            return
        if isinstance(fault, Transient) and fault.kind is FaultKind.RATE_LIMITED and fault.retry_after is not None:
            self._pace.hold(fault.retry_after)
        raise fault


def _fault(response: aiohttp.ClientResponse, answer: str) -> Fault | None:
    """What the answer stands for: `ok` with a 200, or one word with a 4xx or 5xx."""
    if response.status == 200:
        return None if answer == "ok" else from_code(_word(answer), response)
    if response.status == 429 or response.status >= 500 or not _word(answer):
        if response.status <= 299:
            return Permanent(f"{PEER} answered {response.status}, not 200", FaultKind.SERVER, status=response.status)
        return from_status(response.status, response.headers, peer=PEER, code=_word(answer))
    return from_code(_word(answer), response)


def _word(answer: str) -> str:
    """The answer where it is one of Slack's error words, else nothing: a proxy's page is no word."""
    return answer if len(answer) <= 80 and answer.isascii() and answer.replace("_", "").isalnum() else ""
