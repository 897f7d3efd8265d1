"""Opens a pull request at GitHub that reverts one commit.

GitHub reverts merged pull requests (GraphQL, `revertPullRequest`), not commits, and gives the branch a name of its own. So the
revert is made as Git makes it: a commit upon the bad one that has the tree of the bad one's (first) parent. It is exact by
construction, and merging it is the three-way merge that `git revert` is. Whether it is clean is found out by merging the base
branch into ours: a conflict, or a merge that changes nothing against the base, takes our branch away again.

What is written, in this order: commit, branch, merge, pull request. Each step is looked for before it is done, so a second run
goes on from the first one that is missing. A branch of our name that holds anything else is left alone.

Source: GitHub REST API (version 2022-11-28): "Git database", "Compare two commits" (with paging, only the first page carries
the changed files), "Merge a branch", "Pull requests". The token needs "Contents" and "Pull requests", both "read and write",
on this one repository; a commit that changes workflows also "Workflows: write".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp

from daemon.core.actions import Outcome
from daemon.core.notices import Vendor
from handlers import code_host
from handlers.code_host import NO_CONTENT, REQUEST_SECONDS_MAX, Answer, is_github_limit
from handlers.faults import Fault, FaultKind, Transient
from handlers.outbound.reverts.wording import BRANCHES, SHOWN, NotRevertedError, Revert, remedies, there

PULLS_MAX = 20
"""Pull requests looked through that have a branch of our name: one, and what forks and people add."""

_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REMEDIES = remedies('it needs "Contents" and "Pull requests", read and write ("Workflows" too where they change)')


@dataclass(frozen=True, slots=True, kw_only=True)
class _Commit:
    sha: str
    tree: str
    parents: tuple[str, ...]


class GitHubReverts:
    """Reverts in `project` (owner/repo). `branch` is the base of the pull request, None for the default branch.

    `api_url` is https://api.github.com, or https://HOST/api/v3 of an own server. `seconds` limits one request.
    """

    vendor = Vendor.GITHUB

    def __init__(
        self,
        session: aiohttp.ClientSession,
        api_url: str,
        token: str,
        *,
        project: str,
        branch: str | None = None,
        seconds: float = REQUEST_SECONDS_MAX,
    ) -> None:
        self._host = code_host.github(session, api_url, token, seconds=seconds)
        self._project = project
        self._base = branch
        self._path = f"/repos/{quote(project, safe='/')}"

    async def find(self, revert: Revert) -> Outcome | None:
        """Our pull request: one from a branch of our name in this very repository; a fork's is not ours."""
        owner = self._project.partition("/")[0]
        query: dict[str, str | int] = {"head": f"{owner}:{revert.branch}", "state": "all", "per_page": PULLS_MAX}
        answer = self._checked(await self._host.ask("GET", f"{self._path}/pulls", query=query))
        for each in answer.body if isinstance(answer.body, list) else []:
            head = _inner(each, "head")
            name = str(_inner(head, "repo").get("full_name", ""))
            if head.get("ref") == revert.branch and name.lower() == self._project.lower():
                return there(_state(each), each.get("html_url"))
        return None

    async def open(self, revert: Revert) -> Outcome:
        """Make the branch and open the pull request. Raises NotRevertedError where it would be no clean revert."""
        base = self._base or await self._default_branch()
        head = await self._head(base)
        if head is None:
            raise NotRevertedError(f"branch {base} of {self._project} is not there, or the token does not see it")
        bad = await self._commit(revert.commit)
        if bad is None or not await self._holds(revert.commit, head):
            raise NotRevertedError(f"{base} of {self._project} does not hold commit {revert.commit[:SHOWN]}")
        before = await self._commit(bad.parents[0]) if bad.parents else None
        if before is None or before.tree == bad.tree:
            raise NotRevertedError(f"commit {bad.sha[:SHOWN]} of {self._project} changes nothing, or is the first one")
        tip = await self._branch(revert, bad, before)
        await self._up_to_date(revert, bad, tip, head, base)
        return await self._pull_request(revert, base)

    async def _default_branch(self) -> str:
        answer = self._checked(await self._host.ask("GET", self._path))
        return self._text(_of(answer), "default_branch")

    async def _head(self, branch: str) -> str | None:
        answer = await self._host.ask("GET", f"{self._path}/git/ref/heads/{quote(branch, safe='/')}")
        if answer.status == 404:
            return None
        return self._hash(_inner(_of(self._checked(answer)), "object"))

    async def _commit(self, sha: str) -> _Commit | None:
        answer = await self._host.ask("GET", f"{self._path}/git/commits/{sha}")
        return None if answer.status == 404 else self._shown(_of(self._checked(answer)))

    async def _holds(self, commit: str, head: str) -> bool:
        """Whether the branch's history has the commit. GitHub also shows commits of forks under this repository's address."""
        query = {"per_page": 1, "page": 2}  # without the changed files, which may be many
        answer = await self._host.ask("GET", f"{self._path}/compare/{commit}...{head}", query=query)
        return answer.status != 404 and _of(self._checked(answer)).get("status") in ("ahead", "identical")

    async def _branch(self, revert: Revert, bad: _Commit, before: _Commit) -> _Commit:
        """The newest commit of our branch, which is made where it is not there yet."""
        answer = None
        for _ in range(2):
            there_already = await self._head(revert.branch)
            if there_already is not None:
                return await self._ours(revert, bad, before, there_already)
            body = {"message": revert.message, "tree": before.tree, "parents": [bad.sha]}
            made = self._shown(_of(self._checked(await self._host.ask("POST", f"{self._path}/git/commits", body=body))))
            ref = {"ref": f"refs/heads/{revert.branch}", "sha": made.sha}
            answer = await self._host.ask("POST", f"{self._path}/git/refs", body=ref)
            if answer.fine:
                return made
            if answer.status != 422:  # 422: another daemon was faster, or the rules forbid it; the next look tells
                break
        assert answer is not None, "the loop has asked"
        raise self._fault(answer)

    async def _ours(self, revert: Revert, bad: _Commit, before: _Commit, sha: str) -> _Commit:
        """The branch's commit where an earlier run made it: the revert, or the merge of the base into it."""
        tip = await self._commit(sha)
        first = await self._commit(tip.parents[0]) if tip is not None and len(tip.parents) == 2 else tip
        if tip is None or first is None or (first.tree, first.parents) != (before.tree, (bad.sha,)):
            raise NotRevertedError(
                f"branch {revert.branch} of {self._project} holds something else: look at it, or remove it"
            )
        return tip

    async def _up_to_date(self, revert: Revert, bad: _Commit, tip: _Commit, head: str, base: str) -> None:
        """Merge the base into our branch, which says whether the revert is clean. Nothing to do where nothing came after."""
        if head == bad.sha:
            return
        merge: _Commit | None = tip
        if len(tip.parents) != 2:
            message = f"Merge {head[:SHOWN]} into {revert.branch}"
            body = {"base": revert.branch, "head": head, "commit_message": message}
            answer = await self._host.ask("POST", f"{self._path}/merges", body=body)
            if answer.status == 409:
                await self._take_away(revert)
                later = f"what came after commit {bad.sha[:SHOWN]} changes the same places"
                raise NotRevertedError(f"it cannot be reverted cleanly on {base} of {self._project}: {later}")
            if answer.status == NO_CONTENT:
                return
            merge = self._merge(_of(self._checked(answer)))
        newest = await self._commit(merge.parents[1]) if merge is not None else None
        if merge is not None and newest is not None and newest.tree == merge.tree:
            await self._take_away(revert)
            raise NotRevertedError(
                f"{base} of {self._project} has been reverted already: nothing of the commit is left"
            )

    async def _take_away(self, revert: Revert) -> None:
        assert revert.branch.startswith(BRANCHES), "no branch but ours is ever touched"
        answer = await self._host.ask("DELETE", f"{self._path}/git/refs/heads/{revert.branch}")
        if answer.status != 422:  # it is gone already
            self._checked(answer)

    async def _pull_request(self, revert: Revert, base: str) -> Outcome:
        body = {"title": revert.title, "body": revert.text, "head": revert.branch, "base": base}
        answer = await self._host.ask("POST", f"{self._path}/pulls", body=body)
        if answer.status == 422 and (found := await self.find(revert)) is not None:
            return found
        return there("opened", _of(self._checked(answer)).get("html_url"))

    def _checked(self, answer: Answer) -> Answer:
        if answer.fine:
            return answer
        raise self._fault(answer)

    def _fault(self, answer: Answer) -> Fault:
        return self._host.limited(answer) if is_github_limit(answer) else self._host.fault(answer, _REMEDIES)

    def _shown(self, commit: dict[str, Any]) -> _Commit:
        listed = commit.get("parents")
        parents = listed if isinstance(listed, list) else []
        return _Commit(
            sha=self._hash(commit),
            tree=self._hash(_inner(commit, "tree")),
            parents=tuple(self._hash(each if isinstance(each, dict) else {}) for each in parents),
        )

    def _merge(self, answer: dict[str, Any]) -> _Commit:
        """A merge is shown as by "Get a commit": its tree is one level deeper."""
        return self._shown({**answer, "tree": _inner(_inner(answer, "commit"), "tree")})

    def _hash(self, shown: dict[str, Any]) -> str:
        sha = self._text(shown, "sha")
        if not _SHA.fullmatch(sha):
            raise Transient(None, "GitHub sent no hash where one belongs", FaultKind.SERVER)
        return sha

    def _text(self, shown: dict[str, Any], name: str) -> str:
        value = shown.get(name)
        if not isinstance(value, str) or not value:
            raise Transient(None, f"GitHub sent an answer without {name}", FaultKind.SERVER)
        return value


def _of(answer: Answer) -> dict[str, Any]:
    return answer.body if isinstance(answer.body, dict) else {}


def _inner(shown: object, name: str) -> dict[str, Any]:
    found = shown.get(name) if isinstance(shown, dict) else None
    return found if isinstance(found, dict) else {}


def _state(pull: dict[str, Any]) -> str:
    if pull.get("state") == "open":
        return "opened"
    return "merged" if pull.get("merged_at") else "closed"
