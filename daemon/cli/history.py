"""`history` for people: the rollouts of a workload, newest first, with what pipelines said and what became of each."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from daemon.cli.tables import short
from daemon.cli.terminal import Screen, ago, clock, now_of, parsed, safe, span

Document = dict[str, Any]

INDENT = " " * 4

_STYLES = {"verified": "green", "quarantined": "red"}


def tell(document: Document, screen: Screen) -> None:
    """The whole history of a workload."""
    now = now_of(document)
    screen.prose(f"{short(document['workload'])}: mode {document['mode']}", style="bold")
    if document["paused"]:
        screen.prose(f"PAUSED: {safe(document['paused'])}", style="bold yellow")
    if not document["rollouts"]:
        screen.line("no rollout is known")
    for row in document["rollouts"]:
        screen.line()
        _row(row, screen, now)


def _row(row: Document, screen: Screen, now: datetime) -> None:
    found = row["revision"]
    number = f"#{found['number']}" if found["number"] is not None else "-"
    runs = " (runs now)" if row["current"] else ""
    style = _STYLES.get(row["standing"], "")
    screen.line(f"{number:<5}{row['standing'].upper():<13}{safe(found['label'])}{runs}", style)
    screen.prose(_when(row, now), INDENT)
    if row["rollback"]:
        screen.prose(_rollback(row), INDENT, style="bold")
    if found["change_cause"]:
        screen.prose(f"change cause: {safe(found['change_cause'])}", INDENT)
    pipelines(row["notices"], screen, INDENT)
    if row["proof"]:
        screen.prose(f"proof: {safe(row['proof']['sentence'])}", INDENT)
    if row["why_not"]:
        screen.prose(f"no target: {safe(row['why_not'])}", INDENT)


def _when(row: Document, now: datetime) -> str:
    if not row["started_at"]:
        return f"its rollout was not seen; made {clock(row['revision']['created_at'], now)}"
    began, ended = parsed(row["started_at"]), parsed(row["completed_at"])
    took = f", complete after {span((ended - began).total_seconds())}" if began and ended else ", not seen to complete"
    by = f" by {safe(row['changed_by'])}" if row["changed_by"] else ""
    return f"{clock(row['started_at'], now)} ({ago(row['started_at'], now)}){by}{took}"


def _rollback(row: Document) -> str:
    whose, away = row["rollback"], row["replaced"]
    of = f", away from {safe(away['label'])}" if away else ""
    if whose["by"] == "lastgood":
        return f"rolled back by Lastgood ({safe(whose['incident'])}){of}"
    return f"rolled back by hand{of}"


def pipelines(notices: list[Document], screen: Screen, indent: str) -> None:
    """What pipelines said of a rollout, the newest word on each thing; a URL stays whole, to be clicked or pasted."""
    if not notices:
        return
    said = {name: value for notice in notices for name, value in notice.items() if value}
    commit = f"commit {safe(said['commit'])}" if "commit" in said else ""
    author = f"by {safe(said['author'])}" if "author" in said else ""
    place = f"to {safe(said['environment'])}" if "environment" in said else ""
    whose = ", ".join(dict.fromkeys(safe(notice["source"]) for notice in notices))
    words = " ".join(each for each in (commit, author, place) if each)
    head = f"{words}; " if words else ""
    screen.prose(f"{head}pipeline: {safe(notices[-1]['status'])}, says {whose}", indent)
    for name, key in (("version", "version"), ("said", "description")):
        if key in said:
            screen.prose(f"{name}: {safe(said[key])}", indent)
    for name, key in (("change", "change_url"), ("job", "pipeline_url")):
        if key in said:
            screen.line(f"{indent}{name}: {safe(said[key])}")
    for digest in said.get("digests", ()):
        screen.line(f"{indent}digest: {safe(digest)}")
    if "irreversible" in said:
        screen.prose("declared irreversible: a rollback does not undo its migration", indent, style="bold yellow")
