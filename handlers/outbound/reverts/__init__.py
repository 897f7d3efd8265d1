"""Opens pull requests that revert a commit: `CommitReverts`, with one client per configured repository."""

from handlers.outbound.reverts.github import GitHubReverts
from handlers.outbound.reverts.gitlab import GitLabReverts
from handlers.outbound.reverts.runner import CommitReverts, Repository, RevertClient

__all__ = ["CommitReverts", "GitHubReverts", "GitLabReverts", "Repository", "RevertClient"]
