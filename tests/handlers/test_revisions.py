"""Which revision an object stands for, when it became current, who made it so."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from handlers import revisions
from handlers.store import whole
from tests.handlers.kube_objects import Json, at, container, deployment, pod, replica_set, stamp, template


def with_annotations(**annotations: str) -> Json:
    body = template()
    body["metadata"]["annotations"] = annotations
    return body


def written(manager: str, seconds: float, *, fields: Json | None = None, **entry: Any) -> Json:
    owned = {"f:spec": {"f:template": {"f:spec": {}}}} if fields is None else fields
    return {"manager": manager, "operation": "Update", "time": stamp(seconds), "fieldsV1": owned, **entry}


def test_replica_set_has_the_hash_of_its_deployment() -> None:
    """The label pod-template-hash is all that tells a ReplicaSet's template from its Deployment's."""
    own, theirs = deployment()["spec"]["template"], replica_set()["spec"]["template"]
    assert own != theirs
    assert revisions.template_hash(own) == revisions.template_hash(theirs)
    assert revisions.without_hash_label(theirs) == own
    assert len(revisions.template_hash(own)) == revisions.HASH_CHARS


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t["spec"]["containers"][0].update(image="shop:v2"),
        lambda t: t["metadata"]["labels"].update(tier="front"),
        lambda t: t["metadata"].update(annotations={"checksum/config": "1"}),
        lambda t: t["spec"].update(futureField={"added": ["in", "2030"]}),
        lambda t: t["spec"]["containers"].append({"name": "sidecar", "image": "proxy:1"}),
    ],
)
def test_any_change_is_another_revision(change: Any) -> None:
    """Whatever changes in a template, a field that no client of today knows included, is another revision."""
    before, after = template(), template()
    change(after)
    assert revisions.template_hash(before) != revisions.template_hash(after)
    assert revisions.content_hash(before) != revisions.content_hash(after)


def test_null_creation_time_and_empty_maps_mean_nothing() -> None:
    """Control planes before and after 1.34 write the same template differently; order never counts."""
    bare = template()
    del bare["metadata"]["creationTimestamp"]
    bare["metadata"]["annotations"] = {}
    turned = dict(reversed(bare.items()))
    assert revisions.template_hash(bare) == revisions.template_hash(template()) == revisions.template_hash(turned)


@pytest.mark.parametrize("annotation", sorted(revisions.RESTART_ANNOTATIONS))
def test_a_restart_changes_the_id_and_not_the_content(annotation: str) -> None:
    """A restart is a revision of its own with the content of the one before."""
    after = with_annotations(**{annotation: "2026-01-05T12:00:00Z"})
    assert revisions.template_hash(after) != revisions.template_hash(template())
    assert revisions.content_hash(after) == revisions.content_hash(template())


def test_revision_of_replica_set_and_deployment() -> None:
    """A ReplicaSet tells number, uid and cause; a Deployment's own annotations may be those of the revision before."""
    rs = replica_set(number=7)
    rs["metadata"]["annotations"]["kubernetes.io/change-cause"] = "ticket 12"
    found = revisions.revision_of(rs, digests=("sha256:1",))
    assert (found.number, found.uid, found.replica_set, found.change_cause) == (7, "rs-aaa", "web-aaa", "ticket 12")
    assert (found.images, found.digests, found.created_at) == (("shop:v1",), ("sha256:1",), at(0))
    of_deployment = revisions.revision_of(deployment(annotations={"deployment.kubernetes.io/revision": "6"}))
    assert (of_deployment.id, of_deployment.number, of_deployment.uid) == (found.id, None, None)


@pytest.mark.parametrize("number", ["", "seven", "-1", "9" * 400, None])
def test_a_number_that_is_none_is_unknown(number: str | None) -> None:
    """A hand-written revision annotation breaks nothing."""
    rs = replica_set(annotations={"deployment.kubernetes.io/revision": number})
    assert revisions.revision_of(rs).number is None


def test_images_are_listed_once_with_init_containers_last() -> None:
    """People are told every image that a template runs."""
    body = template(initContainers=[{"name": "migrate", "image": "migrate:3"}, {"name": "again", "image": "shop:v1"}])
    assert revisions.images_of(body) == ("shop:v1", "migrate:3")


