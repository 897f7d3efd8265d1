"""What people type and write: the command line, durations, names, settings files, variables, alerts in files."""

from __future__ import annotations

import contextlib
import io
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from config import ConfigError, durations, load, sources, workload_names
from config.journal_section import Journal, warnings_of
from config.sections import _url
from daemon.cli import addresses, past, terminal
from daemon.cli.arguments import parser
from daemon.cli.exits import CliError, Exit
from daemon.cli.preflight import alert_in
from daemon.runtime.journal_postgres_link import Server
from handlers import command_input
from handlers.alerts import MalformedError, object_of, parse_json
from handlers.inbound.rollbacks import reason
from tests.fuzz.targets import Parser
from tests.fuzz.targets_senders import raw
from tests.repository import ROOT

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
FOLDER = Path(tempfile.gettempdir())


class Stopped(Exception):  # noqa: N818 - what argparse says when it stops
    """The command line ended with a line for people."""


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def command_line(data: bytes) -> object:
    """Arguments, apart by zero bytes as the kernel has them."""
    typed = [text_of(each) for each in data.split(b"\0")]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            options = parser().parse_args(typed)
    except SystemExit as stop:
        if stop.code == Exit.USAGE:
            raise Stopped(said.getvalue().rstrip("\n")) from None
        return stop.code
    if getattr(options, "since", None) is not None and hasattr(options, "until"):
        past.span_of(options, NOW)
    return options


def span(data: bytes) -> object:
    """`--from`, `--to` and `--step`, apart by zero bytes."""
    start, end, step = (*data.split(b"\0", 2), b"", b"")[:3]
    options = parser().parse_args(["record", "out.jsonl"])
    options.since, options.until, options.step = (text_of(each) or None for each in (start, end, step))
    found = past.span_of(options, NOW)
    assert found.start < found.end <= NOW
    return found


def duration(data: bytes) -> object:
    found = durations.parse(text_of(data))
    assert durations.parse(durations.render(found)) == found
    return found


def workload(data: bytes) -> object:
    found = workload_names.parse(text_of(data))
    assert workload_names.parse(found.key) == found
    return found


def server(data: bytes) -> object:
    return addresses.server(text_of(data), "--server", example="https://x", credentials="put them elsewhere")


def command(data: bytes) -> object:
    """Each field of a command, read in turn; the first that is wrong refuses the command."""
    given = object_of(parse_json(data, "body"), "body")
    command_input.only(
        given, "incident", "note", "name", "word", "scope", "for", "since", "reason", "workload", "overrides"
    )
    who = command_input.actor(given, "token:ann")
    read = (command_input.scope, command_input.lasts, command_input.since, command_input.note)
    found = [each(given) for each in read]
    listed = given.get("overrides")
    return who, found, [reason(name) for name in listed] if isinstance(listed, list) else None


def question(data: bytes) -> object:
    """The parts of an address and its parameters."""
    namespace, kind, name, image, limit = (*text_of(data).split("\n", 4), "", "", "", "")[:5]
    return (
        command_input.workload_at({"namespace": namespace, "kind": kind, "name": name}),
        command_input.image({"image": image}),
        command_input.limit(limit),
    )


def settings(data: bytes) -> object:
    """The YAML as it is read, then as settings."""
    with tempfile.NamedTemporaryFile(dir=FOLDER, suffix=".yaml") as file:
        file.write(data)
        file.flush()
        return load(Path(file.name), {})


def variables(data: bytes) -> object:
    """NAME=value, apart by zero bytes."""
    pairs = [text_of(each).partition("=")[::2] for each in data.split(b"\0")]
    return load(None, {f"LASTGOOD_{name}".replace("\0", ""): value for name, value in pairs})


def decoded(data: bytes) -> object:
    return sources.environment({f"LASTGOOD_{name}": value for name, value in [text_of(data).partition("=")[::2]]})


def journal_url(data: bytes) -> object:
    """What is refused, hidden, warned of and shown."""
    journal = Journal(url=SecretStr(text_of(data)))
    shown = Server(text_of(data), journal.schema_name).where
    return list(journal.passwords), warnings_of(journal), shown


def alert_file(data: bytes) -> object:
    with tempfile.NamedTemporaryFile(dir=FOLDER) as file:
        file.write(data)
        file.flush()
        return alert_in(Path(file.name))


def shown(data: bytes) -> object:
    """A moment in a document, and text on a terminal."""
    text = data.decode("utf-8", "surrogateescape")
    assert "\x1b" not in terminal.safe(text)
    return terminal.parsed(text)


def url(data: bytes) -> object:
    return _url(text_of(data))


