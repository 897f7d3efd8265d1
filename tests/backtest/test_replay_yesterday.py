"""What a recording tells of the day before, in a replay: what is bad at this hour every day is nobody's fault."""

from __future__ import annotations

from datetime import timedelta

import pytest

from daemon.core.incidents import VerdictKind
from handlers.backtest.recording import AlertSeen, PodSeen, Record, SampleSeen, recording
from handlers.backtest.replay import replay
from tests.backtest.replay_cases import MINUTE, NOON, ROLLED_AT, WEB
from tests.backtest.watched_cases import Watched

DAY = timedelta(days=1)
FIRES_AT = ROLLED_AT + 12 * MINUTE
"""Eight minutes after the last old pod is gone."""


def the_day_before(errors: float) -> list[Record]:
    """A pod of that time, which failed so much at the hour at which the alert fires."""
    name, since = "web-older-a", NOON - DAY
    found: list[Record] = [PodSeen(at=since, pod=name, workload=WEB, revision="old", ready=True)]
    for minute in range(1, 60):
        for signal, value in (("error_ratio", errors), ("traffic_rate", 10.0)):
            found.append(SampleSeen(at=since + minute * MINUTE, signal=signal, workload=WEB, pod=name, value=value))
    return [*found, PodSeen(at=since + 60 * MINUTE, pod=name, workload=WEB, revision="old", ready=False, deleted=True)]


@pytest.mark.parametrize(("errors", "proposed"), [(0.002, True), (0.3, False)], ids=["well then", "as bad then"])
def test_what_was_as_bad_the_day_before_is_not_worse_than_before(errors: float, proposed: bool) -> None:
    """A batch at this hour fails every day; the rollout came half an hour before it."""
    case = Watched(signal="error_ratio", shows_after=6 * MINUTE, slope=0.05, serves=30 * MINUTE)
    labels = {"alertname": "Errors", "namespace": "shop", "deployment": "web"}
    alert = AlertSeen(at=FIRES_AT, status="firing", labels=labels, starts_at=FIRES_AT)
    lines = sorted([*case.recording().evidence, *the_day_before(errors), alert], key=lambda record: record.at)
    told = [each for each in replay(recording("daily.jsonl", lines)) if each.verdict is VerdictKind.PROPOSE]
    assert ("before_after" in {term.name for each in told for term in each.evidence}) is proposed
