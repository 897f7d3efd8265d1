"""What excuses new pods that are bad: they settle, nobody notices, or their node is to blame. What it excuses ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from daemon.core.blame import suspect
from daemon.core.excuses import MEMORY_LEFT, NOTICED, SETTLING
from daemon.core.incidents import Tier
from daemon.core.measurement import Measurement, Sample
from daemon.core.model import OnsetSource, StartFailureKind
from daemon.core.policy import SignalRule
from tests.core.builders import MINUTE, NOON, STEP, a_measurement, a_start_failure
from tests.core.contrast_cases import ROLLOUT, TRAFFIC, K, asking, by_pod, contrast, convicts, one

READY = (NOON, NOON + MINUTE)


def served(values: Sequence[float], old: float, kind: K = K.ERROR_RATIO, *, begins: int = 0) -> bool:
    """Whether two new pods that have these values, sample by sample, are convicted beside old ones."""
    at = NOON + begins * STEP
    new, others = (
        tuple(one(at + STEP * index, value, 20.0, (value, value)) for index, value in enumerate(each))
        for each in (values, [old] * len(values))
    )
    return convicts(asking(kind), new, others, ready_since=READY)


@pytest.mark.parametrize(
    ("values", "guilty"),
    [
        ((0.3, 0.3, 0.3, 0.3, 0.3), True),
        ((0.4, 0.35, 0.3, 0.3, 0.3), False),
        ((0.4, 0.35, 0.3, 0.3, 0.31), True),
        ((0.1, 0.2, 0.3, 0.4, 0.4), True),
    ],
    ids=["as bad as at first", "three quarters of the worst", "a little more", "worse and worse"],
)
def test_young_pods_that_get_better_and_better_are_waited_for(values: Sequence[float], guilty: bool) -> None:
    """Caches fill, connections open, code is compiled: the first minutes are the worst."""
    assert served(values, 0.001) is guilty


def test_what_settles_has_some_minutes_for_it() -> None:
    """Later a better minute is one of many."""
    late = int(SETTLING / STEP)
    assert not served((0.4, 0.4, 0.4, 0.4, 0.25), 0.001, begins=late - 4)
    assert served((0.4, 0.4, 0.4, 0.4, 0.25), 0.001, begins=late - 3)


@pytest.mark.parametrize(
    ("values", "guilty"),
    [
        ((0.4, 0.3, 0.2, 0.1, 0.03), False),
        ((0.4, 0.3, 0.2, 0.1, 0.06), True),
        ((0.3, 0.3, 0.2, 0.1, 0.03), True),
        ((0.4, 0.3, 0.3, 0.3, 0.03), True),
    ],
    ids=["better each time, and well", "bad still", "as bad again at first", "as bad again later"],
)
def test_what_got_better_each_time_and_is_well_has_settled_at_any_age(values: Sequence[float], guilty: bool) -> None:
    """Five samples that fall one after another are no good minute among bad ones: it took longer than others to warm up."""
    assert served(values, 0.001, begins=int(SETTLING / STEP) + 1) is guilty


def test_where_nobody_knows_since_when_they_are_ready_nothing_settles() -> None:
    """Then they may have been for hours."""
    falling = by_pod([[0.4, 0.4], [0.35, 0.35], [0.3, 0.3], [0.25, 0.25], [0.2, 0.2]])
    assert convicts(asking(K.ERROR_RATIO), falling, by_pod([[0.001, 0.001]] * 5))


@pytest.mark.parametrize(("slower", "convicting"), [(NOTICED.total_seconds(), 3), (NOTICED.total_seconds() - 1e-6, 0)])
def test_what_nobody_notices_is_no_reason_to_roll_back(slower: float, convicting: int) -> None:
    """Twice as slow, from two milliseconds on, is within what one call differs from the next."""
    policy = asking(K.LATENCY)
    old = 0.002
    new = by_pod([[old + slower] * 2] * 5)
    assert contrast(policy, new, by_pod([[old] * 2] * 5)).convicting == convicting


def killed(used: float | None, *, restarts: int = 1, kind: StartFailureKind = StartFailureKind.OOM) -> Measurement:
    """One of two new pods was killed; both used so much of their memory."""
    new = tuple(Sample(at=NOON + n * STEP, values=() if used is None else (("s", used),)) for n in range(5))
    failure = a_start_failure(kind=kind, restarts=restarts)
    return replace(a_measurement(NOON + 5 * STEP, new_ready=1, new_pods=2, start_failure=failure), new=new)


@pytest.mark.parametrize(
    ("measured", "fails"),
    [
        (killed(MEMORY_LEFT), False),
        (killed(MEMORY_LEFT + 0.01), True),
        (killed(None), True),
        (killed(0.4, restarts=2), True),
        (killed(0.4, kind=StartFailureKind.CRASH), True),
    ],
    ids=["enough left", "hardly any left", "nobody knows", "killed again", "crashed"],
)
def test_who_is_killed_with_memory_left_is_not_out_of_memory(measured: Measurement, fails: bool) -> None:
    """A node without memory has its kernel kill whoever is at hand, and calls that OOMKilled as well: the second kill counts."""
    found = suspect(ROLLOUT, measured, NOON, OnsetSource.RULE, asking(K.MEMORY), old_ran=True, chain_start=None)
    assert (found.tier is Tier.START_FAILURE) is fails


def test_what_the_policy_calls_slow_is_slow() -> None:
    """Whoever writes a threshold of milliseconds means it."""
    slow = SignalRule(name="s", kind=K.LATENCY, query="q", trigger_above=0.003)
    policy = replace(asking(K.LATENCY), signals=(TRAFFIC, slow))
    assert (
        contrast(policy, by_pod([[0.005] * 2] * 5), by_pod([[0.002] * 2] * 5)).convicting == 3
    )  # two of five are warm-up
