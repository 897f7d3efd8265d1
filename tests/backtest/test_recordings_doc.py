"""deploy/docs/recordings.md tells the format as it is, and its example is a recording."""

from __future__ import annotations

import re

import msgspec
import pytest

from daemon.core.policy import SATURATION_SIGNALS
from handlers.backtest import past_alerts, samples
from handlers.backtest.recording import Record, parse, recording, written
from tests import documents

PAGE = documents.read("deploy/docs/recordings.md")
KINDS: dict[str, type[msgspec.Struct]] = {each.__struct_config__.tag: each for each in Record.__args__}


def section(kind: str) -> str:
    found = re.search(rf"^### {kind}\n(.*?)(?=^### |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, kind
    return found[1]


def example() -> list[Record]:
    (block,) = documents.blocks(PAGE, "json")
    return list(parse(block.body.encode().splitlines(), "example"))


def test_every_kind_has_its_section_and_no_other() -> None:
    """A new kind of record gets a section."""
    assert set(re.findall(r"^### (\w+)$", PAGE, re.MULTILINE)) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_told_with_its_default(kind: str) -> None:
    """The table names each field in the format's order, and its default where it has one."""
    rows = [(row[0].strip("`"), row[1]) for row in documents.table(section(kind), "field")]
    wanted = []
    for each in msgspec.structs.fields(KINDS[kind]):
        default = msgspec.json.encode({}).decode() if each.default_factory is dict else None
        if each.default is not msgspec.NODEFAULT:
            default = msgspec.json.encode(each.default).decode()
        wanted.append((each.encode_name, default or "-"))
    assert rows == wanted


def test_the_example_is_a_recording_of_every_kind() -> None:
    """It parses, is in order, holds each kind, and is written again as the same records."""
    records = example()
    assert {type(each) for each in records} == set(KINDS.values())
    assert recording("example", records).sorted_lines == 0
    assert list(parse([written(each) for each in records], "again")) == records


def test_the_signals_are_those_that_judge() -> None:
    """Every signal that a replay judges by has its unit, and no other."""
    assert {row[0].strip("`") for row in documents.table(PAGE, "signal")} == set(samples.KINDS)
    assert "throttled" in SATURATION_SIGNALS[0].query


def test_the_onset_has_the_name_that_is_written() -> None:
    """The annotation is called as the code calls it."""
    assert f"`{past_alerts.ONSET}`" in section("alert")
