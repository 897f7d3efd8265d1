"""The page about workloads and owners names tests that exist."""

from __future__ import annotations

import re

from tests import repository

PAGE = repository.ROOT / "deploy/docs/workloads.md"


def test_each_row_names_tests_that_are_there() -> None:
    """Every row of both tables ends with tests, and each of them is a file."""
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith(("| kind |", "| owner |"))]
    assert len(rows) >= 9
    for row in rows:
        named = re.findall(r"`(tests/[a-z0-9_/]+\.py)`", row.rsplit("|", 2)[1])
        assert named, row
        assert all((repository.ROOT / name).is_file() for name in named), row
