"""Stand-ins for the vendors' APIs that check the published schemas, limits and semantics."""

from deploy.sandbox.vendors.github import GitHubDeployment, GitHubStandIn
from deploy.sandbox.vendors.gitlab import GitLabDeployment, GitLabStandIn
from deploy.sandbox.vendors.pagerduty import THROTTLED, PagerDutyIncident, PagerDutyStandIn
from deploy.sandbox.vendors.slack import SlackMessage, SlackStandIn

__all__ = [
    "THROTTLED",
    "GitHubDeployment",
    "GitHubStandIn",
    "GitLabDeployment",
    "GitLabStandIn",
    "PagerDutyIncident",
    "PagerDutyStandIn",
    "SlackMessage",
    "SlackStandIn",
]
