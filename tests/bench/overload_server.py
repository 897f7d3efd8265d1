"""The daemon's own intake, engine, journal, dispatcher, commands, health and metrics on one core, in a world of stand-ins.

500 workloads `d0` … serve v1; those named on a line of standard input begin to roll out v2. Prints its port, then one JSON line
for each rollback and each page with the workload and the moment (CLOCK_MONOTONIC, which all processes share). Run as
`python overload_server.py CORE FOLDER`; ends on SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
import uvloop
from prometheus_client.aiohttp import make_aiohttp_handler

from daemon.core.actions import Action, Locate, Located, Outcome, OutcomeKind, Page, RollBack
from daemon.core.events import WorkloadSeen
from daemon.core.model import Location, Workload
from daemon.runtime.clock import SystemClock
from daemon.runtime.dispatch import Dispatcher, Faults
from daemon.runtime.engine import Engine
from daemon.runtime.journal import SqliteJournal
from daemon.runtime.memory import begin, settle
from daemon.runtime.supervise import Supervisor
from daemon.runtime.telemetry import Metrics
from handlers.inbound.alertmanager import AlertmanagerWebhook
from handlers.inbound.operators import operator_routes
from handlers.server import HttpServer, ServerLimits, build_app
from tests.bench.flood import QUIET_WORKLOAD
from tests.bench.storm import Answers
from tests.core.builders import V1, V2, a_location, a_policy, a_rollout_view, a_view

INBOX_MAX = 10_000
WORKLOADS = 500
KINDS = ("locate", "measure", "check_target", "prove_soak", "roll_back", "page", "announce")


def tell(**fields: Any) -> None:
    """One line for whoever measures."""
    print(json.dumps({**fields, "at": time.monotonic()}), flush=True)  # noqa: T201  it is a program


class Told(Answers):
    """Tells of each rollback and page at the moment at which it is dispatched."""

    async def run(self, action: Action) -> Outcome:
        """As the storm's answers."""
        if isinstance(action, RollBack):
            tell(what="roll_back", workload=action.workload.name)
        if isinstance(action, Page):
            tell(what="page", workload=action.key.rsplit("/", 2)[-2])
        if isinstance(action, Locate) and int((action.alert.label("deployment") or "d0")[1:]) >= QUIET_WORKLOAD:
            # Were it found, hundreds of workloads that hurt at one time would be a cause of their own, and blame would wait.
            return Outcome(kind=OutcomeKind.DONE, result=Located(location=a_location_of_nothing()))
        return await super().run(action)


def a_location_of_nothing() -> Location:
    """The alert belongs to no workload."""
    return replace(a_location(), workloads=())


def view_of(number: int, clock: SystemClock) -> WorkloadSeen:
    """The workload serves v1, for two hours."""
    started, workload = clock.now() - timedelta(hours=2), named(number)
    view = a_view(V1, workload=workload, uid=f"u{number}", started_at=started, available_since=started)
    return WorkloadSeen(at=clock.now(), view=view)


def rollout_of(number: int, clock: SystemClock) -> WorkloadSeen:
    """The workload begins to roll out v2."""
    view = a_rollout_view(V2, V1, workload=named(number), uid=f"u{number}", started_at=clock.now())
    return WorkloadSeen(at=clock.now(), view=view)


def named(number: int) -> Workload:
    """The workload of a number."""
    return Workload(namespace="shop", kind="Deployment", name=f"d{number}")


async def serve(folder: Path, stop: asyncio.Event) -> None:
    """Serve until told to stop."""
    metrics, clock, supervisor, server = Metrics(), SystemClock(), Supervisor(), HttpServer(ServerLimits())
    policy = a_policy(countdown=timedelta(0), rollbacks_per_namespace_hour=1000, rollbacks_per_cluster_hour=1000)
    journal = SqliteJournal(folder / "journal.sqlite", on_fsync=metrics.fsync.observe)
    engine = Engine(
        journal, clock, lambda: policy, inbox_max=INBOX_MAX, told=metrics.journalled, stumbled=metrics.stumbled,
        dispatch=lambda action, uncertain: dispatcher.start(action, uncertain=uncertain),
    )  # fmt: skip
    dispatcher = Dispatcher(
        dict.fromkeys(KINDS, Told(clock)), clock, supervisor, Faults(transient=OSError, permanent=ValueError),
        finish=engine.put, attempted=metrics.attempted,
    )  # fmt: skip
    await engine.recover()
    engine.waits_for(None)
    webhook = AlertmanagerWebhook(
        intake=engine, clock=clock, telemetry=metrics, auth=None, on_accepted=lambda: None, on_truncated=lambda: None
    )
    people = operator_routes(engine, engine, journal, lambda: policy, clock, lambda request: "token:bench")
    app = build_app(
        routes=[*webhook.routes(), *people], limits=ServerLimits(), reader=engine,
        metrics=make_aiohttp_handler(metrics.registry),
    )  # fmt: skip
    _, port = await server.serve_tcp(app, host="127.0.0.1", port=0)
    supervisor.eternal("engine", engine.run())
    for number in range(WORKLOADS):
        engine.put(view_of(number, clock))
    await engine.rested()
    settle()
    tell(port=port)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    supervisor.eternal("rollouts", rollouts(reader, engine, clock))
    await stop.wait()
    dispatcher.close()
    await server.close()
    await supervisor.stop()
    await journal.close()


async def rollouts(reader: asyncio.StreamReader, engine: Engine, clock: SystemClock) -> None:
    """Begin the rollouts that are asked for."""
    while line := await reader.readline():
        engine.put(rollout_of(int(line), clock))
    await asyncio.Event().wait()


async def main() -> None:
    """Run as the module says."""
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory(sys.stderr)
    )
    os.sched_setaffinity(0, {int(sys.argv[1])})
    begin()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await serve(Path(sys.argv[2]), stop)


if __name__ == "__main__":
    uvloop.run(main())
