"""Part 9: who would be told, who could answer, and whether alerts reach us at all."""

from __future__ import annotations

from fnmatch import fnmatchcase

from daemon.core.model import Mode, Severity
from daemon.core.policy import Route
from handlers.faults import Fault
from handlers.preflight.lines import Line, failed, ok, warning
from handlers.preflight.subject import Sources, Subject


async def people(sources: Sources, subject: Subject) -> list[Line]:
    """Paging, announcing, and in mode `approve` who may answer from the chat."""
    lines = [_paging(sources, subject), _announcing(sources, subject)]
    return [*lines, _approvers(sources, subject)] if subject.mode is Mode.APPROVE else lines


def _routed(subject: Subject, route: Route) -> bool:
    return any(route in subject.policy.routes.of(severity) for severity in Severity)


def _paging(sources: Sources, subject: Subject) -> Line:
    if subject.mode is Mode.OBSERVE:
        key = "the key is set" if sources.configured.pagerduty else "no key is set (pagerduty.routing_key)"
        return ok("paging", f"mode observe never pages; {key}")
    if not sources.configured.pagerduty:
        says = "pagerduty.routing_key is not set: nobody is paged when a rollback needs a person"
        remedy = "set pagerduty.routing_key to the integration key of the on-call's service (Events API v2)"
        return warning("paging", says, remedy) if sources.configured.slack else failed("paging", says, remedy)
    if not _routed(subject, Route.PAGE):
        return warning("paging", "policy.routes pages for no severity", "add page to policy.routes.critical")
    return ok("paging", "PagerDuty's key is set")


def _announcing(sources: Sources, subject: Subject) -> Line:
    if not sources.configured.slack:
        says = "Slack is not set: nothing is announced, what it decides is only in `lastgood explain`"
        return warning("announcing", says, "set slack.bot_token and slack.channel (or slack.webhook_url)")
    if not _routed(subject, Route.ANNOUNCE):
        return warning("announcing", "policy.routes announces for no severity", "add announce to policy.routes")
    return ok("announcing", "Slack is set")


def _approvers(sources: Sources, subject: Subject) -> Line:
    workload = subject.workload
    covering = [
        rule
        for rule in subject.policy.approvers
        if (not rule.namespaces or any(fnmatchcase(workload.namespace, glob) for glob in rule.namespaces))
        and (not rule.names or any(fnmatchcase(workload.name, glob) for glob in rule.names))
    ]
    people = sorted({actor for rule in covering for actor in rule.actors})
    by_hand = "`lastgood approve INCIDENT` works without it"
    if not people:
        remedy = f"add {{slack: [U…], namespaces: [{workload.namespace}]}} to policy.approvers; {by_hand}"
        return warning("approvers", "no rule of policy.approvers covers it: nobody can approve from the chat", remedy)
    if not sources.configured.buttons:
        says = f"{len(people)} approvers, but no buttons: presses in Slack do not reach us"
        return warning("approvers", says, f"set slack.app_token or slack.signing_secret; {by_hand}")
    return ok("approvers", f"{len(people)} may approve from the chat: {', '.join(people[:10])}")


async def alertmanager(sources: Sources) -> list[Line]:
    """Can alerts be read back, and do they come by webhook?"""
    return [await _api(sources), _webhook(sources)]


async def _api(sources: Sources) -> Line:
    check = "alertmanager API"
    if sources.alertmanager is None:
        says = "alertmanager.urls is not set: no recovery can be verified, missed alerts are not found"
        return failed(check, says, "set alertmanager.urls to every replica, like [http://alertmanager:9093]")
    try:
        reading = await sources.alertmanager.read()
    except Fault as fault:
        remedy = "check alertmanager.urls (up to and without /api/v2), its credentials and the network policy"
        return failed(check, f"no replica can be read: {fault.reason}", remedy)
    if not reading.complete:
        says = f"{len(reading.alerts)} alerts, but a missing one is not believed yet: it has started lately"
        return warning(check, says, "wait for alertmanager.settle after its start (2m by default)")
    return ok(check, f"reachable, lists {len(reading.alerts)} alerts")


def _webhook(sources: Sources) -> Line:
    count = sources.webhooks()
    if count > 0:
        return ok("alerts by webhook", f"{count} accepted since the start")
    remedy = (
        "add the route of deploy/alerting/alertmanager.yaml to Alertmanager, first and with continue: true; its url: "
        f"http://{sources.configured.webhook_address}/api/v1/alertmanager. Nothing has fired "
        "yet? Send one alert (your own receivers get it too)"
    )
    send = "amtool alert add TryOut severity=none --alertmanager.url=http://ALERTMANAGER:9093"
    return warning("alerts by webhook", "none accepted since the start", remedy, send)
