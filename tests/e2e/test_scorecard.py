"""From a real incident in observe to the scorecard: a person's word outlives the daemon's process, and is on /metrics."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import aiohttp
import pytest

from deploy.sandbox.process import REPOSITORY, bare_environment
from deploy.sandbox.scenarios import APP
from tests.e2e.rig import Rig, rig

pytestmark = [pytest.mark.real, pytest.mark.asyncio]

COMMAND_SECONDS = 30.0
"""A command is answered at once; an interpreter starts in a second."""


async def types(rigged: Rig, *words: str) -> tuple[int, str]:
    """Exit code and output of a command line with the daemon's configuration."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "daemon",
        *words,
        "--config",
        str(rigged.daemon.config),
        cwd=REPOSITORY,
        env=bare_environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(COMMAND_SECONDS):
        out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def metric(rigged: Rig, line: str) -> float:
    """The value of one line of /metrics."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{rigged.world.port}/metrics") as answer,
    ):
        found = [each for each in (await answer.text()).splitlines() if each.startswith(f"{line} ")]
    assert len(found) == 1, line
    return float(found[0].rpartition(" ")[2])


async def test_observed_judged_and_remembered(tmp_path: Path) -> None:
    """It would have rolled v2 back and touches nothing; the word that a person gives is there after a kill."""
    async with rig(tmp_path) as rigged:
        rigged.write_config(policy={"modes": [{"namespaces": ["shop"], "mode": "observe"}]})
        await rigged.verified_start()
        await rigged.roll_out_bad()
        await rigged.until_fact("decided")
        (fact,) = rigged.facts("decided")
        assert (fact["decision"]["made"], fact["decision"]["mode"]) == ("roll_back", "observe")
        await rigged.until_phase("escalated")
        code, out = await types(rigged, "judge", fact["incident"], "right", "--note", "v2 was broken")
        assert code == 0, out
        await rigged.daemon.kill()
        await rigged.start()
        code, out = await types(rigged, "scorecard", f"shop/{APP}", "--json")
        assert code == 1, out
        (row,) = json.loads(out)["workloads"]
        assert row["decisions"]["roll_back"] == {"right": 1, "wrong": 0, "unjudged": 0}
        assert [each["note"] for each in row["latest"]] == ["v2 was broken"]
        labels = f'decision="roll_back",judged="right",workload="shop/Deployment/{APP}"'
        assert await metric(rigged, f"lastgood_scorecard_decisions{{{labels}}}") == 1.0
        assert (rigged.world.version(APP), rigged.world.rollbacks()) == ("v2", 0)
        assert rigged.world.pagerduty.incidents == []