@pytest.mark.parametrize(
    ("image_id", "digest"),
    [
        ("registry.example/shop@sha256:ab", "sha256:ab"),
        ("docker-pullable://registry.example/shop@sha256:ab", "sha256:ab"),
        ("docker://sha256:ab", "sha256:ab"),
        ("sha256:ab", "sha256:ab"),
    ],
)
def test_digests_are_read_from_every_spelling(image_id: str, digest: str) -> None:
    """Runtimes spell imageID in four ways."""
    running = pod(containers=[container(imageID=image_id)])
    assert revisions.digests_of(template(), [running]) == (digest,)


def test_digests_are_all_or_none() -> None:
    """Half the digests would make a restart look like another image; an injected sidecar's is not the template's."""
    two = template(initContainers=[{"name": "migrate", "image": "migrate:3"}])
    injected = pod(containers=[container(), container("mesh")])
    assert revisions.digests_of(two, [injected]) == ()
    assert revisions.digests_of(template(), [injected]) == ("sha256:main",)
    assert revisions.digests_of(template(), [pod(containers=[container(imageID="")])]) == ()
    both = pod(inits=[container("migrate")])
    assert revisions.digests_of(two, [both]) == ("sha256:main", "sha256:migrate")


def test_history_belongs_by_controller_uid() -> None:
    """Old ReplicaSets of a deleted Deployment of the same name, and adopted references, are nobody's history."""
    other = replica_set(suffix="bbb", ownerReferences=[{"uid": "d-0", "controller": True}])
    mere = replica_set(suffix="ccc", ownerReferences=[{"uid": "d-1"}])
    second = replica_set(suffix="ddd", number=2)
    assert revisions.owned_by("d-1", [replica_set(), other, mere, second]) == [second, replica_set()]


def test_a_replica_set_that_is_being_deleted_is_no_target() -> None:
    """What the garbage collector is about to take cannot be rolled back to."""
    leaving = replica_set(deletionTimestamp=stamp(0))
    wanted = revisions.template_hash(template())
    assert revisions.find_revision(wanted, [leaving]) is None
    assert revisions.find_revision(wanted, [leaving, replica_set()]) == replica_set()


def test_start_of_a_new_revision_is_its_replica_sets_creation() -> None:
    """A ReplicaSet made for the rollout dates it."""
    rs = replica_set(creationTimestamp=stamp(30))
    assert revisions.started_at(deployment(), [rs], at(99)) == at(30)


@pytest.mark.parametrize("told", ["history", "lower number"])
def test_start_of_a_reused_revision_is_the_write_of_the_template(told: str) -> None:
    """An undo takes up an old ReplicaSet, before and after the controller noted it; managedFields tell the time."""
    old, newer = replica_set(creationTimestamp=stamp(-9999)), replica_set("shop:v2", suffix="bbb", number=2)
    if told == "history":
        old["metadata"]["annotations"] |= {
            "deployment.kubernetes.io/revision": "3",
            "deployment.kubernetes.io/revision-history": "1",
        }
    back = deployment(managedFields=[written("kubectl", 50), written("scaler", 70, fields={"f:spec": {}})])
    assert revisions.started_at(back, [old, newer], at(99)) == at(50)
    assert revisions.started_at(deployment(), [old, newer], at(99)) == at(99)


def test_the_writer_of_the_template_is_the_newest_that_owns_some_of_it() -> None:
    """Scaling, status writes and labels are nobody's rollout; what a reflector keeps of the entries is enough."""
    entries = [
        written("helm", 10),
        written("kubectl-set", 20),
        written("autoscaler", 30, fields={"f:spec": {"f:replicas": {}}}),
        written("kube-controller-manager", 40, subresource="status"),
    ]
    raw = deployment(managedFields=entries)
    assert revisions.changed_by(raw) == "kubectl-set"
    assert revisions.changed_by(whole(copy.deepcopy(raw))) == "kubectl-set"
    assert revisions.changed_by(deployment()) is None


@pytest.mark.parametrize("text", [None, 5, "", "yesterday", "2026-99-99T00:00:00Z"])
def test_a_time_that_is_none_is_unknown(text: object) -> None:
    """Nonsense in a time field is no time, and no crash."""
    assert revisions.parse_time(text) is None
