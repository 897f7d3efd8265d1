"""Keeps a Store equal to one collection of the API server: LIST, then WATCH from there, for ever.

The protocol is client-go's reflector's (tools/cache): resume after an end of file from the last version seen, list anew
when that version is too old (410, as a status or in the stream), wait longer after each failure. Three things differ
on purpose. HTTP/1.1 has no pings, so a watch is asked for a minute or so instead of five to ten: its length bounds how
long a dead connection passes for a quiet cluster. A watch that ends right after it began waits like a failure, so no
server can make us storm it. And any refusal for good, not only 410, leads to a new list: a version we cannot explain is
no version to resume from. What says nothing of the version leads to none, however often it comes: an API server that is
away or busy, and one that refuses us, which it also does in the moment after its start, before it knows who may do what.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from math import inf
from typing import Protocol

from handlers.faults import Fault, FaultKind, Permanent, Transient
from handlers.kube import Page
from handlers.store import Change, Key, Obj, OnChange, Projection, Store, key_of, version_of, whole

BACKOFF_SECONDS_MIN = 0.8
BACKOFF_SECONDS_MAX = 30.0
BACKOFF_FACTOR = 2.0
BACKOFF_RESET_SECONDS = 120.0
"""So long without a failure, and the next one counts as the first (client-go's numbers, all four)."""

WATCH_SECONDS = (60.0, 90.0)
"""How long a watch is asked for, chosen at random between the two so that the watches do not all end together."""

STEADY_SECONDS = 10.0
"""A watch that lasted so long may be resumed at once. Below the idle limits of load balancers (30 s and more)."""

FAILED_WATCHES_MAX = 5
"""So many watches in a row that the server itself fails, and we list anew: perhaps it is the version that it minds."""

NOT_THE_VERSION = (502, 503)
"""An API server that is away or not ready, told by whatever stands before it."""

DOUBT_SECONDS, DOUBT_AGAIN_SECONDS = 5.0, 1.0
"""How long, and how often, an optional collection that we may not read is tried before that is believed: an API server
refuses everybody for a moment after its start, and a SelfSubjectAccessReview would be answered by the same authorizer.
"""

ABSENT_SECONDS = (20.0, 40.0)
"""How long until a collection that the cluster does not know is looked for again, chosen at random between the two: a
tool may be installed while we run, and one small request each half minute is less than a watch costs.
"""

_BATCH = 500  # changes told in one go before others get a turn


class ListWatch(Protocol):
    """What a reflector needs of a client; handlers.kube.KubeClient is one."""

    def list_pages(
        self,
        path: str,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        metadata_only: bool = False,
        each: Projection | None = None,
    ) -> AsyncIterator[Page]:
        """The collection, page by page."""
        ...

    def watch(
        self,
        path: str,
        resource_version: str,
        timeout_seconds: int,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        metadata_only: bool = False,
        on_open: Callable[[], None] | None = None,
    ) -> AsyncGenerator[Obj, None]:
        """The events after a version until the server's end of file."""
        ...


class Backoff:
    """Waits that double from BACKOFF_SECONDS_MIN to BACKOFF_SECONDS_MAX, each shortened by up to half at random."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._failures = 0
        self._quiet_since = -inf

    def next(self, now: float, at_least: float = 0.0) -> float:
        """Seconds to wait after a failure at `now`, not less than the peer asked for."""
        if now - self._quiet_since > BACKOFF_RESET_SECONDS:
            self._failures = 0
        # The exponent is bounded, or a week of failures would overflow a float.
        full = min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN * BACKOFF_FACTOR ** min(self._failures, 16))
        self._failures += 1
        wait: float = max(at_least, full * (1 - self._random() / 2))
        self._quiet_since = now + wait
        return wait

    def reset(self) -> None:
        """The next failure counts as the first."""
        self._failures = 0


class Reflector:
    """One collection, mirrored. `run` it as a supervised task; read `store`; wait for `synced` before the first read.

    `path` is the collection's address (`handlers.kube.resource_path`); `project` makes each object small; `random`
    gives [0, 1); `clock` gives monotonic seconds, by default the loop's. `on_fault` hears every failure. An `optional`
    collection may be unknown to the cluster (404: no such CRD): that is an empty one, looked for again now and then. One
    that we may not read (403) counts as unknown until it was read once; that is told as a failure, but only once.
    """

    def __init__(
        self,
        client: ListWatch,
        path: str,
        *,
        on_change: OnChange,
        random: Callable[[], float],
        project: Projection = whole,
        metadata_only: bool = False,
        label_selector: str | None = None,
        field_selector: str | None = None,
        on_fault: Callable[[Fault], None] | None = None,
        clock: Callable[[], float] | None = None,
        watch_seconds: tuple[float, float] | None = None,
        optional: bool = False,
    ) -> None:
        self.path = path
        self.store = Store()
        self.synced = asyncio.Event()
        self.last_fault: Fault | None = None
        """Why there is no contact at present; None while there is."""
        self.absent = False
        """An optional collection that the cluster does not know."""
        self.forbidden = False
        """An optional collection that we were never allowed to read: nobody knows what is in it."""
        self.lists = 0
        """How many times the whole collection was listed to its end: more than one a day deserves a look."""
        self._client = client
        self._on_change = on_change
        self._random = random
        self._project = project
        self._metadata_only = metadata_only
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._on_fault = on_fault
        self._clock = clock
        self._watch_seconds = watch_seconds or WATCH_SECONDS
        self._optional = optional
        self._version = ""
        self._contact_at = -inf
        self._opened_at = inf
        self._refused_at = inf
        self._failed_watches = 0

    def freshness(self, now: float | None = None) -> float:
        """Seconds since the server last confirmed our view (list, opened watch, event or bookmark).

        inf before the first list is complete. A healthy watch of a quiet collection reaches a minute between bookmarks.
        """
        if not self.synced.is_set():
            return inf
        return max(0.0, (self._now() if now is None else now) - self._contact_at)

    async def run(self) -> None:
        """Mirror until cancelled; faults of the server are waited out, however long they last."""
        # A 410 is an answer: after an outage it must not wait as long again as the outage made us, nor may it storm.
        backoff, expired = Backoff(self._random), Backoff(self._random)
        while True:
            try:
                if not self._version:
                    await self._list()
                steady = await self._watch()
            except Fault as fault:
                if self._is_absence(fault):
                    await asyncio.sleep(DOUBT_AGAIN_SECONDS if self._is_doubtful(fault) else self._miss(fault))
                    continue
                if self._was_steady():
                    backoff.reset()  # or a load balancer that resets idle streams would leave us blind half of the time
                self._note(fault)
                asked = (fault.retry_after or 0.0) if isinstance(fault, Transient) else 0.0
                wait = (expired if fault.kind is FaultKind.GONE else backoff).next(self._now(), asked)
            else:
                wait = 0.0 if steady else backoff.next(self._now())
            await asyncio.sleep(wait)

    def _is_absence(self, fault: Fault) -> bool:
        """Whether the fault of a list says that there is no such collection for us."""
        if not self._optional or self._version:
            return False
        return fault.kind is FaultKind.NOT_FOUND or (fault.status == 403 and self.lists == 0)

    def _is_doubtful(self, fault: Fault) -> bool:
        """Whether an absence may be the server's own beginning."""
        if fault.kind is FaultKind.NOT_FOUND or self.forbidden:
            return False
        self._refused_at = min(self._refused_at, self._now())
        return self._now() - self._refused_at < DOUBT_SECONDS

    def _was_steady(self) -> bool:
        """Whether the watch that broke off had been open for long."""
        return self._now() - self._opened_at >= STEADY_SECONDS

    def _miss(self, fault: Fault) -> float:
        """Take the collection for empty; the seconds until it is looked for again."""
        told, self.absent = self.forbidden, fault.kind is FaultKind.NOT_FOUND
        self.forbidden = not self.absent
        if self.forbidden and not told and self._on_fault is not None:
            self._on_fault(fault)  # once: nothing is wrong with the contact
        self._tell(self.store.prune(()))
        self.synced.set()
        self._contact()
        low, high = ABSENT_SECONDS
        return low + (high - low) * self._random()

    def _note(self, fault: Fault) -> None:
        self.last_fault = fault
        if fault.kind is FaultKind.AUTH:
            pass  # once we may again, the watch goes on where it was
        elif isinstance(fault, Permanent):
            self._version = ""
        elif self._version and fault.kind is FaultKind.SERVER and fault.status not in NOT_THE_VERSION:
            self._failed_watches += 1
            if self._failed_watches >= FAILED_WATCHES_MAX:
                self._version, self._failed_watches = "", 0
        if self._on_fault is not None:
            self._on_fault(fault)

    async def _list(self) -> None:
        """Read the whole collection, then tell what differs. Half a list changes nothing: what it lacks may exist."""
        found: dict[Key, Obj] = {}
        version, self._opened_at = "", inf
        pages = self._client.list_pages(
            self.path,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            metadata_only=self._metadata_only,
            each=self._checked,
        )
        async for page in pages:
            if page.first:
                found.clear()
            found.update((key_of(obj), obj) for obj in page.items)
            version = page.resource_version
        contact_at = self._now()
        self._tell(self.store.prune(found))
        for count, obj in enumerate(found.values(), start=1):
            self._tell(self.store.put(obj))
            if count % _BATCH == 0:
                await asyncio.sleep(0)
        # Only now: a list that was cut while it was told is told again.
        self._version, self._failed_watches = version, 0
        self.absent = self.forbidden = False
        self.lists += 1
        self.synced.set()
        self._contact(contact_at)

    async def _watch(self) -> bool:
        """Follow the events to the end of the stream; whether that came late enough to resume without waiting."""
        low, high = self._watch_seconds
        seconds = max(1, int(low + (high - low) * self._random()))
        started, self._opened_at = self._now(), inf
        events = self._client.watch(
            self.path,
            self._version,
            seconds,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            metadata_only=self._metadata_only,
            on_open=self._opened,
        )
        async with aclosing(events):
            async for event in events:
                self._apply(event)
                self._failed_watches = 0
                self._contact()
        self._failed_watches = 0
        return self._now() - started >= min(STEADY_SECONDS, seconds / 2)

    def _apply(self, event: Obj) -> None:
        kind, obj = event["type"], event["object"]
        if kind == "BOOKMARK":
            self._version = version_of(obj) or self._version
        elif kind in ("ADDED", "MODIFIED"):
            # The version is read before the projection may drop it, and taken after the change was told.
            version = version_of(self._sound(obj))
            self._tell(self.store.put(self._project(obj)))
            self._version = version
        elif kind == "DELETED":
            version = version_of(self._sound(obj))
            self._tell(self.store.remove(self._project(obj)))
            self._version = version
        # Other types are from a future API: nothing we know to be wrong, nothing we can use.

    def _checked(self, obj: Obj) -> Obj:
        return self._project(self._sound(obj))

    def _sound(self, obj: Obj) -> Obj:
        """The object, if it has what every Kubernetes object has."""
        metadata = obj.get("metadata")
        if not isinstance(metadata, dict) or not metadata.get("name") or not metadata.get("resourceVersion"):
            raise Transient(None, "Kubernetes sent an object without a name or resourceVersion", FaultKind.SERVER)
        return obj

    def _tell(self, changes: Iterable[tuple[Change, Obj | None, Obj | None]]) -> None:
        for change, old, new in changes:
            self._on_change(change, old, new)

    def _opened(self) -> None:
        self._opened_at = self._now()
        self._contact()

    def _contact(self, at: float | None = None) -> None:
        self._contact_at = self._now() if at is None else at
        self.last_fault = None

    def _now(self) -> float:
        return self._clock() if self._clock is not None else asyncio.get_running_loop().time()


def stale(reflectors: Sequence[Reflector], limit_seconds: float) -> Sequence[Reflector]:
    """Those whose view is older than the limit: a reason to wait, never a reason to act."""
    return [reflector for reflector in reflectors if reflector.freshness() > limit_seconds]
