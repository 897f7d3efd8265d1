"""A StatefulSet is rolled out under a Prometheus that scrapes it: the stand-in, and the real one."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest

from daemon.core.actions import Measured
from daemon.core.contrast import Contrast, contrast_of
from daemon.core.measurement import Measurement
from daemon.core.model import Revision, RevisionId, Rollout, Stint, Workload
from daemon.core.stints import settled
from deploy.sandbox.monitoring.start import Kind
from deploy.sandbox.services import Load, SampleServices
from handlers.cache import PodSeen
from handlers.outbound.measure import MeasureRunner
from handlers.pod_groups import PodGroup
from handlers.prometheus import PrometheusClient
from handlers.sampling import Sampler, floor
from tests.handlers.measuring_world import SECOND, Cluster, measure, pod, policy
from tests.handlers.test_measure_world import KINDS, Now, errors, until, watched

DB = Workload(namespace="shop", kind="StatefulSet", name="db")
V1 = Revision(id=RevisionId("h1"), content="c1", number=1)
V2 = Revision(id=RevisionId("h2"), content="c2", number=2)
NAMES = ("db-0", "db-1", "db-2")
POLICY = policy(sample_interval=SECOND, signal_window=2 * SECOND)


@dataclass
class Set:
    """Three pods of v1, which are exchanged for v2 (four requests of five fail) one after the other, as asked."""

    services: SampleServices = field(default_factory=lambda: SampleServices(seed=1))
    cluster: Cluster = field(default_factory=Cluster)
    made: dict[Revision, list[Stint]] = field(default_factory=lambda: {V1: [], V2: []})
    pods: dict[str, PodSeen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.services.load("shop", "db", Load(requests_per_second=300))
        self.services.fault(image="db:v2", error_ratio=0.8)
        for name in NAMES:
            self._make(name, V1)
        self.began = Now().now()

    def exchange(self, name: str) -> None:
        self.services.pod_gone("shop", name)
        self._make(name, V2)

    def _make(self, name: str, revision: Revision) -> None:
        now = Now().now()
        at = f"10.{revision.number}.0.{NAMES.index(name) + 1}"
        self.services.pod_ready("shop", name, app="db", image=f"db:v{revision.number}", ip=at)
        self.made[revision].append(Stint(name=name, since=now))
        self.pods[name] = pod(name, revision, created_at=now, ready_since=now)
        self.cluster.pods = {(DB, r.id): [p for p in self.pods.values() if p.revision == r.id] for r in (V1, V2)}

    def journalled(self) -> dict[RevisionId, tuple[Stint, ...]]:
        """As the rollout keeps them."""
        return settled({revision.id: stints for revision, stints in self.made.items()})

    async def measured(self, client: PrometheusClient, *, names: tuple[str, ...] = ()) -> Measurement:
        stints = self.journalled()
        action = measure(
            workload=DB, new=V2, old=V1, since=self.began, rollout_started_at=self.began, onset=self.began,
            new_pods=names, old_pods=names, new_stints=stints[V2.id], old_stints=stints[V1.id],
        )  # fmt: skip
        result = (await MeasureRunner(Sampler(client, lambda: POLICY), self.cluster, None, Now()).run(action)).result
        assert isinstance(result, Measured)
        return result.measurement

    def contrast(self, found: Measurement) -> Contrast:
        rollout = Rollout(workload=DB, replaced=V1, revision=V2, started_at=self.began, seen_at=self.began)
        return contrast_of(found, rollout, POLICY)


async def by_name_alone(client: PrometheusClient, since: datetime, new: tuple[str, ...]) -> list[list[float]]:
    """The error ratios that the names of both revisions have, without regard to when they were whose."""
    sampler, now = Sampler(client, lambda: POLICY), Now().now()
    groups = [PodGroup(namespace="shop", names=names) for names in (new, NAMES)]
    aligned = await sampler.aligned(groups, since, sampler.settled(now), SECOND)
    return [errors(samples) for samples in aligned.groups]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_set_that_is_half_rolled_out(kind: Kind, tmp_path: Path) -> None:
    """While web-2 is new and the others are old, the new one is convicted by what it did since it was exchanged, and the
    old ones have not one bad sample. When all are exchanged, the overlap is read back: still convicted. By their names
    both revisions were healthy before the exchange and bad after it, which tells nothing of either.
    """
    there = Set()

    async def steady() -> Measurement:
        return await there.measured(client)

    async with watched(kind, tmp_path, there.services) as client:
        await until(steady, lambda found: len(found.old) >= 3)
        there.exchange("db-2")
        half = Now().now()
        found = await until(steady, lambda found: there.contrast(found).convicts(POLICY))
        assert found.missing == ()
        assert min(errors(found.new)) > 0.6
        assert max(errors(found.old)) < 0.01
        assert found.new[0].at >= half + POLICY.signal_window
        there.exchange("db-1")
        second = Now().now()
        await until(steady, lambda found: found.new[-1].at >= second + POLICY.signal_window)
        there.exchange("db-0")
        done = Now().now()
        found = await until(steady, lambda found: bool(found.new) and found.new[-1].at > done + 4 * SECOND)
        assert there.contrast(found).convicts(POLICY), "the time in which both served is read back"
        assert max(errors(found.old)) < 0.01
        assert floor(done, SECOND) - SECOND <= found.old[-1].at <= done
        new, old = await by_name_alone(client, done + 3 * SECOND, NAMES)
        assert min(new) > 0.6
        assert new == old, "by its names the old revision fails as the new one does"
        new, _ = await by_name_alone(client, there.began, ("db-2",))
        assert min(new) < 0.01, "by its name the new pod was healthy once: as the old one"
