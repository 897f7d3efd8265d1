"""Answers a GitHub deployment: adds a status `failure` whose description names the incident.

A deployment's state is its newest status, and a status can be added to any deployment at any time, so nothing needs to
be read first. What a repetition would do: a second line in the deployment's history; so after a lost answer the
statuses are looked through for our line.

* `auto_inactive: false`: GitHub may otherwise mark the earlier deployments of the environment as inactive, and one of
  them is what we have just rolled back to.
* No `environment`: GitHub would move the deployment to the environment named; left out, it stays where it is.
* No `log_url`: Lastgood has no page that the public could open; what is known stands in the description.

Source: GitHub REST API, "Deployment statuses" (version 2022-11-28), "Rate limits for the REST API". Statuses are kept
90 days. The token needs "Deployments: write" (fine-grained, App) or `repo_deployment` (classic), nothing else.
"""

from __future__ import annotations

import re
from typing import Any

import aiohttp

from daemon.core.actions import AnswerPipeline, Outcome, OutcomeKind
from daemon.core.notices import Origin, Vendor
from handlers import code_host
from handlers.code_host import REQUEST_SECONDS_MAX, Answer, is_github_limit
from handlers.faults import FaultKind, Permanent
from handlers.outbound.pipelines.description import description
from handlers.plain import one_line

API_URL = "https://api.github.com"
"""Where the vendor's own service answers; set `api_url` for a server of one's own."""

DESCRIPTION_MAX = 140
"""Vendor's limit of a status' description, in characters."""

PAGE_STATUSES = 100
"""Statuses asked for at once: the vendor's largest page."""

PAGES_MAX = 3
"""Most pages that are looked through, newest first: ours is at most minutes old."""

_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}")
_DEPLOYMENT = re.compile(r"[0-9]{1,20}")

_SCOPE = 'it needs "Deployments: write" on the repository (classic: repo_deployment)'
_REMEDIES = {
    401: f"the token is not valid or has expired: set a new api_token, {_SCOPE}",
    403: f"the token may not do this: {_SCOPE}, and an organisation may have to approve it",
    404: f"no such deployment, or the token does not see the repository: {_SCOPE}",
}


class GitHubDeployments:
    """Answers GitHub deployments. `api_url` is https://api.github.com, or https://HOST/api/v3 of an own server.

    `token` is a fine-grained, App or classic token; see the module for its permission. `seconds` limits one request.
    """

    vendor = Vendor.GITHUB

    def __init__(
        self, session: aiohttp.ClientSession, api_url: str, token: str, *, seconds: float = REQUEST_SECONDS_MAX
    ) -> None:
        self._host = code_host.github(session, api_url, token, seconds=seconds)

    async def answer(self, action: AnswerPipeline) -> Outcome:
        """Add the status. Raises Transient (rate limits included, with their wait) or Permanent with the remedy."""
        body = {"state": "failure", "description": description(action, DESCRIPTION_MAX), "auto_inactive": False}
        self._checked(await self._host.ask("POST", _statuses(action.origin), body=body))
        return Outcome(kind=OutcomeKind.DONE, message=f"{_where(action.origin)} has the status failure")

    async def find(self, action: AnswerPipeline) -> Outcome | None:
        """Whether the deployment has our status. Raises as `answer`."""
        ours = ("failure", description(action, DESCRIPTION_MAX))
        for page in range(1, PAGES_MAX + 1):
            query = {"per_page": PAGE_STATUSES, "page": page}
            answer = self._checked(await self._host.ask("GET", _statuses(action.origin), query=query))
            statuses = [each for each in _listed(answer) if isinstance(each, dict)]
            if any((each.get("state"), each.get("description")) == ours for each in statuses):
                return Outcome(kind=OutcomeKind.DONE, message=f"{_where(action.origin)} had the status failure before")
            if len(statuses) < PAGE_STATUSES:
                break
        return None

    def _checked(self, answer: Answer) -> Answer:
        if answer.fine:
            return answer
        raise self._host.limited(answer) if is_github_limit(answer) else self._host.fault(answer, _REMEDIES)


def _statuses(origin: Origin) -> str:
    """The path of the deployment's statuses. A sender's text becomes a part of it only where it is a name."""
    if not (_PROJECT.fullmatch(origin.project) and _DEPLOYMENT.fullmatch(origin.deployment)):
        raise Permanent(f"{_where(origin)}: no owner/repository with a deployment's number", FaultKind.INVALID)
    return f"/repos/{origin.project}/deployments/{origin.deployment}/statuses"


def _listed(answer: Answer) -> list[Any]:
    return answer.body if isinstance(answer.body, list) else []


def _where(origin: Origin) -> str:
    return one_line(f"GitHub deployment {origin.deployment} of {origin.project}", 150)
