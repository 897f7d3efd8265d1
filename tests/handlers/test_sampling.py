"""Samples: the same moments for every group, no number that was not measured, and a bounded load on Prometheus."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from daemon.core.policy import SignalKind, SignalRule
from handlers import pod_groups
from handlers.faults import FaultKind, Permanent
from handlers.pod_groups import PodGroup
from handlers.prometheus import PODS_MAX, Matrix, render
from handlers.sampling import QUERIES_AT_ONCE, SAMPLES_MAX, SOAK_SAMPLES_MAX, floor, reason_of
from handlers.signal_sources import SOURCE_LABEL, Alternative, united
from tests.handlers.measuring_world import (
    DAY,
    DOWN,
    HOUR,
    MINUTE,
    NEW_PODS,
    NOW,
    OLD_PODS,
    SECOND,
    STEP,
    V1,
    V2,
    WEB,
    Prometheus,
    Scene,
    healthy,
    policy,
    signal_of,
)

NEW = pod_groups.of_revision(WEB, V2, NEW_PODS)
OLD = pod_groups.of_revision(WEB, V1, OLD_PODS)


async def test_groups_are_sampled_at_the_same_moments() -> None:
    """Two groups give samples at the same moments, multiples of the step, oldest first, values in the order of signals."""
    aligned = await Scene(Prometheus(healthy)).sampler.aligned((NEW, OLD), NOW - 2 * MINUTE, NOW, STEP)
    new, old = aligned.groups
    assert [sample.at for sample in new] == [sample.at for sample in old]
    assert [sample.at for sample in new] == [floor(NOW, STEP) - n * STEP for n in (3, 2, 1, 0)]
    assert new[0].values == (("traffic", 20.0), ("error_ratio", 0.001), ("latency_p95", 0.1), ("latency_p99", 0.1))
    assert aligned.faults == ()


async def test_no_data_is_no_value_and_no_sample() -> None:
    """A signal without data is absent from the sample, a moment without any has no sample: nothing is ever 0 by default."""
    gap = floor(NOW, STEP) - STEP

    def value(query: str, at: object) -> float | None:
        return None if at == gap or signal_of(query) != "traffic" else 3.0

    samples = await Scene(Prometheus(value)).sampler.samples(NEW, NOW - 2 * MINUTE, NOW, STEP)
    assert [sample.values for sample in samples] == [(("traffic", 3.0),)] * 3
    assert gap not in [sample.at for sample in samples]


async def test_nothing_is_asked_about_nobody() -> None:
    """No pods, or a range that ends before it begins: no query and no samples (an empty matcher means "without a pod")."""
    scene = Scene()
    assert await scene.sampler.samples(PodGroup(namespace="shop"), NOW - HOUR, NOW, STEP) == ()
    assert await scene.sampler.samples(NEW, NOW, NOW - SECOND, STEP) == ()
    assert scene.prometheus.queries == []


async def test_a_signal_of_several_series_is_named() -> None:
    """A template without an aggregation is an error that names the signal and the remedy."""
    scene = Scene()
    scene.prometheus.series = 3
    with pytest.raises(Permanent, match="signal traffic gives 3 series, must be one: aggregate") as caught:
        await scene.sampler.samples(NEW, NOW - MINUTE, NOW, STEP)
    assert reason_of(caught.value) == "prometheus: signal traffic gives 3 series, must be one: aggregate"
    assert reason_of(Permanent("prometheus answered 400", FaultKind.CLIENT)) == "prometheus answered 400"


async def test_one_unreadable_signal_is_left_out_of_all_groups() -> None:
    """A signal that fails for one group is in none: the old pods must not look good because nobody could look. Strictly
    read, it fails the whole.
    """

    def value(query: str, at: object) -> object:
        return DOWN if "6d4b75cb6d" in query and signal_of(query) == "latency_p95" else healthy(query, NOW)

    sampler = Scene(Prometheus(value)).sampler  # type: ignore[arg-type]
    aligned = await sampler.aligned((NEW, OLD), NOW - MINUTE, NOW, STEP)
    for group in aligned.groups:
        assert {name for name, _ in group[0].values} == {"traffic", "error_ratio", "latency_p99"}
    assert aligned.faults == (DOWN,)
    with pytest.raises(type(DOWN)):
        await sampler.samples(OLD, NOW - MINUTE, NOW, STEP)


async def test_a_mistake_of_ours_stays_one() -> None:
    """What is no fault of Prometheus is not hidden among the missing data."""
    with pytest.raises(ZeroDivisionError):
        await Scene(Prometheus(lambda query, at: 1 / 0)).sampler.aligned((NEW,), NOW - MINUTE, NOW, STEP)


async def test_few_queries_are_out_at_once() -> None:
    """All users of one sampler share a few places: Prometheus also serves dashboards and rules."""
    scene = Scene()
    sampler = scene.sampler
    await asyncio.gather(*(sampler.samples(NEW, NOW - MINUTE, NOW, STEP) for _ in range(20)))
    assert len(scene.prometheus.queries) == 20 * len(scene.policy.signals)
    assert scene.prometheus.out_most == QUERIES_AT_ONCE


async def test_rules_may_be_chosen() -> None:
    """Only the rules that are asked for are queried; the policy is the present one at each call."""
    scene = Scene()
    only = SignalRule(name="mine", kind=SignalKind.CPU, query='cpu{pod=~"$pods"}[$window]')
    (sample,) = await scene.sampler.samples(NEW, NOW - STEP, NOW, STEP, [only])
    assert sample.values == (("mine", 1.0),)
    assert scene.prometheus.queries[0][0] == 'cpu{pod=~"web-7f9c9c9c9c-[a-z0-9]{5}"}[60s]'


@pytest.mark.parametrize(
    ("span", "most", "step"),
    [
        (timedelta(0), SAMPLES_MAX, 30),
        (-HOUR, SAMPLES_MAX, 30),
        (2 * HOUR, SAMPLES_MAX, 30),
        (3 * HOUR, SAMPLES_MAX, 45),
        (DAY, SOAK_SAMPLES_MAX, 44),
    ],
)
def test_the_step(span: timedelta, most: int, step: int) -> None:
    """The policy's interval, in whole seconds, until a span would have too many samples."""
    assert Scene().sampler.step_for(span, most) == timedelta(seconds=step)
    assert span / timedelta(seconds=step) <= most


