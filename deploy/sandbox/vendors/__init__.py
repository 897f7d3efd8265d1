"""Stand-ins for PagerDuty and Slack that check the vendors' published schemas, limits and semantics."""

from deploy.sandbox.vendors.pagerduty import THROTTLED, PagerDutyIncident, PagerDutyStandIn
from deploy.sandbox.vendors.slack import SlackMessage, SlackStandIn

__all__ = ["THROTTLED", "PagerDutyIncident", "PagerDutyStandIn", "SlackMessage", "SlackStandIn"]
