"""Reading recordings: bad lines are named by file, line and field, order is made, and what is written is read again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from handlers.backtest.recording import (
    LINE_BYTES_MAX,
    AlertSeen,
    EdgeSeen,
    RecordingError,
    SampleSeen,
    TruthSeen,
    load,
    parse,
    recording,
    written,
)
from tests.backtest.replay_cases import NOON, WEB, Shop

AT = '"at": "2026-03-04T12:00:00Z"'
GOOD_LINE = f'{{{AT}, "kind": "edge", "caller": "a/Deployment/b", "callee": "a/Deployment/c"}}'
SAMPLE = f'{{{AT}, "kind": "sample", "signal": "error_ratio", "workload": "{WEB}", '


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("[1]", "Expected `object`"),
        (f'{{{AT}, "kin', "malformed"),
        (f"{{{AT}}}", "required field `kind`"),
        (f'{{{AT}, "kind": "pods"}}', r"Invalid value 'pods' - at `\$.kind`"),
        (f'{{{AT}, "kind": "edge", "caller": "a/Deployment/b"}}', "required field `callee`"),
        (f'{{{AT}, "kind": "edge", "caller": "web", "callee": "a/Deployment/b"}}', r"at `\$.caller`"),
        ('{"at": "2026-03-04T12:00:00", "kind": "truth"}', r"timezone component - at `\$.at`"),
        ('{"at": "yesterday", "kind": "truth"}', r"at `\$.at`"),
        ('{"at": "0001-01-01T00:00:00Z", "kind": "truth"}', r"before 1970 .* at `\$.at`"),
        ('{"at": "9999-12-31T23:59:59Z", "kind": "truth"}', r"after 2200 - at `\$.at`"),
        (
            f'{{{AT}, "kind": "alert", "status": "firing", "labels": {{}}, "startsAt": "0001-01-01T00:00:00Z"}}',
            r"before 1970 .* at `\$.startsAt`",
        ),
        (f'{{{AT}, "kind": "alert", "status": "fires", "labels": {{}}, {AT.replace("at", "startsAt")}}}', r"\$.status"),
        (f'{SAMPLE}"value": "0.4"}}', r"got `str` - at `\$.value`"),
        (f'{SAMPLE}"value": NaN}}', "malformed"),
        (f'{SAMPLE}"value": 1e999}}', r"out of range - at `\$.value`"),
        (f'{SAMPLE}"weight": -1}}', r">= 0.* at `\$.weight`"),
        (f'{SAMPLE}"weight": 1e13}}', r"<= 1\d*.* at `\$.weight`"),
        (f'{SAMPLE}"direction": "sideways"}}', r"at `\$.direction`"),
        ('{"kind": "\xff"}'.encode("latin-1"), "utf-8"),
        ("\ufeff" + GOOD_LINE, "malformed"),
        (f'{SAMPLE}"pod": "{"x" * LINE_BYTES_MAX}"}}', "longer than 1048576 bytes"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str | bytes, says: str) -> None:
    """File, line and field, what was wrong, and where the format is; empty lines count."""
    path = tmp_path / "bad.jsonl"
    bad = line if isinstance(line, bytes) else line.encode()
    path.write_bytes(GOOD_LINE.encode() + b"\n\n" + bad + b"\n" + GOOD_LINE.encode() + b"\n")
    with pytest.raises(RecordingError, match=says) as raised:
        load(path)
    said = str(raised.value)
    assert said.startswith(f"{path}:3: ")
    assert "; " in said
    assert "\n" not in said
    assert len(said) < len(str(path)) + 300


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With the system's word, and a remedy."""
    with pytest.raises(RecordingError, match=r"none\.jsonl: No such file or directory; name a file"):
        load(tmp_path / "none.jsonl")


def test_empty_lines_and_unknown_fields_are_passed_over() -> None:
    """Also the carriage returns of another system, and a file without any line."""
    line = GOOD_LINE.replace("}", ', "colour": "green"}').encode() + b"\r\n"
    found = list(parse([b"\n", line, b"  \n", line], "x"))
    assert len(found) == 2
    assert list(parse([], "x")) == []


def test_out_of_order_is_sorted_and_counted() -> None:
    """By time; records of one moment keep their order, and truths are apart."""
    later, first, second = (
        EdgeSeen(at=NOON + timedelta(minutes=minute), caller="a/b/c", callee=f"a/b/{name}")
        for minute, name in ((1, "later"), (0, "first"), (0, "second"))
    )
    truth = TruthSeen(at=NOON)
    found = recording("x", [later, first, truth, second])
    assert list(found.evidence) == [first, second, later]
    assert (list(found.truths), found.sorted_lines) == ([truth], 1)
    assert recording("x", [first, second, later]).sorted_lines == 0


def test_what_is_written_is_read_again() -> None:
    """Every record of a recording, as one line each."""
    known = Shop().records()
    lines = [written(each) for each in known]
    assert all(line.count(b"\n") == 1 for line in lines)
    assert list(parse(lines, "x")) == known


def test_moments_are_written_in_utc() -> None:
    """An offset is converted, of `startsAt` too."""
    line = f'{{{AT.replace("Z", "+02:00")}, "kind": "alert", "status": "firing", "labels": {{"a": "b"}}, '
    (alert,) = parse([f'{line}"startsAt": "2026-03-04T11:30:00+02:00"}}'.encode()], "x")
    assert isinstance(alert, AlertSeen)
    assert alert.at == datetime(2026, 3, 4, 10, tzinfo=UTC)
    document = json.loads(written(alert))
    assert (document["at"], document["startsAt"]) == ("2026-03-04T10:00:00Z", "2026-03-04T09:30:00Z")
    sample = SampleSeen(at=alert.at, signal="x", workload=WEB)
    assert json.loads(written(sample))["at"] == "2026-03-04T10:00:00Z"


def test_a_recording_is_not_shown_whole() -> None:
    """What a task gave is written down by asyncio: of a month that would be half a gigabyte of text."""
    assert len(repr(Shop().recording())) < 200
