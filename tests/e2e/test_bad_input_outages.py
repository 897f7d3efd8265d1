"""Each outside system down in turn during an incident: held, retried, visible in /metrics, finished when it is back.

The daemon meets each through a gate that is shut at a moment of the incident which needs that system, and opened when
the metrics have shown the outage.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from deploy.sandbox.world import until
from tests.e2e.rig import Rig, rig

pytestmark = [pytest.mark.real, pytest.mark.timeout(150)]


@dataclass(frozen=True, kw_only=True)
class Outage:
    """`gate` shuts when an incident is in `phase`; lines of /metrics that match `seen` add up to more than before."""

    gate: str
    phase: str
    seen: str
    acted: bool
    """Whether the rollback may be done while it is down."""


FAILED = r'lastgood_action_failures_total{{action="{}",class="(network|timeout|server)"}}'

OUTAGES = {
    "kubernetes": Outage(
        gate="kubernetes",
        phase="proposed",
        seen=r'lastgood_contacts_total{part="kubernetes",result="failed"}',
        acted=False,
    ),
    "prometheus": Outage(
        gate="prometheus",
        phase="proposed",
        seen=r'lastgood_contacts_total{part="prometheus",result="failed"}',
        acted=False,
    ),
    "alertmanager": Outage(
        gate="alertmanager",
        phase="verifying",
        seen=r'lastgood_contacts_total{part="alertmanager",result="failed"}',
        acted=True,
    ),
    "pagerduty": Outage(gate="pagerduty", phase="proposed", seen=FAILED.format("page"), acted=True),
    "slack": Outage(gate="slack", phase="proposed", seen=FAILED.format("announce"), acted=True),
}


async def metric(rig: Rig, pattern: str) -> float:
    """The sum of the lines of /metrics that begin with the pattern."""
    url = f"http://127.0.0.1:{rig.world.port}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(pattern.replace("{", r"\{"), line))


async def until_metric(rig: Rig, pattern: str, above: float) -> None:
    """Wait until the metric shows it."""
    async with asyncio.timeout(40):
        while await metric(rig, pattern) <= above:
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("name", OUTAGES)
async def test_outage_in_the_middle_of_an_incident(name: str, tmp_path: Path) -> None:
    """No action on missing data while it is down; recovered once, with one page and one thread, when it is back."""
    outage = OUTAGES[name]
    async with rig(tmp_path) as down:
        down.write_config(policy={**down.config["policy"], "decide_deadline": "60s", "verify_deadline": "60s"})
        await down.verified_start()
        await down.roll_out_bad()
        await down.until_phase(outage.phase)
        before = await metric(down, outage.seen)
        down.gates[outage.gate].shut()
        await until_metric(down, outage.seen, before)
        if not outage.acted:
            # Longer than the countdown: a daemon that acted blindly would have done it by now.
            await until("it asks again and again", lambda: down.gates[outage.gate].refused >= 5, 30.0)
            assert down.world.rollbacks() == 0
        assert "recovered" not in down.show.phases or outage.gate in {"pagerduty", "slack"}
        down.gates[outage.gate].open()
        ended = await down.end(60.0)
        await until("the page is resolved", lambda: _resolved(down), 30.0)
        await until("Slack knows the end", lambda: _told(down), 30.0)
        down.assert_recovered_once(ended if ended.pages else down.show.ended())


def _resolved(rig: Rig) -> bool:
    return bool(rig.world.pagerduty.incidents) and not rig.world.pagerduty.open_incidents()


def _told(rig: Rig) -> bool:
    return any("symptom is gone" in message.text for message in rig.world.slack.messages)
