"""Objects on an API server: identity, versions, conflicts, generation, ownership."""

from __future__ import annotations

import pytest

from tests.contract.cluster_client import (
    MERGE_PATCH,
    STRATEGIC_PATCH,
    ClusterClient,
    Json,
    deployment,
    set_image,
)

pytestmark = pytest.mark.real


def lease(holder: str) -> Json:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "leader"},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15},
    }


def config(name: str, **labels: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"a": "1"}}


async def test_a_new_object_has_an_identity_and_a_taken_name_is_409(client: ClusterClient) -> None:
    """A create answers uid, resourceVersion, creationTimestamp and generation 1; a second one is AlreadyExists."""
    made = await client.make("deployments", deployment())
    assert made["metadata"]["generation"] == 1
    assert all(made["metadata"][field] for field in ("uid", "resourceVersion", "creationTimestamp"))
    status, refused = await client.ask("POST", client.path("deployments"), deployment())
    assert (status, refused["reason"], refused["code"]) == (409, "AlreadyExists", 409)


async def test_a_missing_object_is_a_status_object(client: ClusterClient) -> None:
    """A 404 is a Status with reason NotFound and names what is missing."""
    status, refused = await client.ask("GET", client.path("deployments", "absent"))
    assert (status, refused["kind"], refused["reason"]) == (404, "Status", "NotFound")
    assert refused["details"]["name"] == "absent"
    assert refused["message"] == 'deployments.apps "absent" not found'


async def test_a_put_based_on_an_old_version_is_a_conflict(client: ClusterClient) -> None:
    """Of two writers that read the same version, the second gets 409 Conflict and changes nothing."""
    first = await client.make("configmaps", config("settings"))
    path = client.path("configmaps", "settings")
    assert (await client.ask("PUT", path, {**first, "data": {"a": "2"}}))[0] == 200
    status, refused = await client.ask("PUT", path, {**first, "data": {"a": "3"}})
    assert (status, refused["reason"]) == (409, "Conflict")
    assert (await client.read("configmaps", "settings"))["data"] == {"a": "2"}


async def test_a_lease_can_only_be_taken_from_the_version_that_was_read(client: ClusterClient) -> None:
    """Two electors that read the same Lease: one wins, one gets 409; without a version there is no update at all."""
    made = await client.make("leases", lease("one"))
    path = client.path("leases", "leader")
    version = made["metadata"]["resourceVersion"]
    mine = lease("two")
    mine["metadata"]["resourceVersion"] = version
    assert (await client.ask("PUT", path, mine))[0] == 200
    theirs = lease("three")
    theirs["metadata"]["resourceVersion"] = version
    assert (await client.ask("PUT", path, theirs))[0] == 409
    status, refused = await client.ask("PUT", path, lease("four"))
    assert (status, refused["reason"]) == (422, "Invalid")


async def test_a_write_that_changes_nothing_makes_no_new_version(client: ClusterClient) -> None:
    """The same PUT again keeps the resourceVersion, so that no watcher is woken."""
    made = await client.make("configmaps", config("settings"))
    status, again = await client.ask("PUT", client.path("configmaps", "settings"), made)
    assert status == 200
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_generation_counts_spec_and_annotations_of_a_deployment(client: ClusterClient) -> None:
    """A paused Deployment's generation moves with spec and annotations, not with labels."""
    await client.make("deployments", deployment(paused=True))

    async def after(patch: Json) -> int:
        return int((await client.patch("deployments", "web", patch, kind=MERGE_PATCH))["metadata"]["generation"])

    assert await after({"metadata": {"labels": {"team": "a"}}}) == 1
    assert await after({"spec": {"replicas": 5}}) == 2
    assert await after({"metadata": {"annotations": {"note": "x"}}}) == 3


async def test_status_and_spec_are_written_apart(client: ClusterClient) -> None:
    """A write to /status leaves spec and generation alone; a write to the object leaves the status alone."""
    await client.make("deployments", deployment(paused=True))
    path = client.path("deployments", "web")
    patch = {"spec": {"replicas": 9}, "status": {"collisionCount": 7}}
    status, answer = await client.ask("PATCH", path + "/status", patch, kind=MERGE_PATCH)
    assert status == 200
    assert (answer["spec"]["replicas"], answer["metadata"]["generation"]) == (2, 1)
    assert answer["status"]["collisionCount"] == 7
    answer = await client.patch("deployments", "web", {"status": {"collisionCount": 8}})
    assert answer["status"].get("collisionCount") != 8


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"selector": {"matchLabels": {"app": "other"}}}, "spec.template.metadata.labels"),
        ({"replicas": -1}, "spec.replicas"),
        ({"template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}}, "containers"),
    ],
)
async def test_an_object_against_the_rules_is_422(client: ClusterClient, spec: Json, field: str) -> None:
    """A wrong selector, number or template is Invalid, and the message names the field."""
    body = deployment()
    body["spec"] |= spec
    status, refused = await client.ask("POST", client.path("deployments"), body)
    assert (status, refused["reason"]) == (422, "Invalid")
    assert field in refused["message"]


async def test_a_selector_is_immutable(client: ClusterClient) -> None:
    """A Deployment's selector cannot be changed after the create."""
    await client.make("deployments", deployment())
    patch: Json = {"spec": {"selector": {"matchLabels": {"app": "web", "tier": "x"}}}}
    patch["spec"]["template"] = {"metadata": {"labels": {"app": "web", "tier": "x"}}}
    status, refused = await client.ask("PATCH", client.path("deployments", "web"), patch, kind=MERGE_PATCH)
    assert status == 422
    assert "field is immutable" in refused["message"]


