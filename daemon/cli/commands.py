"""From what was typed to an exit code: asks the daemon, prints the answer, and makes one line of every failure."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from daemon.cli.arguments import chosen_config, parser
from daemon.cli.exits import CliError, Exit

Document = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Follow one command line; the exit code (see `daemon.cli.exits.MEANINGS`). Errors are one line on stderr."""
    _lenient_output()
    options = parser().parse_args(arguments)
    options.debug = options.debug or bool(os.environ.get("LASTGOOD_DEBUG"))
    try:
        return int(_follow(options))
    except CliError as error:
        from daemon.cli.terminal import safe

        print(f"lastgood: {safe(error)}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return Exit.OK
    except Exception as error:  # noqa: BLE001 - the last net: a person at night needs a line, not a traceback
        return _bug(error, debug=options.debug)


def _forget_output() -> None:
    """Whoever read us (head, less) has seen enough. Python would complain once more when it flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _lenient_output() -> None:
    """A terminal that cannot show a character gets a question mark, not an exception."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def _bug(error: Exception, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    said = ascii(str(error))[1:200]
    remedy = "this is a bug: run it again with --debug and report it"
    print(f"lastgood: internal error: {type(error).__name__}: {said}; {remedy}", file=sys.stderr)
    return Exit.BUG


def _follow(options: argparse.Namespace) -> int:
    if options.command in ("run", "check-config"):
        from daemon.cli import run

        if options.command == "run":
            return run.run(chosen_config(options))
        return run.check(options.file, as_json=options.json)
    if options.command == "completion":
        from daemon.cli import completion

        sys.stdout.write(completion.script(options.shell))
        sys.stdout.flush()
        return Exit.OK
    if options.command == "check-access":
        from daemon.cli import access

        return access.run(options)
    if options.command == "backtest":
        from daemon.cli import backtest

        return backtest.run(options)
    if options.command == "record":
        from daemon.cli import record

        return record.run(options)
    if options.command == "journal":
        from daemon.cli import journal

        return journal.run(options)
    if options.command == "rollback":
        from daemon.cli import rollback

        return rollback.run(options)
    document = _ask(options)
    code = _code(options.command, document)
    try:
        _show(options, document)
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
    return code


def _ask(options: argparse.Namespace) -> Document:
    from daemon.cli import client

    where = client.address(options)
    if options.command == "gate":
        return asyncio.run(client.gate(where, options.workload, options.image))
    if options.command in ("status", "incidents", "explain", "verified", "history", "quarantine", "scorecard"):
        return asyncio.run(client.ask(where, options.command, _query(options)))
    return asyncio.run(client.order(where, options.command, _body(options)))


def _query(options: argparse.Namespace) -> dict[str, str]:
    match options.command:
        case "incidents":
            limit = {} if options.limit is None else {"limit": str(options.limit)}
            return {"all": "true" if options.all else "false", **limit}
        case "explain":
            return {"about": options.about}
        case "verified" | "history":
            return {"workload": options.workload}
        case "scorecard" if options.workload is not None:
            return {"workload": options.workload}
        case _:
            return {}


def _body(options: argparse.Namespace) -> Document:
    match options.command:
        case "preflight":
            return _preflight(options)
        case "close":
            found = {"incident": options.incident, "note": options.note}
        case "judge":
            found = {"incident": options.incident, "word": options.word, "note": options.note}
        case "pause":
            found = {"scope": options.scope, "for": options.lasts}
        case "resume":
            found = {"scope": options.scope}
        case "release":
            found = {"workload": options.workload, "revision": options.revision}
        case "declare":
            about = {"workload": options.workload, "reason": options.reason}
            found = {**about, "since": options.since, "note": options.note}
        case _:
            found = {"incident": options.incident}
    return {name: value for name, value in {**found, "name": options.name}.items() if value is not None}


def _preflight(options: argparse.Namespace) -> Document:
    from daemon.cli import preflight

    alert = {} if options.alert is None else {"alert": preflight.alert_in(options.alert)}
    return {"workload": options.workload, **alert}


def _show(options: argparse.Namespace, document: Document) -> None:
    if options.json and not getattr(options, "configmap", None):
        # ASCII only: escape sequences and direction marks in a label stay letters.
        print(json.dumps(document, indent=2))
        return
    from daemon.cli import history, preflight, quarantine, scorecard, story, tables
    from daemon.cli.terminal import Screen

    tellers: dict[str, Callable[[Document, Screen], None]] = {
        "status": tables.status,
        "incidents": tables.incidents,
        "explain": story.tell,
        "verified": tables.verified,
        "history": history.tell,
        "gate": tables.gate,
        "quarantine": lambda found, on: quarantine.show(found, on, options.configmap),
        "scorecard": scorecard.tell,
        "preflight": preflight.tell,
    }
    try:
        tellers.get(options.command, tables.led_to)(document, Screen(sys.stdout))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if options.debug:
            raise
        raise _strange(type(error).__name__) from error


def _strange(what: str) -> CliError:
    said = f"the daemon's answer is not understood ({what})"
    return CliError(Exit.UNREACHABLE, said, "use the lastgood of the daemon's version, or --json")


def _code(command: str, document: Document) -> int:
    if command == "status" and not document.get("ready"):
        return Exit.REFUSED
    if command == "verified" and not document.get("verified"):
        return Exit.REFUSED
    if command == "scorecard" and not all(
        row.get("enough") for row in document.get("workloads", ()) if "latest" in row
    ):
        return Exit.REFUSED
    if command == "gate":
        # A pipeline acts on this: only a plain yes or no counts.
        if not isinstance(document.get("open"), bool):
            raise _strange("neither open nor closed")
        return Exit.OK if document["open"] else Exit.REFUSED
    if command == "preflight":
        if not isinstance(document.get("ok"), bool):
            raise _strange("neither ok nor failed")
        return Exit.OK if document["ok"] else Exit.REFUSED
    return Exit.OK
