"""The figures of `make bench-blame` in deploy/docs/blame.md: what stands between two marks is written anew, the rest is prose."""

from __future__ import annotations

from collections.abc import Sequence
from os.path import relpath
from pathlib import Path

BEGIN, END = "<!-- written by make bench-blame, {} world -->", "<!-- end of what make bench-blame writes, {} world -->"
NOT_YET = "Not measured yet: `make bench-blame` fills this in."


def with_figures(page: str, world: str, figures: str) -> str:
    """The page with other figures of that world. ValueError where its marks are not there, each once and in order."""
    first, last = BEGIN.format(world), END.format(world)
    before, begin, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end or first in rest or last in before + after:
        raise ValueError(f"the page needs one line {first!r} and, below it, one line {last!r}")
    return f"{before}{first}\n\n{figures.strip()}\n\n{last}{after}"


def figures(note: str, picture: Path | None, page: Path, tables: Sequence[str]) -> str:
    """What was measured, the picture, if any, as the page links it, and the tables. The same run gives the same text: no date."""
    link = [f"![F1 by method, with 95 % intervals]({relpath(picture, page.parent)})"] if picture is not None else []
    return "\n\n".join([f"{note}.", *link, *(_narrow(table) for table in tables)])


def _narrow(table: str) -> str:
    """Without the spaces that line the columns up in a terminal: a change of one figure changes one line."""
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]
    return "\n".join("|" + "---|" * len(row) if set(row[0]) == {"-"} else f"| {' | '.join(row)} |" for row in rows)
