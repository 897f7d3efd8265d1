"""Durations as Prometheus writes them: `30s`, `1h30m`, `500ms`, `1d`, `1w`, `1y`, and a bare `0`.

The grammar is the one of Prometheus' configuration reference: whole numbers, units from the largest to the smallest,
each at most once; a day is 24 h, a week 7 d, a year 365 d. A bare number is refused: `soak: 15` would be read as
seconds by one reader and as minutes by another.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator

UNITS_MS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
"""Each unit in milliseconds, largest first."""

LONGEST = timedelta(days=100 * 365)
"""No setting needs more than 100 years, and Prometheus itself stops at about 292."""

LENGTH_MAX = 64
"""Characters; the longest sensible duration has about 30. Keeps `int()` away from absurd inputs."""

_GRAMMAR = re.compile("".join(f"(?:([0-9]+){unit})?" for unit in UNITS_MS))
_HELP = "write it like 30s, 1h30m, 500ms or 1d, largest unit first"


def parse(text: str) -> timedelta:
    """The duration that `text` means, exact to the millisecond. Raises ValueError with a remedy, not echoing `text`."""
    if text == "0":
        return timedelta(0)
    if text.startswith("-"):
        raise ValueError(f"is negative; {_HELP}")
    if text.isdecimal():
        raise ValueError(f"has no unit; {_HELP}")
    match = _GRAMMAR.fullmatch(text) if 0 < len(text) <= LENGTH_MAX else None
    if match is None:
        raise ValueError(f"is no duration; {_HELP}")
    counts = zip(match.groups(), UNITS_MS.values(), strict=True)
    total_ms = sum(int(count) * unit_ms for count, unit_ms in counts if count)
    if total_ms > LONGEST // timedelta(milliseconds=1):
        raise ValueError("is longer than 100y; write a shorter duration")
    return timedelta(milliseconds=total_ms)


def render(duration: timedelta) -> str:
    """`duration` as `parse` reads it, without weeks and years; parts below a millisecond are cut off.

    Raises ValueError for a negative one.
    """
    rest_ms = duration // timedelta(milliseconds=1)
    if rest_ms < 0:
        raise ValueError("a negative duration cannot be written")
    parts = []
    for unit, unit_ms in list(UNITS_MS.items())[2:]:
        count, rest_ms = divmod(rest_ms, unit_ms)
        parts.append(f"{count}{unit}" if count else "")
    return "".join(parts) or "0"


def read(value: object) -> timedelta:
    """The duration a settings source gave. Raises ValueError for all but text, a bare 0, or a ready timedelta."""
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        return parse(value.strip())
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return parse("0" if value == 0 else "-" if value < 0 else "1")
    raise ValueError(f"is no duration; {_HELP}")


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than 0; write at least 1ms")
    return value


Duration = Annotated[timedelta, BeforeValidator(lambda value: _positive(read(value)))]
"""A setting that must be longer than 0."""

DurationOrZero = Annotated[timedelta, BeforeValidator(read)]
"""A setting for which 0 means "at once" or "not at all"."""
