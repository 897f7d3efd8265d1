"""A replay knows no future: what it said up to some moment does not depend on what is recorded after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from random import Random

import msgspec
import pytest

from daemon.core.incidents import VerdictKind
from handlers.backtest.recording import Evidence, PodSeen, Recording, RolloutSeen, SampleSeen, recording
from handlers.backtest.replay import replay
from handlers.backtest.verdicts import Told
from tests.backtest.replay_cases import GOOD, MINUTE, Shop, cut, without
from tests.bench.recordings import Half, case

SECOND = timedelta(seconds=1)
CUTS_MAX = 8
"""Of each recording: every one is a replay of its own."""

GENERATED: tuple[tuple[Half, int], ...] = (
    ("tune", 0),
    ("tune", 3),
    ("tune", 5),
    ("tune", 6),
    ("report", 2),
    ("report", 7),
)
"""Bad ones, an outage, a hidden culprit and a placebo."""

LEFT_OUT = ("web-old-b", "front-old-a", "front-old-b")

BY_HAND = {
    "bad": Shop(),
    "placebo": Shop(errors=GOOD),
    "every 10 s": Shop(step=10 * SECOND),
    "every 5 min": Shop(step=5 * MINUTE, minutes=80),
    "staggered": Shop(stagger=7 * SECOND, everybody=0.03),
    "silent": Shop(alert_after=None, errors=0.08),
}


def up_to(found: Sequence[Told], until: datetime) -> list[dict[str, object]]:
    """The verdicts until then, whole."""
    return [{**each.document(), "exactly": each.at} for each in found if each.at <= until]


def moments(found: Recording, told: Sequence[Told], seed: int) -> list[datetime]:
    """Just before, at and after some verdicts; where rollouts began; and anywhere, once there is something to compare."""
    rng = Random(seed)
    first, last = found.evidence[0].at, found.evidence[-1].at
    around = [each.at + shift for each in told for shift in (-SECOND, timedelta(0), SECOND)]
    begun = [each.at for each in found.evidence if isinstance(each, RolloutSeen)]
    anywhere = [first + rng.uniform(0.1, 0.99) * (last - first) for _ in range(3)]
    chosen = {*rng.sample(around, min(4, len(around))), *rng.sample(begun, min(1, len(begun))), *anywhere}
    return sorted(each for each in chosen if first < each < last)[:CUTS_MAX]


def otherwise(found: Recording, after: datetime) -> Recording:
    """The recording with another future: every sample of it is as bad as can be, no pod is ready, nothing is rolled out."""

    def turned(evidence: Sequence[Evidence]) -> Iterator[Evidence]:
        for each in evidence:
            if each.at <= after:
                yield each
            elif isinstance(each, SampleSeen):
                yield msgspec.structs.replace(each, value=0.9)
            elif isinstance(each, PodSeen):
                yield msgspec.structs.replace(each, ready=False, restarts=9, reason="CrashLoopBackOff")
            elif not isinstance(each, RolloutSeen):
                yield each

    return replace(found, evidence=list(turned(found.evidence)))


@cache
def generated(half: Half, seed: int) -> tuple[Recording, tuple[Told, ...]]:
    made = case(half, seed)
    found = recording(made.name, list(made.records))
    return found, tuple(replay(found))


@pytest.mark.parametrize(("half", "seed"), GENERATED)
def test_a_generated_recording_cut_anywhere_gives_the_same_verdicts_so_far(half: Half, seed: int) -> None:
    """For every cut, each verdict up to it (its score, its evidence, its refusals) is that of the whole recording."""
    whole, told = generated(half, seed)
    for at in moments(whole, told, seed):
        assert up_to(list(replay(cut(whole, at))), at) == up_to(told, at), at


@pytest.mark.parametrize(("half", "seed"), GENERATED[:3])
def test_another_future_changes_nothing_of_the_past(half: Half, seed: int) -> None:
    """Neither does it matter what comes: the worst future leaves every earlier verdict as it was."""
    whole, told = generated(half, seed)
    for at in moments(whole, told, seed + 1)[::2]:
        assert up_to(list(replay(otherwise(whole, at))), at) == up_to(told, at), at


@pytest.mark.parametrize("name", BY_HAND)
def test_a_small_recording_cut_at_each_verdict_gives_the_same_so_far(name: str) -> None:
    """Also at other intervals, with staggered samples, and without an alert."""
    whole = BY_HAND[name].recording()
    told = list(replay(whole))
    for at in sorted({each.at + shift for each in told for shift in (-SECOND, timedelta(0), SECOND)}):
        assert up_to(list(replay(cut(whole, at))), at) == up_to(told, at), at
        assert up_to(list(replay(otherwise(whole, at))), at) == up_to(told, at), at


def test_the_cases_have_verdicts_to_compare() -> None:
    """The property is not kept by silence."""
    assert sum(len(generated(half, seed)[1]) for half, seed in GENERATED) >= 5


@pytest.mark.parametrize("seconds", [3, 17, 29, 41])
def test_new_pods_that_are_sampled_at_other_moments_change_nothing_of_the_past(seconds: int) -> None:
    """How it was sampled is found before anything is judged, not from what follows: one old pod, and new ones out of step."""
    shop = Shop(stagger=seconds * SECOND, minutes=90, alert_after=None).recording()
    whole = without(shop, lambda each: isinstance(each, SampleSeen | PodSeen) and each.pod in LEFT_OUT)
    told = list(replay(whole))
    assert [each.verdict for each in told] == [VerdictKind.ROLL_BACK]
    for shift in (0, 1, 30):
        at = told[0].at + shift * SECOND
        assert up_to(list(replay(cut(whole, at))), at) == up_to(told, at), at
