"""What one flood does to the daemon: incidents before and during it, health, commands, memory, and what is in the journal.

Everything but the server runs here, on the other core: the alerts of bad rollouts, the probes, a person's commands, the
flooders (processes of their own). Run as `python overload.py FOLDER KIND RATE SECONDS CONNECTIONS`; prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.bench.flood import PATH, payload
from tests.bench.load import cpu_of

HERE = Path(__file__).parent
SERVER_CORE, LOAD_CORE = 0, 1
QUIET_SECONDS = 4.0
ALERT_EVERY_SECONDS = 1.0
PROBE_EVERY_SECONDS = 0.25
PROBE_SECONDS = 5.0
"""The chart's probes wait this long."""
COMMAND_SECONDS = 15.0
SETTLE_SECONDS = 60.0


@dataclass
class Seen:
    """What was measured; seconds. Moments are of time.monotonic()."""

    asked: dict[str, float] = field(default_factory=dict)
    accepted: dict[str, float] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)
    rolled_back: dict[str, float] = field(default_factory=dict)
    paged: dict[str, float] = field(default_factory=dict)
    health: list[tuple[float, float]] = field(default_factory=list)
    commands: list[tuple[float, float]] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    probes_failed: int = 0
    failed_in_a_row: int = 0
    failed_in_a_row_max: int = 0
    memory: list[tuple[float, int]] = field(default_factory=list)


class Server:
    """The daemon's process."""

    def __init__(self, process: asyncio.subprocess.Process, seen: Seen) -> None:
        self.process = process
        self.seen = seen
        self.port = 0

    async def listens(self) -> None:
        """Wait for its port."""
        assert self.process.stdout is not None
        self.port = json.loads(await self.process.stdout.readline())["port"]

    async def hear(self) -> None:
        """Note what it does."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            found = json.loads(line)
            kept = self.seen.rolled_back if found["what"] == "roll_back" else self.seen.paged
            kept.setdefault(found["workload"], found["at"])

    def roll_out(self, number: int) -> None:
        """Let a workload begin to roll out a bad version."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{number}\n".encode())

    def cpu(self) -> float:
        """Seconds of processor time so far (proc(5), stat)."""
        return cpu_of(self.process.pid)

    def resident(self) -> int:
        """Bytes of memory (proc(5), statm)."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def incidents(server: Server, seen: Seen, first: int, until: float) -> int:
    """A bad rollout a second with its alert, which is sent again after 503 as Alertmanager does; the next number."""
    number = first
    async with asyncio.TaskGroup() as tasks:
        while time.monotonic() < until:
            server.roll_out(number)
            await asyncio.sleep(ALERT_EVERY_SECONDS / 2)
            tasks.create_task(alert(server, seen, number))
            await asyncio.sleep(ALERT_EVERY_SECONDS / 2)
            number += 1
    return number


async def alert(server: Server, seen: Seen, number: int) -> None:
    """Send the alert of a bad rollout until it is accepted."""
    name, pause, body = f"d{number}", 0.5, payload(number, number, "critical")
    seen.asked[name] = time.monotonic()
    while name not in seen.accepted:
        seen.tries[name] = seen.tries.get(name, 0) + 1
        with suppress(aiohttp.ClientError, TimeoutError):
            status, _ = await ask(server, "POST", PATH, 15.0, data=body)
            if status == 200:
                seen.accepted[name] = time.monotonic()
                return
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 10.0)


async def ask(server: Server, method: str, path: str, seconds: float, **how: Any) -> tuple[int, str]:
    """One request on a connection of its own, as kubelet asks."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds)) as session,
        session.request(method, f"http://127.0.0.1:{server.port}{path}", **how) as answer,
    ):
        return answer.status, await answer.text()


async def every(seconds: float, until: float, do: Callable[[], Awaitable[None]]) -> None:
    """Do it again and again; a late one is not made up for."""
    while time.monotonic() < until:
        began = time.monotonic()
        await do()
        await asyncio.sleep(max(0.0, seconds - (time.monotonic() - began)))


async def probe(server: Server, seen: Seen) -> None:
    """As kubelet asks whether we are healthy and ready."""
    for path in ("/-/healthy", "/-/ready"):
        began = time.monotonic()
        status = 0
        with suppress(aiohttp.ClientError, TimeoutError):
            status, _ = await ask(server, "GET", path, PROBE_SECONDS)
        if status == 200:
            seen.health.append((began, time.monotonic() - began))
            seen.failed_in_a_row = 0
        else:
            seen.unanswered.append(f"{path} {status}")
            seen.probes_failed += 1
            seen.failed_in_a_row += 1
            seen.failed_in_a_row_max = max(seen.failed_in_a_row_max, seen.failed_in_a_row)
    seen.memory.append((time.monotonic(), server.resident()))


async def command(server: Server, seen: Seen) -> None:
    """A person pauses a namespace and wants to know that it is done."""
    began, done, status = time.monotonic(), False, 0
    with suppress(aiohttp.ClientError, TimeoutError):
        status, text = await ask(
            server, "POST", "/api/v1/pause", COMMAND_SECONDS, json={"scope": f"n{len(seen.commands)}"}
        )
        done = status == 200 and json.loads(text)["done"]
    if done:
        seen.commands.append((began, time.monotonic() - began))
    else:
        seen.unanswered.append(f"/api/v1/pause {status}")


