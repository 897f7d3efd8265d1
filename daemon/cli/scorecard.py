"""`scorecard` for people: what was decided, how often it was right, and whether a workload can be armed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from daemon.cli.tables import short
from daemon.cli.terminal import Screen, clock, now_of, safe

Document = dict[str, Any]

INDENT = " " * 4

_MADE = {"roll_back": "roll back", "propose": "propose", "escalate": "hand over"}

_STYLES = {"right": "green", "wrong": "red"}


def tell(document: Document, screen: Screen) -> None:
    """The table; one workload, or several of one name, in full."""
    rows = document["workloads"]
    if not rows:
        screen.line("nothing was decided yet, and no rollout was seen to be verified")
    elif "latest" in rows[0]:
        now = now_of(document)
        for row in rows:
            _whole(row, screen, now)
    else:
        _table(document, screen)


def _table(document: Document, screen: Screen) -> None:
    screen.prose("right/wrong/not judged, of what was decided or, in observe, would have been")
    screen.line()
    columns = ("WORKLOAD", "MODE", "ROLL BACK", "PROPOSE", "HAND OVER", "PRECISION", "HEALTHY", "DAYS", "ENOUGH")
    total = {"workload": "all", "mode": None, "healthy": "", "days": "", "enough": None, **document["total"]}
    screen.table(columns, (_cells(row) for row in (*document["workloads"], total)))
    if document["left_out"]:
        screen.line(f"and {document['left_out']} more without anything to judge")
    screen.line()
    screen.line("lastgood scorecard NAMESPACE/NAME tells what is missing, and what there is to judge")


def _cells(row: Document) -> list[str]:
    enough = "" if row["enough"] is None else "yes" if row["enough"] else "no"
    return [
        short(row["workload"]),
        row["mode"] or "-",
        *(_three(row["decisions"][made]) for made in _MADE),
        _precision(row["precision"]["roll_back"]),
        str(row["healthy"]),
        str(row["days"]),
        enough,
    ]


def _three(found: Document) -> str:
    return f"{found['right']}/{found['wrong']}/{found['unjudged']}"


def _precision(found: Document) -> str:
    if found["value"] is None:
        return "-"
    return f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def _whole(row: Document, screen: Screen, now: datetime) -> None:
    mode = f"mode {row['mode']}" if row["mode"] else "not in the cluster any more"
    screen.prose(f"{short(row['workload'])}: {mode}", style="bold")
    screen.prose(safe(row["sentence"]), style="bold green" if row["enough"] else "bold yellow")
    screen.line()
    screen.table(
        ("DECIDED TO", "RIGHT", "WRONG", "NOT JUDGED"),
        ([name, *_numbers(row["decisions"][made])] for made, name in _MADE.items()),
    )
    screen.line()
    screen.table(
        ("BLAMED IN", "RIGHT", "WRONG", "NOT JUDGED"), ([mode, *_numbers(row["modes"][mode])] for mode in row["modes"])
    )
    screen.line()
    for name, title in (("roll_back", "decisions to roll back"), ("blame", "all that blamed a revision")):
        screen.line(f"precision of {title}: {_precision(row['precision'][name])}")
    for decision in row["latest"]:
        screen.line()
        _decision(decision, screen, now)


def _numbers(found: Document) -> list[str]:
    return [str(found[name]) for name in ("right", "wrong", "unjudged")]


def _decision(found: Document, screen: Screen, now: datetime) -> None:
    word = found["word"] or "not judged"
    about = f" {safe(found['label'])}" if found["label"] else ""
    head = f"{word.upper():<12}{clock(found['at'], now)}  {_MADE[found['made']]}{about}, in {found['mode']}"
    screen.line(head, _STYLES.get(word, ""))
    if found["refusals"]:
        screen.prose(f"refusals: {', '.join(each.upper() for each in found['refusals'])}", INDENT)
    if found["word"]:
        note = f": {safe(found['note'])}" if found["note"] else ""
        screen.prose(f"says {safe(found['judged_by'])}{note}", INDENT)
    else:
        screen.line(f"{INDENT}lastgood explain {safe(found['incident'])}")
        screen.line(f"{INDENT}lastgood judge {safe(found['incident'])} right (or wrong)")
