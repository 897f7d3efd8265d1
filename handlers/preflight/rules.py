"""Which alert rules could lead to a workload: the ladder, run on the labels that a rule's alerts could carry.

An estimate: what an expression returns is only known when it fires. The labels that its outermost grouping keeps are taken,
with the workload's own values; an expression that asks for other values (`namespace="pay"`) is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from daemon.core.model import Alert, AlertStatus, Rung
from daemon.core.policy import AlertMapping
from daemon.core.state import Tracked
from handlers.cache import ClusterCache
from handlers.ladder import place
from handlers.ladder_labels import (
    CALLEE_CONTROLLERS,
    CALLEE_NAMES,
    CALLEE_NAMESPACES,
    CALLEE_SERVICES,
    CALLER_CONTROLLERS,
    CALLER_NAMESPACES,
    CONTROLLER_LABELS,
    EXPLICIT_LABEL,
    NAME_LABELS,
    NAMESPACE_LABELS,
    POD_LABELS,
    SERVICE_HOST_LABEL,
    SERVICE_LABELS,
    WORKLOAD_TYPE_LABEL,
    WORKLOAD_TYPES,
)
from handlers.preflight.selectors import matchers_in
from handlers.prometheus import AlertingRule

_BY = re.compile(r"\bby\s*\(([^()]*)\)")
_WITHOUT = re.compile(r"\bwithout\s*\(([^()]*)\)")
_TEMPLATED = re.compile(r"\{\{\s*\$labels\.([A-Za-z_]\w*)\s*\}\}")

TARGETS = frozenset({"namespace", "pod", "service", "job"})
"""Labels that series of a scraped pod usually have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """A rule whose alerts could belong to the workload, and by which rung, with the labels that do it."""

    rule: str
    rung: Rung
    labels: tuple[str, ...]


def leads(
    rules: Iterable[AlertingRule], tracked: Tracked, cache: ClusterCache, mappings: Sequence[AlertMapping], at: datetime
) -> list[Lead]:
    """Those that could lead to the workload, in the rules' order."""
    own = _own_labels(tracked, cache)
    found = []
    for rule in rules:
        labels = _labels_of(rule, own)
        if labels is None:
            continue
        lead = _lead(rule.name, labels, tracked, cache, mappings, at)
        if lead is not None:
            found.append(lead)
    return found


def _lead(
    name: str,
    labels: Mapping[str, str],
    tracked: Tracked,
    cache: ClusterCache,
    mappings: Sequence[AlertMapping],
    at: datetime,
) -> Lead | None:
    alert = Alert(
        fingerprint="preflight",
        status=AlertStatus.FIRING,
        labels=tuple(sorted({**labels, "alertname": name}.items())),
        starts_at=at,
    )
    found = place(alert, cache, mappings)
    if tracked.view.workload not in found.workloads:
        return None
    return Lead(rule=name, rung=found.rung, labels=tuple(sorted(set(labels) & _LADDER)))


_CALLEES = (*CALLEE_CONTROLLERS, *CALLEE_SERVICES, *CALLEE_NAMES)
_CALLEE = frozenset({*CALLEE_NAMESPACES, *(entry.label for entry in _CALLEES)})
_CALLER = frozenset({*CALLER_NAMESPACES, *(entry.label for entry in CALLER_CONTROLLERS)})
_PLAIN = (*CONTROLLER_LABELS, *SERVICE_LABELS, *NAME_LABELS)
_LADDER = _CALLEE | _CALLER | {EXPLICIT_LABEL, *NAMESPACE_LABELS, *POD_LABELS, *(entry.label for entry in _PLAIN)}


def _own_labels(tracked: Tracked, cache: ClusterCache) -> dict[str, str]:
    """Every label of the ladder with the value that an alert of this workload would carry, as far as it is known."""
    view = tracked.view
    workload, labels = view.workload, dict(view.labels)
    pods = [pod.name for pod in cache.pods_of(workload, view.current.id)]
    own = dict.fromkeys((*NAMESPACE_LABELS, *CALLEE_NAMESPACES, *CALLER_NAMESPACES), workload.namespace)
    own |= dict.fromkeys(POD_LABELS, pods[0]) if pods else {}
    for entry in (*_PLAIN, *_CALLEES, *CALLER_CONTROLLERS):
        if entry.kind in ("", workload.kind):
            own[entry.label] = next((labels[key] for key in entry.keys if key in labels), workload.name)
    types = (name for name, kinds in WORKLOAD_TYPES.items() if workload.kind in kinds)
    own[WORKLOAD_TYPE_LABEL] = next(types, workload.kind.lower())
    own[SERVICE_HOST_LABEL] = f"{workload.name}.{workload.namespace}.svc.cluster.local"
    return own


def _labels_of(rule: AlertingRule, own: Mapping[str, str]) -> dict[str, str] | None:
    """The labels that an alert of this rule would carry here; None where its expression asks for somebody else."""
    kept = _kept(rule.query, own)
    # Who calls is another's label, where the alert is about who is called.
    others = _CALLER if _CALLEE & kept.keys() else frozenset[str]()
    for matcher in matchers_in(rule.query):
        value = own.get(matcher.label)
        if value is not None and matcher.label not in others and not matcher.accepts(value):
            return None
    for name, value in rule.labels:
        templated = _TEMPLATED.search(value)
        if templated is None:
            kept[name] = value
        elif templated[1] in own:
            kept[name] = own[templated[1]]
    return kept


def _kept(query: str, own: Mapping[str, str]) -> dict[str, str]:
    """What the groupings of the expression let through; without any, where the series come from: namespace and pod."""
    by = [{name.strip() for name in found.split(",")} for found in _BY.findall(query)]
    dropped = {name.strip() for found in _WITHOUT.findall(query) for name in found.split(",")}
    if by:
        names = frozenset(set.intersection(*by))
    elif dropped:
        names = TARGETS - dropped
    elif re.search(r"\b(sum|avg|max|min|count)\s*\(", query):
        names = frozenset()
    else:
        names = TARGETS & {"namespace", "pod"}
    return {name: value for name, value in own.items() if name in names}