async def flood(server: Server, kind: str, rate: float, seconds: float, connections: int) -> dict[str, Any]:
    """The flood, from a process of its own."""
    arguments = [str(server.port), kind, str(rate), str(seconds), str(connections), str(LOAD_CORE)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "flood.py"), *arguments, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    found: dict[str, Any] = json.loads(out)
    return found


def journalled(folder: Path) -> int:
    """How many events were ever accepted: the sequence counts what was dropped since, too."""
    with closing(sqlite3.connect(folder / "journal.sqlite")) as connection:
        ((count,),) = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'intake'").fetchall()
    return int(count)


def delays(found: dict[str, float], began: dict[str, float], names: list[str]) -> dict[str, Any]:
    """Percentiles of what took from `began` to `found`, and how many never came."""
    took = sorted(found[name] - began[name] for name in names if name in found and name in began)
    missing = len(names) - len(took)
    if not took:
        return {"p50": None, "max": None, "missing": missing}
    return {"p50": took[len(took) // 2], "max": took[-1], "missing": missing}


def spread(took: list[float]) -> dict[str, float | None]:
    """Percentiles of durations."""
    if not took:
        return {"p50": None, "p99": None, "max": None}
    took = sorted(took)
    return {"p50": took[len(took) // 2], "p99": took[int(len(took) * 0.99)], "max": took[-1]}


async def play(folder: Path, kind: str, rate: float, seconds: float, connections: int) -> dict[str, Any]:
    """Quiet, flood, quiet again."""
    seen = Seen()
    with (folder / "server.log").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(HERE / "overload_server.py"), str(SERVER_CORE), str(folder),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors,
        )  # fmt: skip
    server = Server(process, seen)
    await server.listens()
    tasks = [asyncio.ensure_future(server.hear())]
    far = time.monotonic() + 1e6
    tasks += [
        asyncio.ensure_future(every(PROBE_EVERY_SECONDS, far, lambda: probe(server, seen))),
        asyncio.ensure_future(every(PROBE_EVERY_SECONDS, far, lambda: command(server, seen))),
    ]
    quiet_from = time.monotonic()
    number = await incidents(server, seen, 0, quiet_from + QUIET_SECONDS)
    await settled(seen)
    flood_from, used = time.monotonic(), server.cpu()
    flooding = asyncio.ensure_future(flood(server, kind, rate, seconds, connections))
    number = await incidents(server, seen, number, flood_from + seconds)
    flooded = await flooding
    flood_to, used = time.monotonic(), server.cpu() - used
    await settled(seen)
    settled_at = time.monotonic()
    await incidents(server, seen, number, time.monotonic() + QUIET_SECONDS)
    await settled(seen)
    for task in tasks:
        task.cancel()
    metrics = (await ask(server, "GET", "/metrics", 30.0))[1]
    process.terminate()
    await process.wait()
    phases = {"idle": (quiet_from, flood_from), "flood": (flood_from, flood_to), "after": (settled_at, far)}
    return {
        "flood": flooded,
        "settled_after": settled_at - flood_to,
        "share_of_core": used / (flood_to - flood_from),
        "journalled": journalled(folder),
        "commands_accepted": len(seen.commands),
        "alerts_accepted": len(seen.accepted),
        "unanswered": seen.unanswered[:20],
        "unanswered_count": len(seen.unanswered),
        "probes": len(seen.health) + seen.probes_failed,
        "probes_failed": seen.probes_failed,
        "probes_failed_in_a_row": seen.failed_in_a_row_max,
        "intake": [line for line in metrics.splitlines() if line.startswith("lastgood_intake_total") and line[-4:] != " 0.0"],
        "phases": {name: of_phase(seen, *span) for name, span in phases.items()},
    }  # fmt: skip


def of_phase(seen: Seen, began: float, ended: float) -> dict[str, Any]:
    """What was measured of what began in the phase."""
    names = [name for name, at in seen.asked.items() if began <= at < ended]
    memory = [used for at, used in seen.memory if began <= at < ended]
    return {
        "incidents": len(names),
        "tries": [seen.tries[name] for name in names],
        "accepted": delays(seen.accepted, seen.asked, names),
        # Since the alert was first sent: what came back is seen late by whoever shares a core with the flooder.
        "rolled_back": delays(seen.rolled_back, seen.asked, names),
        "paged": delays(seen.paged, seen.asked, names),
        "health": spread([took for at, took in seen.health if began <= at < ended]),
        "commands": spread([took for at, took in seen.commands if began <= at < ended]),
        "memory_mib": round(max(memory, default=0) / 2**20),
    }


async def settled(seen: Seen) -> None:
    """Every accepted alert of a bad rollout has led to its rollback and page."""
    end = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < end and (seen.accepted.keys() - seen.rolled_back.keys()):
        await asyncio.sleep(0.05)


def main() -> None:
    """Run as the module says."""
    os.sched_setaffinity(0, {LOAD_CORE})
    folder, kind, rate, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
    print(json.dumps(asyncio.run(play(folder, kind, rate, seconds, int(sys.argv[5])))))  # noqa: T201


if __name__ == "__main__":
    main()
