"""`lastgood rollback`: shows what would change and what speaks against it, asks, and then watches it to its end."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any

from daemon.cli import client
from daemon.cli.arguments import ascii_only
from daemon.cli.exits import CliError, Exit
from daemon.cli.terminal import Screen, safe

WATCH_SECONDS = 45 * 60.0
"""How long the end is waited for: converging and verifying take 10 and 15 minutes at most by default, deciding 10."""

POLL_SECONDS = 1.0
"""Between two looks; each is one small request over a socket."""

INDENT_MAX = 60
"""Longest indentation of a line that is shown, in characters; a pod template's deepest has about 30."""

Document = dict[str, Any]

GOOD = frozenset({"recovered"})
ENDED = frozenset({"recovered", "dismissed", "superseded", "closed", "escalated"})


def run(options: argparse.Namespace) -> int:
    """Show, ask, do, watch; the exit code. Raises CliError."""
    if options.direct:
        from daemon.cli import direct

        return asyncio.run(direct.rollback(options, Screen(sys.stdout)))
    where = client.address(options)
    return asyncio.run(_through_the_daemon(options, where, Screen(sys.stdout)))


async def _through_the_daemon(options: argparse.Namespace, where: client.Address, screen: Screen) -> int:
    query = {"workload": options.workload, "to": options.to, "override": ",".join(options.override)}
    found = await client.ask(where, "rollback", {name: value for name, value in query.items() if value})
    show(found, screen)
    refuse_what_stands(found, options.workload)
    confirm(found, yes=options.yes)
    body = {
        "workload": found["workload"],
        "current": found["current"]["id"],
        "target": found["target"]["id"],
        "overrides": options.override,
        "note": options.note,
        "name": options.name,
    }
    led_to = await client.order(where, "rollback", {name: value for name, value in body.items() if value})
    incident = (led_to.get("incident") or {}).get("id")
    if incident is None:
        raise CliError(
            Exit.UNREACHABLE, f"kept, not carried out yet: {led_to.get('why')}", "`lastgood status` tells why"
        )
    return await _watch(where, str(incident), screen)


def show(found: Document, screen: Screen) -> None:
    """What would change, and what the person takes upon themselves."""
    screen.line(f"{safe(found['workload'])}: {_label(found['current'])} → {_label(found['target'])}", "bold")
    for line in found["diff"]:
        style = {"+": "green", "-": "red"}.get(line[:1], "")
        screen.line(f"  {_shown(line)}", style)
    if found["proof"]:
        screen.prose(f"proof of the target: {safe(found['proof'])}")
    for refusal in found["answered"]:
        screen.prose(f"you take upon you {refusal['reason'].upper()}: {_why(refusal)}", style="yellow")
    if found["unchecked"]:
        screen.prose(f"could not be checked: {', '.join(safe(name) for name in found['unchecked'])}", style="yellow")


def _shown(line: str) -> str:
    """A line of the diff with its indentation, which YAML is made of; what stands behind it was written by anybody."""
    sign, rest = line[:1], line[1:]
    indent = len(rest) - len(rest.lstrip(" "))
    return f"{sign}{' ' * min(indent, INDENT_MAX)}{safe(rest)}".rstrip()


def refuse_what_stands(found: Document, workload: str) -> None:
    """Raise CliError where a refusal forbids it, naming the override where there is one."""
    if not found["standing"]:
        return
    first = found["standing"][0]
    names = " ".join(f"--override {refusal['reason'].upper()}" for refusal in found["standing"])
    overridable = all(refusal["overridable"] for refusal in found["standing"])
    remedy = f"if you know better: add {names}" if overridable else _remedy(first, workload)
    said = "; ".join(f"{refusal['reason'].upper()}: {_why(refusal)}" for refusal in found["standing"])
    raise CliError(Exit.REFUSED, f"refused: {safe(said)}", remedy)


def _remedy(refusal: Document, workload: str) -> str:
    known = {
        "paused": "`lastgood resume` first; `lastgood status` lists the pauses",
        "mode_observe": "the policy or an annotation lets Lastgood only observe here",
        "target_not_verified": f"`lastgood verified {ascii_only(workload)}` lists what is proven; name one with --to",
    }
    return known.get(refusal["reason"], "this cannot be overridden")


def confirm(found: Document, *, yes: bool) -> None:
    """Ask on the terminal. Raises CliError where nobody can answer, or the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CliError(Exit.USAGE, "nobody can be asked here", "add --yes once you have read what would change")
    target = _label(found["target"])
    answer = input(f"Roll {ascii_only(found['workload'])} back to {ascii_only(target)}? [y/N] ")
    if answer.strip().lower() not in ("y", "yes"):
        raise CliError(Exit.REFUSED, "nothing was changed", "")


async def _watch(where: client.Address, incident: str, screen: Screen) -> int:
    """Tell each step as it comes, until the incident ends or is handed over."""
    seen = ""
    loop = asyncio.get_running_loop()
    end = loop.time() + WATCH_SECONDS
    try:
        while loop.time() < end:
            row = (await client.ask(where, "explain", {"about": incident}))["incident"]
            if row["phase"] != seen:
                seen = row["phase"]
                screen.prose(f"{safe(incident)}: {seen.replace('_', ' ')}. {_because(row)}".strip())
            if seen in ENDED:
                return Exit.OK if seen in GOOD else Exit.REFUSED
            await asyncio.sleep(POLL_SECONDS)
    except asyncio.CancelledError:
        screen.line(f"it goes on without you: lastgood explain {incident}")
        raise
    raise CliError(Exit.REFUSED, f"{incident} has not ended yet", f"`lastgood explain {incident}` tells how it stands")


def _because(row: Document) -> str:
    return safe((row.get("reason") or {}).get("sentence") or "")


def _label(revision: Document) -> str:
    number = f" #{revision['number']}" if revision.get("number") is not None else ""
    return f"{safe(revision['label'])}{number}"


def _why(refusal: Document) -> str:
    return f"{safe(refusal['sentence'])} Seen: {safe(refusal['seen'])}; needed: {safe(refusal['needed'])}."
