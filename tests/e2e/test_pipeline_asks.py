"""A pipeline and a person beside the real daemon: told, declared, asked, with what a CI job has and nothing more."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from deploy.sandbox.process import REPOSITORY, bare_environment
from deploy.sandbox.scenarios import APP
from deploy.sandbox.world import image
from tests.e2e.rig import rig

pytestmark = [pytest.mark.real, pytest.mark.asyncio]

TOKEN = "a-token-of-the-pipeline-0123456789"
CHANGE = "https://git.example/shop/web/pull/7"
COMMAND_SECONDS = 30.0


async def types(environ: dict[str, str], *words: str) -> tuple[int, str]:
    """Exit code and output of a command line with this environment."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "daemon", *words,
        cwd=REPOSITORY,
        env=bare_environment() | environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(COMMAND_SECONDS):
        out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def tell(address: str) -> int:
    """The pipeline's word on v2, in our plain JSON."""
    body = {
        "id": "42/started",
        "source": "https://ci.example/shop/web",
        "type": "deployment.started",
        "time": datetime.now(UTC).isoformat(),
        "workload": f"shop/{APP}",
        "image": image(APP, "v2"),
        "commit": "4f1c2d9",
        "actor": "Ann",
        "change_url": CHANGE,
    }
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session,
        session.post(f"{address}/api/v1/events/ci", json=body) as response,
    ):
        assert response.status < 300, await response.text()
        return response.status


async def shown_in_history(environ: dict[str, str]) -> None:
    """Wait until the notice stands beside its rollout."""
    async with asyncio.timeout(COMMAND_SECONDS):
        while True:
            code, out = await types(environ, "history", f"shop/{APP}")
            if code == 0 and "commit 4f1c2d9 by Ann" in out:
                assert f"change: {CHANGE}" in out
                return
            await asyncio.sleep(0.2)


async def test_told_declared_and_asked(tmp_path: Path) -> None:
    """What the pipeline tells stands in history and explain; what a person declares about data closes the gate and waits.

    v2 is bad by every measurement in mode `auto`, and still nothing is rolled back: data is at risk.
    """
    async with rig(tmp_path) as rigged:
        rigged.write_config(events={"sources": {"ci": {"kind": "events", "token": TOKEN}}})
        (tmp_path / "token").write_text(TOKEN)
        address = f"http://127.0.0.1:{rigged.world.port}"
        job = {"LASTGOOD_URL": address, "LASTGOOD_TOKEN_FILE": str(tmp_path / "token"), "LASTGOOD_IMAGE": "lastgood"}
        person = {"LASTGOOD_CONFIG": str(rigged.daemon.config)}
        await rigged.verified_start()
        assert (await types(job, "gate", f"shop/{APP}", "--image", image(APP, "v2")))[0] == 0
        await tell(address)
        await rigged.world.set_image(APP, "v2")
        await shown_in_history(person)

        declared = ("declare", f"shop/{APP}", "--reason", "data-corruption", "--note", "totals are wrong")
        code, out = await types(person, *declared)
        assert code == 0, out
        assert "nothing is rolled back without a person's approval" in " ".join(out.split())
        await rigged.roll_out_bad()
        await rigged.until_phase("proposed")
        for words in ((), ("--image", image(APP, "v2")), ("--image", image(APP, "v3"))):
            code, out = await types(job, "gate", f"shop/{APP}", *words)
            assert (code, "is open (proposed" in out) == (1, True), out
        assert (await types(job, "history", f"shop/{APP}"))[0] == 4, "who may ask the gate may read nothing else"
        _, out = await types(person, "explain", f"shop/{APP}")
        assert all(text in out for text in ("data is being corrupted", "totals are wrong", CHANGE)), out
        (incident,) = json.loads((await types(person, "incidents", "--json"))[1])["incidents"]
        assert (await types(person, "decline", incident["id"]))[0] == 0
        code, out = await types(job, "gate", f"shop/{APP}", "--image", image(APP, "v3"))
        assert (code, "is open (escalated" in out) == (1, True), out
        assert (rigged.world.version(APP), rigged.world.rollbacks()) == ("v2", 0)
        await rigged.daemon.kill()
        assert (await types(job, "gate", f"shop/{APP}", "--image", image(APP, "v3")))[0] == 3
