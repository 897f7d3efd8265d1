"""Runs the real Prometheus and Alertmanager on loopback, with everything they write in one folder."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from deploy.sandbox.monitoring.rules import (
    Routing,
    Rule,
    alertmanager_config,
    duration,
    prometheus_config,
    prometheus_rules,
)

READY_SECONDS_MAX = 20.0
"""Both are ready in 0.2 s on an idle machine."""

STOP_SECONDS_MAX = 5.0
"""After that a server is killed; nothing it holds is needed."""

PROMETHEUS_NAMES = ("prometheus",)
ALERTMANAGER_NAMES = ("alertmanager", "prometheus-alertmanager")
"""Upstream's name and Debian's."""


class ServerFailedError(RuntimeError):
    """A server did not start; the text ends with the last lines of its log."""


def installed(names: Sequence[str]) -> str | None:
    """Path of the first of these programs on PATH."""
    return next((path for name in names if (path := shutil.which(name))), None)


def free_port() -> int:
    """A TCP port on loopback that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One server process; `start` after `stop` or `kill` runs it again on the same port and folder."""

    def __init__(self, *, command: Sequence[str], url: str, log: Path) -> None:
        self._command = command
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self.url = url

    async def start(self) -> None:
        """Start and wait until `/-/ready` answers 200. Raises ServerFailedError."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=asyncio.subprocess.STDOUT
            )
        deadline = asyncio.get_running_loop().time() + READY_SECONDS_MAX
        async with aiohttp.ClientSession(trust_env=False) as session:
            while not await _ready(session, f"{self.url}/-/ready"):
                if self._process.returncode is not None or asyncio.get_running_loop().time() > deadline:
                    raise ServerFailedError(f"{self._command[0]} is not ready:\n{self._log_end()}")
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """End it cleanly, by force after `STOP_SECONDS_MAX`. Nothing happens where it does not run."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS_MAX):
                await self._process.wait()
        finally:
            if self._process.returncode is None:
                await self.kill()

    async def kill(self) -> None:
        """End it as a power cut does."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def _log_end(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-10:])


async def _ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=2)) as reply:
            return reply.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def _write(path: Path, content: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))
    return str(path)


@asynccontextmanager
async def run_alertmanager(
    *, program: str, workdir: Path, routing: Routing, webhook_url: str, webhook_token: str
) -> AsyncIterator[Server]:
    """Run Alertmanager alone, not clustered."""
    port = free_port()
    config = alertmanager_config(routing=routing, webhook_url=webhook_url, webhook_token=webhook_token)
    command = [
        program,
        f"--config.file={_write(workdir / 'alertmanager.json', config)}",
        f"--storage.path={workdir / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--web.external-url=http://127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    server = Server(command=command, url=f"http://127.0.0.1:{port}", log=workdir / "alertmanager.log")
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def run_prometheus(
    *,
    program: str,
    workdir: Path,
    sd_url: str,
    alertmanager_url: str,
    rules: Sequence[Rule],
    scrape_seconds: float,
    evaluation_seconds: float,
    resend_seconds: float,
) -> AsyncIterator[Server]:
    """Run Prometheus; yields when it has found its Alertmanager (up to 5 s: its discovery is throttled)."""
    port = free_port()
    rule_file = _write(workdir / "rules.json", prometheus_rules(rules, evaluation_seconds))
    config = prometheus_config(
        sd_url=sd_url,
        alertmanager=alertmanager_url.removeprefix("http://"),
        rule_file=rule_file,
        scrape_seconds=scrape_seconds,
        evaluation_seconds=evaluation_seconds,
    )
    command = [
        program,
        f"--config.file={_write(workdir / 'prometheus.json', config)}",
        f"--storage.tsdb.path={workdir / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--web.external-url=http://127.0.0.1:{port}",
        f"--rules.alert.resend-delay={duration(resend_seconds)}",
        "--scrape.discovery-reload-interval=100ms",
    ]
    server = Server(command=command, url=f"http://127.0.0.1:{port}", log=workdir / "prometheus.log")
    try:
        await server.start()
        await _alertmanager_found(server.url)
        yield server
    finally:
        await server.stop()


async def _alertmanager_found(prometheus_url: str) -> None:
    """Without this a first alert would be thrown away."""
    async with aiohttp.ClientSession(trust_env=False) as session, asyncio.timeout(READY_SECONDS_MAX):
        while True:
            async with session.get(f"{prometheus_url}/api/v1/alertmanagers") as reply:
                if (await reply.json())["data"]["activeAlertmanagers"]:
                    return
            await asyncio.sleep(0.05)
