"""The engine: one loop that takes events, decides, journals the facts, and only then dispatches what is owed.

One writer, no locks: events are handled at the daemon's own pace (style.md: TIGER_STYLE). A batch is journalled in one
transaction together with the intake cursor; when the journal cannot write, nothing is dispatched, nothing more is accepted,
and the batch is tried again until it can.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from daemon.core.actions import Action
from daemon.core.decide import decide
from daemon.core.events import DeadlinePassed, Event, Started, WorkloadSeen
from daemon.core.evolution import evolve
from daemon.core.facts import Fact
from daemon.core.policy import Policy
from daemon.core.state import State
from daemon.ports import Clock, InboxFullError, Journal, Journalled, JournalUnavailableError

log = structlog.get_logger()

BATCH_MAX = 256
"""Events per transaction: bounds how long an urgent one waits behind a storm, and how much one failed commit repeats."""

COMMIT_RETRY_SECONDS = 1.0
"""Pause between attempts to write a batch that the journal refused (disk full, locked)."""

IDLE_SECONDS = 1.0
"""How often an unwritable journal is tried while nothing else happens, so that readiness comes back by itself."""

COMPACT_AFTER_FACTS = 50_000
"""A snapshot is taken after this many facts: a start then folds at most as many (about 2 s)."""


@dataclass(slots=True)
class _Queue:
    """What waits: accepted events with their intake number, and things that can be had again (views newest per workload)."""

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


class Engine:
    """ports.Intake, ports.Inbox and ports.Reader in one: the only owner of the state."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        policy: Callable[[], Policy],
        *,
        dispatch: Callable[[Action, bool], None],
        told: Callable[[Sequence[Fact], State], None],
        inbox_max: int,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._policy = policy
        self._dispatch = dispatch
        self._told = told
        self._inbox_max = inbox_max
        self._queue = _Queue()
        self._state = State()
        self._cursor = 0
        self._since_snapshot = 0
        self._unwritable: str | None = "the journal is being read"
        self._waiting_for: str | None = "caches are not synced"
        self._reserved = 0
        self._dispatched: set[str] = set()
        self._asked: dict[int, asyncio.Future[Sequence[Fact]]] = {}

    @property
    def state(self) -> State:
        """The present state: a value, safe to read at any time."""
        return self._state

    @property
    def ready(self) -> str | None:
        """None when ready; else the one reason why not."""
        return self._unwritable or self._waiting_for

    def waits_for(self, what: str | None) -> None:
        """Say what keeps the daemon from being ready (None: nothing but the journal)."""
        self._waiting_for = what

    async def accept(self, event: Journalled) -> None:
        """Return once the event is on disk. Raises JournalUnavailableError or InboxFullError, and then keeps nothing."""
        await self._accept(event)

    async def command(self, event: Journalled) -> Sequence[Fact]:
        """Accept a person's command and return the facts it led to, once they are on disk."""
        answer: asyncio.Future[Sequence[Fact]] = asyncio.get_running_loop().create_future()
        await self._accept(event, answer)
        return await answer

    async def _accept(self, event: Journalled, answer: asyncio.Future[Sequence[Fact]] | None = None) -> None:
        if len(self._queue.accepted) + self._reserved >= self._inbox_max:
            raise InboxFullError(f"{self._inbox_max} accepted events are waiting")
        self._reserved += 1
        try:
            (seq,) = await self._journal.accept([event], self._clock.now())
        except JournalUnavailableError as error:
            self._unwritable = str(error)
            raise
        finally:
            self._reserved -= 1
        self._unwritable = None
        if answer is not None:
            self._asked[seq] = answer
        self._queue.accepted.append((seq, event))
        self._queue.wake.set()

    def put(self, event: Event) -> None:
        """Queue an event that can be had again. A newer view of the same workload replaces one that still waits."""
        if isinstance(event, WorkloadSeen):
            self._queue.views[event.view.workload.key] = event
        else:
            self._queue.outcomes.append(event)
        self._queue.wake.set()

    async def recover(self) -> datetime | None:
        """Fold the journal, queue what was accepted but not consumed, and say that we are back; since when we were away."""
        self._state, self._cursor, down_since = await self._journal.load()
        self._dispatched = {action.id for action in self._state.due}
        after = self._cursor
        while rows := await self._journal.unread(after, 1000):
            self._queue.accepted.extend(rows)
            after = rows[-1][0]
        self._unwritable = None
        self.put(Started(at=self._clock.now(), down_since=down_since))
        return down_since

    def resume(self) -> None:
        """Dispatch everything that was owed when the last life ended: it may have happened, so it is asked after first."""
        for action in self._state.due:
            if action.id in self._dispatched:
                self._dispatch(action, True)

    async def run(self) -> None:
        """Decide for ever."""
        while True:
            await self._wait()
            if self._unwritable is not None:
                await self._commit((), self._cursor, self._clock.now())
            batch = self._queue.take(BATCH_MAX)
            now = self._clock.now()
            deadline = self._state.next_deadline()
            due = deadline is not None and deadline <= now
            if due:
                batch.append((0, DeadlinePassed(at=now)))
            moved = await self._handle(batch, now) if batch else True
            if due and not moved:
                log.error("deadline_without_consequence", deadline=str(deadline))
                await asyncio.sleep(IDLE_SECONDS)  # a bug in `decide` must not become a busy loop

    async def _wait(self) -> None:
        deadline = self._state.next_deadline()
        if self._queue.wake.is_set():
            return
        left = IDLE_SECONDS if self._unwritable else None
        if deadline is not None:
            until = max(0.0, (deadline - self._clock.now()).total_seconds())
            left = until if left is None else min(left, until)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self._queue.wake.wait()

    async def _handle(self, batch: Sequence[tuple[int, Event]], now: datetime) -> bool:
        """Decide, journal, adopt, dispatch. True when it led to any fact."""
        state, facts, cursor = self._state, list[Fact](), self._cursor
        policy, answers = self._policy(), dict[int, tuple[Fact, ...]]()
        for seq, event in batch:
            concluded = decide(state, event, now=now, policy=policy)
            for fact in concluded:
                state = evolve(state, fact)
            facts.extend(concluded)
            answers[seq] = concluded
            cursor = max(cursor, seq)
        if facts or cursor != self._cursor:
            await self._commit(facts, cursor, now)
        self._state, self._cursor = state, cursor
        self._told(facts, state)
        self._release()
        for seq, concluded in answers.items():
            if (answer := self._asked.pop(seq, None)) is not None and not answer.done():
                answer.set_result(concluded)
        self._since_snapshot += len(facts)
        if self._since_snapshot >= COMPACT_AFTER_FACTS:
            await self.compact()
        return bool(facts)

    async def _commit(self, facts: Sequence[Fact], cursor: int, now: datetime) -> None:
        """Write the batch; while the journal refuses, hold everything: no effect without its intent on disk."""
        while True:
            try:
                await self._journal.commit(facts, cursor, now)
            except JournalUnavailableError as error:
                self._unwritable = str(error)
                log.error("journal_unwritable", error=str(error))
                await asyncio.sleep(COMMIT_RETRY_SECONDS)
            else:
                self._unwritable = None
                return

    def _release(self) -> None:
        """Dispatch what is due and not yet handed out."""
        self._dispatched &= self._state.owed.keys()
        for action in self._state.due:
            if action.id not in self._dispatched:
                self._dispatched.add(action.id)
                self._dispatch(action, False)

    async def compact(self) -> None:
        """Snapshot the state; a journal that cannot do it now will be asked again after the next facts."""
        try:
            await self._journal.compact(self._state, self._cursor, self._clock.now())
        except JournalUnavailableError as error:
            log.warning("journal_not_compacted", error=str(error))
        else:
            self._since_snapshot = 0
