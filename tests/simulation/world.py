"""One world: the cluster, the vendors, the people, and one life of the daemon after the other, as its plan says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from daemon.core.actions import Action, Announce, Page, RollBack
from daemon.core.evolution import evolve
from daemon.core.facts import Fact, Moved
from daemon.core.incidents import Phase
from daemon.core.policy import Policy
from daemon.core.state import State
from daemon.ports import Journalled, StaleLeaderError
from daemon.runtime.engine import Engine
from handlers.outbound.lease import LeadershipLostError, LeaseElector
from handlers.revisions import template_hash
from tests.simulation.acts import ACTS, MAIN, SHOP
from tests.simulation.alertmanager import Alerting
from tests.simulation.controllers import Cluster
from tests.simulation.coverage import Coverage
from tests.simulation.disk import Disk, SimJournal
from tests.simulation.invariants import Invariants
from tests.simulation.item import FAULTS_OVER, Item
from tests.simulation.kubernetes import ApiServer, Applied, Obj, fault
from tests.simulation.loop import SimLoop, run_as
from tests.simulation.monitoring import Prometheus
from tests.simulation.network import LostError, Network
from tests.simulation.plan import Plan
from tests.simulation.process import Process, real_journal, real_veto
from tests.simulation.truth import Truth
from tests.simulation.vendors import Chat, PagerDuty

OTHERS = ("cart", "search")
LOOKED_EVERY = 5.0


@dataclass(frozen=True, slots=True)
class Switches:
    """What may be put in place of a part, to see that its absence is noticed."""

    journal: Callable[[Disk], SimJournal] = real_journal
    engine: Callable[..., Engine] = Engine
    veto: Callable[[Action, State, Policy, datetime], str | None] = real_veto
    runner: Callable[[str, Any], Any] = lambda kind, runner: runner
    last_look: Callable[[Action, State, Policy, datetime], str | None] = real_veto
    leadership: Callable[[LeaseElector | None], LeaseElector | None] = lambda elector: elector
    only: str | None = None
    """Ask only this invariant: others may notice the same bug sooner."""


class World:
    """Play it with `main`; `invariants` holds what was broken."""

    def __init__(self, plan: Plan, loop: SimLoop, switches: Switches) -> None:
        seed = self.seed = plan.seed
        self.plan = plan
        self.loop = loop
        self.trace: list[str] = []
        self.server = ApiServer(on_change=self._changed, on_rollback=self._rolled_back, on_patch=self._patching)
        self.cluster = Cluster(self.server, random.Random(f"cluster/{seed}"), start_seconds=plan.start_seconds)
        self.truth = Truth(self.cluster, plan.leak_seconds)
        self.network = Network(random.Random(f"network/{seed}"), list(plan.windows))
        self.prometheus = Prometheus(self.truth, self.network, plan.onset_known)
        self.alerting = Alerting(self.truth, self.network, random.Random(f"alerts/{seed}"), self.post)
        self.prometheus.alerts = self.alerting.status
        self.pagerduty = PagerDuty()
        self.chat = Chat()
        disk_rng = random.Random(f"disk/{seed}")
        self.disk = Disk(
            full=lambda: self.network.fault("disk", "full") is not None,
            latency=lambda: 2.0 if self.network.fault("disk", "slow") else disk_rng.uniform(0.0005, 0.01),
            on_write=lambda: self.happens("write"),
            on_durable=self._durable,
        )
        self.shadow = State()
        """The fold of everything that is durable: what the daemon must hold true, whatever became of it."""
        self.coverage = Coverage()
        self.invariants = Invariants(self, switches.only)
        self.pagerduty.on_event = self._paged
        self.chat.on_post = self._posted
        self.alerting.on_accepted = self.invariants.accepted
        self.make_journal, self.make_engine = switches.journal, switches.engine
        self.veto, self.last_look, self.make_runner = switches.veto, switches.last_look, switches.runner
        self.leadership = switches.leadership
        self.processes: list[Process] = []
        self._rng = random.Random(f"world/{seed}")
        self.policies: list[Policy] = []
        self.policy_since = 0.0
        self.rolled_back_from: Obj | None = None
        self.forbidden = False
        self._counts: dict[str, int] = {}
        self._waiting = {(item.on, index): item for index, item in enumerate(plan.items) if item.on is not None}
        self._tasks: list[asyncio.Task[Any]] = []
        self._starts = 0
        self._last_act = 0.0
        self._changes: tuple[tuple[str, Any], ...] = ()

    # -- the course of events

    async def main(self) -> None:
        """Play the plan to its end, and then until everything has come to rest or had its time."""
        self._furnish()
        for peer in (0, 1):
            self.spawn(self.alerting.send(peer))
        self.spawn(self.alerting.evaluate())
        for _ in range(self.plan.replicas):
            self.start(())
        for item in self.plan.items:
            if item.at is not None:
                self.loop.call_at(item.at, self._do, item)
        await self._rest()
        self.invariants.at_the_end()

    def _furnish(self) -> None:
        self.server.put("namespaces", {"metadata": {"name": SHOP}})
        self.server.put("serviceaccounts", {"metadata": {"namespace": SHOP, "name": "default"}})
        entry = {"manager": "kubectl", "time": "2026-03-01T00:00:00Z", "fieldsV1": {"f:data": {}}}
        self.server.put("configmaps", {"metadata": {"namespace": SHOP, "name": "settings", "managedFields": [entry]}})
        for name in (MAIN, *OTHERS):
            self.cluster.deploy(SHOP, name, "1.good")
            self.cluster.settle(SHOP, name)
        labels = {"alertname": "Errors", "severity": self.plan.severity, "namespace": SHOP}
        where = {"deployment": MAIN, "both": f"cart+{MAIN}", "namespace": None, "nothing": "?"}[self.plan.mapping]
        place = {} if where is None else {"deployment": where}
        self.alerting.rule({**labels, **place}, (SHOP, MAIN))
        self.alerting.rule({**labels, "deployment": "cart", "alertname": "CartErrors"}, (SHOP, "cart"))

    async def _rest(self) -> None:
        quiet = [window.ends for window in self.plan.windows]
        acts = [item.at for item in self.plan.items if item.at is not None]
        soaks = max(policy.soak.total_seconds() for policy in [self.plan.policy_of()])
        leaks = any("leak" in str(item) for item in self.plan.items)
        earliest = max([300.0, *quiet, *acts]) + (2 * soaks + self.plan.leak_seconds + 60 if leaks else 240.0)
        while self.loop.time() < min(max(earliest, self._last_act + 240.0), FAULTS_OVER) or not self.is_settled:
            if self.loop.time() > FAULTS_OVER + self._patience():
                return
            await asyncio.sleep(LOOKED_EVERY)

    def _patience(self) -> float:
        """All deadlines of an incident one after the other, of two in a row (a successor), and the slack of their looks."""
        names = ("decide_deadline", "approve_deadline", "converge_deadline", "verify_deadline", "hold")
        longest: float = max(sum(getattr(each, name).total_seconds() for name in names) for each in self.policies)
        return 2 * longest + 900.0

    @property
    def is_settled(self) -> bool:
        """Every incident has ended or is a person's, and nobody is to be told anything."""
        process = self.process
        if process is None or not process.leads or process.engine is None or process.engine.ready is not None:
            return False
        state = process.engine.state
        waits = any(incident.phase is not Phase.ESCALATED for incident in state.open_incidents)
        owes = any(isinstance(action, Page | Announce | RollBack) for action in state.owed.values())
        due = any(tracked.successor_due is not None for tracked in state.workloads.values())
        return not waits and not owes and not due

    def happens(self, trigger: str) -> None:
        """Something that plans may wait for."""
        count = self._counts[trigger] = self._counts.get(trigger, 0) + 1
        for key in [key for key in self._waiting if key[0] == (trigger, count)]:
            item = self._waiting.pop(key)
            if self.loop.time() + item.after < FAULTS_OVER:
                run_as(0, partial(self._do_after, item))
        if not trigger.startswith("write"):
            self.loop.note(trigger)

    def _do_after(self, item: Item) -> None:
        if not item.after:
            self._do(item)
            return
        self._last_act = max(self._last_act, self.loop.time() + item.after)
        self.loop.call_later(item.after, self._do, item)

    def _do(self, item: Item) -> None:
        self.say(f"* {item.what} {' '.join(str(each) for each in item.args)}")
        self._last_act = max(self._last_act, self.loop.time())
        if item.what in ("kill", "stop") and item.on is not None:
            self.network.count("process/write" if item.on[0] == "write" else "process/effect")
        ACTS[item.what](self, *item.args)

    def spawn(self, work: Any) -> None:
        """A task of the world."""
        task = run_as(0, lambda: self.loop.create_task(work))
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if self.loop.is_running() and not task.cancelled() and (error := task.exception()) is not None:
            self.bug(f"the world itself: {error!r}")

    def say(self, text: str) -> None:
        """A line of the trace."""
        self.trace.append(f"{self.loop.time():9.3f}  {text}")

    def bug(self, text: str) -> None:
        """The daemon stumbled over itself."""
        self.invariants.broken("no_stumble", text)

    # -- lives

    @property
    def process(self) -> Process | None:
        """The process that leads; where none does, one that is alive."""
        alive = [each for each in self.processes if each.alive]
        leading = [each for each in alive if each.leads]
        return next(iter(leading or alive), None)

    def start(self, changes: tuple[tuple[str, Any], ...]) -> None:
        """A process begins."""
        if changes and self.plan.replicas == 1:
            self.network.count("policy/change")
            self._changes = (*self._changes, *changes)
        if self.plan.drift:
            self.network.count("clock/drift")
        self._starts += 1
        policy = self.plan.policy_of(self._changes)
        self.policies.append(policy)
        self.policy_since = self.loop.time()
        process = Process(self, self._starts, policy, self.plan.drift)
        self.processes = [*(each for each in self.processes if each.alive), process]
        self.say(f"> life {self._starts}, mode {policy.default_mode}")
        process.begin()

    def kill(self, down: float, changes: tuple[tuple[str, Any], ...], process: Process | None = None) -> None:
        """SIGKILL for the leader; the next life begins after `down` seconds."""
        process = process or self.process
        if process is None or not process.alive:
            return
        self.network.count("process/kill")
        process.alive = False
        self.loop.kill(process.number)
        self.say(f"< life {process.number} was killed")
        run_as(0, lambda: self.loop.call_later(down, self.start, changes))

    def ended(self, process: Process, error: Exception) -> None:
        """A part of a process ended by itself: right only where it lost the Lease."""
        if not isinstance(error.__cause__, LeadershipLostError | StaleLeaderError):
            self.bug(f"{error}")
            return
        if self.leadership(process.elector) is None:
            return  # a planted bug: nobody looks whether it leads
        self.network.count("lease/lost")
        self.say(f"< life {process.number}: {error.__cause__}")
        self.kill(3.0, (), process)

    def freeze(self, seconds: float) -> None:
        """SIGSTOP for the leader, and SIGCONT after so many seconds."""
        process = self.process
        if process is None or not process.alive:
            return
        self.network.count("process/freeze")
        self.loop.freeze(process.number)
        self.say(f"| life {process.number} stands still for {seconds:.0f} s")
        run_as(0, lambda: self.loop.call_later(seconds, self.loop.thaw, process.number))

    def may_write(self, process: Process) -> bool:
        """Whether a request that changes something may be sent, as the real client asks."""
        elector = self.leadership(process.elector)
        allowed = elector is None or elector.leads
        if allowed:
            self.invariants.write_sent(process.number)
        return allowed

    def stop(self, down: float, changes: tuple[tuple[str, Any], ...]) -> None:
        """SIGTERM; the next life begins `down` seconds after the end of this one."""
        process = self.process
        if process is None or not process.alive:
            return
        self.network.count("process/stop")

        async def end() -> None:
            await asyncio.wait([process.spawn(process.stop())], timeout=60.0)
            if process.alive:
                process.alive = False
                self.loop.kill(process.number)
                self.say(f"< life {process.number} has stopped")
                await asyncio.sleep(down)
                self.start(changes)

        self.spawn(end())

    def reload(self, changes: tuple[tuple[str, Any], ...]) -> None:
        """SIGHUP: another policy."""
        process = self.process
        if process is not None and self.plan.replicas == 1:
            self.network.count("policy/change")
            self._changes = (*self._changes, *changes)
            process.policy = self.plan.policy_of(self._changes)
            self.policies.append(process.policy)
            self.policy_since = self.loop.time()

    def recovered(self, process: Process, engine: Engine) -> None:
        """A life has read its journal."""
        self.invariants.replayed(engine.state)

    # -- what the parts tell

    async def post(self, body: bytes) -> int:
        """A webhook for whoever listens."""
        listening = [each for each in self.processes if each.alive and each.engine is not None]
        if not listening:
            raise LostError
        process = self._rng.choice(listening)
        status = int(await process.spawn(process.receive(body)))
        if 400 <= status <= 499:
            self.bug(f"a webhook was answered with {status}")
        return status

    def attempted(self, kind: str, result: str) -> None:
        """The dispatcher's metric; `bug` is a runner that raised what it must not."""
        if result == "bug":
            self.bug(f"the runner of {kind} raised")

    def told(self, process: Process, facts: Sequence[Fact], state: State) -> None:
        """The engine's logs and metrics."""

    def _durable(self, facts: Sequence[Fact], rows: Sequence[Journalled]) -> None:
        self.invariants.rows_durable(rows)
        for fact in facts:
            before = self.shadow
            self.shadow = evolve(before, fact)
            self.coverage.saw(fact, before)
            self.invariants.fact_durable(fact, before)
            if isinstance(fact, Moved):
                self.say(f"  {fact.incident}: {fact.trigger} -> {fact.phase} ({fact.reason})")
        for fact in facts:
            if isinstance(fact, Moved):
                self.happens(f"phase/{fact.phase}")
            elif fact.kind == "incident_opened":
                self.say(f"  {fact.incident.id}: opened on {fact.incident.symptom.short}")
                self.happens("phase/open")

    def _changed(self, plural: str, obj: Obj) -> None:
        self.cluster.changed(plural, obj)
        for process in self.processes:
            if process.alive:
                process.api.changed(plural, obj)

    def _patching(self, dry_run: bool) -> None:
        """A patch of a Deployment's template has arrived and is about to be looked at."""
        self.happens("dry-run" if dry_run else "patch")
        if self.forbidden:
            raise fault(403, "Forbidden", "User lastgood cannot patch resource deployments in API group apps")

    def _rolled_back(self, applied: Applied) -> None:
        self.coverage.rollbacks += 1
        self.rolled_back_from = applied.template
        self.say(f"! {applied.action} of {applied.workload}: {applied.before[:6]} -> {applied.after[:6]}")
        self.invariants.rollback_applied(applied)
        self.happens("rollback")

    def forget_revision(self, replica_set: Obj) -> None:
        """A ReplicaSet is collected."""
        metadata = replica_set["metadata"]
        uid = metadata["ownerReferences"][0]["uid"]
        self.server.gone_revisions[uid, template_hash(replica_set["spec"]["template"])] = self.loop.time()
        self.server.delete("replicasets", metadata["namespace"], metadata["name"])

    def _paged(self, event: dict[str, Any]) -> None:
        details = event["payload"]["custom_details"]
        self.say(f"@ pager: {event['event_action']} {event['dedup_key']} ({details['phase']})")
        self.invariants.paged(event)
        self.happens("page")

    def _posted(self, action: Announce) -> None:
        self.invariants.announced(action)
        self.happens("post")
