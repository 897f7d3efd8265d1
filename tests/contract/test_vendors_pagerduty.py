"""The PagerDuty stand-in checks bodies and keeps incidents as PagerDuty's documentation says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from deploy.sandbox.vendors import THROTTLED, PagerDutyStandIn

pytestmark = pytest.mark.looptime(False)
KEY = "k" * 32


def event(action: str = "trigger", dedup_key: str | None = "one", **changes: Any) -> dict[str, Any]:
    payload = {"summary": "web fails", "source": "shop/web", "severity": "critical"}
    body = {"routing_key": KEY, "event_action": action, "dedup_key": dedup_key, "payload": payload, **changes}
    return {name: value for name, value in body.items() if value is not None}


@pytest.fixture
async def pd() -> AsyncIterator[PagerDutyStandIn]:
    async with PagerDutyStandIn() as standin:
        yield standin


async def send(pd: PagerDutyStandIn, body: Any, path: str = "/v2/enqueue") -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.post(pd.url + path, json=body) as reply:
        return reply.status, await reply.json()


async def test_trigger_opens_and_repeats_append(pd: PagerDutyStandIn) -> None:
    """A trigger opens an incident, a second one with its key is appended and shows its severity."""
    accepted = {"status": "success", "message": "Event processed", "dedup_key": "one"}
    assert await send(pd, event()) == (202, accepted)
    payload = {"summary": "worse", "source": "shop/web", "severity": "error"}
    await send(pd, event(payload=payload))
    (incident,) = pd.incidents
    assert (len(incident.events), incident.severity, incident.status) == (2, "error", "triggered")
    assert pd.opened() == {"one": 1}


async def test_trigger_after_resolve_opens_another(pd: PagerDutyStandIn) -> None:
    """After a resolve the same key opens a new incident: a duplicate page, and counted as one."""
    for action in ("trigger", "acknowledge", "resolve", "trigger"):
        await send(pd, event(action))
    assert [incident.status for incident in pd.incidents] == ["resolved", "triggered"]
    assert pd.opened() == {"one": 2}
    assert len(pd.open_incidents()) == 1


async def test_resolve_without_open_incident_is_dropped(pd: PagerDutyStandIn) -> None:
    """Acknowledge and resolve are dropped where nothing is open under their routing key."""
    assert (await send(pd, event("resolve")))[0] == 202
    await send(pd, event())
    await send(pd, event("resolve", routing_key="x" * 32))
    assert len(pd.dropped) == 2
    assert [incident.open for incident in pd.incidents] == [True]


async def test_trigger_without_key_gets_one(pd: PagerDutyStandIn) -> None:
    """Without dedup_key the answer names the key PagerDuty made."""
    _, answer = await send(pd, event(dedup_key=None))
    assert [incident.dedup_key for incident in pd.incidents] == [answer["dedup_key"]]


PAYLOAD: dict[str, Any] = {"summary": "s", "source": "x", "severity": "info"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "not a JSON object"),
        (event(routing_key="short"), "routing_key"),
        (event(routing_key=None), "routing_key"),
        (event("fix"), "event_action"),
        (event(event_action=None), "event_action"),
        (event("resolve", dedup_key=None), "dedup_key"),
        (event(dedup_key="k" * 256), "dedup_key"),
        (event(payload={}), "payload"),
        (event(payload={**PAYLOAD, "severity": "high"}), "severity"),
        (event(payload={**PAYLOAD, "summary": "s" * 1025}), "summary"),
        (event(payload={**PAYLOAD, "summary": " "}), "summary"),
        (event(payload={**PAYLOAD, "source": ""}), "source"),
        (event(payload={**PAYLOAD, "timestamp": "yesterday"}), "timestamp"),
        (event(payload={**PAYLOAD, "custom_details": "text"}), "custom_details"),
        (event(payload={**PAYLOAD, "class": 1}), "class"),
        (event(links=[{"text": "no href"}]), "href"),
        (event(links="http://x"), "links"),
        (event(links=[{"href": "httpx://x"}]), "href"),
        (event(images=[{"src": "http://plain"}]), "src"),
    ],
)
async def test_bad_events_are_refused(pd: PagerDutyStandIn, body: Any, field: str) -> None:
    """What breaks the schema gets 400 with the field in `errors`, and opens nothing."""
    status, answer = await send(pd, body)
    assert (status, answer["status"]) == (400, "invalid event")
    assert field in answer["errors"][0]
    assert not pd.incidents
    assert [each.status for each in pd.log] == [400]


async def test_limits_are_inclusive(pd: PagerDutyStandIn) -> None:
    """1024 characters of summary and 255 of key pass; half a megabyte does not."""
    full = {**PAYLOAD, "summary": "s" * 1024}
    assert (await send(pd, event(dedup_key="k" * 255, payload=full)))[0] == 202
    huge = {**PAYLOAD, "custom_details": {"log": "x" * 600_000}}
    assert (await send(pd, event(payload=huge)))[0] == 413


async def test_unknown_routing_key() -> None:
    """A stand-in that knows its keys refuses others."""
    async with PagerDutyStandIn(routing_keys=frozenset({KEY})) as pd:
        assert (await send(pd, event()))[0] == 202
        assert (await send(pd, event(routing_key="y" * 32)))[0] == 400


async def test_change_events(pd: PagerDutyStandIn) -> None:
    """Change events are kept apart and open nothing; ruleset keys are refused."""
    body = {"routing_key": KEY, "payload": {"summary": "rolled back", "timestamp": "2026-01-02T03:04:05Z"}}
    assert (await send(pd, body, "/v2/change/enqueue"))[0] == 202
    assert (await send(pd, {**body, "routing_key": "R" * 32}, "/v2/change/enqueue"))[0] == 400
    assert (await send(pd, {"routing_key": KEY}, "/v2/change/enqueue"))[0] == 400
    numbered = {"routing_key": KEY, "payload": {"summary": "rolled back", "source": 7}}
    assert (await send(pd, numbered, "/v2/change/enqueue"))[0] == 400
    linked = {**body, "links": [{"href": "javascript:x"}]}
    assert (await send(pd, linked, "/v2/change/enqueue"))[0] == 400
    assert (pd.changes, pd.incidents) == ([body], [])


async def test_faults(pd: PagerDutyStandIn) -> None:
    """Failures carry out nothing; a lost reply carries out everything; down is a cut connection."""
    pd.faults.fail_next(status=429, retry_after=7, body=THROTTLED)
    async with aiohttp.ClientSession() as session, session.post(f"{pd.url}/v2/enqueue", json=event()) as reply:
        assert (reply.status, reply.headers["Retry-After"]) == (429, "7")
        assert (await reply.json())["status"] == "throttle exceeded"
    pd.faults.fail_next(2, status=502)
    assert [(await send(pd, event()))[0] for _ in range(2)] == [502, 502]
    pd.faults.down = True
    with pytest.raises(aiohttp.ClientError):
        await send(pd, event())
    pd.faults.down = False
    assert pd.events == []
    pd.faults.lose_replies()
    with pytest.raises(aiohttp.ClientError):
        await send(pd, event())
    assert len(pd.events) == 1
    assert (await send(pd, event()))[0] == 202
    assert pd.opened() == {"one": 1}
