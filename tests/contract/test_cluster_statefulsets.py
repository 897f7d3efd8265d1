"""StatefulSets: pods in order, revisions, partitions, and the broken pod that blocks its set.

What is claimed here holds for kube-controller-manager 1.20 and 1.36 alike; fields that came in between are not.
"""

from __future__ import annotations

import pytest

from tests.contract.cluster_client import (
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    ClusterClient,
    Json,
    condition,
    gather_until,
    image_of,
    observed,
    set_complete,
    set_image,
    statefulset,
)

pytestmark = pytest.mark.real

REVISION_LABEL = "controller-revision-hash"


async def made(client: ClusterClient, body: Json) -> Json:
    await client.make("statefulsets", body)
    return await client.until("statefulsets", "db", set_complete)


async def roll(client: ClusterClient, image: str) -> Json:
    await client.patch("statefulsets", "db", set_image(image), kind=STRATEGIC_PATCH)
    return await client.until("statefulsets", "db", set_complete)


async def revisions(client: ClusterClient) -> dict[str, Json]:
    """The ControllerRevisions by the image they restore."""
    return {image_of(one): one for one in await client.items("controllerrevisions")}


async def images(client: ClusterClient) -> dict[str, str]:
    """The image of each pod that is not being deleted, by its name."""
    pods = await client.items("pods")
    return {one["metadata"]["name"]: image_of(one) for one in pods if "deletionTimestamp" not in one["metadata"]}


async def broken(client: ClusterClient) -> Json:
    """Three pods of v1, then v2 that never becomes ready: db-2 is stuck in it."""
    before = await made(client, statefulset())
    await client.patch("statefulsets", "db", set_image("shop:v2-unready"), kind=STRATEGIC_PATCH)
    await client.until_items(
        "pods",
        lambda pods: any(image_of(pod) == "shop:v2-unready" and pod["status"]["phase"] == "Running" for pod in pods),
    )
    return before


async def put_back(client: ClusterClient, template: Json) -> Json:
    patch = [{"op": "replace", "path": "/spec/template", "value": template}]
    return await client.patch("statefulsets", "db", patch, kind=JSON_PATCH)


