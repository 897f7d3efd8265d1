"""Blue/green Services in the cache: who is one, what its revisions are, what of it is told, and to whom alerts belong."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest

from daemon.cli.direct import as_it_is
from daemon.core.model import OwnerKind, RevisionId, Workload, WorkloadView
from daemon.core.state import Tracked
from handlers import revisions, rollback_steps
from handlers.kinds import SERVICE, service
from handlers.kinds.service import ARGO_MANAGED, BLUE_GREEN
from handlers.ladder import place
from handlers.pod_groups import of_workload
from handlers.rollback_steps import NoWay, Step
from handlers.workload_objects import Fresh
from tests.handlers.kube_objects import Json, at, changed, deployment, pod, replica_set, stamp
from tests.handlers.measuring_world import alert
from tests.handlers.test_cluster_cache import Scene

FRONT = Workload(namespace="shop", kind="Service", name="web")
COLOURS = {"blue": "shop:v1", "green": "shop:v2"}


def front(selected: str = "blue", **metadata: Any) -> Json:
    return {
        "kind": "Service",
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "uid": "s-1",
            "resourceVersion": "1",
            "annotations": {BLUE_GREEN: "version"},
            "managedFields": [{"manager": "kubectl-patch", "operation": "Update", "time": stamp(40)}],
            **metadata,
        },
        "spec": {"selector": {"app": "web", "version": selected}},
    }


def coloured(obj: Json, colour: str) -> Json:
    """A Deployment, its ReplicaSet or pod as that of one colour."""
    found = copy.deepcopy(obj)
    if found["kind"] != "Pod":
        found["spec"]["template"]["metadata"]["labels"]["version"] = colour
    return found


def deployed(colour: str, image: str = "", *, suffix: str = "", born: float = 0, ready: float | None = 5) -> list[Json]:
    """A colour's Deployment, the ReplicaSet of its template, and two pods."""
    suffix, image = suffix or colour[:3], image or COLOURS[colour]
    name, uid = f"web-{colour}", f"d-{colour}"
    owner = {"kind": "Deployment", "name": name, "uid": uid, "controller": True}
    holder = replica_set(image, suffix=suffix, name=f"{name}-{suffix}", ownerReferences=[owner], number=7)
    holder["metadata"]["creationTimestamp"] = stamp(born)
    pods = [pod(f"{name}-{suffix}-{n}", ready_since=ready, owner=f"rs-{suffix}") for n in (1, 2)]
    return [
        coloured(deployment(image, name=name, uid=uid), colour),
        coloured(holder, colour),
        *(coloured(each, colour) for each in pods),
    ]


def both(selected: str = "blue", **metadata: Any) -> Scene:
    scene = Scene(*deployed("blue"), *deployed("green", born=20))
    scene.stores.workloads["Service"].put(front(selected, **metadata))
    return scene


def view(scene: Scene) -> WorkloadView:
    found = scene.stores.workloads["Service"].get("shop", "web")
    assert found is not None
    assert scene.cache.can_tell(found)
    return scene.cache.view(found)


def revision(colour: str) -> RevisionId:
    (found,) = (each for each in deployed(colour) if each["kind"] == "Deployment")
    return revisions.template_hash(revisions.template_of(found))


def test_a_view_of_a_switched_service() -> None:
    """Its revision is the selected Deployment's template; only that one serves; the other is its history, without numbers."""
    scene = both("green")
    found = view(scene)
    assert (found.workload, found.uid, found.generation) == (FRONT, "s-1", 0)
    assert (found.current.id, found.current.colour, found.current.replica_set) == (
        revision("green"),
        "green",
        "web-green-gre",
    )
    assert [(each.id, each.colour, each.number) for each in found.history] == [
        (revision("blue"), "blue", None),
        (revision("green"), "green", None),
    ]
    assert found.serving == (revision("green"),)
    assert {pods.revision: len(pods.names) for pods in found.pods} == {revision("green"): 2, revision("blue"): 2}
    assert (found.desired, found.converged, found.started_at) == (2, True, at(40))
    assert (found.available_since, found.changed_by) == (at(5), "kubectl-patch")
    assert found.current.label.startswith("green: shop:v2")


