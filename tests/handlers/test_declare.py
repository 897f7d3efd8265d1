"""Declaring an anomaly: what is refused, what it opens or marks, and what the answer promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from daemon.core.events import Declared
from daemon.core.incidents import Incident, Phase
from daemon.core.model import Declaration, DeclaredCause, Mode
from daemon.core.state import State
from handlers import consequences
from tests.core.builders import MINUTE, SHOP, a_policy
from tests.core.story import Story
from tests.handlers.people import Daemon, listening

# Real sockets: virtual time would run past them.
pytestmark = pytest.mark.looptime(False)


def rolled_out(mode: Mode = Mode.AUTO) -> Story:
    """v1 was proven, v2 is out for ten minutes, and no alert fires."""
    story = Story(policy=a_policy(default_mode=mode))
    story.proves_v1()
    story.rolls_out()
    story.waits(10 * MINUTE)
    assert not story.incidents
    return story


@pytest.fixture
def daemon() -> Daemon:
    return Daemon(rolled_out())


@pytest.fixture
async def session(daemon: Daemon, tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        listening(daemon, tmp_path / "s"),
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(tmp_path / "s"))) as found,
    ):
        yield found


async def declare(session: aiohttp.ClientSession, **fields: Any) -> tuple[int, dict[str, Any]]:
    body = {"workload": "shop/checkout", "reason": "customer_reports"} | fields
    async with session.post("http://lastgood/api/v1/declare", json=body) as response:
        return response.status, await response.json()


async def test_it_opens_an_incident_and_tells_what_follows(session: aiohttp.ClientSession, daemon: Daemon) -> None:
    """Actor, note and onset reach the core; the answer names the incident and what will happen."""
    now = daemon.now()
    status, document = await declare(session, since="5m", note="carts are empty", name="ann")
    assert status == 200
    (event,) = daemon.taken
    assert isinstance(event, Declared)
    assert (event.cause, event.onset, event.note) == (
        DeclaredCause.CUSTOMER_REPORTS,
        now - 5 * MINUTE,
        "carts are empty",
    )
    assert event.actor.endswith("(says 'ann')")
    incident = daemon.story.incident
    assert document["incident"]["id"] == incident.id
    assert f"{incident.id} is open: it looks into the latest rollout of shop/checkout" in document["changed"]
    assert document["then"].endswith(f"`lastgood explain {incident.id}` tells more")


async def test_a_second_one_marks_the_open_incident(session: aiohttp.ClientSession, daemon: Daemon) -> None:
    """The same incident, told as marked; no second one is opened. Hyphens are as good as underscores."""
    story = daemon.story
    await declare(session)
    _, document = await declare(session, reason="data-corruption")
    assert len(story.incidents) == 1
    assert document["incident"]["id"] == story.incident.id
    assert f"{story.incident.id} was open already: it is now a declared one, too" in document["changed"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"reason": "gut_feeling"}, "reason"),
        ({"reason": "pipeline_failed"}, "reason"),
        ({"reason": None}, "reason"),
        ({"since": "10"}, "since"),
        ({"since": "0s"}, "since"),
        ({"since": "25h"}, "since"),
        ({"since": 600}, "since"),
        ({"note": ""}, "note"),
        ({"note": "x" * 501}, "note"),
        ({"workload": ""}, "workload"),
        ({"cause": "x"}, "cause"),
    ],
)
async def test_a_wrong_declaration_is_named(
    session: aiohttp.ClientSession, daemon: Daemon, fields: dict[str, Any], field: str
) -> None:
    """400 with the field; nothing reaches the core."""
    status, document = await declare(session, **fields)
    assert status == 400
    assert field in document["error"]
    assert daemon.taken == []


async def test_what_is_not_known_cannot_be_declared(session: aiohttp.ClientSession) -> None:
    """No such workload is 404 with the remedy."""
    status, document = await declare(session, workload="shop/cart")
    assert (status, document["error"]) == (404, "no workload 'shop/cart' is known")


async def test_without_a_rollout_it_is_refused(tmp_path: Path) -> None:
    """A workload that was never seen to change: 409 with the core's reason and where to look."""
    story = Story()
    story.proves_v1()
    async with (
        listening(Daemon(story), tmp_path / "s"),
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(tmp_path / "s"))) as session,
    ):
        status, document = await declare(session)
    assert status == 409
    assert "no rollout of shop/Deployment/checkout is known" in document["error"]
    assert "lastgood history" in document["remedy"]


