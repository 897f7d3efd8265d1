"""Faults of real processes in the middle of an incident: the daemon is stopped and goes on, servers go and come back."""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime
from pathlib import Path

import pytest

from deploy.sandbox.scenarios import APP
from deploy.sandbox.world import until
from tests.e2e.rig import QUIET_SECONDS, Rig, rig
from tests.e2e.test_crashes_kill import PATCH

pytestmark = [pytest.mark.real, pytest.mark.timeout(150)]

COUNTDOWN_SECONDS = 5.0

STOPPED_SECONDS = 12.0
"""Longer than the countdown, and than what counts as a mere delay (daemon/runtime/pulse.py)."""


async def stopped(made: Rig) -> None:
    """SIGSTOP, so long, SIGCONT: connections stay open, nobody answers, nothing is tidied up."""
    os.kill(made.daemon.pid, signal.SIGSTOP)
    try:
        ends = time.monotonic() + STOPPED_SECONDS
        await until("it was stopped for long", lambda: time.monotonic() > ends, 2 * STOPPED_SECONDS)
    finally:
        os.kill(made.daemon.pid, signal.SIGCONT)


async def test_stopped_in_the_countdown(tmp_path: Path) -> None:
    """The countdown that ran out meanwhile is no consent: people get all of it again, then one rollback and one page."""
    async with rig(tmp_path) as made:
        made.write_config(policy={**made.config["policy"], "countdown": f"{COUNTDOWN_SECONDS:g}s"})
        await made.verified_start()
        await made.roll_out_bad()
        await made.until_phase("proposed")
        await stopped(made)
        went_on = time.time()
        await until("the patch arrives", lambda: made.world.rollbacks() == 1, 60.0, step=0.02)
        assert time.time() - went_on >= COUNTDOWN_SECONDS
        assert any(line.get("event") == "was_away" for line in made.show.lines)
        last = made.facts("proposed")[-1]
        assert datetime.fromisoformat(last["countdown_until"]).timestamp() >= went_on + COUNTDOWN_SECONDS
        made.assert_recovered_once(await made.end())


@pytest.mark.parametrize("phase", ["rolling_back", "verifying"])
async def test_stopped_in_mid_rollback(phase: str, tmp_path: Path) -> None:
    """It goes on from where the world is by now: no second patch, no second page."""
    async with rig(tmp_path) as made:
        await made.verified_start()
        await made.roll_out_bad()
        await made.until_phase(phase)
        await stopped(made)
        made.assert_recovered_once(await made.end())


async def test_the_api_server_restarts_in_mid_rollback(tmp_path: Path) -> None:
    """It stores the patch and goes before it has answered; back, it is asked what became of it: one patch in all."""
    async with rig(tmp_path) as made:
        await made.verified_start()
        await made.roll_out_bad()
        kubernetes = made.gates["kubernetes"]
        await kubernetes.hold(PATCH, after=True).caught()
        kubernetes.shut()
        kubernetes.forget()
        await until("it asks again and again", lambda: kubernetes.refused >= 8, 30.0)
        assert made.world.version(APP) == "v1"
        kubernetes.open()
        made.assert_recovered_once(await made.end())
        assert len([seen for seen in kubernetes.seen if PATCH(seen)]) == 1


async def test_prometheus_goes_while_we_verify(tmp_path: Path) -> None:
    """The old version runs, and nothing says that the symptom is gone: handed over at the deadline, never called recovered,
    and the blamed revision stays out until somebody knows more.
    """
    async with rig(tmp_path) as made:
        made.write_config(policy={**made.config["policy"], "verify_deadline": "8s"})
        await made.verified_start()
        await made.roll_out_bad()
        await made.until_phase("rolling_back")
        made.gates["prometheus"].shut()
        await until("a person gets it", lambda: "escalated" in made.show.phases, 60.0)
        await until("PagerDuty is told", lambda: bool(made.world.pagerduty.open_incidents()), 20.0)
        quiet = time.monotonic() + QUIET_SECONDS
        await until("nothing more comes", lambda: time.monotonic() > quiet, 2 * QUIET_SECONDS)
        assert "recovered" not in made.show.phases
        assert (made.world.rollbacks(), len(made.world.pagerduty.incidents)) == (1, 1)
        (incident,) = {fact["incident"]["id"] for fact in made.facts("incident_opened")}
        reasons = [fact["reason"] for fact in made.facts("moved") if fact["phase"] == "escalated"]
        assert reasons == ["verify_inconclusive"]
        kept = [fact for fact in made.facts("ledger_written") if fact["entry"]["quarantined_by"] is not None]
        assert {fact["entry"]["quarantined_by"] for fact in kept} == {incident}
        last = {fact["entry"]["revision"]["id"]: fact["entry"] for fact in made.facts("ledger_written")}
        assert any(entry["quarantined_by"] == incident for entry in last.values())
