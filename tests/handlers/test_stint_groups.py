"""Groups of pods whose names are given again: who is in them at which moment, and what is asked of whom."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.actions import MeasurePurpose
from daemon.core.model import Revision, RevisionId, Stint, Workload
from handlers import pod_groups
from handlers.faults import Fault
from handlers.pod_groups import SPANS_MAX, PodGroup, PodSpan
from handlers.sampling import floor
from tests.handlers.measuring_world import (
    DAY,
    DOWN,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    STEP,
    Prometheus,
    Scene,
    healthy,
    pod,
    signal_of,
)

DB = Workload(namespace="shop", kind="StatefulSet", name="db")
LOGS = Workload(namespace="shop", kind="DaemonSet", name="logs")
V1 = Revision(id=RevisionId("h1"), content="c1", number=1, replica_set="db-6d4b75cb6d")
V2 = Revision(id=RevisionId("h2"), content="c2", number=2, replica_set="db-7f9c9c9c9c")
WINDOW = MINUTE
BEGAN = floor(NOW, STEP) - 10 * MINUTE
"""When the rollout began; every two minutes it exchanges one pod, from db-2 down."""


def exchange(number: int) -> datetime:
    return BEGAN + (2 - number) * 2 * MINUTE + 10 * SECOND


OLD = tuple(Stint(name=f"db-{n}", since=BEGAN - DAY, until=exchange(n) - SECOND) for n in (0, 1, 2))
NEW = tuple(Stint(name=f"db-{n}", since=exchange(n)) for n in (2, 1, 0))


def spans(stints: Sequence[Stint], start: datetime = BEGAN, end: datetime = NOW) -> tuple[PodSpan, ...]:
    return pod_groups.of_stints(DB, stints).spans(start, end, STEP, WINDOW)


def asked(scene: Scene, signal: str = "traffic") -> list[tuple[str, datetime, datetime]]:
    """Pods, first and last moment of each query for a signal."""
    found = []
    for query, start, end, _ in scene.prometheus.queries:
        if signal_of(query) == signal:
            name = re.search(r'pod=~"([^"]*)"', query)
            assert name is not None
            found.append((name[1], start, end))
    return found


# -- who is in the group


def test_a_new_pod_counts_a_window_after_it_began() -> None:
    """Before that its rate would look back on samples of the pod that had the name before it."""
    first, second, third = spans(NEW)
    assert (first.names, second.names, third.names) == (("db-2",), ("db-1", "db-2"), ("db-0", "db-1", "db-2"))
    assert first.first == BEGAN + 90 * SECOND, "the first moment after 10 s, 60 s, and a second of rounding"
    assert (first.last, second.first) == (BEGAN + 3 * MINUTE, BEGAN + 3 * MINUTE + 30 * SECOND)
    assert third.last == floor(NOW, STEP)


def test_an_old_pod_counts_up_to_its_end() -> None:
    """After it the name is another's."""
    found = spans(OLD)
    assert [each.names for each in found] == [("db-0", "db-1", "db-2"), ("db-0", "db-1"), ("db-0",)]
    assert [(each.first, each.last) for each in found] == [
        (BEGAN, BEGAN),
        (BEGAN + 30 * SECOND, BEGAN + 2 * MINUTE),
        (BEGAN + 150 * SECOND, BEGAN + 4 * MINUTE),
    ]


def test_times_of_nobody_are_left_out() -> None:
    """A gap is no span, nor is a stint shorter than the window, nor one outside of what is asked."""
    gap = [
        Stint(name="db-0", since=BEGAN - HOUR, until=BEGAN + MINUTE),
        Stint(name="db-0", since=BEGAN + 2 * MINUTE, until=BEGAN + 2 * MINUTE + WINDOW - SECOND),
        Stint(name="db-0", since=BEGAN + 5 * MINUTE - SECOND),
    ]
    found = spans(gap)
    assert [(each.first, each.last) for each in found] == [
        (BEGAN, BEGAN + MINUTE),
        (BEGAN + 6 * MINUTE, floor(NOW, STEP)),
    ]
    assert spans(OLD, start=BEGAN + HOUR, end=BEGAN + 2 * HOUR) == ()
    assert spans(()) == ()
    assert pod_groups.of_stints(DB, ()).empty
    assert not pod_groups.of_stints(DB, OLD).empty


def test_of_very_many_spans_the_latest_are_asked_for() -> None:
    """A set of fifty pods: what is left out is the oldest, and the number of queries stays what it is."""
    many = [Stint(name=f"db-{n}", since=BEGAN - n * MINUTE - SECOND) for n in range(50)]
    found = spans(many, start=BEGAN - 2 * HOUR)
    assert len(found) == SPANS_MAX
    assert found[-1].last == floor(NOW, STEP)
    assert len(found[-1].names) == 50
    assert [len(each.names) for each in found] == list(range(50 - SPANS_MAX + 1, 51))


