"""How a Rollout of Argo stands, and which template it runs: by its controller's status, never by the object alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from handlers import revisions
from handlers.argo_templates import EPHEMERAL, HASH_LABEL
from handlers.kinds import ROLLOUT, kind_named, standing_of
from handlers.kinds.rollout import WORKLOAD_GENERATION
from tests.handlers.kube_objects import Json, replica_set, template

DONE = {
    "observedGeneration": "3",
    "currentPodHash": "bbb",
    "stableRS": "bbb",
    "phase": "Healthy",
    "replicas": 4,
    "updatedReplicas": 4,
    "availableReplicas": 4,
}
FLYING = DONE | {"stableRS": "aaa", "phase": "Paused", "replicas": 5, "updatedReplicas": 1, "availableReplicas": 5}
BACK = FLYING | {"abort": True, "phase": "Degraded", "replicas": 4, "updatedReplicas": 0, "availableReplicas": 4}


def a_rollout(status: Json, *, strategy: Json | None = None, annotations: Json | None = None, **spec: Any) -> Json:
    """A Rollout of four, generation 3."""
    return {
        "kind": "Rollout",
        "metadata": {"name": "shop", "namespace": "shop", "generation": 3, "annotations": annotations or {}},
        "spec": {"replicas": 4, "strategy": strategy or {"canary": {}}, **spec},
        "status": status,
    }


def argo_replica_set(suffix: str, image: str, *, number: int = 1, **metadata: Any) -> Json:
    """A ReplicaSet as Argo Rollouts makes it."""
    made = replica_set(image, suffix=suffix)
    labels = {"app": "web", HASH_LABEL: suffix}
    made["spec"]["template"]["metadata"]["labels"] = labels
    annotations = {"rollout.argoproj.io/revision": str(number)} | metadata.pop("annotations", {})
    made["metadata"] |= {"labels": labels, "annotations": annotations, **metadata}
    return made


HISTORY = [argo_replica_set("bbb", "shop:v2", number=2), argo_replica_set("aaa", "shop:v1")]


@pytest.mark.parametrize(
    ("status", "converged", "stuck"),
    [
        (DONE, True, False),
        (DONE | {"observedGeneration": "2"}, False, False),
        (DONE | {"observedGeneration": 3}, True, False),
        (DONE | {"phase": "Progressing"}, False, False),
        (FLYING, False, False),
        (FLYING | {"phase": "Degraded"}, False, True),
        (FLYING | {"phase": "Degraded", "observedGeneration": "2"}, False, False),
        (BACK, True, False),
        (BACK | {"updatedReplicas": 1, "availableReplicas": 5}, False, False),
        (BACK | {"availableReplicas": 3}, False, False),
        ({}, False, False),
    ],
)
def test_converged_and_stuck(status: Json, converged: bool, stuck: bool) -> None:
    """Healthy and fully promoted, or aborted with the stable pods serving alone; a status of an older spec says nothing."""
    found = standing_of(a_rollout(status))
    assert (found.converged, found.stuck, found.desired) == (converged, stuck, 4)


@pytest.mark.parametrize(("weight", "replicas", "converged"), [(0, 8, True), (0, 5, False), (20, 8, False)])
def test_an_abort_behind_a_traffic_router(weight: int, replicas: int, converged: bool) -> None:
    """The canary's pods may stay for a while; its share of the traffic decides."""
    weights = {"canary": {"weight": weight, "podTemplateHash": "bbb"}, "stable": {"weight": 100 - weight}}
    status = BACK | {"canary": {"weights": weights}, "updatedReplicas": 4, "availableReplicas": replicas}
    assert standing_of(a_rollout(status)).converged is converged


@pytest.mark.parametrize(("active", "converged"), [("aaa", True), ("bbb", False)])
def test_an_abort_of_blue_and_green(active: str, converged: bool) -> None:
    """The active Service decides; only its pods are counted as available."""
    status = BACK | {"blueGreen": {"activeSelector": active}, "updatedReplicas": 4}
    assert standing_of(a_rollout(status, strategy={"blueGreen": {}})).converged is converged


def test_paused_is_a_persons_doing() -> None:
    """spec.paused counts; the pause of a step does not."""
    assert not standing_of(a_rollout(FLYING | {"pauseConditions": [{"reason": "CanaryPauseStep"}]})).paused
    assert standing_of(a_rollout(FLYING, paused=True)).paused


@pytest.mark.parametrize(
    ("strategy", "answer"),
    [
        ({"canary": {}}, 1),
        ({"canary": {"maxUnavailable": 0, "maxSurge": 0}}, 1),
        ({"canary": {"maxUnavailable": "50%"}}, 2),
        ({"blueGreen": {}}, 0),
    ],
)
def test_max_unavailable(strategy: Json, answer: int) -> None:
    """A canary update takes as many away as a Deployment's would, blue/green none."""
    assert standing_of(a_rollout(DONE, strategy=strategy)).max_unavailable == answer


