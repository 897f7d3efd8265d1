"""Reading a long past: patience with what passes, halves of what is too much, and a word on how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from handlers.backtest.reading import ATTEMPTS, PARTS_DEEP, QUERIES_AT_ONCE, UNITS, Reader, Steps, a_few_at_once, merged
from handlers.faults import Fault, FaultKind, Permanent, Transient
from handlers.prometheus import Matrix, Vector

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TOO_MANY = Permanent("prometheus answered 422: query processing would load too many samples", FaultKind.INVALID)


class Scripted:
    """A Prometheus of one series; `refuse` says by the span whether it fails."""

    def __init__(self, refuse: Callable[[timedelta, int], Fault | None]) -> None:
        self._refuse = refuse
        self.asked: list[timedelta] = []

    async def query_range(self, promql: str, start: datetime, end: datetime, step: timedelta) -> Matrix:
        self.asked.append(end - start)
        if (fault := self._refuse(end - start, len(self.asked))) is not None:
            raise fault
        first = -(-int(start.timestamp() * 1_000_000) // int(step.total_seconds() * 1_000_000))
        last = int(end.timestamp()) // int(step.total_seconds())
        moments = [datetime.fromtimestamp(each * step.total_seconds(), UTC) for each in range(first, last + 1)]
        return [({"pod": "a"}, [(at, 1.0) for at in moments])]

    async def query(self, promql: str, at: datetime) -> Vector:
        raise AssertionError("not asked here")


def reader(scripted: Scripted) -> Reader:
    return Reader(scripted)  # type: ignore[arg-type]


async def test_a_span_that_is_too_much_is_read_in_halves() -> None:
    """The halves give each sample once, in time order, as the whole would have."""
    scripted = Scripted(lambda span, _: TOO_MANY if span > timedelta(minutes=20) else None)
    ((_, found),) = await reader(scripted).matrix("x", NOON, NOON + timedelta(hours=1), MINUTE)
    assert [at for at, _ in found] == [NOON + n * MINUTE for n in range(61)]
    assert len(scripted.asked) == 7


async def test_halving_ends() -> None:
    """A query that no span makes small enough fails in the end, with what the server said."""
    scripted = Scripted(lambda span, _: TOO_MANY)
    with pytest.raises(Permanent, match="too many samples"):
        await reader(scripted).matrix("x", NOON, NOON + timedelta(days=30), MINUTE)
    assert len(scripted.asked) <= PARTS_DEEP + 1


@pytest.mark.looptime
async def test_what_fails_in_passing_is_asked_again() -> None:
    """One hiccup of the server does not end a history; a lasting one does after ATTEMPTS."""
    hiccup = Transient(None, "prometheus answered 500", FaultKind.SERVER)
    scripted = Scripted(lambda _, count: hiccup if count == 1 else None)
    assert await reader(scripted).matrix("x", NOON, NOON + MINUTE, MINUTE)
    broken = Scripted(lambda *_: hiccup)
    with pytest.raises(Transient):
        await reader(broken).matrix("x", NOON, NOON + MINUTE, MINUTE)
    assert len(broken.asked) == ATTEMPTS


async def test_a_query_that_is_wrong_is_asked_once() -> None:
    """What will fail again is told at once."""
    wrong = Scripted(lambda *_: Permanent("prometheus answered 400: parse error", FaultKind.CLIENT, status=400))
    with pytest.raises(Permanent, match="parse error"):
        await reader(wrong).matrix("x", NOON, NOON + MINUTE, MINUTE)
    assert len(wrong.asked) == 1


async def test_no_more_than_a_few_at_once_and_the_first_fault_ends_all() -> None:
    """Everything is worked off by QUERIES_AT_ONCE, and a fault stops the rest."""
    busy = peak = 0
    done: list[int] = []

    async def work(item: int) -> None:
        nonlocal busy, peak
        busy, peak = busy + 1, max(peak, busy + 1)
        await asyncio.sleep(0)
        if item == 50:
            raise TOO_MANY
        done.append(item)
        busy -= 1

    await a_few_at_once(work, range(40))
    assert sorted(done) == list(range(40))
    assert peak <= QUERIES_AT_ONCE
    with pytest.raises(Permanent):
        await a_few_at_once(work, range(45, 10_000))
    assert len(done) < 100


def test_progress_never_falls_and_knows_its_end() -> None:
    """Phases have their share of the whole; a phase without steps is over at once."""
    told: list[int] = []
    steps = Steps(lambda done, total: told.append(done), (1, 1, 2))
    for count in (2, 0, 4):
        steps.begin(count)
        for _ in range(count):
            steps.one()
    steps.end()
    assert told == sorted(told)
    assert told[2] == UNITS // 4
    assert told[-1] == UNITS


def test_windows_that_touch_are_one() -> None:
    """Rollouts soon after each other are read once."""
    hour = timedelta(hours=1)
    windows = [(NOON + 3 * hour, NOON + 4 * hour), (NOON, NOON + 2 * hour), (NOON + hour, NOON + 2 * hour)]
    assert merged(windows) == [(NOON, NOON + 2 * hour), (NOON + 3 * hour, NOON + 4 * hour)]
