"""Being the one that acts: alone, which is always so, or for as long as a Lease lasts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from math import inf

import structlog

from daemon.ports import Journal, JournalUnavailableError, Leadership
from daemon.runtime.engine import Engine

log = structlog.get_logger()

TAKE_OVER_RETRY_SECONDS = 1.0
"""Between two attempts to take a journal over that does not answer."""

LOOK_SECONDS = 0.5
"""How often it is looked whether a renewal has given more time; well below any lease's retry."""


class Alone:
    """ports.Leadership of a daemon without a lease: its folder's lock says that there is no other."""

    leads = True
    token = 0
    remaining = inf


@asynccontextmanager
async def while_leading(leadership: Leadership) -> AsyncIterator[None]:
    """Cut what is inside with a TimeoutError when leadership ends; what is renewed meanwhile gives it longer."""
    if leadership.remaining == inf:
        yield
        return
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(leadership.remaining) as limit:
        timers: list[asyncio.TimerHandle] = []

        def look() -> None:
            if not limit.expired():
                limit.reschedule(loop.time() + leadership.remaining)
                timers[:] = [loop.call_later(LOOK_SECONDS, look)]

        timers.append(loop.call_later(LOOK_SECONDS, look))
        try:
            yield
        finally:
            timers[0].cancel()


async def taken_over(journal: Journal, engine: Engine, token: int) -> datetime | None:
    """Write the journal alone from now on, and know all that it holds; since when nobody has written.

    A database often fails over together with the daemon that led, on the same node: it is waited for, as long as the lease
    lasts. To end instead would leave the incident to Kubernetes' back-off, which is minutes. Raises StaleLeaderError.
    """
    while True:
        try:
            await journal.take_over(token)
            return await engine.recover()
        except JournalUnavailableError as error:
            log.warning("journal_not_taken_over", error=str(error))
            await asyncio.sleep(TAKE_OVER_RETRY_SECONDS)
