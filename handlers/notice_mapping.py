"""Which workload a deployment event speaks of, where it does not name one itself.

Pipelines know repositories, environments and services, not Kubernetes objects. The operator's rules translate; they are
tried in the order of the configuration, and the first that fits counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from daemon.core.model import Workload

MATCHABLE = ("repository", "environment", "service")
"""What a rule can ask for: owner/repo or a GitLab project's path; an environment; a CDEvents subject or `service`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """One rule: events of `source` (None: of every source) that match all pairs of `match` speak of `workload`.

    `match` holds (key of MATCHABLE, exact value); values are compared as written.
    """

    source: str | None
    match: tuple[tuple[str, str], ...]
    workload: Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who sends events: its name in the configuration, whether its failures may open an incident, and the rules.

    `cluster` is our own name; an event that names another cluster is not for us. None: it is not compared.
    """

    name: str
    may_cause: bool
    mappings: tuple[Mapping, ...]
    cluster: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """What an event says of where it deploys, as sent; None where it does not say."""

    repository: str | None = None
    environment: str | None = None
    service: str | None = None


def workload_of(sender: Sender, whereabouts: Whereabouts) -> Workload | None:
    """The workload of the first rule that fits, None where none does."""
    return next((rule.workload for rule in sender.mappings if _fits(rule, sender.name, whereabouts)), None)


def _fits(rule: Mapping, source: str, whereabouts: Whereabouts) -> bool:
    if rule.source not in (None, source):
        return False
    return all(getattr(whereabouts, key) == value for key, value in rule.match)
