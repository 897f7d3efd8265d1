"""Deployments roll: revisions, annotations, limits, conditions, history."""

from __future__ import annotations

import asyncio

import pytest

from tests.contract.cluster_client import (
    JSON_PATCH,
    STRATEGIC_PATCH,
    ClusterClient,
    Json,
    complete,
    condition,
    deployment,
    gather_until,
    revision,
    set_image,
)

pytestmark = pytest.mark.real

HISTORY = "deployment.kubernetes.io/revision-history"


async def roll(client: ClusterClient, image: str) -> Json:
    await client.patch("deployments", "web", set_image(image), kind=STRATEGIC_PATCH)
    return await client.until("deployments", "web", complete)


async def by_image(client: ClusterClient) -> dict[str, Json]:
    sets = await client.items("replicasets")
    return {one["spec"]["template"]["spec"]["containers"][0]["image"]: one for one in sets}


async def test_a_first_rollout_ends_available(client: ClusterClient) -> None:
    """One ReplicaSet, named and labelled by its hash, owned; revision 1; both conditions True with their reasons."""
    await client.make("deployments", deployment())
    done = await client.until("deployments", "web", lambda one: complete(one) and revision(one) == "1")
    (found,) = await client.items("replicasets")
    name_hash = found["metadata"]["labels"]["pod-template-hash"]
    assert found["metadata"]["name"] == f"web-{name_hash}"
    assert found["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": name_hash}
    (owner,) = found["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == (done["metadata"]["uid"], True)
    done = await client.until(
        "deployments", "web", lambda one: condition(one, "Progressing").get("reason") == "NewReplicaSetAvailable"
    )
    assert condition(done, "Progressing")["status"] == "True"
    assert condition(done, "Available")["reason"] == "MinimumReplicasAvailable"
    assert done["status"]["readyReplicas"] == 2
    assert "unavailableReplicas" not in done["status"]


async def test_pods_are_joined_to_their_replicaset(client: ClusterClient) -> None:
    """A pod carries the hash label, its controller's uid, and once running an imageID, a start time and an address."""
    await client.make("deployments", deployment())
    await client.until("deployments", "web", complete)
    (owner,) = await client.items("replicasets")
    for pod in await client.items("pods"):
        assert pod["metadata"]["name"].startswith(owner["metadata"]["name"] + "-")
        assert pod["metadata"]["ownerReferences"][0]["uid"] == owner["metadata"]["uid"]
        assert pod["metadata"]["labels"]["pod-template-hash"] == owner["metadata"]["labels"]["pod-template-hash"]
        assert pod["status"]["containerStatuses"][0]["imageID"]
        assert pod["status"]["startTime"]
        assert pod["status"]["podIP"]
        assert condition(pod, "Ready")["status"] == "True"


async def test_revisions_move_on_when_a_template_comes_back(client: ClusterClient) -> None:
    """v1, v2, v1 again: the same ReplicaSet, now revision 3, with its old number 1 in its history."""
    await client.make("deployments", deployment())
    await client.until("deployments", "web", complete)
    first = (await by_image(client))["shop:v1"]["metadata"]["uid"]
    await roll(client, "shop:v2")
    await roll(client, "shop:v1")
    done = await client.until("deployments", "web", lambda one: revision(one) == "3")
    assert complete(done)
    sets = await by_image(client)
    assert sets["shop:v1"]["metadata"]["uid"] == first
    assert (revision(sets["shop:v1"]), revision(sets["shop:v2"])) == ("3", "2")
    assert sets["shop:v1"]["metadata"]["annotations"][HISTORY] == "1"
    assert (sets["shop:v1"]["spec"]["replicas"], sets["shop:v2"]["spec"]["replicas"]) == (2, 0)


async def test_the_revision_is_written_after_the_replicaset(client: ClusterClient) -> None:
    """A watcher sees the new template with the old revision first: the number is no sign of the change."""
    await client.make("deployments", deployment())
    await client.until("deployments", "web", complete)
    _, listed = await client.ask("GET", client.path("deployments"))
    start = listed["metadata"]["resourceVersion"]
    await roll(client, "shop:v2")
    async with client.watch("deployments", resourceVersion=start) as events:
        seen = await gather_until(events, lambda event: revision(event["object"]) == "2")
    first = seen[0]["object"]
    assert first["spec"]["template"]["spec"]["containers"][0]["image"] == "shop:v2"
    assert revision(first) == "1"
    newest = (await by_image(client))["shop:v2"]["metadata"]
    assert newest["annotations"]["deployment.kubernetes.io/desired-replicas"] == "2"


async def test_annotations_are_handed_down_except_the_controllers_own(client: ClusterClient) -> None:
    """A ReplicaSet inherits the Deployment's annotations, but not last-applied-configuration."""
    body = deployment()
    body["metadata"]["annotations"] = {
        "kubernetes.io/change-cause": "first",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
    }
    await client.make("deployments", body)
    (found,) = await client.until_items("replicasets", lambda sets: len(sets) == 1)
    assert found["metadata"]["annotations"]["kubernetes.io/change-cause"] == "first"
    assert "kubectl.kubernetes.io/last-applied-configuration" not in found["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("surge", "unavailable", "most", "fewest"), [(1, 0, 5, 4), (0, "25%", 4, 3), ("50%", "50%", 6, 2)]
)
async def test_a_rollout_keeps_its_limits(
    client: ClusterClient, surge: int | str, unavailable: int | str, most: int, fewest: int
) -> None:
    """At no moment are more pods asked for than desired + maxSurge, or fewer available than desired - maxUnavailable."""
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    await client.make(
        "deployments", deployment(replicas=4, strategy={"type": "RollingUpdate", "rollingUpdate": rolling})
    )
    await client.until("deployments", "web", complete)
    _, listed = await client.ask("GET", client.path("replicasets"))
    await roll(client, "shop:v2")
    sets = await history(client, "replicasets", listed["metadata"]["resourceVersion"])
    sizes = {one["metadata"]["uid"]: one["spec"]["replicas"] for one in listed["items"]}
    for one in sets:
        sizes[one["metadata"]["uid"]] = one["spec"]["replicas"]
        # The status would not do: a real controller adds up what each ReplicaSet said last, at different moments.
        assert sum(sizes.values()) <= most
    seen = await history(client, "deployments", listed["metadata"]["resourceVersion"])
    assert min(one["status"].get("availableReplicas", 0) for one in seen) >= fewest


async def history(client: ClusterClient, plural: str, start: str) -> list[Json]:
    """All that the objects of the collection were since `start`, up to what they are now."""
    last = max(int(one["metadata"]["resourceVersion"]) for one in await client.items(plural))
    async with client.watch(plural, resourceVersion=start) as events:
        seen = await gather_until(events, lambda event: int(event["object"]["metadata"]["resourceVersion"]) >= last)
    return [event["object"] for event in seen]


async def test_a_revision_that_never_becomes_ready_runs_into_its_deadline(client: ClusterClient) -> None:
    """Progressing turns False with ProgressDeadlineExceeded, the old pods stay available, rolling back heals it."""
    await client.make("deployments", deployment(progressDeadlineSeconds=2, replicas=3))
    before = await client.until("deployments", "web", complete)
    await client.patch("deployments", "web", set_image("shop:v2-unready"), kind=STRATEGIC_PATCH)
    stuck = await client.until(
        "deployments", "web", lambda one: condition(one, "Progressing").get("reason") == "ProgressDeadlineExceeded"
    )
    assert condition(stuck, "Progressing")["status"] == "False"
    assert condition(stuck, "Available")["status"] == "True"
    assert stuck["status"]["updatedReplicas"] == 1
    patch = [
        {"op": "test", "path": "/metadata/uid", "value": before["metadata"]["uid"]},
        {"op": "test", "path": "/spec/template", "value": stuck["spec"]["template"]},
        {"op": "replace", "path": "/spec/template", "value": before["spec"]["template"]},
    ]
    await client.patch("deployments", "web", patch, kind=JSON_PATCH)
    healed = await client.until(
        "deployments",
        "web",
        lambda one: complete(one) and condition(one, "Progressing").get("reason") == "NewReplicaSetAvailable",
    )
    assert revision(healed) == "3"


async def test_a_paused_deployment_does_not_roll(client: ClusterClient) -> None:
    """Paused: the template may change, but no ReplicaSet appears until it is resumed."""
    await client.make("deployments", deployment())
    await client.until("deployments", "web", complete)
    await client.patch("deployments", "web", {"spec": {"paused": True}})
    await client.until(
        "deployments", "web", lambda one: condition(one, "Progressing").get("reason") == "DeploymentPaused"
    )
    await client.patch("deployments", "web", set_image("shop:v2"), kind=STRATEGIC_PATCH)
    await client.until(
        "deployments", "web", lambda one: one["status"]["observedGeneration"] == one["metadata"]["generation"]
    )
    assert set(await by_image(client)) == {"shop:v1"}
    await client.patch("deployments", "web", {"spec": {"paused": False}})
    await client.until("deployments", "web", lambda one: complete(one) and revision(one) == "2")


async def test_recreate_has_one_revision_at_a_time(client: ClusterClient) -> None:
    """With strategy Recreate the old pods are gone before a new one is made."""
    await client.make("deployments", deployment(strategy={"type": "Recreate"}))
    await client.until("deployments", "web", complete)
    _, listed = await client.ask("GET", client.path("pods"))
    await roll(client, "shop:v2")
    async with client.watch("pods", resourceVersion=listed["metadata"]["resourceVersion"]) as events:
        seen = await gather_until(events, lambda event: event["type"] == "ADDED")
    assert [event["type"] for event in seen].count("DELETED") == 2


async def test_history_is_cleaned_to_its_limit(client: ClusterClient) -> None:
    """With revisionHistoryLimit 1, after three rollouts the current and one old ReplicaSet are left."""
    await client.make("deployments", deployment(revisionHistoryLimit=1, replicas=1))
    await client.until("deployments", "web", complete)
    for image in ("shop:v2", "shop:v3"):
        await roll(client, image)
    sets = await client.until_items("replicasets", lambda found: len(found) == 2)
    assert {revision(one) for one in sets} == {"2", "3"}


async def test_min_ready_seconds_delays_availability(client: ClusterClient) -> None:
    """A pod is ready at once and available only after minReadySeconds."""
    await client.make("deployments", deployment(replicas=1, minReadySeconds=2))
    ready = await client.until("deployments", "web", lambda one: one["status"].get("readyReplicas") == 1)
    assert ready["status"].get("availableReplicas", 0) == 0
    assert condition(ready, "Available")["status"] == "False"
    await client.until("deployments", "web", complete)


async def test_a_change_of_size_is_no_rollout(client: ClusterClient) -> None:
    """Scaling up and down keeps revision and ReplicaSet."""
    await client.make("deployments", deployment())
    await client.until("deployments", "web", complete)
    for size in (4, 1):
        await client.patch("deployments", "web", {"spec": {"replicas": size}})
        done = await client.until("deployments", "web", complete)
        assert revision(done) == "1"
    await client.until_items("pods", lambda pods: len(pods) == 1)
    assert len(await client.items("replicasets")) == 1


async def test_a_size_that_changes_in_the_middle_of_a_rollout_is_reached(client: ClusterClient) -> None:
    """Scaling while two revisions run ends with the new size, all of the new revision."""
    await client.make("deployments", deployment(replicas=4))
    await client.until("deployments", "web", complete)
    await client.patch("deployments", "web", set_image("shop:v2"), kind=STRATEGIC_PATCH)
    await client.until("deployments", "web", lambda one: one["status"].get("updatedReplicas", 0) >= 1)
    await client.patch("deployments", "web", {"spec": {"replicas": 7}})
    await client.until("deployments", "web", lambda one: complete(one) and revision(one) == "2")
    sets = await by_image(client)
    assert (sets["shop:v2"]["spec"]["replicas"], sets["shop:v1"]["spec"]["replicas"]) == (7, 0)


async def test_a_deleted_pod_is_replaced(client: ClusterClient) -> None:
    """A pod that is deleted terminates gracefully, and another one takes its place."""
    await client.make("deployments", deployment(replicas=1))
    await client.until("deployments", "web", complete)
    (pod,) = await client.items("pods")
    name = pod["metadata"]["name"]
    status, answer = await client.ask("DELETE", client.path("pods", name))
    assert status == 200
    assert answer["metadata"]["deletionTimestamp"]
    await client.until_items("pods", lambda pods: len(pods) == 1 and pods[0]["metadata"]["name"] != name)
    await asyncio.wait_for(client.until("deployments", "web", complete), 10)
