"""Announces incidents in Slack: `SlackAnnouncer` (Web API, one thread per incident) or `SlackWebhook` (posts only)."""

from handlers.outbound.slack.announcer import SlackAnnouncer
from handlers.outbound.slack.webhook import SlackWebhook

__all__ = ["SlackAnnouncer", "SlackWebhook"]
