"""An engine on virtual time with everything around it written down."""

from __future__ import annotations

import asyncio
from typing import Any

from daemon.core.actions import Action
from daemon.core.events import AlertSource, AlertsReported, PauseAsked
from daemon.core.facts import Fact
from daemon.core.policy import Policy
from daemon.runtime.engine import Engine
from daemon.runtime.supervise import Supervisor
from tests.core.builders import a_policy, an_alert
from tests.fakes import Disk, LoopClock, MemoryJournal


class Desk:
    """An engine with everything around it written down."""

    def __init__(self, disk: Disk | None = None, *, inbox_max: int = 10) -> None:
        self.clock = LoopClock()
        self.journal = MemoryJournal(disk)
        self.policy: Policy = a_policy()
        self.dispatched: list[tuple[Action, bool]] = []
        self.facts: list[Fact] = []
        self.batches: list[int] = []
        self.stumbles: list[str] = []
        self.supervisor = Supervisor()
        self.engine = Engine(
            self.journal, self.clock, lambda: self.policy, inbox_max=inbox_max,
            dispatch=self._dispatched, told=self._told, stumbled=self.stumbles.append,
        )  # fmt: skip

    def _dispatched(self, action: Action, uncertain: bool) -> None:
        assert any(f'"id":"{action.id}"'.encode() in body for _, _, body in self.journal.disk.facts.values())
        self.dispatched.append((action, uncertain))

    def _told(self, facts: Any, state: Any) -> None:
        self.facts.extend(facts)
        self.batches.append(len(facts))

    async def start(self) -> None:
        await self.engine.recover()
        self.engine.waits_for(None)
        self.engine.resume()
        self.supervisor.eternal("engine", self.engine.run())
        await self.engine.rested()

    def begin(self, work: Any) -> asyncio.Task[Any]:
        return self.supervisor.passing("test", work)

    def paused(self, scope: str = "") -> PauseAsked:
        return PauseAsked(at=self.clock.now(), scope=scope, actor="ann")

    def told(self, *fingerprints: str, text: str = "") -> AlertsReported:
        """A webhook with these alerts, each with so much text."""
        alerts = tuple(an_alert(each, annotations=(("summary", text),)) for each in fingerprints)
        return AlertsReported(at=self.clock.now(), source=AlertSource.WEBHOOK, alerts=alerts)

    def of(self, kind: type[Any]) -> list[Any]:
        return [fact for fact in self.facts if isinstance(fact, kind)]