SECONDS = st.integers(-600, 1200).map(lambda seconds: BEGAN + seconds * SECOND)
STINTS = st.lists(
    st.builds(Stint, name=st.sampled_from(["db-0", "db-1", "db-2"]), since=SECONDS, until=st.none() | SECONDS),
    max_size=5,
)


@given(STINTS)
def test_at_every_moment_exactly_those_that_lasted(stints: list[Stint]) -> None:
    """Each moment is in one span at most, with just the names whose stint lasted through the window before it."""
    wanted: dict[datetime, set[str]] = {}
    for number in range(21):
        at = BEGAN + number * STEP
        names = {s.name for s in stints if s.since + SECOND + WINDOW <= at and (s.until is None or at <= s.until)}
        if names:
            wanted[at] = names
    found: dict[datetime, set[str]] = {}
    for span in spans(stints, BEGAN, BEGAN + 20 * STEP):
        at = span.first
        while at <= span.last:
            assert at not in found
            found[at] = set(span.names)
            at += STEP
    assert found == wanted


def test_other_kinds_patterns() -> None:
    """A StatefulSet's pods are numbered, a DaemonSet's end in five letters; neither has pods of a ReplicaSet."""
    (numbered,) = pod_groups.of_workload(DB).patterns
    (lettered,) = pod_groups.of_workload(LOGS).patterns
    for pattern, mine, others in (
        (
            numbered,
            ("db-0", "db-17"),
            ("db", "db-", "db-x", "db-replica-0", "my-db-0", "db-6d4b75cb6d-bcdfg", "db-0-x"),
        ),
        (lettered, ("logs-bcdfg",), ("logs-0", "logs-agent", "logs-audit-bcdfg", "logs-6d4b75cb6d-bcdfg", "logs-bcdf")),
    ):
        assert all(re.fullmatch(pattern, name) for name in mine), pattern
        assert not [name for name in others if re.fullmatch(pattern, name)], pattern
    longest = Workload(namespace="shop", kind="DaemonSet", name="l" * 57)
    assert not pod_groups.of_workload(longest).empty
    assert pod_groups.of_workload(Workload(namespace="shop", kind="DaemonSet", name="l" * 58)).empty
    group = pod_groups.of_revision(LOGS, V2, ["logs-bcdfg", "logs-bcdfg", "db-7f9c9c9c9c-bcdfg"])
    assert (group.names, group.patterns) == (("logs-bcdfg", "db-7f9c9c9c9c-bcdfg"), ())


@pytest.mark.parametrize(
    ("kind", "inherits"),
    [("StatefulSet", True), ("DaemonSet", False), ("Deployment", False), ("Rollout", False), ("CloneSet", False)],
)
def test_whose_names_return(kind: str, inherits: bool) -> None:
    """Of the kinds that we know only StatefulSets give names again."""
    assert pod_groups.names_return(Workload(namespace="shop", kind=kind, name="db")) is inherits


# -- what is asked


async def test_spans_are_joined() -> None:
    """One series per signal, over all spans, oldest first; each moment was asked of the pods that counted then."""
    scene = Scene(Prometheus(healthy))
    samples = await scene.sampler.samples(pod_groups.of_stints(DB, NEW), BEGAN, NOW, STEP)
    assert [sample.at for sample in samples] == [BEGAN + (3 + n) * STEP for n in range(18)]
    assert {name for name, _ in samples[0].values} == {"traffic", "error_ratio", "latency_p95", "latency_p99"}
    assert sorted(asked(scene), key=lambda each: each[1]) == [
        ("db-2", BEGAN + 90 * SECOND, BEGAN + 180 * SECOND),
        ("db-1|db-2", BEGAN + 210 * SECOND, BEGAN + 300 * SECOND),
        ("db-0|db-1|db-2", BEGAN + 330 * SECOND, floor(NOW, STEP)),
    ]


async def test_nothing_is_asked_while_nobody_counts() -> None:
    """Neither about a set of which nothing is known, nor about a time before its first stint."""
    scene = Scene()
    for stints in ((), NEW):
        assert await scene.sampler.samples(pod_groups.of_stints(DB, stints), BEGAN - HOUR, BEGAN, STEP) == ()
    assert scene.prometheus.queries == []


async def test_half_of_a_series_is_none() -> None:
    """A span that cannot be read makes the signal unreadable: the rest must not pass for the whole. It is told once all
    of it was answered: nothing is asked behind anybody's back.
    """

    def value(query: str, at: datetime) -> float | Fault | None:
        return DOWN if '"db-1|db-2"' in query and signal_of(query) == "error_ratio" else healthy(query, at)

    scene = Scene(Prometheus(value))
    scene.prometheus.hang = lambda query: '"db-2"' in query and signal_of(query) == "error_ratio"
    group = pod_groups.of_stints(DB, NEW)
    aligned = await scene.sampler.aligned((group,), BEGAN, NOW, STEP)
    assert aligned.faults == (DOWN,)
    assert {name for name, _ in aligned.groups[0][0].values} == {"traffic", "latency_p95", "latency_p99"}
    assert scene.prometheus.out == 0