async def test_pods_have_names_labels_and_one_controller(client: ClusterClient) -> None:
    """db-0 to db-2, each labelled with its own name and with the full name of its ControllerRevision."""
    done = await made(client, statefulset())
    pods = await client.items("pods")
    assert [pod["metadata"]["name"] for pod in pods] == ["db-0", "db-1", "db-2"]
    for pod in pods:
        labels = pod["metadata"]["labels"]
        assert labels[REVISION_LABEL] == done["status"]["updateRevision"]
        assert labels["statefulset.kubernetes.io/pod-name"] == pod["metadata"]["name"]
        assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == (pod["metadata"]["name"], "db")
        (owner,) = pod["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("StatefulSet", done["metadata"]["uid"], True)


async def test_the_revision_restores_the_template(client: ClusterClient) -> None:
    """One ControllerRevision: number 1, named by its hash, owned, data a patch that replaces the whole template."""
    body = statefulset()
    body["metadata"]["annotations"] = {"kubernetes.io/change-cause": "first"}
    done = await made(client, body)
    (found,) = await client.items("controllerrevisions")
    metadata = found["metadata"]
    assert found["revision"] == 1
    assert metadata["name"] == done["status"]["updateRevision"] == done["status"]["currentRevision"]
    assert metadata["name"] == f"db-{metadata['labels']['controller.kubernetes.io/hash']}"
    assert metadata["labels"]["app"] == "db"
    assert REVISION_LABEL not in metadata["labels"]
    assert metadata["annotations"]["kubernetes.io/change-cause"] == "first"
    assert metadata["ownerReferences"][0]["uid"] == done["metadata"]["uid"]
    assert found["data"] == {"spec": {"template": {**done["spec"]["template"], "$patch": "replace"}}}


async def test_pods_start_one_after_another(client: ClusterClient) -> None:
    """OrderedReady: a pod is made when the one before it is ready."""
    _, listed = await client.ask("GET", client.path("pods"))
    await made(client, statefulset())
    async with client.watch("pods", resourceVersion=listed["metadata"]["resourceVersion"]) as events:
        seen = await gather_until(
            events, lambda event: event["type"] == "ADDED" and event["object"]["metadata"]["name"] == "db-2"
        )
    ready: set[str] = set()
    for event in seen:
        pod = event["object"]
        name = pod["metadata"]["name"]
        if event["type"] == "ADDED" and name != "db-0":
            assert f"db-{int(name[-1]) - 1}" in ready
        if condition(pod, "Ready").get("status") == "True":
            ready.add(name)


async def test_an_ordered_set_waits_for_its_first_pod(client: ClusterClient) -> None:
    """A pod that is never ready keeps the next one from being made; a Parallel set makes all at once."""
    await client.make("statefulsets", statefulset(image="shop:v1-unready"))
    await client.make("statefulsets", statefulset("all", "shop:v1-unready", podManagementPolicy="Parallel"))
    await client.until("statefulsets", "all", lambda one: one["status"].get("replicas") == 3)
    waiting = await client.until("statefulsets", "db", lambda one: observed(one) and one["status"]["replicas"] == 1)
    assert waiting["status"].get("readyReplicas", 0) == 0
    assert {name for name in await images(client) if name.startswith("db-")} == {"db-0"}


async def test_an_update_goes_from_the_highest_ordinal_down(client: ClusterClient) -> None:
    """One pod at a time: db-2, db-1, db-0, each ready before the next is deleted; never two missing."""
    done = await made(client, statefulset())
    _, listed = await client.ask("GET", client.path("pods"))
    first = done["status"]["currentRevision"]
    done = await roll(client, "shop:v2")
    assert done["status"]["currentRevision"] != first
    async with client.watch("pods", resourceVersion=listed["metadata"]["resourceVersion"]) as events:
        seen = await gather_until(
            events,
            lambda event: (
                event["object"]["metadata"]["name"] == "db-0"
                and image_of(event["object"]) == "shop:v2"
                and condition(event["object"], "Ready").get("status") == "True"
            ),
        )
    gone = [event["object"]["metadata"]["name"] for event in seen if event["type"] == "DELETED"]
    assert gone == ["db-2", "db-1", "db-0"]
    ready = {"db-0", "db-1", "db-2"}
    for event in seen:
        pod = event["object"]
        is_ready = event["type"] != "DELETED" and condition(pod, "Ready").get("status") == "True"
        (ready.add if is_ready else ready.discard)(pod["metadata"]["name"])
        assert len(ready) >= 2


async def test_in_the_middle_the_status_tells_the_revisions_apart(client: ClusterClient) -> None:
    """Stuck at the first pod: two pods current, one updated, and the two revisions are named."""
    before = await broken(client)
    stuck = await client.until("statefulsets", "db", lambda one: one["status"].get("updatedReplicas") == 1)
    status = stuck["status"]
    assert status["currentRevision"] == before["status"]["currentRevision"]
    assert status["updateRevision"] == (await revisions(client))["shop:v2-unready"]["metadata"]["name"]
    assert (status["replicas"], status["readyReplicas"], status["currentReplicas"]) == (3, 2, 2)


async def test_a_template_that_comes_back_has_its_old_revision_with_a_new_number(client: ClusterClient) -> None:
    """v1, v2, v1: the same ControllerRevision, now number 3, with the annotations of its first day."""
    body = statefulset(replicas=1)
    body["metadata"]["annotations"] = {"kubernetes.io/change-cause": "first"}
    await made(client, body)
    first = (await revisions(client))["shop:v1"]
    await client.patch("statefulsets", "db", {"metadata": {"annotations": {"kubernetes.io/change-cause": "second"}}})
    await roll(client, "shop:v2")
    done = await roll(client, "shop:v1")
    found = await revisions(client)
    assert found["shop:v1"]["metadata"]["uid"] == first["metadata"]["uid"]
    assert (found["shop:v1"]["revision"], found["shop:v2"]["revision"]) == (3, 2)
    assert done["status"]["updateRevision"] == first["metadata"]["name"]
    causes = {one: obj["metadata"]["annotations"]["kubernetes.io/change-cause"] for one, obj in found.items()}
    assert causes == {"shop:v1": "first", "shop:v2": "second"}


async def test_a_revision_patched_in_verbatim_restores_the_template(client: ClusterClient) -> None:
    """What kubectl's undo does: the data as a strategic merge patch; whatever the template gained is gone."""
    before = await made(client, statefulset(replicas=1))
    await client.patch(
        "statefulsets", "db", {"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}, kind=STRATEGIC_PATCH
    )
    await roll(client, "shop:v2")
    oldest = min(await client.items("controllerrevisions"), key=lambda one: one["revision"])
    data = oldest["data"]
    dry = await client.patch("statefulsets", "db", data, kind=STRATEGIC_PATCH, dryRun="All")
    assert dry["spec"]["template"] == before["spec"]["template"]
    await client.until("statefulsets", "db", lambda one: image_of(one) == "shop:v2" and set_complete(one))
    undone = await client.patch("statefulsets", "db", data, kind=STRATEGIC_PATCH)
    assert undone["spec"] == before["spec"]
    await client.until("statefulsets", "db", set_complete)


async def test_a_broken_pod_blocks_an_ordered_set_after_the_template_was_put_back(client: ClusterClient) -> None:
    """kubernetes#67250: db-2 keeps the bad template, the status already speaks of the old one, until db-2 is deleted."""
    before = await broken(client)
    await put_back(client, before["spec"]["template"])
    stuck = await client.until(
        "statefulsets",
        "db",
        lambda one: observed(one) and one["status"]["updateRevision"] == before["status"]["updateRevision"],
    )
    # A change that the controller has seen after that, so that "it does nothing" is not "it did nothing yet".
    await client.patch("statefulsets", "db", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 1}}}})
    stuck = await client.until("statefulsets", "db", observed)
    assert (await images(client))["db-2"] == "shop:v2-unready"
    assert (stuck["status"]["readyReplicas"], stuck["status"]["updatedReplicas"]) == (2, 2)
    status, _ = await client.ask("DELETE", client.path("pods", "db-2"))
    assert status == 200
    await client.until("statefulsets", "db", set_complete)
    assert set((await images(client)).values()) == {"shop:v1"}