@pytest.mark.parametrize(("interval", "window", "lag"), [(30, 60, 30), (10, 60, 10), (30, 20, 10), (60, 600, 60)])
def test_what_prometheus_can_know(interval: int, window: int, lag: int) -> None:
    """The last moments are left out, half a window long, but never so long that a recovery looks stale (3 intervals)."""
    scene = Scene(sample_interval=interval * SECOND, signal_window=window * SECOND)
    assert NOW - scene.sampler.settled(NOW) == lag * SECOND
    assert NOW - floor(scene.sampler.settled(NOW), interval * SECOND) < 3 * interval * SECOND


def test_pods_of_a_revision() -> None:
    """Its ReplicaSet finds all of its pods, seen or not; names that do not come from it stand beside; nobody else's."""
    group = pod_groups.of_revision(WEB, V2, [*NEW_PODS, "web-other-1", *NEW_PODS])
    assert (group.names, group.patterns) == (("web-other-1",), ("web-7f9c9c9c9c-[a-z0-9]{5}",))
    (pattern,) = group.patterns
    assert re.fullmatch(pattern, "web-7f9c9c9c9c-abcde")
    for other in ("web-7f9c9c9c9c-abcde-x", "web-7f9c9c9c9c-0", "my-web-7f9c9c9c9c-abcde", "web-6d4b75cb6d-abcde"):
        assert not re.fullmatch(pattern, other)
    assert pod_groups.of_revision(WEB, None, NEW_PODS).empty


