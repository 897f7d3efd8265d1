"""Every parser of outside input, in one table: what it reads, which errors it may raise, and what to begin with.

Used by hypothesis (`test_parsers.py`) and by the coverage-guided fuzzer (`python -m tests.fuzz`). The promise of each: a
value, or one of its own errors with a text for people; never another exception, never more than bounded time.
A new module that reads what others send is added here; `test_table.py` finds those that are not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Parser:
    """One parser. `read` gets the input; `covers` are the modules that it runs through; `seeds` are inputs that it takes.

    `shape` says how input is varied: `json` values in place of others too, `text` by characters, `bytes` by bytes alone.
    """

    name: str
    covers: tuple[str, ...]
    read: Callable[[bytes], object]
    refuses: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]
    shape: Literal["json", "text", "bytes"] = "json"


def parsers() -> tuple[Parser, ...]:
    """The whole table."""
    from tests.fuzz import targets_commands, targets_kube, targets_own, targets_senders, targets_servers

    parts = (targets_senders, targets_servers, targets_kube, targets_commands, targets_own)
    return tuple(parser for part in parts for parser in part.PARSERS)


def named(name: str) -> Parser:
    """The parser of that name. Raises KeyError."""
    return {parser.name: parser for parser in parsers()}[name]


def judge(parser: Parser, data: bytes) -> None:
    """Have it read the input. Raises whatever is not a documented refusal, AssertionError for one that tells people nothing."""
    try:
        parser.read(data)
    except parser.refuses as refusal:
        said = str(refusal)
        assert said.strip(), f"{type(refusal).__name__} says nothing"  # noqa: PT017 - this is the judge, not a test
