"""Answers a GitLab deployment: sets it to `failed` where GitLab lets us, and names the incident in a commit status.

A GitLab deployment has no text, so the incident is named by a commit status `lastgood`, which shows as a failed job of
the commit's newest pipeline. And GitLab lets nobody change a deployment that one of its own jobs made ("Deployments
created using GitLab CI can not be updated using the API", 403), nor one that stands as failed (400); for those the
commit status is the whole answer. The outcome says which of the two were done.

What a repetition would do: setting `failed` again changes nothing; a second commit status would be a second job, because
GitLab continues only one that is not finished. So after a lost answer the commit's statuses are looked through for ours.
The commit status comes last: where it is found, the rest is done.

Source: GitLab REST API, "Deployments" and "Commits", and what its server does (lib/api/deployments.rb,
lib/api/commit_statuses.rb, Ci::CreateCommitStatusService). The token needs the scope `api` and the role Developer, and
where the branch is protected a role that may merge or push to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp

from daemon.core.actions import AnswerPipeline, Outcome, OutcomeKind
from daemon.core.notices import Origin, Vendor
from handlers import code_host
from handlers.code_host import REQUEST_SECONDS_MAX, Answer
from handlers.faults import Fault, FaultKind, Permanent, Transient
from handlers.outbound.pipelines.description import description
from handlers.plain import one_line

STATUS_NAME = "lastgood"
"""Name of the commit status: the job's name in the pipeline."""

API_URL = "https://gitlab.com/api/v4"
"""Where the vendor's own service answers; set `api_url` for a server of one's own."""

DESCRIPTION_MAX = 255
"""Vendor's limit of a commit status' description, in characters."""

PAGE_STATUSES = 100
"""Statuses asked for at once: the vendor's largest page. They are filtered by our name, one a rollback."""

PROJECT_MAX = 1024
"""Longest path of a project, in characters: the vendor's 255 for each of a few levels of groups."""

_DEPLOYMENT = re.compile(r"[0-9]{1,20}")
_PROJECT = re.compile(
    r"(?!\.{1,2}(?:/|$))[A-Za-z0-9_.][A-Za-z0-9_.-]*(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9_.][A-Za-z0-9_.-]*)*"
)
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