EXAMPLE = (ROOT / "deploy/lastgood.example.yaml").read_bytes()
SMALL = b"""cluster: c
prometheus: {url: "http://p", headers: {X-Scope-OrgID: shop}}
events: {sources: {ci: {kind: events, token: 0123456789abcdef}}, mappings: [{match: {service: web}, workload: shop/web}]}
policy:
  soak: 15m
  modes: [{namespaces: [shop], names: ["w*"], mode: auto}]
  mappings: [{labels: {alertname: X}, workload: shop/Deployment/web}]
  signals: {error_ratio: {trigger_above: 0.1}, cpu: {}}
  routes: {critical: [page]}
"""
COMMAND = {
    "incident": "inc-1",
    "note": "n",
    "name": "ann",
    "scope": "shop/web",
    "for": "30m",
    "since": "5m",
    "overrides": ["paused"],
}
CONFIG = (
    "config.document",
    "config.settings",
    "config.sections",
    "config.sources",
    "config.problems",
    "config.credentials",
    "config.policy_section",
    "config.policy_checks",
    "config.event_sections",
    "config.journal_section",
    "config.mqtt_section",
    "config.repository_section",
    "config.call_section",
    "config.durations",
)
INPUT = ("handlers.command_input", "handlers.inbound.operators", "handlers.inbound.rollbacks", "handlers.inbound.gate")
PARSERS = (
    Parser(
        name="command-line",
        covers=("daemon.cli.arguments", "daemon.cli.past"),
        read=command_line,
        refuses=(Stopped, CliError),
        shape="text",
        seeds=(
            b"incidents\0--all\0--limit\x005",
            b"pause\0shop\0--for\x0030m",
            b"backtest\0--from\x0030d\0--to\x001d\0--score",
            b"declare\0shop/web\0--reason\0other\0--since\x005m",
            b"rollback\0shop/web\0--to\0previous\0--override\0paused",
        ),
    ),
    Parser(
        name="span",
        covers=("daemon.cli.past",),
        read=span,
        refuses=(CliError,),
        shape="text",
        seeds=(b"30d\x001d\x0060s", b"2026-03-01\x002026-03-02T11:00:00Z\x005m", b"0001-01-01T00:00:00+23:59\0\0"),
    ),
    Parser(
        name="duration",
        covers=("config.durations",),
        read=duration,
        refuses=(ValueError,),
        shape="text",
        seeds=(b"1h30m", b"500ms", b"0", b"99y"),
    ),
    Parser(
        name="workload-name",
        covers=("config.workload_names",),
        read=workload,
        refuses=(ValueError,),
        shape="text",
        seeds=(b"shop/web", b"shop/StatefulSet/web"),
    ),
    Parser(
        name="server-address",
        covers=("daemon.cli.addresses",),
        read=server,
        refuses=(CliError,),
        shape="text",
        seeds=(b"http://127.0.0.1:9090/x", b"https://[::1]:1", b"http://a:b@c"),
    ),
    Parser(
        name="settings-url",
        covers=("config.sections",),
        read=url,
        refuses=(ValueError,),
        shape="text",
        seeds=(b"http://127.0.0.1:9090/x",),
    ),
    Parser(
        name="journal-url",
        covers=("config.journal_section", "daemon.runtime.journal_postgres_link"),
        read=journal_url,
        refuses=(ValueError,),
        shape="text",
        seeds=(b"postgresql://lastgood:w%40rd@[::1]:5432,b/db?sslmode=require&password=x", b"postgres:///db"),
    ),
    Parser(name="command-fields", covers=INPUT, read=command, refuses=(MalformedError,), seeds=(raw(COMMAND),)),
    Parser(
        name="question-fields",
        covers=INPUT,
        read=question,
        refuses=(MalformedError,),
        shape="text",
        seeds=(b"shop\nDeployment\nweb\nregistry/web:v1\n5",),
    ),
    Parser(
        name="settings-file",
        covers=CONFIG,
        read=settings,
        refuses=(ConfigError,),
        shape="text",
        seeds=(SMALL, EXAMPLE, b"a: &a [1]\nb: [*a, *a]\n", b"<<: {cluster: x}\n"),
    ),
    Parser(
        name="variables",
        covers=CONFIG,
        read=variables,
        refuses=(ConfigError,),
        shape="text",
        seeds=(b'CLUSTER=c\0POLICY__MODES=[{"mode": "auto"}]', b"POLICY__SOAK=5m\0CLUSTER=x"),
    ),
    Parser(
        name="variable",
        covers=("config.sources",),
        read=decoded,
        refuses=(ConfigError,),
        shape="text",
        seeds=(b'A__B={"x": 1}',),
    ),
    Parser(
        name="alert-file",
        covers=("daemon.cli.preflight",),
        read=alert_file,
        refuses=(CliError,),
        seeds=(raw({"labels": {"alertname": "x"}}),),
    ),
    Parser(
        name="terminal",
        covers=("daemon.cli.terminal",),
        read=shown,
        refuses=(),
        shape="text",
        seeds=(b"2026-03-02T12:00:00Z", b"\x1b[2J"),
    ),
)
