"""The cache's answers and views, from stores filled by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from daemon.core.model import Mode, RevisionId, Workload, WorkloadView
from handlers import revisions, views
from handlers.cache import ClusterCache
from handlers.cluster_cache import NAMES_MAX, ReflectedCluster
from handlers.cluster_stores import Stores
from handlers.kinds import History
from handlers.pod_names import makers
from tests.handlers.kube_objects import (
    Json,
    at,
    changed,
    container,
    deployment,
    ended,
    pod,
    replica_set,
    stamp,
    template,
    waiting,
)

WEB = Workload(namespace="shop", kind="Deployment", name="web")
V1 = revisions.template_hash(template())
V2 = revisions.template_hash(template("shop:v2"))


class Scene:
    """Stores to fill, the cache over them, and a clock to set."""

    def __init__(self, *objects: Json) -> None:
        self.stores = Stores()
        self.now = at(60)
        self.cache = ReflectedCluster(self.stores, clock_now=lambda: self.now, age=lambda: 1.5)
        self.put(*objects)

    def put(self, *objects: Json) -> None:
        by_kind = {
            **self.stores.workloads,
            "ReplicaSet": self.stores.history[History.REPLICA_SETS],
            "ControllerRevision": self.stores.history[History.CONTROLLER_REVISIONS],
            "Pod": self.stores.pods,
            "Service": self.stores.services,
            "Namespace": self.stores.namespaces,
        }
        for obj in objects:
            by_kind[obj["kind"]].put(obj)

    def vanish(self, seen: Json) -> None:
        self.stores.pods.remove(seen)
        self.cache.note_vanished(seen)

    def view(self) -> WorkloadView:
        found = self.stores.workloads["Deployment"].get("shop", "web")
        assert found is not None
        return self.cache.view(found)


def both() -> Scene:
    """v2 goes out over v1: one ready pod of each."""
    moving = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 2}
    return Scene(
        deployment("shop:v2", status=moving),
        replica_set(),
        replica_set("shop:v2", suffix="bbb", number=2, creationTimestamp=stamp(30)),
        pod("web-aaa-11111", ready_since=5),
        pod("web-bbb-22222", ready_since=40, owner="rs-bbb"),
    )


def service(selector: Json | None) -> Json:
    metadata = {"name": "front", "namespace": "shop", "uid": "s", "resourceVersion": "1"}
    return {"kind": "Service", "metadata": metadata, "spec": {"selector": selector} if selector else {}}


def names(view: WorkloadView, revision: RevisionId) -> tuple[str, ...]:
    return next((p.names for p in view.pods if p.revision == revision), ())


def test_a_view_of_a_rollout() -> None:
    """Current revision, history, pods of both, and when it began."""
    view = both().view()
    assert (view.current.id, view.current.number, view.started_at) == (V2, 2, at(30))
    assert [r.id for r in view.history] == [V2, V1]
    assert set(view.serving) == {V1, V2}
    assert (view.converged, view.stuck, view.paused, view.desired) == (False, False, False, 2)
    assert names(view, V1) == ("web-aaa-11111",)
    assert view.current.digests == ("sha256:main",)
    assert view.labels == (("team", "shop"),)


def test_vanished_pods_keep_their_names_while_their_rollout_is_the_latest() -> None:
    """The overlap is read back from Prometheus by names that no pod bears any more."""
    scene = both()
    scene.view()
    scene.vanish(pod("web-aaa-11111", ready_since=5))
    view = scene.view()
    assert names(view, V1) == ("web-aaa-11111",)
    assert view.serving == (V2,)
    assert next(r for r in view.history if r.id == V1).digests == ("sha256:main",)
    scene.put(changed(deployment("shop:v3"), generation=2))
    assert names(scene.view(), V1) == ()


def test_names_are_bounded_and_ready_ones_are_kept() -> None:
    """A crash-looping rollout of a large workload cannot grow a view without end."""
    scene = both()
    scene.view()
    for number in range(2 * NAMES_MAX):
        dead = pod(f"web-bbb-{number:05}", owner="rs-bbb")
        scene.put(dead)
        scene.vanish(dead)
    found = names(scene.view(), V2)
    assert len(found) == NAMES_MAX
    assert "web-bbb-22222" in found


def test_the_start_of_a_revision_stays_when_its_writer_writes_again() -> None:
    """The time in managedFields moves with every write of the same manager; the rollout's start does not."""
    old = replica_set(annotations={"deployment.kubernetes.io/revision-history": "1"})
    entry = {"manager": "kubectl", "operation": "Update", "time": stamp(20)}
    scene = Scene(deployment(managedFields=[entry]), old)
    assert scene.view().started_at == at(20)
    scene.put(changed(deployment(managedFields=[entry | {"time": stamp(50)}])))
    assert scene.view().started_at == at(20)


