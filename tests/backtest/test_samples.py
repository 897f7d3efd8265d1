"""What the samples of several pods, edges and moments amount to."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from daemon.core.measurement import Sample
from handlers.backtest.cluster import RecordedCluster
from handlers.backtest.intervals import Sampling
from handlers.backtest.lives import workload_named
from handlers.backtest.recording import PodSeen, RolloutSeen, SampleSeen
from handlers.backtest.samples import FORGOTTEN_AFTER, SampleStore
from handlers.call_graph import HOPS_MAX, CallGraph
from tests.backtest.replay_cases import FRONT, MINUTE, NOON, WEB

DAY = timedelta(days=1)


def a_sample(
    signal: str,
    value: float | None,
    pod: str | None,
    weight: float | None = None,
    *,
    at: datetime = NOON,
    direction: str | None = None,
) -> SampleSeen:
    return SampleSeen(
        at=at,
        signal=signal,
        workload=WEB,
        pod=pod,
        value=value,
        weight=weight,
        direction=direction,  # type: ignore[arg-type]
        peer=FRONT if direction else None,
    )


def stored(*samples: SampleSeen) -> SampleStore:
    store = SampleStore(Sampling(step=MINUTE, phase=timedelta(0)))
    for each in samples:
        store.add(each)
    return store


def one(*samples: SampleSeen) -> Sample:
    """All pods of one moment."""
    (found,) = stored(*samples).of(WEB, "x", lambda pod, at: True, NOON, NOON)
    return found


@pytest.mark.parametrize(
    ("signal", "first", "second", "together"),
    [
        ("error_ratio", (0.1, 900.0), (0.5, 100.0), 0.14),
        ("error_ratio", (0.1, None), (0.5, 100.0), 0.3),
        ("latency_seconds", (0.1, 300.0), (0.5, 100.0), 0.2),
        ("traffic_rate", (3.0, None), (4.0, None), 7.0),
        ("cpu_ratio", (0.2, None), (0.9, None), 0.9),
        ("memory_ratio", (0.9, None), (0.2, None), 0.9),
    ],
)
def test_pods_are_joined_as_the_page_says(
    signal: str, first: tuple[float, float | None], second: tuple[float, float | None], together: float
) -> None:
    """Ratios and latencies by their requests (equally where one does not tell them), traffic summed, saturation the worst."""
    found = one(a_sample(signal, first[0], "a", first[1]), a_sample(signal, second[0], "b", second[1]))
    assert found.value(signal) == pytest.approx(together)
    assert found.pods == 2


def test_null_and_unknown_signals_are_no_values() -> None:
    """A pod that has nothing else is not there."""
    store = stored(a_sample("error_ratio", None, "a"), a_sample("queue_depth", 4.0, "a"))
    assert store.of(WEB, "x", lambda pod, at: True, NOON, NOON) == ()


def test_edges_count_where_a_pod_has_no_number_of_all_its_traffic() -> None:
    """Inbound ones are joined by their requests; outbound ones are a signal of their own."""
    edges = [a_sample("error_ratio", value, "a", 100.0, direction="inbound") for value in (0.1, 0.3)]
    outbound = a_sample("error_ratio", 0.7, "a", 100.0, direction="outbound")
    found = one(*edges, outbound)
    assert found.value("error_ratio") == pytest.approx(0.2)
    assert found.value("error_ratio_outbound") == pytest.approx(0.7)
    whole = one(*edges, a_sample("error_ratio", 0.9, "a", 10.0))
    assert whole.value("error_ratio") == pytest.approx(0.9)


def test_the_workloads_own_total_goes_before_its_pods() -> None:
    """Where it has one; its pods together otherwise."""
    pods = [a_sample("traffic_rate", 3.0, name) for name in "ab"]
    (together,) = stored(*pods).whole(WEB, NOON, NOON)
    (total,) = stored(*pods, a_sample("traffic_rate", 5.0, None)).whole(WEB, NOON, NOON)
    assert (together.value("traffic_rate"), total.value("traffic_rate")) == (6.0, 5.0)


def test_traffic_is_had_from_the_requests_where_it_is_not_recorded() -> None:
    """120 requests in a minute are two a second; without weights nothing is known."""
    assert one(a_sample("error_ratio", 0.0, "a", 120.0)).value("traffic_rate") == pytest.approx(2.0)
    assert one(a_sample("error_ratio", 0.0, "a")).value("traffic_rate") is None


def test_of_a_pod_that_is_not_warm_only_the_traffic_counts() -> None:
    """Its latency and its errors are those of every start."""
    store = stored(a_sample("traffic_rate", 3.0, "a"), a_sample("latency_seconds", 2.0, "a"))
    (found,) = store.of(WEB, "x", lambda pod, at: True, NOON, NOON, warm=lambda pod, at: False)
    assert dict(found.values) == {"traffic_rate": 3.0}


def test_what_comes_late_for_the_present_moment_still_counts() -> None:
    """A moment is only remembered when it is past: another pod's sample of it may follow."""
    store = stored(a_sample("traffic_rate", 3.0, "a"))
    assert store.of(WEB, "x", lambda pod, at: True, NOON, NOON)[0].value("traffic_rate") == 3.0
    store.add(a_sample("traffic_rate", 4.0, "b"))
    assert store.of(WEB, "x", lambda pod, at: True, NOON, NOON)[0].value("traffic_rate") == 7.0


