"""DaemonSets: one pod a node, replaced node by node, revisions.

What is claimed here holds for kube-controller-manager 1.20 and 1.36 alike (so no maxSurge). The cluster needs two nodes
or more without a taint.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.contract.cluster_client import (
    JSON_PATCH,
    STRATEGIC_PATCH,
    ClusterClient,
    Json,
    condition,
    daemons_complete,
    daemonset,
    gather_until,
    image_of,
    observed,
    set_image,
)

pytestmark = pytest.mark.real

REVISION_LABEL = "controller-revision-hash"


async def made(client: ClusterClient, body: Json) -> Json:
    await client.make("daemonsets", body)
    done = await client.until("daemonsets", "agent", daemons_complete)
    assert done["status"]["desiredNumberScheduled"] >= 2, "the cluster needs two nodes or more without a taint"
    return done


async def roll(client: ClusterClient, image: str) -> Json:
    await client.patch("daemonsets", "agent", set_image(image), kind=STRATEGIC_PATCH)
    return await client.until("daemonsets", "agent", daemons_complete)


async def revisions(client: ClusterClient) -> dict[str, Json]:
    """The ControllerRevisions by the image they restore."""
    return {image_of(one): one for one in await client.items("controllerrevisions")}


async def images(client: ClusterClient) -> Counter[str]:
    """How many pods that are not being deleted run each image."""
    pods = await client.items("pods")
    return Counter(image_of(pod) for pod in pods if "deletionTimestamp" not in pod["metadata"])


def unavailable(obj: Json) -> int:
    return int(obj["status"].get("numberUnavailable", 0))


async def test_every_node_has_one_pod(client: ClusterClient) -> None:
    """Named after the DaemonSet, each on a node of its own, labelled with the hash, tied to its controller."""
    done = await made(client, daemonset())
    pods = await client.items("pods")
    assert len({pod["spec"]["nodeName"] for pod in pods}) == len(pods) == done["status"]["desiredNumberScheduled"]
    (revision,) = await client.items("controllerrevisions")
    for pod in pods:
        assert pod["metadata"]["name"].startswith("agent-")
        assert pod["metadata"]["labels"][REVISION_LABEL] == revision["metadata"]["labels"][REVISION_LABEL]
        (owner,) = pod["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("DaemonSet", done["metadata"]["uid"], True)
    status = done["status"]
    assert (status["numberMisscheduled"], status.get("numberUnavailable", 0)) == (0, 0)
    assert "collisionCount" not in status


async def test_the_revision_restores_the_template(client: ClusterClient) -> None:
    """One ControllerRevision: number 1, named by its hash, which only the pods' own label holds, data a patch."""
    body = daemonset()
    body["metadata"]["annotations"] = {"kubernetes.io/change-cause": "first"}
    done = await made(client, body)
    (found,) = await client.items("controllerrevisions")
    metadata = found["metadata"]
    assert found["revision"] == 1
    assert metadata["name"] == f"agent-{metadata['labels'][REVISION_LABEL]}"
    assert metadata["labels"]["app"] == "agent"
    assert "controller.kubernetes.io/hash" not in metadata["labels"]
    assert metadata["annotations"]["kubernetes.io/change-cause"] == "first"
    assert metadata["ownerReferences"][0]["uid"] == done["metadata"]["uid"]
    assert found["data"] == {"spec": {"template": {**done["spec"]["template"], "$patch": "replace"}}}


async def test_an_update_goes_node_by_node(client: ClusterClient) -> None:
    """MaxUnavailable 1: at no moment are two nodes without an available pod, and each new pod is on its old node."""
    done = await made(client, daemonset())
    start = done["metadata"]["resourceVersion"]
    nodes = {pod["spec"]["nodeName"] for pod in await client.items("pods")}
    end = await roll(client, "shop:v2")
    async with client.watch("daemonsets", resourceVersion=start) as events:
        last = int(end["metadata"]["resourceVersion"])
        seen = await gather_until(events, lambda event: int(event["object"]["metadata"]["resourceVersion"]) >= last)
    assert max(unavailable(event["object"]) for event in seen) == 1
    pods = await client.items("pods")
    assert {image_of(pod) for pod in pods} == {"shop:v2"}
    assert {pod["spec"]["nodeName"] for pod in pods} == nodes


