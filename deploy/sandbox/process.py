"""The daemon as a process of its own: started, killed, restarted; what it says is read from its log."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]

STOP_SECONDS = 10.0
"""How long a SIGTERM may take before the process is killed."""


def bare_environment() -> dict[str, str]:
    """Ours without the LASTGOOD_ names: they are settings to the daemon, and it refuses those that it does not know."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LASTGOOD_")}


@dataclass(kw_only=True)
class DaemonProcess:
    """`python -m daemon run --config FILE`. The log of all its lives is one file of JSON lines."""

    config: Path
    log_path: Path
    environment: dict[str, str] = field(default_factory=dict)
    _process: asyncio.subprocess.Process | None = None
    _read: int = 0

    async def start(self) -> None:
        """Start it (again)."""
        environment = bare_environment()
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "daemon",
                "run",
                "--config",
                str(self.config),
                cwd=REPOSITORY,
                env={**environment, **self.environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def running(self) -> bool:
        """It lives."""
        return self._process is not None and self._process.returncode is None

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None, "it was started"
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait until it has ended; the exit code."""
        assert self._process is not None, "it was started"
        return await self._process.wait()

    async def kill(self) -> None:
        """SIGKILL: no chance to tidy up."""
        if self._process is not None and self.running:
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM, and SIGKILL where that is not enough; the exit code."""
        if self._process is None:
            return 0
        if self.running:
            self._process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                await self.kill()
        return self._process.returncode or 0

    def log_end(self, lines: int = 10) -> str:
        """The last lines of its log, as they are."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def new_lines(self) -> list[dict[str, Any]]:
        """What it logged since the last call; a line that is no JSON is kept as its `event`."""
        if not self.log_path.exists():
            return []
        text = self.log_path.read_bytes()[self._read :]
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return [_parsed(line) for line in whole.splitlines() if line.strip()]


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"event": line.decode(errors="replace")}
