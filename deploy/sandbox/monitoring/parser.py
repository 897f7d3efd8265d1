"""Parses the sandbox's subset of PromQL by precedence climbing.

Source of precedences and syntax: Prometheus documentation, "Operators" and "Querying basics". What is left out is
answered with `UnsupportedError`, never with a guess.
"""

from __future__ import annotations

import math
from dataclasses import replace

from deploy.sandbox.monitoring.labels import NAME, BadMatcherError, Matcher
from deploy.sandbox.monitoring.lexer import ParseError, Token, UnsupportedError, duration_ms, place, tokens
from deploy.sandbox.monitoring.tree import Aggregate, Binary, Call, Negate, Node, Number, Selector, Text

AGGREGATES = ("sum", "avg", "min", "max", "count")
FUNCTIONS: dict[str, tuple[str, ...]] = {
    "rate": ("range",),
    "increase": ("range",),
    "avg_over_time": ("range",),
    "min_over_time": ("range",),
    "max_over_time": ("range",),
    "sum_over_time": ("range",),
    "count_over_time": ("range",),
    "last_over_time": ("range",),
    "histogram_quantile": ("scalar", "vector"),
    "clamp_max": ("vector", "scalar"),
    "clamp_min": ("vector", "scalar"),
    "vector": ("scalar",),
    "scalar": ("vector",),
    "absent": ("vector",),
    "label_replace": ("vector", "string", "string", "string", "string"),
    "time": (),
}
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
SET_OPERATORS = ("and", "or", "unless")
DEPTH_MAX = 100
"""Nesting of brackets and operators; keeps a hostile query from exhausting the stack."""

_PRECEDENCE = {"or": 1, "and": 2, "unless": 2} | dict.fromkeys(COMPARISONS, 3) | {"+": 4, "-": 4, "*": 5, "/": 5}
_RESERVED = (*SET_OPERATORS, "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset")
_OTHER_OPERATORS = ("%", "^", "atan2")
_OTHER_AGGREGATES = ("group", "stddev", "stdvar", "topk", "bottomk", "count_values", "quantile", "limitk")


def parse(text: str) -> Node:
    """The tree of a query. Raises `ParseError` or `UnsupportedError`."""
    return _Parser(text).query()


