"""What must hold between the settings of a policy; pure functions over the core's Policy.

Problems refuse the configuration, warnings only tell: a warning is for what somebody may want, a problem for what can
never work.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

from config.durations import render
from config.problems import Problem
from daemon.core.model import Mode
from daemon.core.policy import ApproverRule, GitOpsRule, ModeRule, Policy, SignalKind, SignalRule

PROTECTED_NAMESPACE = "kube-system"
"""Never acted in unless a rule names it (DESIGN)."""

_RATIOS = frozenset({SignalKind.ERROR_RATIO, SignalKind.CPU, SignalKind.MEMORY})
_SIGNAL_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_PLACEHOLDER = re.compile(r"\$(?:\{?)([a-z_][a-z0-9_]*)", re.IGNORECASE)
_PLACEHOLDERS = frozenset({"namespace", "pods", "window"})
_NAMESPACE_GLOB = re.compile(r"[a-z0-9*]([a-z0-9*-]{0,62})")
_NAME_GLOB = re.compile(r"[a-z0-9*]([a-z0-9.*-]{0,252})")


def problems_of(policy: Policy) -> Iterator[Problem]:
    """Everything that can never work, each with its path below `policy`."""
    yield from _ranges(policy)
    yield from _durations(policy)
    yield from _severities(policy)
    for signal in policy.signals:
        yield from _signal(signal)
    for index, rule in enumerate(policy.modes):
        yield from _globs(rule, ("modes", index))
    for index, each in enumerate(policy.gitops):
        yield from _globs(each, ("gitops", index))
    for index, approver in enumerate(policy.approvers):
        yield from _globs(approver, ("approvers", index))
        if not approver.actors:
            yield Problem(
                where=("approvers", index, "slack"), text="is empty; name at least one member, like [U0123ABCD]"
            )
    for index, mapping in enumerate(policy.mappings):
        if not mapping.labels:
            yield Problem(
                where=("mappings", index, "labels"), text="is empty and would match every alert; name a label"
            )


def _globs(rule: ModeRule | ApproverRule | GitOpsRule, where: tuple[str, int]) -> Iterator[Problem]:
    for key, texts, shape in (("namespaces", rule.namespaces, _NAMESPACE_GLOB), ("names", rule.names, _NAME_GLOB)):
        if not all(shape.fullmatch(text) for text in texts):
            yield Problem(
                where=(*where, key),
                text="holds no Kubernetes name; use a-z, 0-9, - and * for any characters",
            )


def warnings_of(policy: Policy) -> Iterator[str]:
    """What is allowed and may still surprise."""
    if policy.default_mode is not Mode.OBSERVE:
        yield f"policy.default_mode: {policy.default_mode} arms every workload; observe is the careful default"
    for index, rule in enumerate(policy.modes):
        where = f"policy.modes.{index}"
        if rule.mode is Mode.OBSERVE:
            continue
        if PROTECTED_NAMESPACE in rule.namespaces:
            yield f"{where}: arms {PROTECTED_NAMESPACE}; a rollback there can take the cluster down"
        if not (rule.namespaces or rule.names or rule.labels):
            yield f"{where}: has no selector, so it arms every workload; name namespaces, names or labels"
    if not policy.approvers and Mode.APPROVE in (policy.default_mode, *(rule.mode for rule in policy.modes)):
        yield "policy.approvers: not set while a mode is approve; only the command line can approve, Slack's buttons cannot"
    if not any(signal.kind is SignalKind.TRAFFIC for signal in policy.signals):
        yield "policy.signals: none of kind traffic, so min_traffic_rate is never met; revisions get health-only proof"


def is_armed(policy: Policy) -> bool:
    """True when some workload may get a mode other than observe."""
    return policy.default_mode is not Mode.OBSERVE or any(rule.mode is not Mode.OBSERVE for rule in policy.modes)


def _ranges(policy: Policy) -> Iterator[Problem]:
    for name in ("blame_threshold", "blame_margin"):
        if not 0 <= getattr(policy, name) <= 1:
            yield Problem(where=(name,), text="is outside 0..1; write a ratio")
    for name in ("min_traffic_rate", "min_requests", "restarts_max", "rollbacks_per_namespace_hour",
                 "rollbacks_per_cluster_hour"):  # fmt: skip
        if getattr(policy, name) < 0:
            yield Problem(where=(name,), text="is negative; write 0 or more")
    if policy.persistence_bad < 1:
        yield Problem(where=("persistence_bad",), text="is below 1; at least one bad sample is needed to blame")
    if policy.persistence_bad > policy.persistence_of:
        yield Problem(
            where=("persistence_bad",), text="is above persistence_of; write at most that many of its samples"
        )


_NOT_LONGER = (
    ("sample_interval", "soak", "a soak needs at least one sample"),
    ("soak", "soak_low_traffic", "proof by health alone must take the longer time"),
    ("soak", "proof_age_max", "proof would be too old before it is complete"),
    ("hold", "verify_deadline", "the symptom must be able to stay gone for hold before the deadline"),
    ("countdown", "approve_deadline", "the countdown would never end before the deadline"),
    ("sample_interval", "decide_deadline", "no sample would arrive before the deadline"),
)
"""(shorter, longer, why)"""


def _durations(policy: Policy) -> Iterator[Problem]:
    for short, long, why in _NOT_LONGER:
        lower, upper = getattr(policy, short), getattr(policy, long)
        if lower > upper:
            yield Problem(where=(short,), text=f"{render(lower)} is longer than {long} ({render(upper)}); {why}")
    acts: timedelta = policy.converge_deadline + policy.verify_deadline
    if policy.gitops and policy.suspend_for <= acts:
        yield Problem(
            where=("suspend_for",),
            text=f"is not longer than converge_deadline and verify_deadline together ({render(acts)}); lengthen it",
        )
    needed: timedelta = policy.sample_interval * policy.persistence_bad
    if policy.persistence_bad > 1 and needed > policy.decide_deadline >= policy.sample_interval:
        yield Problem(
            where=("decide_deadline",),
            text=f"is shorter than persistence_bad samples take ({render(needed)}); lengthen it or sample more often",
        )


def _severities(policy: Policy) -> Iterator[Problem]:
    if not _LABEL_NAME.fullmatch(policy.severity_label):
        yield Problem(where=("severity_label",), text="is no label name; use letters, digits and _")
    if any(label != label.lower() for label, _ in policy.severities):
        # Alerts' values are compared in lower case, so these would never match.
        yield Problem(where=("severities",), text="holds a capital letter; write the label's values in lower case")
    if policy.own_workload is not None and len(policy.own_workload.split("/")) != 2:
        yield Problem(where=("own_workload",), text="is no workload; write it as namespace/name")


def _signal(rule: SignalRule) -> Iterator[Problem]:
    where = ("signals", rule.name)
    if not _SIGNAL_NAME.fullmatch(rule.name):
        yield Problem(where=where, text="is no signal name; use a-z, 0-9 and _, a letter first")
    names = set(_PLACEHOLDER.findall(rule.query))
    if "pods" not in names:
        yield Problem(
            where=(*where, "query"), text='holds no $pods, so revisions cannot be told apart; add {pod=~"$pods"}'
        )
    if names - _PLACEHOLDERS:
        yield Problem(
            where=(*where, "query"), text="holds an unknown $name; only $namespace, $pods and $window are filled in"
        )
    yield from _thresholds(rule, where)


def _thresholds(rule: SignalRule, where: tuple[str, str]) -> Iterator[Problem]:
    for key in ("healthy_below", "trigger_above"):
        value = getattr(rule, key)
        if value is None:
            continue
        if rule.kind is SignalKind.TRAFFIC:
            yield Problem(where=(*where, key), text="traffic has no threshold; set policy.min_traffic_rate")
        elif value < 0 or (rule.kind in _RATIOS and value > 1):
            yield Problem(where=(*where, key), text="is out of range; write a ratio 0..1, or seconds for a latency")
    if None not in (low := rule.healthy_below, high := rule.trigger_above) and low > high:  # type: ignore[operator]
        yield Problem(where=(*where, "healthy_below"), text="is above trigger_above; between the two is inconclusive")
