"""Outside servers that are away for an hour or for ever, on virtual time: nothing is lost, doubled, or taken for good."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from daemon.core.actions import Action, Measure, MeasurePurpose, Page, PageKind
from daemon.core.incidents import Phase
from daemon.core.ledger import LedgerEntry
from tests.core.builders import HOUR, MINUTE, NOON
from tests.fakes import LoopClock
from tests.runtime.lives import Life, World

AT_ONCE = timedelta(seconds=95)
"""The longest wait between two attempts (60 s, half of it more by lot), and the attempts themselves."""


@pytest.fixture
async def world() -> World:
    return World(clock=LoopClock(NOON - 2 * MINUTE))


def down(world: World, what: Callable[[Action], bool], seconds: timedelta) -> Callable[[Action], bool]:
    """From NOON on for so long."""
    return lambda action: what(action) and world.clock.now() < NOON + seconds


def is_page(action: Action) -> bool:
    return isinstance(action, Page)


class PagerDuty:
    """What its incidents are after these events: one per key, opened by a trigger, closed by a resolve."""

    def __init__(self, events: list[Page]) -> None:
        self.opened: list[str] = []
        self.open: set[str] = set()
        for page in events:
            if page.page is PageKind.RESOLVE:
                self.open.discard(page.key)
            elif page.key not in self.open:
                self.open.add(page.key)
                self.opened.append(page.key)


def phase_of(life: Life) -> Phase:
    (incident,) = life.engine.state.incidents.values()
    return incident.phase


def unproven(action: Action) -> bool:
    """What is asked of Prometheus after the rollback."""
    return isinstance(action, Measure) and action.purpose is MeasurePurpose.RECOVERY


@pytest.mark.parametrize("recovers", [True, False], ids=["recovered", "escalated"])
@pytest.mark.parametrize("answers", ["refuses", "loses"])
async def test_pagerduty_is_down_for_an_hour(world: World, recovers: bool, answers: str) -> None:
    """Down while the incident needs it, or carrying out what it never confirms: afterwards everything that is owed is there
    at once and in order, one PagerDuty incident in all, resolved if it recovered and open if it did not.
    """
    setattr(world, answers, down(world, is_page, HOUR))
    if not recovers:
        known = world.refuses
        world.refuses = lambda action: unproven(action) or known(action)
    life = Life(world)
    await life.start()
    end = Phase.RECOVERED if recovers else Phase.ESCALATED
    assert await life.until(lambda: bool(life.engine.state.incidents) and phase_of(life) is end, within=HOUR - MINUTE)
    if answers == "refuses":
        assert world.paged == []
    await asyncio.sleep((NOON + HOUR - world.clock.now()).total_seconds())
    assert await life.until(lambda: not any(map(is_page, life.engine.state.owed.values())), within=AT_ONCE)
    pager = PagerDuty(world.paged)
    assert len(pager.opened) == 1
    assert len(pager.open) == (0 if recovers else 1)
    if answers == "refuses":
        assert len(world.paged) == len({page.id for page in world.paged})
    await life.end()


async def test_pagerduty_is_down_and_so_are_we(world: World) -> None:
    """Killed and started again in the middle of the hour: the page is still owed, and still only one."""
    world.refuses = down(world, is_page, HOUR)
    first = Life(world)
    await first.start()
    assert await first.until(lambda: bool(world.patched))
    await first.end()
    await asyncio.sleep(600)
    second = Life(world)
    await second.start()
    await asyncio.sleep((NOON + HOUR - world.clock.now()).total_seconds())
    assert await second.until(lambda: second.recovered, within=AT_ONCE)
    assert len(PagerDuty(world.paged).opened) == 1
    assert len(world.paged) == len({page.id for page in world.paged})
    await second.end()


async def test_prometheus_is_gone_while_we_verify(world: World) -> None:
    """It never comes back: not recovered whatever the pods say, with a person at the deadline, and the blame is kept."""
    world.refuses = unproven
    life = Life(world)
    await life.start()
    assert await life.until(lambda: bool(world.patched))
    patched = world.clock.now()
    assert await life.until(lambda: phase_of(life) is Phase.ESCALATED)
    late = life.policy.converge_deadline + life.policy.verify_deadline + MINUTE
    assert world.clock.now() - patched <= late
    assert await life.until(lambda: bool(world.paged), within=MINUTE)
    await asyncio.sleep(1800)
    assert phase_of(life) is Phase.ESCALATED
    assert quarantined(life), "only what is innocent is let go"
    assert PagerDuty(world.paged).open
    assert len(world.patched) == 1
    await life.end()


async def test_prometheus_comes_back_while_we_verify(world: World) -> None:
    """Back before the deadline: recovered, on what it says then."""
    world.refuses = down(world, unproven, 8 * MINUTE)
    life = Life(world)
    await life.start()
    assert await life.until(lambda: life.recovered, within=20 * MINUTE)
    assert world.clock.now() > NOON + 8 * MINUTE
    await life.end()


def quarantined(life: Life) -> list[LedgerEntry]:
    tracked = life.engine.state.workloads.values()
    return [entry for each in tracked for entry in each.ledger.values() if entry.quarantined_by is not None]
