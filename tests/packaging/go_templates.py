"""The part of Go's text/template, with sprig's functions, that our notification templates use; no Argo runs in the tests.

As there: a key that a map does not have, and whatever is asked of it, renders as `<no value>`, inside printf as `%!s(<nil>)`, and
through toJson as null.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

_ACTION = re.compile(r"\{\{\s*(.*?)\s*\}\}", re.DOTALL)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\(|\)|[^\s()]+')


class TemplateError(Exception):
    """What text/template fails with; the controller logs it and sends nothing."""


def render(template: str, variables: Mapping[str, Any], now: datetime) -> str:
    """The template with these variables, at this moment."""
    pieces = iter(_pieces(template))
    return "".join(_block(pieces, _Scope(variables, {}, now), run=True)[0])


class _Scope:
    """What names stand for."""

    def __init__(self, dot: Mapping[str, Any], names: Mapping[str, Any], now: datetime) -> None:
        self.dot = dot
        self.names = names
        self.now = now

    def within(self, **names: Any) -> _Scope:
        return _Scope(self.dot, {**self.names, **names}, self.now)


def _pieces(template: str) -> Iterator[tuple[str, str]]:
    """Text and actions, in order."""
    at = 0
    for found in _ACTION.finditer(template):
        yield "text", template[at : found.start()]
        yield "action", found[1]
        at = found.end()
    yield "text", template[at:]


def _block(pieces: Iterator[tuple[str, str]], scope: _Scope, *, run: bool) -> tuple[list[str], str]:
    """What is rendered up to the action that ends the block, and that action; nothing of it where it is not run."""
    out: list[str] = []
    for kind, text in pieces:
        if kind == "text":
            out.append(text if run else "")
        elif text in ("end", "else"):
            return out, text
        elif text.startswith("if "):
            out += _branches(pieces, scope, bool(_value(text[3:], scope)) if run else False, run=run)
        elif text.startswith("range "):
            out += _range(pieces, scope, text[6:], run=run)
        elif run:
            out.append(_shown(_value(text, scope)))
    return out, ""


def _branches(pieces: Iterator[tuple[str, str]], scope: _Scope, chosen: bool, *, run: bool) -> list[str]:
    first, ended = _block(pieces, scope, run=run and chosen)
    if ended == "else":
        return first + _block(pieces, scope, run=run and not chosen)[0]
    return first


def _range(pieces: Iterator[tuple[str, str]], scope: _Scope, text: str, *, run: bool) -> list[str]:
    """`range $i, $c := …`: the body once per element."""
    names, _, expression = text.partition(":=")
    index, element = (name.strip() for name in names.split(","))
    body = _body(pieces)
    out: list[str] = []
    for number, each in enumerate(_value(expression, scope) if run else ()):
        out += _block(iter(body), scope.within(**{index: number, element: each}), run=True)[0]
    return out


def _body(pieces: Iterator[tuple[str, str]]) -> list[tuple[str, str]]:
    depth = 1
    body: list[tuple[str, str]] = []
    for kind, text in pieces:
        if kind == "action":
            depth += text.startswith(("if ", "range ")) - (text == "end")
        if depth == 0:
            return body
        body.append((kind, text))
    raise TemplateError("unexpected EOF")


def _value(text: str, scope: _Scope) -> Any:
    tokens = _TOKEN.findall(text)
    value, rest = _call(tokens, scope)
    if rest:
        raise TemplateError(f"unexpected {rest[0]}")
    return value


def _call(tokens: list[str], scope: _Scope) -> tuple[Any, list[str]]:
    """A function with its operands, or one operand, up to the end or the closing parenthesis."""
    head, rest = tokens[0], tokens[1:]
    function = _FUNCTIONS.get(head)
    operands: list[Any] = []
    if function is None:
        first, rest = _operand(tokens, scope)
        operands.append(first)
    while rest and rest[0] != ")":
        each, rest = _operand(rest, scope)
        operands.append(each)
    if function is not None:
        return function(scope, *operands), rest
    if len(operands) != 1:
        raise TemplateError(f"{head} is no function")
    return operands[0], rest


def _operand(tokens: list[str], scope: _Scope) -> tuple[Any, list[str]]:
    token, rest = tokens[0], tokens[1:]
    if token == "(":
        value, rest = _call(rest, scope)
        if rest[:1] != [")"]:
            raise TemplateError("unclosed parenthesis")
        return value, rest[1:]
    if token.startswith('"'):
        return json.loads(token), rest
    if token.isdigit():
        return int(token), rest
    if token.startswith("."):
        return _field(scope.dot, token[1:].split(".")), rest
    if token.startswith("$"):
        name, *path = token.split(".")
        return _field(scope.names[name], path), rest
    if token in _FUNCTIONS:
        return _FUNCTIONS[token](scope), rest
    raise TemplateError(f"function {token} not defined")


def _field(value: Any, path: list[str]) -> Any:
    for name in path:
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise TemplateError(f"can't evaluate field {name}")
        value = value.get(name)
    return value


def _shown(value: Any) -> str:
    return "<no value>" if value is None else str(value)


def _printf(_: _Scope, shape: str, *values: Any) -> str:
    rest = iter(values)

    def one(verb: re.Match[str]) -> str:
        value = next(rest)
        if value is None:
            return "<nil>" if verb[0] == "%v" else "%!s(<nil>)"
        return str(value)

    return re.sub(r"%[sv]", one, shape)


def _dig(_: _Scope, *parts: Any) -> Any:
    *path, default, value = parts
    for name in path:
        if name not in value:
            return default
        value = value[name]
    return value


def _date(_: _Scope, layout: str, at: datetime, zone: str) -> str:
    if (layout, zone) != ("2006-01-02T15:04:05Z", "UTC"):
        raise TemplateError(f"another layout than is known here: {layout}")
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "toJson": lambda _, value: json.dumps(value, ensure_ascii=False),
    "printf": _printf,
    "dig": _dig,
    "list": lambda _, *values: list(values),
    "len": lambda _, value: len(value),
    "le": lambda _, one, other: one <= other,
    "eq": lambda _, one, other: one == other,
    "now": lambda scope: scope.now,
    "dateInZone": _date,
}
