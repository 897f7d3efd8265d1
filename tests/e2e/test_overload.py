"""The daemon as a real process under a flood of webhooks: it sheds, loses nothing it accepted, decides, and obeys people."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from deploy.sandbox.scenarios import APP
from deploy.sandbox.world import WEBHOOK_TOKEN, until
from tests.e2e.rig import Rig, rig
from tests.repository import ROOT

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

OPERATOR = "an-operators-token"
FLOOD_SECONDS, RATE, CONNECTIONS = 120.0, 250, 80
PROBE_SECONDS = 5.0
"""The chart's probes wait this long; so does the person here."""
SHED = {"requests": 4, "connections": 64, "inbox_bytes": 64 * 1024}
"""Smaller than by default, so that a flood that this machine can send is one."""
END_SECONDS = 120.0


async def flood(port: int) -> asyncio.subprocess.Process:
    """New alerts of a namespace that nobody knows, from a process of its own, until it is told to stop."""
    arguments = (str(port), "new", str(RATE), str(FLOOD_SECONDS), str(CONNECTIONS))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FLOOD_TOKEN": WEBHOOK_TOKEN}
    return await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "tests/bench/flood.py"), *arguments, stdout=asyncio.subprocess.PIPE, env=environment
    )


async def ended(flooding: asyncio.subprocess.Process) -> dict[str, Any]:
    """Stop it; what came back."""
    with suppress(ProcessLookupError):
        flooding.terminate()
    out, _ = await flooding.communicate()
    found: dict[str, Any] = json.loads(out)
    return found


async def ask(rig: Rig, method: str, path: str, **how: Any) -> tuple[int, str]:
    """One request on a connection of its own; status 0 where there was no answer in time."""
    headers, limit = {"Authorization": f"Bearer {OPERATOR}"}, aiohttp.ClientTimeout(total=PROBE_SECONDS)
    with suppress(aiohttp.ClientError, TimeoutError):
        async with (
            aiohttp.ClientSession(headers=headers, timeout=limit) as session,
            session.request(method, f"http://127.0.0.1:{rig.world.port}{path}", **how) as answer,
        ):
            return answer.status, await answer.text()
    return 0, ""


async def watched(rig: Rig, flooding: asyncio.subprocess.Process) -> tuple[list[int], list[int]]:
    """What the probes and a person's commands were answered while the flood lasted."""
    probes, commands = list[int](), list[int]()
    while flooding.returncode is None:
        probes += [(await ask(rig, "GET", path))[0] for path in ("/-/healthy", "/-/ready")]
        for order in ("pause", "resume"):
            commands.append((await ask(rig, "POST", f"/api/v1/{order}", json={"scope": "elsewhere"}))[0])
        await asyncio.sleep(0.2)
    return probes, commands


def sum_of(metrics: str, name: str, *labels: str) -> float:
    """The sum of a metric's lines with these labels."""
    lines = [line for line in metrics.splitlines() if line.startswith(name) and all(label in line for label in labels)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def test_a_flood(tmp_path: Path) -> None:
    """While ten times too much comes in: 503 for what is too much, 200 only for what is in the journal, a bad rollout is
    rolled back and paged once, probes and people are answered; afterwards the metrics tell what was shed.
    """
    async with rig(tmp_path) as world:
        world.write_config(limits=SHED, server={"operators": {"ann": OPERATOR}})
        await world.verified_start()
        flooding = await flood(world.world.port)
        watching = asyncio.ensure_future(watched(world, flooding))
        try:
            # Pods that cannot start: a verdict that needs no minutes of comparison, which a busy machine may not have.
            await world.world.set_image(APP, "v2-crash")
            await until("v2 is rolled back", lambda: "rolling_back" in world.show.phases, END_SECONDS)
            await until("somebody is paged", lambda: bool(world.world.pagerduty.incidents), END_SECONDS)
            assert flooding.returncode is None, "it was decided after the flood"
        finally:
            found = await ended(flooding)
        probes, commands = await watching
        assert "rolled_back_to=v1 rollbacks=1 pages=1 duplicate_pages=0" in (await world.end(END_SECONDS)).line("flood")
        answers = found["answers"]
        assert answers.get("503", 0) == found["retry_after"] > 0, found
        accepted = sum_of((await ask(world, "GET", "/metrics"))[1], "lastgood_intake_total", "accepted", "alertmanager")
        assert accepted >= answers.get("200", 0) > 0
        ((journalled,),) = world.sql("SELECT seq FROM sqlite_sequence WHERE name = 'intake'")
        assert journalled >= accepted, "a 200 is for what is on disk"
        assert probes.count(200) >= len(probes) * 0.9 > 0, probes
        assert commands.count(200) >= len(commands) * 0.9 > 0, commands
        metrics = (await ask(world, "GET", "/metrics"))[1]
        assert sum_of(metrics, "lastgood_intake_total", "busy") + sum_of(metrics, "lastgood_intake_total", "full") > 0
        assert sum_of(metrics, "lastgood_inbox_events") == 0
