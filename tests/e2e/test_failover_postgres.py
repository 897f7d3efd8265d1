"""Two daemons on one PostgreSQL journal: whoever leads next finishes what the last one began, once.

Alertmanager's webhook ends at the one that stands by, and the leader is cut off from Alertmanager: what is acted on is what a
standby accepted. Many more of these: `make failovers`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from deploy.sandbox.world import until
from tests.e2e.moments import MOMENTS, begun, failed_over
from tests.e2e.two import END_SECONDS, two
from tests.postgres import Server, running

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

KILLED_SECONDS, TERMINATED_SECONDS = 20.0, 2.0
"""From the leader's end until the standby acts, with the default lease: what is promised."""


async def test_kill_before_the_patch_arrives(tmp_path: Path, postgres: Server) -> None:
    """`kill -9` when the patch is under way; it arrives when the standby, which took the alert, leads: it acts within 20 s,
    and one of the two patches changes something.
    """
    async with two(tmp_path, postgres) as both:
        done = await failed_over(both, "patch-not-arrived", "kill", late=True)
        assert done.acted_after < KILLED_SECONDS
        await both.assert_well()


async def test_sigterm_when_the_page_is_on_its_way(tmp_path: Path, postgres: Server) -> None:
    """SIGTERM between the page and its answer: the standby acts within 2 s, and PagerDuty has one incident."""
    async with two(tmp_path, postgres) as both:
        done = await failed_over(both, "page-answer-lost", "sigterm", late=False)
        assert done.acted_after < TERMINATED_SECONDS
        await both.assert_well()


async def test_stopped_before_its_commit_arrives(tmp_path: Path, postgres: Server) -> None:
    """SIGSTOP when the patch is done and its outcome on the way to the journal; the other leads, the commit arrives, SIGCONT:
    nothing of the old leader is in the journal, it patches no more, and ends saying why.
    """
    async with two(tmp_path, postgres) as both:
        old = both.members[0]
        await failed_over(both, "outcome-not-journalled", "sigstop", late=True)
        assert "lease" in old.ended_because() or "has taken over" in old.ended_because(), old.ended_because()
        await both.assert_well()


async def test_the_database_restarts_in_the_middle(tmp_path: Path) -> None:
    """PostgreSQL restarts when the patch is done and not journalled: both daemons go on, and the same one leads."""
    with running() as server:
        async with two(tmp_path, server) as both:
            await begun(both)
            leader, standby = both.members
            held = MOMENTS["patch-answer-lost"].arm(both, leader)
            await both.roll_out_bad()
            await held.caught()
            leader.gates["alertmanager"].open()  # by it recovery is seen
            await asyncio.to_thread(server.stop)
            for hold in held.holds:
                await hold.go_on()
            await until("the journal is missed", lambda: leader.when("journal_unwritable") is not None, END_SECONDS)
            await asyncio.to_thread(server.start)
            await both.assert_well()
            assert leader.leads
            assert standby.daemon.running
