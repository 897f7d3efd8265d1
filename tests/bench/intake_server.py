"""The two servers that the intake benchmark compares, each a process on one core: `bare` and `lastgood`.

`bare` is the ceiling: aiohttp on uvloop, parses the JSON, keeps nothing. `lastgood` is the daemon's own webhook, engine and
journal, without a cluster: what an alert leads to is measured by the storm. Run as `python intake_server.py KIND CORE FOLDER
[FSYNC_SECONDS]`; prints its port, and ends on SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from aiohttp import web

from daemon.core.policy import Policy
from daemon.runtime.clock import SystemClock
from daemon.runtime.engine import Engine
from daemon.runtime.journal import SqliteJournal
from daemon.runtime.memory import begin, settle
from daemon.runtime.supervise import Supervisor
from daemon.runtime.telemetry import Metrics
from handlers.inbound.alertmanager import PATH, AlertmanagerWebhook
from handlers.server import HttpServer, ServerLimits, build_app
from tests.core.builders import a_policy

INBOX_MAX = 10_000


class SlowDisk:
    """A connection whose every commit waits so many seconds instead of calling fsync: a disk of another kind."""

    def __init__(self, connection: Any, seconds: float) -> None:
        self._connection = connection
        connection.execute("PRAGMA synchronous = OFF")
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, *bind: Any) -> Any:
        """Execute, and wait at the end of a commit."""
        found = self._connection.execute(statement, *bind)
        if not self._connection.in_transaction and statement.startswith(("COMMIT", "INSERT")):
            time.sleep(self._seconds)
        return found


async def bare(stop: asyncio.Event) -> None:
    """The ceiling."""

    async def receive(request: web.Request) -> web.Response:
        msgspec.json.decode(await request.read())
        return web.Response(text="accepted\n")

    app = web.Application()
    app.router.add_post(PATH, receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settle()
    print(runner.addresses[0][1], flush=True)  # noqa: T201  it is a program
    await stop.wait()
    await runner.cleanup()


async def lastgood(stop: asyncio.Event, folder: Path, fsync_seconds: float) -> None:
    """The daemon's way from the socket to the disk and on into the state."""
    metrics, clock, policy, supervisor = Metrics(), SystemClock(), a_policy(), Supervisor()
    journal = SqliteJournal(folder / "journal.db", on_fsync=metrics.fsync.observe)
    if fsync_seconds:
        journal._connection = SlowDisk(journal._connection, fsync_seconds)  # type: ignore[assignment]

    def current() -> Policy:
        return policy

    engine = Engine(
        journal, clock, current,
        dispatch=lambda action, uncertain: None, told=metrics.journalled, inbox_max=INBOX_MAX,
    )  # fmt: skip
    await engine.recover()
    engine.waits_for(None)
    webhook = AlertmanagerWebhook(
        intake=engine, clock=clock, telemetry=metrics, auth=None,
        on_accepted=lambda: None, on_truncated=lambda: None,
    )  # fmt: skip
    server = HttpServer(ServerLimits())
    app = build_app(routes=webhook.routes(), limits=ServerLimits(), reader=engine)
    _, port = await server.serve_tcp(app, host="127.0.0.1", port=0)
    supervisor.eternal("engine", engine.run())
    settle()
    print(port, flush=True)  # noqa: T201  it is a program
    await stop.wait()
    await server.close()
    await supervisor.stop()
    await journal.close()


async def main() -> None:
    """Run as the module says."""
    kind, core, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    os.sched_setaffinity(0, {core})
    begin()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    if kind == "bare":
        await bare(stop)
    else:
        await lastgood(stop, folder, float(sys.argv[4]) if len(sys.argv) > 4 else 0.0)


if __name__ == "__main__":
    uvloop.run(main())
