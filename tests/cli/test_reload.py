"""SIGHUP: a good configuration is taken over, a bad one is told and changes nothing."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import yaml

from deploy.sandbox.process import bare_environment
from deploy.sandbox.world import free_port
from tests import repository

pytestmark = pytest.mark.real

SECONDS = 20.0
METRIC = re.compile(r"^lastgood_config_last_reload_successful (\S+)$", re.MULTILINE)


@dataclass(kw_only=True)
class Running:
    """A daemon whose cluster and Prometheus are not there: it is not ready, and reloads all the same."""

    folder: Path
    port: int
    process: asyncio.subprocess.Process | None = None

    @property
    def config(self) -> Path:
        return self.folder / "lastgood.yaml"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    async def start(self) -> None:
        command = (sys.executable, "-m", "daemon", "run", "--config", str(self.config))
        with (self.folder / "log").open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, cwd=repository.ROOT, env=bare_environment(), stdout=log, stderr=log
            )

    def hang_up(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def write(self, **changes: object) -> None:
        content = {
            "cluster": "test",
            "state_dir": str(self.folder / "state"),
            "server": {"listen": f"127.0.0.1:{self.port}"},
            "kubernetes": {"url": f"http://127.0.0.1:{free_port()}"},
            "prometheus": {"url": f"http://127.0.0.1:{free_port()}"},
            "log": {"format": "json"},
        }
        self.config.write_text(yaml.safe_dump(content | changes))

    async def loaded(self) -> float | None:
        """1 when the last (re)load was good, 0 when not; None while nobody answers."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.port}/metrics") as answer,
            ):
                found = METRIC.search(await answer.text())
        except aiohttp.ClientError:
            return None
        return float(found[1]) if found else None

    async def until_loaded(self, wanted: float) -> None:
        async with asyncio.timeout(SECONDS):
            while await self.loaded() != wanted:
                assert self.process is not None
                assert self.process.returncode is None, self.log
                await asyncio.sleep(0.05)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    made = Running(folder=tmp_path, port=free_port())
    made.write()
    await made.start()
    assert made.process is not None
    try:
        await made.until_loaded(1)
        yield made
    finally:
        made.process.kill()
        await made.process.wait()


async def test_a_bad_configuration_changes_nothing(running: Running) -> None:
    """The daemon lives on, log and metric say that the new configuration was refused; a good one afterwards is taken."""
    running.write(policy={"soak": "15"})
    running.hang_up()
    await running.until_loaded(0)
    assert "policy.soak" in running.log
    running.write(policy={"soak": "20m"})
    running.hang_up()
    await running.until_loaded(1)
