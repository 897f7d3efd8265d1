"""Measure: the direct callers of new pods of which nothing is heard, and of no others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from daemon.core.actions import MeasurePurpose
from daemon.core.model import Workload
from daemon.core.silence import CALLERS_MAX
from handlers.call_graph import CallGraph
from handlers.faults import Fault
from tests.handlers.measuring_world import (
    DOWN,
    MINUTE,
    NEW_PODS,
    NOW,
    V1,
    V2,
    WEB,
    Prometheus,
    Scene,
    healthy,
    pod,
    signal_of,
)

BEGAN = NOW - 10 * MINUTE
READY = BEGAN
"""In that very minute; what fails since begins after it."""
FRONT, BOARD, DB = (Workload(namespace="shop", kind="Deployment", name=name) for name in ("front", "board", "db"))


def unheard(query: str, at: datetime) -> float | Fault | None:
    """The new pods have no series at all, and half of what front's pods are asked fails since the rollout."""
    if NEW_PODS[0].rsplit("-", 1)[0] in query:
        return None
    failing = "front-" in query and signal_of(query) == "error_ratio" and at > BEGAN
    return 0.5 if failing else healthy(query, at)


def scene_of(value: Callable[[str, datetime], float | Fault | None] = unheard, *callers: Workload) -> Scene:
    """A ready new pod of web; front and board call web (if not told otherwise), and web calls db."""
    scene = Scene(Prometheus(value))
    scene.calls = CallGraph()
    scene.calls.add(WEB.key, DB.key)
    for caller in callers or (FRONT, BOARD):
        scene.calls.add(caller.key, WEB.key)
        scene.cluster.pods[caller, V1.id] = [pod(f"{caller.name}-1", V1)]
    scene.cluster.pods[DB, V1.id] = [pod("db-1", V1)]
    scene.cluster.pods[WEB, V2.id] = [pod(NEW_PODS[0], ready_since=READY)]
    return scene


@pytest.mark.parametrize("purpose", [each for each in MeasurePurpose if each is not MeasurePurpose.RECOVERY])
async def test_callers_are_measured_before_the_rollout_and_now(purpose: MeasurePurpose) -> None:
    """Who calls it directly, in errors and traffic; the onset of an alert says nothing of when it was well."""
    got = await scene_of().measured(purpose=purpose, onset=NOW - MINUTE)
    assert [peer.workload for peer in got.callers] == [BOARD, FRONT]
    board, front = got.callers
    assert front.before is not None
    assert front.now is not None
    assert front.before.at < BEGAN < front.now.at
    assert (front.before.value("error_ratio"), front.now.value("error_ratio")) == (0.001, 0.5)
    assert {name for name, _ in front.now.values} == {"traffic", "error_ratio"}
    assert front.since is not None
    until, first = front.since
    assert until.at <= READY < first.at
    assert (until.value("error_ratio"), first.value("error_ratio")) == (0.001, 0.5)
    assert board.now is not None
    assert board.now.value("error_ratio") == 0.001
    assert (got.peers, got.missing) == ((), ())


async def test_each_caller_costs_eight_queries() -> None:
    """As the module says."""
    alone, called = scene_of(), scene_of()
    alone.calls = None
    await alone.measured()
    await called.measured()
    assert len(called.prometheus.queries) - len(alone.prometheus.queries) == 8 * 2


def nobody_calls(scene: Scene) -> None:
    scene.calls = CallGraph()


def no_graph(scene: Scene) -> None:
    scene.calls = None


def not_ready(scene: Scene) -> None:
    scene.cluster.pods[WEB, V2.id] = [pod(NEW_PODS[0], ready_since=None)]


def no_pods(scene: Scene) -> None:
    scene.cluster.pods[WEB, V2.id] = []


def heard(scene: Scene) -> None:
    scene.prometheus.value = healthy


@pytest.mark.parametrize("change", [nobody_calls, no_graph, not_ready, no_pods, heard])
async def test_nobody_is_asked_without_need(change: Callable[[Scene], None]) -> None:
    """Where the new pods can speak for themselves, or cannot be called, or nobody is known to call them."""
    scene = scene_of()
    change(scene)
    assert (await scene.measured()).callers == ()
    assert not [query for query, *_ in scene.prometheus.queries if "front-" in query]


@pytest.mark.parametrize("changes", [{"purpose": MeasurePurpose.RECOVERY}, {"new": None, "new_pods": ()}])
async def test_callers_say_nothing_of_a_recovery_or_of_no_revision(changes: dict[str, Any]) -> None:
    """They are not asked."""
    scene = scene_of()
    assert (await scene.measured(**changes)).callers == ()
    assert not [query for query, *_ in scene.prometheus.queries if "front-" in query]


async def test_no_more_than_six_callers_are_asked() -> None:
    """The first ones by name; a gateway's callers are many."""
    many = [Workload(namespace="shop", kind="Deployment", name=f"front-{number}") for number in range(CALLERS_MAX + 3)]
    got = await scene_of(unheard, *many).measured()
    assert [peer.workload for peer in got.callers] == many[:CALLERS_MAX]
    assert CALLERS_MAX == 6


async def test_callers_that_cannot_be_read_are_named_and_take_nothing_with_them() -> None:
    """Nothing is known of them, and the old pods are measured all the same."""
    got = await scene_of(lambda query, at: DOWN if "front-" in query else unheard(query, at)).measured()
    front = got.callers[1]
    assert (front.workload, front.before, front.now) == (FRONT, None, None)
    assert got.old
    assert got.missing == (f"{DOWN.reason} (peers)",)
