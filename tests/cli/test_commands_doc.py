"""deploy/docs/commands.md tells every command, and each of its examples can be typed."""

from __future__ import annotations

import argparse
import re
import shlex

from daemon.cli.arguments import CAUSES, parser
from daemon.cli.exits import Exit
from tests import documents

PAGE = documents.read("deploy/docs/commands.md")

TABLES = re.compile(r"^## (?:The daemon|Questions|Orders)\n\n(?P<rows>(?:\|.*\n)+)", re.MULTILINE)


def rows() -> dict[str, str]:
    """Command → example, of the three tables."""
    found: dict[str, str] = {}
    for table in TABLES.finditer(PAGE):
        for row in documents.table(table["rows"], "command"):
            found[row[0].strip("`")] = row[1].strip("`")
    return found


def grammar() -> set[str]:
    (action,) = (each for each in parser()._actions if isinstance(each, argparse._SubParsersAction))
    return set(action.choices)


def test_every_command_is_told_and_no_other() -> None:
    """A new command gets its row; one that is gone loses it."""
    assert set(rows()) == grammar()


def test_each_example_can_be_typed() -> None:
    """The parser takes it, and it is an example of the command beside it."""
    for name, example in rows().items():
        program, *words = shlex.split(example)
        assert (program, parser().parse_args(words).command) == ("lastgood", name), example
    for line in documents.commands(PAGE):
        program, *words = shlex.split(line.partition(" > ")[0].replace("\\", ""))
        assert program == "lastgood"
        assert parser().parse_args(words).command == words[0]


def test_the_exit_codes_are_those_of_the_code() -> None:
    """Every code is in the table, and no other."""
    assert [int(row[0]) for row in documents.table(PAGE, "code")] == [code.value for code in Exit]


def test_the_reasons_are_those_that_can_be_declared() -> None:
    """Every reason is named, in the order of `--help`."""
    (said,) = re.findall(r"^Reasons: (.*), also", PAGE, re.MULTILINE)
    assert said.replace("`", "").split(", ") == list(CAUSES)


def test_the_steps_of_a_pipeline_are_those_of_the_help() -> None:
    """What the page shows, `lastgood gate --help` shows, and tests/cli/test_gate.py runs."""
    steps = [row[0].strip("`").replace("\\|", "|") for row in documents.table(PAGE, "step")]
    (action,) = (each for each in parser()._actions if isinstance(each, argparse._SubParsersAction))
    shown = action.choices["gate"].format_help()
    assert len(steps) == 3
    assert all(f"\n  {step}" in shown for step in steps)
