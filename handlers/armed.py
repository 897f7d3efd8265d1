"""Where a policy lets Lastgood act: in which namespaces some workload may get another mode than observe.

Names and labels of workloads are not looked at: RBAC binds a right to a namespace, or to all of them.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from daemon.core.model import Mode
from daemon.core.policy import ModeRule, Policy

PROTECTED = "kube-system"
"""Never acted on unless a rule names it (the guard PROTECTED)."""

_GLOB = frozenset("*?[")


def in_namespace(policy: Policy, namespace: str) -> bool:
    """Whether some workload there may be acted on."""
    if namespace == PROTECTED and not any(PROTECTED in rule.namespaces for rule in policy.modes):
        return False
    for rule in policy.modes:
        if rule.namespaces and not any(fnmatchcase(namespace, glob) for glob in rule.namespaces):
            continue
        if rule.mode is not Mode.OBSERVE:
            return True
        if _takes_every_workload(rule):
            return False
    return policy.default_mode is not Mode.OBSERVE


def anywhere(policy: Policy) -> bool:
    """Whether there may be such a namespace at all."""
    return bool(named(policy)) or open_ended(policy)


def open_ended(policy: Policy) -> bool:
    """Whether namespaces that the policy does not name letter by letter may be acted on: by a pattern, or by no selector."""
    for rule in policy.modes:
        if rule.mode is not Mode.OBSERVE and (not rule.namespaces or any(map(_is_glob, rule.namespaces))):
            return True
        if not rule.namespaces and _takes_every_workload(rule):
            return False
    return policy.default_mode is not Mode.OBSERVE


def named(policy: Policy) -> tuple[str, ...]:
    """The namespaces that the policy names letter by letter and lets be acted on, in order of their names."""
    written = {name for rule in policy.modes for name in rule.namespaces if not _is_glob(name)}
    return tuple(sorted(name for name in written if in_namespace(policy, name)))


def _takes_every_workload(rule: ModeRule) -> bool:
    return not rule.labels and (not rule.names or "*" in rule.names)


def _is_glob(name: str) -> bool:
    return not _GLOB.isdisjoint(name)
