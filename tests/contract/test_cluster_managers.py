"""Who owns which field (`metadata.managedFields`): what a patch takes, what it leaves, what nobody owns any more."""

from __future__ import annotations

import pytest

from tests.contract.cluster_client import (
    STRATEGIC_PATCH,
    ClusterClient,
    Json,
    complete,
    condition,
    deployment,
    set_image,
)

pytestmark = pytest.mark.real

SUBRESOURCE_SINCE = 22
"""Before, an entry does not say that it is about the status."""

CREATED: Json = {
    "f:metadata": {"f:annotations": {".": {}, "f:note": {}}, "f:labels": {".": {}, "f:team": {}}},
    "f:spec": {
        "f:progressDeadlineSeconds": {},
        "f:replicas": {},
        "f:revisionHistoryLimit": {},
        "f:selector": {},
        "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}, "f:type": {}},
        "f:template": {
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {
                "f:containers": {
                    'k:{"name":"main"}': {
                        ".": {},
                        "f:env": {".": {}, 'k:{"name":"MODE"}': {".": {}, "f:name": {}, "f:value": {}}},
                        "f:image": {},
                        "f:imagePullPolicy": {},
                        "f:name": {},
                        "f:resources": {},
                        "f:terminationMessagePath": {},
                        "f:terminationMessagePolicy": {},
                    }
                },
                "f:dnsPolicy": {},
                "f:restartPolicy": {},
                "f:schedulerName": {},
                "f:securityContext": {},
                "f:terminationGracePeriodSeconds": {},
            },
        },
    },
}


def marked() -> Json:
    body = deployment()
    body["metadata"] |= {"labels": {"team": "a"}, "annotations": {"note": "x"}}
    return body


def owners(obj: Json) -> dict[str, Json]:
    """Fields by manager; the controllers' status apart."""
    found = {}
    for entry in obj["metadata"]["managedFields"]:
        assert (entry["operation"], entry["fieldsType"]) == ("Update", "FieldsV1")
        about_status = "f:status" in entry["fieldsV1"]
        found[f"{entry['manager']}{'/status' if about_status else ''}"] = entry["fieldsV1"]
    return found


async def test_the_creator_owns_all_that_is_there(client: ClusterClient) -> None:
    """Defaults, too. A `.` stands for the part itself; the selector is owned as one."""
    made = await client.make("deployments", marked(), fieldManager="creator")
    assert owners(made) == {"creator": CREATED}
    patch = {"metadata": {"annotations": {"note": "y"}, "labels": {"team": "b"}}}
    assert owners(await client.patch("deployments", "web", patch, fieldManager="creator"))["creator"] == CREATED


async def test_a_patch_takes_what_it_changes_and_nothing_else(client: ClusterClient) -> None:
    """Each manager keeps an entry of its own; a value that is taken away is nobody's; a dry run takes nothing."""
    await client.make("deployments", marked(), fieldManager="creator")
    patch = {
        "metadata": {"labels": {"team": "b", "new": "1"}},
        "spec": {"template": set_image("shop:v1")["spec"]["template"]},
    }
    dry = await client.patch("deployments", "web", patch, kind=STRATEGIC_PATCH, fieldManager="second", dryRun="All")
    taken: Json = {"f:metadata": {"f:labels": {"f:new": {}, "f:team": {}}}}
    assert owners(dry)["second"] == taken
    assert "second" not in owners(await client.read("deployments", "web"))
    after = await client.patch("deployments", "web", patch, kind=STRATEGIC_PATCH, fieldManager="second")
    assert owners(after)["second"] == taken
    assert owners(after)["creator"]["f:metadata"]["f:labels"] == {}  # the map itself, and nothing in it
    third = await client.patch("deployments", "web", {"metadata": {"labels": None}}, fieldManager="third")
    assert "third" not in owners(third)
    assert "second" not in owners(third)
    assert owners(third)["creator"]["f:metadata"] == {"f:annotations": {".": {}, "f:note": {}}}


async def test_the_controllers_write_the_status_and_the_revision(client: ClusterClient) -> None:
    """One entry of the controller manager on the Deployment, named as about the status from 1.22 on."""
    await client.make("deployments", marked(), fieldManager="creator")
    done = await client.until(
        "deployments",
        "web",
        lambda one: complete(one) and condition(one, "Progressing").get("reason") == "NewReplicaSetAvailable",
    )
    found = owners(done)
    assert found.keys() == {"creator", "kube-controller-manager/status"}
    theirs = found["kube-controller-manager/status"]
    assert theirs["f:metadata"] == {"f:annotations": {"f:deployment.kubernetes.io/revision": {}}}
    assert theirs["f:status"]["f:conditions"].keys() == {".", 'k:{"type":"Available"}', 'k:{"type":"Progressing"}'}
    said = {entry.get("subresource") for entry in done["metadata"]["managedFields"]}
    assert said == ({None, "status"} if await client.minor() >= SUBRESOURCE_SINCE else {None})


async def test_the_entries_can_be_cleared(client: ClusterClient) -> None:
    """An empty entry in a patch clears them all, and the writer begins anew with what it changed besides."""
    await client.make("deployments", {**marked(), "spec": {**marked()["spec"], "paused": True}}, fieldManager="creator")
    await client.until("deployments", "web", lambda one: len(one["status"].get("conditions", [])) == 2)
    patch: Json = {"metadata": {"managedFields": [{}]}}
    cleared = await client.patch("deployments", "web", patch, fieldManager="second")
    assert cleared["metadata"].get("managedFields", []) == []
