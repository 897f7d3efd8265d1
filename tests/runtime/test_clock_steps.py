"""Clocks that are set, and a daemon that was not there: what ran out meanwhile is no consent, and nothing is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from daemon.core.events import WorkloadSeen
from daemon.core.facts import DaemonStarted, MeasureBegan, Proposed
from daemon.core.incidents import Phase
from daemon.core.state import State
from daemon.runtime.pulse import AWAY, Pulse
from tests.core.builders import HOUR, MINUTE, NOON
from tests.fakes import LoopClock
from tests.runtime.lives import Life, World

COUNTDOWN = timedelta(seconds=30)


class SetClock(LoopClock):
    """A wall clock that somebody sets."""

    def __init__(self, start: datetime) -> None:
        super().__init__(start)
        self.step = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.step


@pytest.fixture
async def life() -> AsyncIterator[Life]:
    life = Life(World(clock=SetClock(NOON - 2 * MINUTE)))
    yield life
    await life.end()


def clock_of(life: Life) -> SetClock:
    assert isinstance(life.world.clock, SetClock)
    return life.world.clock


def phase_of(life: Life) -> Phase | None:
    return next((incident.phase for incident in life.engine.state.incidents.values()), None)


async def test_set_forward_in_the_countdown(life: Life) -> None:
    """The countdown is over by the clock, and not by the time that a person had: it starts anew, and is told so."""
    await life.start()
    assert await life.until(lambda: phase_of(life) is Phase.PROPOSED)
    clock_of(life).step += timedelta(minutes=5)
    stepped = asyncio.get_running_loop().time()
    assert await life.until(lambda: bool(life.world.patched))
    assert asyncio.get_running_loop().time() - stepped >= COUNTDOWN.total_seconds()
    proposals = [fact for fact in life.facts if isinstance(fact, Proposed)]
    assert len(proposals) == 2
    assert len([fact for fact in life.facts if isinstance(fact, DaemonStarted)]) == 2
    assert await life.until(lambda: life.recovered)
    assert len(life.world.patched) == 1


async def test_woken_before_the_pulse(life: Life) -> None:
    """Whatever wakes the engine first after the absence, it does not act on what ran out meanwhile."""
    await life.start()
    assert await life.until(lambda: phase_of(life) is Phase.PROPOSED)
    await asyncio.sleep(0.3)  # between two beats
    clock_of(life).step += timedelta(minutes=5)
    life.engine.put(WorkloadSeen(at=clock_of(life).now(), view=life.world.view()))
    await asyncio.sleep(0.1)
    assert len([fact for fact in life.facts if isinstance(fact, Proposed)]) == 2
    assert not [fact for fact in life.facts if isinstance(fact, MeasureBegan) and fact.final]


PHASES = [Phase.OPEN, Phase.PROPOSED, Phase.ROLLING_BACK, Phase.VERIFYING]
SETTLED = {Phase.RECOVERED, Phase.ESCALATED, Phase.CLOSED, Phase.DISMISSED, Phase.SUPERSEDED}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["forward", "back"])
async def test_whenever_it_is_set(life: Life, phase: Phase, step: timedelta) -> None:
    """In whatever phase, forward or back: one rollback at most, and the incident ends or is with a person, as late as the
    clock was set back.
    """

    def told(facts: Any, state: State) -> None:
        if phase_of(life) is phase and not clock_of(life).step:
            clock_of(life).step = step

    life.on_told = told
    await life.start()
    assert await life.until(lambda: bool(clock_of(life).step), within=10 * MINUTE)
    assert await life.until(lambda: phase_of(life) in SETTLED, within=2 * HOUR)
    assert len(life.world.patched) <= 1
    if phase_of(life) is Phase.ESCALATED:
        assert await life.until(lambda: bool(life.world.paged), within=2 * MINUTE)
    assert len({page.key for page in life.world.paged}) <= 1


async def test_a_short_delay_is_no_absence() -> None:
    """A loop that comes late is not away; one that is gone for longer was, once, since the last sign of life."""
    clock, away = SetClock(NOON), list[datetime]()
    pulse = Pulse(clock, away.append)
    pulse.look()
    for step in (AWAY, -HOUR, timedelta(0)):
        clock.step += step
        pulse.look()
    assert away == []
    before = clock.now()
    clock.step += AWAY + timedelta(milliseconds=1)
    pulse.look()
    pulse.look()
    assert away == [before]