async def test_the_field_manager_owns_what_it_changed(client: ClusterClient) -> None:
    """A patch with fieldManager leaves a managedFields entry of that manager that holds the template's image."""
    await client.make("deployments", deployment(), fieldManager="creator")
    patch = set_image("shop:v2")
    answer = await client.patch("deployments", "web", patch, kind=STRATEGIC_PATCH, fieldManager="rollbacker")
    entries = {entry["manager"]: entry for entry in answer["metadata"]["managedFields"]}
    entry = entries["rollbacker"]
    assert (entry["operation"], entry["fieldsType"]) == ("Update", "FieldsV1")
    container = 'k:{"name":"main"}'
    fields = entry["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"][container]
    assert fields == {"f:image": {}}
    kept = entries["creator"]["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"][container]
    assert "f:image" not in kept


async def test_a_deleted_deployment_takes_its_replicasets_and_pods_along(client: ClusterClient) -> None:
    """Background garbage collection: nothing that the Deployment owned stays."""
    await client.make("deployments", deployment())
    await client.until_items("pods", lambda pods: len(pods) == 2)
    assert (await client.ask("DELETE", client.path("deployments", "web")))[0] == 200
    await client.until_items("replicasets", lambda sets: not sets)
    await client.until_items("pods", lambda pods: not pods)


async def test_a_delete_can_name_the_uid_it_means(client: ClusterClient) -> None:
    """A delete with another uid as its precondition is 409 and deletes nothing."""
    await client.make("configmaps", config("settings"))
    path = client.path("configmaps", "settings")
    status, refused = await client.ask("DELETE", path, {"preconditions": {"uid": "another"}})
    assert (status, refused["reason"]) == (409, "Conflict")
    await client.read("configmaps", "settings")


async def test_a_patch_of_an_unknown_media_type_is_415(client: ClusterClient) -> None:
    """A patch must say which kind it is."""
    await client.make("configmaps", config("settings"))
    status, _ = await client.ask("PATCH", client.path("configmaps", "settings"), {}, kind="application/json")
    assert status == 415


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("app=a", {"one"}),
        ("app==a", {"one"}),
        ("app!=a", {"two", "three"}),
        ("app in (a,b)", {"one", "two"}),
        ("app notin (a)", {"two", "three"}),
        ("app,tier", {"two"}),
        ("!app", {"three"}),
        ("tier=x,app in (b, c)", {"two"}),
    ],
)
async def test_label_selectors(client: ClusterClient, selector: str, found: set[str]) -> None:
    """Equality, sets, presence and absence, and all of them together."""
    for name, labels in (("one", {"app": "a"}), ("two", {"app": "b", "tier": "x"}), ("three", {"tier": "x"})):
        await client.make("configmaps", config(name, **labels))
    items = await client.items("configmaps", labelSelector=selector)
    assert {item["metadata"]["name"] for item in items} - {"kube-root-ca.crt"} == found


async def test_field_selectors(client: ClusterClient) -> None:
    """metadata.name and a pod's status.phase select; a path that cannot be selected on is 400."""
    await client.make("configmaps", config("one"))
    await client.make("configmaps", config("two"))
    items = await client.items("configmaps", fieldSelector="metadata.name=two")
    assert [item["metadata"]["name"] for item in items] == ["two"]
    await client.make("deployments", deployment())
    await client.until_items("pods", lambda pods: len(pods) == 2, fieldSelector="status.phase=Running")
    assert await client.items("pods", fieldSelector="status.phase!=Running") == []
    assert (await client.ask("GET", client.path("pods"), fieldSelector="spec.colour=red"))[0] == 400


async def test_a_list_in_pages_is_one_snapshot(client: ClusterClient) -> None:
    """Pages share a resourceVersion; what is written in between is in none of them."""
    for name in ("a", "b", "c"):
        await client.make("leases", {**lease("x"), "metadata": {"name": name}})
    path = client.path("leases")
    _, first = await client.ask("GET", path, limit="2")
    assert [item["metadata"]["name"] for item in first["items"]] == ["a", "b"]
    await client.make("leases", {**lease("x"), "metadata": {"name": "d"}})
    _, second = await client.ask("GET", path, limit="2", **{"continue": first["metadata"]["continue"]})
    assert [item["metadata"]["name"] for item in second["items"]] == ["c"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert "continue" not in second["metadata"]


async def test_a_list_over_all_namespaces_holds_ours(client: ClusterClient) -> None:
    """The path without a namespace lists every one."""
    await client.make("leases", lease("one"))
    _, answer = await client.ask("GET", "/apis/coordination.k8s.io/v1/leases")
    assert answer["kind"] == "LeaseList"
    assert client.namespace in {item["metadata"]["namespace"] for item in answer["items"]}


async def test_scale_is_a_way_to_the_replicas(client: ClusterClient) -> None:
    """The scale subresource shows and changes spec.replicas."""
    await client.make("deployments", deployment(paused=True))
    path = client.path("deployments", "web") + "/scale"
    status, scale = await client.ask("PATCH", path, {"spec": {"replicas": 4}}, kind=MERGE_PATCH)
    assert (status, scale["kind"], scale["spec"]["replicas"]) == (200, "Scale", 4)
    assert (await client.read("deployments", "web"))["spec"]["replicas"] == 4
