"""The GitLab stand-in checks requests and changes deployments and statuses as GitLab does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from deploy.sandbox.vendors import GitLabStandIn

pytestmark = pytest.mark.looptime(False)

AUTH = {"PRIVATE-TOKEN": "glpat-sandbox"}
SHA = "9f1c2ab0" * 5
PROJECT = "/projects/shop%2Fcheckout"
STATUSES = f"{PROJECT}/repository/commits/{SHA}/statuses"


@pytest.fixture
async def gitlab() -> AsyncIterator[GitLabStandIn]:
    async with GitLabStandIn() as standin:
        standin.deploy("shop/checkout", 42, SHA, by_job=False)
        yield standin


async def send(gitlab: GitLabStandIn, method: str, path: str, **more: Any) -> tuple[int, Any]:
    more.setdefault("headers", AUTH)
    async with aiohttp.ClientSession() as session, session.request(method, gitlab.api_url + path, **more) as reply:
        return reply.status, await reply.json()


async def put(gitlab: GitLabStandIn, **body: Any) -> tuple[int, Any]:
    return await send(gitlab, "PUT", f"{PROJECT}/deployments/42", json=body)


async def post(gitlab: GitLabStandIn, sha: str = SHA, **body: Any) -> tuple[int, Any]:
    return await send(gitlab, "POST", f"{PROJECT}/statuses/{sha}", json=body)


async def test_a_deployment_is_shown_and_changed(gitlab: GitLabStandIn) -> None:
    """A deployment made through the API shows its commit and takes a new status, once."""
    status, shown = await send(gitlab, "GET", f"{PROJECT}/deployments/42")
    assert (status, shown["sha"], shown["ref"], shown["status"]) == (200, SHA, "main", "success")
    assert shown["deployable"] is None
    assert (await put(gitlab, status="failed"))[0] == 200
    assert gitlab.deployments[0].status == "failed"
    status, answer = await put(gitlab, status="failed")
    assert (status, answer) == (400, {"message": {"status": ['cannot transition via "drop"']}})


async def test_a_jobs_deployment_cannot_be_changed(gitlab: GitLabStandIn) -> None:
    """What GitLab's own job made is GitLab's: 403, with the reason."""
    gitlab.deployments[0].by_job = True
    status, answer = await put(gitlab, status="failed")
    assert status == 403
    assert "created using GitLab CI" in answer["message"]
    assert (await send(gitlab, "GET", f"{PROJECT}/deployments/42"))[1]["deployable"]["name"] == "deploy"


@pytest.mark.parametrize("body", [{}, {"status": "failure"}])
async def test_bad_deployment_statuses(gitlab: GitLabStandIn, body: dict[str, str]) -> None:
    """A status that is missing or unknown is 400."""
    assert (await put(gitlab, **body))[0] == 400
    assert gitlab.deployments[0].status == "success"


async def test_commit_statuses(gitlab: GitLabStandIn) -> None:
    """One that is not finished is continued, a finished one is not: the next is another, and `all` shows both."""
    assert (await post(gitlab, state="running", name="x"))[0] == 201
    status, answer = await post(gitlab, state="running", name="x")
    assert (status, answer) == (400, {"message": "Cannot transition status via :running from :running"})
    for _ in range(2):
        assert (await post(gitlab, state="failed", name="x", description="d"))[0] == 201
    assert [each["status"] for each in gitlab.statuses(SHA)] == ["failed", "failed"]
    assert len((await send(gitlab, "GET", STATUSES + "?name=x"))[1]) == 1
    assert len((await send(gitlab, "GET", STATUSES + "?name=x&all=true"))[1]) == 2
    assert (await send(gitlab, "GET", STATUSES + "?name=y&all=true"))[1] == []


async def test_a_form_is_as_good_as_json(gitlab: GitLabStandIn) -> None:
    """The documentation's examples send forms."""
    path = f"{PROJECT}/statuses/{SHA}"
    status, answer = await send(gitlab, "POST", path, data={"state": "failed", "context": "x"})
    assert (status, answer["name"], answer["status"]) == (201, "x", "failed")


@pytest.mark.parametrize(
    ("sha", "body", "status"),
    [
        (SHA, {}, 400),
        (SHA, {"state": "failure"}, 400),
        (SHA, {"state": "failed", "description": "d" * 256}, 400),
        ("0" * 40, {"state": "failed"}, 404),
    ],
)
async def test_bad_commit_statuses(gitlab: GitLabStandIn, sha: str, body: dict[str, str], status: int) -> None:
    """State, description and commit are checked."""
    assert (await post(gitlab, sha, **body))[0] == status
    assert gitlab.statuses(SHA) == []


async def test_who_asks(gitlab: GitLabStandIn) -> None:
    """Without the token 401; with the scope read_api only reading; an unknown project or deployment is 404."""
    path = f"{PROJECT}/deployments/42"
    assert (await send(gitlab, "GET", path, headers={}))[0] == 401
    assert (await send(gitlab, "GET", path, headers={"Authorization": "Bearer glpat-sandbox"}))[0] == 200
    gitlab.read_only = True
    assert (await send(gitlab, "GET", path))[0] == 200
    assert (await put(gitlab, status="failed"))[0] == 403
    assert (await send(gitlab, "GET", "/projects/shop%2Fother/deployments/42"))[0] == 404
    assert (await send(gitlab, "GET", path + "3"))[0] == 404
    assert (await send(gitlab, "GET", "/version"))[0] == 404
