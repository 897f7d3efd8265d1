"""A real Prometheus whose history promtool has written."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import aiohttp

from deploy.sandbox.world import free_port
from handlers.prometheus import PrometheusClient
from tests.parts import require


class Unwatched:
    """ports.Telemetry of which nobody reads anything."""

    def intake(self, source: str, result: str) -> None:
        """Nothing."""

    def contact(self, part: str, *, ok: bool) -> None:
        """Nothing."""


@asynccontextmanager
async def filled_with(text: Iterable[str], folder: Path, *options: str) -> AsyncIterator[PrometheusClient]:
    """A Prometheus that holds exactly this history, and a client of it."""
    async with serving(text, folder, *options) as url, aiohttp.ClientSession() as session:
        yield PrometheusClient(session, url, telemetry=Unwatched(), timeout=timedelta(seconds=60))


@asynccontextmanager
async def serving(text: Iterable[str], folder: Path, *options: str) -> AsyncIterator[str]:
    """The address of a Prometheus that holds exactly this history."""
    source, blocks = folder / "history.om", folder / "tsdb"
    with source.open("w", encoding="utf-8") as file:
        file.writelines(text)
    command = [str(require("promtool")), "tsdb", "create-blocks-from", "openmetrics", str(source), str(blocks)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (folder / "prometheus.yml").write_text("scrape_configs: []\n", encoding="utf-8")
    url = f"http://127.0.0.1:{(port := free_port())}"
    process = await asyncio.create_subprocess_exec(
        str(require("prometheus")),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={blocks}",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address=127.0.0.1:{port}",
        *options,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await _ready(url)
        yield url
    finally:
        process.kill()
        await process.wait()


async def _ready(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(300):
            try:
                async with session.get(f"{url}/-/ready") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
    raise AssertionError("Prometheus is not ready after 30 s")
