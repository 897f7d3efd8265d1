"""A disk that is slow, and one that hangs, on virtual time: the one is waited for, the other is told and sheds."""

from __future__ import annotations

import asyncio

import pytest

from daemon.core.events import WorkloadSeen
from daemon.core.facts import PauseSet
from daemon.ports import JournalUnavailableError
from daemon.runtime.stalls import STALLED_SECONDS
from tests.core.builders import V1, a_view
from tests.runtime.desk import Desk


async def test_slow(desk: Desk) -> None:
    """An fsync of two seconds: still ready at every moment, and everything is accepted and decided, only later."""
    await desk.start()
    desk.journal.slow = 2.0
    for number in range(20):
        task = desk.begin(desk.engine.accept(desk.paused(str(number))))
        while not task.done():
            assert desk.engine.ready is None
            await asyncio.sleep(0.1)
        await task
    await desk.engine.rested()
    assert len(desk.of(PauseSet)) == 20


@pytest.mark.parametrize("of", ["a webhook", "a decision"])
async def test_hangs(desk: Desk, of: str) -> None:
    """A write that does not end: not ready by its reason, and senders are refused at once instead of hanging with it;
    when it ends after all, what was written counts once, and everything is as before.
    """
    await desk.start()
    desk.journal.slow = 600.0
    if of == "a webhook":
        stuck = desk.begin(desk.engine.accept(desk.paused("stuck")))
    else:
        desk.engine.put(WorkloadSeen(at=desk.clock.now(), view=a_view(V1)))
        stuck = None
    await asyncio.sleep(STALLED_SECONDS - 1)
    assert desk.engine.ready is None
    await asyncio.sleep(2)
    assert "its disk hangs" in str(desk.engine.ready)
    async with asyncio.timeout(0.1):
        with pytest.raises(JournalUnavailableError, match="its disk hangs"):
            await desk.engine.accept(desk.paused("refused"))
    desk.journal.slow = 0.0
    await asyncio.sleep(700)
    assert desk.engine.ready is None
    await desk.engine.accept(desk.paused("after"))
    await desk.engine.rested()
    if stuck is not None:
        await stuck
    assert set(desk.engine.state.pauses) == ({"stuck", "after"} if stuck else {"after"})
