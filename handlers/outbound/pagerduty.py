"""Pages people through PagerDuty's Events API v2: one POST per Page, `dedup_key` is the page's key.

Why no probe is needed. A Page may be repeated after a crash between the POST and our journal, so what would a
repetition do?

* TRIGGER, UPDATE (a trigger with the same key): while PagerDuty's incident is open it is appended, nobody is paged
  twice.
* RESOLVE: with nothing open PagerDuty drops it.
* A TRIGGER repeated after its own RESOLVE would open a second incident. It cannot happen: the pages of one incident go
  one by one and in order (`State.due`), so a RESOLVE is sent only when the outcome of the TRIGGER is in the journal,
  and an action with an outcome is never sent again.

So `probe` answers None, "run it", for all three. What remains: a person resolves in PagerDuty while an update is under
way; then the update opens a new incident there. Events API keys cannot ask whether an incident is open, and the update
is news. A time-out is the same case as a crash: the dispatcher repeats the POST, with the same effect.

Facts and limits: protocols.md §5.1 (PagerDuty's developer documentation). 202 means accepted, not that somebody was
paged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import aiohttp

from daemon.core.actions import Outcome, OutcomeKind, Page, Paged, PageKind
from daemon.core.brief import Brief
from handlers.pagerduty_events import DETAIL_MAX, LINES_MAX, SUMMARY_MAX, EventsApi, as_links, as_name, iso_time
from handlers.plain import exact, one_line, utf8_bytes

DEDUP_KEY_MAX = 255
"""Vendor's limit of `dedup_key`, in characters; kept in bytes. A longer key is replaced by its hash, never cut: a cut
key could be another incident's."""

LINE_MAX = 1024
"""Our own limit in bytes of one refusal or piece of evidence: each is a sentence."""

COMMAND_MAX = 2048
"""Our own limit in bytes of one command. A longer one is not shown at all: half a command must not be run. With at most
LINES_MAX of each the details stay below 150 KB before and 300 KB after JSON escaping, well under the vendor's 512 KB of a
whole event."""

_EVENT_ACTIONS = {PageKind.TRIGGER: "trigger", PageKind.UPDATE: "trigger", PageKind.RESOLVE: "resolve"}


class PagerDutyPager:
    """Runner of Page. `routing_key` is the service's integration key: a trigger and its resolve must use the same one.

    `base_url` is https://events.pagerduty.com or the EU's; `cluster` names this cluster in every page. `links` are
    pairs of an https address and its text, shown with every page (a runbook, a dashboard).
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        routing_key: str,
        cluster: str,
        *,
        links: Iterable[tuple[str, str]] = (),
    ) -> None:
        self._api = EventsApi(session, base_url, routing_key)
        self._cluster = cluster
        self._links = tuple((text, href) for href, text in links)
        for _, href in self._links:
            if not href.startswith("https://"):
                raise ValueError(f"pagerduty link {href!r}: PagerDuty shows only https, use that or drop it")

    async def run(self, action: Page) -> Outcome:
        """Send the event. Raises Permanent with PagerDuty's complaints on a 400; Transient on 429, 5xx and no
        answer.
        """
        await self._api.send("/v2/enqueue", self.event(action))
        paged = Paged(key=dedup_key(action.key))
        return Outcome(kind=OutcomeKind.DONE, result=paged, message=f"PagerDuty accepted the {action.page.value}")

    async def probe(self, action: Page) -> Outcome | None:
        """None: repeating is harmless for every kind of page (see the module's explanation)."""
        return None

    def event(self, page: Page) -> dict[str, Any]:
        """The event as PagerDuty's schema wants it.

        A resolve carries the payload as well: the alert's log then says how the incident ended.
        """
        event: dict[str, Any] = {
            "routing_key": self._api.routing_key,
            "event_action": _EVENT_ACTIONS[page.page],
            "dedup_key": dedup_key(page.key),
            "client": "Lastgood",
            "payload": _payload(page, self._cluster),
        }
        if shown := as_links((*page.brief.links, *self._links)):
            event["links"] = shown
        return event


def dedup_key(key: str) -> str:
    """The key as PagerDuty takes it: itself, or `sha256:` and the hash where it is too long or no valid text."""
    if exact(key, DEDUP_KEY_MAX, utf8_bytes) is not None:
        return key
    return "sha256:" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _payload(page: Page, cluster: str) -> dict[str, Any]:
    brief = page.brief
    namespace, _, name = as_name(brief.workload).rpartition("/")
    names = {"component": name, "group": as_name(f"{cluster}/{namespace.partition('/')[0]}") if namespace else ""}
    payload: dict[str, Any] = {
        "summary": one_line(brief.headline, SUMMARY_MAX, utf8_bytes) or "Lastgood: an incident without a headline",
        "source": as_name(f"{cluster}/{brief.workload}"),
        "severity": _severity(page),
        **{field: value for field, value in names.items() if value},
        "class": "rollout",
        "custom_details": _details(brief, cluster),
    }
    if page.page is PageKind.TRIGGER and brief.since is not None:
        payload["timestamp"] = iso_time(brief.since)
    return payload


def _severity(page: Page) -> str:
    if page.page is PageKind.RESOLVE:
        return "info"
    return "critical" if page.urgent else "warning"


def _details(brief: Brief, cluster: str) -> dict[str, Any]:
    return {
        "changed": _answer(brief.changed),
        "since": iso_time(brief.since) if brief.since is not None else "unknown",
        "wide": _answer(brief.wide),
        "done": _answer(brief.done),
        "refusals": _lines(brief.refusals),
        "commands": [_command(command, brief) for command in brief.commands[:LINES_MAX]],
        "evidence": _lines(brief.evidence),
        "update": _answer(brief.update),
        "phase": as_name(brief.phase),
        "incident": as_name(brief.incident),
        "workload": as_name(brief.workload),
        "cluster": as_name(cluster),
    }


def _command(command: str, brief: Brief) -> str:
    instead = f"(not shown: too long or not printable; see incident {as_name(brief.incident)})"
    return exact(command, COMMAND_MAX, utf8_bytes) or instead


def _lines(lines: tuple[str, ...]) -> list[str]:
    shown = [one_line(line, LINE_MAX, utf8_bytes) for line in lines[:LINES_MAX]]
    left_out = len(lines) - len(shown)
    return [*shown, f"and {left_out} more"] if left_out else shown


def _answer(text: str) -> str:
    return one_line(text, DETAIL_MAX, utf8_bytes)