def told(story: Story, cause: DeclaredCause, phase: Phase | None = None) -> str:
    """What the answer says will happen; with `phase` as if the incident were already there."""
    at = story.now
    command = Declared(at=at, workload=SHOP.key, cause=cause, onset=at, actor="unix:ann")
    facts = story.happens(command)
    state: State = story.state
    if phase is not None:
        state = state.with_incident(story.incident.id, phase=phase)
    incident: Incident = state.incidents[story.incident.id]
    then = str(consequences.after(command, facts, state, story.policy)["then"])
    assert incident.id in then
    return then


@pytest.mark.parametrize("mode", [Mode.APPROVE, Mode.AUTO])
@pytest.mark.parametrize("cause", [DeclaredCause.DATA_CORRUPTION, DeclaredCause.FAILED_MIGRATION])
def test_data_is_never_risked_without_a_person(mode: Mode, cause: DeclaredCause) -> None:
    """Whatever the mode, the answer promises that nobody acts without approval."""
    assert told(rolled_out(mode), cause).startswith(
        f"{cause.sentence}: nothing is rolled back without a person's approval"
    )


def test_what_was_said_of_data_before_still_counts() -> None:
    """A second, harmless declaration of the same incident promises no less than the first."""
    story = rolled_out()
    command = Declared(
        at=story.now, workload=SHOP.key, cause=DeclaredCause.CUSTOMER_REPORTS, onset=story.now, actor="unix:ann"
    )
    facts = story.happens(command)
    first = Declaration(cause=DeclaredCause.FAILED_MIGRATION, actor="unix:bob", at=story.now)
    state = story.state.with_incident(story.incident.id, declared=first)
    then = str(consequences.after(command, facts, state, story.policy)["then"])
    assert then.startswith("a migration failed: nothing is rolled back without a person's approval")


@pytest.mark.parametrize(
    ("mode", "promise"),
    [
        (Mode.OBSERVE, "the mode is observe: it is judged and announced, and nothing is changed"),
        (Mode.APPROVE, "where the rollout is blamed, a rollback is proposed and waits for a person"),
        (Mode.AUTO, "the rollout is measured: only strong evidence acts by itself, else a rollback is proposed"),
    ],
)
def test_the_mode_says_what_follows(mode: Mode, promise: str) -> None:
    """Each mode has its own promise."""
    assert told(rolled_out(mode), DeclaredCause.CUSTOMER_REPORTS).startswith(promise)


@pytest.mark.parametrize(
    ("phase", "promise"),
    [
        (Phase.ESCALATED, "nothing more is done by itself: it is escalated"),
        (Phase.ROLLING_BACK, "a rollback is under way already"),
        (Phase.VERIFYING, "a rollback is under way already"),
    ],
)
def test_an_incident_that_is_further_promises_less(phase: Phase, promise: str) -> None:
    """What is already handed over or rolled back is told as such."""
    assert told(rolled_out(), DeclaredCause.VULNERABILITY, phase).startswith(promise)


def test_an_ended_incident_is_told_with_its_reason() -> None:
    """Declared before the rollout began: nothing will be done, and the answer says why."""
    story = rolled_out()
    at = story.now
    command = Declared(
        at=at, workload=SHOP.key, cause=DeclaredCause.VULNERABILITY, onset=at - 20 * MINUTE, actor="unix:ann"
    )
    facts = story.plays(command)
    then = str(consequences.after(command, facts, story.state, story.policy)["then"])
    assert story.incident.reason is not None
    assert f"it is dismissed ({story.incident.reason.sentence}); " in then


def test_the_promise_holds() -> None:
    """Declared data corruption with the strongest evidence in `auto`: proposed, and nothing is rolled back."""
    story = rolled_out()
    told(story, DeclaredCause.DATA_CORRUPTION)
    story.answers()
    story.waits(9 * MINUTE)
    assert story.incident.phase is Phase.PROPOSED
    assert story.incident.patched_at is None
