"""A stand-in for GitLab's REST API, as far as deployments, commit statuses and (`code`) merge requests go.

Source: GitLab REST API documentation, "Deployments API", "Commits API", and the server's own code for what they leave
out: a deployment made by a job cannot be changed (403), a status it has already cannot be set again (400), and a commit
status is continued only while it is not finished, so that a second `failed` is a second one.
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
from deploy.sandbox.vendors.gitlab_code import GitLabCode

DEPLOYMENT_STATUSES = ("running", "success", "failed", "canceled")
COMMIT_STATES = ("pending", "running", "success", "failed", "canceled", "skipped")
DESCRIPTION_LENGTH_MAX = 255
PAGE_MAX = 100
PAGE_DEFAULT = 20

_EVENTS = {"running": "run", "success": "succeed", "failed": "drop", "canceled": "cancel"}
_PROJECT = "/api/v4/projects/{project}"


@dataclass(kw_only=True, slots=True, eq=False)
class GitLabDeployment:
    """One deployment; `by_job` tells whether a job of GitLab's own made it."""

    project: str
    number: int
    sha: str
    ref: str
    status: str
    by_job: bool

    def shown(self) -> dict[str, Any]:
        """As the API shows it."""
        job = {"id": self.number + 600, "name": "deploy", "status": "success", "ref": self.ref}
        return {
            "id": self.number,
            "iid": 1,
            "ref": self.ref,
            "sha": self.sha,
            "status": self.status,
            "environment": {"id": 9, "name": "production"},
            "deployable": job if self.by_job else None,
        }


@dataclass(kw_only=True, slots=True, eq=False)
class _Commit:
    project: str
    sha: str
    statuses: list[dict[str, Any]] = field(default_factory=list)


