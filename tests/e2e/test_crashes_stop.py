"""SIGTERM in the middle of an incident, and what happens while the daemon is down."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import aiohttp
import pytest

from deploy.sandbox.process import REPOSITORY, bare_environment
from deploy.sandbox.scenarios import APP
from deploy.sandbox.world import until
from tests.e2e.gate import Seen
from tests.e2e.rig import Rig, rig

pytestmark = [pytest.mark.real, pytest.mark.timeout(150)]


def is_patch(seen: Seen) -> bool:
    """A patch of a Deployment that is no dry run."""
    return seen.method == "PATCH" and "/deployments/" in seen.path and not seen.dry_run


async def command(rig: Rig, *arguments: str) -> str:
    """What `lastgood ARGUMENTS` prints; fails when it does."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "daemon",
        *arguments,
        "--config",
        str(rig.daemon.config),
        cwd=REPOSITORY,
        env=bare_environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_sigterm_during_the_countdown(tmp_path: Path) -> None:
    """It ends with 0; the next life does not take the time that ran out in between for consent, and goes on."""
    async with rig(tmp_path) as stopped:
        await stopped.verified_start()
        await stopped.roll_out_bad()
        await stopped.until_phase("proposed")
        assert await stopped.daemon.stop() == 0
        assert stopped.world.rollbacks() == 0
        await stopped.start()
        stopped.assert_recovered_once(await stopped.end())


async def test_sigterm_while_the_patch_is_on_its_way(tmp_path: Path) -> None:
    """The patch is accepted and its answer hangs: the drain time passes, it ends with 0, and the next life finds out."""
    async with rig(tmp_path) as stopped:
        await stopped.verified_start()
        await stopped.roll_out_bad()
        await stopped.gates["kubernetes"].hold(is_patch, after=True).caught()
        assert await stopped.daemon.stop() == 0
        assert stopped.show.lines[-1]["event"] == "stopping" or stopped.daemon.new_lines()[-1]["event"] == "stopping"
        stopped.gates["kubernetes"].forget()
        await stopped.start()
        stopped.assert_recovered_once(await stopped.end())


async def test_alert_fires_and_resolves_while_the_daemon_is_down(tmp_path: Path) -> None:
    """No webhook is ever delivered: Prometheus' history tells. An incident is recorded, nobody is paged, nothing done."""
    async with rig(tmp_path) as down:
        await down.verified_start()
        await down.daemon.kill()
        await down.roll_out_bad()
        await until("the rollout completes", lambda: down.world.settled(APP), 30.0)
        firing = "ALERTS{alertstate='firing'}"
        await until_query(down, firing, holds=True)
        await down.world.set_image(APP, "v1")  # somebody repairs it by hand
        await until_query(down, firing, holds=False)
        await down.start()
        await down.until_fact("incident_opened")
        ended = await down.end()
        assert (ended.rollbacks, ended.pages) == (0, 0), ended
        assert ended.outcome in {"dismissed", "superseded"}
        assert [fact["alert"]["status"] for fact in down.facts("alert_noted")][-1] == "resolved"


async def test_second_bad_rollout_while_the_alert_still_fires(tmp_path: Path) -> None:
    """v3 replaces v2 and is as bad; Alertmanager sends nothing new. Another incident judges v3: the old pods fail alike, so
    nothing is done and a person is paged; repaired by hand, it closes and its page is resolved.
    """
    async with rig(tmp_path) as second:
        second.write_config(policy={**second.config["policy"], "countdown": "5s"})
        await second.verified_start()
        await second.roll_out_bad("v2")
        await second.until_phase("proposed")
        await second.roll_out_bad("v3")
        await second.until_phase("superseded")
        await second.until_phase("escalated")
        await until("a person is paged", lambda: bool(second.world.pagerduty.incidents), 20.0)
        first, linked = second.facts("incident_opened")
        assert first["incident"]["id"] != linked["incident"]["id"]
        told = json.loads(await command(second, "explain", f"shop/{APP}", "--json"))
        assert linked["incident"]["id"] in json.dumps(told)
        await second.world.set_image(APP, "v1")
        await second.until_phase("closed")
        await until("the page is resolved", lambda: not second.world.pagerduty.open_incidents(), 20.0)
        assert (len(second.world.pagerduty.incidents), second.world.rollbacks()) == (1, 0)


async def until_query(rig: Rig, promql: str, *, holds: bool) -> None:
    """Wait until the instant query has a result, or has none."""
    assert rig.world.monitoring is not None
    url = f"{rig.world.monitoring.prometheus_url}/api/v1/query"
    async with aiohttp.ClientSession() as session, asyncio.timeout(40):
        while True:
            async with session.get(url, params={"query": promql}) as answer:
                found = (await answer.json())["data"]["result"]
            if bool(found) == holds:
                return
            await asyncio.sleep(0.2)
