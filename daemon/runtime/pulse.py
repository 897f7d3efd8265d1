"""Notices that the daemon did not run for a while without a restart: stopped, suspended, starved; or that its clock was set.

Whatever became due meanwhile became due while nobody could object: a countdown that ran out then is no consent, and an alert
may have come and gone. So it counts as having been down. Told by the wall clock, which is what deadlines are told by:
the loop's clock stands still while a machine is suspended. A clock set back is no absence; then everything waits longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from daemon.ports import Clock

log = structlog.get_logger()

BEAT_SECONDS = 1.0
"""How often we look: how much of an absence may stay unseen at its two ends."""

AWAY = timedelta(seconds=5)
"""From how long on it was an absence; a loop that is busy or starved for less only comes late."""


class Pulse:
    """`away` hears of each absence when it is over: since when we were away."""

    def __init__(self, clock: Clock, away: Callable[[datetime], None]) -> None:
        self._clock = clock
        self._away = away
        self._last: datetime | None = None

    async def run(self) -> None:
        """Look for ever."""
        while True:
            self.look()
            await asyncio.sleep(BEAT_SECONDS)

    def look(self) -> None:
        """Call it before anything that is due is done: whoever wakes first must not act on what ran out meanwhile."""
        now, last = self._clock.now(), self._last
        self._last = now
        if last is not None and now - last > AWAY:
            log.warning("was_away", since=last.isoformat(), seconds=round((now - last).total_seconds(), 1))
            self._away(last)
