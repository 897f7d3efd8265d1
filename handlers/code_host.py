"""One request to a code host's REST API and its answer as JSON; what is wrong becomes a fault without our token.

An answer with a 4xx is handed back, not raised: what it means differs between the two vendors and between requests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from handlers.faults import (
    RETRY_AFTER_SECONDS_MAX,
    Fault,
    FaultKind,
    Permanent,
    Transient,
    client_faults,
    from_status,
    retry_after_seconds,
)
from handlers.plain import one_line

REQUEST_SECONDS_MAX = 7.0
"""Longest wait for one answer: four of them fit into the dispatcher's 30 s for an attempt."""

ANSWER_BYTES_MAX = 2 * 1024 * 1024
"""Most that is read of an answer: a page of 100 statuses has about 200 KB."""

EXPLANATION_MAX = 120
"""Longest explanation of the vendor that is passed on, in characters: it stands behind our own remedy in one line."""

NO_CONTENT = 204
"""The one answer that is fine without a body (RFC 9110 §15.3.5)."""

LIMITED_SECONDS = 60.0
"""Wait where a rate limit names none: GitHub asks for at least a minute, GitLab's limits count by the minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the vendor said: `body` is its JSON, None where it is none; `explanation` one line without our token."""

    status: int
    headers: Mapping[str, str]
    body: Any
    explanation: str

    @property
    def fine(self) -> bool:
        """The request was carried out."""
        return 200 <= self.status <= 299


class CodeHost:
    """A code host's API at `api_url`. `headers` authenticate; `secret` is never told, whatever the vendor echoes."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        api_url: str,
        *,
        peer: str,
        headers: Mapping[str, str],
        secret: str,
        seconds: float = REQUEST_SECONDS_MAX,
    ) -> None:
        self.peer = peer
        self._session = session
        self._api_url = api_url.rstrip("/")
        self._headers = headers
        self._secret = secret
        self._timeout = aiohttp.ClientTimeout(total=seconds)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, object] | None = None,
        query: Mapping[str, str | int] | Sequence[tuple[str, str | int]] | None = None,
    ) -> Answer:
        """Send a request; `path` is percent-encoded already. Raises Transient where no proper answer came back."""
        tail = f"?{urlencode(query)}" if query else ""
        # yarl leaves the %2F of a GitLab project's path as it is.
        url = URL(f"{self._api_url}{path}{tail}")
        with client_faults(self.peer):
            async with self._session.request(
                method,
                url,
                json=body,
                headers=self._headers,
                timeout=self._timeout,
                # A redirect would carry the token to somebody else.
                allow_redirects=False,
            ) as response:
                return self._understood(response, await self._read(response))

    def fault(self, answer: Answer, remedies: Mapping[int, str]) -> Fault:
        """The fault that an answer stands for; `remedies` say by status what a person must change. Raise it."""
        if 300 <= answer.status <= 399:
            reason = f"{self.peer} answered {answer.status}: not followed, set api_url to the final address"
            return Permanent(f"{reason} (or the project was renamed)", FaultKind.CLIENT, status=answer.status)
        if answer.status == 429:
            return self.limited(answer)
        parts = (remedies.get(answer.status, ""), answer.explanation)
        message = "; it says: ".join(part for part in parts if part)
        return from_status(answer.status, answer.headers, peer=self.peer, message=message)

    def limited(self, answer: Answer) -> Transient:
        """The fault of an answer that is a rate limit, whatever its status."""
        asked = retry_after_seconds(answer.headers)
        wait = wait_until_reset(answer.headers) if asked is None else asked
        reason = f"{self.peer} answered {answer.status}: rate limit; it says: {answer.explanation}"
        return Transient(wait, reason, FaultKind.RATE_LIMITED, status=answer.status)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        answer = bytearray()
        async for piece in response.content.iter_any():
            answer += piece
            if len(answer) > ANSWER_BYTES_MAX:
                reason = f"{self.peer} sent an answer of more than {ANSWER_BYTES_MAX} bytes"
                raise Transient(None, reason, FaultKind.SERVER)
        return bytes(answer)

    def _understood(self, response: aiohttp.ClientResponse, raw: bytes) -> Answer:
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            body = None
        if body is None and 200 <= response.status <= 299 and response.status != NO_CONTENT:
            reason = f"{self.peer} answered {response.status} without JSON: is a proxy in between?"
            raise Transient(None, reason, FaultKind.SERVER, status=response.status)
        said = _explanation(body)
        explanation = one_line(said.replace(self._secret, "[token]") if self._secret else said, EXPLANATION_MAX)
        return Answer(status=response.status, headers=response.headers, body=body, explanation=explanation)


def github(
    session: aiohttp.ClientSession, api_url: str, token: str, *, seconds: float = REQUEST_SECONDS_MAX
) -> CodeHost:
    """GitHub's API as this token sees it: fine-grained, App or classic."""
    headers = {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {token}",
        "User-Agent": "Lastgood",  # GitHub refuses requests without one
        "X-GitHub-Api-Version": "2022-11-28",
    }
    return CodeHost(session, api_url, peer="GitHub", headers=headers, secret=token, seconds=seconds)


def gitlab(
    session: aiohttp.ClientSession, api_url: str, token: str, *, seconds: float = REQUEST_SECONDS_MAX
) -> CodeHost:
    """GitLab's API as this token sees it: of a project, a group or a person."""
    headers = {"Accept": "application/json", "PRIVATE-TOKEN": token, "User-Agent": "Lastgood"}
    return CodeHost(session, api_url, peer="GitLab", headers=headers, secret=token, seconds=seconds)


def is_github_limit(answer: Answer) -> bool:
    """GitHub says both of its rate limits with 403 or 429, and the same 403 for a permission that lacks."""
    if answer.status not in (403, 429):
        return False
    spent = answer.headers.get("X-RateLimit-Remaining") == "0"
    return spent or "Retry-After" in answer.headers or "rate limit" in answer.explanation.lower()


def wait_until_reset(headers: Mapping[str, str]) -> float:
    """Seconds until a rate limit ends, by the vendor's own clock (its Date header), else LIMITED_SECONDS.

    GitHub says `X-RateLimit-Reset`, GitLab `RateLimit-Reset`, both in seconds since 1970.
    """
    reset = headers.get("X-RateLimit-Reset") or headers.get("RateLimit-Reset") or ""
    if not (reset.isascii() and reset.isdigit()):
        return LIMITED_SECONDS
    try:
        now = parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except (TypeError, ValueError, OverflowError):
        return LIMITED_SECONDS
    # Twelve digits are thousands of years; int() of a hostile length would raise.
    return min(max(float(reset[:12]) - now, 0.0), RETRY_AFTER_SECONDS_MAX)


def _explanation(body: object) -> str:
    """GitHub: `message` and `errors`; GitLab: `message` as text or as findings by field, or `error`."""
    if not isinstance(body, dict):
        return ""
    parts = (body.get("message"), body.get("error"), body.get("errors"))
    return "; ".join(part if isinstance(part, str) else json.dumps(part) for part in parts if part)
