"""What may be typed. Global options may stand before or after the command."""

from __future__ import annotations

import argparse
import os
import re
from importlib import metadata
from pathlib import Path
from typing import NoReturn, Protocol

from daemon.cli.exits import MEANINGS, Exit
from daemon.core.incidents import Word
from daemon.core.model import DECLARABLE

SHELLS = ("bash", "zsh", "tcsh")
"""Shells that `completion` writes for."""

CAUSES = tuple(cause.value for cause in DECLARABLE)
"""What people may declare, as it is typed."""

WORDS = tuple(word.value for word in Word)
"""What people may say of a decision."""

CONFIGMAP = "lastgood/lastgood-quarantine"
"""The list that deploy/policies/quarantine reads."""

_GATE = """a pipeline's step, by what the exit code means:
  lastgood gate shop/web                                  stops at "closed"
                                                          and at "cannot ask"
  lastgood gate shop/web || test $? -ne 1                 stops at "closed" only
  lastgood gate shop/web || true                          only tells

"""

_EPILOG = f"""environment:
  LASTGOOD_CONFIG      the configuration file, for --config
  LASTGOOD_SOCKET      the daemon's socket, for --socket
  LASTGOOD_URL         the daemon's address (https://…), for --server
  LASTGOOD_TOKEN_FILE  the file with your token, for --token-file
  LASTGOOD_DEBUG       not empty: a traceback with every internal error
  NO_COLOR             not empty: no colours

{MEANINGS}"""


class Add(Protocol):
    """Adds a command; with `claims` it takes `--as`."""

    def __call__(self, name: str, text: str, *, claims: bool = False) -> argparse.ArgumentParser:
        """The parser of the command."""
        ...


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line and where to read on."""
        shown = " ".join(message.split())
        self.exit(Exit.USAGE, f"lastgood: {ascii_only(shown)}; see `{self.prog} --help`\n")


def ascii_only(text: str) -> str:
    """Text that was typed, fit to be repeated: what cannot be printed is shown as an escape."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def version() -> str:
    """The installed version."""
    try:
        return metadata.version("lastgood")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _global_options(*, defaults: bool) -> Parser:
    """The options of every command; without `defaults` one that is not given leaves what the other place said."""
    parser = Parser(add_help=False, argument_default=None if defaults else argparse.SUPPRESS)
    group = parser.add_argument_group("how to reach the daemon")
    group.add_argument("--config", type=Path, metavar="FILE", help="configuration: tells where the socket is")
    where = group.add_mutually_exclusive_group()
    where.add_argument("--socket", type=Path, metavar="PATH", help="the daemon's Unix socket")
    where.add_argument("--server", metavar="URL", help="the daemon's address; needs --token-file")
    group.add_argument("--token-file", type=Path, metavar="FILE", help="file with an operator's token")
    output = parser.add_argument_group("output")
    unset = False if defaults else argparse.SUPPRESS
    output.add_argument("--json", action="store_true", default=unset, help="print the answer as JSON")
    output.add_argument("--debug", action="store_true", default=unset, help="a traceback with internal errors")
    return parser


def parser() -> argparse.ArgumentParser:
    """The whole grammar."""
    main = Parser(
        prog="lastgood",
        description="Rolls a bad Kubernetes rollout back to the last revision it can prove was good.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_global_options(defaults=True)],
        allow_abbrev=False,
    )
    main.add_argument("--version", action="version", version=f"lastgood {version()}")
    commands = main.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    shared = _global_options(defaults=False)

    def command(name: str, text: str, *, claims: bool = False) -> argparse.ArgumentParser:
        found: argparse.ArgumentParser = commands.add_parser(
            name,
            help=text,
            description=text[:1].upper() + text[1:] + ".",
            epilog=MEANINGS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[shared],
            allow_abbrev=False,
        )
        if claims:
            found.add_argument(
                "--as", dest="name", metavar="NAME", help="who you are: journalled as a claim beside the credential"
            )
        return found

    _daemon_commands(command)
    _questions(command)
    _orders(command)
    return main


