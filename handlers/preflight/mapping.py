"""Part 3: do alerts lead to this workload, by which rung, and is their onset known?"""

from __future__ import annotations

from datetime import timedelta

from daemon.core.actions import Locate, Located
from daemon.core.model import ActionId, Alert, Location, OnsetSource, Rung
from daemon.core.state import NotedAlert
from handlers.faults import Fault
from handlers.preflight import rules
from handlers.preflight.lines import Line, failed, ok, warning
from handlers.preflight.subject import Sources, Subject

SHOWN_MAX = 5
"""Alerts, rules and workloads that are named in one line."""

LOCATE_FOR = timedelta(seconds=15)
"""Time to place one alert: three questions to Prometheus."""


async def mapping(sources: Sources, subject: Subject) -> list[Line]:
    """The alerts that were handed in; without any, those that were seen and the rules that could."""
    if subject.alerts:
        return [line for alert in subject.alerts for line in await _handed_in(sources, subject, alert)]
    return [_seen(subject), await _rules(sources, subject)]


async def _handed_in(sources: Sources, subject: Subject, alert: Alert) -> list[Line]:
    """The real ladder on this alert."""
    action = Locate(id=ActionId("preflight/locate"), deadline=subject.now + LOCATE_FOR, alert=alert)
    outcome = await sources.locate(action)
    if not isinstance(outcome.result, Located):
        return [failed(f"alert {alert.name}", "could not be placed", "see the daemon's log")]
    location = outcome.result.location
    return [_placed(subject, alert, location), _onset(subject, alert, location)]


def _placed(subject: Subject, alert: Alert, location: Location) -> Line:
    check, workload = f"alert {alert.name}", subject.workload
    tried = f"tried: {', '.join(location.tried)}"
    if location.rung is Rung.NONE or not location.workloads:
        return failed(check, f"leads to no workload; {tried}", _label_to_add(subject))
    others = [each.key for each in location.workloads if each != workload]
    if workload not in location.workloads:
        says = f"leads to {', '.join(others[:SHOWN_MAX])} by {location.rung.value}, not here; {tried}"
        return failed(check, says, _label_to_add(subject))
    if location.rung is Rung.NAMESPACE:
        says = f"leads here by its namespace alone, as to {len(others)} others: a rollback is only proposed; {tried}"
        return warning(check, says, _label_to_add(subject))
    also = f", also to {', '.join(others[:SHOWN_MAX])}" if others else ""
    return ok(check, f"leads here by {location.rung.value}{also}; {tried}")


def _label_to_add(subject: Subject) -> str:
    short = subject.workload.short
    return (
        f"let the rule keep `namespace` and `pod` (sum by (namespace, pod) …), or give it the label "
        f"lastgood_workload: {short}, or map its labels to the workload in policy.mappings"
    )


def _onset(subject: Subject, alert: Alert, location: Location) -> Line:
    check = f"onset of {alert.name}"
    if location.onset_source is OnsetSource.FOR_STATE:
        return ok(check, f"known: {location.onset:%Y-%m-%d %H:%M:%S}Z, by Prometheus' ALERTS_FOR_STATE")
    if location.onset_source is OnsetSource.RULE:
        return ok(check, f"known: {location.onset:%Y-%m-%d %H:%M:%S}Z, its start minus the `for` of its rule")
    says = f"assumed: {subject.policy.assumed_for.total_seconds():.0f}s before its start; it holds rather than decides"
    remedy = "prometheus.url must be the Prometheus that evaluates the rule (its /api/v1/rules lists no such alert)"
    return warning(check, says, remedy)


def _seen(subject: Subject) -> Line:
    """Alerts in memory that were placed here."""
    found = [
        (noted, noted.location)
        for noted in subject.state.alerts.values()
        if noted.location is not None and subject.workload in noted.location.workloads
    ]
    if not found:
        remedy = "none has fired of late, perhaps; try one with --alert FILE"
        return warning(
            "alerts seen", "no alert that Lastgood remembers leads here", remedy, f"{_preflight(subject)} --alert FILE"
        )
    found.sort(key=lambda pair: pair[0].noted_at, reverse=True)
    firing = sum(1 for noted, _ in found if noted.gone_since is None)
    named = ", ".join(_named(noted, location) for noted, location in found[:SHOWN_MAX])
    more = f" and {len(found) - SHOWN_MAX} more" if len(found) > SHOWN_MAX else ""
    return ok("alerts seen", f"{len(found)} lead here, {firing} of them fire: {named}{more}")


def _named(noted: NotedAlert, location: Location) -> str:
    onset = "assumed" if location.onset_source is OnsetSource.ASSUMED else "known"
    return f"{noted.alert.name} (by {location.rung.value}, onset {onset})"


def _preflight(subject: Subject) -> str:
    return f"lastgood preflight {subject.workload.short}"


async def _rules(sources: Sources, subject: Subject) -> Line:
    check = "alert rules"
    try:
        listed = await sources.signals.rules()
    except Fault as fault:
        remedy = "check prometheus.url; a server without rules (remote storage) cannot tell: use --alert FILE"
        return warning(check, f"could not be read: {fault.reason}", remedy, f"{_preflight(subject)} --alert FILE")
    found = rules.leads(listed, subject.tracked, sources.cache, subject.policy.mappings, subject.now)
    sure = [lead for lead in found if lead.rung is not Rung.NAMESPACE]
    if sure:
        named = ", ".join(f"{lead.rule} (by {lead.rung.value}: {', '.join(lead.labels)})" for lead in sure[:SHOWN_MAX])
        more = f" and {len(sure) - SHOWN_MAX} more" if len(sure) > SHOWN_MAX else ""
        return ok(check, f"{len(sure)} of {len(listed)} could lead here: {named}{more}")
    if found:
        says = f"{len(found)} of {len(listed)} could lead here, by the namespace alone: a rollback is only proposed"
        return warning(check, says, _label_to_add(subject))
    return warning(check, f"none of {len(listed)} could lead here", _label_to_add(subject))
