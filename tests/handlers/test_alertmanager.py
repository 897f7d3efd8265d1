"""The webhook over HTTP: each row of the table of bad input, and that 200 means it is kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from daemon.core.events import AlertSource, AlertsReported
from daemon.core.model import AlertStatus
from daemon.ports import InboxFullError, Journalled, JournalUnavailableError
from handlers.auth import Authenticator
from handlers.inbound.alertmanager import PATH, AlertmanagerWebhook
from handlers.server import ServerLimits, build_app
from tests.handlers.intake_fakes import T0, Counted, Hands, Kept, webhook, wire_alert

pytestmark = pytest.mark.looptime(False)

GOLDEN = Path(__file__).parents[1] / "golden" / "webhooks"
LIMITS = ServerLimits(body_bytes_max=100_000, body_seconds_max=0.2)


class World:
    """One webhook with everything around it."""

    def __init__(self, auth: Authenticator | None = None, kept: Kept | None = None) -> None:
        self.kept = kept or Kept()
        self.counted = Counted()
        self.accepted = 0
        self.truncated = 0
        self.hook = AlertmanagerWebhook(
            intake=self.kept,
            clock=Hands(),
            telemetry=self.counted,
            auth=auth,
            on_accepted=self._on_accepted,
            on_truncated=self._on_truncated,
        )

    def _on_accepted(self) -> None:
        self.accepted += 1

    def _on_truncated(self) -> None:
        self.truncated += 1

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[TestClient[web.Request, web.Application]]:
        app = build_app(routes=self.hook.routes(), limits=LIMITS)
        async with TestClient(TestServer(app)) as client:
            yield client

    @property
    def results(self) -> list[str]:
        return [result for _, result in self.counted.intakes]


async def test_an_accepted_payload_is_kept_first() -> None:
    """200 comes after the journal has the event; source, time and alerts are right; a slash at the end is the same."""
    world = World()
    async with world.serving() as client:
        for path in (PATH, PATH + "/"):
            answer = await client.post(path, json=webhook(wire_alert()))
            assert (answer.status, await answer.text()) == (200, "accepted\n")
    event = world.kept.events[0]
    assert isinstance(event, AlertsReported)
    assert (event.at, event.source, event.complete) == (T0, AlertSource.WEBHOOK, False)
    assert [alert.status for alert in event.alerts] == [AlertStatus.FIRING]
    assert (world.results, world.accepted, world.truncated) == (["accepted"] * 2, 2, 0)


async def test_no_answer_before_the_journal() -> None:
    """As long as the journal has not written, Alertmanager hears nothing."""
    go = asyncio.Event()

    class Slow(Kept):
        async def accept(self, event: Journalled) -> None:
            await go.wait()
            await super().accept(event)

    world = World(kept=Slow())
    async with world.serving() as client, asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(client.post(PATH, json=webhook(wire_alert())))
        done, _ = await asyncio.wait([asked], timeout=0.1)
        assert not done
        go.set()
        assert (await asked).status == 200


@pytest.mark.parametrize("path", sorted(GOLDEN.iterdir()), ids=lambda path: path.stem)
async def test_malformed_payloads(path: Path) -> None:
    """400 and one line that names the field; counted; nothing journalled."""
    world = World()
    async with world.serving() as client:
        answer = await client.post(PATH, data=path.read_bytes())  # noqa: ASYNC240 - a small local file
        text = await answer.text()
    assert answer.status == 400
    assert text.count("\n") == 1
    assert ": " in text
    assert (world.results, world.kept.events, world.accepted) == (["malformed"], [], 0)


async def test_credentials() -> None:
    """Without, or with wrong ones: 401 with a challenge, counted, the body unread; with right ones: 200."""
    world = World(Authenticator(tokens={"am": "t0ken"}, passwords={"u": "p"}))
    async with world.serving() as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            answer = await client.post(PATH, data=b"x" * 200_000, headers=headers)
            assert answer.status == 401
            assert len(answer.headers.getall("WWW-Authenticate")) == 2
        for auth in ("Bearer t0ken", aiohttp.encode_basic_auth("u", "p")):
            answer = await client.post(PATH, json=webhook(wire_alert()), headers={"Authorization": auth})
            assert answer.status == 200
    assert world.results == ["unauthorized"] * 2 + ["accepted"] * 2


async def test_too_large() -> None:
    """413, counted, nothing journalled."""
    world = World()
    async with world.serving() as client:
        assert (await client.post(PATH, data=b"x" * 100_001)).status == 413
    assert (world.results, world.kept.events) == (["too_large"], [])


@pytest.mark.parametrize(
    ("fault", "result"), [(JournalUnavailableError("disk full"), "unavailable"), (InboxFullError(), "full")]
)
async def test_what_cannot_be_kept_is_not_acknowledged(fault: Exception, result: str) -> None:
    """503, so that Alertmanager tries again; when the cause is gone the same payload is taken."""
    world = World()
    world.kept.fault = fault
    async with world.serving() as client:
        answer = await client.post(PATH, json=webhook(wire_alert(), truncatedAlerts=1))
        assert answer.status == 503
        assert (await answer.text()).count("\n") == 1
        world.kept.fault = None
        assert (await client.post(PATH, json=webhook(wire_alert()))).status == 200
    assert world.results == [result, "accepted"]
    assert world.truncated == 0


async def test_a_truncated_group_makes_the_poll_due() -> None:
    """The alerts that were left out can only be had from the API."""
    world = World()
    async with world.serving() as client:
        assert (await client.post(PATH, json=webhook(wire_alert(), truncatedAlerts=3))).status == 200
    assert (world.results, world.truncated) == (["accepted", "truncated"], 1)


async def test_no_alerts_is_nothing_to_keep() -> None:
    """An empty list is well-formed and says nothing."""
    world = World()
    async with world.serving() as client:
        assert (await client.post(PATH, json=webhook())).status == 200
    assert (world.kept.events, world.accepted) == ([], 0)


async def test_a_hostile_label_does_not_break_the_answer() -> None:
    """A 50 kB label with newlines and mark-up is accepted, cut."""
    world = World()
    hostile = json.dumps(webhook(wire_alert(labels={"pod": '"\n<!channel>' * 5000})))
    async with world.serving() as client:
        assert (await client.post(PATH, data=hostile)).status == 200
    (event,) = world.kept.events
    assert isinstance(event, AlertsReported)
    assert len(event.alerts[0].label("pod") or "") < 5000