async def test_a_parallel_set_takes_its_broken_pod_back_by_itself(client: ClusterClient) -> None:
    """The same with podManagementPolicy Parallel needs no help."""
    before = await made(client, statefulset(podManagementPolicy="Parallel"))
    await client.patch("statefulsets", "db", set_image("shop:v2-unready"), kind=STRATEGIC_PATCH)
    await client.until("statefulsets", "db", lambda one: one["status"].get("updatedReplicas") == 1)
    await put_back(client, before["spec"]["template"])
    await client.until("statefulsets", "db", set_complete)
    assert set((await images(client)).values()) == {"shop:v1"}


async def test_a_partition_keeps_the_lower_ordinals_old(client: ClusterClient) -> None:
    """Partition 2 of 3: only db-2 is updated, a deleted db-0 comes back old; partition 0 finishes the rollout."""
    await made(client, statefulset(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}))
    await client.patch("statefulsets", "db", set_image("shop:v2"), kind=STRATEGIC_PATCH)
    held = await client.until(
        "statefulsets",
        "db",
        lambda one: one["status"].get("updatedReplicas") == 1 and one["status"].get("readyReplicas") == 3,
    )
    assert held["status"]["currentReplicas"] == 2
    assert held["status"]["currentRevision"] != held["status"]["updateRevision"]
    uid = (await client.read("pods", "db-0"))["metadata"]["uid"]
    await client.ask("DELETE", client.path("pods", "db-0"))
    await client.until_items(
        "pods", lambda pods: any(pod["metadata"]["name"] == "db-0" and pod["metadata"]["uid"] != uid for pod in pods)
    )
    assert await images(client) == {"db-0": "shop:v1", "db-1": "shop:v1", "db-2": "shop:v2"}
    await client.patch("statefulsets", "db", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}})
    await client.until("statefulsets", "db", set_complete)
    assert set((await images(client)).values()) == {"shop:v2"}


async def test_on_delete_waits_for_somebody_to_delete(client: ClusterClient) -> None:
    """OnDelete: the revision is made, no pod is touched; a deleted pod comes back new; current never moves."""
    before = await made(client, statefulset(replicas=2, updateStrategy={"type": "OnDelete"}))
    await client.patch("statefulsets", "db", set_image("shop:v2"), kind=STRATEGIC_PATCH)
    seen = await client.until("statefulsets", "db", observed)
    assert seen["status"]["updateRevision"] == (await revisions(client))["shop:v2"]["metadata"]["name"]
    assert await images(client) == {"db-0": "shop:v1", "db-1": "shop:v1"}
    for name in ("db-0", "db-1"):
        await client.ask("DELETE", client.path("pods", name))
    done = await client.until(
        "statefulsets",
        "db",
        lambda one: one["status"].get("updatedReplicas") == 2 and one["status"].get("readyReplicas") == 2,
    )
    assert set((await images(client)).values()) == {"shop:v2"}
    assert done["status"]["currentRevision"] == before["status"]["currentRevision"]


async def test_history_is_cleaned_to_its_limit(client: ClusterClient) -> None:
    """With revisionHistoryLimit 1, after v1 to v3 the live revision and one old one are left."""
    await made(client, statefulset(replicas=1, revisionHistoryLimit=1))
    for image in ("shop:v2", "shop:v3"):
        await roll(client, image)
    found = await client.until_items("controllerrevisions", lambda items: len(items) == 2)
    assert {image_of(one): one["revision"] for one in found} == {"shop:v2": 2, "shop:v3": 3}


async def test_a_change_of_size_is_no_rollout(client: ClusterClient) -> None:
    """Pods come at the end and go from the end; the revision stays."""
    await made(client, statefulset(replicas=1))
    for size in (3, 1):
        await client.patch("statefulsets", "db", {"spec": {"replicas": size}})
        await client.until("statefulsets", "db", set_complete)
        assert set(await images(client)) == {f"db-{number}" for number in range(size)}
    (found,) = await client.items("controllerrevisions")
    assert found["revision"] == 1


