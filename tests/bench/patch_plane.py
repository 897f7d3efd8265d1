"""From the webhook to the patch that a real API server has accepted, with the evidence at hand.

The daemon's own webhook, engine, journal, dispatcher and client of the API server, in a process of their own as in the daemon
(uvloop, its way with the garbage collector); the target's check and the rollback are the real runners. Locating and measuring is
answered at once. Beside each incident the same requests are sent bare, one after the other as they depend on each other.

Run as `python patch_plane.py FOLDER URL CA_FILE TOKEN NAMESPACE INCIDENTS`, on Deployments `web-0`, `web-1`, … that went from v1
to v2; prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
import uvloop

from daemon.core.actions import (
    Action,
    Announced,
    Located,
    Measured,
    Outcome,
    OutcomeKind,
    Paged,
    Result,
    Soaked,
)  # fmt: skip
from daemon.core.events import WorkloadSeen
from daemon.core.model import Revision, RevisionPods, Workload
from daemon.core.state import State
from daemon.runtime.clock import SystemClock
from daemon.runtime.dispatch import Dispatcher, Faults
from daemon.runtime.engine import Engine
from daemon.runtime.journal import SqliteJournal
from daemon.runtime.memory import begin, settle
from daemon.runtime.report import IncidentLog
from daemon.runtime.supervise import Supervisor
from daemon.runtime.telemetry import Metrics
from handlers import revisions, workload_objects
from handlers.faults import Permanent, Transient
from handlers.inbound.alertmanager import AlertmanagerWebhook
from handlers.just_checked import JustChecked
from handlers.kube import KubeClient, resource_path
from handlers.kube_access import from_url
from handlers.outbound.rollback.template import TemplateRollback
from handlers.outbound.targets import PLURALS, TargetChecker
from handlers.references import Reference, references_of
from handlers.server import HttpServer, ServerLimits, build_app
from handlers.workload_objects import Fresh
from tests.bench.load import request_of
from tests.core.builders import a_location, a_measurement, a_policy, a_soak, a_view

Json = dict[str, Any]

SETTLE_SECONDS = 60.0
REPLICAS = 2

DUST_SECONDS = 0.3
"""What controllers write after an exchange (events, endpoints) is over by then: they share two cores with what is measured."""

WARM_UP = 5
"""Incidents that do not count: the first few import modules and open connections, as they do in the daemon's first minutes."""


class Api:
    """The client; notes each request, and when the patch that is meant was accepted."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self.accepted = asyncio.Event()
        self.accepted_at = 0.0
        self.requests: list[tuple[str, float, float]] = []

    def clear(self) -> None:
        """For the next incident."""
        self.accepted.clear()
        self.requests.clear()

    async def get(self, path: str, **query: Any) -> Any:
        """As the client."""
        began = time.perf_counter()
        found = await self._client.get(path, **query)
        self.requests.append((f"get {path.rsplit('/', 2)[1]}", began, time.perf_counter()))
        return found

    async def list_pages(self, path: str, **options: Any) -> Any:
        """As the client."""
        began = time.perf_counter()
        async for page in self._client.list_pages(path, **options):
            yield page
        self.requests.append(("list " + path.rsplit("/", 1)[1], began, time.perf_counter()))

    async def patch_json(self, path: str, ops: Any, *, dry_run: bool = False, **more: Any) -> Any:
        """As the client."""
        began = time.perf_counter()
        found = await self._client.patch_json(path, ops, dry_run=dry_run, **more)
        ended = time.perf_counter()
        self.requests.append(("dry run" if dry_run else "patch", began, ended))
        if not dry_run and not self.accepted.is_set():
            self.accepted_at = ended
            self.accepted.set()
        return found


class Answers:
    """Evidence at hand: located and measured at once."""

    def __init__(self, clock: SystemClock) -> None:
        self._clock = clock

    async def run(self, action: Action) -> Outcome:
        """The answer that a bad rollout of the alert's workload would lead to."""
        return Outcome(kind=OutcomeKind.DONE, result=self._result(action))

    async def probe(self, action: Action) -> Outcome | None:
        """Nothing is left over."""
        return None

    def _result(self, action: Any) -> Result:
        now = self._clock.now()
        match action.kind:
            case "locate":
                workload = Workload(
                    namespace=action.alert.label("namespace") or "",
                    kind="Deployment",
                    name=action.alert.label("deployment") or "",
                )
                return Located(location=a_location(workload, onset=now - timedelta(seconds=1)))
            case "measure":
                return Measured(measurement=a_measurement(now))
            case "prove_soak":
                return Soaked(soak=a_soak(action.since, action.until or now))
            case "page":
                return Paged(key=action.key)
            case _:
                return Announced(channel="C1", thread="1.1")


