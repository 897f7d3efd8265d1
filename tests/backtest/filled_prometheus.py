"""A real Prometheus whose history promtool has written."""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path

import aiohttp

from daemon.cli.past import Unwatched
from deploy.sandbox.world import free_port
from handlers.prometheus import PrometheusClient
from tests.parts import require

READY_SECONDS_MAX = 60.0


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[PrometheusClient]:
    """A client with a command's patience."""
    async with aiohttp.ClientSession() as session:
        yield PrometheusClient(session, url, telemetry=Unwatched(), timeout=timedelta(seconds=60))


@contextmanager
def filled_with(text: Iterable[str], folder: Path, *options: str) -> Iterator[str]:
    """The address of a Prometheus that holds exactly this history (OpenMetrics)."""
    source, blocks = folder / "history.om", folder / "tsdb"
    with source.open("w", encoding="utf-8") as file:
        file.writelines(text)
    command = [str(require("promtool")), "tsdb", "create-blocks-from", "openmetrics", str(source), str(blocks)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with serving(blocks, folder, *options) as url:
        yield url


@contextmanager
def serving(blocks: Path, folder: Path, *options: str) -> Iterator[str]:
    """The address of a Prometheus that has these blocks and scrapes nothing."""
    (folder / "prometheus.yml").write_text("scrape_configs: []\n", encoding="utf-8")
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [
        str(require("prometheus")),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={blocks}",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address=127.0.0.1:{port}",
        *options,
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _ready(url)
            yield url
        finally:
            process.kill()


def _ready(url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"Prometheus is not ready after {READY_SECONDS_MAX:.0f} s")
