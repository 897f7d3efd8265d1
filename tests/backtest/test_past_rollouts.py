"""Rollouts from the replicas of ReplicaSets: which moves are rollouts, in which order, and what only looks like one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from handlers.backtest.past_rollouts import of_replica_sets, of_stateful_set
from handlers.prometheus import Matrix

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WEB = ("shop", "Deployment", "web")
DB = ("shop", "StatefulSet", "db")


def samples(what: str, label: str, rows: Mapping[str, Sequence[int | None]]) -> Matrix:
    return [
        (
            {"what": what, label: name},
            [(NOON + minute * MINUTE, float(value)) for minute, value in enumerate(values) if value is not None],
        )
        for name, values in rows.items()
    ]


def found(
    spec: Mapping[str, Sequence[int | None]],
    ready: Mapping[str, Sequence[int | None]] | None = None,
    created: Mapping[str, datetime] | None = None,
) -> list[tuple[str, str | None, str, float]]:
    matrix = samples("spec", "replicaset", spec) + samples("ready", "replicaset", spec if ready is None else ready)
    matrix += [
        ({"what": "created", "replicaset": name}, [(NOON, at.timestamp())]) for name, at in (created or {}).items()
    ]
    told = of_replica_sets(WEB, matrix, MINUTE)
    return [(each.revision, each.replaces, each.phase, (each.at - NOON) / MINUTE) for each in told]


def test_a_rolling_update_begins_and_completes() -> None:
    """It begins with the first replica of the new ReplicaSet, and is complete when all of its are ready and no others are."""
    spec = {"web-a": [3, 3, 2, 1, 0, 0], "web-b": [0, 1, 2, 3, 3, 3]}
    ready = {"web-a": [3, 3, 2, 1, 0, 0], "web-b": [0, 0, 1, 2, 2, 3]}
    assert found(spec, ready) == [("b", "a", "started", 1), ("b", "a", "completed", 5)]


def test_scaling_is_no_rollout() -> None:
    """An autoscaler's replicas come to the ReplicaSet that the workload is at, also in the middle of a rollout."""
    assert found({"web-a": [3, 8, 2, 0, 4]}) == []
    assert found({"web-a": [3, 3, 4, 0], "web-b": [0, 1, 2, 4]})[0] == ("b", "a", "started", 1)
    assert len([each for each in found({"web-a": [3, 3, 4, 2], "web-b": [0, 1, 2, 4]}) if each[2] == "started"]) == 1


def test_a_rollback_in_the_middle_is_a_rollout_back() -> None:
    """The old ReplicaSet still has replicas, and gets more while the new one loses its own."""
    spec = {"web-a": [3, 2, 2, 3, 3], "web-b": [0, 2, 2, 0, 0]}
    assert [each[:3] for each in found(spec)] == [
        ("b", "a", "started"),
        ("a", "b", "started"),
        ("a", "b", "completed"),
    ]


def test_recreate_has_a_moment_without_any() -> None:
    """All old pods go before the first new one comes; the revision that is replaced is still the old one."""
    assert [each[:3] for each in found({"web-a": [3, 0, 0, 0], "web-b": [0, 0, 3, 3]})] == [
        ("b", "a", "started"),
        ("b", "a", "completed"),
    ]


def test_the_first_revision_replaces_none() -> None:
    """A workload's first deployment, and one that was scaled to nothing and back, is no rollout."""
    assert found({"web-a": [0, 0, 3, 3]}) == []
    assert found({"web-a": [3, 0, 0, 3]}) == []


def test_a_rollout_that_never_completes_does_not() -> None:
    """New pods that do not become ready keep it open."""
    spec = {"web-a": [3, 2, 2, 2], "web-b": [0, 2, 2, 2]}
    assert found(spec, {"web-a": [3, 2, 2, 2], "web-b": [0, 0, 0, 0]}) == [("b", "a", "started", 1)]


def test_a_superseded_rollout_is_followed_by_the_next() -> None:
    """A third revision replaces the one that was on its way."""
    spec = {"web-a": [3, 2, 2, 0], "web-b": [0, 2, 0, 0], "web-c": [0, 0, 2, 3]}
    assert [each[:3] for each in found(spec)] == [("b", "a", "started"), ("c", "b", "started"), ("c", "b", "completed")]


def test_its_creation_is_when_it_began() -> None:
    """A new ReplicaSet's creation is exact; that of one that was made long ago says nothing about this rollout."""
    spec = {"web-a": [3, 3, 0], "web-b": [0, 3, 3]}
    assert found(spec, created={"web-b": NOON + timedelta(seconds=20)})[0][3] == 1 / 3
    assert found(spec, created={"web-b": NOON - timedelta(days=3)})[0][3] == 1


def test_a_gap_without_data_is_no_rollout() -> None:
    """kube-state-metrics was away: what it says afterwards is compared with what it said before."""
    assert found({"web-a": [3, None, None, 3], "web-b": [0, None, None, 0]}) == []


def test_a_stateful_set_says_itself_what_it_is_at() -> None:
    """A new update revision begins a rollout, and the current revision that follows it completes it; a rollback is one."""
    update = {"db-1": [1, None, None, None, 1], "db-2": [None, 1, 1, 1, None]}
    current = {"db-1": [1, 1, 1, None, None], "db-2": [None, None, None, 1, 1]}
    told = of_stateful_set(DB, samples("update", "revision", update) + samples("current", "revision", current))
    assert [(each.revision, each.replaces, each.phase, (each.at - NOON) / MINUTE) for each in told] == [
        ("2", "1", "started", 1),
        ("2", "1", "completed", 3),
        ("1", "2", "started", 4),
    ]