async def test_pods_go_one_after_another_from_the_end(client: ClusterClient) -> None:
    """OrderedReady: db-1 is not deleted before db-2 is gone."""
    await made(client, statefulset())
    _, listed = await client.ask("GET", client.path("pods"))
    await client.patch("statefulsets", "db", {"spec": {"replicas": 0}})
    await client.until_items("pods", lambda pods: not pods)
    async with client.watch("pods", resourceVersion=listed["metadata"]["resourceVersion"]) as events:
        seen = await gather_until(
            events, lambda event: event["type"] == "DELETED" and event["object"]["metadata"]["name"] == "db-0"
        )
    leaving: set[str] = set()
    gone: list[str] = []
    for event in seen:
        metadata = event["object"]["metadata"]
        if event["type"] == "DELETED":
            gone.append(metadata["name"])
            leaving.discard(metadata["name"])
        elif "deletionTimestamp" in metadata:
            leaving.add(metadata["name"])
        assert len(leaving) <= 1
    assert gone == ["db-2", "db-1", "db-0"]


async def test_a_name_that_is_taken_counts_as_a_collision(client: ClusterClient) -> None:
    """A foreign ControllerRevision with the name of ours: collisionCount 1, and another name."""
    done = await made(client, statefulset(replicas=1))
    name = done["status"]["updateRevision"]
    await client.ask("DELETE", client.path("statefulsets", "db"))
    await client.until_items("controllerrevisions", lambda found: not found)
    await client.until_items("pods", lambda found: not found)
    await client.make("controllerrevisions", {"metadata": {"name": name}, "revision": 7, "data": {"a": "b"}})
    again = await made(client, statefulset(replicas=1))
    assert again["status"]["collisionCount"] == 1
    assert again["status"]["updateRevision"] != name
    assert (await client.read("controllerrevisions", name))["data"] == {"a": "b"}


async def test_the_data_of_a_revision_is_immutable(client: ClusterClient) -> None:
    """Its number may move, its data may not (422)."""
    done = await made(client, statefulset(replicas=1))
    name = done["status"]["updateRevision"]
    path = client.path("controllerrevisions", name)

    status, refused = await client.ask("PATCH", path, {"data": {"spec": None}}, kind=MERGE_PATCH)
    assert (status, refused["reason"]) == (422, "Invalid")
    assert (await client.patch("controllerrevisions", name, {"revision": 9}))["revision"] == 9


async def test_claims_are_made_once_and_stay(client: ClusterClient) -> None:
    """One PersistentVolumeClaim per pod, mounted by its template's name; a pod that is gone leaves its own."""
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    await client.make("statefulsets", statefulset(replicas=1, volumeClaimTemplates=[claim]))
    (pod,) = await client.until_items("pods", lambda pods: len(pods) == 1)
    mounted = {one["name"]: one.get("persistentVolumeClaim", {}).get("claimName") for one in pod["spec"]["volumes"]}
    assert mounted["data"] == "data-db-0"
    (found,) = await client.items("persistentvolumeclaims")
    assert (found["metadata"]["name"], found["metadata"]["labels"]) == ("data-db-0", {"app": "db"})
    await client.patch("statefulsets", "db", {"spec": {"replicas": 0}})
    await client.until_items("pods", lambda pods: not pods)
    assert len(await client.items("persistentvolumeclaims")) == 1


async def test_a_deleted_set_takes_pods_and_revisions_with_it(client: ClusterClient) -> None:
    """Garbage collection: no pod and no ControllerRevision is left."""
    await made(client, statefulset(replicas=2))
    status, _ = await client.ask("DELETE", client.path("statefulsets", "db"))
    assert status == 200
    await client.until_items("pods", lambda pods: not pods)
    await client.until_items("controllerrevisions", lambda found: not found)


async def test_orphans_are_adopted_by_a_set_of_the_same_name(client: ClusterClient) -> None:
    """Deleted with Orphan, made again: the same pods and the same ControllerRevision, under the new set's uid."""
    await made(client, statefulset(replicas=2))
    pods = {pod["metadata"]["uid"] for pod in await client.items("pods")}
    await client.ask("DELETE", client.path("statefulsets", "db"), {"propagationPolicy": "Orphan"})
    await client.until_items("statefulsets", lambda found: not found)
    done = await made(client, statefulset(replicas=2))
    found = await client.items("pods")
    assert {pod["metadata"]["uid"] for pod in found} == pods
    owned = [*found, *await client.items("controllerrevisions")]
    assert {one["metadata"]["ownerReferences"][0]["uid"] for one in owned} == {done["metadata"]["uid"]}
