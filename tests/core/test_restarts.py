"""Restarts of the new pods: how many are no accident, which lack of memory caused, and until when they go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from daemon.core.blame import suspect
from daemon.core.incidents import Phase, Term, Tier
from daemon.core.measurement import Measurement, Sample
from daemon.core.model import OnsetSource, StartFailureKind
from daemon.core.policy import SignalKind, SignalRule
from daemon.core.reasons import Reason
from daemon.core.restarts import FULL_BEFORE, MEMORY_LEFT, RHYTHM, STARTING, restart_terms, restarts_go_on
from tests.core.builders import NOON, SECOND, STEP, V1, a_measurement, a_policy, a_start_failure
from tests.core.contrast_cases import ROLLOUT, TRAFFIC, asking, one, side
from tests.core.story import Story

MEMORY = asking(SignalKind.MEMORY)
NOW = NOON + 10 * STEP
KILLED = NOW - STEP
"""Between two samples: it was full in the one before, and is empty in the next."""


def measured(
    new: Sequence[float | None] = (0.5,) * 9, old: Sequence[float | None] = (0.5,) * 9, **changes: Any
) -> Measurement:
    """Two new pods with these shares of their memory from NOON on, one restart of one of them at KILLED."""
    known: dict[str, Any] = {
        "restarts": 1,
        "killed": 1,
        "restarted_at": KILLED,
        "new_ready": 2,
        "new_pods": 2,
        "before": (),
    }
    return replace(a_measurement(NOW, new=None, old=None), new=side(new), old=side(old), **(known | changes))


def told(measurement: Measurement, *, old_ran: bool = True) -> Term | None:
    """The term, if there is one."""
    return next(iter(restart_terms(measurement, MEMORY, old_ran=old_ran)), None)


FILLED = (0.4, 0.45, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9)


@pytest.mark.parametrize(("restarts", "counts"), [(2, False), (3, True), (4, True)])
def test_two_restarts_may_be_an_accident(restarts: int, counts: bool) -> None:
    """Of pods that had memory left."""
    assert (told(measured(restarts=restarts)) is not None) is counts


@pytest.mark.parametrize(
    ("measurement", "counts"),
    [
        (measured(FILLED), True),
        (measured((*FILLED[:-1], 0.85)), False),
        (measured(FILLED, (0.75,) * 9), True),
        (measured(FILLED, (0.76,) * 9), False),
        (measured(FILLED, old=(0.5, 0.9, *(0.5,) * 7)), False),
        (measured(FILLED, before=side([0.8])), False),
        (measured(FILLED, (None,) * 9), False),
        (measured(FILLED, restarted_at=None), False),
        (measured(FILLED, restarted_at=NOON + (8 + FULL_BEFORE) * STEP), True),
        (measured(FILLED, restarted_at=NOON + (8 + FULL_BEFORE) * STEP + SECOND), False),
        (measured(FILLED, restarted_at=NOON + 8 * STEP - SECOND), False),
        (measured(FILLED, old_restarts=1), False),
        (measured(FILLED, killed=0), False),
    ],
    ids=[
        "full", "at the edge", "old ones use more", "hardly less", "an old one was full once", "it was so before",
        "nobody knows of the old", "nobody knows when", "two samples ago", "longer ago", "full after it", "an old one restarted",
        "not for its memory",
    ],
)  # fmt: skip
def test_one_restart_of_a_pod_that_was_full_is_enough(measurement: Measurement, counts: bool) -> None:
    """It was killed for what it kept, and none of the old ones keeps that much."""
    found = told(measurement)
    assert (found is not None) is counts
    if found is not None:
        assert (found.value, found.threshold) == (1.0, 1.0)
        assert found.sentence == "The new pods restarted once, killed for its memory when full, the old ones never."


def test_the_fullest_pod_counts() -> None:
    """The oldest one is full first, while all together are half empty."""
    fill = tuple(one(NOON + n * STEP, 0.5, 20.0, (share, 0.3)) for n, share in enumerate(FILLED))
    assert told(replace(measured(), new=fill)) is not None
    uneven = tuple(one(NOON + n * STEP, 0.5, 20.0, (0.3, 0.8)) for n in range(9))
    assert told(replace(measured(FILLED), old=uneven)) is None


def test_what_the_policy_calls_full_is_full() -> None:
    """Whoever writes a threshold means it."""
    early = SignalRule(name="s", kind=SignalKind.MEMORY, query="q", trigger_above=0.7)
    filled = measured((*FILLED[:-1], 0.75))
    assert not restart_terms(filled, MEMORY, old_ran=True)
    assert restart_terms(filled, a_policy(signals=(TRAFFIC, early)), old_ran=True)


@pytest.mark.parametrize(
    ("used", "killed", "counts"),
    [
        (None, 2, True),
        (None, 1, False),
        (MEMORY_LEFT + 0.01, 2, True),
        (MEMORY_LEFT, 2, False),
        (MEMORY_LEFT, 1, False),
    ],
    ids=["two, nobody knows", "one", "two, hardly any left", "two, enough left", "one, enough left"],
)
def test_two_pods_killed_for_their_memory_are_no_accident(used: float | None, killed: int, counts: bool) -> None:
    """Where no metric tells how full they were; a node that has none left kills who is at hand, and says the same."""
    found = told(measured((used,) * 9, restarts=2, killed=killed, restarted_at=KILLED))
    assert (found is not None) is counts
    if found is not None:
        assert found.sentence == "The new pods restarted 2 times, 2 pods killed for their memory, the old ones never."


@pytest.mark.parametrize("changes", [{"old_restarts": 1}, {"old_ran": False}], ids=["old ones restart", "none ran"])
def test_restarts_tell_nothing_where_the_old_ones_did_no_better(changes: dict[str, Any]) -> None:
    """What hits both is no revision's fault, however full one of them was."""
    old_ran = changes.pop("old_ran", True)
    for measurement in (measured(FILLED), measured(restarts=5), measured((None,) * 9, restarts=2, killed=2)):
        assert told(replace(measurement, **changes), old_ran=old_ran) is None


