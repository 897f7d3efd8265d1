"""What waits to be decided, how much of it may, and in which order it is taken.

What finishes or steers something that is under way goes before what may begin something new: outcomes, then people's commands,
then the cluster's views, then what senders told. None of them starves the ones behind it. A person's command has room of its
own: it is accepted, and decided, while a flood of webhooks fills the rest.

Accepted events come from us, and, where the journal is shared, from daemons that stand by. The numbers that the journal gives
them say in which order they are queued, and the cursor says up to which number all were decided: so none may pass another on
its way into the queue. What is then taken before older ones is named to the journal, which never gives it again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from daemon.core.events import AlertsReported, Event, Noticed, WorkloadSeen
from daemon.core.state import NotedAlert
from daemon.ports import InboxFullError, Journalled

BYTES_MAX = 4 * 2**20
"""Characters of waiting alerts, unless told otherwise: 6,000 usual ones, 5 s of deciding, some 20 MB of memory."""

COMMANDS_MAX = 100
"""Commands that may wait: more than people send while a batch is decided."""

ROOM = 8
"""Places of a batch that outcomes and commands leave to views, and those to what was accepted."""

ALERTS_KNOWN_MAX = 30_000
"""Alerts in the state beyond which no new one is accepted: 20,000 are kept, and more only while they fire; each takes about
4.5 kB. Their ends are accepted, and make room."""

_ALERT_BYTES = 200
_OTHER_BYTES = 4096
"""What an alert weighs beside its texts, and what an event weighs that is no list of alerts (its parser limits it)."""


class Taken(NamedTuple):
    """An event, its intake number (0: it has none) and what it weighs in the inbox."""

    seq: int
    event: Event
    size: int = 0


class Inbox:
    """The queue in front of the engine. `wake` is set while something waits that may be taken."""

    def __init__(self, *, events_max: int, bytes_max: int) -> None:
        self._events_max = events_max
        self._bytes_max = bytes_max
        self._accepted: deque[Taken] = deque()
        self._commands: deque[Taken] = deque()
        self._outcomes: deque[Event] = deque()
        self._views: dict[str, WorkloadSeen] = {}
        self._commands_held = 0
        self._highest = 0
        self.events = self.bytes = 0
        self.wake = asyncio.Event()

    # ------------------------------------------------------------------------------------------------ what comes in

    def reserve(self, event: Journalled) -> int:
        """Room for an event that is about to be written; what it weighs. Raises InboxFullError."""
        if not _is_told(event):
            if self._commands_held >= COMMANDS_MAX:
                raise InboxFullError(f"{COMMANDS_MAX} commands are waiting")
            self._commands_held += 1
            return 0
        size = size_of(event)
        if isinstance(event, AlertsReported) and event.complete:
            self._hold(size)  # our own reading of all that exists, twice a minute: without it no recovery is verified
            return size
        if self.events >= self._events_max:
            raise InboxFullError(f"{self._events_max} accepted events are waiting")
        if self.events and self.bytes + size > self._bytes_max:  # one alone is always taken, or it never would be
            raise InboxFullError(f"accepted events of {self.bytes} bytes are waiting")
        self._hold(size)
        return size

    def release(self, event: Event, size: int) -> None:
        """Give back the room of an event that was taken, or could not be written."""
        if _is_told(event):
            self.events -= 1
            self.bytes -= size
        else:
            self._commands_held -= 1

    def arrive(self, seq: int, event: Journalled, size: int) -> None:
        """Queue a written event whose room is reserved."""
        (self._accepted if _is_told(event) else self._commands).append(Taken(seq, event, size))
        self.wake.set()

    def begin(self, cursor: int) -> None:
        """Forget what was queued of the journal: what has a higher number than this is queued anew."""
        for queue in (self._accepted, self._commands):
            while queue:
                self._taken(queue)
        self._highest = cursor

    @property
    def has_room(self) -> bool:
        """There is room for what is on disk and not queued."""
        return self.events < self._events_max and self.bytes < self._bytes_max and self._commands_held < COMMANDS_MAX

    def restore(self, rows: Iterable[tuple[int, Journalled]]) -> None:
        """Queue what was read from the journal: it is promised, so no limit holds it back."""
        for seq, event in rows:
            size = size_of(event)
            if _is_told(event):
                self._hold(size)
            else:
                self._commands_held += 1
            self.arrive(seq, event, size)

    def put(self, event: Event) -> None:
        """Queue what can be had again. A newer view of the same workload replaces one that still waits."""
        if isinstance(event, WorkloadSeen):
            self._views[event.view.workload.key] = event
        else:
            self._outcomes.append(event)
        self.wake.set()

    def _hold(self, size: int) -> None:
        self.events += 1
        self.bytes += size

    # ------------------------------------------------------------------------------------------------ what goes out

    def take(self, limit: int, *, intake: bool = True) -> list[Taken]:
        """Up to `limit` events in the order of this module; without `intake` nothing that senders told."""
        batch: list[Taken] = []
        while self._outcomes and len(batch) < limit - 2 * ROOM:
            batch.append(Taken(0, self._outcomes.popleft()))
        while self._commands and len(batch) < limit - ROOM:
            batch.append(self._taken(self._commands))
        while self._views and len(batch) < limit - ROOM:
            batch.append(Taken(0, self._views.pop(next(iter(self._views)))))
        while intake and self._accepted and len(batch) < limit:
            batch.append(self._taken(self._accepted))
        self.look(intake=intake)
        return batch

    def _taken(self, queue: deque[Taken]) -> Taken:
        taken = queue.popleft()
        self._highest = max(self._highest, taken.seq)
        self.release(taken.event, taken.size)
        return taken

    def put_back(self, taken: list[Taken]) -> None:
        """Queue again, in front, what senders told and was taken but not decided."""
        for each in reversed(taken):
            self._accepted.appendleft(each)
            self._hold(each.size)
        if taken:
            self.wake.set()

    def look(self, *, intake: bool) -> None:
        """Set `wake` if something waits that may be taken, else clear it."""
        if self._outcomes or self._commands or self._views or (intake and self._accepted):
            self.wake.set()
        else:
            self.wake.clear()

    @property
    def empty(self) -> bool:
        """Nothing that was written waits."""
        return not (self._accepted or self._commands)

    def consumed(self) -> int:
        """The intake number up to which everything was taken: commands are taken before older alerts."""
        waiting = [queue[0].seq for queue in (self._accepted, self._commands) if queue]
        return min(waiting) - 1 if waiting else self._highest


def _is_told(event: Event) -> bool:
    return isinstance(event, AlertsReported | Noticed)


def check_known(event: Journalled, known: Mapping[str, NotedAlert]) -> None:
    """Raise InboxFullError for alerts that the state has no room for. A reading of all that exist is let in."""
    if len(known) < ALERTS_KNOWN_MAX or not isinstance(event, AlertsReported) or event.complete:
        return
    if any(alert.fingerprint not in known for alert in event.alerts):
        raise InboxFullError(f"{len(known)} alerts fire already")


def size_of(event: Event) -> int:
    """About how many characters an event holds; it takes four times as many bytes of memory."""
    if not isinstance(event, AlertsReported):
        return _OTHER_BYTES
    size = _ALERT_BYTES * len(event.alerts)
    for alert in event.alerts:
        for name, text in alert.labels:
            size += len(name) + len(text)
        for name, text in alert.annotations:
            size += len(name) + len(text)
    return size
