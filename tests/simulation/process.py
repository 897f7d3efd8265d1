"""One life of the daemon: what daemon.app builds, with the world in place of the sockets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web

from daemon.core.actions import Action, Checked, Outcome, OutcomeKind
from daemon.core.events import Event, WorkloadSeen
from daemon.core.facts import Fact
from daemon.core.model import Exchange
from daemon.core.policy import Policy
from daemon.core.protection import veto
from daemon.core.state import State
from daemon.ports import Runner
from daemon.runtime.dispatch import Dispatcher, Faults
from daemon.runtime.engine import Engine
from daemon.runtime.supervise import Supervisor, TaskEndedError
from handlers.faults import Permanent, Transient
from handlers.inbound.alertmanager import AlertmanagerWebhook
from handlers.inbound.cluster import ClusterWatch
from handlers.just_checked import JustChecked
from handlers.kinds import DEPLOYMENT
from handlers.lease_record import LeaseTimes
from handlers.outbound.lease import LeaseElector
from handlers.outbound.pagerduty import PagerDutyPager
from handlers.outbound.rollback.patience import Patient
from handlers.outbound.rollback.template import TemplateRollback
from handlers.outbound.targets import TargetChecker
from handlers.server import ServerLimits, build_app
from tests.simulation.api_client import SimApi
from tests.simulation.clocks import WallClock
from tests.simulation.disk import SharedJournal, SimJournal
from tests.simulation.loop import run_as
from tests.simulation.monitoring import Observer
from tests.simulation.vendors import Session, Teller

if TYPE_CHECKING:
    from tests.simulation.world import World

LEASE = LeaseTimes(look=timedelta(seconds=2))
"""The times of a daemon, but that standbys look as often as the holder renews: half of all events were their looks."""

INBOX_MAX = 50
DRAIN_SECONDS, FLUSH_SECONDS = 5.0, 2.0
ON_DELETE, OUT_OF_REACH = "sim/on-delete", "sim/out-of-reach"
"""Labels that make a Deployment look like a kind that this world has not."""


class Request(dict[Any, Any]):
    """As much of aiohttp's request as the webhook and `handlers.server.read_body` look at; its body is there already."""

    def __init__(self, body: bytes, app: web.Application) -> None:
        self.headers: dict[str, str] = {}
        self.content_length = len(body)
        self.config_dict = app
        self.content = self
        self._body = body

    def is_eof(self) -> bool:
        """Whether all of it has arrived."""
        return True

    async def iter_any(self) -> AsyncIterator[bytes]:
        """The body, in one piece."""
        yield self._body


class _Deaf:
    """ports.Telemetry that nobody reads."""

    def intake(self, source: str, result: str) -> None:
        pass

    def contact(self, part: str, *, ok: bool) -> None:
        pass


