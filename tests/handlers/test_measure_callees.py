"""Measure: whom a workload calls, where its old and new pods are bad alike, and nowhere else."""

from __future__ import annotations

from datetime import datetime

import pytest

from daemon.core.actions import MeasurePurpose
from daemon.core.model import Workload
from daemon.core.silence import CALLERS_MAX
from handlers.call_graph import CallGraph
from handlers.faults import Fault
from tests.handlers.measuring_world import MINUTE, NOW, V1, V2, WEB, Prometheus, Scene, healthy, pod, signal_of

BEGAN = NOW - 10 * MINUTE
DBS = [Workload(namespace="shop", kind="Deployment", name=f"db{number}") for number in range(CALLERS_MAX + 1)]


def scene_of(*bad: str) -> Scene:
    """Web calls the databases; pods whose names hold one of `bad` fail half of all requests since the rollout."""

    def value(query: str, at: datetime) -> float | Fault | None:
        failing = signal_of(query) == "error_ratio" and at > BEGAN and any(each in query for each in bad)
        return 0.5 if failing else healthy(query, at)

    scene = Scene(Prometheus(value))
    scene.calls = CallGraph([(WEB, db) for db in DBS])
    for revision in (V1, V2):
        scene.cluster.pods[WEB, revision.id] = [pod(f"{revision.replica_set}-x", revision)]
    for db in DBS:
        scene.cluster.pods[db, V1.id] = [pod(f"{db.name}-x", V1)]
    return scene


async def test_callees_of_pods_that_are_bad_alike_are_measured() -> None:
    """Six at most, before the onset and now: the first of them fails, too."""
    measured = await scene_of("web-", "db0-").measured()
    assert [peer.workload for peer in measured.below] == DBS[:CALLERS_MAX]
    told = [(peer.before, peer.now) for peer in measured.below]
    errors = [
        [sample.value("error_ratio") if sample is not None else None for sample in (before, now)]
        for before, now in told
    ]
    assert errors == [[0.001, 0.5], *([0.001, 0.001],) * (CALLERS_MAX - 1)]


@pytest.mark.parametrize("bad", [(), ("web-7f9c9c9c9c",), ("web-6d4b75cb6d",)], ids=["none", "new", "old"])
async def test_nobody_is_asked_where_they_are_not_bad_alike(bad: tuple[str, ...]) -> None:
    """Neither, only the new ones, or only the old ones: what it calls cannot explain that."""
    assert (await scene_of(*bad).measured()).below == ()


async def test_nobody_is_asked_where_it_would_tell_nothing() -> None:
    """Without a graph, of a revision that replaced none, and to see a recovery."""
    alone = scene_of("web-")
    alone.calls = None
    assert (await alone.measured()).below == ()
    assert (await scene_of("web-").measured(old=None, old_pods=())).below == ()
    assert (await scene_of("web-").measured(purpose=MeasurePurpose.RECOVERY)).below == ()


async def test_who_is_joined_to_it_by_calls_is_no_unrelated_witness() -> None:
    """They fail with it; an incident that no alert began does not know its kin, so the graph of now tells."""
    stranger = Workload(namespace="shop", kind="Deployment", name="stranger")
    scene = scene_of()
    measured = await scene.measured(peers=(DBS[0], stranger))
    assert [peer.workload for peer in measured.peers] == [stranger]
    scene.calls = None
    assert [peer.workload for peer in (await scene.measured(peers=(DBS[0], stranger))).peers] == [DBS[0], stranger]
