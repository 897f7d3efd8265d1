"""A little world on loopback for the demo and the tests: an API server, services, PagerDuty, Slack.

Belongs here: stand-ins that behave as the real systems do, each claim held against the real one by a test. Does not
belong here: an import of daemon, handlers or config, because a mistake in shared code would hide from both sides.
"""