def _daemon_commands(add: Add) -> None:
    add("run", "run the daemon")
    add("check-config", "check a configuration file without running anything").add_argument(
        "file", type=Path, metavar="FILE"
    )
    backtest = add("backtest", "replay recordings: what Lastgood would have done")
    backtest.add_argument(
        "recordings", type=Path, nargs="*", metavar="RECORDING", help="a file, or a folder of *.jsonl; or --prometheus"
    )
    add_past(backtest)
    backtest.add_argument("--score", action="store_true", help="close with precision, recall, delay against the truth")
    backtest.add_argument("--html", type=Path, metavar="FILE", help="write a page with one plot per verdict")
    backtest.add_argument(
        "--policy", type=Path, action="append", metavar="FILE", help="compare with this configuration"
    )
    record = add("record", "write what happened as a recording, from Prometheus and the daemon, for `backtest`")
    record.add_argument("file", type=Path, metavar="FILE", help="where to (-: standard output)")
    add_past(record)
    _journal_commands(add("journal", "back up, restore or move the journal"))
    add("check-access", "ask the API server what this credential may do, and name what is missing or too much")


def _journal_commands(journal: argparse.ArgumentParser) -> None:
    which = journal.add_subparsers(dest="what", metavar="WHAT", required=True, parser_class=Parser)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        found: argparse.ArgumentParser = which.add_parser(
            name,
            help=text,
            description=text[:1].upper() + text[1:] + ".",
            epilog=MEANINGS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[_global_options(defaults=False)],
            allow_abbrev=False,
        )
        return found

    backup = add("backup", "copy the journal to a file, also while the daemon runs, and check the copy")
    backup.add_argument("file", type=Path, metavar="FILE", help="a new file (SQLite, whatever the journal is made of)")
    restore = add("restore", "fill an empty journal from a backup, and check it; no daemon may run")
    restore.add_argument("file", type=Path, metavar="FILE", help="what `journal backup` wrote")
    move = add("move", "copy the journal into an empty PostgreSQL schema or back, and check it; no daemon may run")
    target = move.add_mutually_exclusive_group(required=True)
    target.add_argument("--to", metavar="URL|sqlite", help="postgresql://…, or `sqlite`: the file in state_dir")
    target.add_argument("--to-file", type=Path, metavar="FILE", help="the same in a file: others see what is typed")


def add_past(parser: argparse.ArgumentParser) -> None:
    """The options that say which time is read from which Prometheus (daemon.cli.past)."""
    group = parser.add_argument_group("which time, and from where")
    group.add_argument("--prometheus", metavar="URL", help="its address; else the configuration's, with its headers")
    group.add_argument(
        "--from", dest="since", metavar="TIME", help="2026-03-02, 2026-03-02T12:00:00Z or 30d (ago); default 1d"
    )
    group.add_argument("--to", dest="until", metavar="TIME", help="the same; default now")
    group.add_argument("--step", metavar="DURATION", help="between two samples, 10s at least (default 60s)")


def _questions(add: Add) -> None:
    add("status", "show readiness, open incidents, pauses and workloads")
    listed = add("incidents", "list incidents, open ones first")
    listed.add_argument("--all", action="store_true", help="also those that have ended")
    listed.add_argument("--limit", type=int, metavar="N", help="at most N (default 50)")
    add("explain", "tell what happened and why, term by term, with every refusal").add_argument(
        "about", metavar="INCIDENT|FINGERPRINT|NAMESPACE/NAME"
    )
    add("verified", "show a workload's revisions and their proof").add_argument("workload", metavar="NAMESPACE/NAME")
    add("history", "show a workload's rollouts, newest first").add_argument("workload", metavar="NAMESPACE/NAME")
    scorecard = add("scorecard", "show how often it was right, and whether there is enough history to arm a workload")
    scorecard.add_argument("workload", nargs="?", metavar="NAMESPACE/NAME", help="only this one, with each decision")
    gate = add("gate", "ask before a rollout: closed (1) after a rollback, in an incident or pause, else open (0)")
    gate.epilog = _GATE + MEANINGS
    gate.add_argument("workload", metavar="NAMESPACE/NAME")
    gate.add_argument("--image", metavar="DIGEST", help="what is to be rolled out: sha256:…, a reference or a tag")
    quarantine = add("quarantine", "list what is quarantined, also as the list of the admission policy")
    quarantine.add_argument(
        "--configmap",
        nargs="?",
        const=CONFIGMAP,
        type=_namespaced,
        metavar="NAMESPACE/NAME",
        help=f"print a ConfigMap for `kubectl apply -f -` (default {CONFIGMAP})",
    )
    preflight = add(
        "preflight", "check all that a rollback of this workload would need, with the remedy for what is missing"
    )
    preflight.add_argument("workload", metavar="NAMESPACE/NAME")
    preflight.add_argument(
        "--alert",
        type=Path,
        metavar="FILE",
        help="JSON of one alert, or of a webhook: tells where it would lead (-: standard input)",
    )
    completion = add("completion", "print a completion script for a shell")
    completion.add_argument("shell", choices=SHELLS, metavar="|".join(SHELLS))


