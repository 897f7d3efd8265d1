"""The tree a PromQL query is parsed into."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.sandbox.monitoring.labels import Matcher


@dataclass(frozen=True, slots=True)
class Number:
    """A literal."""

    value: float


@dataclass(frozen=True, slots=True)
class Text:
    """A string literal; only a whole query may be one."""

    value: str


@dataclass(frozen=True, slots=True)
class Selector:
    """`name{matchers}[range] offset …`; `range_ms` None is an instant vector."""

    matchers: tuple[Matcher, ...]
    range_ms: int | None = None
    offset_ms: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """A function call."""

    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`sum by (…) (inner)`; with `without`, `names` are the labels left out."""

    operator: str
    inner: Node
    names: tuple[str, ...]
    without: bool


@dataclass(frozen=True, slots=True)
class Negate:
    """Unary minus."""

    inner: Node


@dataclass(frozen=True, slots=True)
class Binary:
    """`left op right`. `on` None: all labels match but `ignoring`; `returns_bool`: a comparison with `bool`."""

    operator: str
    left: Node
    right: Node
    on: tuple[str, ...] | None = None
    ignoring: tuple[str, ...] = ()
    returns_bool: bool = False


Node = Number | Text | Selector | Call | Aggregate | Negate | Binary