def test_what_the_switch_back_looks_like() -> None:
    """Another revision from the moment that the selector was written, and an undo by age: blue is older."""
    scene = both("green")
    first = view(scene)
    entry = {"manager": "ann", "operation": "Update", "time": stamp(55)}
    scene.stores.workloads["Service"].put(front("blue", resourceVersion="2", managedFields=[entry]))
    second = view(scene)
    assert (second.current.id, second.started_at, second.changed_by) == (revision("blue"), at(55), "ann")
    assert first.current.created_at is not None
    assert second.current.created_at is not None
    assert second.current.created_at < first.current.created_at


def test_a_deploy_of_the_selected_colour_began_when_it_was_seen() -> None:
    """The selector says nothing of it; and it keeps the colour, so nobody takes it for a switch."""
    scene = both("green")
    before = view(scene)
    scene.now = at(90)
    anew, holder, *_ = deployed("green", "shop:v3", suffix="ccc", born=88)
    anew["metadata"]["resourceVersion"] = "2"
    scene.put(anew, holder)
    after = view(scene)
    assert after.current.id != before.current.id
    assert (after.current.colour, after.started_at) == ("green", at(88))
    assert {each.id for each in after.history} == {revision("blue"), after.current.id}


def test_an_idle_colour_that_is_deployed_anew_is_another_revision() -> None:
    """So what was proven of it before is no target any more."""
    scene = both("green")
    anew, holder, *_ = deployed("blue", "shop:v3", suffix="ccc", born=50)
    anew["metadata"]["resourceVersion"] = "2"
    scene.put(anew, holder)
    found = view(scene)
    assert found.current.id == revision("green")
    assert revision("blue") not in {each.id for each in found.history}


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(
            lambda scene: scene.stores.workloads["Service"].put(front("red", resourceVersion="2")), id="nobody"
        ),
        pytest.param(
            lambda scene: scene.put(
                coloured(deployment("shop:v9", name="web-twin", uid="d-twin"), "blue"),
                coloured(
                    replica_set("shop:v9", suffix="twi", ownerReferences=[{"uid": "d-twin", "controller": True}]),
                    "blue",
                ),
            ),
            id="two-of-one-colour",
        ),
        pytest.param(
            lambda scene: scene.put(changed(coloured(deployment("shop:v3", name="web-blue", uid="d-blue"), "blue"))),
            id="its-replicaset-is-not-made-yet",
        ),
    ],
)
def test_when_nothing_can_be_told(spoil: Any) -> None:
    """A selector that means no Deployment, or several: no view, rather than a wrong one."""
    scene = both()
    spoil(scene)
    found = scene.stores.workloads["Service"].get("shop", "web")
    assert found is not None
    assert not scene.cache.can_tell(found)


def test_a_colour_without_pods_has_not_arrived() -> None:
    """Switched to a Deployment that is scaled to zero: nothing serves."""
    scene = both("green")
    idle = coloured(deployment("shop:v2", replicas=0, name="web-green", uid="d-green", resourceVersion="2"), "green")
    scene.put(idle)
    assert not view(scene).converged


def test_a_stuck_or_paused_deploy_of_the_colour_is_no_concern_of_the_service() -> None:
    """Both are told of the Deployment, where they are."""
    scene = both("green")
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    status = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 1, "conditions": [condition]}
    stuck = coloured(
        deployment("shop:v2", status=status, name="web-green", uid="d-green", resourceVersion="2"), "green"
    )
    stuck["spec"]["paused"] = True
    scene.put(stuck)
    found = view(scene)
    assert (found.stuck, found.paused, found.converged) == (False, False, False)
    assert SERVICE.standing(front()).desired == 0


