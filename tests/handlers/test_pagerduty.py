"""PagerDuty gets valid events whatever the brief holds, and its answers become the right kind of fault."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import aiohttp
import jsonschema
import pytest
from aiohttp import web

from daemon.core.actions import OutcomeKind, Paged, PageKind
from daemon.core.brief import Brief
from handlers.faults import FaultKind, Permanent, Transient
from handlers.outbound.pagerduty import PagerDutyPager, dedup_key
from handlers.pagerduty_events import HREF_MAX, LINKS_MAX, RATE_LIMIT_WAIT_SECONDS
from tests.handlers.telling import ESCALATED, HOSTILE, RECOVERED, ROLLING_BACK, matches_golden, page, serving, strings

pytestmark = pytest.mark.real

KEY = "R0123456789ABCDEF0123456789ABCDE"

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["routing_key", "event_action", "dedup_key", "payload"],
    "properties": {
        "routing_key": {"type": "string", "minLength": 32, "maxLength": 32},
        "event_action": {"enum": ["trigger", "acknowledge", "resolve"]},
        "dedup_key": {"type": "string", "minLength": 1, "maxLength": 255},
        "client": {"type": "string"},
        "client_url": {"type": "string", "pattern": "^https://"},
        "links": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["href"],
                "properties": {"href": {"type": "string", "pattern": "^https?://"}, "text": {"type": "string"}},
            },
        },
        "payload": {
            "type": "object",
            "additionalProperties": False,
            "required": ["summary", "source", "severity"],
            "properties": {
                "summary": {"type": "string", "minLength": 1, "maxLength": 1024},
                "source": {"type": "string", "minLength": 1},
                "severity": {"enum": ["critical", "error", "warning", "info"]},
                "timestamp": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$"},
                "component": {"type": "string", "minLength": 1},
                "group": {"type": "string", "minLength": 1},
                "class": {"type": "string", "minLength": 1},
                "custom_details": {"type": "object"},
            },
        },
    },
}
"""The Events API v2 event (PagerDuty developer documentation, "Send an event")."""


class PagerDuty:
    """PagerDuty's side as documented: one incident per dedup key while it is open."""

    def __init__(self) -> None:
        self.open: dict[str, int] = {}
        self.incidents = 0

    async def handle(self, request: web.Request) -> web.Response:
        event = await request.json()
        jsonschema.validate(event, SCHEMA)
        key = event["dedup_key"]
        if event["event_action"] == "resolve":
            self.open.pop(key, None)
        elif key in self.open:
            self.open[key] += 1
        else:
            self.open[key] = 1
            self.incidents += 1
        return web.json_response({"status": "success", "message": "Event processed", "dedup_key": key}, status=202)


def pager(session: aiohttp.ClientSession, url: str) -> PagerDutyPager:
    return PagerDutyPager(session, url, KEY, "prod", links=[("https://runbooks.example/rollback", "Runbook")])


async def fault_of(status: int, body: str, headers: dict[str, str] | None = None) -> Exception:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=body, headers=headers)

    async with serving(answer) as url, aiohttp.ClientSession() as session:
        with pytest.raises((Transient, Permanent)) as caught:
            await pager(session, url).run(page(PageKind.TRIGGER))
        return caught.value


async def test_one_whole_incident_reads_as_agreed() -> None:
    """The events of a rollback that recovers, and of an escalation, are what a person approved of."""
    async with aiohttp.ClientSession() as session:
        event = pager(session, "https://events.pagerduty.com").event
        matches_golden("pagerduty_trigger.json", event(page(PageKind.TRIGGER)))
        matches_golden("pagerduty_escalated.json", event(page(PageKind.UPDATE, ESCALATED, urgent=True)))
        matches_golden("pagerduty_resolve.json", event(page(PageKind.RESOLVE, RECOVERED)))


