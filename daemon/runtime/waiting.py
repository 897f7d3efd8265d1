"""What waits to be decided: accepted events in their order, outcomes, and the newest view of each workload.

Accepted events come from us, and, where the journal is shared, from daemons that stand by. The numbers that the journal gives
them say in which order they are decided, and the cursor says up to which number they were: so none may pass another.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from daemon.core.events import Event, WorkloadSeen
from daemon.ports import Journal, Journalled

READ_ROWS = 1000
"""Accepted events that are read from the journal at once: a few MB."""


@dataclass(slots=True)
class Waiting:
    """Accepted events with their intake number, and things that can be had again (views newest per workload)."""

    accepted: deque[tuple[int, Journalled]] = field(default_factory=deque)
    outcomes: deque[Event] = field(default_factory=deque)
    views: dict[str, WorkloadSeen] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, limit: int) -> list[tuple[int, Event]]:
        """Up to `limit` events: outcomes first (they finish what is under way), then views, then what was accepted."""
        batch: list[tuple[int, Event]] = []
        while self.outcomes and len(batch) < limit:
            batch.append((0, self.outcomes.popleft()))
        while self.views and len(batch) < limit:
            batch.append((0, self.views.pop(next(iter(self.views)))))
        while self.accepted and len(batch) < limit:
            batch.append(self.accepted.popleft())
        if not (self.outcomes or self.views or self.accepted):
            self.wake.clear()
        return batch


class InOrder:
    """Brings what is accepted into the queue: each event once, in the order of the journal, at most about `room` at a time.

    `lock` is held while something is accepted, and while it is read back, so that neither overtakes the other.
    """

    def __init__(self, journal: Journal, waiting: Waiting, room: int) -> None:
        self._journal = journal
        self._waiting = waiting
        self._room = room
        self._queued = 0
        self._level = asyncio.Event()
        self.lock = asyncio.Lock()

    @property
    def is_level(self) -> bool:
        """Nothing is accepted and not queued yet, as far as we know."""
        return self._level.is_set()

    def begin(self, cursor: int) -> None:
        """What has a higher number than this is to be queued."""
        self._queued = cursor
        self._level.clear()

    def append(self, rows: Sequence[tuple[int, Journalled]]) -> None:
        """Queue what we have just written; where others wrote before it, all of that is to be read first."""
        if self._level.is_set() and rows[-1][0] == self._queued + len(rows):
            self._put(rows)
        else:
            self._level.clear()

    async def read_on(self) -> None:
        """Queue what is accepted and not queued yet, as far as there is room. Hold the lock. Raises JournalUnavailableError."""
        while len(self._waiting.accepted) < self._room:
            if not (rows := await self._journal.unread(self._queued, READ_ROWS)):
                self._level.set()
                return
            self._put(rows)
        self._level.clear()

    def _put(self, rows: Sequence[tuple[int, Journalled]]) -> None:
        self._waiting.accepted.extend(rows)
        self._queued = rows[-1][0]

    async def others_wrote(self) -> None:
        """Return when there is something to read on. Raises JournalUnavailableError."""
        await self._level.wait()
        await self._journal.wait_for_intake(self._queued)
        self._level.clear()
