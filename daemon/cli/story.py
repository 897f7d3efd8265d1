"""`explain` for people: readable in 80 columns at night. What happened, why, what stands in the way, what to do now."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from daemon.cli.history import pipelines
from daemon.cli.tables import short
from daemon.cli.terminal import Screen, ago, clock, now_of, parsed, safe, span

Document = dict[str, Any]

ALERTS_SHOWN = 5
"""Alerts that are told one by one; the rest is counted."""

LABEL = 11
"""Width of the words on the left."""

_ONSETS = {
    "alerts_for_state": "by Prometheus' own record of the alert",
    "rule_duration": "by the rule's duration",
    "assumed": "ASSUMED: no source knows when it began",
}

_CONSEQUENCES = {"hold": "waits for data", "propose": "asks a person", "escalate": "hands over to a person"}

_VERDICTS = {
    "roll_back": "roll back",
    "propose": "propose a rollback, a person decides",
    "hold": "hold: not enough is known yet",
    "escalate": "escalate: no rollback, a person is needed",
    "dismiss": "dismiss: no rollout is to blame",
}

_DECISIONS = {"roll_back": "roll back", "propose": "propose to roll back", "escalate": "hand over"}


def tell(document: Document, screen: Screen) -> None:
    """The document of any kind."""
    match document["kind"]:
        case "incident":
            _incident(document, screen)
        case "alert":
            _lone_alert(document, screen)
        case _:
            _workload(document, screen)


def _incident(document: Document, screen: Screen) -> None:
    now, incident = now_of(document), document["incident"]
    screen.prose(safe(document["headline"]), style="bold")
    screen.prose(
        f"{safe(incident['id'])}, {incident['phase']} since {clock(incident['since'], now)}"
        f" ({ago(incident['since'], now)}), {incident['severity']}, cluster {safe(document['cluster'])},"
        f" mode {document['mode']}"
    )
    _happened(document, screen, now)
    _verdict(document, screen)
    _judged(document, screen, now)
    for candidate in document["candidates"]:
        _candidate(candidate, screen)
    _refusals(document, screen)
    _target(document, screen, now)
    _road(document, screen, now)
    _told(document, screen, now)
    _now(document, screen, now)


def _heading(text: str, screen: Screen) -> None:
    screen.line()
    screen.line(text, "bold")


def _fact(name: str, text: str, screen: Screen) -> None:
    screen.prose(text, " " * (LABEL + 2), f"  {name:<{LABEL}}")


def _happened(document: Document, screen: Screen, now: datetime) -> None:
    incident = document["incident"]
    _heading("WHAT HAPPENED", screen)
    _fact("changed", safe(document["changed"]), screen)
    pipelines(document["notices"], screen, " " * (LABEL + 2))
    if document["declared"]:
        _fact("declared", _declared(document["declared"], now), screen)
    _fact("began", _began(incident, now), screen)
    _fact("how wide", safe(document["wide"]), screen)
    _fact("done", safe(document["done"]), screen)
    for alert in document["alerts"][:ALERTS_SHOWN]:
        _fact("alert", _alert(alert, now), screen)
    more = len(document["alerts"]) - ALERTS_SHOWN + document["alerts_left_out"]
    if more > 0:
        _fact("", f"and {more} more alerts (--json has them)", screen)
    if document["alerts"]:
        _fact("found by", _mapped(document["alerts"][0]), screen)
        _fact("near", _near(incident.get("near")), screen)
    for name, key in (("follows", "predecessor"), ("joined", "merged_into"), ("approved by", "approved_by")):
        if incident[key]:
            _fact(name, safe(incident[key]), screen)


def _declared(found: Document, now: datetime) -> str:
    note = f': "{safe(found["note"])}"' if found["note"] else ""
    data = "; nothing is rolled back without a person's approval" if found["risks_data"] else ""
    return f"{safe(found['sentence'])}, says {safe(found['actor'])} at {clock(found['at'], now)}{note}{data}"


def _began(incident: Document, now: datetime) -> str:
    source = _ONSETS.get(incident["onset_source"], safe(incident["onset_source"]))
    lag = ""
    onset, began = parsed(incident["onset"]), parsed(incident["rollout_started_at"])
    if onset is not None and began is not None:
        seconds = (onset - began).total_seconds()
        lag = f", {span(abs(seconds))} {'after' if seconds >= 0 else 'BEFORE'} the rollout"
    return f"{clock(incident['onset'], now)}{lag} ({source})"


def _alert(alert: Document, now: datetime) -> str:
    began = f"{safe(alert['name'])} [{safe(alert['fingerprint'])}] began to fire at {clock(alert['starts_at'], now)}"
    if alert["gone_since"]:
        return f"{began}, gone since {clock(alert['gone_since'], now)}"
    if alert.get("looked") is not None:
        return f"{began}, {safe(alert['looked'])} at {clock(alert['looked_at'], now)}"
    return f"{began}, {safe(alert['status'])}"


def _mapped(alert: Document) -> str:
    tried = ", ".join(safe(each) for each in alert["tried"])
    return f"{alert['rung']}" + (f"; tried: {tried}" if tried else "")


def _near(near: Document | None) -> str:
    if near is None:
        return "no call graph: only rollouts of where it hurts count"
    rows = near["rows"]
    sides = (("calls ", True), ("called by ", False))
    told = [
        word + ", ".join(f"{short(each['workload'])} ({each['hops']})" for each in rows if each["called"] is side)
        for word, side in sides
        if any(each["called"] is side for each in rows)
    ]
    more = f"; {near['left_out']} more are left out" if near["left_out"] else ""
    return ("; ".join(told) or "nobody, in the call graph") + more


def _verdict(document: Document, screen: Screen) -> None:
    verdict = document["verdict"]
    if verdict is None:
        _heading("VERDICT: none yet", screen)
        return
    _heading(f"VERDICT: {_VERDICTS.get(verdict['kind'], safe(verdict['kind']))}", screen)
    screen.prose(safe(verdict["reason"]["sentence"]), "  ")
    if verdict["score"] is None:
        return
    lead = "the only candidate"
    if verdict["lead"] is not None:
        lead = f"leads the next candidate by {verdict['lead']:.2f} (needs {verdict['margin']:.2f})"
    screen.prose(f"score {verdict['score']:.2f} (needs {verdict['threshold']:.2f}), {lead}", "  ")


def _judged(document: Document, screen: Screen, now: datetime) -> None:
    found = document["judged"]
    if found is None:
        return
    _heading(f"JUDGED {safe(found['word']).upper()} by {safe(found['by'])} at {clock(found['at'], now)}", screen)
    if found["note"]:
        screen.prose(f'"{safe(found["note"])}"', "  ")
    about = f" {safe(found['label'])}" if found["label"] else ""
    made = _DECISIONS.get(found["made"], safe(found["made"]))
    screen.prose(f"the decision at {clock(found['made_at'], now)}: {made}{about}", "    ", "  ")
    if found["misled"] is not None:
        _misled(found["misled"], screen)


def _misled(found: Document, screen: Screen) -> None:
    """What led to it, so that a reader sees where to look: the loudest term, or what handed it over."""
    for refusal in found["refusals"]:
        seen = f"seen: {safe(refusal['seen'])}; needed: {safe(refusal['needed'])}"
        screen.prose(f"what handed it over: {safe(refusal['reason']).upper()}; {seen}", "    ", "  ", "yellow")
    term = found["loudest"]
    if term is not None:
        side = "" if found["accused"] else " against any blame"
        heard = f"{safe(term['name'])}, {term['weight']:+.2f} of a sum of {found['score']:.2f}"
        screen.prose(f"what spoke loudest{side}: {heard}", "    ", "  ", "yellow")
        screen.prose(safe(term["sentence"]), "    ")
        left = ", ".join(safe(each) for each in found["left"]) or "nothing"
        without = f"{found['score_without']:.2f} (needs {found['threshold']:.2f})"
        screen.prose(f"without it: {without}; for the blame there is {left} besides", "    ", "  ")
    elif found["score"] is None:
        screen.prose("there was no candidate", "    ", "  ")
    elif not found["refusals"]:
        score = f"{found['score']:.2f} (needs {found['threshold']:.2f})"
        screen.prose(f"nothing spoke against the blame, and too little for it: {score}", "    ", "  ")


def _candidate(candidate: Document, screen: Screen) -> None:
    where = f"{short(candidate['workload'])} -> {safe(candidate['revision']['label'])}"
    _heading(f"EVIDENCE against {where}", screen)
    screen.line(f"  {'weight':>6}  {'term':<14}{'seen':>9}{'threshold':>11}")
    for term in candidate["terms"]:
        numbers = f"{_number(term['value']):>9}{_number(term['threshold']):>11}"
        screen.line(f"  {term['weight']:>+6.2f}  {safe(term['name']):<14}{numbers}")
        screen.prose(safe(term["sentence"]), " " * 10)
    screen.line(f"  {candidate['score']:>+6.2f}  sum, tier {safe(candidate['tier'])}: {safe(candidate['may'])}")


def _number(value: float) -> str:
    return f"{value:.4g}"


def _refusals(document: Document, screen: Screen) -> None:
    found = document["verdict"]["refusals"] if document["verdict"] else []
    if document["verdict"] is None:
        return
    _heading(f"REFUSALS: {len(found) or 'none'}", screen)
    for refusal in found:
        override = "a person may override it" if refusal["overridable"] else "nobody may override it"
        consequence = _CONSEQUENCES.get(refusal["consequence"], safe(refusal["consequence"]))
        screen.prose(f"{safe(refusal['reason']).upper()}: {consequence}; {override}", "    ", "  ", "yellow")
        screen.prose(safe(refusal["sentence"]), "    ")
        screen.prose(f"seen: {safe(refusal['seen'])}; needed: {safe(refusal['needed'])}", "    ")


def _target(document: Document, screen: Screen, now: datetime) -> None:
    target, rejected = document["target"], (document["verdict"] or {}).get("rejected", [])
    if target is None and not rejected:
        return
    _heading(f"TARGET: {safe(target['revision']['label']) if target else 'none'}", screen)
    if target is not None:
        proof = target["proof"]
        text = f"{safe(proof['sentence'])}; verified {span(proof['age'])} ago" if proof else safe(target["why_not"])
        screen.prose(f"{target['standing']}: {text}", "    ", "  ")
        screen.prose(_check(target["check"], now), "    ", "  ")
    for each in rejected:
        screen.prose(f"rejected: {safe(each)}", "    ", "  ")


def _check(check: Document | None, now: datetime) -> str:
    if check is None:
        return "not checked yet whether it can be deployed"
    if not check["exists"]:
        return "its history object is gone"
    found = [f"looked at {clock(check['at'], now)}"]
    if check.get("no_way"):
        found.append(f"out of reach: {safe(check['no_way'])}")
    else:
        error = check["dry_run_error"]
        found.append(f"refused by a dry run: {safe(error)}" if error else "dry run accepted")
    if check["missing"]:
        found.append(f"missing: {', '.join(safe(each) for each in check['missing'])}")
    if check["unchecked"]:
        found.append(f"not checked: {', '.join(safe(each) for each in check['unchecked'])}")
    for config in check["configs"]:
        found.append(f"ConfigMap {safe(config['name'])} changed last {ago(config['changed_at'], now)}")
    return "; ".join(found)


def _road(document: Document, screen: Screen, now: datetime) -> None:
    _heading("THE ROAD", screen)
    for step in document["road"]:
        screen.prose(safe(step["text"]), " " * 13, f"  {clock(step['at'], now):<10} ")
    if document["road_left_out"]:
        screen.line(f"  ({document['road_left_out']} steps in the middle are left out)")


def _told(document: Document, screen: Screen, now: datetime) -> None:
    _heading(f"TOLD: {len(document['told']) or 'nobody'}", screen)
    for message in document["told"]:
        kind = "announced" if message["kind"] == "announce" else f"page {message['page']}"
        loud = {True: ", high urgency", False: ", low urgency"}.get(message["urgent"], "")
        outcome = message["outcome"] or "not delivered yet"
        because = f" ({safe(message['message'])})" if message["message"] and message["outcome"] != "done" else ""
        screen.prose(
            f"{kind}{loud}: {outcome}{because}. {safe(message['text'])}",
            " " * 13,
            f"  {clock(message['at'], now):<10} ",
        )


def _now(document: Document, screen: Screen, now: datetime) -> None:
    _heading("WHAT TO DO NOW", screen)
    incident = document["incident"]
    if incident["countdown_until"]:
        screen.prose(f"rolls back by itself {ago(incident['countdown_until'], now)} unless declined", "  ")
    found = [each for each in document["commands"] if not each.startswith("lastgood explain ")]
    for command in found:
        screen.line(f"  {safe(command)}", "bold")
    if not found:
        screen.line("  nothing")


def _lone_alert(document: Document, screen: Screen) -> None:
    now, alert = now_of(document), document["alert"]
    screen.prose(f"alert {_alert(alert, now)}", style="bold")
    screen.prose(safe(document["why"]))
    _labels(alert, screen)


def _labels(alert: Document, screen: Screen) -> None:
    labels = ", ".join(f"{safe(name)}={safe(value)}" for name, value in alert["labels"].items())
    _fact("labels", labels or "none", screen)
    _fact("tried", ", ".join(safe(each) for each in alert["tried"]) or "nothing yet", screen)
    for workload in alert["workloads"]:
        _fact("belongs to", short(workload), screen)


def _workload(document: Document, screen: Screen) -> None:
    now = now_of(document)
    for row in document["workloads"]:
        screen.prose(f"{short(row['workload'])}: {safe(document['why'])}", style="bold")
        _fact("mode", row["mode"], screen)
        _fact("runs", f"{safe(row['current']['label'])}, {row['standing']}", screen)
        pipelines(row["notices"], screen, " " * (LABEL + 2))
        _fact("rollback", f"not possible: {safe(row['because'])}" if row["unprotected"] else "possible", screen)
    if document["unmapped_alerts"]:
        _heading("ALERTS THAT BELONG TO NO WORKLOAD (perhaps to this one)", screen)
        for alert in document["unmapped_alerts"]:
            screen.prose(_alert(alert, now), "    ", "  ")
            screen.prose(f"tried: {', '.join(safe(each) for each in alert['tried']) or 'nothing'}", "    ")
