"""Pods that cannot start: whom it convicts, and whom not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from daemon.core.model import StartFailureKind
from daemon.core.start_failures import start_failure_terms
from tests.core.builders import MINUTE, NOON, STEP, a_measurement, a_policy, a_start_failure, samples

NOW = NOON + 5 * MINUTE
CRASH, NEVER = StartFailureKind.CRASH, StartFailureKind.NEVER_READY


def convicts(kind: StartFailureKind = CRASH, *, old_ran: bool = True, elsewhere: bool = False, **changes: Any) -> bool:
    """Whether it tells against a revision of two pods, of which none is ready, beside two old ones that are well."""
    known: dict[str, Any] = {"start_failure": a_start_failure(kind=kind), "new_pods": 2, "new_ready": 0}
    measurement = replace(a_measurement(NOW, new=None), **(known | changes))
    return bool(start_failure_terms(measurement, a_policy(), old_ran=old_ran, elsewhere=elsewhere))


@pytest.mark.parametrize(
    ("kind", "elsewhere", "ready", "told"),
    [
        (CRASH, False, 0, True),
        (CRASH, False, 1, True),
        (CRASH, False, 2, False),
        (CRASH, True, 0, True),
        (NEVER, False, 0, True),
        (NEVER, False, 1, False),
        (NEVER, True, 0, False),
    ],
)
def test_which_pods_cannot_start(kind: StartFailureKind, elsewhere: bool, ready: int, told: bool) -> None:
    """Crash loops flicker, so one ready pod of two says little; but where one got ready the others may only be slow."""
    assert convicts(kind, elsewhere=elsewhere, new_ready=ready) is told


def test_nothing_is_told_of_what_nobody_knows_to_have_run() -> None:
    """Where the old revision never ran either, the new one is no worse."""
    assert not convicts(old_ran=False)
    assert not convicts(start_failure=None)


@pytest.mark.parametrize("kind", list(StartFailureKind))
def test_where_the_old_pods_fail_too_nobody_is_convicted(kind: StartFailureKind) -> None:
    """A database that is gone keeps new pods from starting, and fails the requests of the old ones."""
    assert convicts(kind, old=samples(0.001, until=NOW))
    assert not convicts(kind, old=samples(0.3, until=NOW))


def test_how_the_old_pods_fared_lately_is_what_counts() -> None:
    """Two samples back they may still have been hit by what is over; of a fast rolling update there are no more than two."""
    bad, good = samples(0.3, until=NOW - 2 * STEP, count=3), samples(0.001, until=NOW, count=2)
    assert convicts(old=(*bad, *good))
    assert not convicts(old=(*bad, good[0]))
    assert not convicts(old=bad[:1])


def test_old_pods_that_always_fail_are_no_excuse() -> None:
    """They fail as they did before the rollout."""
    always = samples(0.05, until=NOON - STEP)
    assert convicts(old=samples(0.05, until=NOW), before=always)
    assert not convicts(old=samples(0.3, until=NOW), before=always)
