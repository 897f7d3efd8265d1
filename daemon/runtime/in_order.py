"""Where what is accepted meets: our own events and those of daemons that stand by, in the order of the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from daemon.ports import Journal, Journalled
from daemon.runtime.inbox import Inbox, is_told

READ_ROWS = 100
"""Accepted events that are read from the journal at once: usually 70 kB, and each may be as large as a webhook."""


class InOrder:
    """Brings what is accepted into the inbox: each event once, in the order of the journal, while there is room.

    `lock` is held while something is accepted, and while it is read back, so that neither overtakes the other. Only a person's
    command goes before others, and only where more is on disk than there is room for.
    """

    def __init__(self, journal: Journal, inbox: Inbox) -> None:
        self._journal = journal
        self._inbox = inbox
        self._queued = 0
        self._held: list[tuple[int, Journalled, int]] = []  # our commands that are written and not queued
        self._overtook: set[int] = set()  # above _queued, and queued already
        self._begun = False
        self._level = asyncio.Event()
        self.lock = asyncio.Lock()

    @property
    def is_level(self) -> bool:
        """Nothing is accepted and not queued yet, as far as we know. Never before `begin`."""
        return self._level.is_set()

    @property
    def can_read_on(self) -> bool:
        """Something is accepted and not queued yet, and there is room for it, or it is a command."""
        return not self._level.is_set() and (self._inbox.has_room or bool(self._held))

    def begin(self, cursor: int) -> None:
        """What has a higher number than this is to be queued; a beginning that broke off left nothing."""
        self._inbox.begin(cursor)
        for _, event, size in self._held:
            self._inbox.release(event, size)
        self._held.clear()
        self._queued, self._begun = cursor, True
        self._overtook.clear()
        self._level.clear()

    def append(self, rows: Sequence[tuple[int, Journalled, int]]) -> None:
        """Queue what we have just written: numbers, events, and how much room is reserved for each.

        Where others wrote before it, and while we stand by, alerts give their room back: they are read from the journal, by us
        once all before them was, or by who leads.
        """
        if self._level.is_set() and rows[-1][0] == self._queued + len(rows):
            for seq, event, size in rows:
                self._inbox.arrive(seq, event, size)
            self._queued = rows[-1][0]
            return
        self._level.clear()
        for seq, event, size in rows:
            if self._begun and not is_told(event):
                self._held.append((seq, event, size))
            else:
                self._inbox.release(event, size)

    def consumed(self) -> int:
        """The intake number up to which everything was taken."""
        return min(self._inbox.consumed(), self._queued)

    async def read_on(self) -> None:
        """Queue what is accepted and not queued yet, as far as there is room. Hold the lock. Raises JournalUnavailableError."""
        while self._inbox.has_room:
            rows = await self._journal.unread(self._queued, READ_ROWS)
            self._inbox.restore(row for row in rows if row[0] not in self._overtook)
            # Where nothing is left, what overtook was consumed; nothing can appear below it any more.
            self._queued = rows[-1][0] if rows else max(self._overtook, default=self._queued)
            self._overtook = {seq for seq in self._overtook if seq > self._queued}
            if not rows:
                self._level.set()
                break
        else:
            self._level.clear()
        self._overtake()

    def _overtake(self) -> None:
        """Queue the commands that would have to wait until there is room for all that is before them."""
        for seq, event, size in self._held:
            if seq > self._queued:
                self._inbox.arrive(seq, event, size)
                self._overtook.add(seq)
            else:
                self._inbox.release(event, size)  # it was read
        self._held.clear()

    async def others_wrote(self) -> None:
        """Return when there is something to read on. Raises JournalUnavailableError."""
        await self._level.wait()
        await self._journal.wait_for_intake(self._queued)
        self._level.clear()