@pytest.mark.parametrize("kind", PageKind)
@pytest.mark.parametrize("brief", [ROLLING_BACK, ESCALATED, RECOVERED, HOSTILE], ids=lambda brief: brief.phase.strip())
async def test_every_event_is_valid(kind: PageKind, brief: Brief) -> None:
    """Whatever labels hold, the event satisfies the schema, fits the limits and is encodable."""
    async with aiohttp.ClientSession() as session:
        event = pager(session, "https://events.pagerduty.com").event(page(kind, brief, key="k" * 300))
    jsonschema.validate(event, SCHEMA)
    body = json.dumps(event, ensure_ascii=False).encode()
    assert len(body) <= 512_000
    assert len(event["payload"]["summary"].encode()) <= 1024
    assert not any(set(text) & set("\n\r\x00\x1b\u2028\u202e\u2066") for text in strings(event))


async def test_an_empty_brief_is_a_valid_event() -> None:
    """A brief without a workload or a headline still pages."""
    empty = Brief(
        incident="i", headline="", phase="", workload="", changed="", since=None, wide="", done="",
        refusals=(), evidence=(), commands=(), update="",
    )  # fmt: skip
    async with aiohttp.ClientSession() as session:
        jsonschema.validate(pager(session, "https://x.example").event(page(PageKind.TRIGGER, empty)), SCHEMA)


async def test_commands_are_exact_or_absent() -> None:
    """A command is shown character by character, backticks too; one that cannot be is left out, never shortened."""
    async with aiohttp.ClientSession() as session:
        shown = pager(session, "https://x.example").event(page(PageKind.TRIGGER, HOSTILE))["payload"]["custom_details"]
    assert shown["commands"][0] == "echo `id` ```"
    assert all(text.startswith("(not shown") for text in shown["commands"][1:5])
    assert shown["commands"][5] == "true"


@pytest.mark.parametrize(
    ("kind", "urgent", "action", "severity"),
    [
        (PageKind.TRIGGER, True, "trigger", "critical"),
        (PageKind.TRIGGER, False, "trigger", "warning"),
        (PageKind.UPDATE, True, "trigger", "critical"),
        (PageKind.UPDATE, False, "trigger", "warning"),
        (PageKind.RESOLVE, False, "resolve", "info"),
    ],
)
async def test_urgency_becomes_severity(kind: PageKind, urgent: bool, action: str, severity: str) -> None:
    """Only an urgent page is critical, and an update raises the severity of the open incident under the same key."""
    async with aiohttp.ClientSession() as session:
        event = pager(session, "https://x.example").event(page(kind, urgent=urgent))
    assert (event["event_action"], event["payload"]["severity"]) == (action, severity)
    assert event["dedup_key"] == "prod/shop/a1b2c3"


def test_long_keys_stay_distinct() -> None:
    """Two keys that differ only at the end keep different dedup keys, within 255 bytes, the same on every call."""
    one, other = dedup_key("ü" * 200 + "1"), dedup_key("ü" * 200 + "2")
    assert one != other
    assert one == dedup_key("ü" * 200 + "1")
    assert len(one.encode()) <= 255
    assert dedup_key("prod/shop\ud83d").isascii()


async def test_a_link_must_be_https() -> None:
    """A link that PagerDuty would refuse is refused at start, naming the remedy."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ValueError, match="only https"):
            PagerDutyPager(session, "https://x.example", KEY, "prod", links=[("http://plain.example", "x")])


async def links_shown(*links: tuple[str, str]) -> Any:
    async with aiohttp.ClientSession() as session:
        event = PagerDutyPager(session, "https://x.example", KEY, "prod").event(
            page(PageKind.TRIGGER, replace(ROLLING_BACK, links=links))
        )
    jsonschema.validate(event, SCHEMA)
    return event.get("links", [])


async def test_the_change_and_its_pipeline_are_linked() -> None:
    """The brief's links stand in the page in their order, before those of the configuration, each address once."""
    change, job = "https://git.example/shop/checkout/-/merge_requests/7", "http://ci.internal:8080/job/42?x=1#log"
    brief = replace(ROLLING_BACK, links=(("change", change), ("pipeline", job), ("again", change), ("", job + "2")))
    async with aiohttp.ClientSession() as session:
        event = pager(session, "https://x.example").event(page(PageKind.UPDATE, brief))
    assert event["links"] == [
        {"href": change, "text": "change"},
        {"href": job, "text": "pipeline"},
        {"href": job + "2", "text": job + "2"},
        {"href": "https://runbooks.example/rollback", "text": "Runbook"},
    ]


