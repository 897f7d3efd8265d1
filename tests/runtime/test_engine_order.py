"""In which order the engine lets go of what it decided: the rollback before all else, logs and metrics when requests are out."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from daemon.core.actions import (
    Action,
    Checked,
    Located,
    Measured,
    Outcome,
    OutcomeKind,
    Result,
    Soaked,
)
from daemon.core.events import ActionFinished, AlertSource, AlertsReported, WorkloadSeen
from tests.core.builders import (
    V1,
    V2,
    a_check,
    a_location,
    a_measurement,
    a_policy,
    a_rollout_view,
    a_soak,
    a_view,
    an_alert,
)  # fmt: skip
from tests.runtime.desk import Desk


class Order(Desk):
    """Notes in which order things happen: a dispatched action's first step, and being told."""

    def __init__(self) -> None:
        super().__init__()
        self.happened: list[str] = []

    def _dispatched(self, action: Action, uncertain: bool) -> None:
        super()._dispatched(action, uncertain)
        self.begin(self._step(action))

    async def _step(self, action: Action) -> None:
        self.happened.append(action.kind)

    def _told(self, facts: Any, state: Any) -> None:
        super()._told(facts, state)
        self.happened.append("told")

    async def answer(self, kind: str, result: Result) -> None:
        """The last action of that kind has gone well."""
        action = next(action for action, _ in reversed(self.dispatched) if action.kind == kind)
        outcome = Outcome(kind=OutcomeKind.DONE, result=result)
        self.engine.put(ActionFinished(at=self.clock.now(), action_id=action.id, outcome=outcome))
        await self.engine.rested()


async def blamed() -> Order:
    """A desk on which v2 has just been blamed, with countdown 0."""
    desk = Order()
    desk.policy = a_policy(countdown=timedelta(0))
    await desk.start()
    now = desk.clock.now()
    long_ago = now - timedelta(hours=2)
    desk.engine.put(WorkloadSeen(at=now, view=a_view(V1, started_at=long_ago, available_since=long_ago)))
    await desk.engine.rested()
    await desk.answer("prove_soak", Soaked(soak=a_soak(long_ago, now)))
    desk.engine.put(WorkloadSeen(at=now, view=a_rollout_view(V2, V1, started_at=now - timedelta(minutes=1))))
    await desk.engine.accept(AlertsReported(at=now, source=AlertSource.WEBHOOK, alerts=(an_alert(starts_at=now),)))
    await desk.engine.rested()
    await desk.answer("locate", Located(location=a_location(onset=now - timedelta(seconds=30))))
    await desk.answer("measure", Measured(measurement=a_measurement(now)))
    desk.happened.clear()
    await desk.answer("check_target", Checked(check=a_check(V1)))
    await asyncio.sleep(0)
    return desk


async def test_the_rollback_goes_first() -> None:
    """Of all that a verdict leads to, the rollback's request is sent first: while it waits, users get errors."""
    desk = await blamed()
    assert desk.happened[0] == "roll_back"
    assert "announce" in desk.happened
    await desk.supervisor.stop()


async def test_told_when_the_requests_are_out() -> None:
    """Logs and metrics come after the first step of each action that the same facts release, and are not left out."""
    desk = await blamed()
    assert desk.happened[-1] == "told"
    assert desk.happened.count("told") == 1
    await desk.supervisor.stop()
