"""The servers of one control plane as processes: each in a group of its own, none of which outlives the tests."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

STOP_SECONDS = 20.0
"""How long a SIGTERM may take before the process is killed."""

LOG_LINES_SHOWN = 15

PORTS = range(20_000, 30_000)
"""Below the range from which the system takes ports for outgoing connections: a client that tries to reach a server
which is down could otherwise be given that very port, and talk to itself."""


def free_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 that nobody listens on just now; OSError when there are none."""
    found: list[int] = []
    for port in random.sample(PORTS, k=200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"no {count} free ports between {PORTS.start} and {PORTS.stop}")


@dataclass(kw_only=True)
class Server:
    """One program; the log of all its lives is one file."""

    name: str
    command: Sequence[str | Path]
    log: Path
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """It lives."""
        return self.process is not None and self.process.poll() is None

    def log_end(self) -> str:
        """The last lines of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(line[:400] for line in lines[-LOG_LINES_SHOWN:])


@dataclass(kw_only=True)
class Family:
    """Starts and ends servers; those that are left when we are killed, a watchdog kills."""

    servers: dict[str, Server] = field(default_factory=dict)
    _watchdog: subprocess.Popen[bytes] | None = None

    def start(self, server: Server) -> None:
        """Starts it (again); returns at once."""
        if server.running:
            raise RuntimeError(f"{server.name} runs already")
        self.servers[server.name] = server
        with server.log.open("ab") as log:
            server.process = subprocess.Popen(
                list(server.command), cwd=server.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self._tell(f"+{server.process.pid}")

    def signal(self, name: str, number: signal.Signals) -> None:
        """Sends a signal to the server and whatever it started; KeyError for a name that was not started."""
        process = self.servers[name].process
        if process is not None and process.poll() is None:
            os.killpg(process.pid, number)

    def kill(self, name: str) -> None:
        """SIGKILL, and waits until it is gone."""
        self.signal(name, signal.SIGKILL)
        self._reap(self.servers[name])

    def stop(self, name: str) -> None:
        """SIGTERM, and SIGKILL where that is not enough."""
        self.signal(name, signal.SIGTERM)
        process = self.servers[name].process
        try:
            if process is not None:
                process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        self.kill(name)

    def close(self) -> None:
        """Kills all, the last started first; then nothing is left, not even the watchdog."""
        for name in reversed(self.servers):
            self.signal(name, signal.SIGKILL)
        for server in self.servers.values():
            self._reap(server)
        if self._watchdog is not None and self._watchdog.stdin is not None:
            self._watchdog.stdin.close()
            self._watchdog.wait(STOP_SECONDS)
            self._watchdog = None

    def _reap(self, server: Server) -> None:
        if server.process is not None:
            server.process.wait(STOP_SECONDS)
            self._tell(f"-{server.process.pid}")
            server.process = None

    def _tell(self, line: str) -> None:
        if self._watchdog is None:
            script = Path(__file__).with_name("watchdog.py")
            self._watchdog = subprocess.Popen(
                [sys.executable, "-S", "-E", script], stdin=subprocess.PIPE, start_new_session=True
            )
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.write(f"{line}\n".encode())
        self._watchdog.stdin.flush()


class StartError(Exception):
    """A server did not come up in time; the text holds the end of its log."""


def wait_until(what: str, good: Callable[[], bool], *, seconds: float, server: Server | None = None) -> None:
    """Asks `good()` until it is true; StartError after `seconds`, or as soon as `server` has died."""
    deadline = time.monotonic() + seconds
    while not good():
        died = server is not None and not server.running
        if died or time.monotonic() > deadline:
            problem = "died" if died else f"not seen in {seconds:g} s"
            shown = f"\n{server.log}:\n{server.log_end()}" if server is not None else ""
            raise StartError(f"{what}: {problem}{shown}")
        time.sleep(0.05)
