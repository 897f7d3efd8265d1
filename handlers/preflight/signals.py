"""Part 4: each signal of the policy, measured now for the pods of the current revision; where it has no data, why."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from config import durations
from daemon.core.measurement import Health, Sample
from daemon.core.policy import Policy, SignalKind, SignalRule
from daemon.core.signals import REQUESTS_BEYOND_QUANTILE, TAIL, healthy_of, judge, measurable, trigger_of
from handlers import pod_groups, signal_sources
from handlers.cache import PodSeen
from handlers.faults import Fault
from handlers.pod_groups import PodGroup
from handlers.preflight import no_data
from handlers.preflight.lines import Line, failed, ok, warning
from handlers.preflight.subject import Signals, Sources, Subject
from handlers.prometheus import render

UNITS = {
    SignalKind.TRAFFIC: " requests/s",
    SignalKind.LATENCY_P95: " s",
    SignalKind.LATENCY_P99: " s",
}
"""What a value is in; ratios have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A signal's value now: a number, None without data, or the fault. `many` series are as bad as none.

    `source`: which of the metrics that were found it is measured by; empty where the query is the policy's own.
    """

    rule: SignalRule
    value: float | None = None
    source: str = ""
    many: int = 0
    fault: Fault | None = None


async def signals(sources: Sources, subject: Subject) -> list[Line]:
    """One line per signal."""
    view, policy = subject.tracked.view, subject.policy
    if view.desired == 0:
        return [warning("signals", "it is scaled to 0: nothing to measure", "ask again when it runs")]
    # A little in the past: the scrapes of the last seconds are still to come, of some pods.
    at = subject.now - min(policy.signal_window / 2, policy.sample_interval)
    pods = sources.cache.pods_of(subject.workload, view.current.id)
    group = pod_groups.of_revision(subject.workload, view.current, _names(subject, pods, at))
    if group.empty and pods:
        says = "its pods were exchanged just now: under their names there is still what the pods before them measured"
        return [warning("signals", says, f"ask again in {durations.render(policy.signal_window)}")]
    if group.empty:
        remedy = "wait for its pods, or look at why there are none"
        return [failed("signals", "no pod of the current revision is known", remedy, f"{subject.kubectl} get pods")]
    if not policy.signals:
        return [failed("signals", "policy.signals is empty", "leave it out: the defaults fit http_requests_total")]
    found = await asyncio.gather(*(_measured(sources.signals, rule, group, policy, at) for rule in policy.signals))
    sample = Sample(at=at, values=tuple((each.rule.name, each.value) for each in found if each.value is not None))
    lines = (_line(sources, subject, each, sample, group) for each in found)
    return list(await asyncio.gather(*lines))


def _names(subject: Subject, pods: Sequence[PodSeen], at: datetime) -> list[str]:
    """The pods' names; where names are given again, of those whose signals at that moment are their own."""
    if pod_groups.names_return(subject.workload):
        pods = [pod for pod in pods if pod_groups.own_from(pod.created_at, subject.policy.signal_window) <= at]
    return [pod.name for pod in pods]


async def _measured(source: Signals, rule: SignalRule, group: PodGroup, policy: Policy, at: datetime) -> Found:
    query = rendered(rule.query, group, policy)
    try:
        vector = await source.query(query, at)
    except Fault as fault:
        return Found(rule=rule, fault=fault)
    values = signal_sources.by_source(vector)
    if values is None:
        return Found(rule=rule, many=len(vector))
    measured_by = signal_sources.chosen(rule.query, [values]) or ""
    return Found(rule=rule, value=values.get(measured_by), source=measured_by)


def rendered(query: str, group: PodGroup, policy: Policy) -> str:
    """The template as it is asked."""
    return render(
        query, namespace=group.namespace, pods=group.names, patterns=group.patterns, window=policy.signal_window
    )


async def _line(sources: Sources, subject: Subject, found: Found, sample: Sample, group: PodGroup) -> Line:
    check = f"signal {found.rule.name}"
    if found.fault is not None:
        remedy = "check prometheus.url and its credentials, and the query in policy.signals (try it in Prometheus)"
        return failed(check, f"cannot be asked: {found.fault.reason}", remedy)
    if found.many:
        says = f"gives {found.many} series, must be one"
        return failed(check, says, "aggregate in policy.signals: sum(…), max(…) or histogram_quantile over sum by (le)")
    if found.value is None:
        return await _without_data(sources, subject, found.rule, sample, group)
    line = _with_value(subject, found.rule, found.value, sample)
    return replace(line, says=f"{line.says}; measured by {found.source}") if found.source else line


async def _without_data(sources: Sources, subject: Subject, rule: SignalRule, sample: Sample, group: PodGroup) -> Line:
    check, policy = f"signal {rule.name}", subject.policy
    why = await no_data.explain(sources.signals, rule, group, policy, sample.at)
    # Without traffic there is no proof and no blame by any signal; one latency less is only a signal less.
    judged = any(_judges(each) and sample.value(each.name) is not None for each in policy.signals)
    needed = rule.kind is SignalKind.TRAFFIC or not judged
    if why.idle or (not needed):
        return warning(check, f"no data: {why.says}", why.remedy)
    return failed(check, f"no data: {why.says}", why.remedy, *why.commands)


def _judges(rule: SignalRule) -> bool:
    return rule.kind is not SignalKind.TRAFFIC


def _with_value(subject: Subject, rule: SignalRule, value: float, sample: Sample) -> Line:
    check, policy, unit = f"signal {rule.name}", subject.policy, UNITS.get(rule.kind, "")
    if rule.kind is SignalKind.TRAFFIC:
        return _traffic(check, value, policy)
    entry = subject.tracked.entry(subject.tracked.view.current.id)
    baseline = dict(entry.baseline).get(rule.name) if entry is not None else None
    healthy, trigger = healthy_of(rule, baseline), trigger_of(rule, baseline)
    says = f"{value:.4g}{unit}; healthy {_limit('up to', healthy)}, triggers {_limit('above', trigger)}"
    says += f", baseline {baseline:.4g}" if baseline is not None else ""
    if healthy is None and trigger is None:
        return ok(check, f"{value:.4g}{unit}; judged against its baseline, once a revision has soaked")
    if not measurable(policy, rule, sample):
        window = policy.signal_window.total_seconds()
        wanted = REQUESTS_BEYOND_QUANTILE / TAIL[rule.kind] / window
        return ok(check, f"{says}; not judged below {wanted:.3g} requests/s, too few for a quantile")
    if judge(rule, value, baseline) is Health.UNHEALTHY:
        remedy = "it is bad right now: nothing is proven while it lasts; if that is normal here, set trigger_above"
        return warning(check, says, remedy)
    return ok(check, says)


def _traffic(check: str, value: float, policy: Policy) -> Line:
    says = f"{value:.4g} requests/s; needed {policy.min_traffic_rate:.3g} (policy.min_traffic_rate)"
    if value >= policy.min_traffic_rate:
        return ok(check, says)
    remedy = "too quiet to judge now: only health is proven; see the traffic of 24 hours"
    return warning(check, says, remedy)


def _limit(word: str, value: float | None) -> str:
    return f"{word} {value:.4g}" if value is not None else "unset"
