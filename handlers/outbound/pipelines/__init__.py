"""Tells a pipeline that what it deployed was rolled back: `PipelineAnswers`, with one client per configured source."""

from handlers.outbound.pipelines.github import GitHubDeployments
from handlers.outbound.pipelines.gitlab import GitLabDeployments
from handlers.outbound.pipelines.runner import PipelineAnswers, PipelineClient

__all__ = ["GitHubDeployments", "GitLabDeployments", "PipelineAnswers", "PipelineClient"]