def test_what_was_forgotten_is_made_anew() -> None:
    """A month of joined samples does not stay in memory; whoever asks for old ones gets what they always were."""
    store = stored(a_sample("traffic_rate", 3.0, "a"), a_sample("traffic_rate", 4.0, "a", at=NOON + MINUTE))

    def asked(wanted: bool) -> list[float | None]:
        found = store.of(WEB, "x", lambda pod, at: wanted, NOON, NOON + MINUTE)
        return [each.value("traffic_rate") for each in found]

    store.add(a_sample("traffic_rate", 5.0, "b", at=NOON + 2 * MINUTE))
    assert asked(True) == [3.0, 4.0]
    assert asked(False) == [3.0, 4.0]  # remembered
    for hours in range(1, 3):
        store.add(a_sample("traffic_rate", 5.0, "b", at=NOON + hours * FORGOTTEN_AFTER))
    assert asked(False) == []
    store = stored(
        a_sample("traffic_rate", 3.0, "a"), a_sample("traffic_rate", 4.0, "a", at=NOON + FORGOTTEN_AFTER * 2)
    )
    assert asked(True) == [3.0]


def test_samples_are_found_by_their_moments() -> None:
    """Both ends of a span count, gaps are gaps, and what comes out of order is put into it."""
    store = stored(
        *(a_sample("traffic_rate", float(minute), None, at=NOON + minute * MINUTE) for minute in (5, 1, 9, 3))
    )
    found = store.whole(WEB, NOON + MINUTE, NOON + 5 * MINUTE)
    assert [each.value("traffic_rate") for each in found] == [1.0, 3.0, 5.0]
    assert store.whole(FRONT, NOON, NOON + DAY) == ()


def test_only_workloads_that_exchange_pods_are_looked_at_again() -> None:
    """Those of which a rollout was told and whose new pods are not all ready, as of the last record."""
    cluster = RecordedCluster()

    def pod(name: str, revision: str, *, ready: bool, minute: int, deleted: bool = False) -> None:
        at = NOON + minute * MINUTE
        cluster.pod(PodSeen(at=at, pod=name, workload=WEB, revision=revision, ready=ready, deleted=deleted))

    pod("a", "old", ready=False, minute=0)
    assert list(cluster.exchanging()) == []
    cluster.rollout(RolloutSeen(at=NOON, workload=WEB, revision="new", replaces="old", phase="started"))
    assert list(cluster.exchanging()) == []
    pod("b", "new", ready=False, minute=1)
    assert list(cluster.exchanging()) == [WEB] == list(cluster.exchanging())
    pod("b", "new", ready=True, minute=2)
    assert list(cluster.exchanging()) == []
    pod("c", "new", ready=False, minute=3)
    assert list(cluster.exchanging()) == [WEB]
    pod("c", "new", ready=False, minute=4, deleted=True)
    assert list(cluster.exchanging()) == []


def test_the_call_graph_is_walked_a_few_calls_far() -> None:
    """Nearest first, each once; a workload that calls itself is no neighbour; rings end."""
    graph = CallGraph()
    names = [f"shop/Deployment/s{number}" for number in range(HOPS_MAX + 2)]
    for caller, callee in pairwise(names):
        graph.add(caller, callee)
    graph.add(names[2], names[0])
    graph.add(names[0], names[0])
    near = graph.near([workload_named(names[0])])
    assert [(each.workload.key, each.hops, each.called) for each in near] == [
        (names[1], 1, True),
        (names[2], 1, False),
        (names[3], 3, True),
    ]
    assert graph.near([workload_named("shop/Deployment/alone")]) == ()
