"""Whether a write to the journal hangs: a disk that neither succeeds nor fails must not look like one that works."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

STALLED_SECONDS = 10.0
"""A write that takes longer hangs. A disk in trouble takes 2 s for an fsync and works; a dead one (a network volume that is
gone, a frozen file system) answers never. Alertmanager gives a webhook longer than this, so it is told in time."""


class Stalls:
    """Follows the writes that are under way, on the loop's clock."""

    def __init__(self) -> None:
        self._begun: dict[int, float] = {}
        self._last = 0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A write is under way within this block."""
        self._last = number = self._last + 1
        self._begun[number] = asyncio.get_running_loop().time()
        try:
            yield
        finally:
            del self._begun[number]

    def told(self) -> str | None:
        """Why nothing can be accepted now; None while no write hangs."""
        if not self._begun:
            return None
        seconds = asyncio.get_running_loop().time() - next(iter(self._begun.values()))  # in the order of their begin
        if seconds < STALLED_SECONDS:
            return None
        return f"the journal has not finished a write for {seconds:.0f} s: its disk hangs"
