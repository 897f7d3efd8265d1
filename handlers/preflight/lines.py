"""What a check found: one line, with its remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from handlers.overview import Document, cut


class Level(StrEnum):
    """OK; WARNING: it works, but less than it could; FAILED: when it counts, this workload is not protected."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """`check` names it, `says` is what was found. `remedy` is a sentence, `commands` can be pasted; both empty when fine."""

    check: str
    level: Level
    says: str
    remedy: str = ""
    commands: tuple[str, ...] = ()


def ok(check: str, says: str) -> Line:
    """Fine."""
    return Line(check=check, level=Level.OK, says=says)


def warning(check: str, says: str, remedy: str, *commands: str) -> Line:
    """Works, but less than it could."""
    return Line(check=check, level=Level.WARNING, says=says, remedy=remedy, commands=commands)


def failed(check: str, says: str, remedy: str, *commands: str) -> Line:
    """Not protected."""
    return Line(check=check, level=Level.FAILED, says=says, remedy=remedy, commands=commands)


def rows(part: str, lines: Iterable[Line]) -> list[Document]:
    """The lines of one part as JSON."""
    return [
        {
            "part": part,
            "check": line.check,
            "level": line.level.value,
            "says": cut(line.says),
            "remedy": cut(line.remedy),
            "commands": [cut(command) for command in line.commands],
        }
        for line in lines
    ]
