"""Patches on an API server: preconditions, merges, dry run."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.cluster_client import (
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    ClusterClient,
    Json,
    deployment,
    set_image,
)

pytestmark = pytest.mark.real

IMAGE = "/spec/template/spec/containers/0/image"


def image_of(obj: Json) -> Any:
    return obj["spec"]["template"]["spec"]["containers"][0]["image"]


@pytest.fixture
async def web(client: ClusterClient) -> Json:
    return await client.make("deployments", deployment(paused=True))


async def test_a_failed_test_refuses_the_whole_patch_with_422(client: ClusterClient, web: Json) -> None:
    """JSON Patch `test` on another uid: 422 Invalid, as for a bad object, and nothing of the patch is done."""
    patch = [
        {"op": "replace", "path": IMAGE, "value": "shop:v2"},
        {"op": "test", "path": "/metadata/uid", "value": "another"},
    ]
    status, refused = await client.ask("PATCH", client.path("deployments", "web"), patch, kind=JSON_PATCH)
    assert (status, refused["reason"], refused["code"]) == (422, "Invalid", 422)
    assert image_of(await client.read("deployments", "web")) == "shop:v1"


async def test_a_test_of_the_whole_template_guards_a_replace(client: ClusterClient, web: Json) -> None:
    """`test` on uid and on the template as read lets the replace pass; once more, it does not."""
    template = web["spec"]["template"]
    good = {**template, "spec": {**template["spec"], "containers": [{"name": "main", "image": "shop:v0"}]}}
    patch = [
        {"op": "test", "path": "/metadata/uid", "value": web["metadata"]["uid"]},
        {"op": "test", "path": "/spec/template", "value": template},
        {"op": "replace", "path": "/spec/template", "value": good},
        {"op": "add", "path": "/metadata/annotations", "value": {"example.org/action": "x"}},
    ]
    path = client.path("deployments", "web")
    status, answer = await client.ask("PATCH", path, patch, kind=JSON_PATCH)
    assert (status, image_of(answer)) == (200, "shop:v0")
    assert (await client.ask("PATCH", path, patch, kind=JSON_PATCH))[0] == 422


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        pytest.param({"status": {"replicas": 7}}, 200, id="status"),
        pytest.param({"metadata": {"labels": {"team": "shop"}}}, 200, id="labels"),
        pytest.param({"spec": {"replicas": 5}}, 422, id="scaled"),
        pytest.param({"spec": {"paused": False}}, 422, id="resumed"),
        pytest.param({"metadata": {"annotations": {"a": "b"}}}, 422, id="annotated"),
    ],
)
async def test_a_test_of_the_generation_guards_the_rest_of_the_spec(
    client: ClusterClient, web: Json, change: Json, wanted: int
) -> None:
    """`test` on the generation as read fails after whatever may change what a rollback may do, and not after a status."""
    path = client.path("deployments", "web")
    patch = [
        {"op": "test", "path": "/metadata/generation", "value": web["metadata"]["generation"]},
        {"op": "replace", "path": IMAGE, "value": "shop:v0"},
    ]
    where = f"{path}/status" if "status" in change else path
    assert (await client.ask("PATCH", where, change, kind=MERGE_PATCH))[0] == 200
    assert (await client.ask("PATCH", path, patch, kind=JSON_PATCH))[0] == wanted


async def test_a_patch_of_a_missing_path_is_422(client: ClusterClient, web: Json) -> None:
    """`replace` of an annotation map that is not there fails: there is no upsert."""
    patch = [{"op": "replace", "path": "/metadata/annotations/absent", "value": "x"}]
    assert (await client.ask("PATCH", client.path("deployments", "web"), patch, kind=JSON_PATCH))[0] == 422


async def test_null_deletes_in_a_merge_patch_and_lists_are_replaced(client: ClusterClient, web: Json) -> None:
    """RFC 7386: null takes a key away, a list is the new list."""
    await client.patch("deployments", "web", {"metadata": {"annotations": {"a": "1", "b": "2"}}})
    containers = [{"name": "other", "image": "shop:v3"}]
    patch = {
        "metadata": {"annotations": {"a": None}},
        "spec": {"template": {"spec": {"containers": containers}}},
    }
    answer = await client.patch("deployments", "web", patch)
    assert answer["metadata"]["annotations"] == {"b": "2"}
    assert [one["name"] for one in answer["spec"]["template"]["spec"]["containers"]] == ["other"]


async def test_a_strategic_patch_finds_containers_and_variables_by_name(client: ClusterClient, web: Json) -> None:
    """Only what the patch names changes; the rest of the container and the other variables stay."""
    patch = set_image("shop:v2")
    patch["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "EXTRA", "value": "1"}]
    answer = await client.patch("deployments", "web", patch, kind=STRATEGIC_PATCH)
    (container,) = answer["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "shop:v2"
    assert {one["name"]: one["value"] for one in container["env"]} == {"MODE": "test", "EXTRA": "1"}


async def test_a_strategic_patch_can_delete_and_replace(client: ClusterClient, web: Json) -> None:
    """`$patch: delete` removes a list item, `$patch: replace` takes the template as it comes; neither is kept."""
    drop = {"name": "MODE", "$patch": "delete"}
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "main", "env": [drop]}]}}}}
    answer = await client.patch("deployments", "web", patch, kind=STRATEGIC_PATCH)
    assert not answer["spec"]["template"]["spec"]["containers"][0].get("env")
    template = {
        "$patch": "replace",
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "only", "image": "shop:v5"}]},
    }
    answer = await client.patch("deployments", "web", {"spec": {"template": template}}, kind=STRATEGIC_PATCH)
    assert [one["name"] for one in answer["spec"]["template"]["spec"]["containers"]] == ["only"]
    assert "$patch" not in answer["spec"]["template"]


async def test_a_dry_run_answers_the_result_and_stores_nothing(client: ClusterClient, web: Json) -> None:
    """dryRun=All shows the patched object, but version, generation and template stay."""
    before = await client.read("deployments", "web")
    answer = await client.patch("deployments", "web", set_image("shop:v2"), kind=STRATEGIC_PATCH, dryRun="All")
    assert image_of(answer) == "shop:v2"
    after = await client.read("deployments", "web")
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert image_of(after) == "shop:v1"


async def test_a_dry_run_refuses_what_the_real_run_would(client: ClusterClient, web: Json) -> None:
    """A template without containers and a failed `test` are 422 in a dry run too; so is a create that is taken 409."""
    path = client.path("deployments", "web")
    empty = [{"op": "replace", "path": "/spec/template/spec/containers", "value": []}]
    assert (await client.ask("PATCH", path, empty, kind=JSON_PATCH, dryRun="All"))[0] == 422
    guard = [{"op": "test", "path": "/metadata/uid", "value": "another"}]
    assert (await client.ask("PATCH", path, guard, kind=JSON_PATCH, dryRun="All"))[0] == 422
    assert (await client.ask("POST", client.path("deployments"), deployment(), dryRun="All"))[0] == 409


async def test_a_dry_run_creates_and_deletes_nothing(client: ClusterClient, web: Json) -> None:
    """POST and DELETE with dryRun=All leave the collection as it was."""
    await client.make("deployments", deployment("other"), dryRun="All")
    assert (await client.ask("DELETE", client.path("deployments", "web"), dryRun="All"))[0] == 200
    assert [one["metadata"]["name"] for one in await client.items("deployments")] == ["web"]


async def test_a_patch_that_names_an_old_version_is_a_conflict(client: ClusterClient, web: Json) -> None:
    """A merge patch with metadata.resourceVersion is only done on that version."""
    version = web["metadata"]["resourceVersion"]
    patch = {"metadata": {"resourceVersion": version, "labels": {"a": "b"}}}
    path = client.path("deployments", "web")
    await client.patch("deployments", "web", {"metadata": {"labels": {"first": "x"}}})
    status, refused = await client.ask("PATCH", path, patch, kind="application/merge-patch+json")
    assert (status, refused["reason"]) == (409, "Conflict")


TEST_CASES: list[tuple[str, Json, int]] = [
    ("another value", {"path": "/metadata/name", "value": "other"}, 422),
    ("a missing key", {"path": "/metadata/labels", "value": {}}, 422),
    ("a missing key for null", {"path": "/metadata/labels", "value": None}, 200),
    ("a key below a missing one", {"path": "/metadata/labels/app", "value": None}, 422),
    ("a missing index", {"path": "/spec/template/spec/containers/7", "value": None}, 422),
    ("the index after the last", {"path": "/spec/template/spec/containers/-", "value": None}, 422),
    ("a number spelt otherwise", {"path": "/spec/replicas", "value": 2.0}, 422),
    ("a number as a string", {"path": "/spec/replicas", "value": "2"}, 422),
    ("true for one", {"path": "/spec/paused", "value": 1}, 422),
    ("the whole object", {"path": "", "value": {}}, 422),
    ("no path", {"value": 1}, 422),
]


@pytest.mark.parametrize(
    ("operation", "wanted"), [case[1:] for case in TEST_CASES], ids=[case[0] for case in TEST_CASES]
)
async def test_what_a_test_operation_takes_for_equal(
    client: ClusterClient, web: Json, operation: Json, wanted: int
) -> None:
    """A failed one is always 422 Invalid, dry or not, with one sentence that does not say which operation it was."""
    path, patch = client.path("deployments", "web"), [{"op": "test", **operation}]
    for query in ({}, {"dryRun": "All"}):
        status, answer = await client.ask("PATCH", path, patch, kind=JSON_PATCH, **query)
        assert status == wanted
        if status == 422:
            assert (answer["reason"], answer["code"], answer["details"]) == ("Invalid", 422, {})
            assert answer["message"] == "the server rejected our request due to an error in our request"


@pytest.mark.parametrize(
    ("operation", "wanted"),
    [
        ({"op": "replace", "path": "/metadata/labels", "value": {"a": "b"}}, 200),
        ({"op": "remove", "path": "/metadata/labels"}, 422),
        ({"op": "replace", "path": "/spec/template/spec/containers/7", "value": {}}, 422),
        ({"op": "add", "path": "/metadata/labels/a", "value": "b"}, 422),
        ({"op": "add", "path": "/metadata/labels"}, 200),
        ({"op": "move", "from": "/metadata/none", "path": "/metadata/labels"}, 422),
        ({"op": "explode", "path": "/spec"}, 422),
        ({"path": "/spec", "value": 1}, 422),
        ({"op": "add", "path": "spec", "value": 1}, 422),
        ({"op": "replace", "path": "/spec/replicas", "value": "x"}, 422),
        ({"op": "replace", "path": "/kind", "value": "StatefulSet"}, 422),
        ({"op": "replace", "path": "/metadata/uid", "value": "another"}, 422),
        ({"op": "replace", "path": "/metadata/name", "value": "other"}, 400),
        ({"op": "replace", "path": "/metadata/namespace", "value": "other"}, 400),
        ({"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}, 409),
        ({"op": "replace", "path": "/metadata/resourceVersion", "value": "x"}, 500),
        ({"op": "add", "path": "/metadata/annotations", "value": {"a~b": "x"}}, 422),
    ],
    ids=lambda one: f"{one.get('op')} {one['path']}" if isinstance(one, dict) else "",
)
async def test_what_other_operations_may_do(client: ClusterClient, web: Json, operation: Json, wanted: int) -> None:
    """`replace` adds what is missing where there is a place for it; a result that is no such Deployment is 422."""
    path = client.path("deployments", "web")
    status, _ = await client.ask("PATCH", path, [operation], kind=JSON_PATCH, dryRun="All")
    assert status == wanted


@pytest.mark.parametrize(
    ("kind", "patch", "wanted"),
    [
        (JSON_PATCH, {"op": "test"}, 400),
        (JSON_PATCH, [{"op": "test", "path": "/metadata/name", "value": "web"}] * 10_001, 413),
        (JSON_PATCH, [], 200),
        (MERGE_PATCH, {"spec": {"replicas": "x"}}, 422),
        (STRATEGIC_PATCH, [], 400),
        (STRATEGIC_PATCH, {"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}}, 500),
        (STRATEGIC_PATCH, {"spec": {"$patch": "explode"}}, 500),
        (STRATEGIC_PATCH, {"spec": {"strategy": {"type": "Recreate"}}}, 422),
        (STRATEGIC_PATCH, {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}, 200),
        ("text/plain", {}, 415),
    ],
)
async def test_patches_that_are_none_are_refused(
    client: ClusterClient, web: Json, kind: str, patch: Any, wanted: int
) -> None:
    """Each with its own code; an unknown directive or a missing merge key is a 500, however odd."""
    status, answer = await client.ask("PATCH", client.path("deployments", "web"), patch, kind=kind, dryRun="All")
    assert status == wanted
    if wanted != 200:
        assert (answer["kind"], answer["code"]) == ("Status", wanted)