async def test_a_broken_update_stops_at_its_first_node_and_heals_when_put_back(client: ClusterClient) -> None:
    """One node with the bad pod, the others untouched; with the old template back that pod is replaced unasked."""
    before = await made(client, daemonset())
    total = before["status"]["desiredNumberScheduled"]
    await client.patch("daemonsets", "agent", set_image("shop:v2-unready"), kind=STRATEGIC_PATCH)
    stuck = await client.until(
        "daemonsets", "agent", lambda one: observed(one) and one["status"].get("updatedNumberScheduled") == 1
    )
    # A change that the controller has seen after that, so that "it stops" is not "it had no time yet".
    await client.patch("daemonsets", "agent", {"spec": {"revisionHistoryLimit": 9}})
    stuck = await client.until(
        "daemonsets",
        "agent",
        lambda one: observed(one) and one["status"].get("numberAvailable") == total - 1,
    )
    assert (stuck["status"]["updatedNumberScheduled"], unavailable(stuck)) == (1, 1)
    assert await images(client) == {"shop:v1": total - 1, "shop:v2-unready": 1}
    untouched = {pod["metadata"]["uid"] for pod in await client.items("pods") if image_of(pod) == "shop:v1"}
    patch = [{"op": "replace", "path": "/spec/template", "value": before["spec"]["template"]}]
    await client.patch("daemonsets", "agent", patch, kind=JSON_PATCH)
    await client.until("daemonsets", "agent", daemons_complete)
    pods = await client.items("pods")
    assert {image_of(pod) for pod in pods} == {"shop:v1"}
    assert untouched < {pod["metadata"]["uid"] for pod in pods}


async def test_a_template_that_comes_back_has_its_old_revision_with_a_new_number(client: ClusterClient) -> None:
    """v1, v2, v1: the same ControllerRevision, now number 3, with the annotations of its first day."""
    body = daemonset()
    body["metadata"]["annotations"] = {"kubernetes.io/change-cause": "first"}
    await made(client, body)
    first = (await revisions(client))["shop:v1"]
    await client.patch("daemonsets", "agent", {"metadata": {"annotations": {"kubernetes.io/change-cause": "second"}}})
    await roll(client, "shop:v2")
    await roll(client, "shop:v1")
    found = await revisions(client)
    assert found["shop:v1"]["metadata"]["uid"] == first["metadata"]["uid"]
    assert (found["shop:v1"]["revision"], found["shop:v2"]["revision"]) == (3, 2)
    causes = {one: obj["metadata"]["annotations"]["kubernetes.io/change-cause"] for one, obj in found.items()}
    assert causes == {"shop:v1": "first", "shop:v2": "second"}
    hashes = {pod["metadata"]["labels"][REVISION_LABEL] for pod in await client.items("pods")}
    assert hashes == {first["metadata"]["labels"][REVISION_LABEL]}


