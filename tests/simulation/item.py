"""One thing that happens in a world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FAULTS_OVER = 2400.0
"""When the last fault has passed and nobody acts any more: from then on everything must come to an end."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something happens: `at` a moment, or `after` so many seconds when `on` (a trigger and its how-many-eth time)."""

    what: str
    args: tuple[Any, ...] = ()
    at: float | None = None
    on: tuple[str, int] | None = None
    after: float = 0.0

    def __str__(self) -> str:
        when = (
            f"{self.at:7.1f} s"
            if self.at is not None
            else f"{self.after:.1f} s after {self.on[0]} no. {self.on[1]}"
            if self.on
            else ""
        )
        return f"{when}  {self.what} {' '.join(str(each) for each in self.args)}".rstrip()
