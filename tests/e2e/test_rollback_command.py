"""`lastgood rollback` against the real daemon process: a person goes back, and nobody is paged; and without the daemon."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aiohttp
import pytest

from deploy.sandbox.process import REPOSITORY, bare_environment
from deploy.sandbox.scenarios import APP
from deploy.sandbox.world import until
from tests.e2e.rig import Rig, rig

pytestmark = [pytest.mark.real, pytest.mark.asyncio]

COMMAND_SECONDS = 60.0
"""From the request to verified recovery; 10 s on an idle machine."""


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


async def good_v2(rigged: Rig) -> None:
    """v1 is proven, and v2 is out and well."""
    await rigged.verified_start()
    await rigged.world.set_image(APP, "v2")
    await until("v2 runs", lambda: rigged.world.version(APP) == "v2" and rigged.world.settled(APP), 30.0)


async def test_a_person_rolls_back(tmp_path: Path) -> None:
    """Shown, done through the same patch, watched to recovery; the gate is closed for v2 afterwards, and nobody was paged."""
    async with rig(tmp_path) as rigged:
        await good_v2(rigged)
        code, out = await types(rigged, "gate", f"shop/{APP}", "--image", f"{APP}:v2")
        assert code == 0, out
        code, out = await types(rigged, "rollback", f"shop/{APP}", "--yes", "--note", "wrong prices")
        assert code == 0, out
        assert f"{APP}:v1" in out.splitlines()[0]
        assert "recovered" in out
        assert (rigged.world.version(APP), rigged.world.rollbacks()) == ("v1", 1)
        assert rigged.world.pagerduty.incidents == []
        code, out = await types(rigged, "gate", f"shop/{APP}", "--image", f"{APP}:v2")
        assert code == 1, out
        assert "quarantined" in out


async def test_the_daemon_is_dead(tmp_path: Path) -> None:
    """--direct asks the journal and the same guards, patches the same way; the daemon then recognises the undo.

    While the daemon runs it is refused.
    """
    async with rig(tmp_path) as rigged:
        await good_v2(rigged)
        code, out = await types(rigged, "rollback", f"shop/{APP}", "--yes", "--direct")
        assert (code, "another lastgood runs" in out) == (1, True), out
        await rigged.daemon.kill()
        code, out = await types(rigged, "rollback", f"shop/{APP}", "--to", "v9", "--yes", "--direct")
        assert (code, "has no revision" in out) == (1, True), out
        code, out = await types(rigged, "rollback", f"shop/{APP}", "--yes", "--direct", "--note", "wrong prices")
        assert code == 0, out
        await until("v1 runs", lambda: rigged.world.version(APP) == "v1" and rigged.world.settled(APP), 30.0)
        code, out = await types(rigged, "rollback", f"shop/{APP}", "--to", "v2", "--yes", "--direct")
        assert (code, "rolled back by direct-" in out) == (1, True), out
        await rigged.start()
        await rigged.until_fact("ledger_written", lambda fact: fact["what"] == "quarantined")
        assert rigged.world.pagerduty.incidents == []


async def annotate(rigged: Rig, **annotations: str) -> None:
    """Annotations of ours on the app's Deployment, as kubectl would write them."""
    url = f"{rigged.world.cluster.url}/apis/apps/v1/namespaces/shop/deployments/{APP}"
    body = {"metadata": {"annotations": {f"lastgood.dev/{name}": value for name, value in annotations.items()}}}
    headers = {"Content-Type": "application/merge-patch+json"}
    async with aiohttp.ClientSession() as session, session.patch(url, json=body, headers=headers) as answer:
        answer.raise_for_status()


async def test_what_changed_while_the_daemon_was_dead(tmp_path: Path) -> None:
    """--direct judges the cluster as it is, not as the journal remembers it: a migration and a mode of meanwhile count."""
    async with rig(tmp_path) as rigged:
        await rigged.verified_start()
        await rigged.daemon.kill()
        await rigged.world.set_image(APP, "v2")
        await annotate(rigged, irreversible="0042_drop_column")
        back = ("rollback", f"shop/{APP}", "--yes", "--direct")
        code, out = await types(rigged, *back)
        assert (code, "IRREVERSIBLE" in out) == (1, True), out
        code, out = await types(rigged, *back, "--override", "nonsense")
        assert (code, "is no reason" in out) == (2, True), out
        await annotate(rigged, irreversible="false", mode="observe")
        code, out = await types(rigged, *back)
        assert (code, "MODE_OBSERVE" in out) == (1, True), out
        assert (rigged.world.version(APP), rigged.world.rollbacks()) == ("v2", 0)