def _orders(add: Add) -> None:
    for name, text in (("approve", "approve a proposed rollback"), ("decline", "decline a proposed rollback")):
        add(name, text, claims=True).add_argument("incident", metavar="INCIDENT")
    close = add("close", "close an escalated incident", claims=True)
    close.add_argument("incident", metavar="INCIDENT")
    close.add_argument("--note", metavar="TEXT", help="why, for the journal")
    judge = add("judge", "say whether the decision on an incident was right, for the scorecard", claims=True)
    judge.add_argument("incident", metavar="INCIDENT")
    judge.add_argument("word", choices=WORDS, metavar="|".join(WORDS))
    judge.add_argument("--note", metavar="TEXT", help="why, for the journal")
    declare = add("declare", "say that a workload's latest rollout does harm, whatever the alerts say", claims=True)
    declare.add_argument("workload", metavar="NAMESPACE/NAME")
    declare.add_argument(
        "--reason", type=_underscored, choices=CAUSES, required=True, metavar="REASON", help=", ".join(CAUSES)
    )
    declare.add_argument("--since", metavar="DURATION", help="how long it has been so, such as 10m; else since now")
    declare.add_argument("--note", metavar="TEXT", help="what is seen, for the page and the journal")
    pause = add("pause", "stop all action, in a namespace or of a workload where named", claims=True)
    pause.add_argument("scope", nargs="?", default="", metavar="NAMESPACE[/NAME]")
    pause.add_argument("--for", dest="lasts", metavar="DURATION", help="such as 30m or 2h; else until resumed")
    resume = add("resume", "end the pause of exactly this scope", claims=True)
    resume.add_argument("scope", nargs="?", default="", metavar="NAMESPACE[/NAME]")
    rollback = add(
        "rollback", "roll a workload back by hand: shows what would change, asks, and watches it", claims=True
    )
    rollback.add_argument("workload", metavar="NAMESPACE/NAME")
    rollback.add_argument(
        "--to", metavar="previous|NUMBER|TAG|HASH", help="the revision to go back to (default: previous)"
    )
    rollback.add_argument(
        "--override", action="append", default=[], metavar="REASON", help="a refusal you take upon you, by its name"
    )
    rollback.add_argument("--note", metavar="TEXT", help="why, for the journal")
    rollback.add_argument("--yes", action="store_true", help="do not ask")
    rollback.add_argument(
        "--direct", action="store_true", help="without the daemon, where it is dead: needs its configuration and state"
    )
    release = add("release", "lift the quarantine of a workload's revisions", claims=True)
    release.add_argument("workload", metavar="NAMESPACE/NAME")
    release.add_argument("--revision", metavar="HASH", help="only the one whose hash begins so")


def _underscored(word: str) -> str:
    """A reason as it is sent; people also write it with hyphens."""
    return word.replace("-", "_")


def _namespaced(word: str) -> str:
    """`namespace/name` of a ConfigMap."""
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-.a-z0-9]*[a-z0-9])?", word):
        raise argparse.ArgumentTypeError(f"{ascii_only(word)!r} is not written as namespace/name")
    return word


def chosen_config(options: argparse.Namespace) -> Path | None:
    """The configuration file: the option, else LASTGOOD_CONFIG, else none."""
    found: Path | None = options.config
    return found or (Path(named) if (named := os.environ.get("LASTGOOD_CONFIG")) else None)
