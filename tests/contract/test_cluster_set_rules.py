"""What the API server makes of a StatefulSet or DaemonSet before any controller sees it: defaults and refusals.

What is claimed here holds for kube-apiserver 1.20 and 1.36 alike.
"""

from __future__ import annotations

import pytest

from tests.contract.cluster_client import (
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    ClusterClient,
    Json,
    daemonset,
    image_of,
    set_image,
    statefulset,
)

pytestmark = pytest.mark.real

ROLLING = {"type": "RollingUpdate"}
GENERATION = "deprecated.daemonset.template.generation"


async def test_the_server_fills_in_a_statefulset(client: ClusterClient) -> None:
    """OrderedReady, RollingUpdate from partition 0, ten old revisions; a strategy that is named gets no partition."""
    made_plain = await client.make("statefulsets", statefulset(replicas=0))
    spec = made_plain["spec"]
    assert (spec["podManagementPolicy"], spec["revisionHistoryLimit"]) == ("OrderedReady", 10)
    assert spec["updateStrategy"]["type"] == "RollingUpdate"
    assert spec["updateStrategy"]["rollingUpdate"]["partition"] == 0
    named = await client.make("statefulsets", statefulset("named", replicas=0, updateStrategy=ROLLING))
    assert named["spec"]["updateStrategy"] == ROLLING


async def test_the_server_fills_in_a_daemonset(client: ClusterClient) -> None:
    """RollingUpdate with one unavailable, ten old revisions, and the count of templates as an annotation."""
    plain = await client.make("daemonsets", daemonset(updateStrategy={"type": "RollingUpdate"}))
    assert plain["spec"]["revisionHistoryLimit"] == 10
    assert plain["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] == 1
    assert plain["metadata"]["annotations"][GENERATION] == "1"
    changed = await client.patch("daemonsets", "agent", set_image("shop:v2"), kind=STRATEGIC_PATCH)
    assert changed["metadata"]["annotations"][GENERATION] == "2"
    assert changed["metadata"]["generation"] == 2
    strategy = {"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 2}}}}
    changed = await client.patch("daemonsets", "agent", strategy)
    assert (changed["metadata"]["annotations"][GENERATION], changed["metadata"]["generation"]) == ("2", 3)


@pytest.mark.parametrize(
    "change",
    [
        {"serviceName": "other"},
        {"podManagementPolicy": "Parallel"},
        {"selector": {"matchLabels": {"app": "db", "more": "x"}}},
        {"updateStrategy": {"type": "OnDelete"}},
        {"updateStrategy": {"rollingUpdate": {"partition": -1}}},
        {"updateStrategy": {"type": "Recreate"}},
        {"replicas": -1},
    ],
    ids=str,
)
async def test_what_may_not_change_in_a_statefulset_is_refused(client: ClusterClient, change: Json) -> None:
    """422 Invalid, and nothing changed; OnDelete is refused as long as the rollingUpdate of before stands there."""
    before = await client.make("statefulsets", statefulset(replicas=0))
    path = client.path("statefulsets", "db")
    status, refused = await client.ask("PATCH", path, {"spec": change}, kind=MERGE_PATCH, dryRun="All")
    assert (status, refused["reason"]) == (422, "Invalid")
    status, refused = await client.ask("PATCH", path, {"spec": change}, kind=MERGE_PATCH)
    assert (status, refused["reason"]) == (422, "Invalid")
    assert (await client.read("statefulsets", "db"))["spec"] == before["spec"]


async def test_the_strategy_may_change_to_on_delete(client: ClusterClient) -> None:
    """With the rollingUpdate taken out in the same patch it is accepted; generation moves."""
    await client.make("statefulsets", statefulset(replicas=0))
    patch = {"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": None}}}
    changed = await client.patch("statefulsets", "db", patch)
    assert changed["spec"]["updateStrategy"] == {"type": "OnDelete"}
    assert changed["metadata"]["generation"] == 2


async def test_a_test_on_the_template_guards_a_patch(client: ClusterClient) -> None:
    """JSON Patch with `test` on uid and template: refused and nothing changed on a mismatch, else applied."""
    before = await client.make("statefulsets", statefulset(replicas=0))
    other = {**before["spec"]["template"], "metadata": {"labels": {"app": "db", "x": "y"}}}
    patch = [
        {"op": "test", "path": "/metadata/uid", "value": before["metadata"]["uid"]},
        {"op": "test", "path": "/spec/template", "value": other},
        {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "shop:v2"},
    ]
    status, _ = await client.ask("PATCH", client.path("statefulsets", "db"), patch, kind=JSON_PATCH)
    assert status == 422
    assert image_of(await client.read("statefulsets", "db")) == "shop:v1"
    patch[1]["value"] = before["spec"]["template"]
    changed = await client.patch("statefulsets", "db", patch, kind=JSON_PATCH, dryRun="All")
    assert image_of(changed) == "shop:v2"
    assert image_of(await client.read("statefulsets", "db")) == "shop:v1"


@pytest.mark.parametrize(
    "change",
    [
        {"selector": {"matchLabels": {"app": "agent", "more": "x"}}},
        {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}},
        {"updateStrategy": {"type": "Recreate"}},
        {"revisionHistoryLimit": -1},
    ],
    ids=str,
)
async def test_what_may_not_change_in_a_daemonset_is_refused(client: ClusterClient, change: Json) -> None:
    """422 Invalid, and nothing changed."""
    before = await client.make("daemonsets", daemonset())
    path = client.path("daemonsets", "agent")
    status, refused = await client.ask("PATCH", path, {"spec": change}, kind=MERGE_PATCH)
    assert (status, refused["reason"]) == (422, "Invalid")
    assert (await client.read("daemonsets", "agent"))["spec"] == before["spec"]
