"""The vector selectors of a PromQL text, as far as a preflight needs them; no parser: what it does not see, it does not say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_SELECTOR = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{((?:[^{}"]|"(?:[^"\\]|\\.)*")*)\}')
_MATCHER = re.compile(r'([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')

QUANTIFIERS_MAX = 3
"""In an expression that is tried here: somebody else's expression must not be able to hold up the daemon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """`label op "value"`, the value as it is written in the query."""

    label: str
    op: str
    value: str

    def __str__(self) -> str:
        return f'{self.label}{self.op}"{self.value}"'

    def accepts(self, value: str) -> bool:
        """Whether a label with this value is selected; yes where an expression is beyond Python's."""
        if self.op in ("=", "!="):
            return (self.value == value) is (self.op == "=")
        if "(" in self.value or sum(map(self.value.count, "*+{")) > QUANTIFIERS_MAX:
            return True
        try:
            found = re.fullmatch(self.value.replace("\\\\", "\\"), value) is not None
        except re.error:
            return True
        return found is (self.op == "=~")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """A metric with its matchers."""

    metric: str
    matchers: tuple[Matcher, ...]

    def __str__(self) -> str:
        return f"{self.metric}{{{','.join(map(str, self.matchers))}}}" if self.matchers else self.metric


def selectors(query: str) -> list[Selector]:
    """One selector per metric, in the order of the query: the one with the fewest matchers (others may rightly be empty)."""
    best: dict[str, Selector] = {}
    for name, inside in _SELECTOR.findall(query):
        found = Selector(metric=name, matchers=tuple(_matchers(inside)))
        known = best.get(name)
        if known is None or len(found.matchers) < len(known.matchers):
            best[name] = found
    return list(best.values())


def matchers_in(query: str) -> list[Matcher]:
    """All matchers of all selectors."""
    return [matcher for _, inside in _SELECTOR.findall(query) for matcher in _matchers(inside)]


def _matchers(inside: str) -> Iterator[Matcher]:
    for label, op, value in _MATCHER.findall(inside):
        yield Matcher(label=label, op=op, value=value)
