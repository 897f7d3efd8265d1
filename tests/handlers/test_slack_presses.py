"""Buttons from the press to the answer: who may, what counts, and what comes too late."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from daemon.core.actions import Measure
from daemon.core.events import Declined, PauseAsked
from daemon.core.facts import ApprovalGiven, CommandRefused
from daemon.core.incidents import Phase
from daemon.core.measurement import ConfigChange
from daemon.core.policy import ApproverRule
from daemon.core.reasons import Reason
from daemon.ports import InboxFullError, JournalUnavailableError
from tests.core.builders import V3, a_check
from tests.handlers.slack_room import ANNA, BEN, EVE, room

pytestmark = pytest.mark.real


async def test_approve_rolls_back() -> None:
    """An approver's press is journalled with its actor, the rollback runs, the presser is told, the buttons are gone."""
    async with room() as here:
        assert here.slack.button("Approve") is not None
        pressed = await here.slack.press("Approve", user=ANNA)
        assert not pressed.failed
        assert "Approved by you" in await here.answer()
        assert [fact.actor for fact in here.story.of(ApprovalGiven)] == [f"slack:{ANNA}"]
        assert [action.target.id for action in here.story.rollbacks] == ["11hash"]
        await here.announces()
        assert here.slack.button("Approve") is None
        assert here.counts.results == {"accepted": 1}


async def test_decline_hands_over() -> None:
    """A press on Decline changes nothing in the cluster and hands the incident to a person."""
    async with room() as here:
        await here.slack.press("Decline", user=BEN)
        assert "Declined by you" in await here.answer(BEN)
        here.story.expect(Phase.ESCALATED, Reason.DECLINED)
        assert [type(command) for command in here.taken] == [Declined]
        await here.announces()
        assert here.slack.button("Decline") is None


async def test_pause_stops_the_workload() -> None:
    """A press on Pause pauses exactly this workload until somebody resumes it, and says how."""
    async with room() as here:
        await here.slack.press("Pause this workload", user=ANNA)
        said = await here.answer()
        assert "lastgood resume shop/checkout" in said
        assert [(c.scope, c.lasts, c.actor) for c in here.taken if isinstance(c, PauseAsked)] == [
            ("shop/checkout", None, f"slack:{ANNA}")
        ]
        here.story.expect(Phase.ESCALATED, Reason.PAUSED)


@pytest.mark.parametrize("button", ["Approve", "Decline", "Pause this workload"])
async def test_who_is_no_approver_moves_nothing(button: str) -> None:
    """A stranger learns who may; nothing reaches the journal, and it is counted."""
    async with room() as here:
        facts = len(here.story.facts)
        pressed = await here.slack.press(button, user=EVE)
        assert not pressed.failed, "the press arrived; that it was not followed is told in words"
        said = await here.answer(EVE)
        assert "you may not" in said
        assert f"<@{ANNA}>" in said
        assert f"<@{BEN}>" in said
        assert (here.taken, len(here.story.facts)) == ([], facts)
        assert here.counts.results == {"forbidden": 1}
        here.story.expect(Phase.PROPOSED)


async def test_an_approver_of_another_namespace_is_a_stranger() -> None:
    """Approvers count only where their rule says so; where no rule reaches, nobody may."""
    async with room() as here:
        rule = ApproverRule(actors=(f"slack:{ANNA}",), namespaces=("cart",))
        here.story.policy = replace(here.story.policy, approvers=(rule,))
        await here.slack.press("Approve", user=ANNA)
        assert "Nobody may from Slack" in await here.answer()
        assert here.taken == []


async def test_a_member_of_another_workspace_is_a_stranger() -> None:
    """In a channel shared with another workspace the same id may be somebody else's."""
    async with room() as here:
        found = here.slack.button("Approve")
        assert found is not None
        message, action = found
        payload = here.slack.interactions.payload(
            action, message.shown(metadata=False), channel=message.channel, user=ANNA
        )
        payload["user"]["team_id"] = "T0OTHERS"
        await here.slack.interactions.deliver(payload)
        assert "you may not" in await here.answer()
        assert here.taken == []


