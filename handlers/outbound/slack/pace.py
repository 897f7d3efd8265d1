"""Keeps our own messages at the rate that Slack takes."""

from __future__ import annotations

import asyncio

from handlers.faults import FaultKind, Transient

MESSAGE_SECONDS = 1.0
"""Time between two messages to one channel: Slack allows about one per second (protocols.md §5.2)."""

WAIT_SECONDS_MAX = 10.0
"""Longest wait for a turn within one attempt; a longer one goes back to the dispatcher, who may use the time."""


class Pace:
    """Turns at writing to one channel, `message_seconds` apart, in the order in which they are asked for."""

    def __init__(self, message_seconds: float = MESSAGE_SECONDS) -> None:
        self._message_seconds = message_seconds
        self._free_at = 0.0

    async def turn(self) -> None:
        """Return when a message may be sent. Raises Transient, and takes no turn, where that is too far away."""
        now = asyncio.get_running_loop().time()
        at = max(now, self._free_at)
        if at - now > WAIT_SECONDS_MAX:
            raise Transient(at - now, "waiting for Slack's rate limit on the channel", FaultKind.RATE_LIMITED)
        self._free_at = at + self._message_seconds
        await asyncio.sleep(at - now)

    def hold(self, seconds: float) -> None:
        """Slack asked for this much silence: it counts for every message to the channel, not only for the refused
        one.
        """
        self._free_at = max(self._free_at, asyncio.get_running_loop().time() + seconds)
