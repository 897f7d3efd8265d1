"""`lastgood preflight`: reads the alert's file, and shows line by line what is there and what is missing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from daemon.cli.arguments import ascii_only
from daemon.cli.exits import CliError, Exit
from daemon.cli.tables import short
from daemon.cli.terminal import Screen, safe

Document = dict[str, Any]

ALERT_BYTES_MAX = 1_000_000
"""Largest alert file: a webhook payload of 1,000 alerts."""

STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}

INDENT = " " * 9


def alert_in(path: Path) -> object:
    """The JSON in the file (`-`: standard input); the daemon tells what of it is no alert. Raises CliError."""
    shown = ascii_only(str(path))
    try:
        with sys.stdin.buffer if str(path) == "-" else path.open("rb") as file:
            raw = file.read(ALERT_BYTES_MAX + 1)
    except OSError as error:
        raise CliError(Exit.USAGE, f"--alert {shown}: {error.strerror}", "name a file that you may read") from None
    if len(raw) > ALERT_BYTES_MAX:
        raise CliError(Exit.USAGE, f"--alert {shown} is larger than {ALERT_BYTES_MAX} bytes", "one alert is enough")
    try:
        found: object = json.loads(raw)
    except (ValueError, RecursionError):
        remedy = '{"labels": {"alertname": "...", "namespace": "..."}} is enough'
        raise CliError(Exit.USAGE, f"--alert {shown} is not JSON", remedy) from None
    return found


def tell(document: Document, screen: Screen) -> None:
    """Every line with its remedy, and the sum."""
    mode = f": mode {document['mode']}" if document["mode"] else ""
    screen.prose(f"{short(document['workload'])}{mode}", style="bold")
    width = max((len(safe(line["check"])) for line in document["lines"]), default=0)
    for line in document["lines"]:
        _line(line, screen, min(width, 24))
    screen.line()
    counts = document["counts"]
    says = f"{counts['failed']} failed, {counts['warning']} warnings, {counts['ok']} ok"
    screen.prose(
        f"{'ready' if document['ok'] else 'NOT READY'}: {says}", style=STYLES["ok" if document["ok"] else "failed"]
    )


def _line(line: Document, screen: Screen, width: int) -> None:
    level = line["level"]
    word = level.upper() if level == "failed" else level
    style = "" if level == "ok" else STYLES.get(level, "")
    first = f"{word:<9}{safe(line['check']):<{width}}  "
    screen.prose(safe(line["says"]), " " * len(first), first, style)
    if line["remedy"]:
        screen.prose(f"-> {safe(line['remedy'])}", f"{INDENT}   ", INDENT)
    for command in line["commands"]:
        screen.line(f"{INDENT}   {safe(command)}")
