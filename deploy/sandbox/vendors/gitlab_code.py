"""The part of the GitLab stand-in that serves repositories: branches, reverting a commit, merge requests.

Source: GitLab REST API documentation, "Branches", "Commits" (revert), "Repositories" (merge base), "Merge requests".
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from deploy.sandbox.vendors.repository import Commit, Repository, merged

TITLE_LENGTH_MAX = 255

_PROJECT = "/api/v4/projects/{project}"
_SORRY = "Sorry, we cannot revert this commit automatically. This commit may already have been reverted, or a more recent commit"


class GitLabCode:
    """`repositories` are served by their paths; `requests` are all merge requests, as the API shows them."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[dict[str, Any]] = []
        self.protected = {"main"}
        """Branches that our token may not push to."""

    def create(self, project: str) -> Repository:
        """An empty project."""
        return self.repositories.setdefault(project, Repository(project=project))

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Serve them."""
        router.add_get(_PROJECT, self._show)
        router.add_get(_PROJECT + "/repository/merge_base", self._merge_base)
        router.add_get(_PROJECT + "/repository/commits/{sha}", self._show_commit)
        router.add_post(_PROJECT + "/repository/commits/{sha}/revert", self._revert)
        router.add_post(_PROJECT + "/repository/branches", self._add_branch)
        router.add_get(_PROJECT + "/repository/branches/{branch:.+}", self._show_branch)
        router.add_delete(_PROJECT + "/repository/branches/{branch:.+}", self._remove_branch)
        router.add_get(_PROJECT + "/merge_requests", self._list)
        router.add_post(_PROJECT + "/merge_requests", self._open)

    async def _show(self, request: web.Request) -> web.Response:
        found = self._of(request)
        return web.json_response({"path_with_namespace": found.project, "default_branch": found.default})

    async def _merge_base(self, request: web.Request) -> web.Response:
        repository = self._of(request)
        shas = [repository.branches.get(ref, ref) for ref in request.query.getall("refs[]", [])]
        if len(shas) < 2 or not all(sha in repository.commits for sha in shas):
            return _says(400, "Could not find ref")
        shared = repository.merge_base(shas[0], shas[1])
        return _says(404, "404 Merge Base Not Found") if shared is None else _commit(repository.commits[shared])

    async def _show_commit(self, request: web.Request) -> web.Response:
        found = self._of(request).commits.get(request.match_info["sha"])
        return _says(404, "404 Commit Not Found") if found is None else _commit(found)

    async def _revert(self, request: web.Request) -> web.Response:
        repository, body = self._of(request), await _body(request)
        branch, sha = str(body.get("branch", "")), request.match_info["sha"]
        if branch in self.protected:
            return _says(403, "You are not allowed to push into this branch")
        bad, tip = repository.commits.get(sha), repository.branches.get(branch)
        if bad is None or tip is None:
            return _says(404, "404 Commit Not Found" if bad is None else "404 Branch Not Found")
        before = repository.commits[bad.parents[0]].tree if bad.parents else {}
        own = repository.commits[tip].tree
        tree = merged(bad.tree, own, before)
        if tree is None or tree == own:
            body = {"message": f"{_SORRY} may have updated some of its content."}
            return web.json_response({**body, "error_code": "conflict" if tree is None else "empty"}, status=400)
        title = bad.message.partition("\n")[0]
        made = repository.add(tree, (tip,), f'Revert "{title}"\n\nThis reverts commit {sha}')
        repository.move(branch, made.sha)
        return _commit(made, status=201)

    async def _add_branch(self, request: web.Request) -> web.Response:
        repository, body = self._of(request), await _body(request)
        branch, ref = str(body.get("branch", "")), str(body.get("ref", ""))
        sha = repository.branches.get(ref, ref)
        if branch in repository.branches:
            return _says(400, "Branch already exists")
        if not branch or sha not in repository.commits:
            return _says(400, "Invalid reference name: " + ref)
        repository.move(branch, sha)
        return web.json_response({"name": branch, "commit": _shown(repository.commits[sha])}, status=201)

    async def _show_branch(self, request: web.Request) -> web.Response:
        repository, branch = self._of(request), unquote(request.match_info["branch"])
        if branch not in repository.branches:
            return _says(404, "404 Branch Not Found")
        tip = repository.commits[repository.branches[branch]]
        return web.json_response({"name": branch, "commit": _shown(tip)})

    async def _remove_branch(self, request: web.Request) -> web.Response:
        repository, branch = self._of(request), unquote(request.match_info["branch"])
        if branch not in repository.branches:
            return _says(404, "404 Branch Not Found")
        if branch in self.protected:
            return _says(403, "403 Forbidden")
        repository.move(branch, None)
        return web.Response(status=204)

    async def _list(self, request: web.Request) -> web.Response:
        """Newest first."""
        project = self._of(request).project
        state, branch = request.query.get("state", "all"), request.query.get("source_branch")
        found = [
            each
            for each in reversed(self.requests)
            if each["target_project_id"] == project
            and state in ("all", each["state"])
            and branch in (None, each["source_branch"])
        ]
        return web.json_response(found[: int(request.query.get("per_page", 20))])

    async def _open(self, request: web.Request) -> web.Response:
        repository, body = self._of(request), await _body(request)
        for name in ("title", "source_branch", "target_branch"):
            if not body.get(name):
                return web.json_response({"error": f"{name} is missing"}, status=400)
        source, target, title = str(body["source_branch"]), str(body["target_branch"]), str(body["title"])
        if source not in repository.branches or target not in repository.branches or len(title) > TITLE_LENGTH_MAX:
            return _says(400, ["The source branch does not exist, or the title is too long"])
        for each in self.requests:
            own = (each["source_branch"], each["source_project_id"]) == (source, repository.project)
            if own and each["state"] == "opened":
                return _says(409, [f"Another open merge request already exists for this source branch: !{each['iid']}"])
        made = self.request(repository, source, target, title=title, description=str(body.get("description", "")))
        return web.json_response(made, status=201)

    def request(
        self,
        repository: Repository,
        source: str,
        target: str,
        *,
        title: str = "",
        description: str = "",
        fork: str = "",
    ) -> dict[str, Any]:
        """A merge request that somebody opens, from a branch of the `fork` where one is named."""
        number = len(self.requests) + 1
        made: dict[str, Any] = {
            "iid": number,
            "state": "opened",
            "title": title,
            "description": description,
            "web_url": f"https://gitlab.example/{repository.project}/-/merge_requests/{number}",
            "source_branch": source,
            "target_branch": target,
            "source_project_id": fork or repository.project,
            "target_project_id": repository.project,
        }
        self.requests.append(made)
        return made

    def _of(self, request: web.Request) -> Repository:
        found = self.repositories.get(request.match_info["project"])
        if found is None:
            raise web.HTTPNotFound
        return found


def _commit(commit: Commit, status: int = 200) -> web.Response:
    return web.json_response(_shown(commit), status=status)


def _shown(commit: Commit) -> dict[str, Any]:
    title = commit.message.partition("\n")[0]
    return {"id": commit.sha, "title": title, "message": commit.message, "parent_ids": list(commit.parents)}


def _says(status: int, message: Any) -> web.Response:
    return web.json_response({"message": message}, status=status)


async def _body(request: web.Request) -> dict[str, Any]:
    body = json.loads(await request.read())
    return body if isinstance(body, dict) else {}
