"""The only module that asks what time it is."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """ports.Clock on the machine's wall clock."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        return datetime.now(UTC)


def monotonic() -> float:
    """Seconds that nobody can set, and that go on while the machine is suspended (Linux: CLOCK_BOOTTIME).

    For who must know how long ago something was even if the loop stood still: uvloop's time() is that of its last turn.
    """
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
