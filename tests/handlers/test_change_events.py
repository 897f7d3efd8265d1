"""Change events are valid whatever they tell, notify nobody, and their failures become the right kind of fault."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import aiohttp
import pytest

from daemon.core.actions import NoteChange, OutcomeKind
from daemon.core.model import ActionId, Workload
from deploy.sandbox.vendors import THROTTLED, PagerDutyStandIn
from handlers.faults import FaultKind, Permanent, Transient
from handlers.outbound.change_events import ChangeEvents
from handlers.pagerduty_events import RATE_LIMIT_WAIT_SECONDS
from tests.handlers.telling import HOSTILE_TEXT, strings

pytestmark = pytest.mark.real

KEY = "e0123456789abcdef0123456789abcde"

CHANGE = NoteChange(
    id=ActionId("shop/Deployment/checkout/rollout/7/note"),
    deadline=datetime(2026, 3, 1, 13, 0, tzinfo=UTC),
    workload=Workload(namespace="shop", kind="Deployment", name="checkout"),
    summary="shop/checkout: checkout:1.5.0 rolls out, was checkout:1.4.1",
    happened_at=datetime(2026, 3, 1, 12, 58, 2, 500000, tzinfo=timezone(timedelta(hours=1))),
    details=(("commit", "9f1c2ab"), ("author", "kim")),
    links=(("pipeline", "https://ci.example/job/42"), ("change", "javascript:alert(1)")),
)


@pytest.fixture
async def pd() -> AsyncIterator[PagerDutyStandIn]:
    async with PagerDutyStandIn(routing_keys=frozenset({KEY})) as standin:
        yield standin


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def changes(session: aiohttp.ClientSession, url: str, key: str = KEY) -> ChangeEvents:
    return ChangeEvents(session, url, key, "prod")


async def test_a_change_reaches_the_timeline(pd: PagerDutyStandIn, session: aiohttp.ClientSession) -> None:
    """The event tells what changed, where and when in UTC, with its links, and opens no incident."""
    outcome = await changes(session, pd.url + "/").run(CHANGE)
    assert outcome.kind is OutcomeKind.DONE
    assert pd.changes == [
        {
            "routing_key": KEY,
            "payload": {
                "summary": "shop/checkout: checkout:1.5.0 rolls out, was checkout:1.4.1",
                "source": "prod/shop/Deployment/checkout",
                "timestamp": "2026-03-01T11:58:02+00:00",
                "custom_details": {
                    "commit": "9f1c2ab",
                    "author": "kim",
                    "workload": "shop/Deployment/checkout",
                    "cluster": "prod",
                },
            },
            "links": [{"href": "https://ci.example/job/42", "text": "pipeline"}],
        }
    ]
    assert pd.incidents == []


@pytest.mark.parametrize("key", ["R" + "0" * 31, "R"])
async def test_a_rulesets_key_is_refused_here(pd: PagerDutyStandIn, session: aiohttp.ClientSession, key: str) -> None:
    """PagerDuty takes no change event with such a key: the outcome says so, and nothing is sent."""
    outcome = await changes(session, pd.url, key).run(CHANGE)
    assert outcome.kind is OutcomeKind.REFUSED
    assert "integration key of a service" in outcome.message
    assert pd.log == []


@pytest.mark.parametrize("summary", [HOSTILE_TEXT * 100, "x" * 1_000_000, "", " \n\x00", "🇩🇪" * 5000])
async def test_every_event_is_valid(pd: PagerDutyStandIn, session: aiohttp.ClientSession, summary: str) -> None:
    """Whatever a pipeline says, PagerDuty accepts the event and no line of ours can be forged."""
    details = tuple((f"{number}{summary[:1000]}", summary) for number in range(100))
    links = tuple((summary[:5000], f"https://x.example/{number}") for number in range(100))
    await changes(session, pd.url).run(replace(CHANGE, summary=summary, details=details, links=links))
    (event,) = pd.changes
    assert event["payload"]["summary"].strip()
    assert not any(set(text) & set("\n\r\x00\x1b\u2028\u202e\u2066") for text in strings(event))
    assert event["payload"]["custom_details"]["cluster"] == "prod"


async def test_a_lost_answer_may_show_a_change_twice(pd: PagerDutyStandIn, session: aiohttp.ClientSession) -> None:
    """After a lost answer there is nothing to ask: it is sent again, and nobody is paged by either."""
    pd.faults.lose_replies()
    with pytest.raises(Transient):
        await changes(session, pd.url).run(CHANGE)
    assert await changes(session, pd.url).probe(CHANGE) is None
    await changes(session, pd.url).run(CHANGE)
    assert (len(pd.changes), pd.incidents) == (2, [])


@pytest.mark.parametrize(
    ("status", "header", "body", "wait"),
    [
        (429, 7, THROTTLED, 7.0),
        (429, None, THROTTLED, RATE_LIMIT_WAIT_SECONDS),
        (503, 9, {}, 9.0),
        (500, None, {}, None),
    ],
)
async def test_what_may_pass_is_transient(
    pd: PagerDutyStandIn,
    session: aiohttp.ClientSession,
    status: int,
    header: int | None,
    body: dict[str, Any],
    wait: float | None,
) -> None:
    """Overload and server errors are tried again after the wait that was asked for."""
    pd.faults.fail_next(status=status, retry_after=header, body=body)
    with pytest.raises(Transient) as caught:
        await changes(session, pd.url).run(CHANGE)
    assert caught.value.retry_after == wait
    assert pd.changes == []


async def test_an_unknown_key_is_permanent_and_not_told(session: aiohttp.ClientSession) -> None:
    """A refusal carries PagerDuty's complaint and never our key, whatever is echoed."""
    async with PagerDutyStandIn() as pd:
        pd.faults.fail_next(status=400, body={"message": "invalid", "errors": [f"routing_key {KEY} is unknown"]})
        with pytest.raises(Permanent) as caught:
            await changes(session, pd.url).run(CHANGE)
    assert "is unknown" in caught.value.reason
    assert KEY not in repr(caught.value) + " ".join(caught.value.causes)


async def test_nobody_there_is_transient(session: aiohttp.ClientSession, pd: PagerDutyStandIn) -> None:
    """A refused connection and one that is cut are tried again."""
    with pytest.raises(Transient) as refused:
        await changes(session, "http://127.0.0.1:9").run(CHANGE)
    assert refused.value.kind is FaultKind.NETWORK
    pd.faults.down = True
    with pytest.raises(Transient):
        await changes(session, pd.url).run(CHANGE)