def test_a_rollout_whose_pods_restart_is_rolled_back() -> None:
    """No number differs, the alert fires, and v2 restarts over and over: v1 is back."""
    story = Story()
    story.measures = lambda _: a_measurement(story.now, new=0.02, old=0.02, restarts=7)
    story.spikes()
    story.waits(2 * STEP)
    story.expect(Phase.ROLLING_BACK)
    assert story.incident.verdict is not None
    assert story.incident.verdict.reason is Reason.BLAMED_CONTRAST
    assert [action.target.id for action in story.rollbacks] == [V1.id]


def at(later: timedelta, **changes: Any) -> Measurement:
    """So long after a restart that came nine minutes after the pods had answered first."""
    return replace(measured(FILLED, **changes), at=KILLED + later, restarted_at=KILLED)


@pytest.mark.parametrize(
    ("restarts", "later", "goes_on"),
    [
        (1, RHYTHM * (KILLED - NOON), True),
        (1, RHYTHM * (KILLED - NOON) + SECOND, False),
        (3, RHYTHM * (KILLED - NOON) / 3, True),
        (3, RHYTHM * (KILLED - NOON) / 3 + SECOND, False),
    ],
)
def test_what_fills_up_goes_on_for_as_long_as_it_takes(restarts: int, later: timedelta, goes_on: bool) -> None:
    """Twice the usual way from one restart to the next."""
    assert restarts_go_on(at(later, restarts=restarts), MEMORY) is goes_on


def test_other_restarts_are_over_after_three_samples() -> None:
    """Whatever they were three samples ago, it is over."""
    plain = measured(restarts=3)
    assert restarts_go_on(replace(plain, at=KILLED + 3 * STEP), MEMORY)
    assert not restarts_go_on(replace(plain, at=KILLED + 3 * STEP + SECOND), MEMORY)


def test_restarts_at_the_start_do_not_go_on() -> None:
    """A database may be late; the kubelet tries three times in a minute."""
    early = measured(FILLED, restarted_at=NOON + STARTING - SECOND)
    assert not restarts_go_on(replace(early, at=early.restarted_at or NOW), MEMORY)
    assert not restarts_go_on(replace(measured(FILLED), new=()), MEMORY)


def oom(used: float | None, *, restarts: int = 1, kind: StartFailureKind = StartFailureKind.OOM) -> Measurement:
    """One of two new pods was killed; both used so much of their memory."""
    new = tuple(Sample(at=NOON + n * STEP, values=() if used is None else (("s", used),)) for n in range(5))
    failure = a_start_failure(kind=kind, restarts=restarts)
    return replace(a_measurement(NOON + 5 * STEP, new_ready=1, new_pods=2, start_failure=failure), new=new)


@pytest.mark.parametrize(
    ("measurement", "fails"),
    [
        (oom(MEMORY_LEFT), False),
        (oom(MEMORY_LEFT + 0.01), True),
        (oom(None), True),
        (oom(0.4, restarts=2), True),
        (oom(0.4, kind=StartFailureKind.CRASH), True),
    ],
    ids=["enough left", "hardly any left", "nobody knows", "killed again", "crashed"],
)
def test_who_is_killed_with_memory_left_is_not_out_of_memory(measurement: Measurement, fails: bool) -> None:
    """A node without memory has its kernel kill whoever is at hand, and calls that OOMKilled as well: the second kill counts."""
    found = suspect(ROLLOUT, measurement, NOON, OnsetSource.RULE, MEMORY, old_ran=True, chain_start=None)
    assert (found.tier is Tier.START_FAILURE) is fails
