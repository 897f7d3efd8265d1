"""`lastgood check-access`: asks the API server what this credential may do, without a daemon; a table, and what to do."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from config import ConfigError, Settings, load
from daemon import assembly
from daemon.cli.arguments import ascii_only, chosen_config
from daemon.cli.exits import CliError, Exit
from daemon.cli.terminal import Screen, safe
from handlers.access_check import Answer, AskedLease, Finding, Report, check
from handlers.access_remedies import IN_THE_POD
from handlers.faults import Fault, FaultKind
from handlers.rights import qualified

Document = dict[str, Any]

ANSWER_SECONDS_MAX = 30.0
"""For all questions together, as for every command."""

NAMESPACES_SHOWN = 5
"""Namespaces named in a row; `--json` has them all."""

STYLES = {Answer.NO: "bold red", Answer.MORE: "yellow"}


def run(options: argparse.Namespace) -> int:
    """Print what was found; 0 where all that is needed is there, else 1. Raises CliError."""
    report = asyncio.run(_asked(_settings(options)))
    if options.json:
        print(json.dumps(document(report), indent=2))
    else:
        tell(report, Screen(sys.stdout))
    sys.stdout.flush()
    return Exit.OK if report.complete else Exit.REFUSED


def _settings(options: argparse.Namespace) -> Settings:
    path = chosen_config(options)
    try:
        return load(path)
    except ConfigError as error:
        shown = ascii_only(str(path or "environment"))
        remedy = f"`lastgood check-config {shown}` lists every problem"
        if path is None:
            remedy = "name the daemon's configuration with --config: it says what access is needed for"
        raise CliError(Exit.CONFIGURATION, f"{shown}: {ascii_only(error.problems[0])}", remedy) from None


async def _asked(settings: Settings) -> Report:
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX), await assembly.kube_client(settings) as kube:
            return await check(kube, settings.policy, _lease(settings))
    except TimeoutError:
        said = f"the API server did not answer everything within {ANSWER_SECONDS_MAX:.0f} s"
        raise CliError(Exit.UNREACHABLE, said, "try again when it is less busy") from None
    except Fault as fault:
        raise _failure(fault) from None


def _lease(settings: Settings) -> AskedLease | None:
    if not settings.lease.enabled:
        return None
    return AskedLease(namespace=assembly.lease_namespace(settings), name=settings.lease.name)


def _failure(fault: Fault) -> CliError:
    said = f"the API server: {safe(fault.reason)}"
    if fault.status == 403:
        remedy = "let it ask: every user is in the ClusterRoleBinding system:basic-user, unless somebody took it out"
        return CliError(Exit.UNAUTHORISED, said, remedy)
    if fault.kind is FaultKind.AUTH and fault.status is not None:
        return CliError(Exit.UNAUTHORISED, said, "the credential is refused: renew the token or the kubeconfig")
    remedy = f"check `kubernetes` in the configuration, or ask in the pod: {IN_THE_POD}"
    return CliError(Exit.UNREACHABLE, said, remedy)


def document(report: Report) -> Document:
    """The report as JSON. Empty `namespaces`: in the whole cluster; empty `name`: all objects."""
    return {
        "ok": report.complete,
        "asked_as": report.asked_as,
        "rights": [
            {
                "group": each.group,
                "resource": each.resource,
                "verbs": list(each.verbs),
                "namespaces": list(each.namespaces),
                "name": each.name,
                "needed_for": list(each.needed_for),
                "answer": each.answer.value,
                "remedy": each.remedy,
                "commands": list(each.commands),
            }
            for each in report.findings
        ],
        "notes": list(report.notes),
    }


def tell(report: Report, screen: Screen) -> None:
    """The table, then what to do about each row that is not `yes`, then the sum."""
    screen.prose(
        f"asked as {safe(report.asked_as or 'somebody: this API server does not tell the name')}", style="bold"
    )
    screen.line()
    screen.table(("RESOURCE", "VERBS", "WHERE", "NEEDED FOR", "ANSWER"), (_row(each) for each in report.findings))
    screen.line()
    told = (each for each in report.findings if each.remedy)
    for _, alike in groupby(told, key=lambda each: (each.answer, each.remedy)):
        _remedy(list(alike), screen)
    for note in report.notes:
        screen.prose(f"note: {safe(note)}")
    counts = {answer: sum(each.answer is answer for each in report.findings) for answer in Answer}
    more = f", {counts[Answer.MORE]} more than needed" if counts[Answer.MORE] else ""
    if report.complete:
        screen.prose(f"all that is needed is there{more}", style="green")
    else:
        screen.prose(f"NOT ENOUGH: {counts[Answer.NO]} missing{more}", style=STYLES[Answer.NO])


def _row(each: Finding) -> list[str]:
    needed_for = ", ".join(each.needed_for) or "nothing"
    return [_qualified(each), safe(", ".join(each.verbs)), _where(each), needed_for, each.answer.value]


def _qualified(each: Finding) -> str:
    name = f"/{each.name}" if each.name else ""
    return safe(qualified("" if each.group == "*" else each.group, each.resource) + name)


def _where(each: Finding) -> str:
    if not each.namespaces:
        return "cluster"
    shown = ", ".join(map(safe, each.namespaces[:NAMESPACES_SHOWN]))
    more = len(each.namespaces) - NAMESPACES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _remedy(alike: Sequence[Finding], screen: Screen) -> None:
    """Rows that one remedy helps, the remedy, and a command for each."""
    for each in alike:
        what = f"{each.answer.value}: {', '.join(each.verbs)} {_qualified(each)} ({_where(each)})"
        screen.prose(safe(what), "    ", "", STYLES.get(each.answer, ""))
    screen.prose(f"-> {safe(alike[0].remedy)}", "     ", "  ")
    for command in (command for each in alike for command in each.commands):
        screen.line(f"     {safe(command)}")
