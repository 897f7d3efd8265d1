"""What excuses new pods that are bad: they settle, nobody notices, or their node is to blame. What it excuses ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import pytest

from daemon.core.excuses import NOTICED, SETTLING
from daemon.core.measurement import Sample
from daemon.core.policy import SignalRule
from tests.core.builders import MINUTE, NOON, STEP, a_policy
from tests.core.contrast_cases import TRAFFIC, K, asking, by_pod, contrast, convicts, one

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


def test_what_the_policy_calls_slow_is_slow() -> None:
    """Whoever writes a threshold of milliseconds means it."""
    slow = SignalRule(name="s", kind=K.LATENCY, query="q", trigger_above=0.003)
    policy = replace(asking(K.LATENCY), signals=(TRAFFIC, slow))
    assert (
        contrast(policy, by_pod([[0.005] * 2] * 5), by_pod([[0.002] * 2] * 5)).convicting == 3
    )  # two of five are warm-up


def under_load(cpu: float | None, latency: float | None, errors: float = 0.2, *, was: float | None = 0.1) -> bool:
    """Whether new pods that fail so much on so much CPU are convicted, beside old ones that answer this slowly; `was` before."""
    kinds = {"e": K.ERROR_RATIO, "l": K.LATENCY, "c": K.CPU}
    policy = a_policy(signals=(TRAFFIC, *(SignalRule(name=name, kind=kind, query="q") for name, kind in kinds.items())))

    def sample(at: datetime, **values: float | None) -> Sample:
        known = {"traffic": 100.0, **values}
        return Sample(at=at, values=tuple((name, value) for name, value in known.items() if value is not None), pods=2)

    ats = [NOON + STEP * n for n in range(5)]
    new, old = (
        tuple(sample(at, e=e, l=slow, c=used) for at in ats)
        for e, slow, used in ((errors, latency, cpu), (0.001, latency, 0.88))
    )
    before = tuple(sample(NOON - STEP * n, e=0.001, l=was, c=0.5) for n in range(5, 0, -1)) if was is not None else ()
    return convicts(policy, new, old, before=before)


@pytest.mark.parametrize(
    ("measured", "guilty"),
    [
        (under_load(0.95, 0.3), False),
        (under_load(0.9, 0.3), True),
        (under_load(None, 0.3), True),
        (under_load(0.95, 0.15), True),
        (under_load(0.95, None), True),
        (under_load(0.95, 0.3, was=None), True),
    ],
    ids=[
        "no CPU left, and all are slow", "CPU left", "CPU unknown", "the old ones as fast as before", "latency unknown",
        "nothing known from before",
    ],
)  # fmt: skip
def test_pods_that_fail_under_a_load_that_slows_all_are_not_convicted(measured: bool, guilty: bool) -> None:
    """Near its limit a pod that is sent a little more than the next one fails where that one only keeps waiting."""
    assert measured is guilty


def test_errors_from_before_the_load_convict() -> None:
    """The excuse is of a sample, not of a revision: what failed while all had CPU left is its own."""
    kinds = {"e": K.ERROR_RATIO, "l": K.LATENCY, "c": K.CPU}
    policy = a_policy(signals=(TRAFFIC, *(SignalRule(name=name, kind=kind, query="q") for name, kind in kinds.items())))

    def side(errors: float, used: float) -> tuple[Sample, ...]:
        spiked = [(0.5, 0.1)] * 2 + [(used, 0.4)] * 3
        return tuple(
            Sample(at=NOON + STEP * n, values=(("traffic", 100.0), ("e", errors), ("l", slow), ("c", cpu)), pods=2)
            for n, (cpu, slow) in enumerate(spiked)
        )

    before = tuple(
        Sample(at=NOON - STEP * n, values=(("traffic", 100.0), ("e", 0.001), ("l", 0.1))) for n in range(1, 4)
    )
    assert convicts(policy, side(0.2, 1.0), side(0.001, 0.9), before=before)


@pytest.mark.parametrize(
    ("pods", "last", "guilty"),
    [(1, 0.6, False), (1, 0.61, True), (2, 0.6, True)],
    ids=["a single one that gets better", "hardly better", "two of them"],
)
def test_a_single_pod_that_gets_better_is_warming_up_at_any_age(pods: int, last: float, guilty: bool) -> None:
    """On a small share of a busy node a runtime may compile for ten minutes; where two pods are as slow it is no node."""
    at = NOON + SETTLING + MINUTE
    values = (*(0.8,) * 20, 0.8, 0.7, 0.65, last)
    new = tuple(one(at + STEP * index, value, 20.0, (value,) * pods) for index, value in enumerate(values))
    old = tuple(one(sample.at, 0.1, 20.0, (0.1,) * 2) for sample in new)
    assert convicts(asking(K.LATENCY), new, old, ready_since=READY[:pods]) is guilty
