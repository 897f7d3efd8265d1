"""The time of day: the world's is true, each process has a clock that drifts and jumps."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

EPOCH = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
"""When every world begins."""


def true_now() -> datetime:
    """The world's own time."""
    return EPOCH + timedelta(seconds=asyncio.get_running_loop().time())


def stamp(at: datetime) -> str:
    """A time as the Kubernetes API writes it: whole seconds."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


class WallClock:
    """ports.Clock of one machine: `drift` is its error per second, `jump` moves it at once."""

    def __init__(self, drift: float = 0.0) -> None:
        self._drift = drift
        self._offset = timedelta(0)

    def now(self) -> datetime:
        seconds = asyncio.get_running_loop().time()
        return EPOCH + timedelta(seconds=seconds * (1 + self._drift)) + self._offset

    def jump(self, seconds: float) -> None:
        """Somebody set the clock."""
        self._offset += timedelta(seconds=seconds)