@pytest.mark.parametrize(
    ("status", "name", "since"),
    [
        (DONE, "web-bbb", None),
        (FLYING, "web-bbb", None),
        (BACK | {"abortedAt": "2026-01-05T12:00:00Z"}, "web-aaa", "2026-01-05T12:00:00Z"),
        (DONE | {"abort": True}, "web-bbb", None),
        (DONE | {"observedGeneration": "2"}, None, None),
        (DONE | {"observedGeneration": "5f8d9c"}, None, None),
        (DONE | {"currentPodHash": "ccc"}, None, None),
        ({}, None, None),
    ],
)
def test_the_present_template(status: Json, name: str | None, since: str | None) -> None:
    """That of the newest ReplicaSet, after an abort of the stable one; unknown until the controller has seen the spec."""
    found = ROLLOUT.present(a_rollout(status), HISTORY)
    assert (found and found.obj["metadata"]["name"], found and found.since) == (name, since)
    assert found is None or found.returned is (name == "web-aaa")


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (FLYING, "web-aaa"),
        (FLYING | {"phase": "Degraded"}, "web-aaa"),
        (FLYING | {"observedGeneration": "2"}, None),
        (FLYING | {"stableRS": "gone"}, None),
        (FLYING | {"stableRS": ""}, None),
        (DONE, None),
        (BACK, None),
        ({}, None),
    ],
)
def test_what_an_abort_goes_back_to(status: Json, name: str | None) -> None:
    """The stable ReplicaSet while an update is in flight; nothing before, after, and once it is aborted."""
    found = ROLLOUT.abort_to(a_rollout(status), HISTORY)
    assert (found and found["metadata"]["name"]) == name


@pytest.mark.parametrize(("seen", "known"), [("7", True), ("6", False), (None, False)])
def test_the_template_of_another_object(seen: str | None, known: bool) -> None:
    """With workloadRef the status must have seen the newest generation of that object, too."""
    status = DONE | {"workloadObservedGeneration": seen}
    obj = a_rollout(status, annotations={WORKLOAD_GENERATION: "7"}, workloadRef={"kind": "Deployment", "name": "shop"})
    assert (ROLLOUT.present(obj, HISTORY) is not None) is known
    obj["spec"].pop("workloadRef")
    assert ROLLOUT.present(obj, HISTORY) is not None


def test_a_name_finds_the_kind() -> None:
    """As labels spell it."""
    assert kind_named("rollouts") is kind_named("Rollout") is ROLLOUT
    assert (ROLLOUT.group, ROLLOUT.optional) == ("argoproj.io", True)


# -- the templates of its ReplicaSets ----------------------------------------------------------------------------------


def test_what_the_controller_adds_is_no_part_of_a_revision() -> None:
    """Hash label, ephemeral metadata and injected anti-affinity: the same revision as without, and never put back."""
    plain = argo_replica_set("aaa", "shop:v1")
    added = argo_replica_set(
        "aaa", "shop:v1", annotations={EPHEMERAL: json.dumps({"labels": {"role": "stable"}, "annotations": {"n": "1"}})}
    )
    made = added["spec"]["template"]
    made["metadata"]["labels"] = made["metadata"]["labels"] | {"role": "stable"}
    made["metadata"]["annotations"] = {"n": "1"}
    rule = {"matchExpressions": [{"key": HASH_LABEL, "operator": "In", "values": ["bbb"]}]}
    term = {"weight": 1, "podAffinityTerm": {"labelSelector": rule, "topologyKey": "zone"}}
    made["spec"]["affinity"] = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}
    assert revisions.template_hash(revisions.template_of(added)) == revisions.template_hash(template("shop:v1"))
    assert revisions.template_hash(revisions.template_of(plain)) == revisions.template_hash(template("shop:v1"))
    put_back = revisions.without_hash_label(revisions.template_of(added))
    assert put_back["metadata"]["labels"] == {"app": "web"}
    assert put_back["spec"] == template("shop:v1")["spec"]


def test_an_affinity_of_ones_own_stays() -> None:
    """Only the terms that name the hash label were injected."""
    made = argo_replica_set("aaa", "shop:v1")
    rule = {"matchExpressions": [{"key": HASH_LABEL, "operator": "In", "values": ["bbb"]}]}
    kind = "requiredDuringSchedulingIgnoredDuringExecution"
    own = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "host"}
    node: Json = {"nodeAffinity": {kind: {"nodeSelectorTerms": []}}}
    affinity = node | {"podAntiAffinity": {kind: [own, {"labelSelector": rule, "topologyKey": "host"}]}}
    made["spec"]["template"]["spec"]["affinity"] = affinity
    assert revisions.template_of(made)["spec"]["affinity"] == node | {"podAntiAffinity": {kind: [own]}}
    made["spec"]["template"]["spec"]["affinity"] = {"podAntiAffinity": {kind: [own]}}
    assert revisions.template_of(made)["spec"]["affinity"] == {"podAntiAffinity": {kind: [own]}}


@pytest.mark.parametrize("noted", ["", "{", "[]", "{}", '{"labels": 1}', '{"labels": {"app": "web"}}'])
def test_a_note_that_is_nonsense(noted: str) -> None:
    """Whatever stands in the annotation, a template comes out."""
    made = argo_replica_set("aaa", "shop:v1", annotations={EPHEMERAL: noted})
    assert revisions.images_of(revisions.template_of(made)) == ("shop:v1",)


def test_the_number_is_argos() -> None:
    """A Rollout made of a Deployment may pass on the old annotation; Argo's own number counts."""
    made = argo_replica_set("aaa", "shop:v1", number=4, annotations={"deployment.kubernetes.io/revision": "9"})
    assert revisions.number_of(made) == 4
