"""The watch after the soak on the engine's own schedule: what is journalled, and what people are told."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

from daemon.core.actions import (
    Action,
    Announce,
    Announced,
    Checked,
    Measured,
    Outcome,
    OutcomeKind,
    Page,
    Paged,
    ProveSoak,
    RollBack,
    Soaked,
)
from daemon.core.events import ActionFinished, WorkloadSeen
from daemon.core.facts import LedgerWritten
from daemon.core.incidents import Phase
from daemon.core.measurement import Measurement, SoakMeasurement
from daemon.core.policy import Policy
from daemon.runtime import codec
from handlers import explain, overview
from tests.core.builders import HOUR, MINUTE, SHOP, V1, V2, a_check, a_measurement, a_rollout_view, a_soak, a_view
from tests.runtime.desk import Desk

LEAK = "memory 0.93"


class Watching(Desk):
    """A desk that answers whatever is owed at once; from `leaks_from` on v2 is over its limit of memory."""

    leaks_from: datetime | None = None

    def _dispatched(self, action: Action, uncertain: bool) -> None:
        super()._dispatched(action, uncertain)
        outcome = Outcome(kind=OutcomeKind.DONE, result=self._result(action))
        self.engine.put(ActionFinished(at=self.clock.now(), action_id=action.id, outcome=outcome))

    def _result(self, action: Any) -> Any:
        now = self.clock.now()
        match action.kind:
            case "prove_soak":
                return Soaked(soak=self._soak(action, now))
            case "measure":
                return Measured(measurement=self._measured(now))
            case "check_target":
                return Checked(check=a_check(action.target))
            case "page":
                return Paged(key=action.key)
            case _:
                return Announced(channel="C1", thread="1.1")

    def _soak(self, action: ProveSoak, now: datetime) -> SoakMeasurement:
        if self.leaks_from is None or now <= self.leaks_from or action.revision.id != V2.id:
            return a_soak(action.since, action.until or now)
        return a_soak(action.since, now, timedelta(0), unhealthy_at=now, regressed_at=self.leaks_from, because=LEAK)

    def _measured(self, now: datetime) -> Measurement:
        bad = self.leaks_from is not None and now > self.leaks_from
        return a_measurement(now, new=0.4 if bad else 0.001, old=None, new_ready=3, new_pods=3, old_ready=0, alerts=())

    def actions(self, kind: type[Any]) -> list[Any]:
        """Those that went out."""
        return [action for action, _ in self.dispatched if isinstance(action, kind)]


async def serving_v2() -> Watching:
    """v2 has replaced v1 and serves alone; at the end of that the clock is where the rollout began, give or take a minute."""
    desk = Watching()
    await desk.start()
    began = desk.clock.now()
    desk.engine.put(WorkloadSeen(at=began, view=a_view(V1, started_at=began - HOUR, available_since=began - HOUR)))
    await asyncio.sleep(60)
    now = desk.clock.now()
    desk.engine.put(WorkloadSeen(at=now, view=a_rollout_view(started_at=now)))
    await asyncio.sleep(60)
    done = a_view(V2, started_at=now, available_since=desk.clock.now(), history=(V1, V2))
    desk.engine.put(WorkloadSeen(at=desk.clock.now(), view=done))
    return desk


async def test_a_leak_after_ninety_minutes_is_journalled_and_told() -> None:
    """Nobody alerts: the journal holds that the mark is withdrawn, the page and the announcement say so and why, and ask."""
    desk = await serving_v2()
    desk.leaks_from = desk.clock.now() + 90 * MINUTE
    await asyncio.sleep(95 * 60)
    assert not desk.actions(Page), "a leak of five minutes ago: the next look is due within a soak of the last"
    await asyncio.sleep(11 * 60)
    loaded = await desk.journal.load()
    facts = [codec.load_fact(body) for _, _, body in desk.journal.disk.facts.values()]
    whats = [fact.what for fact in facts if isinstance(fact, LedgerWritten) and fact.entry.revision.id == V2.id]
    assert [what for what in whats if what in ("verified", "withdrawn")] == ["verified", "withdrawn"]
    found = loaded.state.workloads[SHOP.key].entry(V2.id)
    assert found is not None
    assert (found.verified, found.withdrawn) == (False, LEAK)
    (incident,) = loaded.state.incidents.values()
    assert (incident.phase, incident.target, incident.countdown_until) == (Phase.PROPOSED, V1, None)
    told: list[Page | Announce] = [*desk.actions(Page), *desk.actions(Announce)]
    assert {type(each) for each in told} == {Page, Announce}
    for each in told:
        assert each.brief.headline == "shop/checkout: rollback proposed"
        assert each.brief.asks
        assert any(f"its mark is withdrawn: {LEAK}" in line for line in each.brief.refusals)
    assert not desk.actions(RollBack)
    await desk.supervisor.stop()


async def test_status_and_explain_tell_that_the_mark_is_withdrawn() -> None:
    """What `lastgood verified` and `lastgood explain` are made of."""
    desk = await serving_v2()
    desk.leaks_from = desk.clock.now() + 90 * MINUTE
    await asyncio.sleep(110 * 60)
    state, policy, now = desk.engine.state, desk.policy, desk.clock.now()
    ledger = overview.ledger(state.workloads[SHOP.key], state, policy, now)
    rows = {row["revision"]["id"]: (row["standing"], row["why_not"]) for row in ledger["revisions"]}
    assert rows == {V1.id: ("verified", None), V2.id: ("withdrawn", f"its mark was withdrawn: {LEAK}")}
    (incident,) = state.incidents.values()
    history = [row async for row in desk.journal.history(incident=incident.id)]
    document = explain.incident_document(incident, history, state, policy, now)
    assert document["road"][0]["text"] == "opened for a verified revision that became unhealthy and lost its mark"
    assert any(f"its mark is withdrawn: {LEAK}" in each["seen"] for each in document["verdict"]["refusals"])
    await desk.supervisor.stop()


async def test_a_healthy_revision_is_looked_at_ever_more_rarely() -> None:
    """What a watched workload costs: 11 looks of its soak, 8 of the next two hours, 11 of the rest of the day."""
    desk = await serving_v2()
    policy: Policy = desk.policy
    looks: list[int] = []
    for hours in (policy.soak / HOUR, 2.0, 22.0):
        before = len(desk.actions(ProveSoak))
        await asyncio.sleep(hours * 3600)
        looks.append(len(desk.actions(ProveSoak)) - before)
    assert looks == [11, 8, 11]
    assert desk.engine.state.incidents == {}
    await desk.supervisor.stop()
