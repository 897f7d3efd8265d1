"""Which mode a workload is in: the policy's first matching rule, lowered by its annotation."""

from __future__ import annotations

from fnmatch import fnmatchcase

from daemon.core.model import Mode
from daemon.core.policy import Policy
from daemon.core.state import Tracked


def mode_of(policy: Policy, tracked: Tracked) -> Mode:
    """The workload's mode: the first matching rule, lowered (never raised) by the annotation; nonsense there is observe."""
    view = tracked.view
    if view.mode_invalid is not None:
        return Mode.OBSERVE
    labels = dict(view.labels)
    for rule in policy.modes:
        if rule.namespaces and not any(fnmatchcase(view.workload.namespace, glob) for glob in rule.namespaces):
            continue
        if rule.names and not any(fnmatchcase(view.workload.name, glob) for glob in rule.names):
            continue
        if all(labels.get(key) == value for key, value in rule.labels):
            return rule.mode.capped_by(view.mode)
    return policy.default_mode.capped_by(view.mode)