class Process:
    """Begin it; kill or stop it. `engine` is there once it answers webhooks."""

    def __init__(self, world: World, number: int, policy: Policy, drift: float) -> None:
        self.number = number
        self.policy = policy
        self.clock = WallClock(drift)
        self.alive = True
        self.engine: Engine | None = None
        self.supervisor = Supervisor()
        self.elector: LeaseElector | None = None
        self.leading = False
        self._stopping = False
        self.api = SimApi(world.server, world.network, number, lambda: world.may_write(self))
        self._world = world
        self._rng = random.Random(f"process/{world.seed}/{number}")
        self._dispatcher: Dispatcher | None = None
        self._webhook: AlertmanagerWebhook | None = None
        self._app: web.Application | None = None

    def begin(self) -> None:
        """Start: as in daemon.app, the journal first, then the webhooks, then the caches, then decisions."""
        self.spawn(self._serve())

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        """A task of this process."""
        loop = asyncio.get_running_loop()
        return cast("asyncio.Task[Any]", run_as(self.number, lambda: loop.create_task(work)))

    async def _serve(self) -> None:
        world = self._world
        journal = world.make_journal(world.disk) if world.plan.replicas == 1 else SharedJournal(world.disk)
        engine = world.make_engine(
            journal, self.clock, lambda: self.policy, dispatch=self._dispatch, told=self._told,
            stumbled=lambda kind: world.bug(f"an event of kind {kind} could not be judged"), inbox_max=INBOX_MAX,
        )  # fmt: skip
        if world.plan.replicas == 1:
            await engine.recover()
            world.recovered(self, engine)
        else:
            self.elector = self._elector(journal)
            await engine.stand_by(lambda: self.holder)
        watch = ClusterWatch(
            self.api, self._eyes(engine), self.clock, random=self._rng.random, kinds=(DEPLOYMENT,),
            known=[tracked.view for tracked in engine.state.workloads.values()],
        )  # fmt: skip

        self._dispatcher = Dispatcher(
            self._runners(watch, engine), self.clock, self.supervisor, Faults(transient=Transient, permanent=Permanent),
            finish=engine.put, attempted=world.attempted, draw=self._rng.random, leadership=world.leadership(self.elector),
            veto=lambda action: world.veto(action, engine.state, self.policy, self.clock.now()),
        )  # fmt: skip
        self._webhook = AlertmanagerWebhook(
            intake=engine, clock=self.clock, telemetry=_Deaf(), auth=None,
            on_accepted=lambda: None, on_truncated=lambda: None,
        )  # fmt: skip
        self._app = build_app(routes=(), limits=ServerLimits())
        self.engine = engine
        for name, run in watch.tasks().items():
            self.supervisor.eternal(name, run())
        if self.elector is not None:
            self.supervisor.eternal("lease", self.elector.run())
        self.supervisor.eternal("engine", self._decide(engine, journal, watch))
        await self._guarded()

    async def _decide(self, engine: Engine, journal: SimJournal, watch: ClusterWatch) -> None:
        await watch.synced.wait()
        engine.waits_for(None)
        if self.elector is not None:
            await self.elector.elected.wait()
            await journal.take_over(self.elector.token)
            await engine.recover()
            self._world.recovered(self, engine)
            watch.compare(tracked.view for tracked in engine.state.workloads.values())
            self.supervisor.eternal("intake", engine.follow())
        self.leading = True
        engine.resume()
        await engine.run()

    async def _guarded(self) -> None:
        """A part that ends takes the process down, as in daemon.app."""
        try:
            await self.supervisor.until(asyncio.Event())
        except TaskEndedError as error:
            if not self._stopping:
                self._world.ended(self, error)

    def _elector(self, journal: SimJournal) -> LeaseElector:
        return LeaseElector(
            SimApi(self._world.server, self._world.network, self.number),
            namespace="shop", name="lastgood", identity=f"replica-{self.number}", clock=self.clock, times=LEASE,
            random=self._rng.random, monotonic=asyncio.get_running_loop().time, token_floor=journal.highest_token,
        )  # fmt: skip

    @property
    def holder(self) -> str:
        """Who leads, as far as this process knows."""
        return self.elector.holder if self.elector is not None else ""

    @property
    def leads(self) -> bool:
        """Whether it is the one that decides."""
        return self.leading and (self.elector is None or self.elector.leads)

    def _runners(self, watch: ClusterWatch, engine: Engine) -> Mapping[str, Runner[Any]]:
        world, checked, api = self._world, JustChecked(), Patient(self.api)

        def forbids(action: Action) -> str | None:
            return world.last_look(action, engine.state, self.policy, self.clock.now())

        observer = Observer(world.prometheus, watch.cache, lambda: self.policy, self.clock.now)
        session = cast("Any", Session(world.network, world.pagerduty))
        teller = Teller(world.chat, world.network)
        runners: dict[str, Runner[Any]] = {
            "locate": observer,
            "measure": observer,
            "prove_soak": observer,
            "check_target": _Checker(TargetChecker(self.api, checked), world),
            "roll_back": TemplateRollback(api, self.clock, checked, forbids=forbids),
            "page": PagerDutyPager(session, "https://pager.example", "key", "sim"),
            "announce": teller,
            "answer_pipeline": teller,
            "note_change": teller,
            "end_suspension": teller,
            "revert_commit": teller,
        }
        return {kind: world.make_runner(kind, runner) for kind, runner in runners.items()}

    def _eyes(self, engine: Engine) -> Any:
        def put(event: Event) -> None:
            if isinstance(event, WorkloadSeen) and dict(event.view.labels).get(ON_DELETE):
                event = replace(event, view=replace(event.view, exchange=Exchange.ON_DELETE))
            engine.put(event)

        return SimpleNamespace(put=put)

    def _dispatch(self, action: Action, uncertain: bool) -> None:
        assert self._dispatcher is not None
        self._dispatcher.start(action, uncertain=uncertain)

    def _told(self, facts: Sequence[Fact], state: State) -> None:
        self._world.told(self, facts, state)

    # -- what others do to it

    async def receive(self, body: bytes) -> int:
        """A webhook; the status of its answer, None of which comes from a process that is not there."""
        assert self._webhook is not None
        assert self._app is not None
        return (await self._webhook.receive(cast("Any", Request(body, self._app)))).status

    async def stop(self) -> None:
        """SIGTERM, as daemon.app winds down."""
        self._stopping = True
        if self._dispatcher is not None and self.engine is not None:
            self._dispatcher.close()
            await self.supervisor.drain(DRAIN_SECONDS)
            try:
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self.engine.rested()
            except TimeoutError:
                pass
        await self.supervisor.stop()
        if self.elector is not None:
            await self.elector.release()


class _Checker:
    """The real check, and what a workload of another kind would say besides."""

    def __init__(self, checker: TargetChecker, world: World) -> None:
        self._checker = checker
        self._world = world

    async def run(self, action: Any) -> Outcome:
        outcome = await self._checker.run(action)
        workload = self._world.server.get("deployments", action.workload.namespace, action.workload.name)
        labels = workload["metadata"].get("labels", {}) if workload else {}
        if isinstance(outcome.result, Checked) and labels.get(OUT_OF_REACH):
            check = replace(outcome.result.check, no_way="its template is another object's")
            return Outcome(kind=OutcomeKind.DONE, result=Checked(check=check))
        return outcome

    async def probe(self, action: Any) -> Outcome | None:
        return None


def real_veto(action: Action, state: State, policy: Policy, now: Any) -> str | None:
    """The last look before an action, as daemon.app wires it."""
    return veto(action, state, policy, now)


def real_journal(disk: Any) -> SimJournal:
    """The journal on a disk."""
    return SimJournal(disk)
