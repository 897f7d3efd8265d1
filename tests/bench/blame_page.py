"""The figures of `make bench-blame` in deploy/docs/blame.md: what stands between two marks is written anew, the rest is prose."""

from __future__ import annotations

from collections.abc import Sequence
from os.path import relpath
from pathlib import Path

BEGIN, END = "<!-- written by make bench-blame -->", "<!-- end of what make bench-blame writes -->"
NOT_YET = "Not measured yet: `make bench-blame` fills this in."


def with_figures(page: str, figures: str) -> str:
    """The page with other figures. ValueError where the marks are not there, each once and in order."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before + after:
        raise ValueError(f"the page needs one line {BEGIN!r} and, below it, one line {END!r}")
    return f"{before}{BEGIN}\n\n{figures.strip()}\n\n{END}{after}"


def figures(note: str, picture: Path, page: Path, tables: Sequence[str]) -> str:
    """What was measured, the picture as the page links it, and the tables. The same run gives the same text: no date."""
    link = f"![F1 by method, with 95 % intervals]({relpath(picture, page.parent)})"
    return "\n\n".join([f"{note}.", link, *(_narrow(table) for table in tables)])


def _narrow(table: str) -> str:
    """Without the spaces that line the columns up in a terminal: a change of one figure changes one line."""
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]
    return "\n".join("|" + "---|" * len(row) if set(row[0]) == {"-"} else f"| {' | '.join(row)} |" for row in rows)
