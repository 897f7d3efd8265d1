"""Opens a merge request at GitLab that reverts one commit.

GitLab reverts a commit on a branch itself, so ours is made from the target branch and the commit reverted there. A dry run would
say before whether that works, but asks for the right to push to the branch it is tried on, which for the target branch our token
should not have. What GitLab cannot revert takes our branch away again. A merge commit is reverted against its first parent.

What is written, in this order: branch, revert, merge request. Each step is done again after a cut, and GitLab refuses what is
there: the branch, the revert (nothing is left to revert), the merge request. A branch of our name that holds anything but one
revert is left alone.

Source: GitLab REST API, "Branches", "Commits" (revert: 400 with `error_code` conflict or empty), "Repositories" (merge base),
"Merge requests" (409 for another open one of the same branch). The token needs the scope `api` and the role Developer in this
one project.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import aiohttp

from daemon.core.actions import Outcome
from daemon.core.notices import Vendor
from handlers import code_host
from handlers.code_host import REQUEST_SECONDS_MAX, Answer
from handlers.faults import Fault, FaultKind, Transient
from handlers.outbound.reverts.wording import BRANCHES, SHOWN, NotRevertedError, Revert, remedies, there

REQUESTS_MAX = 20
"""Merge requests looked through that have a branch of our name: one, and what forks and people add."""

_REMEDIES = remedies("it needs the scope api and the role Developer in the project")


class GitLabReverts:
    """Reverts in `project` (its path). `branch` is the target of the merge request, None for the default branch.

    `api_url` is https://gitlab.com/api/v4 or an own server's. `seconds` limits one request.
    """

    vendor = Vendor.GITLAB

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
        self._host = code_host.gitlab(session, api_url, token, seconds=seconds)
        self._project = project
        self._base = branch
        self._path = f"/projects/{quote(project, safe='')}"
        self._repository = f"{self._path}/repository"

    async def find(self, revert: Revert) -> Outcome | None:
        """Our merge request: one from a branch of our name in this very project; a fork's is not ours."""
        query: dict[str, str | int] = {"source_branch": revert.branch, "state": "all", "per_page": REQUESTS_MAX}
        answer = self._checked(await self._host.ask("GET", f"{self._path}/merge_requests", query=query))
        for each in answer.body if isinstance(answer.body, list) else []:
            own = isinstance(each, dict) and each.get("source_project_id") == each.get("target_project_id")
            if own and each.get("source_branch") == revert.branch:
                return there(_state(each), each.get("web_url"))
        return None

    async def open(self, revert: Revert) -> Outcome:
        """Make the branch and open the merge request. Raises NotRevertedError where it would be no clean revert."""
        base = self._base or await self._default_branch()
        shown = await self._host.ask("GET", f"{self._repository}/commits/{revert.commit}")
        known = shown.status != 404 and bool(_of(self._checked(shown)))
        if not known or await self._merge_base(revert.commit, base) != revert.commit:
            raise NotRevertedError(
                f"{base} of {self._project} does not hold commit {revert.commit[:SHOWN]}, or is not there"
            )
        if not _of(shown).get("parent_ids"):
            raise NotRevertedError(f"commit {revert.commit[:SHOWN]} of {self._project} is the first one")
        await self._branch(revert, base)
        await self._revert(revert, base)
        return await self._merge_request(revert, base)

    async def _default_branch(self) -> str:
        branch = _of(self._checked(await self._host.ask("GET", self._path))).get("default_branch")
        if not isinstance(branch, str) or not branch:
            raise NotRevertedError(f"{self._project} has no default branch")
        return branch

    async def _merge_base(self, one: str, other: str) -> str | None:
        """The newest commit that both have; None where they have none, or one of them is not there."""
        query = [("refs[]", one), ("refs[]", other)]
        answer = await self._host.ask("GET", f"{self._repository}/merge_base", query=query)
        return None if answer.status in (400, 404) else _text(_of(self._checked(answer)), "id")

    async def _branch(self, revert: Revert, base: str) -> None:
        body = {"branch": revert.branch, "ref": base}
        answer = await self._host.ask("POST", f"{self._repository}/branches", body=body)
        if answer.status != 400:  # "Branch already exists"; anything else shows at the next step
            self._checked(answer)

    async def _revert(self, revert: Revert, base: str) -> None:
        path = f"{self._repository}/commits/{revert.commit}/revert"
        answer = await self._host.ask("POST", path, body={"branch": revert.branch})
        if answer.status != 400:
            self._checked(answer)
            return
        tip = _inner(_of(self._checked(await self._host.ask("GET", self._own(revert)))), "commit")
        shared = await self._merge_base(_text(tip, "id"), base)
        if shared == tip.get("id"):
            await self._take_away(revert)
            reason = f"it cannot be reverted cleanly on {base} of {self._project}, or has been: GitLab says"
            raise NotRevertedError(f"{reason} {answer.explanation}")
        if tip.get("parent_ids") != [shared] or not str(tip.get("title", "")).startswith("Revert "):
            raise NotRevertedError(
                f"branch {revert.branch} of {self._project} holds something else: look at it, or remove it"
            )

    async def _take_away(self, revert: Revert) -> None:
        assert revert.branch.startswith(BRANCHES), "no branch but ours is ever touched"
        answer = await self._host.ask("DELETE", self._own(revert))
        if answer.status != 404:  # it is gone already
            self._checked(answer)

    async def _merge_request(self, revert: Revert, base: str) -> Outcome:
        body = {
            "title": revert.title,
            "description": revert.text,
            "source_branch": revert.branch,
            "target_branch": base,
            "remove_source_branch": True,
        }
        answer = await self._host.ask("POST", f"{self._path}/merge_requests", body=body)
        if answer.status == 409 and (found := await self.find(revert)) is not None:
            return found
        return there("opened", _of(self._checked(answer)).get("web_url"))

    def _own(self, revert: Revert) -> str:
        return f"{self._repository}/branches/{quote(revert.branch, safe='')}"

    def _checked(self, answer: Answer) -> Answer:
        if answer.fine:
            return answer
        raise self._fault(answer)

    def _fault(self, answer: Answer) -> Fault:
        if answer.status == 409:
            reason = f"GitLab is changing the same project: {answer.explanation}"
            return Transient(None, reason, FaultKind.CONFLICT, status=409)
        return self._host.fault(answer, _REMEDIES)


def _of(answer: Answer) -> dict[str, Any]:
    return answer.body if isinstance(answer.body, dict) else {}


def _inner(shown: dict[str, Any], name: str) -> dict[str, Any]:
    found = shown.get(name)
    return found if isinstance(found, dict) else {}


def _text(shown: dict[str, Any], name: str) -> str:
    value = shown.get(name)
    if not isinstance(value, str) or not value:
        raise Transient(None, f"GitLab sent an answer without {name}", FaultKind.SERVER)
    return value


def _state(request: dict[str, Any]) -> str:
    state = request.get("state")
    return str(state) if state in ("merged", "closed") else "opened"