_SCOPE = "it needs the scope api and the role Developer in the project"
_REMEDIES = {
    401: f"the token is not valid or has expired: set a new api_token, {_SCOPE}",
    403: f"the token may not do this: {_SCOPE}, a higher one where branch or environment are protected",
    404: f"no such deployment or commit, or the token does not see the project: {_SCOPE}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Deployment:
    """What GitLab shows of it: the full commit hash and the branch or tag, None where GitLab names none."""

    status: str
    by_job: bool
    commit: str | None
    ref: str | None


class GitLabDeployments:
    """Answers GitLab deployments. `api_url` is https://gitlab.com/api/v4 or an own server's.

    `token` is a project, group or personal access token; see the module for its scope. `seconds` limits one request.
    """

    vendor = Vendor.GITLAB

    def __init__(
        self, session: aiohttp.ClientSession, api_url: str, token: str, *, seconds: float = REQUEST_SECONDS_MAX
    ) -> None:
        self._host = code_host.gitlab(session, api_url, token, seconds=seconds)

    async def answer(self, action: AnswerPipeline) -> Outcome:
        """Set the deployment to failed and leave the commit status, as far as GitLab lets us.

        Raises Transient (429 with its wait), or Permanent with the remedy where neither could be done.
        """
        deployment = await self._deployment(action.origin)
        is_failed, done = await self._fail(action.origin, deployment)
        try:
            told = await self._tell(action, deployment)
        except Permanent as fault:
            if not is_failed:
                raise Permanent(f"{fault.reason}. {done}", fault.kind, status=fault.status) from None
            told = f"the incident is not named there: {fault.reason}"
        return Outcome(kind=OutcomeKind.DONE, message=f"{done}; {told}")

    async def find(self, action: AnswerPipeline) -> Outcome | None:
        """Whether our commit status is there. Raises as `answer`."""
        deployment = await self._deployment(action.origin)
        commit = _commit(action, deployment)
        if commit is None or not await self._has_status(action, commit):
            return None
        return Outcome(kind=OutcomeKind.DONE, message=f"the commit status {STATUS_NAME} was there before")

    async def _deployment(self, origin: Origin) -> _Deployment:
        answer = self._checked(await self._host.ask("GET", _path(origin)))
        shown: dict[str, Any] = answer.body if isinstance(answer.body, dict) else {}
        commit, ref = shown.get("sha"), shown.get("ref")
        return _Deployment(
            status=str(shown.get("status", "")),
            by_job=shown.get("deployable") is not None,
            commit=commit if isinstance(commit, str) and commit else None,
            ref=ref if isinstance(ref, str) and ref else None,
        )

    async def _fail(self, origin: Origin, deployment: _Deployment) -> tuple[bool, str]:
        """Set it to failed. Whether it is failed now, and the sentence that says so."""
        if deployment.status == "failed":
            return True, f"{_where(origin)} stands as failed"
        if deployment.by_job:
            return False, f"{_where(origin)} was made by a job, GitLab lets nobody change it"
        answer = await self._host.ask("PUT", _path(origin), body={"status": "failed"})
        if answer.status == 400 and (await self._deployment(origin)).status == "failed":
            # aiohttp repeats a PUT whose answer got lost, and the second is refused: it failed by the first.
            return True, f"{_where(origin)} is set to failed"
        if answer.status in (400, 403):  # a transition that GitLab does not know, or a job's deployment after all
            return False, f"{_where(origin)} stays as it is, GitLab answered {answer.status}: {answer.explanation}"
        self._checked(answer)
        return True, f"{_where(origin)} is set to failed"

    async def _tell(self, action: AnswerPipeline, deployment: _Deployment) -> str:
        """Leave the commit status. The sentence that says so."""
        commit = _commit(action, deployment)
        if commit is None:
            raise Permanent("no commit is known that could carry a status", FaultKind.NOT_FOUND)
        body = {"state": "failed", "name": STATUS_NAME, "description": description(action, DESCRIPTION_MAX)}
        # Without the ref GitLab takes the first branch that contains the commit.
        named = {"ref": deployment.ref} if deployment.ref else {}
        answer = await self._host.ask("POST", f"{_project(action.origin)}/statuses/{commit}", body=body | named)
        if answer.status == 400 and await self._has_status(action, commit):
            # "Cannot transition status": somebody else, or an earlier attempt of ours, was there first.
            return f"the commit status {STATUS_NAME} was there before"
        self._checked(answer)
        return f"commit {commit[:12]} has the failed status {STATUS_NAME}"

    async def _has_status(self, action: AnswerPipeline, commit: str) -> bool:
        path = f"{_project(action.origin)}/repository/commits/{commit}/statuses"
        query: dict[str, str | int] = {"name": STATUS_NAME, "all": "true", "per_page": PAGE_STATUSES}
        answer = self._checked(await self._host.ask("GET", path, query=query))
        ours = ("failed", description(action, DESCRIPTION_MAX))
        listed = answer.body if isinstance(answer.body, list) else []
        return any(isinstance(each, dict) and (each.get("status"), each.get("description")) == ours for each in listed)

    def _checked(self, answer: Answer) -> Answer:
        if answer.fine:
            return answer
        raise self._fault(answer)

    def _fault(self, answer: Answer) -> Fault:
        if answer.status == 409:
            # GitLab writes the statuses of a commit one at a time, and gives up when it waits too long for its turn.
            reason = f"GitLab is changing the same commit or deployment: {answer.explanation}"
            return Transient(None, reason, FaultKind.CONFLICT, status=409)
        return self._host.fault(answer, _REMEDIES)


def _project(origin: Origin) -> str:
    """The project's path as one encoded segment. A sender's text becomes a part of an address only where it is one."""
    if len(origin.project) > PROJECT_MAX or not _PROJECT.fullmatch(origin.project):
        raise Permanent(f"{_where(origin)}: no path or number of a project", FaultKind.INVALID)
    return "/projects/" + quote(origin.project, safe="")


def _path(origin: Origin) -> str:
    if not _DEPLOYMENT.fullmatch(origin.deployment):
        raise Permanent(f"{_where(origin)}: no deployment's number", FaultKind.INVALID)
    return f"{_project(origin)}/deployments/{origin.deployment}"


def _commit(action: AnswerPipeline, deployment: _Deployment) -> str | None:
    """The commit's full hash: GitLab's word, else the pipeline's; None where neither names one."""
    named = deployment.commit or action.commit
    return named if named is not None and _COMMIT.fullmatch(named) else None


def _where(origin: Origin) -> str:
    return one_line(f"GitLab deployment {origin.deployment} of {origin.project}", 150)
