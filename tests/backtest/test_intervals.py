"""How a recording was sampled is found from it: every how often, at which moment, and whether each pod at its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from random import Random

import msgspec
import pytest

from handlers.backtest.intervals import FALLBACK, GAPS_ENOUGH, Sampling, find
from handlers.backtest.recording import EdgeSeen, RolloutSeen, SampleSeen
from tests.backtest.replay_cases import FRONT, NOON, WEB

SECOND = timedelta(seconds=1)
STEPS = (10, 15, 30, 60, 90, 300)


def sampled(
    step: timedelta, *, offsets: Sequence[timedelta] = (timedelta(0),), lost: float = 0.0, shake: float = 0.0
) -> list[SampleSeen]:
    """Forty samples of each pod, some lost, some a little late."""
    rng = Random(1)
    found = [
        SampleSeen(
            at=NOON + n * step + offset + shake * rng.random() * SECOND,
            signal="error_ratio",
            workload=WEB,
            pod=str(pod),
            value=0.0,
        )
        for n in range(40)
        for pod, offset in enumerate(offsets)
        if rng.random() >= lost
    ]
    return sorted(found, key=lambda each: each.at)


@pytest.mark.parametrize("seconds", STEPS)
@pytest.mark.parametrize("late", [0, 7])
def test_samples_taken_together(seconds: int, late: int) -> None:
    """The step and the phase; every third sample may be lost."""
    step = seconds * SECOND
    evidence = sampled(step, offsets=[late * SECOND] * 4, lost=0.33)
    found = find(evidence)
    assert (found.step, found.staggered) == (step, False)
    assert found.phase == late * SECOND % step
    assert {found.moment(found.index(each.at)) for each in evidence} == {each.at for each in evidence}


@pytest.mark.parametrize("seconds", STEPS)
def test_samples_taken_at_each_pods_own_moment(seconds: int) -> None:
    """One of each pod falls into each step, and a step is over when the last of it may be there."""
    step = seconds * SECOND
    evidence = sampled(step, offsets=[step * part / 5 for part in (0.5, 1.5, 2.5, 4)])
    found = find(evidence)
    assert (found.step, found.staggered) == (step, True)
    by_index: dict[int, list[str | None]] = {}
    for each in evidence:
        by_index.setdefault(found.index(each.at), []).append(each.pod)
        assert timedelta(0) <= found.moment(found.index(each.at)) - each.at < step
    assert all(sorted(pods, key=str) == ["0", "1", "2", "3"] for pods in by_index.values())


def test_a_little_late_is_still_together() -> None:
    """A scrape that takes up to a third of a second more is the same sample."""
    evidence = sampled(30 * SECOND, offsets=[timedelta(0)] * 3, shake=0.3)
    found = find(evidence)
    assert (found.step, found.staggered) == (30 * SECOND, False)
    assert len({found.index(each.at) for each in evidence}) == 40


def test_without_two_samples_of_one_series_there_is_no_interval() -> None:
    """Then nothing can be compared, and any answer will do."""
    edge = EdgeSeen(at=NOON, caller=FRONT, callee=WEB)
    once = [SampleSeen(at=NOON, signal=name, workload=WEB, value=0.0) for name in ("error_ratio", "traffic_rate")]
    for evidence in ([], [edge], once):
        assert find(evidence) == Sampling(step=FALLBACK, phase=timedelta(0))


def test_the_same_moment_again_is_no_interval() -> None:
    """Two numbers of one series at one moment do not make it an interval of nothing."""
    twice = [each for each in sampled(60 * SECOND) for _ in range(3)]
    assert find(twice).step == 60 * SECOND


def test_nothing_after_the_first_rollout_is_looked_at() -> None:
    """Once there are gaps enough; before that, whatever comes is better than nothing."""
    before = sampled(60 * SECOND)
    rolled = RolloutSeen(at=before[-1].at, workload=WEB, revision="2", replaces="1", phase="started")
    after = [msgspec.structs.replace(each, at=before[-1].at + (each.at - NOON) / 6) for each in before[1:] * 3]
    after.sort(key=lambda each: each.at)
    assert find([*before, rolled, *after]).step == 60 * SECOND
    few = before[: GAPS_ENOUGH // 2]
    assert find([*few, rolled, *after]).step == 10 * SECOND
