"""Measure: what is read, over which times, and that what cannot be read is named and takes nothing else with it."""

from __future__ import annotations

from datetime import datetime

import pytest

from daemon.core.actions import MeasurePurpose
from daemon.core.contrast import contrast_of
from daemon.core.measurement import BEFORE_SAMPLES, LOOK_BACK_MAX
from daemon.core.model import AlertStatus, Rollout, StartFailure, StartFailureKind, Workload
from daemon.runtime.dispatch import ATTEMPT_SECONDS
from handlers.faults import Fault, FaultKind, Transient
from handlers.outbound.measure import PART_SECONDS, RECENT_SAMPLES, MeasureRunner
from handlers.sampling import floor
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
    Alertmanager,
    Prometheus,
    Scene,
    alert,
    healthy,
    measure,
    pod,
    signal_of,
)

CART = Workload(namespace="shop", kind="Deployment", name="cart")
BOARD = Workload(namespace="shop", kind="Deployment", name="board")
PEERS = (CART, BOARD)
RECOVERY = MeasurePurpose.RECOVERY
BEGAN = NOW - 10 * MINUTE


def with_peers(scene: Scene) -> Scene:
    for peer in PEERS:
        scene.cluster.pods[peer, V1.id] = [pod(f"{peer.name}-1")]
    return scene


async def test_all_parts() -> None:
    """Both sides at the same moments since the rollout began, up to what Prometheus can know; ten samples before; the
    same time yesterday; the peers before and now.
    """
    scene = with_peers(Scene(Prometheus(healthy)))
    got = await scene.measured(peers=PEERS)
    assert (got.at, got.missing) == (NOW, ())
    assert [sample.at for sample in got.new] == [sample.at for sample in got.old]
    assert got.new[0].at == floor(BEGAN, STEP) + STEP
    assert got.new[-1].at == floor(NOW - STEP, STEP)
    assert (len(got.before), got.before[-1].at) == (BEFORE_SAMPLES - 1, floor(BEGAN - STEP, STEP))
    assert got.yesterday[-1].at == floor(NOW - STEP - DAY, STEP)
    assert [peer.workload for peer in got.peers] == list(PEERS)
    for peer in got.peers:
        assert peer.before is not None
        assert peer.now is not None
        assert peer.before.at < measure().onset < peer.now.at
        assert {name for name, _ in peer.now.values} == {"traffic", "error_ratio"}


async def test_the_number_of_queries() -> None:
    """To blame 4 per signal and 4 per peer, to see a recovery 2 per signal: as the module says."""
    scene = with_peers(Scene())
    await scene.measured(peers=PEERS)
    assert len(scene.prometheus.queries) == 4 * 4 + 4 * len(PEERS)
    scene = Scene()
    await scene.measured(purpose=RECOVERY)
    assert len(scene.prometheus.queries) == 2 * 4


async def test_the_overlap_is_read_back() -> None:
    """When the rollout is complete and no old pod is left, the minutes in which both served are still compared, for old
    pods that were journalled and for those that nobody listed.
    """
    over = BEGAN + 3 * MINUTE

    def value(query: str, at: datetime) -> float | None:
        if "6d4b75cb6d" in query:
            return healthy(query, at) if at <= over else None  # type: ignore[return-value]
        return {"error_ratio": 0.4, "traffic": 20.0}.get(signal_of(query))

    scene = Scene(Prometheus(value))
    scene.cluster.pods[WEB, V2.id] = [pod(NEW_PODS[0])]
    for known in (OLD_PODS, ()):
        got = await scene.measured(old_pods=known)
        rollout = Rollout(workload=WEB, replaced=V1, revision=V2, started_at=BEGAN, seen_at=BEGAN, completed_at=over)
        contrast = contrast_of(got, rollout, scene.policy)
        assert contrast.pairs == 6
        assert contrast.convicts(scene.policy)


