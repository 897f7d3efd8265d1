"""A dispatcher on virtual time, whose runners do what a test lists."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, cast

from daemon.core.actions import Action, Outcome, OutcomeKind, ProveSoak, RollBack
from daemon.core.events import ActionFinished
from daemon.core.model import ActionId, IncidentId
from daemon.runtime.dispatch import ATTEMPT_SECONDS, Dispatcher
from daemon.runtime.supervise import Supervisor
from tests.core.builders import SHOP, V1, V2
from tests.fakes import START, LoopClock
from tests.runtime.lives import FAULTS

DONE = Outcome(kind=OutcomeKind.DONE)


class Bench:
    """A dispatcher whose runners do what the test lists, one entry per call; the last one is repeated."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        self.supervisor = Supervisor()
        self.runs: list[Any] = [DONE]
        self.probes: list[Any] = [None]
        self.calls: list[tuple[str, float]] = []
        self.at_once = self.most_at_once = 0
        self.finished: list[ActionFinished] = []
        self.attempts: list[tuple[str, str]] = []
        self.forbidden: str | None = None
        self.began = START
        self.dispatcher = Dispatcher(
            dict.fromkeys(ATTEMPT_SECONDS, self), self.clock, self.supervisor, FAULTS,
            finish=self.finished.append, attempted=lambda kind, result: self.attempts.append((kind, result)),
            veto=lambda action: self.forbidden, draw=lambda: 0.5,
        )  # fmt: skip

    async def run(self, action: Action) -> Outcome:
        return cast("Outcome", await self._step("run", self.runs))

    async def probe(self, action: Action) -> Outcome | None:
        return cast("Outcome | None", await self._step("probe", self.probes))

    async def _step(self, name: str, steps: list[Any]) -> Any:
        self.calls.append((name, round((self.clock.now() - self.began).total_seconds(), 3)))
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if isinstance(step, float):
                await asyncio.sleep(step)
                step = DONE
        finally:
            self.at_once -= 1
        if isinstance(step, Exception):
            raise step
        return step

    @property
    def outcome(self) -> Outcome:
        (finished,) = self.finished
        return finished.outcome

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    async def ends(self) -> None:
        await self.supervisor.drain(100_000)

    def _in(self, seconds: float) -> Any:
        return self.clock.now() + timedelta(seconds=seconds)

    def roll_back(self, name: str = "inc-1/roll_back", seconds: float = 600) -> RollBack:
        return RollBack(
            id=ActionId(name), deadline=self._in(seconds), incident=IncidentId("inc-1"), workload=SHOP, uid="u",
            blamed=V2, target=V1, why="",
        )  # fmt: skip

    def soak(self, name: str = "soak/1", seconds: float = 600) -> ProveSoak:
        now = self.clock.now()
        return ProveSoak(
            id=ActionId(name),
            deadline=self._in(seconds),
            workload=SHOP,
            revision=V1,
            since=now,
            until=None,
            baseline=(),
        )
