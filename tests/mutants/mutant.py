"""One planted bug."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Mutant:
    """In `file`, `old` (found exactly once) becomes `new`; then some of `tests` must fail. `why`: the broken promise."""

    name: str
    why: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