@pytest.mark.parametrize(
    "href",
    [
        "javascript:alert(1)",
        "ftp://x.example/",
        "HTTPS://x.example/",
        "https://",
        "https://user:secret@x.example/",
        "https://x.example/a b",
        "https://x.example/\n",
        "https://x.example/\u202e",
        "https://[broken",
        "https://x.example:99999/",
        "https://x.example/" + "a" * HREF_MAX,
        "",
    ],
)
async def test_a_doubtful_link_is_left_out(href: str) -> None:
    """What is no plain web address, or holds a secret, is left out and spoils nothing else of the page."""
    assert await links_shown(("bad", href), ("good", "https://x.example/")) == [
        {"href": "https://x.example/", "text": "good"}
    ]


async def test_links_are_limited() -> None:
    """Many links are cut to the limit, and a hostile text is made one line."""
    shown = await links_shown(*((HOSTILE.headline, f"https://x.example/{number}") for number in range(100)))
    assert [link["href"] for link in shown] == [f"https://x.example/{number}" for number in range(LINKS_MAX)]
    assert all(len(link["text"].encode()) <= 255 and "\n" not in link["text"] for link in shown)


async def test_a_crash_before_the_journal_pages_nobody_twice() -> None:
    """Each page sent, forgotten, probed and sent again leaves one PagerDuty incident, and it ends resolved."""
    vendor = PagerDuty()
    async with serving(vendor.handle) as url, aiohttp.ClientSession() as session:
        for kind, brief in (
            (PageKind.TRIGGER, ROLLING_BACK),
            (PageKind.UPDATE, ESCALATED),
            (PageKind.RESOLVE, RECOVERED),
        ):
            action = page(kind, brief)
            first = await pager(session, url).run(action)
            assert await pager(session, url).probe(action) is None
            again = await pager(session, url).run(action)
            assert first == again
            assert (first.kind, first.result) == (OutcomeKind.DONE, Paged(key="prod/shop/a1b2c3"))
    assert vendor.incidents == 1
    assert vendor.open == {}


async def test_a_refusal_names_the_errors_but_not_the_key() -> None:
    """A 400 is permanent, carries PagerDuty's complaints, and never our routing key even where it is echoed."""
    errors = ["'payload.severity' is invalid (must be one of the following)", f"routing_key {KEY} is unknown"]
    body = json.dumps({"status": "invalid event", "message": "Event object is invalid", "errors": errors})
    fault = await fault_of(400, body)
    assert isinstance(fault, Permanent)
    assert "payload.severity" in fault.reason
    assert fault.causes[0] == errors[0]
    assert KEY not in repr(fault) + " ".join(fault.causes)


@pytest.mark.parametrize("body", ["", "<html>", "[]", '{"errors": 7}', '{"errors": [{"a": 1}]}', "x" * 200_000])
async def test_a_strange_refusal_is_still_a_refusal(body: str) -> None:
    """Whatever comes with a 400, it stays a permanent fault of bounded length."""
    fault = await fault_of(400, body)
    assert isinstance(fault, Permanent)
    assert len(fault.reason) <= 300


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {"Retry-After": "7"}, 7.0),
        (429, {}, RATE_LIMIT_WAIT_SECONDS),
        (503, {"Retry-After": "9"}, 9.0),
        (500, {}, None),
        (200, {}, None),
    ],
)
async def test_what_may_pass_is_transient(status: int, headers: dict[str, str], wait: float | None) -> None:
    """Overload and server errors are tried again, after the wait that was asked for or else a few minutes on a 429."""
    fault = await fault_of(status, "{}", headers)
    assert isinstance(fault, Transient)
    assert fault.retry_after == wait


async def test_a_redirect_is_not_followed() -> None:
    """The routing key goes to the configured address and nowhere else."""
    fault = await fault_of(307, "", {"Location": "http://127.0.0.1:9/elsewhere"})
    assert isinstance(fault, Permanent)
    assert "base_url" in fault.reason


async def test_nobody_there_is_transient() -> None:
    """A connection that cannot be made is tried again."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(Transient) as caught:
            await pager(session, "http://127.0.0.1:9").run(page(PageKind.TRIGGER))
    assert caught.value.kind is FaultKind.NETWORK
