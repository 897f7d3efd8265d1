"""Socket Mode: a connection that comes back by itself, and presses that are acknowledged in time."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import aiohttp
import pytest

from daemon.core.facts import ApprovalGiven
from deploy.sandbox.vendors.slack_interactions import ANSWER_SECONDS
from handlers.inbound import slack_socket
from tests.handlers.slack_room import ANNA, BEN, EVE, room, until

pytestmark = pytest.mark.real


async def test_a_press_is_followed_and_acknowledged() -> None:
    """The same press over the other road: followed, journalled, answered to the presser alone; nobody was called."""
    async with room(by_socket=True) as here:
        pressed = await here.slack.press("Approve", user=ANNA)
        assert pressed.status == 200
        assert "Approved by you" in await here.answer()
        assert [fact.actor for fact in here.story.of(ApprovalGiven)] == [f"slack:{ANNA}"]
        assert here.slack.interactions.sent == []


async def test_a_stranger_is_acknowledged_and_told() -> None:
    """Who may not gets the same answer as over the URL."""
    async with room(by_socket=True) as here:
        assert (await here.slack.press("Approve", user=EVE)).status == 200
        assert "you may not" in await here.answer(EVE)
        assert here.taken == []


async def test_a_slow_journal_is_acknowledged_in_time() -> None:
    """The envelope is acknowledged while the command still runs, and others are served meanwhile."""
    async with room(by_socket=True) as here:
        then = here.snapshot()
        here.holds = asyncio.Event()
        slow = asyncio.get_running_loop().create_task(here.slack.press("Approve", user=ANNA, message=then))
        await until(lambda: bool(here.taken))
        assert (await here.slack.press("Decline", user=EVE, message=then)).seconds < ANSWER_SECONDS
        assert (await slow).status == 200
        here.holds.set()
        assert "Approved by you" in await here.answer()


async def test_nonsense_in_an_envelope_is_acknowledged_and_ends_nothing() -> None:
    """Garbage, unknown kinds and broken payloads are counted; the connection lives on."""
    async with room(by_socket=True) as here:
        (connection,) = here.slack.interactions.connections
        for text in (
            "no JSON",
            "{",
            "[]",
            "{}",
            '{"type": "interactive"}',
            '{"type": "interactive", "envelope_id": "e1", "payload": 5}',
            '{"type": "interactive", "envelope_id": "e2", "payload": {"type": 5}}',
            '{"type": "slash_commands", "envelope_id": "e3", "payload": {}}',
            json.dumps({"type": "interactive", "envelope_id": "e4", "payload": {"type": "block_actions"}}),
        ):
            await connection.send_str(text)
        await until(lambda: here.counts.results["malformed"] == 2)
        assert (await here.slack.press("Approve", user=ANNA)).status == 200
        assert here.slack.interactions.opened == 1


async def test_a_dropped_connection_is_made_anew() -> None:
    """The server hangs up without a word: a new ticket, a new connection, and presses are heard again."""
    async with room(by_socket=True) as here:
        await here.slack.interactions.drop()
        await until(lambda: here.slack.interactions.opened == 2 and bool(here.slack.interactions.connections))
        assert (await here.slack.press("Approve", user=ANNA)).status == 200


async def test_asked_to_move_on_it_is_never_deaf() -> None:
    """`disconnect` announces the end of a connection: the next one stands before this one is closed."""
    async with room(by_socket=True) as here:
        slack = here.slack.interactions
        (first,) = slack.connections
        await slack.ask_to_move()
        await until(lambda: len(slack.connections) == 2)
        assert not first.closed
        assert (await here.slack.press("Approve", user=ANNA)).status == 200
        await until(lambda: first.closed)
        assert (await here.slack.press("Decline", user=BEN, message=here.snapshot())).status == 200
        assert slack.opened == 2


async def test_a_server_that_refuses_is_tried_again() -> None:
    """A revoked token or an outage is counted and told by its word, and the next try succeeds by itself."""
    async with room(by_socket=True) as here:
        slack = here.slack.interactions
        slack.tickets_refused = "invalid_auth"
        await slack.drop()
        await until(lambda: here.counts.contacts.count(False) >= 2)
        slack.tickets_refused = None
        await until(lambda: bool(slack.connections))
        assert (await here.slack.press("Approve", user=ANNA)).status == 200


@pytest.mark.parametrize(
    "failure",
    [
        {"status": 502},
        {"status": 200},
        {"status": 200, "body": {"ok": True}},
        {"status": 200, "body": {"ok": True, "url": 5}},
        {"status": 200, "body": {"ok": True, "url": "wss://127.0.0.1:1/"}},
        {"status": 429, "body": {"ok": False, "error": "ratelimited"}},
    ],
    ids=str,
)
async def test_a_broken_answer_ends_nothing(failure: dict[str, Any]) -> None:
    """Whatever comes in the place of a ticket, the next one is asked for."""
    async with room(by_socket=True) as here:
        slack = here.slack
        slack.faults.fail_next(1, **failure)
        await slack.interactions.drop()
        await until(lambda: slack.interactions.opened == 2)
        assert (await slack.press("Approve", user=ANNA)).status == 200


async def test_failures_are_waited_for_longer_and_longer() -> None:
    """A server that refuses is not hammered: the pauses double."""
    async with room(by_socket=True) as here:
        slack, loop = here.slack.interactions, asyncio.get_running_loop()
        slack.tickets_refused = "internal_error"
        await slack.drop()
        began = loop.time()
        await until(lambda: here.counts.contacts.count(False) >= 4)
        assert loop.time() - began >= 0.1 + 0.2 + 0.4


async def test_it_stays_connected_while_nothing_happens() -> None:
    """Several pings long nothing is said, and the connection stays the same one."""
    async with room(by_socket=True) as here:
        await until(lambda: here.slack.interactions.pings >= 8)
        assert here.slack.interactions.opened == 1


async def test_neither_token_nor_ticket_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The library would log both; its log goes nowhere, ours holds the error's word only."""
    caplog.set_level(logging.DEBUG)
    async with room(by_socket=True) as here:
        slack = here.slack.interactions
        slack.tickets_refused = "token_revoked"
        await slack.drop()
        await until(lambda: here.counts.contacts.count(False) >= 1)
    assert slack.app_token not in caplog.text
    assert "ticket=" not in caplog.text


async def test_nothing_is_left_behind() -> None:
    """After the end no task and no connection of the library is left."""
    before = asyncio.all_tasks()
    async with room(by_socket=True) as here:
        slack = here.slack.interactions
    assert slack.connections == []
    left = [task for task in asyncio.all_tasks() - before if not task.done()]
    assert left == []


def test_a_reason_holds_no_address() -> None:
    """Of a failed handshake only the kind is told: its text would hold the ticket."""
    error = aiohttp.ClientConnectionError("wss://wss-primary.slack.com/link/?ticket=s3cr3t")
    assert slack_socket._reason(error) == "ClientConnectionError"
