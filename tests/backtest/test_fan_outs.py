"""A recording whose samples belong to calls tells who asks more per request than before its rollout."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Literal

import pytest

from daemon.core.weights import WEIGHTS
from handlers.backtest.recording import AlertSeen, Record, RolloutSeen, SampleSeen, recording
from handlers.backtest.replay import replay
from handlers.backtest.verdicts import Told
from tests.backtest.replay_cases import FRONT, GOOD, MINUTE, NOON, ROLLED_AT, WEB, Shop

STORE = "shop/Deployment/store"
Direction = Literal["inbound", "outbound"]
AFTER = timedelta(minutes=3)


def calls(direction: Direction, factor: float, failing: float) -> Iterator[Record]:
    """Web serves 20 requests/s, 40 from its rollout on, and asks the store as often; then `factor` times as often.

    `failing` is the share of calls that fail since.
    """
    for minute in range(1, 61):
        at = NOON + minute * MINUTE
        rate = 40.0 * factor if at > ROLLED_AT else 20.0
        ends = (WEB, STORE) if direction == "outbound" else (STORE, WEB)
        errors = failing if at > ROLLED_AT else 0.0
        for signal, value in (("traffic_rate", rate), ("error_ratio", errors)):
            yield SampleSeen(
                at=at,
                signal=signal,
                workload=ends[0],
                pod=f"{ends[0][-5:]}-x",
                peer=ends[1],
                direction=direction,
                value=value,
            )


def told(direction: Direction, factor: float, failing: float = 0.0) -> list[Told]:
    """Web and front roll out within the minute; it hurts at the store, which web asks."""
    labels = {"alertname": "Slow", "namespace": "shop", "deployment": "store"}
    more: list[Record] = [
        *calls(direction, factor, failing),
        RolloutSeen(at=ROLLED_AT + MINUTE, workload=FRONT, revision="new", replaces="old", phase="started"),
        AlertSeen(at=ROLLED_AT + AFTER, status="firing", labels=labels, starts_at=ROLLED_AT + AFTER),
    ]
    records = [*Shop(errors=GOOD, alert_after=None).records(), *more]
    found = replay(recording("shop.jsonl", sorted(records, key=lambda record: record.at)))
    return [each for each in found if each.workload is not None]


@pytest.mark.parametrize("direction", ["outbound", "inbound"])
def test_who_asks_more_is_named(direction: Direction) -> None:
    """By what the caller tells of its calls, or what the callee does."""
    terms = {term.name: term for each in told(direction, 4.0) if each.workload == WEB for term in each.evidence}
    assert terms["fan_out"].weight == WEIGHTS["fan_out"]
    assert terms["fan_out"].sentence.startswith("It asks store 4.0 times as often per request")


@pytest.mark.parametrize(("factor", "failing"), [(1.0, 0.0), (4.0, 0.75)], ids=["as before", "tried again"])
@pytest.mark.parametrize("direction", ["outbound", "inbound"])
def test_who_asks_as_before_is_not(direction: Direction, factor: float, failing: float) -> None:
    """The same calls, before the rollout and after it; three tries of four that fail are the store's doing."""
    names = {term.name for each in told(direction, factor, failing) for term in each.evidence}
    assert "timing" in names
    assert "fan_out" not in names
