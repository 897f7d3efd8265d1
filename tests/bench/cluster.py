"""A big cluster, listed and watched: memory, the longest turn of the loop, and what it costs while nothing happens.

Run as `python cluster.py FOLDER PORT`; prints one JSON object.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
import time
from pathlib import Path

import structlog
import uvloop

from daemon.runtime.clock import SystemClock
from daemon.runtime.engine import Engine
from daemon.runtime.journal import SqliteJournal
from daemon.runtime.memory import begin, settle
from daemon.runtime.supervise import Supervisor
from handlers.inbound.cluster import ClusterWatch
from handlers.kube import KubeClient
from handlers.kube_access import from_url
from tests.bench.storm import Watch, resident
from tests.core.builders import a_policy

QUIET_SECONDS = 15.0


async def main() -> None:
    """Run as the module says."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    begin()
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    clock, policy, turns, supervisor = SystemClock(), a_policy(), Watch(), Supervisor()
    journal = SqliteJournal(folder / "journal.db")
    engine = Engine(
        journal, clock, lambda: policy, inbox_max=1000, dispatch=lambda action, uncertain: None,
        told=lambda facts, state: None,
    )  # fmt: skip
    await engine.recover()
    async with KubeClient(from_url(f"http://127.0.0.1:{port}")) as client:
        watch = ClusterWatch(client, engine, clock)
        gc.collect()
        before = resident()
        supervisor.eternal("turns", turns.turns())
        began = time.perf_counter()
        for name, run in watch.tasks().items():
            supervisor.eternal(name, run())
        await asyncio.wait_for(watch.synced.wait(), 120)
        synced = time.perf_counter() - began
        engine.waits_for(None)
        supervisor.eternal("engine", engine.run())
        await asyncio.sleep(0.1)
        await engine.rested()
        ready, loading = time.perf_counter() - began, turns.slowest_turn
        settle()
        after, cpu, turns.slowest_turn = resident(), time.process_time(), 0.0
        await asyncio.sleep(QUIET_SECONDS)
        used = (time.process_time() - cpu) / QUIET_SECONDS
        found = {
            "grown": after - before, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before,
            "synced": synced, "ready": ready, "slowest_turn": loading, "slowest_quiet_turn": turns.slowest_turn,
            "cpu_quiet": used, "workloads": len(engine.state.workloads),
        }  # fmt: skip
        await supervisor.stop()
    await journal.close()
    print(json.dumps(found))  # noqa: T201  it is a program


if __name__ == "__main__":
    uvloop.run(main())