@pytest.mark.parametrize(
    ("metadata", "selector", "says"),
    [
        ({}, {"app": "web", "version": "blue"}, None),
        ({}, {"app": "web"}, "its selector has no label version"),
        ({}, {"version": "blue"}, "nothing but the label version"),
        ({}, {"app": "web", "version": "blue", "rollouts-pod-template-hash": "x"}, "Argo Rollouts"),
        ({"annotations": {BLUE_GREEN: "version", ARGO_MANAGED: "web"}}, None, "Argo Rollouts"),
        (
            {"managedFields": [{"manager": "rollouts-controller", "fieldsV1": {"f:spec": {"f:selector": {}}}}]},
            None,
            "Argo",
        ),
        ({"managedFields": [{"manager": "rollouts-controller", "fieldsV1": {"f:metadata": {}}}]}, None, None),
        ({"managedFields": [{"manager": "flagger", "fieldsV1": {"f:spec": {"f:selector": {}}}}]}, None, "Flagger"),
        ({"ownerReferences": [{"kind": "Canary", "name": "web", "uid": "c", "controller": True}]}, None, "Flagger"),
    ],
)
def test_who_is_switched_by_us(metadata: Json, selector: Json | None, says: str | None) -> None:
    """Opting in is not enough: the selector must tell two Deployments apart, and no controller may switch it."""
    obj = front(**metadata)
    obj["spec"]["selector"] = selector or obj["spec"]["selector"]
    why = service.why_not(obj)
    assert (why is None) is (says is None)
    assert says is None or says in str(why)
    assert service.is_switched(obj) is (says is None)


@pytest.mark.parametrize("annotations", [None, {}, {BLUE_GREEN: " "}])
def test_a_selector_alone_does_not_tell(annotations: Json | None) -> None:
    """Without the annotation a Service is none of ours, whatever it selects."""
    assert not service.is_switched(front(annotations=annotations))
    assert not service.is_switched({**front(annotations=annotations), "spec": {}})


def test_owners_are_found_as_of_any_workload() -> None:
    """A GitOps controller that tracks the Service owns its selector."""
    scene = both(annotations={BLUE_GREEN: "version", "argocd.argoproj.io/tracking-id": "shop:/Service:shop/web"})
    owner = view(scene).owner
    assert owner is not None
    assert (owner.kind, owner.name) == (OwnerKind.ARGO_CD, "shop")


def test_an_alert_at_the_selected_colour_also_means_the_service() -> None:
    """By pod, by Deployment and by Service; the idle colour's alerts do not."""
    scene = both("green")
    green = Workload(namespace="shop", kind="Deployment", name="web-green")
    blue = Workload(namespace="shop", kind="Deployment", name="web-blue")
    assert place(alert(namespace="shop", pod="web-green-gre-1"), scene.cache, ()).workloads == (green, FRONT)
    assert place(alert(namespace="shop", deployment="web-green"), scene.cache, ()).workloads == (green, FRONT)
    assert place(alert(namespace="shop", pod="web-blue-blu-1"), scene.cache, ()).workloads == (blue,)
    scene.put(front("green"))
    assert place(alert(namespace="shop", service="web"), scene.cache, ()).workloads == (green, FRONT)
    assert not scene.cache.switches_of(Workload(namespace="shop", kind="Deployment", name="gone"))
    assert not scene.cache.switches_of(FRONT)


def test_its_labels_are_those_of_the_selected_colour() -> None:
    """Its template stands in another object: whatever namespace is asked, it is found by what that one has now."""
    scene = both("green")
    for namespace in ("shop", None):
        assert FRONT in scene.cache.workloads_by_label(namespace, "version", "green")
        assert FRONT not in scene.cache.workloads_by_label(namespace, "version", "blue")
    scene.stores.workloads["Service"].put(front("blue", resourceVersion="9"))
    assert FRONT in scene.cache.workloads_by_label(None, "version", "blue")
    assert FRONT not in scene.cache.workloads_by_label(None, "version", "green")


