"""Cuts a PromQL text into tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass

QUERY_LENGTH_MAX = 100_000
"""Characters; a URL or form is far shorter, more is a mistake."""


class ParseError(ValueError):
    """A text that is no PromQL; the message is in Prometheus' shape, `line:column: parse error: …`."""


class UnsupportedError(ValueError):
    """Valid PromQL (or something near it) that the sandbox does not know."""

    def __init__(self, what: str) -> None:
        super().__init__(f"unsupported in the sandbox: {what}")


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is number, duration, string, name, op or end; strings are unquoted, durations are text (`1h30m`)."""

    kind: str
    text: str
    position: int


_PARTS = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*)+)
    |(?P<duration>(?:\d+(?:ms|[smhdwy]))+)(?![\w.])
    |(?P<number>0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)
    |(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
    |(?P<op>=~|!~|==|!=|<=|>=|[-+*/%^<>=(){}\[\],:@])""",
    re.VERBOSE,
)
_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "y": 31_536_000_000}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def tokens(text: str) -> list[Token]:
    """All tokens of a query, an `end` token last."""
    if len(text) > QUERY_LENGTH_MAX:
        raise ParseError(f"1:1: parse error: query is longer than {QUERY_LENGTH_MAX} characters")
    found, position = [], 0
    while position < len(text):
        match = _PARTS.match(text, position)
        if match is None:
            raise ParseError(f"{place(text, position)}: parse error: unexpected character: {text[position]!r}")
        kind = str(match.lastgroup)
        if kind != "space":
            found.append(Token(kind, _unquote(match[0]) if kind == "string" else match[0], position))
        position = match.end()
    return [*found, Token("end", "end of input", len(text))]


def place(text: str, position: int) -> str:
    """`line:column`, both from 1."""
    before = text[:position]
    return f"{before.count(chr(10)) + 1}:{position - before.rfind(chr(10))}"


def duration_ms(text: str) -> int:
    """Milliseconds of a Prometheus duration such as `200ms`, `5m`, `1h30m`."""
    parts = re.findall(r"(\d+)(ms|[smhdwy])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ParseError(f'not a valid duration string: "{text}"')
    return sum(int(number) * _UNITS_MS[unit] for number, unit in parts)


def _unquote(quoted: str) -> str:
    inside = quoted[1:-1]
    if quoted[0] == "`":
        return inside

    def plain(match: re.Match[str]) -> str:
        code = match[1]
        if code[0] in "xuU":
            return chr(int(code[1:], 16))
        return _ESCAPES.get(code, code)

    return re.sub(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", plain, inside, flags=re.DOTALL)
