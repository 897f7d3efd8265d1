"""A whole incident in mode `approve`, decided from the chat: the real daemon, Slack's stand-in, a restart while it waits."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from deploy.sandbox.scenarios import APP
from deploy.sandbox.vendors.slack import SlackMessage
from deploy.sandbox.world import NAMESPACE, until
from tests.e2e.rig import Rig, rig

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

ANNA, EVE = "U0ANNA", "U0EVEE"
WAIT_SECONDS = 15.0


@asynccontextmanager
async def proposing(folder: Path, **slack: str) -> AsyncIterator[Rig]:
    """A bad rollout, proposed to be rolled back and announced with buttons; the daemon waits for a person."""
    async with rig(folder) as made:
        room = made.world.slack.interactions
        room.request_url = f"http://127.0.0.1:{made.world.port}/api/v1/slack/interactions"
        room.hooks_url = made.gates["slack"].url  # answers go only below the address that is configured
        made.write_config(
            slack=slack,
            policy={
                "modes": [{"namespaces": [NAMESPACE], "mode": "approve"}],
                "approvers": [{"slack": [ANNA], "namespaces": [NAMESPACE]}],
                "approve_deadline": "90s",  # a restart on a busy machine must fit in
            },
        )
        await made.verified_start()
        await made.roll_out_bad()
        await made.until_phase("proposed")
        await until("the proposal is announced", lambda: made.world.slack.button("Approve") is not None, WAIT_SECONDS)
        yield made


def shown(made: Rig) -> SlackMessage:
    """The incident's message as a screen shows it now."""
    return copy.deepcopy(made.world.slack.parents()[0])


async def answered(made: Rig, user: str, words: str) -> None:
    """Wait until this person alone was told so."""

    def told() -> bool:
        answers = made.world.slack.interactions.answers
        return any(each.user == user and each.ephemeral and words in each.text for each in answers)

    await until(f"{user} is told {words!r}", told, WAIT_SECONDS)


async def test_approved_after_a_crash(tmp_path: Path) -> None:
    """Killed while it waits, it waits on; a stranger changes nothing, the approver's press rolls back, once."""
    async with proposing(tmp_path, signing_secret="0123456789abcdef0123456789abcdef") as made:
        slack, then = made.world.slack, shown(made)
        await made.daemon.kill()
        assert (await slack.press("Approve", user=ANNA)).failed, "nobody hears it, and the presser sees that"
        await made.start()

        assert not (await slack.press("Approve", user=EVE)).failed
        await answered(made, EVE, f"Who may: <@{ANNA}>")
        assert made.world.rollbacks() == 0
        assert made.facts("approval_given") == []

        assert not (await slack.press("Approve", user=ANNA)).failed
        await answered(made, ANNA, "Approved by you")
        made.assert_recovered_once(await made.end())
        assert [fact["actor"] for fact in made.facts("approval_given")] == [f"slack:{ANNA}"]
        assert slack.button("Approve") is None, "what is decided has no buttons any more"

        assert not (await slack.press("Approve", user=ANNA, message=then)).failed
        await answered(made, ANNA, "Too late, nothing was done")
        assert [(fact["command"], fact["actor"]) for fact in made.facts("command_refused")] == [
            ("approve", f"slack:{ANNA}")
        ]
        assert made.world.rollbacks() == 1


async def test_declined_over_socket_mode_after_a_restart(tmp_path: Path) -> None:
    """Without a public URL: stopped and started while it waits, it connects again, and a decline hands over."""
    async with proposing(tmp_path, app_token="xapp-1-A0SANDBOX-sandbox") as made:
        slack = made.world.slack
        await until("Socket Mode stands", lambda: bool(slack.interactions.connections), WAIT_SECONDS)
        await made.daemon.stop()
        await made.start()
        await until("Socket Mode stands again", lambda: bool(slack.interactions.connections), WAIT_SECONDS)
        assert slack.interactions.opened == 2

        assert not (await slack.press("Decline", user=ANNA)).failed
        await answered(made, ANNA, "Declined by you, nothing was changed")
        ended = await made.end()
        assert (ended.outcome, ended.rollbacks, ended.pages) == ("escalated", 0, 1)
        assert made.world.version(APP) == "v2"
        assert slack.button("Approve") is None
        assert slack.interactions.sent == [], "nothing came by request"
