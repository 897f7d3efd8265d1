"""Part 5: the least traffic of a day, against what judging needs. At night many services are too quiet to be judged."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from statistics import fmean

from daemon.core.policy import Policy, SignalKind, SignalRule
from handlers import pod_groups, signal_sources
from handlers.pod_groups import PodGroup
from handlers.preflight.lines import Line, ok, warning
from handlers.preflight.subject import Sources, Subject
from handlers.prometheus import render

DAY = timedelta(hours=24)

STEP = timedelta(minutes=5)
"""Between two samples of an hour: twelve, enough for its mean."""

HOURS_SHOWN = 8
"""Quiet hours that are named."""

CHECK = "traffic of 24 hours"


async def night(sources: Sources, subject: Subject) -> list[Line]:
    """The quietest hour, and the hours in which only health could be proven. Raises Transient and Permanent."""
    rules = [rule for rule in subject.policy.signals if rule.kind is SignalKind.TRAFFIC]
    if not rules:
        remedy = (
            "add a signal of kind traffic to policy.signals: without it nothing is blamed and no proof is by traffic"
        )
        return [warning(CHECK, "no signal of kind traffic is in the policy", remedy)]
    hours: dict[datetime, list[float]] = {}
    for rule in rules:
        for hour, mean in (await _hourly(sources, subject, rule)).items():
            hours.setdefault(hour, []).append(mean)
    return [_line(subject, {hour: sum(rates) for hour, rates in hours.items()})]


async def _hourly(sources: Sources, subject: Subject, rule: SignalRule) -> Mapping[datetime, float]:
    """Mean requests per second by the hour (UTC) in which it was."""
    group = _everybody(sources, subject)
    query = render(
        rule.query,
        namespace=group.namespace,
        pods=group.names,
        patterns=group.patterns,
        window=subject.policy.signal_window,
    )
    matrix = await sources.signals.query_range(query, subject.now - DAY, subject.now, STEP)
    series = signal_sources.by_source(matrix) or {}
    source = signal_sources.chosen(rule.query, [series])
    found: dict[datetime, list[float]] = {}
    for at, value in series.get(source or "", ()):
        found.setdefault(at.replace(minute=0, second=0, microsecond=0), []).append(value)
    return {hour: fmean(values) for hour, values in found.items()}


def _everybody(sources: Sources, subject: Subject) -> PodGroup:
    """All pods that the workload had, whatever their revision; those of now where its name is too long to tell."""
    group = pod_groups.of_workload(subject.workload, subject.tracked.view.history)
    if not group.empty:
        return group
    names = [pod.name for pod in sources.cache.pods_of(subject.workload)]
    return pod_groups.of_revision(subject.workload, subject.tracked.view.current, names)


def _line(subject: Subject, hours: Mapping[datetime, float]) -> Line:
    if not hours:
        return warning(
            CHECK,
            f"no traffic was measured in the last 24 hours (one look every {STEP.seconds // 60} minutes)",
            "a Prometheus that has just started knows no day yet; else see the signals",
        )
    policy, least = subject.policy, min(hours, key=lambda hour: (hours[hour], hour))
    quiet = sorted(hour for hour, rate in hours.items() if _too_quiet(rate, policy))
    says = f"least {hours[least]:.3g} requests/s, in the hour from {least:%H:%M}Z (needed {needed(policy):.3g})"
    if quiet:
        named = ", ".join(f"{hour:%H}h" for hour in quiet[:HOURS_SHOWN]) + (", …" if len(quiet) > HOURS_SHOWN else "")
        remedy = (
            "in these hours only pods that cannot start are blamed and only health is proven; lower "
            "policy.min_traffic_rate if that many requests can be judged, or keep rollouts out of them"
        )
        return warning(CHECK, f"{says}; too quiet in {len(quiet)} of {len(hours)} hours (UTC): {named}", remedy)
    known = DAY // timedelta(hours=1)
    if len(hours) < known:
        remedy = "ask again when Prometheus has a whole day of it"
        return warning(CHECK, f"{says}; only {len(hours)} of {known} hours have data", remedy)
    return ok(CHECK, says)


def needed(policy: Policy) -> float:
    """Requests per second below which a verdict has too little traffic: `min_traffic_rate`, and `min_requests` within
    the time that it may wait for them.
    """
    return max(policy.min_traffic_rate, policy.min_requests / policy.decide_deadline.total_seconds())


def _too_quiet(rate: float, policy: Policy) -> bool:
    return rate < needed(policy)
