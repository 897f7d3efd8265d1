"""Being the one that acts: alone, which is always so, or for as long as a Lease lasts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf

from daemon.ports import Leadership

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
