"""A PostgreSQL server of our own: made in a folder, on a Unix socket in it, as a user who is not root, with fsync on.

Debian keeps the server's programs out of PATH, one folder per version; the newest is taken.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests import parts

START_SECONDS = 60.0
"""Until a server answers: half a second, on a busy machine a few."""

USER = "postgres"
"""Who owns the server where the tests run as root, whom PostgreSQL refuses; Debian's package makes this user."""


class Server:
    """One server. `kill` is a power cut, `stop` an orderly end, and `start` brings it back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._schemas = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def _as_user(self) -> list[str]:
        """Before a command: as a user who is not root, and not longer than whoever started it."""
        who = [f"--reuid={USER}", f"--regid={USER}", "--init-groups"] if os.geteuid() == 0 else []
        return [str(parts.require("setpriv")), "--pdeathsig=QUIT", *who]

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(parts.require(program)), *arguments]
        found = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, check=False, cwd="/")
        assert found.returncode == 0, f"{program}: {found.stderr or found.stdout}"

    def make(self) -> None:
        """Lay out a new, empty server."""
        if os.geteuid() == 0:
            shutil.chown(self.folder, USER, USER)
        # Only the making of it is not synced. The log in small files: limited ones must hold them, too (`start`).
        how = "-A trust -U lastgood -E UTF8 --no-locale --no-sync --wal-segsize=1".split()
        self._run("initdb", "-D", str(self.data), *how)
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(f"listen_addresses = ''\nunix_socket_directories = '{self.folder}'\n")
            file.write(
                "shared_buffers = 16MB\nmax_connections = 60\nmax_wal_size = 64MB\nmin_wal_size = 2MB\nfsync = on\n"
            )

    def start(self, file_bytes_max: int | None = None) -> None:
        """Start it, and return when it answers. No file of it can grow beyond `file_bytes_max`, as on a full disk."""
        limit = [str(parts.require("prlimit")), f"--fsize={file_bytes_max or 'unlimited'}"]
        with (self.folder / "log").open("ab") as log:
            command = [*self._as_user, *limit, str(parts.require("postgres")), "-D", str(self.data)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", start_new_session=True)
        deadline = time.monotonic() + START_SECONDS
        ready = [str(parts.require("pg_isready")), "-q", "-h", str(self.folder), "-U", "lastgood", "-d", "postgres"]
        while subprocess.run(ready, check=False, timeout=START_SECONDS).returncode != 0:
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        """`kill -9` of every one of its processes."""
        if self._process is None or self._process.poll() is not None:
            return
        children = self._children()
        for pid in (self._process.pid, *children):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(START_SECONDS)
        deadline = time.monotonic() + START_SECONDS
        while any(Path(f"/proc/{pid}/exe").exists() for pid in children):  # the next start wants none of them left
            assert time.monotonic() < deadline, children
            time.sleep(0.01)

    def _children(self) -> list[int]:
        assert self._process is not None
        pid = self._process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def stop(self) -> None:
        """The end that an administrator's restart makes: every connection is closed at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(START_SECONDS)

    def psql(self, query: str) -> str:
        """What `psql` answers, its columns apart by `|`."""
        psql = [str(parts.require("psql")), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder)]
        command = [*psql, "-U", "lastgood", "-d", "postgres", "-c", query]
        found = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, check=False)
        assert found.returncode == 0, found.stderr
        return found.stdout.strip()

    @property
    def url(self) -> str:
        """The URL of its database."""
        return f"postgresql://lastgood@/postgres?host={self.folder}"

    def schema(self) -> str:
        """The name of a schema that nobody else uses: a test's own journal."""
        self._schemas += 1
        return f"test_{self._schemas}"


@contextmanager
def running() -> Iterator[Server]:
    """A new server; skips where PostgreSQL or its driver is not installed."""
    for program in ("initdb", "postgres", "psql", "pg_isready"):
        parts.require(program)
    pytest.importorskip("asyncpg")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a Unix socket's path has at most 107 bytes
    folder.chmod(0o755)
    server = Server(folder)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.kill()  # nothing of it is needed: an orderly end writes for seconds
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A server for tests that only need a database of their own."""
    with running() as server:
        yield server
