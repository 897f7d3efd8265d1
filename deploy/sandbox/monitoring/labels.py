"""Label sets and matchers, as Prometheus and Alertmanager both understand them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Labels = tuple[tuple[str, str], ...]
"""A label set: pairs sorted by name, no empty values (an empty value is the same as no label)."""

NAME = "__name__"

_FNV_OFFSET = 14695981039346656037
_FNV_PRIME = 1099511628211


class BadMatcherError(ValueError):
    """A matcher that cannot be read; the text says which and why."""


def freeze(pairs: Mapping[str, str] | Iterable[tuple[str, str]]) -> Labels:
    """The label set of a mapping."""
    return tuple(sorted((name, value) for name, value in dict(pairs).items() if value != ""))


def get(labels: Labels, name: str) -> str:
    """A label's value, or "" where it is not set."""
    return next((value for key, value in labels if key == name), "")


def keep(labels: Labels, names: Iterable[str]) -> Labels:
    """Only the named labels."""
    wanted = set(names)
    return tuple(pair for pair in labels if pair[0] in wanted)


def drop(labels: Labels, *names: str) -> Labels:
    """All but the named labels."""
    return tuple(pair for pair in labels if pair[0] not in names)


def fingerprint(labels: Mapping[str, str]) -> str:
    """Alertmanager's identity of an alert: FNV-1a (64 bit, hex) over sorted names and values, 0xFF after each.

    Source: prometheus/common model/fnv.go and model/signature.go.
    """
    total = _FNV_OFFSET
    for name, value in sorted(labels.items()):
        for byte in (*name.encode(), 255, *value.encode(), 255):
            total = ((total ^ byte) * _FNV_PRIME) % 2**64
    return f"{total:016x}"


@dataclass(frozen=True, slots=True)
class Matcher:
    """One label matcher; `op` is `=`, `!=`, `=~` or `!~`, regular expressions are anchored at both ends."""

    name: str
    op: str
    value: str

    def __post_init__(self) -> None:
        if self.op not in ("=", "!=", "=~", "!~"):
            raise BadMatcherError(f"matcher operator {self.op!r}: use =, !=, =~ or !~")
        if self.op.endswith("~"):
            try:
                re.compile(self.value)
            except re.error as error:
                raise BadMatcherError(f"error parsing regexp: {error}: `{self.value}`") from error

    def matches(self, value: str) -> bool:
        """Whether a label with this value ("" = not set) is let through."""
        if self.op == "=":
            return value == self.value
        if self.op == "!=":
            return value != self.value
        hit = re.fullmatch(self.value, value, re.DOTALL) is not None
        return hit if self.op == "=~" else not hit

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.op}"{escaped}"'


_FILTER = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*(?:"((?:[^"\\]|\\.)*)"|([^"]*))\s*', re.DOTALL)


def parse_filter(text: str) -> Matcher:
    """One matcher as Alertmanager's `filter` parameter and configuration write it: `name="value"` or `name=value`."""
    found = _FILTER.fullmatch(text)
    if found is None:
        raise BadMatcherError(f"bad matcher format: {text}")
    name, op, quoted, bare = found.groups()
    value = bare if quoted is None else re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], quoted)
    return Matcher(name, op, value)


def all_match(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether every matcher lets this label set through."""
    return all(matcher.matches(labels.get(matcher.name, "")) for matcher in matchers)
