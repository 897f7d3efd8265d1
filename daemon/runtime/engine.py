"""The engine: one loop that takes events, decides, journals the facts, and only then dispatches what is owed.

One writer, no locks: events are handled at the daemon's own pace (style.md: TIGER_STYLE). A batch is journalled in one
transaction together with the intake cursor; when the journal cannot write, nothing is dispatched, nothing more is accepted,
and the batch is tried again until it can.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NoReturn

import structlog

from daemon.core.actions import Action, Locate, RollBack
from daemon.core.decide import Conclusion, conclude
from daemon.core.events import DeadlinePassed, Event, Started
from daemon.core.facts import ActionOwed, ActionSettled, Fact
from daemon.core.policy import Policy
from daemon.core.state import State
from daemon.ports import Clock, Journal, Journalled, JournalUnavailableError, StandbyError
from daemon.runtime.arrivals import WRITE_MAX, Answers, Arrivals
from daemon.runtime.in_order import InOrder
from daemon.runtime.inbox import BYTES_MAX, Inbox, Taken, check_known
from daemon.runtime.stalls import Stalls

log = structlog.get_logger()

BATCH_MAX = 64
"""Events per transaction: bounds how long an urgent one waits behind a storm, and how much one failed commit repeats."""

TURN_SECONDS = 0.02
"""How long a batch is decided before webhooks, timers and answers get their turn."""

BATCH_SECONDS = 0.05
"""How long a batch may be decided before what senders told goes back into the queue: the same bound, for large events."""

LOCATING_MAX = 1000
"""Alerts that are being looked for in the cluster; until there are fewer nothing more that senders told is decided. It fills
the inbox, and then senders are told to wait: without it a flood would go on into the state, where nothing bounds it."""

COMMIT_RETRY_SECONDS = 1.0
"""Pause between attempts to write a batch that the journal refused (disk full, locked)."""

CURSOR_SECONDS = 0.02
"""How long the cursor may lag behind events that led to nothing (a repeated webhook): a transaction for each would halve
what the disk can do, and deciding them once more after a crash leads to nothing again."""

IDLE_SECONDS = 1.0
"""How often an unwritable journal is tried while nothing else happens, so that readiness comes back by itself."""

LOOK_AGAIN_SECONDS = 30.0
"""Longest wait for the next deadline: sleep is measured by another clock than deadlines, and a machine may be suspended."""

COMPACT_AFTER_FACTS = 50_000
"""A snapshot is taken after this many facts: a start then folds at most as many (about 2 s)."""


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
        stumbled: Callable[[str], None] = lambda kind: None,
        awake: Callable[[], None] = lambda: None,
        inbox_max: int,
        inbox_bytes_max: int = BYTES_MAX,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._policy = policy
        self._dispatch = dispatch
        self._told = told
        self._stumbled = stumbled
        self._awake = awake
        self.inbox = Inbox(events_max=inbox_max, bytes_max=inbox_bytes_max)
        self._state = State()
        self._stalls = Stalls()
        self._looked_at: tuple[State | None, datetime | None] = None, None
        self._cursor = self._saved = 0
        self._since_snapshot = 0
        self._unwritable: str | None = "the journal is being read"
        self._waiting_for: str | None = "caches are not synced"
        self._led_by: Callable[[], str] | None = None
        self._in_order = InOrder(journal, self.inbox)
        self._arrivals = Arrivals(journal, clock, self.inbox, self._in_order, self._stalls, wrote=self._wrote)
        self._dispatched: dict[str, Action] = {}
        self._locating = 0
        self._rested = asyncio.Event()
        self._quiet_until: datetime | None = None

    @property
    def state(self) -> State:
        """The present state: a value, safe to read at any time."""
        return self._state

    @property
    def ready(self) -> str | None:
        """None when ready; else the one reason why not."""
        return self._unwritable or self._stalls.told() or self._waiting_for

    @property
    def stands_by(self) -> bool:
        """Another decides; what we accept is on disk for it."""
        return self._led_by is not None

    def waits_for(self, what: str | None) -> None:
        """Say what keeps the daemon from being ready (None: nothing but the journal)."""
        self._waiting_for = what

    async def accept(self, event: Journalled) -> None:
        """Return once the event is on disk. Raises JournalUnavailableError or InboxFullError, and then keeps nothing."""
        await self._accept(event)

    async def command(self, event: Journalled) -> Sequence[Fact]:
        """Accept a person's command and return the facts it led to, once they are on disk. Raises StandbyError."""
        if self._led_by is not None:
            raise StandbyError(f"this daemon stands by, {self._led_by() or 'nobody yet'} leads")
        answer: asyncio.Future[Sequence[Fact]] = asyncio.get_running_loop().create_future()
        await self._accept(event, answer)
        return await answer

    async def _accept(self, event: Journalled, answer: asyncio.Future[Sequence[Fact]] | None = None) -> None:
        if not self.stands_by:  # then our state is an old one: what is full in it may long have room
            check_known(event, self._state.alerts)
        await self._arrivals.write(event, answer)

    def _wrote(self, error: Exception | None) -> None:
        if error is None:
            self._unwritable = None
        elif isinstance(error, JournalUnavailableError):
            # The loop tries until the journal can write again: nobody may send to us until then.
            self._unwritable = str(error)
        if not self.stands_by:
            self._ring()

    def put(self, event: Event) -> None:
        """Queue an event that can be had again. A newer view of the same workload replaces one that still waits."""
        self.inbox.put(event)
        self._ring()

    def was_away(self, since: datetime) -> None:
        """Decide, before anything else, that nobody was there since then (daemon.runtime.pulse)."""
        self.put(Started(at=self._clock.now(), down_since=since))

    def _ring(self) -> None:
        self.inbox.wake.set()
        self._rested.clear()

    async def rested(self) -> None:
        """Return when everything that was put or accepted has been decided and journalled."""
        await self._rested.wait()

    async def stand_by(self, leader: Callable[[], str]) -> None:
        """Read the journal for those who ask; from now on what is accepted is left to `leader`, until `recover`."""
        self._state = (await self._journal.load()).state
        self._led_by, self._unwritable = leader, None

    async def recover(self) -> datetime | None:
        """Fold the journal, queue what was accepted but not consumed, and say that we are back; since when we were away."""
        async with self._in_order.lock:  # what was accepted before is read, what is accepted after is queued
            loaded = await self._journal.load()
            self._state, self._cursor, self._since_snapshot = loaded.state, loaded.cursor, loaded.facts
            self._saved = self._cursor
            self._dispatched = {action.id: action for action in self._state.due}
            self._locating = sum(isinstance(action, Locate) for action in self._state.due)
            self._in_order.begin(self._cursor)
            await self._in_order.read_on()
            self._led_by, self._unwritable = None, None
        self.put(Started(at=self._clock.now(), down_since=loaded.written_at))
        return loaded.written_at

    async def _catch_up(self) -> None:
        try:
            async with self._in_order.lock:
                await self._in_order.read_on()
        except JournalUnavailableError as error:
            self._unwritable = str(error)
        else:
            if self.inbox.wake.is_set():
                self._rested.clear()

    async def follow(self) -> NoReturn:
        """Hear of what those who stand by accept: for who leads, as long as it does."""
        while True:
            try:
                await self._in_order.others_wrote()
            except JournalUnavailableError as error:
                log.warning("intake_not_followed", error=str(error))
                await asyncio.sleep(COMMIT_RETRY_SECONDS)
            self._ring()

    def resume(self) -> None:
        """Dispatch everything that was owed when the last life ended: it may have happened, so it is asked after first."""
        for action in self._state.due:
            if action.id in self._dispatched:
                self._dispatch(action, True)

    async def run(self) -> None:
        """Decide for ever."""
        while True:
            await self._wait()
            self._awake()
            if self._unwritable is not None:
                await self._commit((), self._cursor, self._clock.now())
            if self._in_order.can_read_on:
                await self._catch_up()
            batch = self.inbox.take(BATCH_MAX, intake=self._takes_intake)
            now = self._clock.now()
            deadline = self._next_deadline()
            due = deadline is not None and deadline <= now
            if due:
                batch.append(Taken(0, DeadlinePassed(at=now)))
            if batch:
                await self._handle(batch, now)
            if due:
                self._expect_consequence(now)

    @property
    def _takes_intake(self) -> bool:
        return self._locating < LOCATING_MAX

    def _next_deadline(self) -> datetime | None:
        state, deadline = self._looked_at
        if state is not self._state:  # asked for at least twice a turn, and states are values
            deadline = self._state.next_deadline()
            self._looked_at = self._state, deadline
        if deadline is None or self._quiet_until is None:
            return deadline
        return max(deadline, self._quiet_until)

    def _expect_consequence(self, now: datetime) -> None:
        """A deadline that is still due after it was decided is a bug in `decide`, and must not become a busy loop."""
        deadline = self._state.next_deadline()
        self._quiet_until = None
        if deadline is not None and deadline <= now:
            log.error("deadline_without_consequence", deadline=deadline.isoformat())
            self._quiet_until = now + timedelta(seconds=IDLE_SECONDS)

    async def _wait(self) -> None:
        if self.inbox.wake.is_set() or (self._in_order.can_read_on and not self._unwritable):
            return
        left = IDLE_SECONDS if self._unwritable else LOOK_AGAIN_SECONDS
        if (deadline := self._next_deadline()) is not None:
            left = min(left, (deadline - self._clock.now()).total_seconds())
        if left <= 0:
            return
        if self._cursor != self._saved:
            if await self._rings_within(min(left, CURSOR_SECONDS)):
                return
            await self._commit((), self._cursor, self._clock.now())
        if self.inbox.empty and (self._in_order.is_level or self._unwritable):
            self._rested.set()
        await self._rings_within(left)
        self._rested.clear()

    async def _rings_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.inbox.wake.wait()
        return self.inbox.wake.is_set()

    async def _handle(self, batch: Sequence[Taken], now: datetime) -> None:
        """Decide, journal, adopt, dispatch."""
        state, facts, answers = await self._decided(batch, now)
        cursor = max(self._cursor, self.inbox.consumed())
        # Commands go before older alerts: the cursor cannot say that they are consumed while those wait.
        ahead = [taken.seq for taken in batch if taken.seq in answers and taken.seq > cursor]
        if facts or ahead or cursor - self._saved >= WRITE_MAX:
            await self._commit(facts, cursor, now, ahead)
        self._state, self._cursor = state, cursor
        self._release(facts)
        # After the first steps of what was just released: its requests are under way while logs and metrics are written.
        asyncio.get_running_loop().call_soon(self._tell, facts, state)
        self._arrivals.answer(answers)
        self._since_snapshot += len(facts)
        if self._since_snapshot >= COMPACT_AFTER_FACTS:
            await self.compact()

    async def _decided(self, batch: Sequence[Taken], now: datetime) -> tuple[State, list[Fact], Answers]:
        """What comes of a batch; what senders told is put back where the rest has taken long."""
        state, facts, answers, left = self._state, list[Fact](), dict[int, Sequence[Fact] | Exception](), list[Taken]()
        policy, loop, told = self._policy(), asyncio.get_running_loop(), False
        began = breathed = loop.time()
        for taken in batch:
            if loop.time() - breathed > TURN_SECONDS:
                await asyncio.sleep(0)
                breathed = loop.time()
            if taken.size and told and loop.time() - began > BATCH_SECONDS:
                left.append(taken)
                continue
            told = told or bool(taken.size)  # one of them at least, or outcomes without end would starve them
            concluded = self._conclude(state, taken.event, now, policy)
            if isinstance(concluded, Exception):
                answers[taken.seq] = concluded
            else:
                state = concluded.state
                facts.extend(concluded.facts)
                answers[taken.seq] = concluded.facts
        self.inbox.put_back(left)
        return state, facts, answers

    def _conclude(self, state: State, event: Event, now: datetime, policy: Policy) -> Conclusion | Exception:
        """What comes of one event; a bug in `decide` costs that event, not the daemon: a restart would read it again."""
        try:
            return conclude(state, event, now=now, policy=policy)
        except Exception as error:
            log.exception("event_not_judged", event_kind=event.kind, at=event.at.isoformat())
            self._stumbled(event.kind)
            return error

    def _tell(self, facts: Sequence[Fact], state: State) -> None:
        try:
            self._told(facts, state)
        except Exception:
            log.exception("facts_not_told", facts=len(facts))  # logs and metrics are no reason to stop deciding

    async def _commit(self, facts: Sequence[Fact], cursor: int, now: datetime, ahead: Sequence[int] = ()) -> None:
        """Write the batch; while the journal refuses, hold everything: no effect without its intent on disk."""
        while True:
            try:
                with self._stalls.writing():
                    await self._journal.commit(facts, cursor, now, ahead)
            except JournalUnavailableError as error:
                self._unwritable = str(error)
                log.error("journal_unwritable", error=str(error))
                await asyncio.sleep(COMMIT_RETRY_SECONDS)
            else:
                self._unwritable = None
                self._saved = cursor
                return

    def _release(self, facts: Sequence[Fact]) -> None:
        """Dispatch what is due and not yet handed out; what was settled may be owed anew under the same id."""
        touched: list[Action] = []
        for fact in facts:
            if isinstance(fact, ActionOwed):
                touched.append(fact.action)
            elif isinstance(fact, ActionSettled) and fact.action_id in self._dispatched:
                touched.append(self._dispatched.pop(fact.action_id))
                self._locating -= isinstance(touched[-1], Locate)
        # A rollback first: while it waits, users get errors.
        for action in sorted(self._state.due_of(touched), key=lambda each: not isinstance(each, RollBack)):
            if action.id not in self._dispatched:
                self._dispatched[action.id] = action
                self._locating += isinstance(action, Locate)
                self._dispatch(action, False)
        self.inbox.look(intake=self._takes_intake)

    async def compact(self) -> None:
        """Snapshot the state; a journal that cannot do it now will be asked again after the next facts."""
        try:
            with self._stalls.writing():
                await self._journal.compact(self._state, self._cursor, self._clock.now())
        except JournalUnavailableError as error:
            log.warning("journal_not_compacted", error=str(error))
        else:
            self._since_snapshot = 0