async def test_the_moment_that_is_not_settled_stands_apart() -> None:
    """The newest moment is read with the others, and kept apart from what is settled; not to see a recovery."""
    got = await Scene(Prometheus(healthy)).measured()
    assert got.unsettled is not None
    new, old = got.unsettled
    assert new.at == old.at == floor(NOW, STEP)
    assert got.new[-1].at == got.old[-1].at == floor(NOW, STEP) - STEP
    assert (await Scene(Prometheus(healthy)).measured(purpose=RECOVERY)).unsettled is None


async def test_a_side_that_is_silent_is_no_pair() -> None:
    """Where only one side has said something of the newest moment there is nothing to compare."""

    def value(query: str, at: datetime) -> float | None:
        silent = at > NOW - STEP and "6d4b75cb6d" in query
        return None if silent else healthy(query, at)  # type: ignore[return-value]

    assert (await Scene(Prometheus(value)).measured()).unsettled is None


async def test_names_come_from_the_journal_and_from_the_watch() -> None:
    """Pods known by name alone, journalled or seen now, are in the query; the ReplicaSet's need no names."""
    nameless = type(V2)(id=V2.id, content="c")
    scene = Scene()
    scene.cluster.pods[WEB, V2.id] = [pod("seen"), pod("both")]
    await scene.measured(new=nameless, new_pods=("journalled", "both"))
    query = scene.prometheus.queries[0][0]
    assert 'pod=~"both|journalled|seen"' in query
    assert 'namespace="shop"' in query


async def test_a_long_rollout_is_read_with_longer_steps() -> None:
    """At most two hours back, with at most 240 samples, on both sides alike."""
    scene = Scene(Prometheus(healthy), sample_interval=10 * SECOND)
    got = await scene.measured(since=NOW - 5 * HOUR, rollout_started_at=NOW - 5 * HOUR)
    assert len(got.new) == len(got.old) <= 240
    assert got.new[0].at >= NOW - LOOK_BACK_MAX - MINUTE


async def test_a_recovery_looks_at_what_serves_now() -> None:
    """The last ten samples of the serving revision and the baseline before the rollout; neither old pods nor yesterday."""
    scene = Scene(Prometheus(healthy))
    got = await scene.measured(purpose=RECOVERY, new=V1, old=V1, since=NOW - HOUR)
    assert (got.old, got.yesterday) == ((), ())
    assert 1 < len(got.new) <= RECENT_SAMPLES + 1
    assert NOW - got.new[-1].at < 3 * STEP
    assert got.before, "after a rollback the old pods of that time are found by their ReplicaSet"


async def test_a_prometheus_that_is_down_is_one_line() -> None:
    """No signal at all, one line with all that it concerns, and the pods and alerts are still told."""
    scene = with_peers(Scene(Prometheus(lambda query, at: DOWN)))
    scene.alertmanager = Alertmanager(alert())
    scene.cluster.failure = StartFailure(
        kind=StartFailureKind.CRASH, pods=("p",), restarts=3, since=NOW, message="exit code 1"
    )
    killed = [pod("b", ready_since=None, restarts=3, last_restart_at=NOW), pod("c", last_restart_at=NOW - MINUTE)]
    scene.cluster.pods[WEB, V2.id] = [pod("a"), *killed]
    got = await scene.measured(peers=PEERS, alerts=(alert(),))
    assert (got.new, got.old, got.before, got.yesterday) == ((), (), (), ())
    assert all(peer.before is None and peer.now is None for peer in got.peers)
    assert got.missing == (f"{DOWN.reason} (before the rollout, new and old pods, peers, yesterday)",)
    assert got.start_failure is scene.cluster.failure
    assert (got.new_ready, got.new_pods, got.restarts, got.restarted_at) == (2, 3, 3, NOW)
    assert [state.status for state in got.alerts] == [AlertStatus.FIRING]


