"""PagerDuty's Events API v2 on the wire: one POST, 202 or a fault. Pages and change events are sent through it.

Facts and limits: PagerDuty's developer documentation, "Events API v2 Overview", "Send an Alert Event", "Send a Change
Event". 202 means accepted, nothing more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from handlers.faults import Fault, FaultKind, Permanent, Transient, client_faults, from_status
from handlers.plain import exact, one_line, utf8_bytes

PEER = "PagerDuty"

SUMMARY_MAX = 1024
"""Vendor's limit of `summary`, in characters; kept in bytes, the stricter reading."""

NAME_MAX = 255
"""Our own limit in bytes of source, component, group, a link's text: names, and Kubernetes' are shorter than that."""

DETAIL_MAX = 4096
"""Our own limit in bytes of one answer: a screen of text on a telephone."""

LINES_MAX = 30
"""Our own limit of lines of one kind in an event's details, so that the whole stays under the vendor's 512 KB."""

HREF_MAX = 2048
"""Our own limit in bytes of one link: what browsers and proxies are known to take. A longer one is left out."""

LINKS_MAX = 10
"""Our own limit of links in one event: a change, its pipeline, a runbook and a dashboard are four."""

RATE_LIMIT_WAIT_SECONDS = 120.0
"""Wait after a 429 without Retry-After: the vendor asks for "a few minutes", a page cannot wait many."""

REQUEST_SECONDS_MAX = 15.0
"""Longest wait for one answer: PagerDuty answers within a second, and repeating is harmless."""

ANSWER_BYTES_MAX = 64 * 1024
"""Most that is read of an answer: real ones have a few hundred bytes."""

ERRORS_MAX = 10
"""Most of PagerDuty's complaints that are passed on."""


class EventsApi:
    """Sends events to `base_url` (https://events.pagerduty.com, or the EU's) with one integration key."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, routing_key: str) -> None:
        self._session = session
        self._base_url = base_url.rstrip("/")
        self.routing_key = routing_key

    async def send(self, path: str, event: Mapping[str, Any]) -> None:
        """POST the whole event, routing key included, to `path` (`/v2/enqueue`).

        Raises Permanent with PagerDuty's complaints on a 400; Transient on 429, 5xx and no answer.
        """
        body = json.dumps(event, ensure_ascii=False).encode()
        with client_faults(PEER):
            async with self._session.post(
                self._base_url + path,
                data=body,
                headers={"Content-Type": "application/json", "Accept": "application/json"},
                timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX),
                # A redirect would carry the routing key to somebody else.
                allow_redirects=False,
            ) as response:
                answer = await _read(response)
                if response.status != 202:
                    raise self._fault(response, answer)

    def _fault(self, response: aiohttp.ClientResponse, answer: bytes) -> Fault:
        if 200 <= response.status <= 299:
            reason = f"{PEER} answered {response.status} instead of 202: is a proxy in between?"
            return Transient(None, reason, FaultKind.SERVER, status=response.status)
        if 300 <= response.status <= 399:
            reason = f"{PEER} answered {response.status}: not followed, set base_url to the final address"
            return Permanent(reason, FaultKind.CLIENT, status=response.status)
        message, causes = self._complaints(answer)
        fault = from_status(response.status, response.headers, peer=PEER, message=message, causes=causes)
        if isinstance(fault, Transient) and response.status == 429 and fault.retry_after is None:
            fault.retry_after = RATE_LIMIT_WAIT_SECONDS
        return fault

    def _complaints(self, answer: bytes) -> tuple[str, tuple[str, ...]]:
        """What PagerDuty says is wrong: a line of everything, and item by item; without our key, whatever it echoes."""
        try:
            body = json.loads(answer)
        except (ValueError, RecursionError):
            return "", ()
        if not isinstance(body, dict):
            return "", ()
        errors = body.get("errors")
        listed = errors[:ERRORS_MAX] if isinstance(errors, list) else []
        causes = tuple(self._without_key(str(error)) for error in listed)
        return "; ".join((self._without_key(str(body.get("message", ""))), *causes)), causes

    def _without_key(self, text: str) -> str:
        return text.replace(self.routing_key, "[routing_key]") if self.routing_key else text


def as_links(pairs: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """The event's `links` of (text, URL) pairs, at most LINKS_MAX, each address once.

    An address comes from a pipeline's event, so it is a stranger's. What is no plain http(s) address is left out: a cut
    or repaired one leads elsewhere, one with a user or password in it tells a secret, and one that PagerDuty refuses
    would refuse the whole page.
    """
    shown: dict[str, str] = {}
    for text, href in pairs:
        if len(shown) < LINKS_MAX and _is_web(href):
            shown.setdefault(href, as_name(text) or as_name(href))
    return [{"href": href, "text": text} for href, text in shown.items()]


def as_name(text: str) -> str:
    """The text as a name: one line of at most NAME_MAX bytes."""
    return one_line(text, NAME_MAX, utf8_bytes)


def iso_time(at: datetime) -> str:
    """The moment in UTC as PagerDuty takes it (ISO 8601, whole seconds)."""
    return at.astimezone(UTC).isoformat(timespec="seconds")


def _is_web(href: str) -> bool:
    if exact(href, HREF_MAX, utf8_bytes) is None or any(character.isspace() for character in href):
        return False
    try:
        parts = urlsplit(href)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    # PagerDuty compares the scheme as it is written.
    return href.startswith(("https://", "http://")) and bool(host) and parts.username is None


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The start of the answer, at most ANSWER_BYTES_MAX: what is cut off is no JSON and counts as no explanation."""
    answer = b""
    while len(answer) < ANSWER_BYTES_MAX:
        piece = await response.content.read(ANSWER_BYTES_MAX - len(answer))
        if not piece:
            break
        answer += piece
    return answer