def steps(**status: int) -> Sequence[Step] | NoWay:
    """What switching from green to blue would send, by how blue stands."""
    (good, *_), (bad, *_) = deployed("blue"), deployed("green")
    good["status"] |= {"readyReplicas": 2, **status}
    obj = front("green")
    colours = [found for each in (good, bad) if (found := service.colour(obj, each, each)) is not None]
    fresh = Fresh(workload=obj, history=tuple(colours))
    target = fresh.find(revision("blue"))
    assert target is not None
    return rollback_steps.steps(FRONT, fresh, target, {"lastgood.dev/action": "inc-1/roll_back"})


def test_the_patch_of_a_switch() -> None:
    """The whole selector is tested, its one label replaced, and one annotation set at a time."""
    found = steps()
    assert not isinstance(found, NoWay)
    (step,) = found
    assert (step.what, step.path) == ("the switch", "/api/v1/namespaces/shop/services/web")
    assert step.ops == [
        {"op": "test", "path": "/metadata/uid", "value": "s-1"},
        {"op": "test", "path": "/spec/selector", "value": {"app": "web", "version": "green"}},
        {"op": "replace", "path": "/spec/selector/version", "value": "blue"},
        {"op": "add", "path": "/metadata/annotations/lastgood.dev~1action", "value": "inc-1/roll_back"},
    ]


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({"replicas": 3}, "exchanges its pods just now"),
        ({"updatedReplicas": 1}, "exchanges its pods just now"),
        ({"observedGeneration": 0}, "exchanges its pods just now"),
        ({"readyReplicas": 1}, "Deployment/web-blue has 1 ready pod(s), and Deployment/web-green serves with 2"),
    ],
)
def test_a_target_that_could_not_serve_at_once(status: dict[str, int], says: str) -> None:
    """All its pods must be of the template that was verified, and ready ones as many as the bad colour is to have."""
    found = steps(**status)
    assert isinstance(found, NoWay)
    assert says in found.why


def test_without_the_daemon_it_is_seen_alike() -> None:
    """`rollback --direct` reads the Service itself: no rollout where the view has none, and the other colour after a switch."""
    known = Tracked(view=view(both("green")))
    colours = {each: service.colour(front(), found, found) for each in COLOURS for found in deployed(each)[:1]}
    history = tuple(each for each in colours.values() if each is not None)
    same = as_it_is(known, Fresh(workload=front("green"), history=history), at(60))
    assert (same.view.current, same.rollout) == (known.view.current, None)
    assert {each.colour for each in same.view.history} == {"blue", "green"}
    other = as_it_is(known, Fresh(workload=front("blue"), history=history), at(60))
    assert (other.view.current.id, other.view.current.colour) == (revision("blue"), "blue")
    assert other.rollout is not None
    assert not other.rollout.in_place


def test_a_label_is_written_as_a_pointer() -> None:
    """A label with a prefix holds a slash."""
    (good, *_), (bad, *_) = deployed("blue"), deployed("green")
    label, obj = "team.example/slot~1", front("green")
    obj["metadata"]["annotations"][BLUE_GREEN] = label
    obj["spec"]["selector"] = {"app": "web", label: "green"}
    for each in (good, bad):
        labels = each["spec"]["template"]["metadata"]["labels"]
        labels[label] = labels.pop("version")
        each["status"]["readyReplicas"] = 2
    fresh = Fresh(workload=obj, history=tuple(service.colour(obj, each, each) or {} for each in (good, bad)))
    found = rollback_steps.steps(FRONT, fresh, fresh.history[0], {})
    assert not isinstance(found, NoWay)
    assert found[0].ops[2]["path"] == "/spec/selector/team.example~1slot~01"


def test_the_pods_of_a_day_before_are_those_of_both_deployments() -> None:
    """Not of a Deployment that happens to be called like the Service."""
    found = view(both())
    (one, other) = of_workload(FRONT, [*found.history, None]).patterns
    assert (one.startswith("web-blue-["), other.startswith("web-green-[")) == (True, True)
    assert of_workload(FRONT).empty
