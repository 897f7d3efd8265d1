"""Numbers and times as Go programs write them into JSON."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal

ZERO_TIME = "0001-01-01T00:00:00Z"
"""Go's zero time; Alertmanager sends it as `endsAt` of a firing alert."""


def format_number(value: float) -> str:
    """A sample's value in Prometheus' JSON: the shortest digits that read back the same, never an exponent."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = format(Decimal(repr(value)), "f")
    return text.removesuffix(".0")


def format_time(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds; Go leaves trailing zeros out, readers must take any number of digits."""
    text = datetime.fromtimestamp(round(seconds, 3), UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
    return text.rstrip("0").rstrip(".") + "Z"


def format_time_ms(seconds: float) -> str:
    """RFC 3339 in UTC with exactly three digits, as Alertmanager's API answers."""
    return datetime.fromtimestamp(round(seconds, 3), UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def parse_time(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time with a zone. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.timestamp()
