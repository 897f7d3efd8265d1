"""What a recording tells of pods: their age, their restarts since a rollout began, and whether the rollout still gets on."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from handlers.backtest.cluster import PROGRESS_DEADLINE, RecordedCluster
from handlers.backtest.recording import PodSeen, Record, RolloutSeen
from tests.backtest.replay_cases import MINUTE, NOON, ROLLED_AT, WEB, clustered

SECOND = timedelta(seconds=1)
STARTED = RolloutSeen(at=ROLLED_AT, workload=WEB, revision="new", replaces="old", phase="started")


def pod(name: str, at: datetime, **changes: Any) -> PodSeen:
    """A record of `old-…` or `new-…`, ready unless told otherwise."""
    known: dict[str, Any] = {"revision": name.partition("-")[0], "ready": True}
    return PodSeen(at=at, pod=name, workload=WEB, **(known | changes))


def told(*records: Record) -> RecordedCluster:
    """The cluster after these, in whatever order."""
    return clustered(sorted(records, key=lambda each: each.at))


@pytest.mark.parametrize(("after", "warm"), [(MINUTE - SECOND, False), (MINUTE, True)])
def test_a_pod_is_warm_when_it_has_been_ready_for_so_long(after: timedelta, warm: bool) -> None:
    """At a minute's second sample one is that was heard at the first: it had been ready before that. Old pods are warm."""
    ready = ROLLED_AT + MINUTE
    cluster = told(pod("old-a", NOON), STARTED, pod("new-a", ROLLED_AT, ready=False), pod("new-a", ready))
    assert cluster.is_warm(WEB, "new-a", ready + after, MINUTE) is warm
    assert cluster.is_warm(WEB, "old-a", NOON, MINUTE)


def test_restarts_count_since_the_rollout_began_and_outlive_their_pod() -> None:
    """Two nights ago is nothing; an old pod that crashed and was then replaced crashed all the same."""
    before = told(pod("old-a", NOON), pod("old-a", NOON + MINUTE, restarts=2), STARTED)
    assert before.counts(WEB, "old") == (1, 1, 0)
    crashed = ROLLED_AT + MINUTE
    gone = told(
        pod("old-a", NOON), pod("old-a", NOON + MINUTE, restarts=2), STARTED, pod("new-a", crashed),
        pod("old-a", crashed, ready=False, restarts=3), pod("old-a", crashed + SECOND, ready=False, restarts=3, deleted=True),
    )  # fmt: skip
    assert gone.counts(WEB, "old") == (0, 0, 1)
    assert gone.counts(WEB, "new") == (1, 1, 0)
    heard = RecordedCluster()
    heard.heard(WEB, "old-a", NOON)
    heard.rollout(STARTED)
    heard.pod(pod("old-a", crashed, ready=False, restarts=3, deleted=True))
    assert heard.counts(WEB, "old")[2] == 0, "of one that only samples told of nobody knows, either"
    unheard = told(
        STARTED, pod("old-a", crashed, ready=False, restarts=3, deleted=True), pod("new-a", crashed, restarts=2)
    )
    assert (unheard.counts(WEB, "old")[2], unheard.counts(WEB, "new")[2]) == (0, 2), (
        "of an old one nobody knows since when"
    )


@pytest.mark.parametrize(
    ("step", "late"),
    [
        ((), timedelta(0)),
        ((pod("new-b", ROLLED_AT + 4 * MINUTE),), 4 * MINUTE),
        ((pod("old-a", ROLLED_AT + 3 * MINUTE, ready=False, deleted=True),), 3 * MINUTE),
        ((pod("old-a", ROLLED_AT + 3 * MINUTE, ready=False),), timedelta(0)),
    ],
    ids=["no step", "a new pod is ready", "an old one is gone", "an old one is not ready"],
)
def test_a_rollout_is_stuck_when_it_has_not_got_on_for_its_deadline(step: tuple[PodSeen, ...], late: timedelta) -> None:
    """As Kubernetes counts: from its last step on, not from its start. Pods of five minutes' start take their time."""
    cluster = told(pod("old-a", NOON), STARTED, pod("new-a", ROLLED_AT + SECOND, ready=False), *step)
    due = ROLLED_AT + late + PROGRESS_DEADLINE
    assert not cluster.view(WEB, due - SECOND).stuck
    assert cluster.view(WEB, due).stuck