# -- what is measured


def a_rollout(scene: Scene, *, seen: Sequence[int] = (2, 1, 0)) -> None:
    """The cluster as it is after the pods `seen` were exchanged."""
    scene.cluster.pods[DB, V1.id] = [pod(f"db-{n}", V1, created_at=BEGAN - DAY) for n in (0, 1, 2) if n not in seen]
    scene.cluster.pods[DB, V2.id] = [pod(f"db-{n}", created_at=exchange(n)) for n in seen]


async def test_the_overlap_is_read_by_stints() -> None:
    """To blame: the new pods when they were new, the old ones when they were old, never one name for both at once."""
    scene = Scene(Prometheus(healthy))
    a_rollout(scene)
    got = await scene.measured(
        workload=DB, new=V2, old=V1, since=BEGAN, rollout_started_at=BEGAN, new_stints=NEW, old_stints=OLD
    )
    assert [sample.at for sample in got.old] == [BEGAN + n * STEP for n in range(9)]
    assert got.new[0].at == BEGAN + 90 * SECOND
    assert got.before[-1].at == BEGAN - STEP
    assert got.yesterday
    assert "db-[0-9]+" in {name for name, _, _ in asked(scene)}
    assert got.missing == ()


async def test_what_the_watch_shows_ends_what_is_journalled() -> None:
    """The journal holds the old pods as running still (we were down); the pods of now tell when they ended."""
    scene = Scene(Prometheus(healthy))
    a_rollout(scene, seen=(2, 1))
    still = tuple(Stint(name=f"db-{n}", since=BEGAN - DAY) for n in (0, 1, 2))
    await scene.measured(workload=DB, new=V2, old=V1, since=BEGAN, rollout_started_at=BEGAN, old_stints=still)
    names = {name for name, _, end in asked(scene) if end > exchange(1) + WINDOW}
    assert names == {"db-0", "db-1|db-2"}


async def test_names_alone_prove_nothing_of_a_set() -> None:
    """Where only names are known, of which nobody knows when they were whose, nothing is measured: never guessed."""
    scene = Scene(Prometheus(healthy))
    names = ("db-0", "db-1", "db-2")
    got = await scene.measured(workload=DB, new=V2, old=V1, new_pods=names, old_pods=names)
    assert (got.new, got.old, got.before) == ((), (), ())
    got = await scene.measured(workload=DB, new=V2, old=None, new_pods=names, new_stints=NEW, since=BEGAN)
    assert got.new
    assert (got.old, got.before) == ((), ())


async def test_a_recovery_is_seen_of_the_pods_that_are_back() -> None:
    """After a rollback: pods of the target count a window after they were made; its baseline is from before the rollout,
    under the same names.
    """
    scene = Scene(Prometheus(healthy))
    back = BEGAN + 7 * MINUTE
    scene.cluster.pods[DB, V1.id] = [pod(f"db-{n}", V1, created_at=back) for n in (0, 1, 2)]
    got = await scene.measured(
        workload=DB,
        purpose=MeasurePurpose.RECOVERY,
        new=V1,
        old=V1,
        since=back,
        rollout_started_at=BEGAN,
        new_stints=OLD,
        old_stints=OLD,
    )
    assert (got.new[0].at, got.new[-1].at) == (back + WINDOW + STEP, floor(NOW, STEP) - STEP)
    assert len(got.before) == 10
    assert got.old == ()


# -- what is proven


async def test_a_soak_begins_a_window_after_the_exchange() -> None:
    """What the names measured before belongs to the revision before: it is neither proof nor fault of this one."""
    began = floor(NOW, STEP) - 20 * MINUTE

    def value(query: str, at: datetime) -> float | Fault | None:
        return 0.9 if signal_of(query) == "error_ratio" and at < began + WINDOW else healthy(query, at)

    scene = Scene(Prometheus(value))
    scene.cluster.pods[DB, V2.id] = [pod(f"db-{n}", created_at=began, ready_since=began) for n in (0, 1, 2)]
    scene.cluster.available = began
    got = await scene.soaked(workload=DB, since=began)
    assert got.unhealthy_at is None
    first = began + WINDOW + STEP  # the next one after the window, and a second of rounding
    assert got.healthy == got.until - first + STEP, "the first sample stands for the step before it"


async def test_a_soak_of_a_daemon_set_is_by_names() -> None:
    """Its pods' names are their own, and there is no ReplicaSet to find others by."""
    scene = Scene(Prometheus(healthy))
    scene.cluster.pods[LOGS, V2.id] = [pod("logs-bcdfg"), pod("logs-hjklm")]
    got = await scene.soaked(workload=LOGS)
    assert got.healthy > 50 * MINUTE
    assert {name for name, _, _ in asked(scene)} == {"logs-bcdfg|logs-hjklm"}


def test_a_plain_group_has_no_stints() -> None:
    """Groups by name and pattern are as they were."""
    assert PodGroup(namespace="shop", names=("a",)).stints == ()
