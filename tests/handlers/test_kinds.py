"""How workloads of each kind stand, by their own status."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.core.model import Exchange
from handlers.kinds import KINDS, kind_named, standing_of
from tests.handlers.kube_objects import Json, deployment


@pytest.mark.parametrize(
    ("status", "generation", "converged", "stuck"),
    [
        ({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}, 1, True, False),
        ({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}, 2, False, False),
        ({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 2}, 1, False, False),
        ({"observedGeneration": 1, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 2}, 1, False, False),
        ({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}, 1, False, False),
        ({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 1, "conditions": "late"}, 1, False, True),
        ({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 1, "conditions": "late"}, 2, False, False),
        ({}, 1, False, False),
    ],
)
def test_converged_and_stuck(status: Json, generation: int, converged: bool, stuck: bool) -> None:
    """As `kubectl rollout status` goes through them; the condition of an older generation says nothing."""
    if status.get("conditions"):
        status = status | {
            "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
        }
    obj = deployment(status=status, generation=generation)
    assert (standing_of(obj).converged, standing_of(obj).stuck) == (converged, stuck)


@pytest.mark.parametrize(
    ("replicas", "strategy", "answer"),
    [
        (4, {}, 1),
        (3, {}, 0),
        (1, {}, 0),
        (10, {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "5%"}}, 1),
        (10, {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 20}}, 10),
        (10, {"type": "Recreate"}, 0),
    ],
)
def test_max_unavailable_rounds_as_the_controller_does(replicas: int, strategy: Any, answer: int) -> None:
    """Percentages round down, a rollout that could not move may take one, Recreate needs them all."""
    obj = deployment(replicas=replicas)
    obj["spec"]["strategy"] = strategy
    assert standing_of(obj).max_unavailable == answer


def a_set(status: Json, *, generation: int = 2, **strategy: Any) -> Json:
    """A StatefulSet of three."""
    spec = {"replicas": 3, "updateStrategy": {"type": "RollingUpdate", **strategy}}
    return {"kind": "StatefulSet", "metadata": {"generation": generation}, "spec": spec, "status": status}


@pytest.mark.parametrize(
    ("status", "strategy", "converged"),
    [
        ({"observedGeneration": 2, "readyReplicas": 3, "updatedReplicas": 3}, {}, True),
        ({"observedGeneration": 1, "readyReplicas": 3, "updatedReplicas": 3}, {}, False),
        ({"observedGeneration": 2, "readyReplicas": 2, "updatedReplicas": 3}, {}, False),
        ({"observedGeneration": 2, "readyReplicas": 3, "updatedReplicas": 1}, {}, False),
        (
            {"observedGeneration": 2, "readyReplicas": 3, "updatedReplicas": 1},
            {"rollingUpdate": {"partition": 2}},
            True,
        ),
        ({"observedGeneration": 2, "readyReplicas": 3}, {"rollingUpdate": {"partition": 5}}, True),
        ({}, {}, False),
    ],
)
def test_a_set_is_done_when_rollout_status_says_so(status: Json, strategy: Json, converged: bool) -> None:
    """All ready, and all from the partition on of the new revision; never by a status of an older generation."""
    assert standing_of(a_set(status, **strategy)).converged is converged


def a_daemon(status: Json, **strategy: Any) -> Json:
    """A DaemonSet."""
    spec = {"updateStrategy": {"type": "RollingUpdate", **strategy}}
    return {"kind": "DaemonSet", "metadata": {"generation": 2}, "spec": spec, "status": status}


@pytest.mark.parametrize(
    ("updated", "available", "observed", "converged"),
    [(4, 4, 2, True), (3, 4, 2, False), (4, 3, 2, False), (4, 4, 1, False)],
)
def test_a_daemon_is_done_when_every_node_has_the_new_pod(
    updated: int, available: int, observed: int, converged: bool
) -> None:
    """Updated and available on every node that wants one."""
    status = {"desiredNumberScheduled": 4, "updatedNumberScheduled": updated, "numberAvailable": available}
    found = standing_of(a_daemon({**status, "observedGeneration": observed}))
    assert (found.converged, found.desired) == (converged, 4)


@pytest.mark.parametrize(
    ("rolling", "answer"), [({}, 1), ({"maxUnavailable": "26%"}, 2), ({"maxUnavailable": 0, "maxSurge": 1}, 0)]
)
def test_how_many_nodes_may_be_without(rolling: Json, answer: int) -> None:
    """One by default; a percentage is rounded up (daemonset controller); with surge none is taken away by the rollout."""
    obj = a_daemon({"desiredNumberScheduled": 4}, rollingUpdate=rolling)
    assert standing_of(obj).max_unavailable == answer


def test_on_delete_is_told() -> None:
    """A strategy that leaves the exchange to people is not taken for a rolling one."""
    assert standing_of(a_set({}) | {"spec": {"updateStrategy": {"type": "OnDelete"}}}).exchange is Exchange.ON_DELETE
    assert standing_of(a_daemon({}, type="OnDelete")).exchange is Exchange.ON_DELETE
    assert standing_of(a_daemon({})).exchange is Exchange.ROLLING
    assert standing_of(deployment()).exchange is Exchange.ROLLING


def test_only_an_ordered_set_waits_for_a_broken_pod() -> None:
    """OrderedReady is the default; with Parallel the controller replaces a broken pod by itself."""
    spec = {"updateStrategy": {"type": "RollingUpdate"}}
    assert standing_of(a_set({})).exchange is Exchange.ORDERED
    assert standing_of(a_set({}) | {"spec": spec | {"podManagementPolicy": "Parallel"}}).exchange is Exchange.ROLLING


def test_kinds_by_their_spellings() -> None:
    """Labels and people write a kind in any case, singular or plural."""
    assert [kind_named(text) for text in ("statefulset", "StatefulSets", "DAEMONSET")] == [
        KINDS["StatefulSet"],
        KINDS["StatefulSet"],
        KINDS["DaemonSet"],
    ]
    assert kind_named("job") is None