@pytest.mark.parametrize(
    ("how", "phase", "says"),
    [
        ("rolled_back", Phase.ROLLING_BACK, "is rolling back already, approved by"),
        ("declined", Phase.ESCALATED, "was handed over to a person. A person declined the rollback. It was ann."),
        ("superseded", Phase.SUPERSEDED, "was superseded by a newer rollout"),
        ("deadline", Phase.ESCALATED, "Nobody confirmed in time."),
    ],
)
async def test_a_late_press_hears_what_the_incident_is_now(how: str, phase: Phase, says: str) -> None:
    """Whatever ended the proposal, a press on the message of then is refused by the core, journalled, and answered."""
    async with room() as here:
        then = here.snapshot()
        match how:
            case "rolled_back":
                here.story.approves(f"slack:{BEN}")
            case "declined":
                here.story.declines()
            case "superseded":
                here.story.rolls_out(V3, started_at=here.story.now)
            case _:
                here.story.waits(here.story.policy.approve_deadline)
        here.story.expect(phase)
        await here.slack.press("Approve", user=ANNA, message=then)
        said = await here.answer()
        assert said.startswith("Too late, nothing was done")
        assert says in said
        refused = here.story.of(CommandRefused)
        assert [(fact.command, fact.actor) for fact in refused] == [("approve", f"slack:{ANNA}")]
        here.story.expect(phase)


async def test_a_press_on_a_changed_proposal_is_no_consent() -> None:
    """What was shown is what counts: with another target, or one more question, the press of then is refused and kept."""
    async with room() as here:
        then = here.snapshot()
        incident = here.story.incident
        here.story.state = here.story.state.with_incident(incident.id, target=V3)
        await here.slack.press("Approve", user=ANNA, message=then)
        assert "the proposal has changed" in await here.answer()
        here.story.state = here.story.state.with_incident(
            incident.id, target=incident.target, shown=(*incident.shown, Reason.CONFIG_CHANGED)
        )
        await here.slack.press("Approve", user=ANNA, message=then)
        assert "CONFIG_CHANGED" in await here.answer(number=1)
        assert here.story.of(ApprovalGiven) == []
        assert [fact.actor for fact in here.story.of(CommandRefused)] == [f"slack:{ANNA}"] * 2
        assert here.counts.results == {"late": 2}


async def test_a_changed_proposal_comes_with_buttons_that_count() -> None:
    """When the fresh look raises a new question the message asks it, and a press on that message approves it."""
    async with room() as here:
        then = here.snapshot()
        change = ConfigChange(name="settings", changed_at=here.story.now)
        here.story.checks = lambda action: a_check(action.target, configs=(change,))
        await here.slack.press("Approve", user=ANNA)
        here.story.expect(Phase.PROPOSED)
        assert Reason.CONFIG_CHANGED in here.story.incident.shown
        await here.announces()
        await here.slack.press("Approve", user=BEN, message=then)
        assert "the proposal has changed" in await here.answer(BEN)
        await here.slack.press("Approve", user=BEN)
        assert "Approved by you" in await here.answer(BEN, 1)
        here.story.expect(Phase.ROLLING_BACK)


@pytest.mark.parametrize("last_look", ["answered", "out"])
async def test_of_two_presses_at_once_the_first_wins(last_look: str) -> None:
    """Both arrive before either is followed: one approval is journalled, the second presser hears whose it was."""
    async with room() as here:
        here.holds = asyncio.Event()
        if last_look == "out":
            here.story.withheld.add(Measure)
        both = [
            asyncio.get_running_loop().create_task(here.slack.press("Approve", user=user, message=here.snapshot()))
            for user in (ANNA, BEN)
        ]
        await asyncio.gather(*both)
        here.holds.set()
        texts = {ANNA: await here.answer(ANNA), BEN: await here.answer(BEN)}
        (given,) = here.story.of(ApprovalGiven)
        winner = given.actor.removeprefix("slack:")
        loser = BEN if winner == ANNA else ANNA
        assert "Approved by you" in texts[winner]
        assert texts[loser].startswith("Too late, nothing was done")
        assert f"approved by <@{winner}>" in texts[loser]


