"""A canary that says nothing, in a replay: nobody complains, and who calls it fails since it is there."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from daemon.core.incidents import VerdictKind
from handlers.backtest.recording import Record, Recording, SampleSeen, recording
from handlers.backtest.replay import replay
from tests.backtest.replay_cases import BAD, FRONT, GOOD, MINUTE, ROLLED_AT, WEB, Shop


def silent_canary(front_errors: float, before: float = GOOD) -> Recording:
    """The new pods of web are ready and have no samples; that share of front's requests fails since the rollout."""
    return recording("silent.jsonl", list(_told(front_errors, before)))


def _told(front_errors: float, before: float) -> Iterator[Record]:
    for each in Shop(alert_after=None).records():
        if isinstance(each, SampleSeen) and str(each.pod).startswith("web-new"):
            continue
        if isinstance(each, SampleSeen) and each.workload == FRONT and each.signal == "error_ratio":
            yield msgspec.structs.replace(each, value=front_errors if each.at > ROLLED_AT else before)
        else:
            yield each


def test_a_silent_canary_that_hurts_its_caller_is_rolled_back_without_an_alert() -> None:
    """By name, to what it replaced, a few minutes after it came."""
    found = [each for each in replay(silent_canary(BAD)) if each.verdict is VerdictKind.ROLL_BACK]
    assert [(each.workload, each.revision, each.replaces) for each in found] == [(WEB, "new", "old")]
    assert found[0].at - ROLLED_AT <= 8 * MINUTE
    assert "calling it, got worse since" in str(found[0].document())


@pytest.mark.parametrize(("front_errors", "before"), [(GOOD, GOOD), (BAD, BAD)], ids=["well", "failed before"])
def test_a_silent_canary_whose_caller_is_no_worse_is_not_spoken_of(front_errors: float, before: float) -> None:
    """It may only lack its metrics."""
    assert list(replay(silent_canary(front_errors, before))) == []