def test_a_start_failure_keeps_its_first_sight() -> None:
    """A crash loop's pods tell only the latest crash; the first one seen is when it began."""
    scene = both()

    def crashed(finished: float, count: int, version: str) -> Json:
        loop = container(state=waiting("CrashLoopBackOff"), last=ended(finished=finished), restartCount=count)
        meta = {"resourceVersion": version}
        return pod("web-bbb-22222", containers=[loop], owner="rs-bbb", metadata=meta)

    scene.put(crashed(45, 2, "2"))
    first = scene.view().start_failure
    scene.put(crashed(58, 3, "3"))
    second = scene.view().start_failure
    assert first is not None
    assert second is not None
    assert (first.since, second.since, second.restarts) == (at(45), at(45), 3)
    assert scene.cache.start_failure(WEB, V2) == second
    assert scene.cache.start_failure(WEB, V1) is None


def test_never_ready_is_foretold() -> None:
    """The watcher is told when a view changes without any event, and it does change then."""
    scene = both()
    scene.put(pod("web-bbb-22222", owner="rs-bbb", metadata={"resourceVersion": "2"}))
    found = scene.stores.workloads["Deployment"].get("shop", "web")
    assert found is not None
    assert scene.view().start_failure is None
    when = scene.cache.next_change(found)
    assert when == at(120)
    scene.now = when
    assert scene.view().start_failure is not None
    assert scene.cache.next_change(found) is None


@pytest.mark.parametrize(
    ("annotations", "field", "value"),
    [
        ({"lastgood.dev/mode": "approve"}, "mode", Mode.APPROVE),
        ({"lastgood.dev/mode": " AUTO "}, "mode", Mode.AUTO),
        ({"lastgood.dev/mode": "yolo" * 100}, "mode_invalid", ("yolo" * 100)[:60]),
        ({"lastgood.dev/irreversible": "true"}, "irreversible", True),
        ({"lastgood.dev/irreversible": "migration 12"}, "irreversible", True),
        ({"lastgood.dev/irreversible": "false"}, "irreversible", False),
        ({"lastgood.dev/action": "a", "lastgood.dev/rolled-back-to": V1}, "action_id", "a"),
        ({"lastgood.dev/action": "a", "lastgood.dev/rolled-back-to": V2}, "action_id", None),
        ({"lastgood.dev/action": "a"}, "action_id", None),
        ({"meta.helm.sh/release-name": "web"}, "owner", "helm"),
    ],
)
def test_annotations_of_a_workload(annotations: Json, field: str, value: Any) -> None:
    """What people and we ourselves wrote on the object."""
    found = getattr(Scene(deployment(annotations=annotations)).view(), field)
    assert (found.kind if field == "owner" else found) == value


def test_a_namespace_may_be_paused_by_annotation() -> None:
    """It works when the command line is out of reach; another namespace's pause is none."""
    scene = Scene(deployment())
    assert not scene.view().namespace_paused
    metadata = {"name": "shop", "uid": "n", "resourceVersion": "1", "annotations": {"lastgood.dev/paused": "true"}}
    scene.put({"kind": "Namespace", "metadata": metadata | {"name": "other"}})
    assert not scene.view().namespace_paused
    scene.put({"kind": "Namespace", "metadata": metadata})
    assert scene.view().namespace_paused


