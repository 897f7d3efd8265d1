"""What senders tell on its way to the disk: many of them in one transaction, and each hears when its event is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from daemon.core.facts import Fact
from daemon.ports import Clock, Journal, Journalled, JournalUnavailableError
from daemon.runtime.in_order import InOrder
from daemon.runtime.inbox import Inbox
from daemon.runtime.stalls import Stalls

WRITE_MAX = 256
"""Accepted events per transaction: all that usually waits goes with one fsync."""

Answers = Mapping[int, Sequence[Fact] | Exception]
"""What events led to, by their intake number."""


@dataclass(frozen=True, slots=True)
class _Arrival:
    """An event on its way to the disk, who waits for what it leads to, and who for its being there."""

    event: Journalled
    size: int
    answer: asyncio.Future[Sequence[Fact]] | None
    written: asyncio.Future[None]


class Arrivals:
    """Writes events and queues them, in the order of their numbers. `wrote` hears how each transaction went."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        inbox: Inbox,
        in_order: InOrder,
        stalls: Stalls,
        *,
        wrote: Callable[[Exception | None], None],
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._inbox = inbox
        self._in_order = in_order
        self._stalls = stalls
        self._wrote = wrote
        self._arrived: list[_Arrival] = []
        self._writer: asyncio.Future[None] | None = None  # held, or it could be collected in the middle of its work
        self._writing = False
        self._asked: dict[int, asyncio.Future[Sequence[Fact]]] = {}

    async def write(self, event: Journalled, answer: asyncio.Future[Sequence[Fact]] | None = None) -> None:
        """Return once the event is on disk; `answer` gets what it led to, once it is decided.

        Raises JournalUnavailableError or InboxFullError, and then keeps nothing.
        """
        if (hangs := self._stalls.told()) is not None:
            raise JournalUnavailableError(hangs)  # it would wait behind the one that hangs, and its sender with it
        size = self._inbox.reserve(event)
        arrival = _Arrival(event, size, answer, asyncio.get_running_loop().create_future())
        self._arrived.append(arrival)
        if not self._writing:
            self._writing = True
            # Its own task: when a sender hangs up while its event is being written, the event may be on disk. Were it not
            # queued then, the cursor would pass it by, and only a crash in between would bring it back.
            self._writer = asyncio.shield(self._write())
        await arrival.written

    def answer(self, answers: Answers) -> None:
        """Tell those who wait for what their event led to."""
        for seq, concluded in answers.items():
            answer = self._asked.pop(seq, None)
            if answer is None or answer.done():
                continue
            if isinstance(concluded, Exception):
                answer.set_exception(concluded)
            else:
                answer.set_result(concluded)

    async def _write(self) -> None:
        """Write what has arrived, and what arrives meanwhile: one transaction, and one wake-up, for many webhooks."""
        try:
            while self._arrived:
                batch, self._arrived = self._arrived[:WRITE_MAX], self._arrived[WRITE_MAX:]
                async with self._in_order.lock:
                    await self._write_batch(batch)
        finally:
            self._writing = False

    async def _write_batch(self, batch: Sequence[_Arrival]) -> None:
        try:
            with self._stalls.writing():
                numbers = await self._journal.accept([arrival.event for arrival in batch], self._clock.now())
        except Exception as error:  # noqa: BLE001 - a bug; it is answered, and must not cost the other senders theirs
            if isinstance(error, JournalUnavailableError) or len(batch) == 1:
                self._refuse(batch, error)
                return
            for arrival in batch:
                await self._write_batch([arrival])
        else:
            for number, arrival in zip(numbers, batch, strict=True):  # before it is queued: it may be decided at once
                if arrival.answer is not None:
                    self._asked[number] = arrival.answer
            rows = [(number, each.event, each.size) for number, each in zip(numbers, batch, strict=True)]
            if not self._in_order.append(rows):
                self._release(batch)  # it takes none of our memory: it is read from the journal, by us or by who leads
            self._wrote(None)
            for arrival in batch:
                if not arrival.written.done():  # else its sender has hung up
                    arrival.written.set_result(None)

    def _refuse(self, batch: Sequence[_Arrival], error: Exception) -> None:
        self._release(batch)
        self._wrote(error)
        for arrival in batch:
            if not arrival.written.done():
                arrival.written.set_exception(error)

    def _release(self, batch: Sequence[_Arrival]) -> None:
        for arrival in batch:
            self._inbox.release(arrival.event, arrival.size)