class Bare:
    """The requests of one incident without a daemon around them, in the same order: what the API server itself takes."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def chain(self, workload: Workload) -> float:
        """Seconds of the check's and the rollback's requests; a dry run stands for the patch."""
        before = await self._read(workload)
        began, named = time.perf_counter(), [revisions.revision_of(each) for each in before[0].history]
        fresh, target = await self._read(workload, named)
        names = references_of(revisions.template_of(target))
        await asyncio.gather(
            *(self._seen(workload.namespace, each) for each in names), self._dry_run(workload, fresh, target)
        )
        await self._dry_run(workload, fresh, target)
        return time.perf_counter() - began

    async def _read(self, workload: Workload, named: Sequence[Revision] = ()) -> tuple[Fresh, Json]:
        fresh = await workload_objects.read(self._client, workload, named)
        assert fresh is not None
        return fresh, min(fresh.history, key=lambda each: revisions.number_of(each) or 0)

    async def _seen(self, namespace: str, reference: Reference) -> None:
        path = resource_path("v1", PLURALS[reference.kind], namespace=namespace, name=reference.name)
        await self._client.get(path, metadata_only=True)

    async def _dry_run(self, workload: Workload, fresh: Fresh, target: Json) -> None:
        ops = workload_objects.guarded_patch(fresh, target, {"bench": "bare"})
        await self._client.patch_json(workload_objects.path_of(workload), ops, dry_run=True)


def pods(revision: Revision, count: int) -> RevisionPods:
    """Ready pods of a revision."""
    return RevisionPods(revision=revision.id, names=tuple(f"{revision.id[:6]}-{n}" for n in range(count)), ready=count)


def webhook(workload: Workload, number: int) -> bytes:
    """Alertmanager's message."""
    labels = {
        "alertname": "HighErrorRate",
        "severity": "critical",
        "namespace": workload.namespace,
        "deployment": workload.name,
    }
    alert = {
        "status": "firing", "labels": labels, "annotations": {"summary": "it fails"}, "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://prometheus", "fingerprint": f"{number:016x}",
    }  # fmt: skip
    whole = {
        "version": "4", "groupKey": f"{{}}:{{{number}}}", "truncatedAlerts": 0, "status": "firing", "receiver": "lastgood",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://alertmanager", "alerts": [alert],
    }  # fmt: skip
    return json.dumps(whole).encode()


class Daemon:
    """Its parts, put together as daemon.app does."""

    def __init__(self, folder: Path, client: KubeClient) -> None:
        self.clock, self.supervisor, self.metrics = SystemClock(), Supervisor(), Metrics()
        self.api = Api(client)
        self._log = IncidentLog()
        policy = a_policy(
            countdown=timedelta(0),
            signal_window=timedelta(seconds=1),
            rollbacks_per_namespace_hour=10**6,
            rollbacks_per_cluster_hour=10**6,
        )
        self.journal = SqliteJournal(folder / "journal.db", on_fsync=self.metrics.fsync.observe)
        self.engine = Engine(
            self.journal, self.clock, lambda: policy, inbox_max=1000, told=self._told,
            dispatch=lambda action, uncertain: self.dispatcher.start(action, uncertain=uncertain),
        )  # fmt: skip
        answers = Answers(self.clock)
        runners: dict[str, Any] = dict.fromkeys(("locate", "measure", "prove_soak", "page", "announce"), answers)
        checked = JustChecked()
        runners["check_target"] = TargetChecker(self.api, checked)
        runners["roll_back"] = TemplateRollback(self.api, self.clock, checked)
        self.dispatcher = Dispatcher(
            runners, self.clock, self.supervisor, Faults(transient=Transient, permanent=Permanent),
            finish=self.engine.put, attempted=self.metrics.attempted,
        )  # fmt: skip

    def _told(self, facts: Any, state: State) -> None:
        self.metrics.journalled(facts, state)
        self._log.tell(facts, state)

    async def start(self, server: HttpServer) -> int:
        """Recover, listen, decide; the port of the webhook."""
        await self.engine.recover()
        self.engine.waits_for(None)
        hook = AlertmanagerWebhook(
            intake=self.engine, clock=self.clock, telemetry=self.metrics, auth=None,
            on_accepted=lambda: None, on_truncated=lambda: None,
        )  # fmt: skip
        app = build_app(routes=hook.routes(), limits=ServerLimits())
        _, port = await server.serve_tcp(app, host="127.0.0.1", port=0)
        self.supervisor.eternal("engine", self.engine.run())
        return port

    async def sees(self, workload: Workload, fresh: Fresh) -> None:
        """The workload with a proven v1, then with v2 beside it."""
        first, second = sorted((revisions.revision_of(rs) for rs in fresh.history), key=lambda one: one.number or 0)
        long_ago = self.clock.now() - timedelta(hours=2)
        known: dict[str, Any] = {"workload": workload, "uid": fresh.uid, "history": (first, second), "desired": 2}
        old = a_view(first, **known, pods=(pods(first, 2),), started_at=long_ago, available_since=long_ago)
        self.engine.put(WorkloadSeen(at=self.clock.now(), view=old))
        while not any(entry.verified for entry in self._ledger(workload)):
            await asyncio.sleep(0.002)
        began, both = self.clock.now() - timedelta(seconds=2), (pods(first, 1), pods(second, 1))
        new = a_view(second, **known, pods=both, started_at=began, available_since=None, converged=False)
        self.engine.put(WorkloadSeen(at=self.clock.now(), view=new))
        await self.engine.rested()

    def _ledger(self, workload: Workload) -> Any:
        tracked = self.engine.state.workloads.get(workload.key)
        return tracked.ledger.values() if tracked else ()