def test_lookups_in_the_whole_cluster() -> None:
    """By name and label, of all kinds and namespaces; a label that comes, goes or changes is seen at once."""
    scene, other = both(), Workload(namespace="other", kind="Deployment", name="web")
    assert scene.cache.workloads_by_label(None, "app", "pay") == []
    scene.put(deployment(namespace="other", uid="o", labels={"app": "pay"}))
    assert scene.cache.workloads_named("web") == [WEB, other]
    assert scene.cache.workloads_by_label(None, "app", "pay") == [other]
    scene.put(deployment(namespace="other", uid="o", labels={"app": "web"}, resourceVersion="2"))
    assert scene.cache.workloads_by_label(None, "app", "pay") == []
    assert sorted(each.namespace for each in scene.cache.workloads_by_label(None, "app", "web")) == ["other", "shop"]


def test_lookups() -> None:
    """By name, pod, service and label; unknown things are empty, never an error."""
    scene = both()
    cache: ClusterCache = scene.cache
    assert cache.workload("shop", "deployment", "web") == cache.workload("shop", "Deployment", "web") == WEB
    assert cache.workload("shop", "StatefulSet", "web") is None
    assert cache.workload_of_pod("shop", "web-aaa-11111") == WEB
    assert cache.workload_of_pod("shop", "web-aaa-zzzzz") == WEB  # vanished; its ReplicaSet tells
    assert cache.workload_of_pod("shop", "web-zzz-11111") is None
    assert cache.workload_of_pod("shop", "") is None
    assert cache.workloads_by_label("shop", "app", "web") == [WEB]
    assert cache.workloads_by_label(None, "team", "shop") == [WEB]
    assert cache.workloads_by_label("other", "team", "shop") == []
    assert cache.workloads_named("web") == [WEB]
    assert cache.workloads_named("nobody") == []
    assert cache.workloads_in("shop") == [WEB]
    assert cache.workloads_in("other") == []
    assert [p.name for p in cache.pods_of(WEB, V2)] == ["web-bbb-22222"]
    assert len(cache.pods_of(WEB)) == 2
    nobody = Workload(namespace="shop", kind="Deployment", name="nobody")
    assert (cache.pods_of(nobody), cache.available_since(nobody), cache.start_failure(nobody, V1)) == ((), None, None)
    assert cache.freshness(at(0)) == 1.5


@pytest.mark.parametrize(
    ("selector", "matches"), [({"app": "web"}, True), ({"app": "web", "x": "y"}, False), (None, False)]
)
def test_a_service_selects_by_the_templates_labels(selector: Json | None, matches: bool) -> None:
    """A Service without a selector selects nothing, not everything."""
    scene = both()
    scene.put(service(selector))
    assert list(scene.cache.workloads_of_service("shop", "front")) == ([WEB] if matches else [])
    assert list(scene.cache.workloads_of_service("shop", "nobody")) == []


def test_availability_needs_enough_pods_of_the_current_revision() -> None:
    """The old revision's pods prove nothing for the new one."""
    scene = both()
    assert scene.cache.available_since(WEB) is None
    scene.put(pod("web-bbb-33333", ready_since=50, owner="rs-bbb"))
    assert scene.cache.available_since(WEB) == at(50) == scene.view().available_since


def test_long_names_are_cut_by_the_api_server() -> None:
    """A pod's generated name keeps 58 characters of its ReplicaSet's."""
    long, short = "r" * 57 + "-abcde", "web-aaa"
    assert list(makers(f"{long}-"[:58] + "x1234", [long, short])) == [long]
    assert list(makers("web-aaa-x1234", [long, short, "web"])) == [short]


def test_a_small_change_outside_a_rollout_is_not_significant() -> None:
    """Outside a rollout names and counts are dropped, whether a revision serves at all stays; within, all counts."""
    view = both().view()
    renamed = view.pods[0]
    other = type(renamed)(revision=renamed.revision, names=("x",), ready=5)
    after = type(view)(**{f: getattr(view, f) for f in view.__dataclass_fields__} | {"pods": (other, *view.pods[1:])})
    assert views.significant(view, moving=False) == views.significant(after, moving=False)
    assert views.significant(view, moving=True) != views.significant(after, moving=True)
    assert timedelta(0) == view.started_at - at(30)
