"""Writing for people: width, colours only on a terminal, and no text from outside that could act on it."""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from handlers import plain

WIDTH = 80
"""Columns where nothing tells how many there are: an SSH session at night."""

WIDTH_MAX = 120
"""Prose is not wrapped wider than this: nobody reads longer lines."""

WIDTH_PIPE = 1000
"""Tables are not folded in a pipe: one row, one line."""

VALUE_MAX = 2000
"""Characters of one value; the daemon cuts earlier, but it is not to be trusted blindly either."""


def safe(value: object) -> str:
    """A value on one line, without escape sequences, control, direction and half characters."""
    return plain.one_line(str(value), VALUE_MAX)


def clock(moment: str | None, now: datetime) -> str:
    """`12:03:04Z`, with the date where it is another day; `-` for none."""
    at = parsed(moment)
    if at is None:
        return "-"
    return f"{at:%H:%M:%S}Z" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M:%S}Z"


def ago(moment: str | None, now: datetime) -> str:
    """`3m ago`, `in 20s`; `-` for none."""
    at = parsed(moment)
    if at is None:
        return "-"
    seconds = (now - at).total_seconds()
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"


def span(seconds: float) -> str:
    """Two units at most: `45s`, `3m 20s`, `2h 5m`, `3d 4h`."""
    whole = round(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    parts = ((days, "d"), (hours, "h"), (minutes, "m"), (whole % 60, "s"))
    first = next((index for index, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count}{unit}" for count, unit in parts[first : first + 2] if count) or "0s"


def parsed(moment: str | None) -> datetime | None:
    """The moment in a document; None for none or for what is no moment."""
    try:
        found = datetime.fromisoformat(moment) if moment else None
    except (TypeError, ValueError):
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found


def now_of(document: dict[str, object]) -> datetime:
    """The daemon's clock, so that ages do not depend on ours; the epoch for an older daemon that does not say."""
    return parsed(str(document.get("now") or "")) or datetime.fromtimestamp(0, UTC)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """A reader that is gone is told to our caller: rich would leave with exit code 1, which means "no" here."""
        raise BrokenPipeError


class Screen:
    """Where an answer is written."""

    def __init__(self, out: TextIO, *, width: int | None = None) -> None:
        self._out = out
        self._terminal = out.isatty()
        colour = self._terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._console = _Console(
            file=out,
            force_terminal=colour,
            color_system="auto" if colour else None,
            highlight=False,
            markup=False,
            emoji=False,
            width=width if width is not None or self._terminal else WIDTH,
        )
        self.width = min(self._console.width, WIDTH_MAX)

    def line(self, text: str = "", style: str = "") -> None:
        """One line, never wrapped: it may be a command that is to be pasted."""
        self._console.print(Text(text, style=style), soft_wrap=True)

    def prose(self, text: str, indent: str = "", first: str | None = None, style: str = "") -> None:
        """Text wrapped to the width; the first line begins with `first`, the others with `indent`."""
        start = indent if first is None else first
        for line in textwrap.wrap(text, self.width, initial_indent=start, subsequent_indent=indent) or [start.rstrip()]:
            self.line(line, style)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table without rules; cells fold on a terminal and stay on one line in a pipe."""
        table = Table(box=None, pad_edge=False, header_style="bold" if self._terminal else "")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        if self._terminal:
            self._console.print(table)
            return
        held = io.StringIO()
        Console(file=held, width=WIDTH_PIPE, color_system=None, force_terminal=False).print(table)
        for line in held.getvalue().splitlines():
            self.line(line.rstrip())