async def until_settled(client: KubeClient, workload: Workload) -> None:
    """The controllers are done with it, and with what they write afterwards: one incident at a time."""
    pods = resource_path("v1", "pods", namespace=workload.namespace)
    async with asyncio.timeout(SETTLE_SECONDS):
        while not complete(await client.get(workload_objects.path_of(workload))):
            await asyncio.sleep(0.05)
        while len((await client.get(pods, labelSelector=f"app={workload.name}"))["items"]) != REPLICAS:
            await asyncio.sleep(0.05)
        await asyncio.sleep(DUST_SECONDS)


def complete(obj: Json) -> bool:
    """As `kubectl rollout status` means it."""
    status, wanted = obj.get("status", {}), obj["spec"]["replicas"]
    counts = [status.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas")]
    return status.get("observedGeneration", 0) >= obj["metadata"]["generation"] and counts == [wanted] * 3


@dataclass(kw_only=True)
class Found:
    """Seconds, one of each per incident; `cpu` are ours. The requests are those of the slowest incident, in milliseconds."""

    took: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    slowest: list[tuple[str, float, float]] = field(default_factory=list)


class Sender:
    """Alertmanager's side of the webhook on one kept-open connection, as cheap as can be: it is not what is measured."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def post(self, body: bytes) -> None:
        """Send it; returns when it is accepted."""
        self._writer.write(request_of(body))
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await self._reader.readexactly(int(length.partition(b":")[2]))

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


async def incident(daemon: Daemon, sender: Sender, workload: Workload, number: int, found: Found) -> None:
    """From the webhook that is sent to the patch that is accepted."""
    daemon.api.clear()
    body, cpu, sent = webhook(workload, number), time.process_time(), time.perf_counter()
    await sender.post(body)
    answered = time.perf_counter()
    async with asyncio.timeout(SETTLE_SECONDS):
        await daemon.api.accepted.wait()
    found.cpu.append(time.process_time() - cpu)
    took = daemon.api.accepted_at - sent
    if took > max(found.took, default=0.0):
        found.slowest = [
            (what, round((began - sent) * 1e3, 1), round((ended - sent) * 1e3, 1))
            for what, began, ended in daemon.api.requests
        ]
    found.took.append(took)
    found.answered.append(answered - sent)


async def measured(folder: Path, client: KubeClient, namespace: str, incidents: int) -> Found:
    """All incidents, one after the other."""
    daemon, server, bare, found = Daemon(folder, client), HttpServer(ServerLimits()), Bare(client), Found()
    port = await daemon.start(server)
    workloads = [Workload(namespace=namespace, kind="Deployment", name=f"web-{n}") for n in range(incidents + WARM_UP)]
    for workload in workloads:
        fresh = await workload_objects.read(client, workload)
        assert fresh is not None
        await daemon.sees(workload, fresh)
    settle()
    sender = Sender(*await asyncio.open_connection("127.0.0.1", port))
    for number, workload in enumerate(workloads):
        if number == WARM_UP:
            found = Found()
        found.bare.append(await bare.chain(workload))
        await incident(daemon, sender, workload, number, found)
        await daemon.engine.rested()
        await until_settled(client, workload)
    sender.close()
    daemon.dispatcher.close()
    await server.close()
    await daemon.supervisor.stop()
    await daemon.journal.close()
    return found


async def main() -> Found:
    """With the arguments of the command line."""
    folder, url, ca_file, token, namespace = sys.argv[1:6]
    async with KubeClient(from_url(url, token=token, ca_file=Path(ca_file))) as client:
        return await measured(Path(folder), client, namespace, int(sys.argv[6]))


if __name__ == "__main__":
    begin()
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory(sys.stderr)
    )
    print(json.dumps(asdict(uvloop.run(main()))))  # noqa: T201  it is a program
