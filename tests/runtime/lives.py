"""A world that outlives the daemon: a cluster, a vendor, a sender of alerts; and one life of engine and dispatcher in it.

Virtual time. The shop's v1 is proven, v2 goes out at NOON and errs, the alert fires a minute later. What the world
records is what really happened, however often the daemon died in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from daemon.core.actions import (
    Action,
    Announced,
    Checked,
    Located,
    Measured,
    Outcome,
    OutcomeKind,
    Page,
    Paged,
    ProveSoak,
    RollBack,
    RolledBack,
    Soaked,
)
from daemon.core.events import AlertSource, AlertsReported, WorkloadSeen
from daemon.core.facts import Fact
from daemon.core.incidents import Phase
from daemon.core.model import WorkloadView
from daemon.core.policy import Policy
from daemon.core.state import State
from daemon.ports import InboxFullError, JournalUnavailableError
from daemon.runtime.dispatch import Dispatcher, Faults
from daemon.runtime.engine import Engine
from daemon.runtime.pulse import Pulse
from daemon.runtime.supervise import Supervisor
from tests.core.builders import (
    HOUR,
    MINUTE,
    NOON,
    V1,
    V2,
    a_check,
    a_location,
    a_measurement,
    a_policy,
    a_recovery,
    a_rollout_view,
    a_soak,
    a_view,
    an_alert,
)
from tests.fakes import Disk, LoopClock, MemoryJournal


class TroubleError(Exception):
    """What a runner raises for "try again"."""

    def __init__(self, text: str = "connection refused", retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class RefusalError(Exception):
    """What a runner raises for "never"."""


FAULTS = Faults(transient=TroubleError, permanent=RefusalError)


@dataclass(kw_only=True)
class World:
    """What really happened. `on_effect` hears of each effect at its moment."""

    clock: LoopClock
    disk: Disk = field(default_factory=Disk)
    patched: list[str] = field(default_factory=list)
    paged: list[Page] = field(default_factory=list)
    announced: list[str] = field(default_factory=list)
    alert_acknowledged: bool = False
    effects: int = 0
    on_effect: Callable[[int], None] = lambda number: None
    patched_at: datetime | None = None
    refuses: Callable[[Action], bool] = lambda action: False
    """The outside server of this action is down: nothing arrives there."""
    loses: Callable[[Action], bool] = lambda action: False
    """It carries out what it is asked for, and its answer is lost."""

    def view(self) -> WorkloadView:
        """What the cluster shows now."""
        if self.clock.now() < NOON:
            return a_view(V1)
        if not self.patched:
            return a_rollout_view(V2, V1)
        moment = self.patched_at
        return a_view(
            V1, uid="uid-1", generation=100, started_at=moment, available_since=moment, history=(V1, V2),
            action_id=self.patched[0],
        )  # fmt: skip

    async def effect(self) -> None:
        """Something happened outside; its answer takes a moment, in which the daemon may die."""
        self.effects += 1
        self.on_effect(self.effects)
        await asyncio.sleep(0.5)

    def owed_on_disk(self, action: Action) -> bool:
        """The intent is durable."""
        bodies = [body for _, _, body in self.disk.facts.values()]
        bodies += [self.disk.snapshot[1]] if self.disk.snapshot else []
        named = f'"id":"{action.id}"'.encode()
        return any(named in body for body in bodies)


class Hand:
    """Runner of every kind: answers questions, carries out what acts, and checks that the intent was on disk before."""

    def __init__(self, world: World, life: Life) -> None:
        self.world = world
        self.life = life

    async def run(self, action: Action) -> Outcome:
        world = self.world
        assert world.owed_on_disk(action), f"{action.id} is carried out before its intent is on disk"
        self.life.ran.append(action.id)
        if world.refuses(action):
            raise TroubleError
        outcome = await self._carried_out(action)
        if world.loses(action):
            raise TroubleError
        return outcome

    async def _carried_out(self, action: Action) -> Outcome:
        world = self.world
        match action:
            case RollBack():
                assert action.id not in world.patched, "rolled back a second time without asking whether it happened"
                world.patched.append(action.id)
                world.patched_at = world.clock.now()
                await world.effect()
                self.life.engine.put(WorkloadSeen(at=world.clock.now(), view=world.view()))
                return _done(RolledBack(generation=99, patched_at=world.patched_at))
            case Page():
                world.paged.append(action)
                await world.effect()
                return _done(Paged(key=action.key))
            case _:
                return await self._answer(action)

    async def _answer(self, action: Any) -> Outcome:
        now = self.world.clock.now()
        match action.kind:
            case "locate":
                return _done(Located(location=a_location()))
            case "measure":
                return _done(Measured(measurement=a_recovery(now) if self.world.patched else a_measurement(now)))
            case "check_target":
                return _done(Checked(check=a_check(action.target)))
            case "prove_soak":
                assert isinstance(action, ProveSoak)
                return _done(Soaked(soak=a_soak(action.since, action.until or now)))
            case _:
                self.world.announced.append(action.id)
                await self.world.effect()
                return _done(Announced(channel="C1", thread="1.1"))

    async def probe(self, action: Action) -> Outcome | None:
        self.life.probed.append(action.id)
        if action.id in self.world.patched:
            assert self.world.patched_at is not None
            return _done(RolledBack(generation=99, patched_at=self.world.patched_at))
        if action.id in self.world.announced:
            return _done(Announced(channel="C1", thread="1.1"))
        return None


def _done(result: Any) -> Outcome:
    return Outcome(kind=OutcomeKind.DONE, result=result)


class Life:
    """One process: engine, dispatcher, watch and sender, from its start to its death."""

    def __init__(self, world: World, *, dies_after: int | None = None, policy: Policy | None = None) -> None:
        self.world = world
        self.policy = policy or a_policy()
        self.journal = MemoryJournal(world.disk, dies_after=dies_after)
        self.facts: list[Fact] = []
        self.ran: list[str] = []
        self.probed: list[str] = []
        self.on_told: Callable[[Any, State], None] = lambda facts, state: None
        self.supervisor = Supervisor()
        hand = Hand(world, self)
        kinds = ("locate", "measure", "check_target", "prove_soak", "roll_back", "page", "announce")
        self.engine = Engine(
            self.journal, world.clock, lambda: self.policy,
            dispatch=lambda action, uncertain: self.dispatcher.start(action, uncertain=uncertain),
            told=self._told, awake=self._awake, inbox_max=100,
        )  # fmt: skip
        self.pulse = Pulse(world.clock, self.engine.was_away)
        self.dispatcher = Dispatcher(
            dict.fromkeys(kinds, hand), world.clock, self.supervisor, FAULTS,
            finish=self.engine.put, attempted=lambda kind, result: None, draw=lambda: 0.5,
        )  # fmt: skip

    def _awake(self) -> None:
        self.pulse.look()

    def _told(self, facts: Any, state: State) -> None:
        self.facts.extend(facts)
        self.on_told(facts, state)

    async def start(self) -> None:
        """As the app does it: fold, look, ask after what is owed, decide."""
        await self.engine.recover()
        self.engine.put(WorkloadSeen(at=self.world.clock.now(), view=self.world.view()))
        self.engine.waits_for(None)
        self.engine.resume()
        self.supervisor.eternal("pulse", self.pulse.run())
        self.supervisor.eternal("engine", self.engine.run())
        self.supervisor.eternal("world", self._world())

    async def _world(self) -> None:
        clock = self.world.clock
        if clock.now() < NOON:
            await asyncio.sleep((NOON - clock.now()).total_seconds())
            self.engine.put(WorkloadSeen(at=clock.now(), view=self.world.view()))
        await asyncio.sleep(max(0.0, (NOON + MINUTE - clock.now()).total_seconds()))
        while not self.world.alert_acknowledged:
            with suppress(JournalUnavailableError, InboxFullError):
                await self.engine.accept(
                    AlertsReported(at=clock.now(), source=AlertSource.WEBHOOK, alerts=(an_alert(),))
                )
                self.world.alert_acknowledged = True
            await asyncio.sleep(5.0)
        await asyncio.Event().wait()

    async def end(self) -> None:
        """SIGKILL: everything stops where it stands."""
        self.dispatcher.close()
        await self.supervisor.stop()

    @property
    def recovered(self) -> bool:
        """The incident has come to its good end, and everything that was owed is settled."""
        state = self.engine.state
        phases = [incident.phase for incident in state.incidents.values()]
        pages = any(action.kind in ("page", "announce") for action in state.owed.values())
        return phases == [Phase.RECOVERED] and not pages

    async def until(self, holds: Callable[[], bool], within: timedelta = HOUR * 3) -> bool:
        """Virtual time passes until `holds()`, the journal dies, or `within` is over; whether it holds."""
        end = self.world.clock.now() + within
        while not holds() and not self.journal.dead.is_set() and self.world.clock.now() < end:
            await asyncio.sleep(1.0)
        return holds()


def a_world() -> World:
    """Two minutes before the rollout."""
    return World(clock=LoopClock(NOON - 2 * MINUTE))
