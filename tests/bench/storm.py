"""A storm: many alerts of many groups arrive within seconds while rollouts run. The daemon's own webhook, engine, journal and
dispatcher; what it asks (where is this alert, how bad is it) is answered by stand-ins after a few milliseconds.

Run as `python storm.py FOLDER ALERTS GROUPS ROLLOUTS SECONDS`; prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import structlog
import uvloop

from daemon.core.actions import (
    Action,
    Announced,
    Checked,
    CheckTarget,
    Locate,
    Located,
    Measure,
    Measured,
    Outcome,
    OutcomeKind,
    Page,
    Paged,
    ProveSoak,
    Result,
    RollBack,
    RolledBack,
    Soaked,
)
from daemon.core.events import WorkloadSeen
from daemon.core.facts import AlertJoined, AlertPlaced, Fact, IncidentOpened, Judged, Moved
from daemon.core.incidents import Phase
from daemon.core.model import Workload
from daemon.core.state import State
from daemon.runtime.clock import SystemClock
from daemon.runtime.dispatch import Dispatcher, Faults
from daemon.runtime.engine import Engine
from daemon.runtime.journal import SqliteJournal
from daemon.runtime.memory import begin, settle
from daemon.runtime.supervise import Supervisor
from daemon.runtime.telemetry import Metrics
from handlers.inbound.alertmanager import PATH, AlertmanagerWebhook
from handlers.server import HttpServer, ServerLimits, build_app
from tests.core.builders import V1, V2, a_check, a_location, a_measurement, a_policy, a_rollout_view, a_soak, a_view

INBOX_MAX = 10_000
ANSWER_SECONDS = 0.02
PROBE_SECONDS = 0.02
SETTLE_SECONDS = 60.0
FLAT_SECONDS = 5.0


def resident() -> int:
    """Bytes of memory in use by this process now (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Answers:
    """Carries out every kind of action after a moment: the world of the storm."""

    def __init__(self, clock: SystemClock) -> None:
        self._clock = clock

    async def run(self, action: Action) -> Outcome:
        """The answer that a bad rollout of the alert's workload would lead to."""
        await asyncio.sleep(ANSWER_SECONDS)
        return Outcome(kind=OutcomeKind.DONE, result=self._result(action, self._clock.now()))

    async def probe(self, action: Action) -> Outcome | None:
        """Nothing is left over from an earlier life."""
        return None

    def _result(self, action: Action, now: datetime) -> Result:
        match action:
            case Locate():
                workload = Workload(namespace="shop", kind="Deployment", name=action.alert.label("deployment") or "")
                return Located(location=a_location(workload, onset=now))
            case Measure():
                return Measured(measurement=a_measurement(now))
            case CheckTarget():
                return Checked(check=a_check(action.target))
            case ProveSoak():
                return Soaked(soak=a_soak(action.since, action.until or now))
            case RollBack():
                return RolledBack(generation=99, patched_at=now)
            case Page():
                return Paged(key=action.key)
            case _:
                return Announced(channel="C1", thread="1.1")


class Watch:
    """Notes when each alert's verdict came: the first judgement of the incident it is part of, or its dismissal."""

    def __init__(self) -> None:
        self.sent: dict[str, float] = {}
        self.took: dict[str, float] = {}
        self._alerts: dict[str, list[str]] = {}
        self._judged: set[str] = set()
        self.slowest_turn = 0.0

    def told(self, facts: Sequence[Fact], state: State) -> None:
        """Take the facts of one batch."""
        now = time.perf_counter()
        for fact in facts:
            match fact:
                case IncidentOpened():
                    self._alerts[fact.incident.id] = [found.alert.fingerprint for found in fact.incident.alerts]
                case AlertJoined():
                    self._alerts[fact.incident].append(fact.alert.alert.fingerprint)
                case Judged():
                    self._judged.add(fact.incident)
                case Moved() if fact.phase is Phase.DISMISSED:
                    self._judged.add(fact.incident)
                case _:
                    continue
            incident = fact.incident.id if isinstance(fact, IncidentOpened) else fact.incident
            if incident in self._judged:
                for fingerprint in self._alerts.pop(incident, ()):
                    self.took.setdefault(fingerprint, now - self.sent[fingerprint])
                self._alerts[incident] = []

    async def turns(self) -> None:
        """How long the loop is kept from turning, at worst."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(PROBE_SECONDS)
            self.slowest_turn = max(self.slowest_turn, time.perf_counter() - began - PROBE_SECONDS)


def payload(group: int, size: int, now: datetime) -> bytes:
    """One webhook of one group."""
    alerts = [
        {
            "status": "firing", "fingerprint": f"{group:08x}{number:08x}", "startsAt": now.isoformat(),
            "labels": {
                "alertname": f"Check{number}", "deployment": f"d{group}", "namespace": "shop", "severity": "critical",
                "instance": f"10.0.{group % 250}.{number}",
            },
            "annotations": {"summary": f"Something is wrong with d{group}", "description": "d" * 200},
            "generatorURL": "http://prometheus.example.com/graph?g0.expr=" + "e" * 100,
        }
        for number in range(size)
    ]  # fmt: skip
    return json.dumps({"version": "4", "status": "firing", "groupKey": f"g{group}", "alerts": alerts}).encode()


async def send(url: str, alerts: int, groups: int, seconds: float, watch: Watch, clock: SystemClock) -> int:
    """Every group once, evenly spread over so many seconds; how many were acknowledged."""
    size, accepted = alerts // groups, 0
    async with aiohttp.ClientSession() as session:

        async def one(group: int) -> None:
            nonlocal accepted
            await asyncio.sleep(seconds * group / groups)
            body, now = payload(group, size, clock.now()), time.perf_counter()
            watch.sent.update({f"{group:08x}{number:08x}": now for number in range(size)})
            async with session.post(url, data=body) as answer:
                accepted += size if answer.status == 200 else 0

        await asyncio.gather(*(one(group) for group in range(groups)))
    return accepted


async def cluster(engine: Engine, clock: SystemClock, groups: int, rollouts: int) -> None:
    """Every group's workload serves v1; then the first ones begin to roll out v2."""
    for number in range(groups):
        workload = Workload(namespace="shop", kind="Deployment", name=f"d{number}")
        started = clock.now() - timedelta(hours=2)
        view = a_view(V1, workload=workload, uid=f"u{number}", started_at=started, available_since=started)
        engine.put(WorkloadSeen(at=clock.now(), view=view))
    await asyncio.sleep(0)
    await engine.rested()
    await asyncio.sleep(1.0)
    for number in range(rollouts):
        workload = Workload(namespace="shop", kind="Deployment", name=f"d{number * groups // rollouts}")
        view = a_rollout_view(V2, V1, workload=workload, uid=f"u{number * groups // rollouts}", started_at=clock.now())
        engine.put(WorkloadSeen(at=clock.now(), view=view))
    await engine.rested()


def stumbled(metrics: Metrics) -> float:
    """Events that could not be judged: bugs."""
    families = [family for family in metrics.registry.collect() if family.name == "lastgood_events_failed"]
    return sum(sample.value for family in families for sample in family.samples if sample.name.endswith("_total"))


async def storm(folder: Path, alerts: int, groups: int, rollouts: int, seconds: float) -> dict[str, Any]:
    """Play it, and say what was seen."""
    clock, policy, watch, supervisor, metrics = SystemClock(), a_policy(), Watch(), Supervisor(), Metrics()
    journal = SqliteJournal(folder / "journal.db")
    placed: set[str] = set()

    def told(facts: Sequence[Fact], state: State) -> None:
        placed.update(fact.fingerprint for fact in facts if isinstance(fact, AlertPlaced))
        watch.told(facts, state)
        metrics.journalled(facts, state)

    engine = Engine(
        journal, clock, lambda: policy, inbox_max=INBOX_MAX, told=told,
        dispatch=lambda action, uncertain: dispatcher.start(action, uncertain=uncertain),
    )  # fmt: skip
    answers = Answers(clock)
    kinds = ("locate", "measure", "check_target", "prove_soak", "roll_back", "page", "announce")
    dispatcher = Dispatcher(
        dict.fromkeys(kinds, answers), clock, supervisor, Faults(transient=OSError, permanent=ValueError),
        finish=engine.put, attempted=metrics.attempted,
    )  # fmt: skip
    await engine.recover()
    engine.waits_for(None)
    webhook = AlertmanagerWebhook(
        intake=engine, clock=clock, telemetry=metrics, auth=None,
        on_accepted=lambda: None, on_truncated=lambda: None,
    )  # fmt: skip
    server = HttpServer(ServerLimits())
    _, port = await server.serve_tcp(
        build_app(routes=webhook.routes(), limits=ServerLimits()), host="127.0.0.1", port=0
    )
    supervisor.eternal("engine", engine.run())
    await cluster(engine, clock, groups, rollouts)
    settle()
    supervisor.eternal("turns", watch.turns())
    before, cpu = resident(), time.process_time()
    accepted = await send(f"http://127.0.0.1:{port}{PATH}", alerts, groups, seconds, watch, clock)
    give_up = time.perf_counter() + SETTLE_SECONDS
    while len(watch.took) < accepted and time.perf_counter() < give_up:
        await asyncio.sleep(0.05)
    cpu, after = time.process_time() - cpu, resident()
    await asyncio.sleep(FLAT_SECONDS)
    later = resident()
    took, stumbles = sorted(watch.took.values()), stumbled(metrics)
    found = {
        "sent": alerts // groups * groups, "accepted": accepted, "placed": len(placed), "judged": len(took),
        "kept": len(engine.state.alerts), "incidents": engine.state.incident_count,
        "rolled_back_or_proposed": sum(1 for each in engine.state.incidents.values() if each.blamed is not None),
        "verdict_p50": took[len(took) // 2] if took else None,
        "verdict_p99": took[int(len(took) * 0.99)] if took else None,
        "verdict_max": took[-1] if took else None,
        "cpu_seconds": cpu, "slowest_turn": watch.slowest_turn,
        "memory_before": before, "memory_after": after, "memory_later": later,
        "stumbles": stumbles,
    }  # fmt: skip
    dispatcher.close()
    await server.close()
    await supervisor.stop()
    await journal.close()
    return found


def main() -> None:
    """Run as the module says."""
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory(sys.stderr)
    )
    begin()
    folder, (alerts, groups, rollouts) = Path(sys.argv[1]), (int(text) for text in sys.argv[2:5])
    if cores := os.environ.get("BENCH_CORE"):
        os.sched_setaffinity(0, {int(cores)})
    print(json.dumps(uvloop.run(storm(folder, alerts, groups, rollouts, float(sys.argv[5])))))  # noqa: T201


if __name__ == "__main__":
    main()
