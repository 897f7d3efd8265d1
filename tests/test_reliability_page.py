"""deploy/docs/reliability.md: no promise without tests that exist."""

from __future__ import annotations

import re

from tests import documents
from tests.test_readme import known_tests

PAGE = "deploy/docs/reliability.md"


def promises() -> list[tuple[str, list[str]]]:
    """What is promised, and the tests that are named for it, of every table of the page."""
    rows = [line.strip("| ").split(" | ") for line in documents.read(PAGE).splitlines() if line.startswith("| ")]
    return [(row[0], re.findall(r"`([\w/]+\.py::\w+)`", row[-1])) for row in rows if row[0] != "promise"]


def test_each_promise_names_the_tests_that_hold_it() -> None:
    """Every row names at least one test, every name is a test's, and none is named in passing where it is not looked for."""
    known, found = known_tests(), promises()
    assert len(found) >= 25
    for promise, named in found:
        assert named, promise
        assert [name for name in named if name not in known] == [], promise
    everywhere = set(re.findall(r"\w+\.py::\w+", documents.read(PAGE)))
    assert everywhere == {name.rpartition("/")[2] for _, named in found for name in named}


def test_it_says_what_is_not_promised() -> None:
    """The limits stand on the same page as the promises."""
    _, _, limits = documents.read(PAGE).partition("## What is not promised\n")
    assert limits.count("\n- **") >= 6
    assert documents.broken_links(PAGE) == []
