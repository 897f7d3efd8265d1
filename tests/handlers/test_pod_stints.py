"""What the cache remembers of pods whose names are given again: from when to when each name ran which revision."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.core.model import RevisionId, Stint, Workload, WorkloadView
from daemon.core.stints import STINTS_MAX
from handlers import revisions, views
from handlers.cluster_cache import ReflectedCluster
from handlers.cluster_stores import REVISION_LABEL, Stores
from handlers.kinds import History
from handlers.store import Change
from tests.handlers import kube_objects
from tests.handlers.kube_objects import Json, at, changed, stamp, template

DB = Workload(namespace="shop", kind="StatefulSet", name="db")
V1 = revisions.template_hash(template())
V2 = revisions.template_hash(template("shop:v2"))
NUMBERS = {"shop:v1": 1, "shop:v2": 2, "shop:v3": 3}


def owned(kind: str) -> list[Json]:
    return [{"kind": kind, "name": "db", "uid": "s-1", "controller": True}]


def workload(image: str = "shop:v1", kind: str = "StatefulSet") -> Json:
    number = str(NUMBERS[image])
    metadata = {"name": "db", "namespace": "shop", "uid": "s-1", "resourceVersion": number, "generation": 1}
    return {"kind": kind, "metadata": metadata, "spec": {"replicas": 3, "template": template(image)}, "status": {}}


def kept(image: str, kind: str = "StatefulSet") -> Json:
    """The ControllerRevision of a template."""
    name = f"db-{image[-2:]}"
    metadata = {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "1", "ownerReferences": owned(kind)}
    metadata |= {"creationTimestamp": stamp(NUMBERS[image])}
    data = {"spec": {"template": template(image) | {"$patch": "replace"}}}
    return {"kind": "ControllerRevision", "metadata": metadata, "revision": NUMBERS[image], "data": data}


def pod(number: int | str, image: str = "shop:v1", *, born: float = 0, kind: str = "StatefulSet") -> Json:
    """A ready pod; who has the same name at another time is another object."""
    label = f"db-{image[-2:]}"
    metadata = {
        "uid": f"{number}-{born}",
        "creationTimestamp": stamp(born),
        "labels": {REVISION_LABEL: label},
        "ownerReferences": owned(kind),
        "resourceVersion": f"{born}",
    }
    return kube_objects.pod(f"db-{number}", ready_since=born + 2, metadata=metadata)


class Scene:
    """Stores to fill, changes told as the reflector tells them, and a clock to set."""

    def __init__(self, *objects: Json) -> None:
        self.stores = Stores()
        self.now = at(60)
        self.cache = ReflectedCluster(self.stores, clock_now=lambda: self.now, age=lambda: 1.5)
        self.put(*objects)

    def put(self, *objects: Json) -> None:
        stores = {
            **self.stores.workloads,
            "ControllerRevision": self.stores.history[History.CONTROLLER_REVISIONS],
            "Pod": self.stores.pods,
        }
        for obj in objects:
            for change, old, _ in stores[obj["kind"]].put(obj):
                if change is Change.DELETED and old is not None:
                    self.cache.note_vanished(old)

    def vanish(self, seen: Json, when: float) -> None:
        self.now = at(when)
        self.stores.pods.remove(seen)
        self.cache.note_vanished(seen)

    def view(self, kind: str = "StatefulSet") -> WorkloadView:
        found = self.stores.workloads[kind].get("shop", "db")
        assert found is not None
        return self.cache.view(found)


def stints(view: WorkloadView, revision: RevisionId) -> list[tuple[str, Any, Any]]:
    found = next((pods.stints for pods in view.pods if pods.revision == revision), ())
    return [(each.name, each.since, each.until) for each in found]


def rolling() -> Scene:
    """v2 is to replace v1, of which three pods have run since the beginning."""
    scene = Scene(workload(), kept("shop:v1"), *(pod(number) for number in range(3)))
    scene.view()
    scene.put(workload("shop:v2"), kept("shop:v2"))
    scene.view()
    return scene


def test_pods_run_since_they_were_made() -> None:
    """Before anything is exchanged every name has run the revision since its pod was made, and still does."""
    view = Scene(workload(), kept("shop:v1"), pod(0), pod(1, born=30)).view()
    assert stints(view, V1) == [("db-0", at(0), None), ("db-1", at(30), None)]
    (pods,) = view.pods
    assert (pods.names, pods.ready) == (("db-0", "db-1"), 2)


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_a_pod_that_went_before_anybody_looked(kind: str) -> None:
    """The first pod may be gone when the new template is first looked at: its name, and of a set its time, are kept."""
    scene = Scene(workload(kind=kind), kept("shop:v1", kind), *(pod(number, kind=kind) for number in range(3)))
    scene.view(kind)
    scene.put(workload("shop:v2", kind), kept("shop:v2", kind))
    scene.vanish(pod(2, kind=kind), when=70)
    view = scene.view(kind)
    (old,) = [pods for pods in view.pods if pods.revision == V1]
    assert "db-2" in old.names
    if kind == "StatefulSet":
        assert ("db-2", at(0), at(70)) in stints(view, V1)


def test_a_set_is_not_done_before_all_its_pods_were_seen() -> None:
    """Status and pods come by two watches; a rollout that ended without its last pod would be journalled without it."""
    status = {"observedGeneration": 1, "readyReplicas": 3, "updatedReplicas": 3}
    scene = Scene({**workload(), "status": status}, kept("shop:v1"), pod(0), pod(1))
    assert not scene.view().converged
    scene.put(pod(2))
    assert scene.view().converged


def test_what_vanished_in_the_rollout_before_is_forgotten() -> None:
    """The journal has it: a set that is rolled out again and again does not carry every pod of every revision along."""
    scene = rolling()
    scene.vanish(pod(2), when=70)
    scene.view()
    scene.put(workload("shop:v3"), kept("shop:v3"))
    assert not any("db-2" in pods.names for pods in scene.view().pods)


def test_an_exchange_is_two_stints_of_one_name() -> None:
    """The old pod's time ends when it vanishes, the new one's begins when it is made."""
    scene = rolling()
    scene.vanish(pod(2), 70)
    assert stints(scene.view(), V1)[2] == ("db-2", at(0), at(70))
    scene.put(pod(2, "shop:v2", born=71))
    view = scene.view()
    assert stints(view, V1) == [("db-0", at(0), None), ("db-1", at(0), None), ("db-2", at(0), at(70))]
    assert stints(view, V2) == [("db-2", at(71), None)]


def test_a_pod_that_was_replaced_unseen() -> None:
    """The watch was cut: a list shows another uid under the name. The old pod ended when the new one was made at the
    latest, although we heard of it much later.
    """
    scene = rolling()
    scene.now = at(500)
    scene.put(pod(2, "shop:v2", born=71))
    view = scene.view()
    assert ("db-2", at(0), at(71)) in stints(view, V1)
    assert stints(view, V2) == [("db-2", at(71), None)]


def test_a_pod_that_changes_is_the_same_pod() -> None:
    """Only another object is another stint, not another state of it."""
    scene = rolling()
    scene.put(changed(pod(2), resourceVersion="99"))
    assert stints(scene.view(), V1)[2] == ("db-2", at(0), None)


def test_stints_of_an_earlier_rollout_are_the_journals() -> None:
    """When the template changes again, the memory begins anew; what is there now is told all the same."""
    scene = rolling()
    scene.vanish(pod(2), 70)
    scene.put(pod(2, "shop:v2", born=71))
    scene.view()
    scene.put(workload("shop:v3"), kept("shop:v3"))
    view = scene.view()
    assert stints(view, V1) == [("db-0", at(0), None), ("db-1", at(0), None)]
    assert stints(view, V2) == [("db-2", at(71), None)]


def test_stints_are_bounded() -> None:
    """A pod that is evicted again and again cannot grow a view without end; the latest are kept."""
    scene = rolling()
    for number in range(2 * STINTS_MAX):
        scene.put(each := pod(2, "shop:v2", born=100 + 2 * number))
        scene.vanish(each, 101 + 2 * number)
    scene.put(pod(2, "shop:v2", born=2000))
    found = stints(scene.view(), V2)
    assert len(found) == STINTS_MAX
    assert found[-1] == ("db-2", at(2000), None)


def test_generated_names_have_no_stints() -> None:
    """A DaemonSet's pods have names of their own: those tell the revisions apart, also after they are gone."""
    scene = Scene(workload(kind="DaemonSet"), kept("shop:v1", "DaemonSet"), pod("bcdfg", kind="DaemonSet"))
    scene.view("DaemonSet")
    scene.put(workload("shop:v2", "DaemonSet"), kept("shop:v2", "DaemonSet"))
    scene.view("DaemonSet")
    scene.vanish(pod("bcdfg", kind="DaemonSet"), 70)
    scene.put(pod("hjklm", "shop:v2", born=71, kind="DaemonSet"))
    view = scene.view("DaemonSet")
    assert {pods.revision: (pods.names, pods.stints) for pods in view.pods} == {
        V1: (("db-bcdfg",), ()),
        V2: (("db-hjklm",), ()),
    }


@pytest.mark.parametrize("moving", [True, False])
def test_an_exchange_is_told_only_while_it_matters(moving: bool) -> None:
    """During a rollout each exchange is a new view; outside of one a pod that moves to another node is none."""
    scene = Scene(workload(), kept("shop:v1"), *(pod(number) for number in range(3)))
    before = views.significant(scene.view(), moving=moving)
    scene.vanish(pod(2), 70)
    scene.put(pod(2, born=71))
    view = scene.view()
    assert Stint(name="db-2", since=at(0), until=at(70)) in view.pods[0].stints
    assert (views.significant(view, moving=moving) != before) is moving
