"""The table of parsers is whole: a module that reads what others send is in it, or is named here with the reason why not."""

from __future__ import annotations

import ast
from pathlib import Path

from tests import repository
from tests.fuzz.targets import parsers

PACKAGES = ("handlers", "config", "daemon")

READS = frozenset(
    """
    json.loads yaml.load yaml.safe_load parse_qs datetime.fromisoformat base64.b64decode urlsplit msgspec.json.Decoder
    msgspec.json.decode parse_json decode_object decode_list object_of parsedate_to_datetime
    """.split()
)
"""Calls by which text or bytes from outside become values, as they are written."""

ELSEWHERE = {
    "handlers.openapi.document": "reads its own files",
    "handlers.inbound.slack_socket": "hands payloads to slack_presses; the connection is slack_sdk's",
    "handlers.mqtt_link": "the wire is paho's; what it hands over is read by handlers.inbound.mqtt",
}
"""Modules that call one of them, or stand at an edge, and are no parser."""

EDGES = ("handlers/inbound/",)
"""Whatever lies here takes input."""

NO_PARSERS = {
    "handlers.inbound": "says what belongs in it",
    "handlers.inbound.alerts_poll": "asks; the answers are read by handlers.alertmanager_api and handlers.alert_history",
    "handlers.inbound.slack_socket": ELSEWHERE["handlers.inbound.slack_socket"],
}


def module(path: Path) -> str:
    """`handlers/inbound/x.py` as it is imported."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def calls(path: Path) -> set[str]:
    """The dotted names that a file calls."""
    return {repository.dotted(node.func) for node in ast.walk(repository.tree(path)) if isinstance(node, ast.Call)}


def test_every_parser_is_in_the_table() -> None:
    """A module that turns text from outside into values is covered by an entry of the table."""
    covered = {name for parser in parsers() for name in parser.covers}
    ours = [
        path
        for path in repository.python_files()
        if path.parts[0] in PACKAGES and not repository.under(path, "daemon/core")
    ]
    reading = {module(path) for path in ours if calls(path) & READS}
    missing = reading - covered - set(ELSEWHERE)
    assert not missing, f"add to tests/fuzz/targets_*.py: {sorted(missing)}"


def test_every_edge_is_in_the_table() -> None:
    """Each inbound handler is covered by an entry, or named with the reason why not."""
    covered = {name for parser in parsers() for name in parser.covers}
    edges = {module(path) for path in repository.python_files() if str(path).startswith(EDGES)}
    assert not (missing := edges - covered - set(NO_PARSERS)), f"add to tests/fuzz/targets_*.py: {sorted(missing)}"


def test_the_table_names_modules_that_are_there() -> None:
    """What the table says it covers exists, and its names are its own."""
    there = {module(path) for path in repository.python_files()}
    named = {name for parser in parsers() for name in parser.covers} | set(ELSEWHERE) | set(NO_PARSERS)
    assert named <= there, sorted(named - there)
    names = [parser.name for parser in parsers()]
    assert len(names) == len(set(names))
