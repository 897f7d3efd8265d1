"""When a generated fault begins to show: not when it begins (tests.bench.recordings.showing)."""

from __future__ import annotations

from datetime import datetime
from statistics import fmean

import pytest

from handlers.backtest.recording import PodSeen, SampleSeen
from tests.bench.recordings import Case
from tests.bench.recordings.cases import case
from tests.bench.recordings.showing import SLOW_START, TRIGGER


def pods_of(found: Case) -> list[PodSeen]:
    """What is told of the bad revision's pods."""
    return [each for each in found.records if isinstance(each, PodSeen) and each.revision == found.bad_revision]


def highest(found: Case, signal: str, until: datetime) -> float:
    """The highest mean of the new pods' samples of one moment."""
    new = {each.pod for each in pods_of(found)}
    by_moment: dict[datetime, list[float]] = {}
    for each in found.records:
        if isinstance(each, SampleSeen) and each.pod in new and each.signal == signal and each.value is not None:
            by_moment.setdefault(each.at, []).append(each.value)
    return max(fmean(values) for at, values in by_moment.items() if at <= until + found.interval)


def test_a_pod_that_is_never_ready_shows_after_two_minutes() -> None:
    """Before that it may be slow to start: nobody can tell."""
    found = case("tune", 22)
    assert found.recipe == "crash.never_ready"
    assert found.seen_at is not None
    begun = min(each.at for each in pods_of(found) if not each.ready and each.reason != "ContainerCreating")
    assert (found.seen_at - begun).total_seconds() == pytest.approx(SLOW_START, abs=0.01)


def test_a_leak_shows_when_it_is_high_or_kills() -> None:
    """Long after it begins: below the trigger nobody calls it bad."""
    found = case("tune", 36)
    assert found.recipe == "leak.steady"
    assert found.seen_at is not None
    assert found.fault_at is not None
    assert (found.seen_at - found.fault_at).total_seconds() > 300
    killed = any(each.restarts > 0 and each.at <= found.seen_at for each in pods_of(found))
    assert killed or highest(found, "memory_ratio", found.seen_at) > TRIGGER["memory_ratio"]


def test_nothing_shows_where_no_old_pod_is_left() -> None:
    """Errors from the first request on, but nothing to hold them against: none that it shows beside its predecessor."""
    found = case("tune", 0)
    assert (found.recipe, found.overlap) == ("errors.failing", 0)
    assert (found.shows_itself, found.seen_at) == (False, None)