def type_of(node: Node) -> str:
    """`scalar`, `vector`, `range` or `string`."""
    match node:
        case Number():
            return "scalar"
        case Text():
            return "string"
        case Selector(range_ms=range_ms):
            return "vector" if range_ms is None else "range"
        case Call(function=function):
            return "scalar" if function in ("time", "scalar") else "vector"
        case Aggregate():
            return "vector"
        case Negate(inner=inner):
            return type_of(inner)
        case Binary(left=left, right=right):
            return "vector" if "vector" in (type_of(left), type_of(right)) else "scalar"


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._next = 0
        self._depth = 0

    def query(self) -> Node:
        if self._peek().kind == "end":
            raise ParseError("unknown position: parse error: no expression found in input")
        node = self._expression(0)
        if self._peek().kind != "end":
            raise self._unexpected(self._peek())
        return node

    # Tokens -----------------------------------------------------------------------------------------------------------

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _is(self, *texts: str) -> bool:
        token = self._peek()
        return token.kind in ("op", "name") and (token.text if token.kind == "op" else token.text.lower()) in texts

    def _expect(self, text: str) -> None:
        token = self._take()
        if token.kind != "op" or token.text != text:
            raise self._unexpected(token, f"expected {text!r}")

    def _fail(self, token: Token, why: str) -> ParseError:
        return ParseError(f"{place(self._text, token.position)}: parse error: {why}")

    def _unexpected(self, token: Token, hint: str = "") -> ParseError:
        shown = token.text if token.kind == "end" else f'<{token.kind}> "{token.text}"'
        return self._fail(token, f"unexpected {shown}" + (f", {hint}" if hint else ""))

    # Operators --------------------------------------------------------------------------------------------------------

    def _expression(self, precedence: int) -> Node:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise UnsupportedError(f"expressions nested deeper than {DEPTH_MAX}")
        left = self._unary()
        while (level := self._level()) > precedence:
            left = self._binary(left, level)
        self._depth -= 1
        return left

    def _level(self) -> int:
        if self._is(*_OTHER_OPERATORS):
            raise UnsupportedError(f"operator {self._peek().text}")
        return _PRECEDENCE.get(self._peek().text.lower(), 0) if self._is(*_PRECEDENCE) else 0

    def _binary(self, left: Node, level: int) -> Node:
        token = self._take()
        operator = token.text.lower()
        returns_bool = self._is("bool")
        if returns_bool:
            self._take()
            if operator not in COMPARISONS:
                raise self._fail(token, "bool modifier can only be used on comparison operators")
        on, ignoring = self._matching()
        right = self._expression(level)
        node = Binary(operator, left, right, on, ignoring, returns_bool)
        self._check_operands(token, node)
        return node

    def _matching(self) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
        on: tuple[str, ...] | None = None
        ignoring: tuple[str, ...] = ()
        if self._is("on"):
            self._take()
            on = self._names()
        elif self._is("ignoring"):
            self._take()
            ignoring = self._names()
        if self._is("group_left", "group_right"):
            raise UnsupportedError(f"{self._peek().text} (only one-to-one matching)")
        return on, ignoring

    def _check_operands(self, token: Token, node: Binary) -> None:
        kinds = (type_of(node.left), type_of(node.right))
        for kind in kinds:
            if kind not in ("scalar", "vector"):
                raise self._fail(token, "binary expression must contain only scalar and instant vector types")
        if node.operator in SET_OPERATORS and kinds != ("vector", "vector"):
            raise self._fail(token, f'set operator "{node.operator}" not allowed in binary scalar expression')
        if node.operator in COMPARISONS and kinds == ("scalar", "scalar") and not node.returns_bool:
            raise self._fail(token, "comparisons between scalars must use BOOL modifier")
        if (node.on is not None or node.ignoring) and "scalar" in kinds:
            raise self._fail(token, "vector matching only allowed between instant vectors")

    def _unary(self) -> Node:
        if self._is("+", "-"):
            token = self._take()
            inner = self._expression(_PRECEDENCE["*"])
            if type_of(inner) not in ("scalar", "vector"):
                raise self._fail(token, f"unary expression only allowed on scalar or vector, got {type_of(inner)}")
            if token.text == "+":
                return inner
            return Number(-inner.value) if isinstance(inner, Number) else Negate(inner)
        return self._suffixed(self._primary())

    # Operands ---------------------------------------------------------------------------------------------------------

    def _primary(self) -> Node:
        token = self._peek()
        if self._is("("):
            self._take()
            inner = self._expression(0)
            self._expect(")")
            if self._is("[", "offset", "@"):
                raise UnsupportedError("subqueries and ranges or offsets of anything but a selector")
            return inner
        if self._is("{"):
            return self._selector(None)
        self._take()
        if token.kind == "number":
            return Number(float(int(token.text, 16)) if token.text[:2] in ("0x", "0X") else float(token.text))
        if token.kind == "string":
            return Text(token.text)
        if token.kind == "name":
            return self._named(token)
        raise self._unexpected(token)

    def _named(self, token: Token) -> Node:
        word = token.text.lower()
        if word in ("inf", "nan"):
            return Number(math.inf if word == "inf" else math.nan)
        if word in AGGREGATES and self._is("(", "by", "without"):
            return self._aggregate(word)
        if word in _RESERVED:
            raise self._unexpected(token)
        if self._is("("):
            return self._call(token)
        if word in _OTHER_AGGREGATES and self._is("by", "without"):
            raise UnsupportedError(f"aggregation {word}")
        return self._selector(token.text)

    def _aggregate(self, operator: str) -> Node:
        grouping = self._grouping()
        self._expect("(")
        inner = self._expression(0)
        token = self._peek()
        self._expect(")")
        if type_of(inner) != "vector":
            raise self._fail(token, f"expected type instant vector in aggregation expression, got {type_of(inner)}")
        names, without = grouping or self._grouping() or ((), False)
        return Aggregate(operator, inner, names, without)

    def _grouping(self) -> tuple[tuple[str, ...], bool] | None:
        if not self._is("by", "without"):
            return None
        without = self._take().text.lower() == "without"
        return self._names(), without

    def _names(self) -> tuple[str, ...]:
        self._expect("(")
        names: list[str] = []
        while not self._is(")"):
            token = self._take()
            if token.kind != "name":
                raise self._unexpected(token, "expected a label name")
            names.append(token.text)
            if not self._is(")"):
                self._expect(",")
        self._expect(")")
        return tuple(names)

    def _call(self, token: Token) -> Node:
        if token.text not in FUNCTIONS:
            raise UnsupportedError(f"function or aggregation {token.text}")
        self._expect("(")
        arguments: list[Node] = []
        while not self._is(")"):
            arguments.append(self._expression(0))
            if not self._is(")"):
                self._expect(",")
        self._expect(")")
        wanted = FUNCTIONS[token.text]
        if len(arguments) != len(wanted):
            raise self._fail(
                token, f'expected {len(wanted)} argument(s) in call to "{token.text}", got {len(arguments)}'
            )
        for argument, kind in zip(arguments, wanted, strict=True):
            if type_of(argument) != kind:
                raise self._fail(
                    token, f'expected type {kind} in call to function "{token.text}", got {type_of(argument)}'
                )
        return Call(token.text, tuple(arguments))

    def _selector(self, name: str | None) -> Node:
        start = self._peek()
        matchers = [] if name is None else [Matcher(NAME, "=", name)]
        if self._is("{"):
            self._take()
            while not self._is("}"):
                matchers.append(self._matcher())
                if not self._is("}"):
                    self._expect(",")
            self._take()
        if all(matcher.matches("") for matcher in matchers):
            raise self._fail(start, "vector selector must contain at least one non-empty matcher")
        return Selector(tuple(matchers))

    def _matcher(self) -> Matcher:
        name, operator, value = self._take(), self._take(), self._take()
        if name.kind != "name":
            raise self._unexpected(name, "expected a label name")
        if operator.text not in ("=", "!=", "=~", "!~"):
            raise self._unexpected(operator, "expected a label matching operator")
        if value.kind != "string":
            raise self._unexpected(value, "expected a string")
        try:
            return Matcher(name.text, operator.text, value.text)
        except BadMatcherError as error:
            raise self._fail(value, str(error)) from error

    def _suffixed(self, node: Node) -> Node:
        while self._is("[", "offset", "@"):
            token = self._take()
            if token.text == "@":
                raise UnsupportedError("the @ modifier")
            if not isinstance(node, Selector):
                raise UnsupportedError("subqueries and ranges or offsets of anything but a selector")
            if token.text == "[":
                node = replace(node, range_ms=self._duration())
                if self._peek().text.startswith(":"):  # `:1m` is one token, since a name may begin with a colon
                    raise UnsupportedError("subqueries")
                self._expect("]")
            else:
                sign = 1
                if self._is("-"):
                    self._take()
                    sign = -1
                node = replace(node, offset_ms=sign * self._duration())
        return node

    def _duration(self) -> int:
        token = self._take()
        if token.kind != "duration" or (value := duration_ms(token.text)) == 0:
            raise self._unexpected(token, "expected a duration greater than 0")
        return value