async def test_a_revision_patched_in_verbatim_restores_the_template(client: ClusterClient) -> None:
    """What kubectl's undo does: the data as a strategic merge patch; whatever the template gained is gone."""
    before = await made(client, daemonset())
    gained = {"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}
    await client.patch("daemonsets", "agent", gained, kind=STRATEGIC_PATCH)
    await client.until("daemonsets", "agent", daemons_complete)
    oldest = min(await client.items("controllerrevisions"), key=lambda one: one["revision"])
    undone = await client.patch("daemonsets", "agent", oldest["data"], kind=STRATEGIC_PATCH)
    assert undone["spec"] == before["spec"]
    await client.until("daemonsets", "agent", daemons_complete)


async def test_on_delete_waits_for_somebody_to_delete(client: ClusterClient) -> None:
    """OnDelete: no pod is touched; the one that is deleted comes back new, on its node."""
    before = await made(client, daemonset(updateStrategy={"type": "OnDelete"}))
    total = before["status"]["desiredNumberScheduled"]
    await client.patch("daemonsets", "agent", set_image("shop:v2"), kind=STRATEGIC_PATCH)
    seen = await client.until(
        "daemonsets", "agent", lambda one: observed(one) and not one["status"].get("updatedNumberScheduled")
    )
    assert seen["status"]["numberAvailable"] == total
    assert await images(client) == {"shop:v1": total}
    victim = (await client.items("pods"))[0]
    await client.ask("DELETE", client.path("pods", victim["metadata"]["name"]))
    await client.until(
        "daemonsets",
        "agent",
        lambda one: one["status"].get("updatedNumberScheduled") == 1 and one["status"].get("numberReady") == total,
    )
    (fresh,) = [pod for pod in await client.items("pods") if image_of(pod) == "shop:v2"]
    assert fresh["spec"]["nodeName"] == victim["spec"]["nodeName"]


async def test_history_is_cleaned_to_its_limit(client: ClusterClient) -> None:
    """With revisionHistoryLimit 1, after v1 to v3 the present revision and one old one are left."""
    await made(client, daemonset(revisionHistoryLimit=1))
    for image in ("shop:v2", "shop:v3"):
        await roll(client, image)
    found = await client.until_items("controllerrevisions", lambda items: len(items) == 2)
    assert {image_of(one): one["revision"] for one in found} == {"shop:v2": 2, "shop:v3": 3}


@pytest.mark.parametrize("percent", [100, 34])
async def test_more_unavailable_at_a_time_when_allowed(client: ClusterClient, percent: int) -> None:
    """MaxUnavailable in percent of the wanted pods, rounded up: so many old pods go before a new one is ready."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": f"{percent}%"}}
    done = await made(client, daemonset(updateStrategy=strategy))
    await client.patch("daemonsets", "agent", set_image("shop:v2-unready"), kind=STRATEGIC_PATCH)
    total = done["status"]["desiredNumberScheduled"]
    allowed = -(-total * percent // 100)
    await client.until(
        "daemonsets", "agent", lambda one: observed(one) and one["status"].get("updatedNumberScheduled") == allowed
    )
    assert await images(client) == Counter({"shop:v2-unready": allowed, "shop:v1": total - allowed})


async def test_on_delete_leaves_a_sick_pod_alone(client: ClusterClient) -> None:
    """A rolling update would replace old pods that are not ready at once; OnDelete does not."""
    await client.make("daemonsets", daemonset(image="shop:v1-unready", updateStrategy={"type": "OnDelete"}))
    await client.until_items(
        "pods", lambda pods: bool(pods) and all(pod["status"]["phase"] == "Running" for pod in pods)
    )
    await client.patch("daemonsets", "agent", set_image("shop:v2"), kind=STRATEGIC_PATCH)
    seen = await client.until(
        "daemonsets", "agent", lambda one: observed(one) and not one["status"].get("updatedNumberScheduled")
    )
    assert await images(client) == {"shop:v1-unready": seen["status"]["desiredNumberScheduled"]}


async def test_a_deleted_pod_is_replaced_on_its_node(client: ClusterClient) -> None:
    """The node gets another pod of the same revision."""
    await made(client, daemonset())
    victim = (await client.items("pods"))[0]
    await client.ask("DELETE", client.path("pods", victim["metadata"]["name"]))

    def is_back(pods: list[Json]) -> bool:
        others = [pod for pod in pods if pod["metadata"]["uid"] != victim["metadata"]["uid"]]
        there = [pod for pod in others if pod["spec"].get("nodeName") == victim["spec"]["nodeName"]]
        return len(there) == 1 and condition(there[0], "Ready").get("status") == "True"

    await client.until_items("pods", is_back)


async def test_a_node_selector_that_fits_no_node_wants_no_pod(client: ClusterClient) -> None:
    """Desired falls to 0 and the pods go."""
    await made(client, daemonset())
    selector = {"spec": {"template": {"spec": {"nodeSelector": {"sandbox.example/none": "x"}}}}}
    await client.patch("daemonsets", "agent", selector, kind=STRATEGIC_PATCH)
    gone = await client.until("daemonsets", "agent", lambda one: observed(one) and not one["status"]["numberReady"])
    assert gone["status"]["desiredNumberScheduled"] == 0
    await client.until_items("pods", lambda pods: not pods)


async def test_a_name_that_is_taken_counts_as_a_collision(client: ClusterClient) -> None:
    """A foreign ControllerRevision with the name of ours: collisionCount 1, and another name."""
    await made(client, daemonset())
    (first,) = await client.items("controllerrevisions")
    name, name_hash = first["metadata"]["name"], first["metadata"]["labels"][REVISION_LABEL]
    await client.ask("DELETE", client.path("daemonsets", "agent"))
    await client.until_items("controllerrevisions", lambda found: not found)
    await client.until_items("pods", lambda found: not found)
    await client.make("controllerrevisions", {"metadata": {"name": name}, "revision": 7, "data": {"a": "b"}})
    again = await made(client, daemonset())
    assert again["status"]["collisionCount"] == 1
    assert name_hash not in {pod["metadata"]["labels"][REVISION_LABEL] for pod in await client.items("pods")}


async def test_a_deleted_set_takes_pods_and_revisions_with_it(client: ClusterClient) -> None:
    """Garbage collection: no pod and no ControllerRevision is left."""
    await made(client, daemonset())
    status, _ = await client.ask("DELETE", client.path("daemonsets", "agent"))
    assert status == 200
    await client.until_items("pods", lambda pods: not pods)
    await client.until_items("controllerrevisions", lambda found: not found)