async def test_old_pods_that_restart_are_told_apart_from_those_that_did_before() -> None:
    """What hits both revisions is no revision's fault; what an old pod did before the rollout is not of it."""
    scene, began = Scene(Prometheus(healthy)), NOW - 10 * MINUTE
    for restarted, told in ((None, 0), (began - MINUTE, 0), (began, 1), (NOW, 1)):
        scene.cluster.pods[WEB, V1.id] = [pod("old", V1, restarts=4, last_restart_at=restarted), pod("fine", V1)]
        assert (await scene.measured(rollout_started_at=began)).old_restarts == told


async def test_new_pods_that_were_killed_for_their_memory_are_counted() -> None:
    """Pods, not kills: one that is killed again and again may be the only one on a node that has no memory left."""
    scene = Scene(Prometheus(healthy))
    scene.cluster.pods[WEB, V2.id] = [pod("a", restarts=5, oom_killed=True), pod("b"), pod("c", oom_killed=True)]
    scene.cluster.pods[WEB, V1.id] = [pod("old", V1, oom_killed=True)]
    assert (await scene.measured()).killed == 2


@pytest.mark.parametrize(
    ("part", "marks"),
    [
        ("yesterday", "{6,10}"),
        ("before the rollout", None),
        ("peers", "cart-1"),
    ],
)
async def test_one_part_that_fails_takes_no_other_with_it(part: str, marks: str | None) -> None:
    """A failing yesterday, baseline or peer loses only itself, and is named."""

    def value(query: str, at: datetime) -> float | Fault | None:
        before = marks is None and at < BEGAN and "{6,10}" not in query and "web" in query
        return DOWN if before or (marks is not None and marks in query) else healthy(query, at)

    got = await with_peers(Scene(Prometheus(value))).measured(peers=PEERS)
    assert got.missing == (f"{DOWN.reason} ({part})",)
    assert got.new
    assert len(got.new) == len(got.old)
    assert bool(got.yesterday) is (part != "yesterday")
    assert bool(got.before) is (part != "before the rollout")
    cart, board = got.peers
    assert (cart.now is None, board.now is None) == (part == "peers", False)


async def test_a_slow_signal_does_not_lose_the_contrast() -> None:
    """Where the quantiles cannot be read, errors and traffic still convict; the recovery trusts nothing in part."""
    busy = Transient(None, "prometheus answered 503: query timed out", FaultKind.SERVER)

    def value(query: str, at: datetime) -> float | Fault | None:
        return busy if signal_of(query).startswith("latency") else healthy(query, at)

    got = await Scene(Prometheus(value)).measured()
    assert {name for sample in (*got.new, *got.old) for name, _ in sample.values} == {"traffic", "error_ratio"}
    assert got.missing == (f"{busy.reason} (before the rollout, new and old pods, yesterday)",)
    got = await Scene(Prometheus(value)).measured(purpose=RECOVERY)
    assert (got.new, got.missing) == ((), (f"{busy.reason} (before the rollout, signals)",))


async def test_a_part_that_hangs_is_given_up() -> None:
    """Within the time of one attempt the measurement is there, without the part that never answered."""
    scene = Scene(Prometheus(healthy))
    scene.prometheus.hang = lambda query: "{6,10}" in query
    got = await scene.measured()
    assert got.missing == (f"prometheus: no answer within {PART_SECONDS:.0f} s (yesterday)",)
    assert got.new


async def test_no_data_is_not_missing() -> None:
    """An answer without series is an answer: no samples, nothing named as unreadable."""
    got = await Scene(Prometheus(lambda query, at: None)).measured()
    assert (got.new, got.before, got.missing) == ((), (), ())


async def test_without_revisions() -> None:
    """A workload nobody rolled out is measured by its alerts alone."""
    got = await Scene().measured(new=None, new_pods=(), old=None, old_pods=())
    assert (got.new, got.old, got.before, got.new_pods) == ((), (), (), 0)