async def test_the_same_person_twice() -> None:
    """A double press approves once, and the second one is told that it was approved."""
    async with room() as here:
        then = here.snapshot()
        await here.slack.press("Approve", user=ANNA, message=then)
        await here.slack.press("Approve", user=ANNA, message=then)
        assert f"approved by <@{ANNA}>" in await here.answer(number=1)
        assert len(here.story.of(ApprovalGiven)) == 1


async def test_an_unknown_incident() -> None:
    """A message of an incident that the journal has forgotten is answered, not followed."""
    async with room() as here:
        here.story.state = replace(here.story.state, incidents={})
        await here.slack.press("Approve", user=ANNA)
        assert "there is no incident" in await here.answer()
        assert here.counts.results == {"unknown": 1}


@pytest.mark.parametrize(
    ("fault", "ready", "result"),
    [
        (JournalUnavailableError("disk full"), None, "unavailable"),
        (InboxFullError("full"), None, "full"),
        (None, "caches are not synced: pods", "unavailable"),
    ],
)
async def test_who_presses_while_we_cannot_is_told_to_try_again(
    fault: Exception | None, ready: str | None, result: str
) -> None:
    """Nothing is kept and nothing is done; the presser hears so, and Slack is answered all the same."""
    async with room() as here:
        here.fault, here.ready = fault, ready
        pressed = await here.slack.press("Approve", user=ANNA)
        assert not pressed.failed
        said = await here.answer()
        assert said.startswith("Nothing was done")
        assert "Press again" in said
        assert here.counts.results == {result: 1}
        here.fault, here.ready = None, None
        await here.slack.press("Approve", user=ANNA)
        assert "Approved by you" in await here.answer(number=1)


async def test_a_slow_journal_is_acknowledged_in_time() -> None:
    """Slack is answered within three seconds while the command still runs; what came of it is told afterwards."""
    async with room() as here:
        here.holds = asyncio.Event()
        pressed = await here.slack.press("Approve", user=ANNA)
        assert not pressed.failed
        assert pressed.seconds < 3.0
        assert here.slack.interactions.answers == []
        here.holds.set()
        assert "Approved by you" in await here.answer()


async def test_a_fault_of_ours_is_told_and_ends_nothing() -> None:
    """A bug in one press is logged and told; the next press works."""
    async with room() as here:
        here.fault = RuntimeError("a bug")
        await here.slack.press("Approve", user=ANNA)
        assert "Something went wrong" in await here.answer()
        here.fault = None
        await here.slack.press("Approve", user=ANNA)
        assert "Approved by you" in await here.answer(number=1)


async def test_while_the_last_look_is_out_nobody_approves_twice_but_anybody_may_stop_it() -> None:
    """Between approval and rollback a second approval is told whose the first was; a decline still stops it."""
    async with room() as here:
        here.story.withheld.add(Measure)
        then = here.snapshot()
        await here.slack.press("Approve", user=ANNA, message=then)
        assert "A fresh look comes first, then shop/checkout goes back to checkout:v1" in await here.answer()
        await here.slack.press("Approve", user=BEN, message=then)
        assert f"was approved by <@{ANNA}>" in await here.answer(BEN)
        assert [fact.actor for fact in here.story.of(CommandRefused)] == [f"slack:{BEN}"]
        here.story.expect(Phase.PROPOSED)
        assert here.story.incident.approved_by == f"slack:{ANNA}"
        await here.slack.press("Decline", user=BEN, message=then)
        assert "Declined by you, nothing was changed" in await here.answer(BEN, 1)
        here.story.expect(Phase.ESCALATED, Reason.DECLINED)


async def test_a_pause_on_the_message_of_an_ended_incident_is_a_slip() -> None:
    """Days later the button of an old message must not quietly switch off the protection of a workload."""
    async with room() as here:
        then = here.snapshot()
        here.story.rolls_out(V3, started_at=here.story.now)
        await here.slack.press("Pause this workload", user=ANNA, message=then)
        assert (await here.answer()).startswith("Too late, nothing was done")
        assert here.story.state.pauses == {}
