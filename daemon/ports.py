"""The small protocols between the runtime and the handlers: neither side knows the other, both know these.

`daemon.app` is the only place that puts an implementation behind a port.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar, runtime_checkable

from daemon.core.actions import Action, Outcome
from daemon.core.events import AlertsReported, Command, Event, Noticed
from daemon.core.facts import Fact
from daemon.core.state import State

ActionT_contra = TypeVar("ActionT_contra", bound=Action, contravariant=True)

Journalled = AlertsReported | Noticed | Command
"""The events that pass the intake table: what an outside sender was promised is on disk."""


class JournalUnavailableError(Exception):
    """The journal cannot write now (disk full, locked, lost). Nothing was accepted; the sender must try again."""


class InboxFullError(Exception):
    """More accepted events wait than the inbox may hold. Nothing was accepted; the sender must try again."""


class StaleLeaderError(Exception):
    """Another leader has taken over: the journal takes nothing more from us, and the process must end."""


class StandbyError(Exception):
    """This daemon stands by: what must be decided at once is the leader's. Nothing was accepted; the message names it."""


class Clock(Protocol):
    """The only source of wall-clock time."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        ...


class Leadership(Protocol):
    """Whether this daemon is the one that decides and acts (DESIGN: active/standby by a Kubernetes Lease)."""

    @property
    def leads(self) -> bool:
        """Computed in the moment of asking: right after the loop stood still, too, when no timer has run yet."""
        ...

    @property
    def token(self) -> int:
        """Grows with each change of leader: what carries a lower one comes from a leader of the past. 0 before the first."""
        ...

    @property
    def remaining(self) -> float:
        """Seconds for which we certainly still lead if nothing is renewed any more; 0.0 where we do not lead, inf where
        there is no other who could.
        """
        ...


class Intake(Protocol):
    """Where inbound handlers put what somebody was promised."""

    async def accept(self, event: Journalled) -> None:
        """Return once the event is on disk. Raises JournalUnavailableError or InboxFullError, and then keeps nothing."""
        ...


class Commands(Protocol):
    """Where people's commands go: journalled like everything accepted, and answered with what they led to."""

    async def command(self, event: Command) -> Sequence[Fact]:
        """The facts that the command led to, once on disk. Raises JournalUnavailableError, InboxFullError, StandbyError."""
        ...


class Inbox(Protocol):
    """Where handlers put what can be had again by looking (cluster views); never blocks, never refuses."""

    def put(self, event: Event) -> None:
        """Queue the event. A newer view of the same workload replaces one that still waits."""
        ...


@runtime_checkable
class Runner(Protocol[ActionT_contra]):
    """Carries out one kind of action. Both methods answer with an Outcome and raise only handlers.faults faults.

    A transient fault is retried by the dispatcher until the action's deadline, a permanent one becomes FAILED.
    """

    async def run(self, action: ActionT_contra) -> Outcome:
        """Carry it out."""
        ...

    async def probe(self, action: ActionT_contra) -> Outcome | None:
        """Ask the world what became of it after a crash; None where it certainly did not happen (so it may be run)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a journal holds: the fold of its facts, how far intake is consumed, and when it was last written (None: never).

    `facts` are those that were folded onto the newest snapshot: how much a next start would have to fold again.
    """

    state: State
    cursor: int
    written_at: datetime | None
    facts: int


class Journal(Protocol):
    """Intake and facts on disk. Every method returns after its transaction is durable.

    Several daemons may share one: each accepts, and one, whose token is the highest, commits. What one daemon alone can
    open (a file in a folder that is locked) needs no token and never has intake of others.
    """

    async def accept(self, events: Sequence[Journalled], at: datetime) -> Sequence[int]:
        """Append to intake; the sequence numbers. Raises JournalUnavailableError."""
        ...

    async def unread(self, after: int, limit: int) -> Sequence[tuple[int, Journalled]]:
        """Accepted events with a sequence number above `after`, in order.

        What is not there yet will have a higher number than all that is: numbers grow in the order of the commits.
        """
        ...

    async def commit(self, facts: Sequence[Fact], cursor: int, at: datetime, ahead: Sequence[int] = ()) -> None:
        """Append facts and move the intake cursor in one transaction. `ahead` are consumed events above the cursor: they
        are never unread again.

        Raises JournalUnavailableError, and StaleLeaderError where a higher token than ours was seen.
        """
        ...

    async def highest_token(self) -> int:
        """The highest token ever taken over with, 0 where there was none. Raises JournalUnavailableError."""
        ...

    async def take_over(self, token: int) -> None:
        """From now on commits carry this token, and those with a lower one are refused.

        Raises StaleLeaderError where a higher one was seen, JournalUnavailableError.
        """
        ...

    async def wait_for_intake(self, after: int) -> None:
        """Return when there may be intake above `after` that others wrote; never where nobody else can write.

        Raises JournalUnavailableError.
        """
        ...

    async def load(self) -> Loaded:
        """Fold the newest snapshot and the facts after it. Raises JournalUnavailableError."""
        ...

    def history(self, *, incident: str | None = None, limit: int = 1000) -> AsyncIterator[tuple[datetime, Fact]]:
        """Facts, oldest first, at most the newest `limit`; of one incident where given. For `explain`."""
        ...

    async def compact(self, state: State, cursor: int, at: datetime) -> None:
        """Store a snapshot of the state and drop what it makes superfluous. Raises as `commit` does."""
        ...

    async def close(self) -> None:
        """Finish what is being written and close the file."""
        ...


class Telemetry(Protocol):
    """What handlers report about themselves; implemented by the runtime's metrics."""

    def intake(self, source: str, result: str) -> None:
        """Count an intake attempt: result is accepted, malformed, unauthorized, too_large, busy, unavailable or full."""
        ...

    def contact(self, part: str, *, ok: bool) -> None:
        """An outside part (`alertmanager`, `prometheus`, `kubernetes`) answered, or could not be reached."""
        ...


class Reader(Protocol):
    """Read access for the command line and health endpoints."""

    @property
    def state(self) -> State:
        """The present state: a value, safe to read at any time."""
        ...

    @property
    def ready(self) -> str | None:
        """None when ready; else the one reason why not."""
        ...