@pytest.mark.parametrize(
    ("listed", "complete", "states", "missing"),
    [
        ([AlertStatus.FIRING], True, [AlertStatus.FIRING, AlertStatus.RESOLVED], False),
        ([AlertStatus.FIRING], False, [AlertStatus.FIRING], True),
        ([AlertStatus.SUPPRESSED, AlertStatus.SUPPRESSED], False, [AlertStatus.SUPPRESSED] * 2, False),
        ([], True, [AlertStatus.RESOLVED] * 2, False),
        ([], False, [], True),
    ],
)
async def test_alerts(listed: list[AlertStatus], complete: bool, states: list[AlertStatus], missing: bool) -> None:
    """Gone only where a whole list lacks it; suppressed is neither firing nor gone; what is not known is named."""
    scene = Scene()
    known = [alert(f"f{number}", status) for number, status in enumerate(listed)]
    scene.alertmanager = Alertmanager(*known, complete=complete)
    got = await scene.measured(alerts=(alert("f0"), alert("f1")))
    assert [state.status for state in got.alerts] == states
    assert bool(got.missing) is missing
    assert all(line.startswith("alertmanager: ") for line in got.missing)


async def test_an_alertmanager_that_cannot_be_asked() -> None:
    """Down or not configured: no state of any alert, and it is said why."""
    scene = Scene()
    assert scene.alertmanager is not None
    scene.alertmanager.answer = Transient(None, "no answer", FaultKind.TIMEOUT)
    got = await scene.measured(alerts=(alert(),))
    assert (got.alerts, got.missing) == ((), ("alertmanager: no answer (alerts)",))
    scene.alertmanager = None
    got = await scene.measured(alerts=(alert(),))
    assert (got.alerts, got.missing) == ((), ("alertmanager: no address is configured (alerts)",))
    assert (await scene.measured()).missing == ()


@pytest.mark.parametrize(
    ("new", "peers", "failed"),
    [
        ([("n1", False)], [("n1", False), ("n1", False), ("n1", True)], ("n1",)),
        ([("n1", False)], [("n1", False), ("n1", True)], ()),
        ([("n1", False)], [("n2", False)], ()),
        ([("n1", False), ("n2", False)], [("n1", False), ("n2", True)], ()),
        ([("n1", False), ("n2", True)], [("n1", False), ("n2", True)], ("n1",)),
        ([("n1", True)], [("n1", False)], ()),
        ([(None, False)], [(None, False)], ()),
    ],
)
async def test_failed_nodes(
    new: list[tuple[str | None, bool]], peers: list[tuple[str | None, bool]], failed: tuple[str, ...]
) -> None:
    """Nodes are to blame where all failing new pods are on nodes on which most pods of others fail too."""
    scene = Scene()
    for owner, places in ((WEB, new), (CART, peers)):
        scene.cluster.pods[owner, V2.id] = [
            pod(f"{owner.name}-{number}", node=node, ready_since=NOW if ready else None)
            for number, (node, ready) in enumerate(places)
        ]
    assert (await scene.measured(peers=(CART,))).failed_nodes == failed


async def test_terminating_pods_do_not_serve() -> None:
    """Pods on their way out count neither as ready nor as pods of the revision."""
    scene = Scene()
    scene.cluster.pods[WEB, V2.id] = [pod("a"), pod("b", terminating=True)]
    scene.cluster.pods[WEB, V1.id] = [pod("c", V1, terminating=True), pod("d", V1)]
    got = await scene.measured()
    assert (got.new_ready, got.new_pods, got.old_ready) == (1, 1, 1)


async def test_looking_is_done_again() -> None:
    """A measurement that was begun before a crash is simply repeated."""
    scene = Scene()
    runner = MeasureRunner(scene.sampler, scene.cluster, None, scene.hands)
    assert await runner.probe(measure()) is None


def test_the_budget_fits_into_an_attempt() -> None:
    """A part that hangs is given up before the dispatcher gives up the whole measurement."""
    assert ATTEMPT_SECONDS["measure"] / 2 >= PART_SECONDS
