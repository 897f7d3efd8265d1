"""Whatever a recording holds, however little sense it makes, a replay tells verdicts and ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random

import pytest

from handlers.backtest.recording import (
    AlertSeen,
    EdgeSeen,
    PodSeen,
    Record,
    RolloutSeen,
    SampleSeen,
    parse,
    recording,
    written,
)
from handlers.backtest.replay import replay
from tests.backtest.replay_cases import FRONT, NOON, WEB

WORKLOADS = (WEB, FRONT, "shop/StatefulSet/db", "other/DaemonSet/agent")
REVISIONS = ("1", "2", "3")
SECONDS = (0, 0, 1, 10, 15, 30, 60, 60, 300, 3600)
SIGNALS = ("error_ratio", "latency_seconds", "traffic_rate", "cpu_ratio", "memory_ratio", "queue_depth")
LABELS: tuple[dict[str, str], ...] = (
    {},
    {"namespace": "shop"},
    {"namespace": "shop", "deployment": "web"},
    {"namespace": "shop", "pod": "a"},
    {"namespace": "none", "deployment": "gone"},
)
ONSETS = ("2026-03-04T12:03:00Z", "garbage", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z")


def anything(seed: int) -> Iterator[Record]:
    """Records in time order, and in no other."""
    rng, at = Random(seed), NOON
    for _ in range(rng.randint(5, 150)):
        at += timedelta(seconds=rng.choice(SECONDS))
        yield rng.choices((a_rollout, a_pod, a_sample, an_alert, an_edge), (12, 23, 45, 13, 7))[0](rng, at)


def a_rollout(rng: Random, at: datetime) -> Record:
    revision, replaces = rng.choice(REVISIONS), rng.choice((None, "", *REVISIONS))
    phase = rng.choice(("started", "stage", "completed"))
    return RolloutSeen(at=at, workload=rng.choice(WORKLOADS), revision=revision, replaces=replaces, phase=phase)  # type: ignore[arg-type]


def a_pod(rng: Random, at: datetime) -> Record:
    return PodSeen(
        at=at,
        pod=rng.choice("abcd"),
        workload=rng.choice(WORKLOADS),
        revision=rng.choice(REVISIONS),
        ready=rng.random() < 0.6,
        restarts=rng.randint(-1, 6),
        reason=rng.choice((None, "", "CrashLoopBackOff", "OOMKilled", "Evicted")),
        deleted=rng.random() < 0.2,
    )


def a_sample(rng: Random, at: datetime) -> Record:
    return SampleSeen(
        at=at,
        signal=rng.choice(SIGNALS),
        workload=rng.choice(WORKLOADS),
        pod=rng.choice((None, "a", "b", "c")),
        peer=rng.choice((None, None, *WORKLOADS)),
        direction=rng.choice((None, "inbound", "outbound")),
        value=rng.choice((None, 0.0, -1.0, 0.5, 1.0, 3.0, 1e300)),
        weight=rng.choice((None, 0.0, 1.0, 1000.0, 1e12)),
    )


def an_alert(rng: Random, at: datetime) -> Record:
    return AlertSeen(
        at=at,
        status=rng.choice(("firing", "resolved")),
        labels=rng.choice(LABELS),
        annotations=rng.choice(({}, {"lastgood_onset": rng.choice(ONSETS)})),
        starts_at=at - timedelta(seconds=rng.choice((0, 60, 100_000))),
    )


def an_edge(rng: Random, at: datetime) -> Record:
    return EdgeSeen(at=at, caller=rng.choice(WORKLOADS), callee=rng.choice(WORKLOADS))


@pytest.mark.parametrize("seed", range(40))
def test_anything_is_replayed(seed: int) -> None:
    """No error, verdicts in time order, each a line of JSON; and read from a file it is the same."""
    records = list(anything(seed))
    told = list(replay(recording("anything", records)))
    assert [each.at for each in told] == sorted(each.at for each in told)
    assert all(json.loads(each.line())["recording"] == "anything" for each in told)
    again = recording("anything", list(parse([written(each) for each in records], "anything")))
    assert list(replay(again)) == told
