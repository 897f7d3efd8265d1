"""What no alert tells, in a replay: a regression after the soak, and a rollout that was under way before the recording."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from daemon.core.incidents import VerdictKind
from daemon.core.reasons import Reason
from handlers.backtest.recording import PodSeen, Record, RolloutSeen, recording
from handlers.backtest.replay import replay
from handlers.backtest.verdicts import Told
from tests.backtest.replay_cases import MINUTE, NOON, ROLLED_AT, WEB, Shop
from tests.backtest.watched_cases import Watched

HOUR = 60 * MINUTE


def told(case: Watched) -> list[Told]:
    return list(replay(case.recording()))


@pytest.mark.parametrize(
    ("case", "trigger"),
    [
        (Watched(), 0.85),
        (Watched(shows_after=MINUTE, slope=0.005), 0.85),
        (Watched(dropped=("traffic_rate",)), 0.85),
        (Watched(signal="latency_seconds", shows_after=70 * MINUTE, slope=0.002), 0.12),
        (Watched(signal="error_ratio", shows_after=85 * MINUTE, slope=0.01), 0.05),
        (Watched(step=5 * MINUTE), 0.85),
        (Watched(shows_after=18 * HOUR, serves=22 * HOUR, step=5 * MINUTE), 0.85),
    ],
    ids=["late leak", "slow leak", "unknown traffic", "latency", "errors", "every five minutes", "after 18 hours"],
)
def test_what_shows_ninety_minutes_after_the_rollout_is_proposed(case: Watched, trigger: float) -> None:
    """By name, without an alert, in `auto`: the mark is withdrawn, nothing is rolled back, and age is no refusal."""
    first, *rest = told(case)
    assert (first.verdict, first.workload, first.revision, first.replaces) == (VerdictKind.PROPOSE, WEB, "new", "old")
    within = 15 * MINUTE if case.shows_after < 2 * HOUR else 2 * HOUR
    assert timedelta(0) < first.at - case.bad_from(trigger) <= within + 3 * case.step
    refused = {each.reason: each.seen for each in first.would_refuse}
    assert "its mark is withdrawn" in refused[Reason.REGRESSION]
    assert Reason.TOO_OLD not in refused
    assert VerdictKind.ROLL_BACK not in {each.verdict for each in rest}


@pytest.mark.parametrize(
    "case",
    [
        Watched(slope=0.0),
        Watched(slope=0.001),
        Watched(shows_after=26 * HOUR, serves=29 * HOUR, step=5 * MINUTE),
        Watched(signal="latency_seconds", slope=0.0001),
    ],
    ids=["steady", "hardly more", "after the watch", "a little slower"],
)
def test_what_stays_good_for_a_day_is_not_spoken_of(case: Watched) -> None:
    """No verdict at all."""
    assert told(case) == []


@pytest.mark.parametrize("letters", ["a", "ab"])
@pytest.mark.parametrize("ready", [True, False])
def test_pods_that_are_killed_for_their_memory_are_proposed(letters: str, ready: bool) -> None:
    """No sample shows a leak: long after the soak one pod or all are killed again and again, and be they back when it looks."""
    case = Watched(slope=0.0)
    at = ROLLED_AT + 100 * MINUTE
    killed: list[Record] = [
        PodSeen(at=at + n * 3 * MINUTE, pod=f"web-new-{letter}", workload=WEB, revision="new", ready=ready,
                restarts=n + 1, reason="OOMKilled")
        for n in range(10) for letter in letters
    ]  # fmt: skip
    lines = sorted([*case.recording().evidence, *killed], key=lambda record: record.at)
    found = list(replay(recording("killed.jsonl", lines)))
    assert [(each.verdict, each.workload) for each in found][:1] == [(VerdictKind.PROPOSE, WEB)]


def test_pods_that_are_killed_soon_after_the_rollout_are_rolled_back() -> None:
    """Nobody complains and no sample shows it: the third kill within half an hour convicts, though the pod is back at once."""
    case, at = Watched(slope=0.0), ROLLED_AT + 12 * MINUTE
    killed: list[Record] = [
        PodSeen(at=at + n * 4 * MINUTE, pod="web-new-a", workload=WEB, revision="new", ready=True, restarts=n + 1)
        for n in range(3)
    ]
    lines = sorted([*case.recording().evidence, *killed], key=lambda record: record.at)
    found = [each for each in replay(recording("killed.jsonl", lines)) if each.verdict is VerdictKind.ROLL_BACK]
    assert [(each.workload, each.evidence[0].name) for each in found] == [(WEB, "restarts")]
    assert timedelta(0) <= found[0].at - killed[-1].at <= 2 * MINUTE


@pytest.mark.parametrize(
    ("reasons", "dropped", "found"),
    [
        (("OOMKilled", "OOMKilled"), ("memory_ratio",), True),
        (("OOMKilled", "Error"), ("memory_ratio",), False),
        ((None, None), ("memory_ratio",), False),
        (("OOMKilled", "OOMKilled"), (), False),
    ],
    ids=["both", "one of them", "nobody knows why", "half of the memory was free"],
)
def test_two_pods_that_are_killed_once_for_their_memory_are_rolled_back(
    reasons: tuple[str | None, ...], dropped: tuple[str, ...], found: bool
) -> None:
    """One after the other they are full, and back at once; two restarts alone may be an accident."""
    case, at = Watched(slope=0.0, dropped=dropped), ROLLED_AT + 12 * MINUTE
    ends = [
        PodSeen(
            at=at + n * MINUTE,
            pod=f"web-new-{letter}",
            workload=WEB,
            revision="new",
            ready=True,
            restarts=1,
            reason=reason,
        )
        for n, (letter, reason) in enumerate(zip("ab", reasons, strict=True))
    ]
    lines: list[Record] = sorted([*case.recording().evidence, *ends], key=lambda record: record.at)
    told = [each for each in replay(recording("killed.jsonl", lines)) if each.verdict is VerdictKind.ROLL_BACK]
    assert bool(told) is found


# -- a recording that begins in the middle of a rollout


def started_as(phase: str | None, *, since: timedelta = timedelta(0)) -> list[Told]:
    """The bad rollout of the shop, of which the first record is of that phase (None: there is none of its beginning)."""
    shop = Shop(alert_after=None, completed=phase is None)
    begun = [
        msgspec.structs.replace(each, phase=phase or each.phase, at=each.at + since)
        if isinstance(each, RolloutSeen) and each.phase == "started"
        else each
        for each in shop.records()
    ]
    return list(replay(recording("shop.jsonl", sorted(begun, key=lambda record: record.at))))


@pytest.mark.parametrize("since", [timedelta(0), 4 * MINUTE])
def test_a_rollout_of_which_a_stage_is_heard_first_is_watched(since: timedelta) -> None:
    """As one whose beginning was seen: a contrast that no alert tells is rolled back, to what it says it replaces."""
    found = [each for each in started_as("stage", since=since) if each.verdict is VerdictKind.ROLL_BACK]
    assert [(each.workload, each.revision, each.replaces) for each in found] == [(WEB, "new", "old")]
    assert found[0].at - ROLLED_AT <= 4 * MINUTE + since


def test_pods_that_are_seen_before_the_rollout_is_spoken_of_tell_when_it_began() -> None:
    """Both revisions serve when the recording begins, the new one's pods come first: it was there before nobody's rollout."""
    shop = Shop(alert_after=None)
    early: list[Record] = []
    for each in shop.records():
        if isinstance(each, PodSeen) and each.workload == WEB:
            early.append(msgspec.structs.replace(each, at=NOON))
        elif isinstance(each, RolloutSeen):
            early.append(msgspec.structs.replace(each, at=NOON + 40 * MINUTE, phase="stage"))
        else:
            early.append(each)
    first = sorted(early, key=lambda each: (each.at, getattr(each, "revision", "") != "new"))
    found = [each for each in replay(recording("shop.jsonl", first)) if each.verdict is VerdictKind.ROLL_BACK]
    assert [(each.workload, each.replaces, each.rollout_at) for each in found] == [(WEB, "old", NOON)]


def test_a_rollout_that_is_begun_twice_is_one() -> None:
    """Whoever tells it again changes nothing."""
    known = Shop(alert_after=None).recording()
    (begun,) = [each for each in known.evidence if isinstance(each, RolloutSeen)]
    again = msgspec.structs.replace(begun, at=begun.at + 90 * timedelta(seconds=1))
    lines = sorted([*known.evidence, again], key=lambda each: each.at)
    both = replace(known, evidence=lines)
    assert [each.document() for each in replay(both)] == [each.document() for each in replay(known)]
