"""A stand-in for GitHub's REST API, as far as deployments, their statuses and (`code`) pull requests go.

Statuses are added and never changed; a deployment's state is its newest status. Source: GitHub REST API documentation,
"Deployment statuses", "Getting started with the REST API", "Troubleshooting the REST API".
"""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from aiohttp.typedefs import Handler

from deploy.sandbox.services import serve_loopback
from deploy.sandbox.vendors.faults import Faults
from deploy.sandbox.vendors.github_code import GitHubCode, says

STATES = ("error", "failure", "inactive", "in_progress", "queued", "pending", "success")
DESCRIPTION_LENGTH_MAX = 140
PAGE_MAX = 100
PAGE_DEFAULT = 30
API_VERSIONS = ("2022-11-28",)

_TEXTS = ("target_url", "log_url", "description", "environment", "environment_url")
_PATH = "/repos/{owner}/{repo}/deployments/{number:[0-9]+}/statuses"


@dataclass(kw_only=True, slots=True, eq=False)
class GitHubDeployment:
    """One deployment; `statuses` are in the order in which they were added."""

    project: str
    number: int
    environment: str
    statuses: list[dict[str, Any]] = field(default_factory=list)

    @property
    def state(self) -> str:
        """The state of the newest status, `pending` without one."""
        return str(self.statuses[-1]["state"]) if self.statuses else "pending"


class GitHubStandIn:
    """`async with GitHubStandIn() as github:` serves on loopback; `github.url` is what https://api.github.com is.

    `read_only` True takes "Deployments: write" from the token. `log` holds method, path and status of every answer.
    """

    def __init__(self, *, token: str = "github_pat_sandbox") -> None:
        self.url = ""
        self.token = token
        self.read_only = False
        self.faults = Faults()
        self.deployments: list[GitHubDeployment] = []
        self.code = GitHubCode()
        self.log: list[tuple[str, str, int]] = []
        self._servers = AsyncExitStack()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1024 * 1024, middlewares=[self._guarded])
        app.router.add_get(_PATH, self._list)
        app.router.add_post(_PATH, self._add)
        self.code.add_routes(app.router)
        self.url = await self._servers.enter_async_context(serve_loopback(app))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._servers.aclose()

    def deploy(self, project: str, number: int, *, environment: str = "production") -> GitHubDeployment:
        """A deployment that its pipeline has finished: the newest status is success."""
        deployment = GitHubDeployment(project=project, number=number, environment=environment)
        self.deployments.append(deployment)
        self._append(deployment, {"state": "success", "description": "deployed"})
        return deployment

    # The wire ---------------------------------------------------------------------------------------------------------

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        return await self.faults.through(request, lambda asked: self._answer(asked, handler))

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = self._refusal(request)
        try:
            response = refusal or await handler(request)
        except web.HTTPException as error:
            response = says(error.status, "Not Found" if error.status == 404 else error.reason)
        self.log.append((request.method, request.path, response.status))
        return response

    def _refusal(self, request: web.Request) -> web.Response | None:
        if not request.headers.get("User-Agent"):
            return says(
                403, "Request forbidden by administrative rules. Please make sure your request has a User-Agent."
            )
        version = request.headers.get("X-GitHub-Api-Version", API_VERSIONS[0])
        if version not in API_VERSIONS:
            return says(400, f"{version} is not a supported version")
        given = request.headers.get("Authorization", "")
        if not given:
            return says(401, "Requires authentication")
        if given not in (f"Bearer {self.token}", f"token {self.token}"):
            return says(401, "Bad credentials")
        if self.read_only and request.method != "GET":
            return says(403, "Resource not accessible by personal access token")
        return None

    async def _list(self, request: web.Request) -> web.Response:
        """Newest first, page by page."""
        statuses = list(reversed(self._deployment(request).statuses))
        size = min(int(request.query.get("per_page", PAGE_DEFAULT)), PAGE_MAX)
        start = (int(request.query.get("page", 1)) - 1) * size
        return web.json_response(statuses[start : start + size])

    async def _add(self, request: web.Request) -> web.Response:
        deployment = self._deployment(request)
        try:
            body = json.loads(await request.read())
        except ValueError:
            return says(400, "Problems parsing JSON")
        if errors := check_status(body):
            return says(422, "Validation Failed", errors)
        return web.json_response(self._append(deployment, body), status=201)

    def _deployment(self, request: web.Request) -> GitHubDeployment:
        project = "{owner}/{repo}".format_map(request.match_info).lower()
        number = int(request.match_info["number"])
        for each in self.deployments:
            if (each.project.lower(), each.number) == (project, number):
                return each
        raise web.HTTPNotFound

    def _append(self, deployment: GitHubDeployment, body: dict[str, Any]) -> dict[str, Any]:
        if body.get("environment"):
            deployment.environment = body["environment"]
        if body.get("auto_inactive", True):
            # The documentation names no state for which this is not done, so it is done for all.
            for other in self.deployments:
                same = (other.project, other.environment) == (deployment.project, deployment.environment)
                if same and other is not deployment and other.state == "success":
                    self._append(other, {"state": "inactive", "auto_inactive": False})
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        status = {
            "id": sum(len(each.statuses) for each in self.deployments) + 1,
            "state": body["state"],
            "description": body.get("description", ""),
            "environment": deployment.environment,
            "environment_url": body.get("environment_url", ""),
            "log_url": body.get("log_url", ""),
            "target_url": body.get("log_url") or body.get("target_url", ""),
            "creator": {"login": "lastgood[bot]", "type": "Bot"},
            "created_at": now,
            "updated_at": now,
        }
        deployment.statuses.append(status)
        return status


def check_status(body: Any) -> list[dict[str, str]]:
    """Everything wrong with the body of a new status, in GitHub's form; nothing when it is fine."""
    if not isinstance(body, dict):
        return [_error("body", "invalid")]
    errors = []
    if "state" not in body:
        errors.append(_error("state", "missing_field"))
    elif body["state"] not in STATES:
        errors.append(_error("state", "invalid"))
    errors += [_error(name, "invalid") for name in _TEXTS if not isinstance(body.get(name, ""), str)]
    if len(str(body.get("description", ""))) > DESCRIPTION_LENGTH_MAX:
        errors.append(_error("description", "custom", f"is too long (maximum is {DESCRIPTION_LENGTH_MAX} characters)"))
    if not isinstance(body.get("auto_inactive", True), bool):
        errors.append(_error("auto_inactive", "invalid"))
    return errors


def _error(name: str, code: str, message: str = "") -> dict[str, str]:
    error = {"resource": "DeploymentStatus", "field": name, "code": code}
    return {**error, "message": f"{name} {message}"} if message else error