@pytest.mark.parametrize("owner", [None, "x" * 58])
def test_pods_of_a_revision_by_name_alone(owner: str | None) -> None:
    """Without a ReplicaSet, or one whose pods' names are cut, only the known names count, and no more than fit."""
    revision = type(V2)(id=V2.id, content="c", replica_set=owner)
    names = [f"pod-{number}" for number in range(PODS_MAX + 1)]
    group = pod_groups.of_revision(WEB, revision, names)
    assert (len(group.names), group.patterns) == (PODS_MAX, ())
    assert render("$pods", namespace="n", pods=group.names, window=MINUTE)


def test_pods_of_a_workload_on_another_day() -> None:
    """Any ReplicaSet's pods of the Deployment, but not those of one with a longer name, nor of other kinds."""
    (pattern,) = pod_groups.of_workload(WEB).patterns
    for mine in ("web-6d4b75cb6d-x7k2p", "web-58f9c4-bcdfg"):
        assert re.fullmatch(pattern, mine), mine
    others = (
        "web-admin-6d4b75cb6d-x7k2p",
        "web-admin-x7k2p",
        "web-db-x7k2p",
        "web-0",
        "web-x7k2p",
        "myweb-58f9c4d-x7k2p",
    )
    for other in (*others, "web-6d4b75cb6d-x7k2p-y", "web-29284310-x7k2p"):
        assert not re.fullmatch(pattern, other), other
    assert pod_groups.of_workload(type(WEB)(namespace="shop", kind="Deployment", name="w" * 47)).empty


def test_names_with_dots_stay_names() -> None:
    """A Deployment may have dots in its name; they match only dots, and stay escaped inside of PromQL."""
    dotted = type(WEB)(namespace="shop", kind="Deployment", name="a.b")
    group = pod_groups.of_workload(dotted)
    assert not re.fullmatch(group.patterns[0], "axb-6d4b75cb6d-x7k2p")
    text = render('{pod=~"$pods"}', namespace="n", pods=(), patterns=group.patterns, window=policy().signal_window)
    assert text.startswith('{pod=~"a\\\\.b-[')


class Sources(Prometheus):
    """Answers a united query by source: the traffic of each pod as its name, its source and the moment say."""

    def __init__(self, traffic: Callable[[str, str], float | None]) -> None:
        super().__init__()
        self.traffic = traffic

    async def query_range(self, promql: str, start: datetime, end: datetime, step: timedelta) -> Matrix:
        self.queries.append((promql, start, end, step))
        pods = "new" if str(V2.replica_set) in promql else "old"
        found = ((source, self.traffic(pods, source)) for source in ("mesh", "app"))
        return [({SOURCE_LABEL: source}, [(end, value)]) for source, value in found if value is not None]


TWO = (
    Alternative(source="mesh", query='mesh{namespace="$namespace",pod=~"$pods"}'),
    Alternative(source="app", query='app{namespace="$namespace",pod=~"$pods"}'),
)
UNITED = SignalRule(name="traffic", kind=SignalKind.TRAFFIC, query=united(TWO))


@pytest.mark.parametrize(
    ("known", "values"),
    [
        ({"new mesh": 1.0, "new app": 2.0, "old mesh": 3.0, "old app": 4.0}, (1.0, 3.0)),
        ({"new app": 2.0, "old mesh": 3.0, "old app": 4.0}, (2.0, 4.0)),
        ({"new app": 2.0, "old mesh": 3.0}, (None, 3.0)),
        ({"old app": 4.0}, (None, 4.0)),
    ],
)
async def test_groups_are_compared_by_one_source(
    known: dict[str, float], values: tuple[float | None, float | None]
) -> None:
    """New and old pods are read by the source that both have, never one by each; where there is none, one side has no data."""
    scene = Scene(Sources(lambda pods, source: known.get(f"{pods} {source}")), signals=(UNITED,))
    aligned = await scene.sampler.aligned((NEW, OLD), NOW - MINUTE, NOW, STEP)
    assert tuple(group[-1].value("traffic") if group else None for group in aligned.groups) == values
    assert len(scene.prometheus.queries) == 2
