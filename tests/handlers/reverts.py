"""A pull request that is owed for a bad commit, and both code hosts with a repository that holds it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp

from daemon.core.actions import NamedCommit, RevertCommit
from daemon.core.model import ActionId, IncidentId, Workload
from daemon.core.notices import Origin, Vendor
from deploy.sandbox.vendors import GitHubStandIn, GitLabStandIn
from deploy.sandbox.vendors.faults import Faults
from deploy.sandbox.vendors.repository import Repository as Code
from deploy.sandbox.vendors.repository import merged
from handlers.outbound.reverts import CommitReverts, GitHubReverts, GitLabReverts, Repository, RevertClient

INCIDENT = IncidentId("inc-20260301-120410-7")
PROJECT = "shop/deploy"
TOKEN = "token-of-the-sandbox"


def owed(
    commit: str,
    *,
    source: str = "argocd",
    origin: Origin | None = None,
    details: tuple[tuple[str, str], ...] = (("Workload", "shop/Deployment/web"), ("Bad revision", "web:v2")),
) -> RevertCommit:
    return RevertCommit(
        id=ActionId(f"{INCIDENT}/revert"),
        deadline=datetime(2026, 3, 1, 13, 0, tzinfo=UTC),
        incident=INCIDENT,
        workload=Workload(namespace="shop", kind="Deployment", name="web"),
        commits=(NamedCommit(source=source, commit=commit, origin=origin),),
        summary=f"shop/web in prod ({INCIDENT})",
        details=details,
    )


class Host:
    """One code host, its repository `code` with a good and a bad commit, and our runner for it."""

    def __init__(self, vendor: Vendor, host: GitHubStandIn | GitLabStandIn, session: aiohttp.ClientSession) -> None:
        self.vendor = vendor
        self.host = host
        self._session = session
        self.code: Code = host.code.create(PROJECT)
        self.good = self.code.commit("v1", {"web.yaml": "image: web:v1", "cart.yaml": "image: cart:v1"})
        self.bad = self.code.commit("v2\n\nCloses #1", {"web.yaml": "image: web:v2"})

    @property
    def faults(self) -> Faults:
        return self.host.faults

    def client(self, *, token: str = TOKEN, branch: str | None = None, project: str = PROJECT) -> RevertClient:
        if isinstance(self.host, GitHubStandIn):
            return GitHubReverts(self._session, self.host.url, token, project=project, branch=branch)
        return GitLabReverts(self._session, self.host.api_url, token, project=project, branch=branch)

    def runner(self, *, token: str = TOKEN, branch: str | None = None) -> CommitReverts:
        repository = Repository(
            project=PROJECT, sources=frozenset({"argocd"}), client=self.client(token=token, branch=branch)
        )
        return CommitReverts([repository])

    @property
    def branch(self) -> str:
        return f"lastgood/revert-{self.bad[:12]}"

    @property
    def proposals(self) -> list[tuple[str, str, str, str]]:
        """Branch, target, title and text of each pull or merge request."""
        if isinstance(self.host, GitHubStandIn):
            return [(e["head"]["ref"], e["base"]["ref"], e["title"], e["body"]) for e in self.host.code.pulls]
        return [(e["source_branch"], e["target_branch"], e["title"], e["description"]) for e in self.host.code.requests]

    def proposed(self, branch: str, *, fork: str = "") -> dict[str, object]:
        """A request that somebody else opened."""
        if isinstance(self.host, GitHubStandIn):
            return self.host.code.pull(self.code, branch, "main", fork=fork)
        return self.host.code.request(self.code, branch, "main", fork=fork)

    def end(self, *, merged: bool) -> None:
        """Somebody merges the first request, or closes it."""
        if isinstance(self.host, GitHubStandIn):
            self.host.code.pulls[0].update(state="closed", merged_at="2026-03-01T12:10:00Z" if merged else None)
        else:
            self.host.code.requests[0].update(state="merged" if merged else "closed")

    def after_merge(self) -> dict[str, str]:
        """What the files would be if our branch were merged now."""
        main, ours = self.code.branches["main"], self.code.branches[self.branch]
        shared = self.code.merge_base(main, ours)
        assert shared is not None
        trees = (self.code.commits[sha].tree for sha in (shared, main, ours))
        found = merged(*trees)
        assert found is not None, "it conflicts"
        return dict(found)


@asynccontextmanager
async def serving(vendor: Vendor) -> AsyncIterator[Host]:
    standin = GitHubStandIn(token=TOKEN) if vendor is Vendor.GITHUB else GitLabStandIn(token=TOKEN)
    async with aiohttp.ClientSession() as session, standin:
        yield Host(vendor, standin, session)
