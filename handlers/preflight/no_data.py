"""Why a signal has no data: asks Prometheus for its parts until one has no series, and says which."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from config import durations
from daemon.core.policy import Policy, SignalKind, SignalRule
from handlers.faults import Fault
from handlers.pod_groups import PodGroup
from handlers.preflight.selectors import Matcher, Selector, selectors
from handlers.preflight.subject import Signals
from handlers.prometheus import render
from handlers.signal_sources import alternatives_of

METRICS_MAX = 5
"""Metrics of one query that are looked at, a few questions each."""

MATCHERS_MAX = 6
"""Matchers of one selector that are tried one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """`idle`: everything is there, there are only no requests."""

    says: str
    remedy: str
    idle: bool = False
    commands: tuple[str, ...] = ()


async def explain(source: Signals, rule: SignalRule, group: PodGroup, policy: Policy, at: datetime) -> Why:
    """The first part of the query without series, and the remedy; of every source that was found, where there are several."""
    try:
        lacks: list[tuple[str, Why]] = []
        for way in alternatives_of(rule.query):
            found = await _first_missing(source, way.query, group, policy, at)
            if found is None:
                return await _all_there(source, rule, group, policy, at)
            lacks.append((way.source, found))
        return _none_of(lacks)
    except Fault as fault:
        remedy = "try the query of policy.signals in Prometheus, with the namespace and pods of this workload"
        return Why(says=f"and Prometheus cannot be asked why: {fault.reason}", remedy=remedy)


async def _first_missing(source: Signals, query: str, group: PodGroup, policy: Policy, at: datetime) -> Why | None:
    for selector in selectors(query)[:METRICS_MAX]:
        found = await _missing(source, selector, group, policy, at)
        if found is not None:
            return found
    return None


def _none_of(lacks: list[tuple[str, Why]]) -> Why:
    """What each source lacks. The remedy is that of the first: the best one."""
    (name, first), *others = lacks
    if not name:
        return first
    says = "; ".join(f"{source}: {why.says}" for source, why in lacks)
    return replace(first, says=says, remedy=first.remedy if not others else f"{first.remedy} (or for another of these)")


async def _missing(source: Signals, selector: Selector, group: PodGroup, policy: Policy, at: datetime) -> Why | None:
    """Adds one matcher after the other."""

    async def any_series(*matchers: Matcher) -> bool:
        query = f"count({Selector(metric=selector.metric, matchers=matchers)})"
        asked = render(
            query, namespace=group.namespace, pods=group.names, patterns=group.patterns, window=policy.signal_window
        )
        return bool(await source.query(asked, at))

    metric = selector.metric
    if not await any_series():
        remedy = (
            "is it named otherwise? Write your metric into policy.signals; or the service is not scraped "
            "(ServiceMonitor, PodMonitor, annotations)"
        )
        return Why(says=f"Prometheus has no series {metric}", remedy=remedy)
    for count, matcher in enumerate(selector.matchers[:MATCHERS_MAX], start=1):
        if await any_series(*selector.matchers[:count]):
            continue
        present = Matcher(label=matcher.label, op="!=", value="")
        if not await any_series(*selector.matchers[: count - 1], present):
            return _no_label(metric, matcher)
        return _other_value(metric, matcher, group)
    return None


def _no_label(metric: str, matcher: Matcher) -> Why:
    remedy = (
        f"relabel when scraping (a target label {matcher.label} from __meta_kubernetes_…), or write the label that the "
        "series have into policy.signals"
    )
    return Why(says=f"the series of {metric} have no label {matcher.label}", remedy=remedy)


def _other_value(metric: str, matcher: Matcher, group: PodGroup) -> Why:
    shown = matcher.value.replace("$namespace", group.namespace).replace("$pods", "its pods")
    says = f"{metric} has series with a label {matcher.label}, but none with {matcher.label}{matcher.op}{shown}"
    if matcher.label == "namespace":
        remedy = f"are the pods of {group.namespace} scraped, and is the label the pods' own (honor_labels)?"
    elif "$pods" in matcher.value:
        remedy = "are these pods scraped, and is the label the pod's own name (not the exporter's)?"
    else:
        remedy = f"correct {matcher.label} in policy.signals, or what the service exports"
    return Why(says=says, remedy=remedy)


async def _all_there(source: Signals, rule: SignalRule, group: PodGroup, policy: Policy, at: datetime) -> Why:
    """Every series is there, and the whole has no value: no requests, or too few scrapes in the window."""
    if rule.kind is not SignalKind.TRAFFIC and await _idle(source, group, policy, at):
        return Why(says="there are no requests now", remedy="nothing to do: ask again under traffic", idle=True)
    window = durations.render(policy.signal_window)
    remedy = (
        f"each pod needs two scrapes within policy.signal_window ({window}), better four: scrape more often or lengthen "
        "it. A query that divides by nothing has no value either"
    )
    return Why(says="its series are there, but the query gives no value", remedy=remedy)


async def _idle(source: Signals, group: PodGroup, policy: Policy, at: datetime) -> bool:
    rules = [rule for rule in policy.signals if rule.kind is SignalKind.TRAFFIC]
    values = []
    for rule in rules:
        query = render(
            rule.query,
            namespace=group.namespace,
            pods=group.names,
            patterns=group.patterns,
            window=policy.signal_window,
        )
        values += [value for _, value in await source.query(query, at)]
    return bool(values) and max(values) == 0
