"""What an API server refuses, with which code and reason, and which field it names."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.cluster_client import MERGE_PATCH, ClusterClient, Json, deployment

pytestmark = pytest.mark.real


def template(*containers: Json, **spec: Any) -> Json:
    return {"template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": list(containers), **spec}}}


def rolling(surge: Any, unavailable: Any) -> Json:
    return {"strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}


MAIN: Json = {"name": "main", "image": "x"}


@pytest.mark.parametrize(
    ("spec", "field", "cause"),
    [
        ({"revisionHistoryLimit": -1}, "spec.revisionHistoryLimit", "FieldValueInvalid"),
        ({"progressDeadlineSeconds": 5, "minReadySeconds": 5}, "spec.progressDeadlineSeconds", "FieldValueInvalid"),
        ({"selector": None}, "spec.selector", "FieldValueRequired"),
        ({"selector": {}}, "spec.selector", "FieldValueInvalid"),
        ({"strategy": {"type": "Blue"}}, "spec.strategy", "FieldValueNotSupported"),
        (
            {"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}},
            "spec.strategy.rollingUpdate",
            "FieldValueForbidden",
        ),
        (rolling(0, "0%"), "spec.strategy.rollingUpdate.maxUnavailable", "FieldValueInvalid"),
        (rolling("a third", 1), "spec.strategy.rollingUpdate.maxSurge", "FieldValueInvalid"),
        (template(), "spec.template.spec.containers", "FieldValueRequired"),
        (template({"name": "main"}), "spec.template.spec.containers[0].image", "FieldValueRequired"),
        (template({"image": "x"}), "spec.template.spec.containers[0].name", "FieldValueRequired"),
        (template({"name": "A_", "image": "x"}), "spec.template.spec.containers[0].name", "FieldValueInvalid"),
        (template(MAIN, MAIN), "spec.template.spec.containers[1].name", "FieldValueDuplicate"),
        (template(MAIN, restartPolicy="Never"), "spec.template.spec.restartPolicy", "FieldValueNotSupported"),
    ],
    ids=lambda one: one if isinstance(one, str) and "." in one else "",
)
async def test_a_spec_against_the_rules_names_field_and_cause(
    client: ClusterClient, spec: Json, field: str, cause: str
) -> None:
    """422 Invalid, in a dry run too; details.causes hold the field and a word for what is wrong with it."""
    body = deployment()
    body["spec"] |= spec
    for query in ({"dryRun": "All"}, {}):
        status, refused = await client.ask("POST", client.path("deployments"), body, **query)
        assert (status, refused["reason"]) == (422, "Invalid")
        assert (refused["details"]["kind"], refused["details"]["group"]) == ("Deployment", "apps")
        assert (cause, field) in [(one["reason"], one["field"]) for one in refused["details"]["causes"]]


@pytest.mark.parametrize(
    ("metadata", "status", "message"),
    [
        ({"name": "Bad_Name"}, 422, "metadata.name"),
        ({"name": ""}, 422, "name or generateName is required"),
        ({"labels": {"a~b": "1"}}, 422, "metadata.labels"),
        ({"labels": {"a": "b c"}}, 422, "metadata.labels"),
        ({"labels": {"a": "x" * 64}}, 422, "metadata.labels"),
        ({"annotations": {"example.org/a/b": "1"}}, 422, "metadata.annotations"),
        ({"annotations": {"a": "x" * (256 * 1024 + 1)}}, 422, "262144 bytes"),
        ({"annotations": {"a": 1}}, 400, ""),
        ({"namespace": "other"}, 400, "does not match the namespace sent on the request"),
        ({"resourceVersion": "1"}, 500, "resourceVersion should not be set on objects to be created"),
    ],
    ids=lambda one: str(one)[:40] if isinstance(one, dict) else "",
)
async def test_names_and_marks_have_rules(client: ClusterClient, metadata: Json, status: int, message: str) -> None:
    """A create with such metadata is refused; keys are DNS-like, values of labels short, annotations 256 KiB in all."""
    body = deployment()
    body["metadata"] |= metadata
    answered, refused = await client.ask("POST", client.path("deployments"), body)
    assert (answered, refused["kind"], refused["code"]) == (status, "Status", status)
    assert message in refused["message"]


async def test_a_bad_object_is_refused_before_its_name_is_looked_up(client: ClusterClient) -> None:
    """A taken name and a bad spec: 422, not 409; a namespace that is not there: 404."""
    await client.make("deployments", deployment(paused=True))
    status, _ = await client.ask("POST", client.path("deployments"), deployment(replicas=-1))
    assert status == 422
    status, refused = await client.ask("POST", "/apis/apps/v1/namespaces/nowhere/deployments", deployment())
    assert (status, refused["message"]) == (404, 'namespaces "nowhere" not found')


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ({"preconditions": {"uid": "another"}}, 409, "the UID in the precondition (another) does not match"),
        (
            {"preconditions": {"resourceVersion": "1"}},
            409,
            "the ResourceVersion in the precondition (1) does not match",
        ),
        ({"propagationPolicy": "Sometimes"}, 422, "propagationPolicy"),
    ],
    ids=["uid", "version", "policy"],
)
async def test_a_deletion_may_be_refused(client: ClusterClient, options: Json, status: int, message: str) -> None:
    """By its preconditions or for its options; the object stays. One that is done says whom it was about."""
    made = await client.make("deployments", deployment(paused=True))
    path = client.path("deployments", "web")
    answered, refused = await client.ask("DELETE", path, options)
    assert (answered, refused["code"]) == (status, status)
    assert message in refused["message"]
    _, done = await client.ask("DELETE", path)
    wanted = {"name": "web", "group": "apps", "kind": "deployments", "uid": made["metadata"]["uid"]}
    assert (done["status"], done["details"]) == ("Success", wanted)


@pytest.mark.parametrize(
    ("spec", "status"),
    [
        ({"leaseDurationSeconds": 0}, 422),
        ({"leaseDurationSeconds": -1}, 422),
        ({"renewTime": "yesterday"}, 422),
        ({"renewTime": "2026-01-01T00:00:00Z"}, 422),
        ({"renewTime": "2026-01-01T00:00:00.123456Z"}, 200),
    ],
    ids=str,
)
async def test_a_lease_wants_seconds_and_microseconds(client: ClusterClient, spec: Json, status: int) -> None:
    """A duration above zero; times with exactly six digits behind the point."""
    await client.make("leases", {"metadata": {"name": "leader"}, "spec": {"holderIdentity": "me"}})
    answered, _ = await client.ask("PATCH", client.path("leases", "leader"), {"spec": spec}, kind=MERGE_PATCH)
    assert answered == status


async def test_a_lease_that_is_not_there_is_made_by_a_put(client: ClusterClient) -> None:
    """PUT makes it (201), whatever version it names, but not with a uid (409); most other kinds are 404."""
    body: Json = {"metadata": {"name": "leader"}, "spec": {"holderIdentity": "me"}}
    path = client.path("leases", "leader")
    status, refused = await client.ask("PUT", path, {**body, "metadata": {"name": "leader", "uid": "another"}})
    assert (status, refused["reason"]) == (409, "Conflict")
    assert (await client.ask("PUT", path, {**body, "metadata": {"name": "other"}}))[0] == 400
    status, made = await client.ask("PUT", path, {**body, "metadata": {"name": "leader", "resourceVersion": "5"}})
    assert (status, made["spec"]["holderIdentity"]) == (201, "me")
    status, refused = await client.ask("PUT", path, body)
    assert (status, refused["reason"]) == (422, "Invalid")
    assert "metadata.resourceVersion" in refused["message"]
    status, refused = await client.ask("PUT", path, {**made, "metadata": {**made["metadata"], "uid": "another"}})
    assert (status, refused["reason"]) == (409, "Conflict")
    assert (await client.ask("PUT", client.path("deployments", "web"), deployment()))[0] == 404


async def test_a_dry_run_knows_one_word(client: ClusterClient) -> None:
    """`dryRun=All`; anything else is 422."""
    status, refused = await client.ask("POST", client.path("deployments"), deployment(), dryRun="Some")
    assert (status, refused["details"]["group"]) == (422, "meta.k8s.io")
