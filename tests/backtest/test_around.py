"""What those around a workload tell of it in a recording: its callers' calls, and what reaches those it calls."""

from __future__ import annotations

from datetime import datetime, timedelta

from daemon.core.measurement import BEFORE_SAMPLES, Peer
from daemon.core.model import Workload
from handlers.backtest.around import Around
from handlers.backtest.cluster import RecordedCluster
from handlers.backtest.intervals import Sampling
from handlers.backtest.lives import workload_named
from handlers.backtest.recording import PodSeen, RolloutSeen, SampleSeen
from handlers.backtest.replay import default_policy, judged_as
from handlers.backtest.samples import SampleStore
from tests.backtest.replay_cases import FRONT, MINUTE, NOON, WEB

SAMPLING = Sampling(step=MINUTE, phase=timedelta(0))
POLICY = judged_as(default_policy(), SAMPLING)
BEGAN = NOON + 20 * MINUTE
READY = BEGAN + MINUTE
NOW = BEGAN + 10 * MINUTE


class Scene:
    """Front calls web and others. Its old pod fails none of all it does; `edge` tells what it says of its calls to web."""

    def __init__(self) -> None:
        self.samples = SampleStore(SAMPLING)
        self.cluster = RecordedCluster()
        self._told: list[SampleSeen] = []

    def pod(self, name: str, revision: str, at: datetime = NOON) -> None:
        """A ready pod of front."""
        self.cluster.pod(PodSeen(at=at, pod=name, workload=FRONT, revision=revision, ready=True))

    def rolls_out(self, at: datetime) -> None:
        """Front itself."""
        self.cluster.rollout(RolloutSeen(at=at, workload=FRONT, revision="2", replaces="1", phase="started"))

    def says(
        self, pod: str | None, errors: float, traffic: float, *, peer: str | None = None, turn: bool = True
    ) -> None:
        """Each minute: so many of its requests per second fail from READY on (`turn`), and none before."""
        moments = [NOON + number * MINUTE for number in range(31)]
        for at in moments:
            share = errors if at > READY or not turn else 0.0
            for signal, value in (("error_ratio", share), ("traffic_rate", traffic)):
                self._told.append(
                    SampleSeen(
                        at=at, signal=signal, workload=FRONT, pod=pod, peer=peer, value=value,
                        direction="outbound" if peer else None,
                    )
                )  # fmt: skip

    def caller(self) -> Peer:
        """What front tells of web."""
        self.tell()
        (found,) = self.around.callers(WEB, (workload_named(FRONT),), BEGAN, (READY,), NOW)
        return found

    def tell(self) -> None:
        """In time order."""
        for sample in sorted(self._told, key=lambda each: each.at):
            self.samples.add(sample)

    @property
    def around(self) -> Around:
        return Around(self.samples, self.cluster, POLICY)


def values(peer: Peer) -> list[dict[str, float] | None]:
    """Before, now, until and first."""
    told = (peer.before, peer.now, *(peer.since or (None, None)))
    return [None if sample is None else dict(sample.values) for sample in told]


def test_a_caller_is_told_by_its_calls_where_these_are_known() -> None:
    """What else it calls fails, and is left out."""
    scene = Scene()
    scene.pod("front-1", "1")
    scene.says("front-1", 0.9, 50.0)
    scene.says("front-1", 0.2, 10.0, peer=WEB)
    scene.says("front-1", 0.9, 40.0, peer="shop/Deployment/other")
    found = scene.caller()
    well, fails = ({"error_ratio": errors, "traffic_rate": 10.0} for errors in (0.0, 0.2))
    assert (found.kept, values(found)) == (False, [well, fails, well, fails])


def test_else_by_all_it_does() -> None:
    """Its totals where it has them."""
    scene = Scene()
    scene.pod("front-1", "1")
    scene.says(None, 0.2, 50.0)
    scene.says("front-1", 0.9, 1.0)
    found = scene.caller()
    assert values(found)[1] == {"error_ratio": 0.2, "traffic_rate": 50.0}


def test_a_caller_that_is_rolled_out_is_told_by_the_pods_it_had() -> None:
    """Its new ones may fail by their own doing; what is asked is what all of them ask."""
    scene = Scene()
    scene.pod("front-1", "1")
    scene.rolls_out(BEGAN)
    scene.pod("front-2", "2", BEGAN)
    for pod, errors in (("front-1", 0.2), ("front-2", 0.9)):
        scene.says(pod, errors, 10.0, peer=WEB)
    found = scene.caller()
    assert (found.kept, values(found)[1]) == (True, {"error_ratio": 0.2, "traffic_rate": 20.0})


def test_of_all_it_does_a_caller_that_is_rolled_out_tells_no_demand() -> None:
    """Its new revision may do more or less; and its totals hold both, so they are left out."""
    scene = Scene()
    scene.pod("front-1", "1")
    scene.rolls_out(BEGAN)
    scene.pod("front-2", "2", BEGAN)
    scene.says(None, 0.5, 50.0)
    for pod, errors in (("front-1", 0.2), ("front-2", 0.9)):
        scene.says(pod, errors, 10.0)
    found = scene.caller()
    assert (found.kept, values(found)[1]) == (True, {"error_ratio": 0.2})


def test_long_ago_it_is_as_if_it_had_never_been() -> None:
    """A rollout from before the blame window that is over."""
    scene = Scene()
    scene.pod("front-1", "2")
    scene.cluster.rollout(
        RolloutSeen(at=NOW - 2 * POLICY.blame_window, workload=FRONT, revision="2", replaces="1", phase="completed")
    )
    scene.says("front-1", 0.2, 10.0, peer=WEB)
    found = scene.caller()
    assert (found.kept, values(found)[1]) == (False, {"error_ratio": 0.2, "traffic_rate": 10.0})


def test_of_several_turns_the_one_counts_at_which_it_got_worst() -> None:
    """When the first new pods were ready, or when the last ones were."""
    scene = Scene()
    scene.says("front-1", 0.2, 10.0, peer=WEB)
    scene.tell()
    front = workload_named(FRONT)
    for turns in ((READY - 6 * MINUTE, READY), (READY, READY + 5 * MINUTE)):
        (found,) = scene.around.callers(WEB, (front,), BEGAN, turns, NOW)
        assert [each and each["error_ratio"] for each in values(found)[2:]] == [0.0, 0.2]


def test_of_whom_nothing_is_recorded_nothing_is_known() -> None:
    """Not even that there is such a workload."""
    unknown = Workload(namespace="shop", kind="Deployment", name="nobody")
    (found,) = Scene().around.callers(WEB, (unknown,), BEGAN, (READY,), NOW)
    assert values(found) == [None] * 4
    assert not found.kept


def test_what_reaches_a_callee_is_what_it_tells_of_its_caller() -> None:
    """Whoever of the caller's pods it comes from, heard or not."""
    samples = SampleStore(SAMPLING)
    for number in range(31):
        for peer, rate in ((FRONT, 10.0 if number <= 20 else 5.0), ("shop/Deployment/other", 99.0)):
            at = NOON + number * MINUTE
            samples.add(
                SampleSeen(
                    at=at, signal="traffic_rate", workload=WEB, pod="web-1", peer=peer, direction="inbound", value=rate
                )
            )
    around = Around(samples, RecordedCluster(), POLICY)
    (found,) = around.callees(FRONT, (workload_named(WEB),), BEGAN, NOW)
    assert values(found)[:2] == [{"traffic_rate": 10.0}, {"traffic_rate": 5.0}]
    assert BEFORE_SAMPLES == 10
