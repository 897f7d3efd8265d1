"""Reading a long past from one Prometheus: a few queries at once, in spans that it can answer, with a word on how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from handlers.faults import Fault, FaultKind, Permanent, Transient
from handlers.prometheus import Matrix, PrometheusClient, Vector

QUERIES_AT_ONCE = 4
"""Queries that are out at the same time: Prometheus runs 20 at once for everybody (--query.max-concurrency)."""

ATTEMPTS = 3
"""Of one query that fails in passing; a history of minutes must not end at one hiccup."""

PAUSE_SECONDS = 1.0
PAUSE_SECONDS_MAX = 30.0

PARTS_DEEP = 6
"""How often a span is halved when its answer is too much: into 64 parts at most."""

UNITS = 1000
"""What progress counts up to."""

Progress = Callable[[int, int], None]
T = TypeVar("T")


class Steps:
    """How far it is: phases with a share each, and within a phase one step after the other."""

    def __init__(self, progress: Progress, shares: Sequence[int]) -> None:
        """`shares` are the weights of the phases; they are told as parts of UNITS."""
        self._progress = progress
        whole = sum(shares)
        self._phases = [UNITS * share // whole for share in shares]
        self._phase = -1
        self._expected = self._done = 0

    def begin(self, steps: int) -> None:
        """The next phase begins, with so many steps."""
        self._phase += 1
        self._expected, self._done = steps, 0
        self._tell()

    def one(self) -> None:
        """One step is done."""
        self._done += 1
        self._tell()

    def end(self) -> None:
        """All is done."""
        self._progress(UNITS, UNITS)

    def _tell(self) -> None:
        share = min(self._done / self._expected, 1.0) if self._expected else 1.0
        self._progress(sum(self._phases[: self._phase]) + int(self._phases[self._phase] * share), UNITS)


class Reader:
    """Asks for matrices and vectors, whatever their span. Raises only Transient and Permanent of handlers.faults."""

    def __init__(self, client: PrometheusClient, *, at_once: int = QUERIES_AT_ONCE) -> None:
        self._client = client
        self._slots = asyncio.Semaphore(at_once)
        self.queries = 0

    async def matrix(self, promql: str, start: datetime, end: datetime, step: timedelta, deep: int = 0) -> Matrix:
        """As query_range; a span whose answer is too much for the server or for us is read in halves."""
        try:
            return await self._patiently(lambda: self._client.query_range(promql, start, end, step))
        except Fault as fault:
            middle = start + (end - start) / 2
            if not _too_much(fault) or deep >= PARTS_DEEP or end - start < 4 * step:
                raise
        # The samples are at multiples of the step, so none but one of the very middle can be in both halves.
        first = await self.matrix(promql, start, middle, step, deep + 1)
        second = await self.matrix(promql, middle + timedelta(microseconds=1), end, step, deep + 1)
        return joined([first, second])

    async def vector(
        self, promql: Callable[[timedelta], str], at: datetime, window: timedelta, deep: int = 0
    ) -> Vector:
        """An instant vector over a window that is halved where it is too much: `promql` says the query for a window."""
        try:
            return await self._patiently(lambda: self._client.query(promql(window), at))
        except Fault as fault:
            if not _too_much(fault) or deep >= PARTS_DEEP:
                raise
        half = window / 2
        return [
            *await self.vector(promql, at - half, half, deep + 1),
            *await self.vector(promql, at, half, deep + 1),
        ]

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._slots:
                    self.queries += 1
                    return await ask()
            except Transient as fault:
                if attempt == ATTEMPTS or _too_much(fault):
                    raise
                pause = max(PAUSE_SECONDS * 2 ** (attempt - 1), fault.retry_after or 0.0)
            await asyncio.sleep(min(pause, PAUSE_SECONDS_MAX))
        raise AssertionError("the last attempt returns or raises")


async def a_few_at_once(work: Callable[[T], Awaitable[None]], items: Iterable[T]) -> None:
    """Every item, QUERIES_AT_ONCE at a time. Raises the first error, once all has stopped."""
    waiting = iter(items)

    async def one_by_one() -> None:
        for item in waiting:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(QUERIES_AT_ONCE):
                group.create_task(one_by_one())
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None


def _too_much(fault: Fault) -> bool:
    """Whether less of it might be answered: over `--query.max-samples` (422), over our limit of bytes, or too slow."""
    if isinstance(fault, Permanent):
        return "too many samples" in fault.reason or (fault.kind is FaultKind.CLIENT and fault.status is None)
    return fault.kind is FaultKind.TIMEOUT


def joined(parts: Iterable[Matrix]) -> Matrix:
    """Matrices of following spans as one; of a series in several the samples one after the other."""
    found: dict[tuple[tuple[str, str], ...], list[tuple[datetime, float]]] = {}
    for matrix in parts:
        for labels, samples in matrix:
            found.setdefault(tuple(sorted(labels.items())), []).extend(samples)
    return [(dict(labels), samples) for labels, samples in found.items()]


def spans(start: datetime, end: datetime, length: timedelta) -> Iterator[tuple[datetime, datetime]]:
    """start..end in pieces of this length; a moment on a border is in both its neighbours."""
    while start < end:
        yield start, min(start + length, end)
        start += length


def merged(windows: Iterable[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """The windows in time order, those that touch made one."""
    found: list[tuple[datetime, datetime]] = []
    for start, end in sorted(windows):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found
