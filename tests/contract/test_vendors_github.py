"""The GitHub stand-in checks requests and keeps statuses as GitHub's REST documentation says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from deploy.sandbox.vendors import GitHubStandIn

pytestmark = pytest.mark.looptime(False)

AUTH = {"Authorization": "Bearer github_pat_sandbox"}
PATH = "/repos/Shop/Checkout/deployments/42/statuses"


@pytest.fixture
async def github() -> AsyncIterator[GitHubStandIn]:
    async with GitHubStandIn() as standin:
        standin.deploy("shop/checkout", 42)
        yield standin


async def send(github: GitHubStandIn, method: str, path: str = PATH, **more: Any) -> tuple[int, Any]:
    more.setdefault("headers", AUTH)
    async with aiohttp.ClientSession() as session, session.request(method, github.url + path, **more) as reply:
        return reply.status, await reply.json()


async def test_statuses_are_added_and_listed_newest_first(github: GitHubStandIn) -> None:
    """A new status is answered with 201 and becomes the deployment's state; the list begins with it."""
    status, answer = await send(github, "POST", json={"state": "failure", "description": "x"})
    assert (status, answer["state"], answer["environment"]) == (201, "failure", "production")
    assert github.deployments[0].state == "failure"
    listed = (await send(github, "GET"))[1]
    assert [each["state"] for each in listed] == ["failure", "success"]
    assert [each["state"] for each in (await send(github, "GET", PATH + "?per_page=1&page=2"))[1]] == ["success"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({**AUTH, "User-Agent": ""}, 403),
        ({**AUTH, "X-GitHub-Api-Version": "1999-01-01"}, 400),
        ({"Authorization": "token github_pat_sandbox"}, 200),
    ],
)
async def test_who_asks_and_how(github: GitHubStandIn, headers: dict[str, str], status: int) -> None:
    """Credentials, a User-Agent and a known API version are asked for."""
    assert (await send(github, "GET", headers=headers))[0] == status


async def test_a_token_that_only_reads(github: GitHubStandIn) -> None:
    """Without the permission to write, statuses can be listed and not added."""
    github.read_only = True
    assert (await send(github, "GET"))[0] == 200
    assert (await send(github, "POST", json={"state": "failure"}))[0] == 403


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "state"),
        ({"state": "failed"}, "state"),
        ({"state": "failure", "description": "d" * 141}, "description"),
        ({"state": "failure", "log_url": 7}, "log_url"),
        ({"state": "failure", "auto_inactive": "no"}, "auto_inactive"),
        ([], "body"),
    ],
)
async def test_bad_statuses_are_refused(github: GitHubStandIn, body: Any, field: str) -> None:
    """What breaks the schema gets 422 with the field, and changes nothing."""
    status, answer = await send(github, "POST", json=body)
    assert (status, answer["message"]) == (422, "Validation Failed")
    assert answer["errors"][0]["field"] == field
    assert github.deployments[0].state == "success"
    assert (await send(github, "POST", data=b"{"))[0] == 400


@pytest.mark.parametrize("path", ["/repos/shop/other/deployments/42/statuses", PATH.replace("42", "43"), "/elsewhere"])
async def test_what_is_not_there(github: GitHubStandIn, path: str) -> None:
    """An unknown repository, deployment or address is 404 in GitHub's form."""
    status, answer = await send(github, "POST", path, json={"state": "failure"})
    assert (status, answer["message"]) == (404, "Not Found")


async def test_other_deployments_become_inactive_unless_told_not_to(github: GitHubStandIn) -> None:
    """`auto_inactive` is on unless it is false, within repository and environment."""
    newer, staging = github.deploy("shop/checkout", 43), github.deploy("shop/checkout", 44, environment="staging")
    older = github.deployments[0]
    assert older.state == "inactive"
    await send(github, "POST", json={"state": "success", "auto_inactive": False})
    await send(github, "POST", PATH.replace("42", "43"), json={"state": "failure", "auto_inactive": False})
    assert (older.state, newer.state, staging.state) == ("success", "failure", "success")
    await send(github, "POST", PATH.replace("42", "43"), json={"state": "failure"})
    assert (older.state, staging.state) == ("inactive", "success")


async def test_faults(github: GitHubStandIn) -> None:
    """Failures carry out nothing and bring their headers; a lost reply carries out everything."""
    github.faults.fail_next(status=403, headers={"X-RateLimit-Remaining": "0"})
    async with aiohttp.ClientSession() as session, session.post(github.url + PATH, headers=AUTH, json={}) as reply:
        assert (reply.status, reply.headers["X-RateLimit-Remaining"]) == (403, "0")
    github.faults.lose_replies()
    with pytest.raises(aiohttp.ClientError):
        await send(github, "POST", json={"state": "failure"})
    assert [each["state"] for each in github.deployments[0].statuses] == ["success", "failure"]
