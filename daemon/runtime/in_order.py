"""Where what is accepted meets: our own events and those of daemons that stand by, in the order of the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from daemon.ports import Journal, Journalled
from daemon.runtime.inbox import Inbox

READ_ROWS = 100
"""Accepted events that are read from the journal at once: usually 70 kB, and each may be as large as a webhook."""


class InOrder:
    """Brings what is accepted into the inbox: each event once, in the order of the journal, while there is room.

    `lock` is held while something is accepted, and while it is read back, so that neither overtakes the other.
    """

    def __init__(self, journal: Journal, inbox: Inbox) -> None:
        self._journal = journal
        self._inbox = inbox
        self._queued = 0
        self._level = asyncio.Event()
        self.lock = asyncio.Lock()

    @property
    def is_level(self) -> bool:
        """Nothing is accepted and not queued yet, as far as we know. Never before `begin`."""
        return self._level.is_set()

    @property
    def can_read_on(self) -> bool:
        """Something is accepted and not queued yet, and there is room for it."""
        return not self._level.is_set() and self._inbox.has_room

    def begin(self, cursor: int) -> None:
        """What has a higher number than this is to be queued; a beginning that broke off left nothing."""
        self._inbox.begin(cursor)
        self._queued = cursor
        self._level.clear()

    def append(self, rows: Sequence[tuple[int, Journalled, int]]) -> bool:
        """Queue what we have just written: numbers, events, and how much room is reserved for each; whether it is queued.

        It is not where others wrote before it: all of that is to be read first, and this with it.
        """
        if not self._level.is_set() or rows[-1][0] != self._queued + len(rows):
            self._level.clear()
            return False
        for seq, event, size in rows:
            self._inbox.arrive(seq, event, size)
        self._queued = rows[-1][0]
        return True

    async def read_on(self) -> None:
        """Queue what is accepted and not queued yet, as far as there is room. Hold the lock. Raises JournalUnavailableError."""
        while self._inbox.has_room:
            if not (rows := await self._journal.unread(self._queued, READ_ROWS)):
                self._level.set()
                return
            self._inbox.restore(rows)
            self._queued = rows[-1][0]
        self._level.clear()

    async def others_wrote(self) -> None:
        """Return when there is something to read on. Raises JournalUnavailableError."""
        await self._level.wait()
        await self._journal.wait_for_intake(self._queued)
        self._level.clear()
