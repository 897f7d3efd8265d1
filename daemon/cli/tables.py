"""The tables: status, incidents, a workload's ledger, the gate, and what a command led to."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from daemon.cli.terminal import Screen, ago, clock, now_of, safe, span

Document = dict[str, Any]

OWED_SHOWN = 5
"""Owed actions that are named; the rest is counted."""


def status(document: Document, screen: Screen) -> None:
    """One look at the daemon."""
    now = now_of(document)
    ready = "ready" if document["ready"] else f"NOT READY: {safe(document['why_not'])}"
    screen.prose(ready, style="bold green" if document["ready"] else "bold red")
    since = document["since"]
    running = f", running since {clock(since, now)} ({ago(since, now)})" if since else ""
    screen.prose(f"cluster {safe(document['cluster'])}{running}")
    modes = ", ".join(f"{count} {mode}" for mode, count in document["modes"].items())
    screen.prose(f"modes: {modes}; default {document['default_mode']}")
    for pause in document["pauses"]:
        _pause(pause, screen, now)
    screen.line()
    _open_incidents(document["incidents"]["open"], screen, now)
    screen.line()
    _workloads(document["workloads"], screen)
    screen.line()
    alerts = document["alerts"]
    screen.prose(f"alerts: {alerts['firing']} firing, {alerts['unmapped']} of them belong to no known workload")
    _owed(document["owed"], screen, now)


def _pause(pause: Document, screen: Screen, now: datetime) -> None:
    until = f"until {clock(pause['until'], now)}" if pause["until"] else "until resumed"
    what = safe(pause["scope"]) or "everything"
    screen.prose(f"PAUSED: {what} by {safe(pause['by'])}, {until}", style="bold yellow")


def _open_incidents(rows: list[Document], screen: Screen, now: datetime) -> None:
    if not rows:
        screen.line("no open incident")
        return
    _incident_table(rows, screen, now)


def _incident_table(rows: list[Document], screen: Screen, now: datetime) -> None:
    screen.table(
        ("INCIDENT", "PHASE", "SINCE", "SEVERITY", "WORKLOAD", "WHY"),
        ([*_incident_start(row, now), _why(row, now)] for row in rows),
    )


def _incident_start(row: Document, now: datetime) -> list[str]:
    return [safe(row["id"]), row["phase"], ago(row["since"], now), row["severity"], short(row["workload"])]


def _why(row: Document, now: datetime) -> str:
    if row["countdown_until"]:
        return f"rolls back {ago(row['countdown_until'], now)} unless declined"
    if row["phase"] == "proposed":
        return "waits for approval"
    if row["reason"]:
        return str(row["reason"]["sentence"])
    return ", ".join(safe(name) for name in row["alerts"])


def incidents(document: Document, screen: Screen) -> None:
    """The list of incidents."""
    now = now_of(document)
    if not document["incidents"]:
        screen.line("no incident")
        return
    _incident_table(document["incidents"], screen, now)
    if document["left_out"]:
        screen.line(f"and {document['left_out']} more; ask for them with --limit")


def _workloads(found: Document, screen: Screen) -> None:
    counts = ", ".join(f"{count} {name}" for name, count in found["revisions"].items())
    screen.prose(f"workloads: {found['total']}; revisions: {counts}")
    if found["rows"]:
        screen.table(
            ("WORKLOAD", "MODE", "RUNS", "STANDING", "ROLLBACK POSSIBLE"),
            (_workload(row) for row in found["rows"]),
        )
    if found["total"] > len(found["rows"]):
        screen.line(f"and {found['total'] - len(found['rows'])} more without a problem")


def _workload(row: Document) -> list[str]:
    return [
        short(row["workload"]),
        row["mode"] + (" (annotation is no mode)" if row["mode_invalid"] else ""),
        safe(row["current"]["label"]),
        _standing(row),
        _possible(row),
    ]


def _standing(row: Document) -> str:
    if row["standing"] == "soaking":
        return f"soaking, {span(row['soaked'])} of {span(row['soak'])}"
    return str(row["standing"])


def _possible(row: Document) -> str:
    held = f"; {len(row['quarantined'])} quarantined" if row["quarantined"] else ""
    if row["unprotected"]:
        return f"no: {safe(row['because'])}{held}"
    answer = {"observe": "never in observe", "approve": "yes, once approved"}.get(row["mode"], "yes")
    return answer + held


def _owed(owed: Document, screen: Screen, now: datetime) -> None:
    if not owed["total"]:
        screen.line("nothing owed")
        return
    kinds = Counter(action["kind"] for action in owed["actions"])
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    screen.prose(f"{owed['total']} actions owed: {counts}")
    for action in owed["actions"][:OWED_SHOWN]:
        screen.line(f"  {safe(action['id'])}, to be done by {clock(action['deadline'], now)}")


def short(key: str) -> str:
    """`namespace/name` for a Deployment, the whole key for other kinds."""
    return safe(key).replace("/Deployment/", "/")


def verified(document: Document, screen: Screen) -> None:
    """The ledger of a workload, the newest revision first."""
    now = now_of(document)
    screen.prose(f"{short(document['workload'])}: mode {document['mode']}", style="bold")
    if document["unprotected"]:
        screen.prose(f"a rollback is not possible now: {safe(document['because'])}", style="bold yellow")
    screen.line()
    for row in document["revisions"]:
        _revision(row, screen, now)


def _revision(row: Document, screen: Screen, now: datetime) -> None:
    found = row["revision"]
    number = f" #{found['number']}" if found["number"] is not None else ""
    runs = " (runs now)" if row["current"] else ""
    style = {"verified": "green", "quarantined": "red"}.get(row["standing"], "")
    screen.line(f"{row['standing'].upper():<12}{safe(found['label'])}{number}{runs}", style)
    proof = row["proof"]
    if proof:
        screen.prose(f"proof: {safe(proof['sentence'])}", "    ")
        backwards = ", read back from history" if proof["backwards"] else ""
        screen.prose(
            f"{proof['kind']}, verified {clock(proof['verified_at'], now)} ({span(proof['age'])} ago){backwards}",
            "    ",
        )
    if row["why_not"]:
        screen.prose(f"no target: {safe(row['why_not'])}", "    ")
    if row["standing"] == "soaking" and row["next_check"]:
        screen.prose(f"next measured {ago(row['next_check'], now)}", "    ")


def gate(document: Document, screen: Screen) -> None:
    """The gate's answer: one line for yes, one line per reason for no."""
    for reason in document["reasons"]:
        screen.line(f"closed: {safe(reason)}", "bold red")
    if not document["reasons"]:
        screen.line(f"open: {safe(document['workload'])}", "bold green")
    for note in document["notes"]:
        screen.line(f"note: {safe(note)}")


def led_to(document: Document, screen: Screen) -> None:
    """What a command led to."""
    if not document["done"]:
        screen.prose(f"accepted and journalled, not carried out yet: {safe(document['why'])}")
        return
    for sentence in document["changed"] or ["done"]:
        screen.prose(safe(sentence))
    if document.get("then"):
        screen.prose(safe(document["then"]))
    if document.get("covers") == 0:
        screen.prose("note: no workload is known there yet; check the spelling", style="bold yellow")
    screen.prose(f"recorded as {safe(document['actor'])}")