class GitLabStandIn:
    """`async with GitLabStandIn() as gitlab:` serves on loopback; `gitlab.api_url` is what https://gitlab.com/api/v4 is.

    `read_only` True makes the token one of the scope read_api. `log` holds method, path and status of every answer.
    """

    def __init__(self, *, token: str = "glpat-sandbox") -> None:
        self.api_url = ""
        self.token = token
        self.read_only = False
        self.faults = Faults()
        self.deployments: list[GitLabDeployment] = []
        self.log: list[tuple[str, str, int]] = []
        self.code = GitLabCode()
        self._commits: list[_Commit] = []
        self._servers = AsyncExitStack()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1024 * 1024, middlewares=[self._guarded])
        app.router.add_get(_PROJECT + "/deployments/{number:[0-9]+}", self._show)
        app.router.add_put(_PROJECT + "/deployments/{number:[0-9]+}", self._update)
        app.router.add_get(_PROJECT + "/repository/commits/{sha}/statuses", self._list)
        app.router.add_post(_PROJECT + "/statuses/{sha}", self._post)
        self.code.add_routes(app.router)
        self.api_url = await self._servers.enter_async_context(serve_loopback(app)) + "/api/v4"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._servers.aclose()

    def deploy(
        self, project: str, number: int, sha: str, *, ref: str = "main", status: str = "success", by_job: bool = True
    ) -> GitLabDeployment:
        """A deployment of a commit, by a job of GitLab's own or (`by_job` False) made through the API."""
        made = GitLabDeployment(project=project, number=number, sha=sha, ref=ref, status=status, by_job=by_job)
        self.deployments.append(made)
        self._commits.append(_Commit(project=project, sha=sha))
        return made

    def statuses(self, sha: str) -> list[dict[str, Any]]:
        """The statuses of a commit, oldest first."""
        return [status for commit in self._commits if commit.sha == sha for status in commit.statuses]

    # The wire ---------------------------------------------------------------------------------------------------------

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        return await self.faults.through(request, lambda asked: self._answer(asked, handler))

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = self._refusal(request)
        try:
            response = refusal or await handler(request)
        except web.HTTPException as error:
            response = web.json_response({"error": f"{error.status} {error.reason}"}, status=error.status)
        self.log.append((request.method, request.path, response.status))
        return response

    def _refusal(self, request: web.Request) -> web.Response | None:
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.token not in (request.headers.get("PRIVATE-TOKEN"), bearer):
            return _says(401, "401 Unauthorized")
        if self.read_only and request.method != "GET":
            body = {
                "error": "insufficient_scope",
                "error_description": "The request requires higher privileges",
                "scope": "api",
            }
            return web.json_response(body, status=403)
        return None

    async def _show(self, request: web.Request) -> web.Response:
        found = self._deployment(request)
        return web.json_response(found.shown()) if found else _says(404, "404 Not found")

    async def _update(self, request: web.Request) -> web.Response:
        body, found = await _fields(request), self._deployment(request)
        if (wrong := _wrong(body, "status", DEPLOYMENT_STATUSES)) is not None:
            return wrong
        if found is None:
            return _says(404, "404 Not found")
        if found.by_job:
            return _says(403, "403 Forbidden - Deployments created using GitLab CI can not be updated using the API")
        status = str(body["status"])
        if found.status == status or (status == "running" and found.status != "created"):
            return _says(400, {"status": [f'cannot transition via "{_EVENTS[status]}"']})
        found.status = status
        return web.json_response(found.shown())

    async def _list(self, request: web.Request) -> web.Response:
        commit = self._commit(request)
        if commit is None:
            return _says(404, "404 Commit Not Found")
        found = commit.statuses
        for name in ("name", "ref"):
            if value := request.query.get(name):
                found = [each for each in found if each[name] == value]
        if request.query.get("all") not in ("true", "1"):
            found = list({each["name"]: each for each in found}.values())
        size = min(int(request.query.get("per_page", PAGE_DEFAULT)), PAGE_MAX)
        start = (int(request.query.get("page", 1)) - 1) * size
        return web.json_response(found[start : start + size])

    async def _post(self, request: web.Request) -> web.Response:
        body, commit = await _fields(request), self._commit(request)
        if (wrong := _wrong(body, "state", COMMIT_STATES)) is not None:
            return wrong
        if commit is None:
            return _says(404, "404 Commit Not Found")
        if len(str(body.get("description", ""))) > DESCRIPTION_LENGTH_MAX:
            return _says(400, {"description": [f"is too long (maximum is {DESCRIPTION_LENGTH_MAX} characters)"]})
        name, ref = str(body.get("name") or body.get("context") or "default"), str(body.get("ref") or "main")
        unfinished = (
            each
            for each in commit.statuses
            if (each["name"], each["ref"]) == (name, ref) and each["status"] in ("pending", "running")
        )
        status = next(unfinished, None)
        if status is None:
            status = {"id": len(commit.statuses) + 1, "sha": commit.sha, "name": name, "ref": ref}
            commit.statuses.append(status)
        elif status["status"] == body["state"]:
            reason = f"Cannot transition status via :{body['state']} from :{status['status']}"
            return _says(400, reason)
        status.update(status=body["state"], description=body.get("description"), target_url=body.get("target_url"))
        status["created_at"] = datetime.now(UTC).isoformat()
        return web.json_response(status, status=201)

    def _deployment(self, request: web.Request) -> GitLabDeployment | None:
        wanted = (request.match_info["project"], int(request.match_info["number"]))
        return next((each for each in self.deployments if (each.project, each.number) == wanted), None)

    def _commit(self, request: web.Request) -> _Commit | None:
        wanted = (request.match_info["project"], request.match_info["sha"])
        return next((each for each in self._commits if (each.project, each.sha) == wanted), None)


async def _fields(request: web.Request) -> dict[str, Any]:
    """From JSON or a form; nothing where it is neither."""
    if request.content_type != "application/json":
        return dict(await request.post())
    try:
        body = json.loads(await request.read())
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {}


def _wrong(body: dict[str, Any], name: str, values: tuple[str, ...]) -> web.Response | None:
    if name not in body:
        return web.json_response({"error": f"{name} is missing"}, status=400)
    if body[name] not in values:
        return web.json_response({"error": f"{name} does not have a valid value"}, status=400)
    return None


def _says(status: int, message: Any) -> web.Response:
    return web.json_response({"message": message}, status=status)
