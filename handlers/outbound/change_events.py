"""Leaves marks on PagerDuty's timeline: one change event per NoteChange. Nobody is notified by one.

A change event has no key and cannot be read back with an integration key, so a repetition after a lost answer shows
the change twice. That is harmless, and a mark that is missing when somebody looks for the cause is not: `probe` says
"run it" always.

Facts and limits: PagerDuty's developer documentation, "Send a Change Event"; protocols.md §5.1. They are kept 90 days.
"""

from __future__ import annotations

from typing import Any

import aiohttp

from daemon.core.actions import NoteChange, Outcome, OutcomeKind
from handlers.pagerduty_events import DETAIL_MAX, LINES_MAX, SUMMARY_MAX, EventsApi, as_links, as_name, iso_time
from handlers.plain import one_line, utf8_bytes

RULESET_PREFIX = "R"
"""Begins the keys of rulesets and event orchestrations; PagerDuty takes change events only with a service's own key."""


class ChangeEvents:
    """Runner of NoteChange. `base_url` and `routing_key` are the pages' own: a service's key takes both kinds of event.

    `cluster` names this cluster in every event.
    """

    def __init__(self, session: aiohttp.ClientSession, base_url: str, routing_key: str, cluster: str) -> None:
        self._api = EventsApi(session, base_url, routing_key)
        self._cluster = cluster

    async def run(self, action: NoteChange) -> Outcome:
        """Send the event, or refuse where the key cannot take it. Raises as EventsApi.send."""
        if self._api.routing_key.startswith(RULESET_PREFIX):
            message = (
                f"pagerduty.routing_key begins with {RULESET_PREFIX}: it is a ruleset's or an orchestration's, and "
                "PagerDuty takes change events only with the integration key of a service"
            )
            return Outcome(kind=OutcomeKind.REFUSED, message=message)
        await self._api.send("/v2/change/enqueue", self.event(action))
        return Outcome(kind=OutcomeKind.DONE, message="PagerDuty accepted the change event")

    async def probe(self, action: NoteChange) -> Outcome | None:
        """None: there is nothing to ask, and a mark twice is better than none."""
        return None

    def event(self, action: NoteChange) -> dict[str, Any]:
        """The event as PagerDuty's schema wants it. Details of ours win over a caller's of the same name."""
        event: dict[str, Any] = {
            "routing_key": self._api.routing_key,
            "payload": {
                "summary": one_line(action.summary, SUMMARY_MAX, utf8_bytes) or as_name(f"{action.workload} changed"),
                "source": as_name(f"{self._cluster}/{action.workload}"),
                "timestamp": iso_time(action.happened_at),
                "custom_details": {
                    **_details(action.details),
                    "workload": as_name(action.workload.key),
                    "cluster": as_name(self._cluster),
                },
            },
        }
        if shown := as_links(action.links):
            event["links"] = shown
        return event


def _details(details: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """At most LINES_MAX of them: with the limits of each they stay under 130 KB, of the vendor's 512 KB."""
    return {as_name(name): one_line(value, DETAIL_MAX, utf8_bytes) for name, value in details[:LINES_MAX]}
