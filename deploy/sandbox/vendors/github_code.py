"""The part of the GitHub stand-in that serves repositories: Git database, comparing, merging, pull requests.

Source: GitHub REST API documentation (version 2022-11-28), "Git database", "Compare two commits", "Merge a branch",
"Pull requests".
"""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from deploy.sandbox.vendors.repository import Commit, Repository, merged, sha_of

TITLE_LENGTH_MAX = 256
BODY_LENGTH_MAX = 65_536

_REPO = "/repos/{owner}/{repo}"


class GitHubCode:
    """`repositories` are served by their lower-case names; `pulls` are all pull requests, as the API shows them."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.pulls: list[dict[str, Any]] = []

    def create(self, project: str) -> Repository:
        """An empty repository."""
        return self.repositories.setdefault(project.lower(), Repository(project=project))

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Serve them."""
        router.add_get(_REPO, self._show)
        router.add_get(_REPO + "/git/ref/heads/{branch:.+}", self._show_ref)
        router.add_get(_REPO + "/git/commits/{sha}", self._show_commit)
        router.add_post(_REPO + "/git/commits", self._add_commit)
        router.add_post(_REPO + "/git/refs", self._add_ref)
        router.add_delete(_REPO + "/git/refs/heads/{branch:.+}", self._remove_ref)
        router.add_get(_REPO + "/compare/{base}...{head}", self._compare)
        router.add_post(_REPO + "/merges", self._merge)
        router.add_get(_REPO + "/pulls", self._list_pulls)
        router.add_post(_REPO + "/pulls", self._open_pull)

    async def _show(self, request: web.Request) -> web.Response:
        found = self._of(request)
        return web.json_response({"full_name": found.project, "default_branch": found.default})

    async def _show_ref(self, request: web.Request) -> web.Response:
        branch = request.match_info["branch"]
        sha = self._of(request).branches.get(branch)
        return says(404, "Not Found") if sha is None else web.json_response(_ref(branch, sha))

    async def _show_commit(self, request: web.Request) -> web.Response:
        found = self._of(request).commits.get(request.match_info["sha"])
        return says(404, "Not Found") if found is None else web.json_response(_shown(found))

    async def _add_commit(self, request: web.Request) -> web.Response:
        repository, body = self._of(request), await _body(request)
        tree = repository.tree(str(body.get("tree")))
        parents = tuple(body.get("parents", ()))
        if tree is None or not all(parent in repository.commits for parent in parents) or not body.get("message"):
            return says(422, "Tree SHA does not exist")
        return web.json_response(_shown(repository.add(tree, parents, str(body["message"]))), status=201)

    async def _add_ref(self, request: web.Request) -> web.Response:
        repository, body = self._of(request), await _body(request)
        name = str(body.get("ref", ""))
        branch = name.removeprefix("refs/heads/")
        if branch == name or body.get("sha") not in repository.commits:
            return says(422, "Object does not exist")
        if branch in repository.branches:
            return says(422, "Reference already exists")
        repository.move(branch, str(body["sha"]))
        return web.json_response(_ref(branch, str(body["sha"])), status=201)

    async def _remove_ref(self, request: web.Request) -> web.Response:
        repository, branch = self._of(request), request.match_info["branch"]
        if branch not in repository.branches:
            return says(422, "Reference does not exist")
        repository.move(branch, None)
        return web.Response(status=204)

    async def _compare(self, request: web.Request) -> web.Response:
        repository = self._of(request)
        base, head = request.match_info["base"], request.match_info["head"]
        if base not in repository.commits or head not in repository.commits:
            return says(404, "Not Found")
        shared = repository.merge_base(base, head)
        if shared is None:
            return says(404, "No common ancestor")
        named = {(True, True): "identical", (True, False): "ahead", (False, True): "behind", (False, False): "diverged"}
        # Which commits and files there are is left out: of them, only a first page would have anything.
        return web.json_response({"status": named[shared == base, shared == head], "total_commits": 1, "commits": []})

    async def _merge(self, request: web.Request) -> web.Response:
        repository, body = self._of(request), await _body(request)
        base, head = str(body.get("base")), str(body.get("head"))
        tip, other = repository.branches.get(base), repository.branches.get(head, head)
        if tip is None:
            return says(404, "Base does not exist")
        if other not in repository.commits:
            return says(404, "Head does not exist")
        if other in repository.history(tip):
            return web.Response(status=204)
        shared = repository.merge_base(tip, other)
        before = repository.commits[shared].tree if shared else {}
        tree = merged(before, repository.commits[tip].tree, repository.commits[other].tree)
        if tree is None:
            return says(409, "Merge conflict")
        made = repository.add(tree, (tip, other), str(body.get("commit_message") or "Merge"))
        repository.move(base, made.sha)
        inner = {"message": made.message, "tree": {"sha": sha_of(made.tree)}}
        return web.json_response({**_shown(made), "tree": None, "commit": inner}, status=201)

    async def _list_pulls(self, request: web.Request) -> web.Response:
        """Newest first. `head` is `owner:branch`; GitHub ignores one without an owner."""
        project = self._of(request).project
        found = [each for each in reversed(self.pulls) if each["base"]["repo"]["full_name"] == project]
        state, head = request.query.get("state", "open"), request.query.get("head", "")
        found = [each for each in found if state in ("all", each["state"])]
        if ":" in head:
            found = [each for each in found if each["head"]["label"] == head]
        return web.json_response(found[: int(request.query.get("per_page", 30))])

    async def _open_pull(self, request: web.Request) -> web.Response:
        repository, body = self._of(request), await _body(request)
        head, base, title = str(body.get("head", "")), str(body.get("base", "")), str(body.get("title", ""))
        errors = [
            {"resource": "PullRequest", "field": name, "code": "invalid"}
            for name, branch in (("head", head), ("base", base))
            if branch not in repository.branches
        ]
        if not title or len(title) > TITLE_LENGTH_MAX or len(str(body.get("body", ""))) > BODY_LENGTH_MAX:
            errors.append({"resource": "PullRequest", "field": "title", "code": "invalid"})
        if not errors:
            errors = [_custom(text) for text in self._objections(repository, head, base)]
        if errors:
            return says(422, "Validation Failed", errors)
        pull = self.pull(repository, head, base, title=title, body=str(body.get("body", "")))
        return web.json_response(pull, status=201)

    def _objections(self, repository: Repository, head: str, base: str) -> list[str]:
        owner, own = repository.project.partition("/")[0], (head, repository.project)
        heads = [each["head"] for each in self.pulls if each["state"] == "open"]
        if any((each["ref"], each["repo"]["full_name"]) == own for each in heads):
            return [f"A pull request already exists for {owner}:{head}."]
        if repository.branches[head] in repository.history(repository.branches[base]):
            return [f"No commits between {base} and {head}"]
        return []

    def pull(
        self, repository: Repository, head: str, base: str, *, title: str = "", body: str = "", fork: str = ""
    ) -> dict[str, Any]:
        """A pull request that somebody opens, from a branch of the `fork` where one is named."""
        number = len(self.pulls) + 1
        source = fork or repository.project
        made: dict[str, Any] = {
            "number": number,
            "state": "open",
            "merged_at": None,
            "title": title,
            "body": body,
            "html_url": f"https://github.example/{repository.project}/pull/{number}",
            "head": {"ref": head, "label": f"{source.partition('/')[0]}:{head}", "repo": {"full_name": source}},
            "base": {"ref": base, "repo": {"full_name": repository.project}},
        }
        self.pulls.append(made)
        return made

    def _of(self, request: web.Request) -> Repository:
        found = self.repositories.get("{owner}/{repo}".format_map(request.match_info).lower())
        if found is None:
            raise web.HTTPNotFound
        return found


def says(status: int, message: str, errors: list[dict[str, str]] | None = None) -> web.Response:
    """An answer that is no success, in GitHub's form."""
    body: dict[str, Any] = {
        "message": message,
        "documentation_url": "https://docs.github.com/rest",
        "status": str(status),
    }
    return web.json_response({**body, "errors": errors} if errors else body, status=status)


def _custom(message: str) -> dict[str, str]:
    return {"resource": "PullRequest", "code": "custom", "message": message}


def _ref(branch: str, sha: str) -> dict[str, Any]:
    return {"ref": f"refs/heads/{branch}", "object": {"type": "commit", "sha": sha}}


def _shown(commit: Commit) -> dict[str, Any]:
    return {
        "sha": commit.sha,
        "message": commit.message,
        "tree": {"sha": sha_of(commit.tree)},
        "parents": [{"sha": parent} for parent in commit.parents],
    }


async def _body(request: web.Request) -> dict[str, Any]:
    body = json.loads(await request.read())
    return body if isinstance(body, dict) else {}
